//! The HyperHQ host's session: nothing is served before the login, every request that has an id is answered, and an answer never
//! reaches a call that is not waiting for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use polywire_core::{Body, Event, JsonText, Outbound, Request, Route, TokioClock};
use polywire_hyperhq::{FileEncoding, HostConfig, HostSession, Plugins, Reauth};
use polywire_socketio::{Kind, Packet, PacketLimits, Packets, Parsed};

use crate::bench::Bench;
use crate::choices::Choices;
use crate::values::{body, result};
use crate::{hyperhq_session, trace};

/// Steps of one input.
const STEPS: usize = 300;
const LOGIN: &[u8] = br#"2["authenticate",{"pluginId":"demo-plugin","challenge":"challenge"}]"#;

/// Choices: what the host allows. Then steps, each a byte that says what happens, and what it needs.
pub fn run(input: &[u8]) {
    let mut choices = Choices::new(input);
    let flags = choices.byte();
    let config = Arc::new(HostConfig {
        reauth: if flags & 1 == 0 { Reauth::Both } else { Reauth::None },
        require_data_token: flags & 2 != 0,
        require_file_token: flags & 4 != 0,
        file_encoding: if flags & 8 == 0 { FileEncoding::Base64 } else { FileEncoding::Binary },
        challenge_reuse_within_life: flags & 16 != 0,
        max_subscriptions: 4,
        ..HostConfig::default()
    });
    let plugins = Arc::new(Plugins::new(&config, Arc::new(TokioClock)));
    let start = polywire_core::Moment::from_start(Duration::from_secs(1));
    assert!(plugins.admit("demo-plugin", "challenge".into(), start));
    let mut bench = Bench::open(HostSession::new(config, plugins, 52_789), Packets);
    for _ in 0..STEPS {
        if choices.is_empty() || bench.closed.is_some() {
            break;
        }
        match choices.byte() % 8 {
            0..=2 => hyperhq_session::push(&mut bench, choices.piece()),
            3 => hyperhq_session::push(&mut bench, LOGIN),
            4 => bench.call(Request::new(Route::from_static("execute"), body(&mut choices))),
            5 => {
                let (which, result) = (choices.number(), result(&mut choices, "hyperhq.timestamp"));
                bench.answer(which, result);
            }
            6 => {
                let body = Body::Json(JsonText::from_validated(Bytes::from_static(b"{}")));
                bench.send(Outbound::Event(Event::new(Route::from_static("gameLaunched"), body)));
                bench.cancel();
            }
            _ => bench.wait(Duration::from_millis(u64::from(choices.byte()) * 4)),
        }
        assert!(
            bench.established || bench.asked.is_empty() && bench.events.is_empty(),
            "served before the login"
        );
        assert_eq!(bench.orphans, 0, "an answer for nobody was delivered");
        check(&bench.written(), bench.established);
        bench.events.clear();
        bench.asked.truncate(64);
    }
    trace::mark((bench.closed.is_some(), bench.established));
}

/// Every packet is an event with one argument or an empty acknowledgement, and before the login nothing is asked or told.
fn check(written: &[u8], established: bool) {
    for text in hyperhq_session::texts(written) {
        let packet = match Packet::parse(&Bytes::copy_from_slice(text), &PacketLimits::default()) {
            Ok(Parsed::Whole(packet) | Parsed::Awaits(packet, 1)) => packet,
            other => panic!("{:?}: {other:?}", String::from_utf8_lossy(text)),
        };
        let args = match packet.kind {
            Kind::Event { id: None, args } => args,
            Kind::Ack { id: Some(_), args } if args.is_empty() => continue,
            Kind::Beyond { ack: false, id: None, .. } => continue,
            other => panic!("{other:?}"),
        };
        assert_eq!(args.len(), 2, "{args:?}");
        let name = args.place(0).and_then(|place| args.text().get(place)).unwrap_or_default();
        let needs_login = matches!(name, b"\"request\"" | b"\"hyperHqEvent\"" | b"\"eventsSubscribed\"");
        assert!(established || !needs_login, "{args:?} before the login");
    }
}

/// The events of the recordings, after the login and before it.
pub fn seeds() -> Vec<Vec<u8>> {
    hyperhq_session::seeds_behind(&[&[0, 3, 0], &[31, 3, 4, 0, 5, 0], &[0, 0]])
}
