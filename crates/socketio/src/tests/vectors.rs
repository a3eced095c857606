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

pub(crate) fn load(name: &str) -> Vec<Value> {
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
        Kind::Beyond { error, .. } => panic!("{error}"),
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

/// The packet's text, as it is written.
fn written(packet: &Packet) -> String {
    let mut text = BytesMut::new();
    packet.write(&mut text);
    String::from_utf8(text.to_vec()).unwrap()
}

/// Vectors that the official parser takes and we refuse, on purpose, and why.
const STRICTER: [(&str, &str); 3] = [
    ("event without payload", "a payload that is not an array"),
    ("event with ack id without payload", "a payload that is not an array"),
    ("binary event fractional index", "a placeholder names no attachment"),
];

/// Vectors that show another packet than ours, and the text that ours keeps: they show what JavaScript holds after reading. An
/// absent payload of an acknowledgement is an empty one.
const SHOWN_OTHERWISE: [(&str, &str); 4] = [
    ("ack without payload", "312[]"),
    ("escaped lone surrogate", r#"2["s","\ud800"]"#),
    ("big integer", r#"2["a",12345678901234567890]"#),
    ("number overflow", r#"2["a",1e400]"#),
];

#[test]
fn packets_decode_as_the_official_parser_decodes_them() {
    let (mut otherwise, mut stricter) = (Vec::new(), Vec::new());
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
                    if shown(packet).as_ref() != Some(expected) {
                        otherwise.push((name.to_owned(), written(packet)));
                    }
                }
            }
            "incomplete" => assert!(decoded.unwrap().1, "{name}"),
            "error" => assert!(decoded.is_err(), "{name}"),
            other => panic!("{name}: {other}"),
        }
    }
    assert_eq!(stricter, STRICTER.map(|(name, why)| (name.to_owned(), why.to_owned())));
    assert_eq!(otherwise, SHOWN_OTHERWISE.map(|(name, text)| (name.to_owned(), text.to_owned())));
}

#[test]
fn h05_h06_what_the_official_parser_refuses_is_refused() {
    let vectors = load("socketio-decode-invalid");
    assert!(!vectors.is_empty());
    for vector in vectors {
        assert_eq!(vector["verdict"], "error", "{vector}");
        assert!(decode(&vector["frames"]).is_err(), "{vector}");
    }
}

/// Oddities of the official parser that we share, because nothing is wrong with them: digits in front of nothing are an id that
/// a packet without a payload does not need.
const SHARED_QUIRKS: [&str; 4] = [
    "attachment count 01",
    "connect error followed by digits",
    "connect followed by digits",
    "disconnect followed by digits",
];

#[test]
fn h05_the_official_parsers_oddities_are_not_imitated() {
    let vectors = load("socketio-decode-quirks");
    let taken = vectors.iter().filter(|vector| decode(&vector["frames"]).is_ok());
    let names: Vec<_> = taken.map(|vector| vector["name"].as_str().unwrap()).collect();
    assert_eq!(names, SHARED_QUIRKS);
}

/// Vectors of packets that cannot be put together from their own frames, and why.
const NEVER_WRITTEN: [(&str, &str); 3] = [
    ("binary event, eleven attachments", "frame with 11 attachments exceeds max_attachments = 10"),
    ("bigint", "it is no JSON: the official parser writes nothing either"),
    ("namespace containing a comma", "a payload that is not an array"),
];

#[test]
fn packets_are_written_as_the_official_parser_writes_them() {
    let mut never = Vec::new();
    for vector in load("socketio-encode") {
        let name = vector["name"].as_str().unwrap();
        let decoded = match vector.get("frames").map(decode) {
            Some(decoded) => decoded.map_err(|error| error.to_string()),
            None => Err("it is no JSON: the official parser writes nothing either".to_owned()),
        };
        let packets = match decoded {
            Ok((packets, missing)) => {
                assert!(!missing, "{name}");
                packets
            }
            Err(why) => {
                never.push((name.to_owned(), why));
                continue;
            }
        };
        let [packet] = &packets[..] else { panic!("{name}: {packets:?}") };
        let mut messages = vec![Message::Text(format!("4{}", written(packet)).into())];
        messages.extend(packet.attachments().iter().cloned().map(Message::Binary));
        let expected: Vec<_> = vector["websocket"].as_array().unwrap().iter().map(message).collect();
        assert_eq!(messages, expected, "{name}");
    }
    assert_eq!(never, NEVER_WRITTEN.map(|(name, why)| (name.to_owned(), why.to_owned())));
}

/// Frames that the official parser takes and we refuse: bytes are text in a polling body only, where they are read.
const OF_POLLING: [&str; 4] = ["bAQIDBA==", "b", "bAQ", "b****"];

#[test]
fn h04_engine_packets_decode_as_the_official_parser_decodes_them() {
    let vectors = file("engineio-packets");
    let mut refused = Vec::new();
    for vector in vectors["decode"].as_array().unwrap() {
        let frame = &vector["frame"];
        match (vector["verdict"].as_str().unwrap(), Codec.decode(message(frame))) {
            ("ok", Ok(Some(decoded))) => assert_packet(&decoded, &vector["packet"]),
            ("ok", Err(_)) => refused.push(frame["text"].as_str().unwrap()),
            ("error", Err(_)) => {}
            (_, decoded) => panic!("{vector}: {decoded:?}"),
        }
    }
    assert_eq!(refused, OF_POLLING);
    for vector in vectors["encode"].as_array().unwrap() {
        let decoded = Codec.decode(message(&vector["websocket"])).unwrap().unwrap();
        assert_packet(&decoded, &vector["packet"]);
    }
}

/// The frame is this packet of a vector.
fn assert_packet(frame: &Frame, packet: &Value) {
    let text = packet["data"].as_str().unwrap_or_default();
    let same = match (packet["type"].as_str().unwrap(), frame) {
        ("open", Frame::Open(data)) | ("ping", Frame::Ping(data)) => data == text,
        ("close", Frame::End) | ("pong" | "upgrade" | "noop", Frame::Idle) => true,
        ("message", Frame::Packet(data)) => data == text && packet["data"]["$binary"].is_null(),
        ("message", Frame::Attachment(data)) => packet["data"]["$binary"] == BASE64_STANDARD.encode(data),
        _ => false,
    };
    assert!(same, "{packet}: {frame:?}");
}

#[test]
fn of_a_packet_that_is_beyond_the_limits_on_json_the_id_is_known() {
    let parse = |text: &str, limits| match Packet::parse(&Bytes::from(text.to_owned()), limits) {
        Ok(Parsed::Whole(packet) | Parsed::Awaits(packet, _)) => packet.kind,
        Err(error) => panic!("{error}"),
    };
    let limits = &PacketLimits::default();
    let deep = |levels: usize| format!("[\"a\",{}{}]", "[".repeat(levels), "]".repeat(levels));
    assert!(matches!(parse(&format!("2{}", deep(127)), limits), Kind::Event { .. }));
    let kind = parse(&format!("27{}", deep(128)), limits);
    let Kind::Beyond { ack: false, id: Some(7), text, error } = &kind else { panic!("{kind:?}") };
    assert_eq!(
        (&text[..], &error.to_string()[..]),
        (deep(128).as_bytes(), "invalid JSON at byte 132: nested deeper than max_json_depth = 128")
    );
    let mut written = BytesMut::new();
    Packet::main(kind.clone()).write(&mut written);
    assert_eq!(written, format!("27{}", deep(128)));
    for (header, ack, id) in
        [("2", false, None), ("38", true, Some(8)), ("51-", false, None), ("61-9", true, Some(9))]
    {
        let kind = parse(&format!("{header}{}", deep(128)), limits);
        assert!(
            matches!(kind, Kind::Beyond { ack: a, id: i, .. } if (a, i) == (ack, id)),
            "{header}: {kind:?}"
        );
    }
    let limits = &PacketLimits { json: JsonLimits { max_json_keys: 1, ..JsonLimits::default() }, ..*limits };
    let kind = parse(r#"2["a",{"a":1,"b":2}]"#, limits);
    assert!(matches!(kind, Kind::Beyond { ack: false, id: None, .. }), "{kind:?}");
    for (kind, name) in [("0", "CONNECT"), ("4", "CONNECT_ERROR")] {
        let error = Packet::parse(&Bytes::from(format!(r#"{kind}{{"a":1,"b":2}}"#)), limits).unwrap_err();
        assert_eq!(error.to_string(), format!("a {name} beyond the limits on JSON"));
    }
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
