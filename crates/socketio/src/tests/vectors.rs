//! Packets against what the official parser makes of them.

use std::fs;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::{Bytes, BytesMut};
use polywire_core::{FrameError, JsonLimits, Message, MessageCodec};
use serde_json::{Value, json};

use crate::codec::{Codec, Frame};
use crate::packet::{Kind, Packet, PacketLimits, Parsed};

pub(crate) const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/socketio");

fn file(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(format!("{VECTORS}/{name}.json")).unwrap()).unwrap()
}

fn load(name: &str) -> Vec<Value> {
    file(name)["vectors"].as_array().unwrap().clone()
}

/// Decodes frames as the link does: texts, and the attachments they announce. The flag says that some are missing at the end.
fn decode(frames: &Value) -> Result<(Vec<Packet>, bool), FrameError> {
    let limits = PacketLimits::default();
    let (mut packets, mut open) = (Vec::new(), None::<(Packet, usize, Vec<Bytes>)>);
    for frame in frames.as_array().unwrap() {
        if let Some(text) = frame["text"].as_str() {
            if open.is_some() {
                return Err(FrameError::Corrupt("text while attachments are due"));
            }
            match Packet::parse(&Bytes::from(text.to_owned()), &limits)? {
                Parsed::Whole(packet) => packets.push(packet),
                Parsed::Awaits(packet, due) => open = Some((packet, due, Vec::new())),
                Parsed::Beyond(error) => panic!("{error}"),
            }
        } else {
            let bytes = BASE64_STANDARD.decode(frame["binary"].as_str().unwrap()).unwrap();
            let waiting = open.take();
            let (packet, due, mut attachments) =
                waiting.ok_or(FrameError::Corrupt("an attachment that no packet announced"))?;
            attachments.push(bytes.into());
            if attachments.len() < due {
                open = Some((packet, due, attachments));
            } else {
                packets.push(packet.complete(attachments, &limits.json)?);
            }
        }
    }
    Ok((packets, open.is_some()))
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
    let (kind, id, payload) = match &packet.kind {
        Kind::Connect(data) => ("CONNECT", None, data.as_ref().map(|data| data.to_bytes())),
        Kind::Disconnect => ("DISCONNECT", None, None),
        Kind::Event { id, args } => ("EVENT", *id, Some(args.text().clone())),
        Kind::Ack { id, args } => ("ACK", *id, Some(args.text().clone())),
        Kind::ConnectError(data) => ("CONNECT_ERROR", None, data.as_ref().map(|data| data.to_bytes())),
    };
    let mut value = json!({ "type": kind, "nsp": &*packet.namespace });
    if let Some(id) = id {
        value["id"] = id.into();
    }
    if let Some(payload) = payload {
        value["data"] = fill(serde_json::from_slice(&payload).ok()?, packet.attachments());
    }
    Some(value)
}

/// Vectors of which the official parser and we make different things on purpose, and why.
const STRICTER: [(&str, &str); 3] = [
    ("event without payload", "a payload that is not an array"),
    ("event with ack id without payload", "a payload that is not an array"),
    ("binary event fractional index", "a placeholder names no attachment"),
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
                    Ok((packets, missing)) => {
                        assert!(!missing, "{name}");
                        packets
                    }
                    Err(error) => {
                        stricter.push((name.to_owned(), error.to_string()));
                        continue;
                    }
                };
                let expected = vector["packets"].as_array().unwrap();
                assert_eq!(packets.len(), expected.len(), "{name}");
                for (packet, expected) in packets.iter().zip(expected) {
                    // The vectors show what JavaScript holds after reading; where that is less, the text is what counts. An
                    // absent payload of an acknowledgement is an empty one.
                    let less = !vector["note"].is_null() || name == "ack without payload";
                    if let Some(shown) = shown(packet).filter(|_| !less) {
                        assert_eq!(shown, *expected, "{name}");
                        same += 1;
                    }
                }
            }
            "incomplete" => assert!(decoded.unwrap().1, "{name}"),
            _ => assert!(decoded.is_err(), "{name}"),
        }
    }
    assert!(same > 25, "{same}");
    assert_eq!(stricter, STRICTER.map(|(name, why)| (name.to_owned(), why.to_owned())));
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

/// Oddities of the official parser that we share, because nothing is wrong with them.
const SHARED_QUIRKS: [&str; 1] = ["attachment count 01"];

#[test]
fn h05_the_official_parsers_oddities_are_not_imitated() {
    for vector in load("socketio-decode-quirks") {
        let name = vector["name"].as_str().unwrap();
        let taken = decode(&vector["frames"]).is_ok();
        // Digits in front of nothing are an id that a packet without a payload does not need.
        let harmless = name.ends_with("followed by digits");
        assert_eq!(taken, harmless || SHARED_QUIRKS.contains(&name), "{name}");
    }
}

#[test]
fn packets_are_written_as_the_official_parser_writes_them() {
    let mut same = 0;
    for vector in load("socketio-encode") {
        let Some(Ok((packets, _))) = vector.get("frames").map(decode) else { continue };
        let [packet] = &packets[..] else { continue };
        let mut text = BytesMut::from(&b"4"[..]);
        packet.write(&mut text);
        let mut messages = vec![Message::Text(text.freeze())];
        messages.extend(packet.attachments().iter().cloned().map(Message::Binary));
        let expected: Vec<_> = vector["websocket"].as_array().unwrap().iter().map(message).collect();
        assert_eq!(messages, expected, "{}", vector["name"]);
        same += 1;
    }
    assert!(same > 40, "{same}");
}

#[test]
fn h04_engine_packets_decode_as_the_official_parser_decodes_them() {
    let mut seen = 0;
    for vector in file("engineio-packets")["decode"].as_array().unwrap() {
        let frame = &vector["frame"];
        // `b` and base64 stand for bytes in a polling body only.
        let is_polling = frame["text"].as_str().is_some_and(|text| text.starts_with('b'));
        if is_polling || frame["text"].is_null() && frame["binary"].is_null() {
            continue;
        }
        let decoded = Codec.decode(message(frame));
        let kind = vector["packet"]["type"].as_str().filter(|_| vector["verdict"] == "ok");
        match (kind, decoded) {
            (Some("open"), Ok(Some(Frame::Open(_)))) | (Some("close"), Ok(Some(Frame::End))) => {}
            (Some("ping"), Ok(Some(Frame::Ping(payload)))) => {
                assert_eq!(&payload[..], vector["packet"]["data"].as_str().unwrap_or_default().as_bytes());
            }
            (Some("pong" | "upgrade" | "noop"), Ok(Some(Frame::Idle))) => {}
            (Some("message"), Ok(Some(Frame::Packet(_) | Frame::Attachment(_)))) => {}
            (None, Err(_)) => {}
            (_, decoded) => panic!("{vector}: {decoded:?}"),
        }
        seen += 1;
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn an_object_inside_a_packet_that_is_beyond_us_costs_that_packet() {
    let deep = |levels: usize| format!("2[\"a\",{}{}]", "[".repeat(levels), "]".repeat(levels));
    let parse = |text: String| Packet::parse(&Bytes::from(text), &PacketLimits::default());
    assert!(matches!(parse(deep(127)), Ok(Parsed::Whole(_))));
    assert!(matches!(parse(deep(128)), Ok(Parsed::Beyond(_))));
    let limits =
        PacketLimits { json: JsonLimits { max_json_keys: 1, ..JsonLimits::default() }, ..Default::default() };
    let keys = Bytes::from_static(br#"2["a",{"a":1,"b":2}]"#);
    assert!(matches!(Packet::parse(&keys, &limits), Ok(Parsed::Beyond(_))));
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
