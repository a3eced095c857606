//! The HyperHQ plugin's session: nothing is delivered or asked before the login, a request is answered once under its id, and an
//! answer never reaches a call that is not waiting for it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use polywire_core::{Body, Event, FrameError, Identity, JsonText, Outbound, Outgoing, Request, Session};
use polywire_hyperhq::{Kept, PluginSession, Subscribe};
use polywire_socketio::{Kind, Packet, PacketLimits, Packets, Parsed, Upper};

use crate::bench::{Bench, Feed};
use crate::choices::{Choices, as_piece};
use crate::values::{body, result, route};
use crate::{seeds, trace};

/// Steps of one input.
const STEPS: usize = 300;
const LOGGED_IN: &str = r#"2["authenticated",{"success":true,"pluginId":"fuzz","sessionToken":"t"}]"#;

/// Packets stand in the stream behind their length; whatever is awaited beside one is there.
impl Feed for Packets {
    fn feed(&mut self, input: &mut BytesMut) -> Result<Option<Packet>, FrameError> {
        let Some((head, rest)) = input.split_first_chunk::<2>() else { return Ok(None) };
        let length = usize::from(u16::from_le_bytes(*head));
        if rest.len() < length {
            return Ok(None);
        }
        let text = input.split_to(2 + length).split_off(2);
        let text = Bytes::from(String::from_utf8_lossy(&text).into_owned());
        let limits = PacketLimits::default();
        match Packet::parse(&text, &limits)? {
            Parsed::Whole(packet) => Ok(Some(packet)),
            Parsed::Awaits(packet, due) => {
                let beside = vec![Bytes::from_static(b"bytes"); due];
                packet.complete(beside, &limits.json).map(Some)
            }
        }
    }

    fn give(&mut self, packet: Packet, out: &mut Outgoing) -> Result<(), FrameError> {
        let mut text = BytesMut::new();
        packet.write(&mut text);
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        out.put_slice(&length.to_le_bytes());
        out.put_slice(&text);
        Ok(())
    }
}

/// The host, or the plugin, says this.
pub(crate) fn push<S: Session<Codec = Packets>>(bench: &mut Bench<S>, text: &[u8]) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    bench.push(&[&length.to_le_bytes()[..], &text[..usize::from(length)]].concat());
    while let Some(packet) = bench.next_frame() {
        bench.receive(packet);
    }
}

/// Choices: what is wanted. Then steps, each a byte that says what happens, and what it needs.
pub fn run(input: &[u8]) {
    let mut choices = Choices::new(input);
    let kept = Kept::new(choices.flag().then(|| "gameLaunched".to_owned()));
    let session = PluginSession::new("fuzz", "challenge".into(), kept);
    let mut bench = Bench::open(session, Packets);
    bench.with_session(|session, cx| session.connected(Identity::guest(), cx));
    for _ in 0..STEPS {
        if choices.is_empty() || bench.closed.is_some() {
            break;
        }
        match choices.byte() % 9 {
            0..=2 => push(&mut bench, choices.piece()),
            3 => push(&mut bench, LOGGED_IN.as_bytes()),
            4 => bench.call(Request::new(route(&mut choices), body(&mut choices))),
            5 => {
                let (which, result) = (choices.number(), result(&mut choices, "hyperhq.timestamp"));
                bench.answer(which, result);
            }
            6 => {
                bench.send(Outbound::Event(Event::new(route(&mut choices), body(&mut choices))));
                bench.send(Outbound::Command(Subscribe(vec!["gameClosed".to_owned()])));
            }
            7 => {
                bench.cancel();
                let status = Body::Json(JsonText::from_validated(Bytes::from_static(b"\"working\"")));
                bench.send(Outbound::Event(Event::new("statusUpdate".try_into().expect("a name"), status)));
            }
            _ => bench.wait(Duration::from_millis(u64::from(choices.byte()))),
        }
        assert!(
            bench.established || bench.asked.is_empty() && bench.events.is_empty(),
            "served before the login"
        );
        assert_eq!(bench.orphans, 0, "an answer for nobody was delivered");
        check(&bench.written(), bench.established);
        bench.events.clear();
    }
    trace::mark((bench.closed.is_some(), bench.established));
}

/// The texts of the packets that were written.
pub(crate) fn texts(mut written: &[u8]) -> Vec<&[u8]> {
    let mut texts = Vec::new();
    while let Some((head, rest)) = written.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
        let (text, rest) = rest.split_at(length);
        written = rest;
        texts.push(text);
    }
    texts
}

/// Every packet is an event with one argument, and before the login only the login itself, refusals and the leave of a namespace.
fn check(written: &[u8], established: bool) {
    for text in texts(written) {
        let packet = match Packet::parse(&Bytes::copy_from_slice(text), &PacketLimits::default()) {
            Ok(Parsed::Whole(packet) | Parsed::Awaits(packet, 1)) => packet,
            other => panic!("{:?}: {other:?}", String::from_utf8_lossy(text)),
        };
        let args = match packet.kind {
            Kind::Event { id: None, args } => args,
            // A body as deep as it may be is one level deeper inside an argument.
            Kind::Beyond { ack: false, id: None, .. } => continue,
            // Nobody has answered the login here: it leaves for the other namespace.
            Kind::Disconnect if !established => continue,
            other => panic!("{other:?}"),
        };
        assert_eq!(args.len(), 2, "{args:?}");
        let name = args.place(0).and_then(|place| args.text().get(place)).unwrap_or_default();
        assert!(
            established || matches!(name, b"\"authenticate\"" | b"\"response\""),
            "{args:?} before the login"
        );
    }
}

/// The events of the recordings, after the login and before it.
pub fn seeds() -> Vec<Vec<u8>> {
    seeds_behind(&[&[1, 3, 0], &[0, 3, 4, 1, 0, 0], &[0, 0]])
}

/// The events of the recordings, each behind these choices.
pub(crate) fn seeds_behind(choices: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for path in polywire_tests::vectors::files().into_iter().filter(|path| path.starts_with("hyperhq")) {
        let file = polywire_tests::vectors::load(&path);
        polywire_tests::vectors::walk(&file, &mut |object| {
            let text = object.get("text").and_then(|text| text.as_str()?.strip_prefix('4'));
            found.extend(text.map(|text| text.as_bytes().to_vec()));
        });
    }
    found.sort();
    found.dedup();
    assert!(found.len() > 100, "there are only {} recorded packets", found.len());
    let pieces: Vec<_> = found.iter().map(|text| as_piece(text)).collect();
    seeds::behind(choices, &pieces)
}
