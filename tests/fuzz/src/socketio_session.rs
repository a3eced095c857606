//! The Socket.IO client's session: nothing is delivered or sent before the namespace is granted, every message written is one of
//! the wire's, and an answer never reaches a call that is not waiting for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use polywire_core::{Event, FrameError, Limits, Message, MessageCodec, Outbound, Outgoing, Request};
use polywire_socketio::{
    Arguments, Codec, Config, Events, Frame, Link, Packet, PacketLimits, Recovery, SEVERAL, Stack,
};

use crate::bench::{Bench, Feed};
use crate::choices::{Choices, as_piece};
use crate::values::{body, result, route};
use crate::{seeds, socketio_packet, trace};

/// Steps of one input.
const STEPS: usize = 300;
const OPEN: &[u8] =
    br#"0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":100000}"#;

/// Messages stand in the stream behind a byte for their kind and their length.
impl Feed for Codec {
    fn feed(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some((head, rest)) = input.split_first_chunk::<3>() else { return Ok(None) };
        let (is_binary, length) = (head[0] == 1, usize::from(u16::from_le_bytes([head[1], head[2]])));
        if rest.len() < length {
            return Ok(None);
        }
        let message = input.split_to(3 + length).split_off(3).freeze();
        if is_binary {
            return self.decode(Message::Binary(message));
        }
        self.decode(Message::Text(String::from_utf8_lossy(&message).into_owned().into()))
    }

    fn give(&mut self, frame: Frame, out: &mut Outgoing) -> Result<(), FrameError> {
        self.encode(frame, &mut |message| {
            if let Message::Text(text) = message {
                let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                out.put_slice(&length.to_le_bytes());
                out.put_slice(&text);
            }
        })
    }
}

type Client = Stack<Link, Events>;

fn push(bench: &mut Bench<Client>, is_binary: bool, message: &[u8]) {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let head = [&[u8::from(is_binary)][..], &length.to_le_bytes()].concat();
    bench.push(&[&head[..], &message[..usize::from(length)]].concat());
    while let Some(frame) = bench.next_frame() {
        bench.receive(frame);
    }
}

/// Choices: settings. Then steps, each a byte that says what happens, and what it needs.
pub fn run(input: &[u8]) {
    let mut choices = Choices::new(input);
    let flags = choices.byte();
    let config = Arc::new(Config {
        arguments: if flags & 1 == 0 { Arguments::One } else { Arguments::List },
        answer_unrouted: flags & 2 != 0,
        keep_offset: flags & 4 != 0,
        redial_when_dismissed: flags & 8 != 0,
        max_early_events: 8,
        ..Config::new(if flags & 16 == 0 { "/" } else { "/realtime" })
    });
    let limits = Limits { max_frame_bytes: 1 << 16, ..Limits::default() };
    let link = Link::new(Arc::clone(&config), &limits, None, Recovery::default());
    let mut bench = Bench::open(Stack::new(link, Events::new(Arc::clone(&config), limits.json)), Codec);
    for _ in 0..STEPS {
        if choices.is_empty() || bench.closed.is_some() {
            break;
        }
        match choices.byte() % 10 {
            0..=2 => push(&mut bench, false, choices.piece()),
            3 => push(&mut bench, true, choices.piece()),
            4 => push(&mut bench, false, OPEN),
            5 => {
                let comma = if config.namespace == "/" { "" } else { "," };
                let namespace = config.namespace.trim_start_matches('/');
                let slash = if namespace.is_empty() { "" } else { "/" };
                let granted = format!("40{slash}{namespace}{comma}{{\"sid\":\"S\",\"pid\":\"P\"}}");
                push(&mut bench, false, granted.as_bytes());
            }
            6 => {
                let mut request = Request::new(route(&mut choices), body(&mut choices));
                if choices.flag() {
                    request.meta.set(SEVERAL, "2");
                }
                bench.call(request);
            }
            7 => {
                let (which, result) = (choices.number(), result(&mut choices, SEVERAL));
                bench.answer(which, result);
            }
            8 => {
                let event = Event::new(route(&mut choices), body(&mut choices));
                bench.send(Outbound::Event(event));
                bench.cancel();
            }
            _ => bench.wait(Duration::from_secs(u64::from(choices.byte()))),
        }
        assert!(
            bench.established || bench.asked.is_empty() && bench.events.is_empty(),
            "heard before the grant"
        );
        // An acknowledgement for nobody is delivered too: the table of the engine is what knows that nobody waits for it.
        check(&bench.written(), bench.established);
        bench.asked.truncate(64);
        bench.events.clear();
    }
    trace::mark((bench.closed.is_some(), bench.established));
}

/// Every message is a pong or a packet that another end of the wire reads.
fn check(mut written: &[u8], established: bool) {
    while let Some((head, rest)) = written.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
        let (text, rest) = rest.split_at(length);
        written = rest;
        match text {
            [b'3', ..] => {}
            [b'4', packet @ ..] => {
                let packet = bytes::Bytes::copy_from_slice(packet);
                let parsed = Packet::parse(&packet, &PacketLimits::default());
                assert!(parsed.is_ok(), "{packet:?}: {parsed:?}");
                assert!(established || packet.starts_with(b"0"), "{packet:?} before the grant");
            }
            other => panic!("{:?} is no message of a client", String::from_utf8_lossy(other)),
        }
    }
}

/// Recorded messages after the opening, in two namespaces.
pub fn seeds() -> Vec<Vec<u8>> {
    let pieces: Vec<_> = socketio_packet::texts().iter().map(|text| as_piece(text)).collect();
    seeds::behind(&[&[0, 4, 5, 0], &[17, 4, 5, 0], &[22, 4, 0], &[0, 0]], &pieces)
}
