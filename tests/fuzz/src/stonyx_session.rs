//! The Stonyx sessions of both roles: nothing is delivered before the login, every message written is one of the wire's, and an
//! answer never reaches a call that is not waiting for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use polywire_core::{
    Credentials, Event, FrameError, Identity, JsonLimits, Message, MessageCodec, Outbound, Outgoing, Refusal,
    Request,
};
use polywire_stonyx::{ClientSession, Codec, Config, Frame, Key, Nonces, ServerSession};
use serde_json::value::RawValue;

use crate::bench::{Bench, Feed};
use crate::choices::{Choices, as_piece};
use crate::values::{body, result, route};
use crate::{seeds, trace};

/// Steps of one input.
const STEPS: usize = 300;

/// Messages stand in the stream behind their length.
impl Feed for Codec {
    fn feed(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some((head, rest)) = input.split_first_chunk::<2>() else { return Ok(None) };
        let length = usize::from(u16::from_le_bytes(*head));
        if rest.len() < length {
            return Ok(None);
        }
        let message = input.split_to(2 + length).split_off(2).freeze();
        self.decode(Message::Text(message))
    }

    fn give(&mut self, frame: Frame, out: &mut Outgoing) -> Result<(), FrameError> {
        self.encode(frame, &mut |message| {
            if let Message::Text(text) = message {
                out.put_slice(&text);
                // No JSON holds this byte.
                out.put_slice(b"\0");
            }
        })
    }
}

/// Choices: role and settings. Then steps, each a byte that says what happens, and what it needs.
pub fn run(input: &[u8]) {
    let mut choices = Choices::new(input);
    let flags = choices.byte();
    let config = Arc::new(Config {
        encryption: false,
        concurrent_names: flags & 2 != 0,
        errors_in_reply: flags & 4 != 0,
        kebab_routes: flags & 8 != 0,
        max_unknown_names: 50,
        ..Config::new("a key of sixteen bytes")
    });
    let (json, nonces) = (JsonLimits::default(), Arc::new(Nonces::default()));
    let codec = Codec::new(&Key::none());
    if flags & 1 == 0 {
        serve(Bench::open(ServerSession::new(config, json, nonces), codec), &mut choices);
    } else {
        let session = ClientSession::new(config, json, nonces, Credentials::guest());
        call(Bench::open(session, codec), &mut choices);
    }
}

fn push<S: polywire_core::Session<Codec = Codec>>(bench: &mut Bench<S>, text: &[u8]) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    bench.push(&[&length.to_le_bytes()[..], &text[..usize::from(length)]].concat());
    while let Some(frame) = bench.next_frame() {
        bench.receive(frame);
    }
}

/// The messages written, each an object whose first member is its name.
fn written<S: polywire_core::Session<Codec = Codec>>(
    bench: &mut Bench<S>,
) -> Vec<BTreeMap<String, Box<RawValue>>> {
    let bytes = bench.written();
    let lines = bytes.split(|byte| *byte == 0).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            assert!(line.starts_with(b"{\"request\":\""), "{}", String::from_utf8_lossy(line));
            serde_json::from_slice(line).expect("what is written is a JSON object")
        })
        .collect()
}

fn serve(mut bench: Bench<ServerSession>, choices: &mut Choices<'_>) {
    for _ in 0..STEPS {
        if choices.is_empty() || bench.closed.is_some() {
            break;
        }
        match choices.byte() % 8 {
            0..=2 => push(&mut bench, choices.piece()),
            3 => push(&mut bench, br#"{"request":"auth","data":{"authKey":"k","meta":{}}}"#),
            4 => {
                let verdict = if choices.byte().is_multiple_of(4) {
                    Err(Refusal::new("no"))
                } else {
                    Ok(Identity::guest())
                };
                bench.judge(verdict);
            }
            5 => {
                let (which, result) = (choices.number(), result(choices, "stonyx.close"));
                bench.answer(which, result);
            }
            6 => {
                let event = Event::new(route(choices), body(choices));
                bench.send(Outbound::Event(event));
            }
            _ => bench.wait(Duration::from_secs(u64::from(choices.byte()))),
        }
        assert!(bench.established || bench.asked.is_empty(), "served before the login");
        for message in written(&mut bench) {
            assert!(bench.established, "something written before the login");
            assert!(!message.contains_key("data"), "a server writes no data");
        }
        bench.asked.truncate(64);
    }
    trace::mark(("server", bench.closed.is_some(), bench.established));
}

fn call(mut bench: Bench<ClientSession>, choices: &mut Choices<'_>) {
    assert_eq!(written(&mut bench).len(), 1, "a login is written at once");
    for _ in 0..STEPS {
        if choices.is_empty() || bench.closed.is_some() {
            break;
        }
        match choices.byte() % 8 {
            0..=2 => push(&mut bench, choices.piece()),
            3 => push(&mut bench, br#"{"request":"auth","response":"success"}"#),
            4 => bench.call(Request::new(route(choices), body(choices))),
            5 => bench.cancel(),
            6 => {
                let answer = format!("{{\"request\":\"{}\",\"response\":1}}", route(choices).as_str());
                push(&mut bench, answer.as_bytes());
            }
            _ => bench.wait(Duration::from_secs(u64::from(choices.byte()))),
        }
        for message in written(&mut bench) {
            assert!(bench.established, "something written before the login");
            assert!(!message.contains_key("response"), "a client answers nothing");
        }
        assert_eq!(bench.orphans, 0, "an answer for nobody was delivered");
        bench.events.clear();
    }
    trace::mark(("client", bench.closed.is_some(), bench.established));
}

/// The texts of the recordings.
pub fn texts() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for path in polywire_tests::vectors::files().into_iter().filter(|path| path.starts_with("stonyx")) {
        let file = polywire_tests::vectors::load(&path);
        polywire_tests::vectors::walk(&file, &mut |object| {
            found.extend(object.get("plaintext").and_then(|text| Some(text.as_str()?.as_bytes().to_vec())));
        });
    }
    found.sort();
    found.dedup();
    assert!(found.len() > 20, "there are only {} recorded texts", found.len());
    found
}

/// Recorded texts after a login, in both roles.
pub fn seeds() -> Vec<Vec<u8>> {
    let pieces: Vec<_> = texts().iter().map(|text| as_piece(text)).collect();
    seeds::behind(&[&[0, 3, 4, 1, 0], &[1, 3, 0], &[0, 0], &[1, 0]], &pieces)
}
