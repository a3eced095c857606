//! Bodies of polling: every packet comes out once, within its limit, and what is written again holds the same.

use std::collections::VecDeque;

use polywire_core::{FrameError, Message};
use polywire_socketio::{Payload, take_body};

use crate::choices::Choices;
use crate::{seeds, trace};

/// Stands between two packets.
const SEPARATOR: u8 = 0x1e;
const NO_LIMIT: (usize, &str) = (usize::MAX, "none");

/// Choices: the largest packet, the largest body. Then the body that comes.
pub fn run(input: &[u8]) {
    let mut choices = Choices::new(input);
    let (max_packet, max_body) = (choices.number(), choices.number());
    let body = choices.rest();
    let Ok(payload) = Payload::new(body.to_vec().into()) else {
        assert!(std::str::from_utf8(body).is_err(), "it is UTF-8: {body:?}");
        return trace::mark("not UTF-8");
    };
    assert!(std::str::from_utf8(body).is_ok(), "it is not UTF-8: {body:?}");
    let (all, fault) = taken(payload, NO_LIMIT);
    assert!(!matches!(fault, Some(FrameError::TooLarge { .. })), "{fault:?}");
    let packets = body.split(|byte| *byte == SEPARATOR).count();
    assert!(if fault.is_none() { all.len() == packets } else { all.len() < packets }, "{all:?}");
    let Ok(limited) = Payload::new(body.to_vec().into()) else { unreachable!("it was UTF-8 before") };
    let (few, fault_of_limit) = taken(limited, (max_packet, "few"));
    assert!(all.iter().zip(&few).all(|(one, other)| one == other) && few.len() <= all.len());
    match (all.get(few.len()), &fault_of_limit) {
        (Some(next), fault) => {
            assert!(
                matches!(fault, Some(FrameError::TooLarge { .. })) && next.len() > max_packet,
                "{fault:?}"
            );
        }
        (None, fault_of_limit) => assert_eq!(fault_of_limit.is_some(), fault.is_some()),
    }
    assert!(few.iter().all(|message| message.len() <= max_packet));
    trace::mark((trace::size(all.len()), trace::size(few.len()), fault.is_some(), fault_of_limit.is_some()));
    written(&all, max_body);
}

/// What comes out until the end or a fault.
fn taken(mut payload: Payload, limit: (usize, &'static str)) -> (Vec<Message>, Option<FrameError>) {
    let mut messages = Vec::new();
    loop {
        match payload.next(limit) {
            Ok(Some(message)) => {
                let is_one = !matches!(&message, Message::Text(text) if text.contains(&SEPARATOR));
                assert!(is_one, "two packets in one: {message:?}");
                messages.push(message);
            }
            Ok(None) => {
                assert!(payload.is_empty());
                return (messages, None);
            }
            Err(fault) => return (messages, Some(fault)),
        }
    }
}

/// Bodies of these messages hold all of them in order, and more than one only within the limit.
fn written(messages: &[Message], max: usize) {
    let mut left = messages.iter().cloned().collect::<VecDeque<_>>();
    let mut again = Vec::new();
    while let Some(body) = take_body(&mut left, max) {
        let length = body.len();
        let Ok(payload) = Payload::new(body) else { panic!("a body of ours is not UTF-8") };
        let (mut messages, fault) = taken(payload, NO_LIMIT);
        assert!(fault.is_none(), "{fault:?}");
        assert!(length <= max || messages.len() == 1, "{length} bytes in {} packets", messages.len());
        again.append(&mut messages);
    }
    assert!(left.is_empty() && again == messages, "{again:?}");
}

/// Recorded texts: each alone as a body, under a limit and without.
pub fn seeds() -> Vec<Vec<u8>> {
    let texts = crate::socketio_packet::texts();
    let mut bodies = texts.clone();
    bodies.extend(texts.chunks(3).map(|three| three.join(&SEPARATOR)));
    bodies.push(b"4hello\x1ebAQIDBA==\x1e1\x1e2".to_vec());
    seeds::behind(&[&[255, 255, 255, 255], &[8, 0, 16, 0]], &bodies)
}
