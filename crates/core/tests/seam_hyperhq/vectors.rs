//! Packets against the official parser's vectors.

use std::fs;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use polywire_core::{Message, MessageCodec};
use serde_json::{Value, json};

use super::lower::{EngineCodec, Frame};
use super::packet::{Kind, Packet};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/socketio");

fn load(name: &str) -> Vec<Value> {
    let file: Value =
        serde_json::from_str(&fs::read_to_string(format!("{VECTORS}/{name}.json")).unwrap()).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

/// Decodes frames as the lower half does: texts, and the attachments they announce.
fn decode(frames: &Value) -> Result<Vec<Packet>, &'static str> {
    let (mut packets, mut open) = (Vec::new(), None::<(Packet, usize)>);
    for frame in frames.as_array().unwrap() {
        if let Some(text) = frame["text"].as_str() {
            if open.is_some() {
                return Err("text while attachments are due");
            }
            match Packet::parse(&Bytes::from(text.to_owned()))? {
                (packet, 0) => packets.push(packet),
                waiting => open = Some(waiting),
            }
        } else {
            let (mut packet, due) = open.take().ok_or("an attachment that no packet announced")?;
            packet
                .attachments
                .push(BASE64_STANDARD.decode(frame["binary"].as_str().unwrap()).unwrap().into());
            if packet.attachments.len() < due {
                open = Some((packet, due));
            } else {
                packet.check_placeholders()?;
                packets.push(packet);
            }
        }
    }
    Ok(packets)
}

fn fill(value: Value, attachments: &[Bytes]) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(|item| fill(item, attachments)).collect(),
        Value::Object(members)
            if members.get("_placeholder") == Some(&Value::Bool(true)) && !attachments.is_empty() =>
        {
            let number = usize::try_from(members["num"].as_u64().unwrap()).unwrap();
            json!({ "$binary": BASE64_STANDARD.encode(&attachments[number]) })
        }
        Value::Object(members) => {
            members.into_iter().map(|(name, member)| (name, fill(member, attachments))).collect()
        }
        other => other,
    }
}

/// The packet as the vectors show it; `None` where its payload has no such form, as with numbers and lone surrogates.
fn shown(packet: &Packet) -> Option<Value> {
    let kind = match packet.kind {
        Kind::Connect => "CONNECT",
        Kind::Disconnect => "DISCONNECT",
        Kind::Event => "EVENT",
        Kind::Ack => "ACK",
        Kind::ConnectError => "CONNECT_ERROR",
    };
    let mut value = json!({ "type": kind, "nsp": packet.namespace });
    if let Some(id) = packet.id {
        value["id"] = id.into();
    }
    if let Some(data) = &packet.data {
        value["data"] = fill(serde_json::from_slice(data).ok()?, &packet.attachments);
    }
    Some(value)
}

/// Vectors of which the official parser and we make different things on purpose.
const STRICTER: [(&str, &str); 3] = [
    ("event without payload", "an event without arguments"),
    ("event with ack id without payload", "an event without arguments"),
    ("binary event fractional index", "illegal attachments"),
];

#[test]
fn packets_decode_as_the_official_parser_decodes_them() {
    let (mut same, mut stricter) = (0, Vec::new());
    for vector in load("socketio-decode") {
        let name = vector["name"].as_str().unwrap();
        let decoded = decode(&vector["frames"]);
        match vector["verdict"].as_str().unwrap() {
            "ok" => {
                let packets = match decoded {
                    Ok(packets) => packets,
                    Err(what) => {
                        stricter.push((name.to_owned(), what));
                        continue;
                    }
                };
                let expected = vector["packets"].as_array().unwrap();
                assert_eq!(packets.len(), expected.len(), "{name}");
                for (packet, expected) in packets.iter().zip(expected) {
                    // The vectors show what JavaScript holds after reading; where that is less, the text is what counts.
                    if let Some(shown) = shown(packet).filter(|_| vector["note"].is_null()) {
                        assert_eq!(shown, *expected, "{name}");
                        same += 1;
                    }
                }
            }
            "error" => assert!(decoded.is_err(), "{name}"),
            _ => {}
        }
    }
    assert!(same > 25, "{same}");
    assert_eq!(stricter, STRICTER.map(|(name, why)| (name.to_owned(), why)));
}

#[test]
fn h05_h06_what_the_official_parser_refuses_is_refused() {
    let vectors = load("socketio-decode-invalid");
    assert!(vectors.len() > 50);
    for vector in vectors {
        if vector["verdict"] == "error" {
            assert!(decode(&vector["frames"]).is_err(), "{vector}");
        }
    }
}

#[test]
fn packets_are_written_as_the_official_parser_writes_them() {
    let mut same = 0;
    for vector in load("socketio-encode") {
        let Some(Ok(packets)) = vector.get("frames").map(decode) else { continue };
        let [packet] = &packets[..] else { continue };
        let mut messages = Vec::new();
        let text = Frame::Text(b'4', packet.text());
        for frame in [text].into_iter().chain(packet.attachments.iter().cloned().map(Frame::Binary)) {
            EngineCodec.encode(frame, &mut |message| messages.push(message)).unwrap();
        }
        let expected: Vec<_> = vector["websocket"].as_array().unwrap().iter().map(message).collect();
        assert_eq!(messages, expected, "{}", vector["name"]);
        same += 1;
    }
    assert!(same > 40, "{same}");
}

/// A message of a vector or a transcript.
pub(crate) fn message(entry: &Value) -> Message {
    match entry["text"].as_str() {
        Some(text) => Message::Text(Bytes::from(text.to_owned())),
        None => {
            let base64 = entry["base64"].as_str().or(entry["binary"].as_str()).unwrap();
            Message::Binary(BASE64_STANDARD.decode(base64).unwrap().into())
        }
    }
}
