//! The Sockhop session in both roles, in every mode: whatever the peer does, nothing we write kills a stock peer, every frame
//! ends in something, and every request is delivered once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use polywire_core::{Body, Event, Limits, Outbound, Request};
use polywire_sockhop::{Calls, Codec, Config, Mode, PeerType, Role, Session, Switch, TYPE, Terminator};

use crate::bench::{Bench, Fate};
use crate::choices::{Choices, as_piece};
use crate::stock::Stock;
use crate::values::{body, json, result, route};
use crate::{seeds, trace};

/// Choices: role and settings. Then steps, each a byte that says what happens, and what it needs.
pub fn run(input: &[u8]) {
    let mut choices = Choices::new(input);
    let role = choices.one_of(&[Role::Server, Role::Client]);
    let (config, limits) = config(&mut choices);
    let session = Session::new(Arc::new(config.clone()), &limits, role);
    let bench = Bench::open(session, Codec::new(&config, &limits));
    let mut scene = Scene { bench, stock: Stock::new(&config), end: config.terminator.receive };
    scene.settle();
    for _ in 0..STEPS {
        if choices.is_empty() || scene.bench.closed.is_some() {
            break;
        }
        scene.step(&mut choices);
        scene.settle();
    }
    while !scene.bench.asked.is_empty() && scene.bench.closed.is_none() {
        scene.bench.answer(0, Ok(Body::null().into()));
        scene.settle();
    }
    trace::mark(("end", scene.bench.closed.is_some(), scene.bench.established));
}

/// Steps of one input; what waits at a gate is looked at whenever it opens.
const STEPS: usize = 500;

fn config(choices: &mut Choices<'_>) -> (Config, Limits) {
    let terminators: [(&[u8], &[u8]); 4] =
        [(b"\n", b"\n"), (b"\0", b"\n"), (b"\n", b"\r\n"), (b"END", b"\0")];
    let (receive, transmit) = choices.one_of(&terminators);
    let flags = choices.byte();
    let mut limits = Limits { max_frame_bytes: 1 << 20, ..Limits::default() };
    if flags & 1 != 0 {
        limits.json.max_json_number_bytes = 64 << 10;
        limits.json.max_json_keys = 1 << 20;
    }
    let config = Config {
        mode: choices.one_of(&[Mode::Auto, Mode::Auto, Mode::Binary, Mode::Json, Mode::Compat]),
        switch: choices.one_of(&[Switch::Late, Switch::Early, Switch::Never]),
        terminator: Terminator {
            receive: Bytes::from_static(receive),
            transmit: Bytes::from_static(transmit),
        },
        peer_type: if flags & 6 == 6 { PeerType::Json } else { PeerType::Sockhop },
        calls: if flags & 8 == 0 { Calls::Callback } else { Calls::Request },
        name_from: (flags & 16 != 0).then(|| "/method".to_owned()),
        errors_in_reply: flags & 32 != 0,
        ping_interval: (flags & 64 == 0).then_some(Duration::from_secs(5)),
        ..Config::default()
    };
    config.validate().expect("the settings are in range");
    limits.validate().expect("the limits are in range");
    (config, limits)
}

/// A session and the peer it talks to.
struct Scene {
    bench: Bench<Session>,
    stock: Stock,
    /// The end of the lines that the peer sends.
    end: Bytes,
}

impl Scene {
    /// Everything that has come is read, and the peer reads everything that was written.
    fn settle(&mut self) {
        self.stock.reads(&self.bench.written());
        while let Some(frame) = self.bench.next_frame() {
            self.stock.sends(&frame);
            let quiet = self.stock.may_be_quiet(&frame);
            let fate = self.bench.receive(frame);
            assert!(quiet || fate != Fate::Nothing, "a frame ended in silence");
            self.stock.reads(&self.bench.written());
        }
        self.bench.events.clear();
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.byte() % 14 {
            0 => self.bench.push(choices.piece()),
            1 => {
                let line = choices.piece();
                self.push_line(line);
            }
            2 => self.answer_one(choices),
            3 => {
                let id = self.asked_id(choices.byte());
                let allowed = choices.flag();
                let data = format!("{{\"allow_binary_mode\":{allowed}}}");
                self.push_answer(&id, "Object", data.as_bytes(), choices.flag());
            }
            4 => {
                let which = usize::from(choices.byte());
                let id =
                    self.stock.pings.iter().rev().nth(which).map_or("", |id| id.trim_start_matches("text "));
                self.push_line(format!(r#"{{"type":"SockhopPong","data":{{"_id":"{id}"}}}}"#).as_bytes());
            }
            5 => {
                let id = self.asked_id(choices.byte());
                let (last, data) = (choices.flag(), json(choices));
                let line = format!(
                    r#"{{"type":"SockhopResponsePacket","data":{{"uuid":"{id}","type":"Object","data":{},"last":{last}}}}}"#,
                    data.as_str(),
                );
                self.push_line(line.as_bytes());
            }
            6 => {
                let which = usize::from(choices.byte());
                self.bench.answer(which, result(choices, TYPE));
            }
            7 => {
                let request = Request::new(route(choices), body(choices));
                self.bench.call(request);
            }
            8 => {
                let event = Event::new(route(choices), body(choices));
                self.bench.send(Outbound::Event(event));
            }
            9 => self.bench.cancel(),
            10 => self.bench.wait_for_alarm(),
            11 => self.bench.wait(Duration::from_millis(choices.number() as u64)),
            12 => self.push_line(br#"{"type":"SockhopBinaryModeTransition","data":{}}"#),
            _ => {
                let (id, kind, data) = (choices.byte(), choices.piece(), choices.piece());
                let field = choices.piece();
                self.push_packet(id % 20, kind, data, field);
            }
        }
    }

    fn push_line(&mut self, line: &[u8]) {
        self.bench.push(line);
        self.bench.push(&self.end);
    }

    fn push_packet(&mut self, id: u8, kind: &[u8], data: &[u8], field: &[u8]) {
        let kind = &kind[..kind.len().min(255)];
        let length = kind.len() + 5 + data.len() + field.len();
        self.bench.push(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        self.bench.push(&[id, u8::try_from(kind.len()).unwrap_or(255)]);
        self.bench.push(kind);
        self.bench.push(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.bench.push(data);
        self.bench.push(field);
    }

    /// The text of the id of one of our asks, the latest first.
    fn asked_id(&self, which: u8) -> String {
        let id = self.stock.asks.iter().rev().nth(usize::from(which));
        id.and_then(|id| id.strip_prefix("text ")).unwrap_or_default().to_owned()
    }

    fn push_answer(&mut self, id: &str, kind: &str, data: &[u8], framed: bool) {
        if framed {
            self.push_packet(12, kind.as_bytes(), data, id.as_bytes());
        } else {
            let data = String::from_utf8_lossy(data);
            let line = format!(r#"{{"type":"{kind}","data":{data},"callback_id":"{id}"}}"#);
            self.push_line(line.as_bytes());
        }
    }

    fn answer_one(&mut self, choices: &mut Choices<'_>) {
        let id = self.asked_id(choices.byte());
        let kind = choices.one_of(&["Object", "Error", "Buffer", "Widget", ""]);
        let framed = choices.flag();
        self.push_answer(&id, kind, json(choices).as_bytes(), framed);
    }
}

/// Recorded bytes towards both roles, and whole scenes: handshake and switch, calls, fences, 1.x requests.
pub fn seeds() -> Vec<Vec<u8>> {
    let recorded = seeds::recorded("sockhop");
    let pushed = recorded.iter().map(|bytes| [vec![0], as_piece(bytes)].concat()).collect::<Vec<_>>();
    let lines = recorded.iter().map(|bytes| [vec![1], as_piece(bytes)].concat()).collect::<Vec<_>>();
    let mut all = seeds::behind(&[&[0, 0, 0, 0, 0], &[1, 0, 0, 0, 1], &[0, 0, 8, 4, 0]], &pushed);
    all.extend(seeds::behind(&[&[0, 1, 1, 0, 1], &[1, 2, 38, 0, 0]], &lines));
    let line = |text: &str| [vec![1], as_piece(text.as_bytes())].concat();
    let greet = line(r#"{"type":"SockhopHandshake","data":{"request_binary_mode":true},"id":"h"}"#);
    let ask = line(r#"{"type":"Object","data":{"a":1},"id":"q"}"#);
    let allow: &[u8] = &[3, 0, 1, 0];
    let typed: &[u8] = &[7, 4, 3, 1, 0, b'k', 2, 0, 1, 2];
    let pong: &[u8] = &[4, 0];
    let answer: &[u8] = &[6, 0, 0, 1, 1, 1];
    for role in [0, 1] {
        for switch in [0, 1] {
            let head = [role, 0, 0, 0, switch];
            all.push([&head, &greet[..], allow, &ask, typed, pong, pong, answer, &[2, 0, 0, 1, 1]].concat());
            all.push([&head, &greet[..], allow, &[12], typed, &ask, pong, answer, pong].concat());
        }
    }
    all.push([&[0, 0, 8, 4, 0][..], &[7, 0, 1, 1, 5, 0, 1, 1]].concat());
    // Bare values of every kind that there is.
    all.extend((0..13).map(|value| vec![0, 0, 6, 0, 0, 8, 0, 1, value]));
    all
}
