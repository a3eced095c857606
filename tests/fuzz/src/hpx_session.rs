//! The HPX sessions of both roles and dialects: every message gets one reply with one entry per function in the order asked,
//! nothing is delivered before a login, a client has one call in flight at most and never sends what a server refuses.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use polywire_core::{Body, Credentials, Event, Identity, Limits, Outbound, Refusal, Request};
use polywire_hpx::{
    ClientConfig, ClientSession, Dialect, Frame, HpxCodec, NonFinite, Pool, ServerConfig, ServerSession,
    Shared, Trust, Wake, Wire,
};
use serde_json::value::RawValue;

use crate::bench::Bench;
use crate::choices::{Choices, as_piece};
use crate::hpx_codec::{DELIMITER, stored};
use crate::values::{body, json, result, route};
use crate::{seeds, trace};

/// Steps of one input.
const STEPS: usize = 300;

/// Choices: role and settings. Then steps, each a byte that says what happens, and what it needs.
pub fn run(input: &[u8]) {
    let mut choices = Choices::new(input);
    let flags = choices.byte();
    let wire = Wire {
        dialect: choices.one_of(&[Dialect::Auto, Dialect::A, Dialect::B]),
        non_finite: if flags & 2 == 0 { NonFinite::Null } else { NonFinite::Refuse },
        stored_up_to: if flags & 4 == 0 { 4 << 10 } else { 0 },
        max_inflated_bytes: 1 << 20,
        limits: Arc::new(Limits { max_frame_bytes: 1 << 20, ..Limits::default() }),
        ..Wire::default()
    };
    if flags & 1 == 0 { serve(&wire, flags, &mut choices) } else { call(&wire, flags, &mut choices) }
}

type Members = BTreeMap<String, Box<RawValue>>;

fn members(text: &[u8]) -> Option<Members> {
    serde_json::from_slice(text).ok()
}

fn at<'a>(members: &'a Members, key: &str) -> Option<&'a str> {
    members.get(key).map(|value| value.get())
}

/// The messages in what was written, as another reader takes them.
fn messages(bytes: &[u8]) -> Vec<Members> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.windows(DELIMITER.len()).position(|window| window == DELIMITER);
        let end = end.expect("what is written ends with the delimiter");
        let mut text = Vec::new();
        MultiGzDecoder::new(&rest[..end]).read_to_end(&mut text).expect("what is written is gzip");
        let message =
            members(&text).unwrap_or_else(|| panic!("{} is no object", String::from_utf8_lossy(&text)));
        for key in ["session", "name", "data"] {
            assert!(message.contains_key(key), "a message without {key}");
        }
        found.push(message);
        rest = &rest[end + DELIMITER.len()..];
    }
    found
}

/// The names of a list of functions, as JSON text; the escape that keeps the delimiter out is undone.
fn names(data: &str) -> Option<Vec<String>> {
    let entries = serde_json::from_str::<Vec<Members>>(data).ok()?;
    entries.iter().map(|entry| at(entry, "fname").map(|name| name.replace("\\u003c", "<"))).collect()
}

fn framed(text: &str) -> Vec<u8> {
    [stored(text.as_bytes()), DELIMITER.to_vec()].concat()
}

// ---- Server --------------------------------------------------------------------------------------------------------

struct Serving {
    bench: Bench<ServerSession>,
    dialect: Dialect,
    /// The last message received, unless it cannot be read here.
    last: Option<Members>,
    /// Replies since then.
    replies: usize,
    /// Broadcasts that were wanted.
    broadcasts: usize,
    /// The session of the last reply, as JSON text.
    session: String,
}

fn serve(wire: &Wire, flags: u8, choices: &mut Choices<'_>) {
    let dialect = wire.dialect;
    let config = ServerConfig {
        guests: flags & 8 != 0,
        may_command: if flags & 16 != 0 { vec!["user".into()] } else { Vec::new() },
        max_batch: 8,
        max_sessions: 3,
        max_sessions_per_subject: 2,
        max_failed_logins_per_name: 2,
        wire: wire.clone(),
        ..ServerConfig::default()
    };
    config.validate().expect("the settings are in range");
    let session = ServerSession::new(Arc::new(Shared::new(config)), None, flags & 32 != 0);
    let bench = Bench::open(session, HpxCodec::new(wire, Trust::Stranger));
    let mut serving =
        Serving { bench, dialect, last: None, replies: 0, broadcasts: 0, session: "\"\"".to_owned() };
    // The greeting comes unasked.
    serving.check();
    assert_eq!(serving.replies, 1, "no greeting");
    for _ in 0..STEPS {
        if choices.is_empty() || serving.bench.closed.is_some() {
            break;
        }
        serving.step(choices);
        serving.settle();
    }
    trace::mark(("served", serving.bench.established, serving.bench.closed.is_some()));
}

impl Serving {
    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.byte() % 12 {
            0 => self.bench.push(choices.piece()),
            1 => {
                let text = String::from_utf8_lossy(choices.piece()).into_owned();
                self.bench.push(&framed(&text));
            }
            2 => self.say("\"\"", "{}", choices),
            3 => {
                let user = choices.one_of(&["user", "other", ""]);
                self.say("\"\"", &format!("{{\"user\":\"{user}\",\"password\":\"p\"}}"), choices);
            }
            4 => {
                let count = choices.byte() % 10;
                let calls = (0..count).map(|_| {
                    let name =
                        choices.one_of(&["\"f\"", "\"g\"", "\"\\u0066\"", "\"\\ud800\"", "\"<EOF>\"", "7"]);
                    format!("{{\"fname\":{name},\"a\":{}}}", json(choices).as_str())
                });
                let calls = calls.collect::<Vec<_>>().join(",");
                let session = if choices.byte() < 240 { self.session.clone() } else { "\"x\"".to_owned() };
                self.say(&session, &format!("[{calls}]"), choices);
            }
            5 => {
                let session = self.session.clone();
                let data = choices.one_of(&["\"requestauth\"", "3", "1", "\"ServerRestart\"", "null", "[]"]);
                self.say(&session, data, choices);
            }
            6 | 7 => self.bench.answer(0, result(choices, "")),
            8 => self.bench.judge(Ok(Identity::user("user"))),
            9 => self.bench.judge(Err(Refusal::new("no"))),
            10 => self.bench.wait(Duration::from_secs(choices.number() as u64)),
            _ => {
                let event = Event::new(route(choices), Body::Empty);
                self.broadcasts += usize::from(event.route.as_str() == "serverquit");
                self.bench.send(Outbound::Event(event));
            }
        }
    }

    fn say(&mut self, session: &str, data: &str, choices: &mut Choices<'_>) {
        let id = match choices.byte() % 4 {
            0 => ",\"__id__\":\"1\"",
            1 => ",\"__id__\":{\"a\": 1}",
            _ => "",
        };
        self.bench.push(&framed(&format!("{{\"session\":{session},\"name\":\"x\",\"data\":{data}{id}}}")));
    }

    fn settle(&mut self) {
        self.check();
        while let Some(frame) = self.bench.next_frame() {
            self.replied();
            self.last = match &frame {
                Frame::Text(text) => members(text),
                Frame::Bad(_) => None,
            };
            self.replies = 0;
            self.bench.receive(frame);
            self.check();
        }
    }

    /// The session reads on: what it read before has its reply, unless it was a command.
    fn replied(&self) {
        let data = self.last.as_ref().and_then(|last| at(last, "data")).unwrap_or_default();
        let command = matches!(
            data.trim_matches('"').to_ascii_lowercase().as_str(),
            "1" | "2" | "serverquit" | "serverrestart"
        );
        assert!(self.replies == 1 || command, "a message without a reply");
    }

    fn check(&mut self) {
        for message in messages(&self.bench.written()) {
            let data = at(&message, "data").unwrap_or_default();
            if matches!(data, "1" | "2") && self.broadcasts > 0 {
                self.broadcasts -= 1;
                continue;
            }
            self.replies += 1;
            assert!(self.replies == 1, "{} replies to one message", self.replies);
            if at(&message, "session") != Some("\"\"") {
                self.session = at(&message, "session").unwrap_or_default().to_owned();
            }
            let id = at(&message, "__id__");
            assert!(self.dialect != Dialect::A || id.is_none(), "an __id__ in dialect A");
            let Some(last) = &self.last else { continue };
            if self.dialect != Dialect::A {
                assert_eq!(id, at(last, "__id__"), "another __id__ than was sent");
            }
            if data.starts_with('[') {
                let asked = at(last, "data").and_then(names).expect("a list answers a list");
                assert_eq!(names(data), Some(asked), "other entries than were asked for");
            }
        }
        assert!(self.bench.asked.is_empty() || self.bench.established, "a function ran before the login");
        assert!(self.bench.asked.len() <= 1, "two functions run at once");
    }
}

// ---- Client --------------------------------------------------------------------------------------------------------

struct Calling {
    bench: Bench<ClientSession>,
    dialect: Dialect,
    /// The last message written: the names of its functions, and its `__id__`.
    asked: Vec<String>,
    id: Option<String>,
}

fn call(wire: &Wire, flags: u8, choices: &mut Choices<'_>) {
    let dialect = wire.dialect;
    let config = Arc::new(ClientConfig { wire: wire.clone(), ..ClientConfig::default() });
    config.validate().expect("the settings are in range");
    let credentials =
        if flags & 8 == 0 { Credentials::guest() } else { Credentials::new("user", "p\"<EOF>") };
    let pool = Arc::new(Pool::default());
    let woken: Arc<Mutex<Vec<(usize, Wake)>>> = Arc::default();
    // Two connections share one session.
    let mut lanes = [0, 1].map(|slot| Calling {
        bench: Bench::open(
            ClientSession::new(Arc::clone(&config), Arc::clone(&pool), slot, credentials.clone()),
            HpxCodec::new(wire, Trust::Known),
        ),
        dialect,
        asked: Vec::new(),
        id: None,
    });
    pool_tells(&pool, &woken);
    for _ in 0..STEPS {
        if choices.is_empty() {
            break;
        }
        let step = choices.byte();
        let lane = &mut lanes[usize::from(step >> 7)];
        if lane.bench.closed.is_none() {
            lane.step(step & 0x7f, choices);
            lane.settle();
        }
        let wakes = std::mem::take(&mut *woken.lock().unwrap_or_else(PoisonError::into_inner));
        for (slot, wake) in wakes {
            lanes[slot].bench.send(Outbound::Command(wake));
            lanes[slot].settle();
        }
    }
    trace::mark((
        "called",
        lanes.each_ref().map(|lane| (lane.bench.established, lane.bench.closed.is_some())),
    ));
}

fn pool_tells(pool: &Pool, woken: &Arc<Mutex<Vec<(usize, Wake)>>>) {
    let woken = Arc::clone(woken);
    pool.set_tell(move |slot, wake| {
        woken.lock().unwrap_or_else(PoisonError::into_inner).push((slot, wake));
    });
}

impl Calling {
    fn step(&mut self, step: u8, choices: &mut Choices<'_>) {
        match step % 13 {
            0 => self.bench.push(choices.piece()),
            1 => {
                let text = String::from_utf8_lossy(choices.piece()).into_owned();
                self.bench.push(&framed(&text));
            }
            2 => self.say("\"\"", "{\"version\":{\"core\":[0,3,0]},\"guest_allowed\":true}", ""),
            3 => {
                let session = choices.one_of(&["\"s1\"", "\"s2\"", "\"\"", "null"]);
                self.say(session, "\"Authenticated\"", "");
            }
            4 => {
                let entries = self.asked.clone().into_iter().map(|name| {
                    let error =
                        if choices.byte() == 0 { ",\"error\":{\"code\":303,\"msg\":\"x\"}" } else { "" };
                    format!("{{\"fname\":{name},\"data\":{}{error}}}", json(choices).as_str())
                });
                let entries = entries.collect::<Vec<_>>().join(",");
                self.say("\"s1\"", &format!("[{entries}]"), "");
            }
            5 => {
                let code =
                    choices.one_of(&["407", "408", "411", "412", "403", "303", "\"408\"", "null", "1e9"]);
                self.say("\"\"", "null", &format!(",\"error\":{{\"code\":{code},\"msg\":\"no\"}}"));
            }
            6 => self.say("\"\"", "{\"msg\":\"wait\"}", ""),
            7 => {
                let data = choices.one_of(&["1", "2", "\"serverquit\"", "\"ServerRestart\"", "3", "{}"]);
                self.say("\"\"", data, "");
            }
            8 => {
                let request = Request::new(route(choices), body(choices));
                self.bench.call(request);
            }
            9 => self.bench.cancel(),
            10 => self.bench.wait_for_alarm(),
            11 => self.bench.wait(Duration::from_millis(choices.number() as u64)),
            _ => self.bench.send(Outbound::Event(Event::new(route(choices), body(choices)))),
        }
    }

    fn say(&mut self, session: &str, data: &str, more: &str) {
        let id = self.id.as_ref().map_or_else(String::new, |id| format!(",\"__id__\":{id}"));
        self.bench
            .push(&framed(&format!("{{\"session\":{session},\"name\":\"x\",\"data\":{data}{more}{id}}}")));
    }

    fn settle(&mut self) {
        self.check();
        while let Some(frame) = self.bench.next_frame() {
            self.bench.receive(frame);
            self.check();
        }
    }

    fn check(&mut self) {
        for message in messages(&self.bench.written()) {
            let keys = if self.dialect == Dialect::B { 4 } else { 3 };
            assert_eq!(message.len(), keys, "a server of 2018 refuses other keys");
            self.id = at(&message, "__id__").map(str::to_owned);
            assert_eq!(self.id.is_some(), self.dialect == Dialect::B, "__id__ belongs to dialect B");
            let data = at(&message, "data").unwrap_or_default();
            if data.starts_with('[') {
                self.asked = names(data).expect("a call is a list of functions");
                if self.asked.is_empty() {
                    assert!(
                        !self.bench.established && self.bench.calls.is_empty(),
                        "a session is shown late"
                    );
                } else {
                    assert_eq!(self.asked.len(), 1, "one call, and other than one function");
                }
            } else {
                let login = members(data.as_bytes()).expect("a login is an object");
                assert!(login.is_empty() || login.keys().eq(["password", "user"]), "a login with other keys");
            }
        }
        assert!(self.bench.calls.len() <= 1, "two calls in flight");
        assert_eq!(self.bench.orphans, 0, "an answer was delivered to no call");
        assert!(self.bench.asked.is_empty() && self.bench.events.is_empty(), "a server asks nothing");
    }
}

/// Recorded bytes towards both roles, and whole scenes: logins, lists, renewed sessions.
pub fn seeds() -> Vec<Vec<u8>> {
    let recorded = seeds::recorded("hpx");
    let pushed = recorded.iter().map(|bytes| [vec![0], as_piece(bytes)].concat()).collect::<Vec<_>>();
    let mut all = seeds::behind(&[&[32, 0], &[8, 1], &[1, 0], &[1, 2]], &pushed);
    let list: &[u8] = &[4, 2, 0, 1, 1, 2, 0, 3];
    for dialect in [0, 1, 2] {
        all.push([&[40, dialect, 3, 0, 3, 8][..], list, &[6, 0, 1, 1, 1, 6, 0, 1, 0]].concat());
        all.push([&[8, dialect, 2, 3][..], list, &[6, 1, 0, 0, 0, 0, 6, 0, 1, 0, 11, 8], list].concat());
        let call: &[u8] = &[8, 0, 1, 1];
        all.push([&[1, dialect, 2, 3, 0][..], call, &[4, 1, 1], call, &[5, 1, 3, 1, 4, 1, 1]].concat());
        all.push([&[9, dialect, 2, 130, 3, 0][..], call, &[6, 10, 4, 1, 1], call, &[9]].concat());
        all.push([&[1, dialect, 2, 130, 5, 2, 131, 1][..], call, &[136, 0, 1, 1, 7, 0]].concat());
    }
    all
}
