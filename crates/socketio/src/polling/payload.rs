//! Polling bodies, pure: Engine.IO packets one behind the other, and back.
//!
//! Read in the Engine.IO 4 protocol document and in the source of engine.io-parser 5.2, and checked against its vectors: packets
//! are text, U+001E stands between two of them, and bytes are `b` and their base64.

use std::collections::VecDeque;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use polywire_core::{FrameError, Message};

/// Stands between two packets. No packet has it inside: JSON escapes it in strings, and a namespace has no control characters.
const SEPARATOR: u8 = 0x1e;
/// The packet that ends a session.
pub(crate) const END: &[u8] = b"1";
/// Stands before base64.
const BYTES: u8 = b'b';

/// The packets of one body, taken off one by one, so that a body of a million small ones costs no more than its bytes.
#[derive(Debug, Default)]
pub struct Payload {
    /// What is left; `None` at the end. An empty rest is an empty packet.
    rest: Option<Bytes>,
    /// Bytes of the whole body.
    total: usize,
}

impl Payload {
    /// The packets of `body`.
    ///
    /// # Errors
    /// [`FrameError::Corrupt`] when it is not UTF-8.
    pub fn new(body: Bytes) -> Result<Self, FrameError> {
        match std::str::from_utf8(&body) {
            Ok(_) => Ok(Self { total: body.len(), rest: Some(body) }),
            Err(_) => Err(FrameError::Corrupt("a polling body is not UTF-8")),
        }
    }

    /// Have all packets been taken?
    pub fn is_empty(&self) -> bool {
        self.rest.is_none()
    }

    /// The next packet as the WebSocket message that would carry it; of more than `max` bytes it is refused in the name of
    /// `setting`. Text that is most of the body is shared with it; other text is copied, so that whoever keeps a packet does not keep
    /// far more.
    ///
    /// # Errors
    /// [`FrameError`]; nothing that follows can be trusted then.
    pub fn next(&mut self, (max, setting): (usize, &'static str)) -> Result<Option<Message>, FrameError> {
        let Some(mut rest) = self.rest.take() else { return Ok(None) };
        let end = rest.iter().position(|byte| *byte == SEPARATOR);
        let packet = rest.split_to(end.unwrap_or(rest.len()));
        if end.is_some() {
            self.rest = Some(rest.slice(1..));
        }
        let check = |got: usize| {
            let [bytes, most] = [got, max].map(|bytes| u64::try_from(bytes).unwrap_or(u64::MAX));
            if got > max { Err(FrameError::TooLarge { got: bytes, max: most, setting }) } else { Ok(()) }
        };
        if let Some(encoded) = packet.strip_prefix(&[BYTES]) {
            check(decoded_bytes(encoded))?;
            let bytes = STANDARD.decode(encoded);
            let bytes = bytes.map_err(|_| FrameError::Corrupt("a packet of bytes is not base64"))?;
            return Ok(Some(Message::Binary(bytes.into())));
        }
        check(packet.len())?;
        let shares = packet.len() >= self.total / 2;
        Ok(Some(Message::Text(if shares { packet } else { Bytes::copy_from_slice(&packet) })))
    }
}

/// How many bytes base64 text stands for.
fn decoded_bytes(encoded: &[u8]) -> usize {
    let padding = encoded.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    (encoded.len() / 4).saturating_mul(3).saturating_add(encoded.len() % 4).saturating_sub(padding)
}

/// How many bytes of a body a message takes, without a separator.
pub(crate) fn encoded_bytes(message: &Message) -> usize {
    match message {
        Message::Binary(bytes) => bytes.len().div_ceil(3).saturating_mul(4).saturating_add(1),
        other => other.len(),
    }
}

/// Takes as many messages as fit into a body of `max` bytes, in order, and makes that body. A message that is larger alone goes
/// alone. `None` when there is none.
///
/// Read in the source of engine.io-client 6.6: `maxPayload` of the server bounds one body. The end of the session has a body of
/// its own: socket.io 4.8 looks at packets one tick after the body came, and by then an end in the same body has undone them
/// (observed: a namespace that was left in order counts as a lost transport).
pub fn take_body(messages: &mut VecDeque<Message>, max: usize) -> Option<Bytes> {
    let mut bytes = 0_usize;
    let mut count = 0;
    for message in &*messages {
        let with = bytes.saturating_add(usize::from(count > 0)).saturating_add(encoded_bytes(message));
        let is_end = matches!(message, Message::Text(text) if text == END);
        if count > 0 && (with > max || is_end) {
            break;
        }
        (bytes, count) = (with, count + 1);
    }
    if count == 0 {
        return None;
    }
    let mut body = BytesMut::with_capacity(bytes);
    for (at, message) in messages.drain(..count).enumerate() {
        if at > 0 {
            body.put_u8(SEPARATOR);
        }
        match message {
            Message::Binary(bytes) => {
                body.put_u8(BYTES);
                body.put_slice(STANDARD.encode(bytes).as_bytes());
            }
            Message::Text(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => body.put_slice(&bytes),
            Message::Close(_) => {}
        }
    }
    Some(body.freeze())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]
mod tests {
    use polywire_size::cases;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const NO_LIMIT: (usize, &str) = (usize::MAX, "max_frame_bytes");

    fn vectors(file: &str) -> Value {
        let path = format!("{}/{file}.json", crate::tests::vectors::VECTORS);
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    /// A packet of the vectors as the message that a WebSocket would carry.
    fn message(packet: &Value) -> Message {
        let kinds = ["open", "close", "ping", "pong", "message", "upgrade", "noop"];
        let kind = kinds.iter().position(|kind| packet["type"] == *kind).unwrap();
        match &packet["data"] {
            Value::Null => Message::Text(kind.to_string().into()),
            Value::String(data) => Message::Text(format!("{kind}{data}").into()),
            data => Message::Binary(STANDARD.decode(data["$binary"].as_str().unwrap()).unwrap().into()),
        }
    }

    fn messages(packets: &Value) -> VecDeque<Message> {
        packets.as_array().unwrap().iter().map(message).collect()
    }

    /// Everything that comes out, through the codec that judges what is in a packet.
    fn decode(body: &str) -> (VecDeque<Message>, bool) {
        use polywire_core::MessageCodec;
        let mut payload = Payload::new(body.to_owned().into()).unwrap();
        let mut out = VecDeque::new();
        loop {
            match payload.next(NO_LIMIT) {
                Ok(None) => return (out, true),
                Ok(Some(message)) if crate::Codec.decode(message.clone()).is_ok() => out.push_back(message),
                Ok(Some(_)) | Err(_) => return (out, false),
            }
        }
    }

    #[test]
    fn every_body_of_the_vectors_is_written_and_read() {
        let vectors = vectors("engineio-payloads");
        let (mut encoded, mut decoded) = (0, 0);
        for vector in vectors["encode"].as_array().unwrap() {
            let packets = messages(&vector["packets"]);
            let text = vector["payload"].as_str().unwrap();
            assert_eq!(take_body(&mut packets.clone(), usize::MAX).unwrap(), text, "{vector}");
            assert_eq!(decode(text), (packets, true), "{vector}");
            encoded += 1;
        }
        for vector in vectors["decode"].as_array().unwrap() {
            let whole = vector["verdict"] == "ok";
            let text = vector["payload"].as_str().unwrap();
            assert_eq!(decode(text), (messages(&vector["packets"]), whole), "{vector}");
            decoded += 1;
        }
        assert_eq!((encoded, decoded), (5, 10));
    }

    #[test]
    fn every_packet_of_the_vectors_has_its_polling_form() {
        let vectors = vectors("engineio-packets");
        let all = vectors["encode"].as_array().unwrap();
        assert!(all.len() >= 14, "{}", all.len());
        for vector in all {
            let mut packet = VecDeque::from([message(&vector["packet"])]);
            assert_eq!(encoded_bytes(&packet[0]), vector["polling"].as_str().unwrap().len(), "{vector}");
            assert_eq!(take_body(&mut packet, 1).unwrap(), vector["polling"].as_str().unwrap(), "{vector}");
        }
    }

    /// Frames of bytes that the official parser takes and we refuse: Node reads base64 without its padding, and passes over what
    /// is none.
    const STRICTER: [&str; 2] = ["bAQ", "b****"];

    #[test]
    fn every_frame_of_bytes_of_the_vectors_is_read_in_a_body() {
        let vectors = vectors("engineio-packets");
        let all = vectors["decode"].as_array().unwrap().iter();
        let mut refused = Vec::new();
        for vector in all {
            let Some(text) = vector["frame"]["text"].as_str().filter(|text| text.starts_with('b')) else {
                continue;
            };
            match decode(text) {
                (read, true) => assert_eq!(read, [message(&vector["packet"])], "{vector}"),
                (_, false) => refused.push(text),
            }
        }
        assert_eq!(refused, STRICTER);
    }

    #[test]
    fn a_body_is_as_large_as_the_server_takes_and_never_splits_a_message() {
        let text = |text: &'static str| Message::Text(text.into());
        let mut queue = VecDeque::from([text("41"), text("42"), text("4too long"), text("43"), text("44")]);
        let mut bodies = Vec::new();
        while let Some(body) = take_body(&mut queue, 5) {
            bodies.push(body);
        }
        assert_eq!(bodies, ["41\u{1e}42", "4too long", "43\u{1e}44"]);
        let mut queue = VecDeque::from([text("42[]"), text("41"), text("1")]);
        assert_eq!(take_body(&mut queue, 1_000).unwrap(), "42[]\u{1e}41");
        assert_eq!(take_body(&mut queue, 1_000).unwrap(), "1");
    }

    #[test]
    fn h12_a_packet_over_the_limit_is_refused_before_its_bytes_are_decoded() {
        let mut payload = Payload::new("4abc\u{1e}bAAAAAA==\u{1e}4abcd".into()).unwrap();
        let limit = (4, "max_login_bytes");
        assert_eq!(payload.next(limit).unwrap(), Some(Message::Text("4abc".into())));
        assert_eq!(payload.next(limit).unwrap(), Some(Message::Binary(vec![0; 4].into())));
        let refused = payload.next(limit).unwrap_err();
        assert_eq!(refused.to_string(), "frame of 5 bytes exceeds max_login_bytes = 4");
        let mut payload = Payload::new("bAAAAAAA=".into()).unwrap();
        assert_eq!(
            payload.next(limit).unwrap_err().to_string(),
            "frame of 5 bytes exceeds max_login_bytes = 4"
        );
    }

    #[test]
    fn a_packet_keeps_at_most_twice_its_own_bytes() {
        let body = Bytes::from(format!("4{}\u{1e}4small", "x".repeat(100)));
        let within = |text: &Bytes| body.as_ptr_range().contains(&text.as_ptr());
        let mut payload = Payload::new(body.clone()).unwrap();
        let mut shared = Vec::new();
        while let Some(Message::Text(text)) = payload.next(NO_LIMIT).unwrap() {
            shared.push(within(&text));
        }
        assert_eq!(shared, [true, false]);
    }

    #[test]
    fn what_is_no_text_and_no_base64_is_refused() {
        assert!(Payload::new(Bytes::from_static(b"4\xff")).is_err());
        for body in ["b*", "bAAA", "bA===", "bAQID\u{1e}b A", "bAQ==AQ=="] {
            assert!(!decode(body).1, "{body}");
        }
    }

    proptest! {
        #![proptest_config(cases::<256>())]

        #[test]
        fn whatever_is_written_is_read_again(
            packets in prop::collection::vec(prop_oneof![
                "4[^\u{1e}]{0,20}".prop_map(|text| Message::Text(text.into())),
                prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Message::Binary(bytes.into())),
            ], 0..20),
            max in 1_usize..100,
        ) {
            let mut queue = VecDeque::from(packets.clone());
            let mut read = Vec::new();
            while let Some(body) = take_body(&mut queue, max) {
                let mut payload = Payload::new(body.clone()).unwrap();
                let before = read.len();
                while let Some(message) = payload.next(NO_LIMIT).unwrap() {
                    read.push(message);
                }
                prop_assert!(body.len() <= max || read.len() == before + 1);
            }
            prop_assert_eq!(read, packets);
        }

        #[test]
        fn no_body_is_too_odd(body in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(mut payload) = Payload::new(body.into()) {
                while let Ok(Some(_)) = payload.next((50, "max_frame_bytes")) {}
            }
        }
    }
}
