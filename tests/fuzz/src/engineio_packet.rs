//! Engine.IO packets: every message is one of the wire's types or refused, and no byte behind the type is lost.

use polywire_core::{Message, MessageCodec};
use polywire_socketio::{Codec, Frame};

use crate::choices::Choices;
use crate::{seeds, trace};

/// Choices: text or bytes. Then the message.
pub fn run(input: &[u8]) {
    let mut choices = Choices::new(input);
    let is_binary = choices.flag();
    let bytes = choices.rest();
    let text = String::from_utf8_lossy(bytes).into_owned();
    let message =
        if is_binary { Message::Binary(bytes.to_vec().into()) } else { Message::Text(text.clone().into()) };
    let (kind, rest) = text.split_at_checked(1).unwrap_or_default();
    match Codec.decode(message) {
        Ok(Some(Frame::Attachment(got))) => assert!(is_binary && got == bytes, "{got:?}"),
        Ok(Some(Frame::Open(got))) => assert_eq!((kind, rest.as_bytes()), ("0", &got[..])),
        Ok(Some(Frame::End)) => assert_eq!(kind, "1"),
        Ok(Some(Frame::Ping(got))) => assert_eq!((kind, rest.as_bytes()), ("2", &got[..])),
        Ok(Some(Frame::Idle)) => assert!(matches!(kind, "3" | "5" | "6"), "{text:?}"),
        Ok(Some(Frame::Packet(got))) => assert_eq!((kind, rest.as_bytes()), ("4", &got[..])),
        Err(_) => assert!(!is_binary && !matches!(kind, "0" | "1" | "2" | "3" | "4" | "5" | "6"), "{text:?}"),
        other => panic!("{other:?}"),
    }
    trace::mark((is_binary, kind.to_owned(), trace::size(rest.len())));
}

/// Recorded messages, as text and as bytes.
pub fn seeds() -> Vec<Vec<u8>> {
    seeds::behind(&[&[0], &[1]], &crate::socketio_packet::texts())
}
