//! What the sessions of a server log. The test has a process of its own: `tracing` asks the thread that comes to a line first whether
//! anybody wants it, for all of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::{self, Write};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use polywire_core::{Action, Actions, Cx, Moment, SeededRandom, Session};
use polywire_hpx::{Frame, ServerConfig, ServerSession, Shared};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

/// Keeps every line.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<String>>>);

impl Recorder {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::DEBUG
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(event.metadata().level().to_string());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

/// What the session says to a message.
fn say(session: &mut ServerSession, random: &SeededRandom, text: &str) -> String {
    let mut actions = Actions::new();
    let (now, wall) = (Moment::default(), || SystemTime::UNIX_EPOCH);
    session.receive(Frame::Text(text.to_owned().into()), &mut Cx::new(now, &wall, random, &mut actions));
    let written = std::iter::from_fn(|| actions.pop_front()).find_map(|action| match action {
        Action::Write(Frame::Text(text), _) => Some(String::from_utf8(text.to_vec()).unwrap()),
        _ => None,
    });
    written.expect("every message is answered")
}

#[test]
fn p15_a_session_that_is_used_from_another_address_is_one_line_of_the_log() {
    let recorder = Recorder::default();
    let _guard = tracing::subscriber::set_default(recorder.clone());
    let shared = Arc::new(Shared::new(ServerConfig { guests: true, ..ServerConfig::default() }));
    let random = SeededRandom::new(15);
    let at = |last: u8| {
        let address = (last > 0).then(|| IpAddr::from([192, 0, 2, last]));
        ServerSession::new(Arc::clone(&shared), address, true)
    };
    let mut first = at(7);
    let reply = say(&mut first, &random, r#"{"session":"","name":"t","data":{}}"#);
    let id = reply.strip_prefix("{\"session\":\"").unwrap().split('"').next().unwrap();
    let call = format!(r#"{{"session":"{id}","name":"t","data":[]}}"#);
    say(&mut first, &random, &call);
    say(&mut at(7), &random, &call);
    assert_eq!(recorder.take(), [""; 0], "the address it was made at");
    for (last, place) in [(8, "192.0.2.8"), (0, "this machine")] {
        let mut other = at(last);
        for _ in 0..3 {
            assert!(say(&mut other, &random, &call).contains("\"data\":[]"));
        }
        let line = format!(
            "DEBUG message=a session is used from another address wire=\"hpx\" made_at=\"192.0.2.7\" used_at=\"{place}\""
        );
        assert_eq!(recorder.take(), [line]);
    }
}
