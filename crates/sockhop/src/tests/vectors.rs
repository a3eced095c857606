//! The recorded bytes of the real library, read and written again.

use std::collections::BTreeMap;
use std::fs;

use bytes::{Bytes, BytesMut};
use polywire_core::{Codec as _, JsonLimits, Limits, Outgoing, Route, StreamCodec, json};
use serde_json::Value as Json;

use crate::binary::read_base64;
use crate::codec::{Codec, Frame, Framing};
use crate::config::Config;
use crate::control;
use crate::id::Id;
use crate::terminator::Terminator;
use crate::wire::{self, Data, Link, Message, Name, Received, Value, Wanted};

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/sockhop");

pub(crate) fn load(name: &str) -> Json {
    let path = format!("{DIR}/{name}.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// The bytes of an item or unit, written out or as repeated segments; `None` when nothing was sent.
pub(crate) fn bytes_of(item: &Json) -> Option<Vec<u8>> {
    if let Some(hex) = item["hex"].as_str() {
        return Some(unhex(hex));
    }
    let segments = item["segments"].as_array()?;
    let mut all = Vec::new();
    for segment in segments {
        match segment["hex"].as_str() {
            Some(hex) => all.extend(unhex(hex)),
            None => {
                let count = usize::try_from(segment["count"].as_u64().unwrap()).unwrap();
                all.extend(unhex(segment["repeat"].as_str().unwrap()).repeat(count));
            }
        }
    }
    Some(all)
}

fn read(frame: &Frame) -> Received<'_> {
    let limits = JsonLimits::default();
    match frame {
        Frame::Line(text) => wire::read_line(text, &limits).unwrap(),
        Frame::Packet { id, payload } => wire::read_packet(*id, payload, &limits).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The typed message that would be written for what was read; `None` where we never write such a thing.
fn again(received: Received<'_>) -> Option<Message> {
    let Name::Text(kind) = received.kind else { return None };
    let data = match received.data {
        Value::Missing => Data::Missing,
        Value::Line(text) if kind == "Buffer" && text[0] == b'"' => {
            Data::Bytes(read_base64(&json::as_string(text).unwrap()).into())
        }
        Value::Line(text) => Data::Json(Bytes::copy_from_slice(text)),
        Value::Framed(text) => Data::Json(text.into_owned().into()),
        Value::Bytes(bytes) => Data::Bytes(Bytes::copy_from_slice(bytes)),
    };
    let link = match received.link {
        Wanted::None => Link::None,
        Wanted::Ask(id) => Link::Ask(id.to_id().unwrap()),
        Wanted::Answer(id) => Link::Answer(id.to_id().unwrap()),
    };
    Some(Message { kind: Route::new(kind.into_owned()).ok()?, data, link })
}

/// The same where it is a message of the protocol: made as a session makes it, of what was read in it. `None` for any other, and
/// for pings and pongs, whose dates are of their moment.
fn made_again(received: &Received<'_>) -> Option<Message> {
    let limits = JsonLimits::default();
    let (Name::Text(kind), Some(data)) = (&received.kind, received.data.json()) else { return None };
    let id = match received.link {
        Wanted::Ask(id) | Wanted::Answer(id) => id.to_id(),
        Wanted::None => None,
    };
    let own = |name: &str| control::members(data, [name], &limits).and_then(|[value]| value);
    match &**kind {
        "SockhopHandshake" => Some(control::handshake(control::asks_binary(data, &limits)?, id?)),
        "SockhopRequest" => {
            let kind = json::as_string(own("type")?)?;
            Some(control::request(&Id::from_json(own("uuid")?)?, &kind, own("data")?))
        }
        "SockhopResponsePacket" if own("last") == Some(b"true") => {
            let kind = json::as_string(own("type")?)?;
            Some(control::response(&Id::from_json(own("uuid")?)?, &kind, own("data")?))
        }
        "Object" if own("allow_binary_mode").is_some() => {
            Some(control::handshake_answer(control::allows_binary(Some(data), &limits), id?))
        }
        _ => None,
    }
}

/// Long values and such that strict readers cannot load stand in the recordings as a text with brackets.
pub(crate) fn is_shortened(data: &Json) -> bool {
    let text = data.to_string();
    text.contains("\"(") || text.contains(" characters)") || text.contains(" elements)")
}

/// Holds what was read against what the recording says the bytes mean.
fn compare(received: &Received<'_>, decoded: &Json) {
    if decoded.get("type").is_some() {
        let Name::Text(kind) = &received.kind else { panic!("{received:?}") };
        // Long names are shortened in the recording.
        let expected = decoded["type"].as_str().unwrap();
        assert!(kind == expected || expected.starts_with('('), "{kind} is not {expected}");
    }
    if let Some(hex) = decoded.get("data_hex").and_then(Json::as_str) {
        let Value::Bytes(bytes) = received.data else { panic!("{received:?}") };
        if !hex.starts_with('(') {
            assert_eq!(bytes, unhex(hex));
        }
    } else if let Some(data) = decoded.get("data") {
        let text = received.data.json().expect("JSON data");
        if !is_shortened(data) {
            assert_eq!(&serde_json::from_slice::<Json>(text).unwrap(), data);
        }
    } else {
        assert_eq!(received.data, Value::Missing);
    }
    for (member, wanted) in [("id", true), ("callback_id", false)] {
        if let Some(id) = decoded.get(member).and_then(Json::as_str) {
            let (Wanted::Ask(found) | Wanted::Answer(found)) = received.link else { panic!("{received:?}") };
            assert_eq!(found.text().split(|byte| *byte == 0).next().unwrap(), id.as_bytes());
            // In a frame the id of both kinds is called callback_id.
            assert!(matches!(received.link, Wanted::Ask(_)) == wanted || decoded.get("msg_id").is_some());
        }
    }
}

#[test]
fn every_recorded_item_reads_as_recorded_and_is_written_byte_for_byte() {
    let mut checked = 0;
    for (file, mode) in [
        ("json-kinds-210", Framing::Json),
        ("json-kinds-184", Framing::Json),
        ("binary-kinds-210", Framing::Binary),
        ("codec-binary-210", Framing::Binary),
    ] {
        for item in load(file)["items"].as_array().unwrap() {
            let Some(bytes) = bytes_of(item) else { continue };
            let label = item.get("kind").or(item.get("label")).unwrap();
            let mut codec = Codec::new(&Config::default(), &Limits::default());
            codec.set_read_mode(mode);
            codec.set_write_mode(mode);
            let mut input = BytesMut::from(&bytes[..]);
            let frame = codec.decode(&mut input).unwrap().unwrap_or_else(|| panic!("{file}: {label}"));
            assert!(input.is_empty(), "{file}: {label}");
            if label == "200 nested arrays" {
                // Deeper than max_json_depth.
                continue;
            }
            let received = read(&frame);
            compare(&received, &item["decoded"]);
            // The library mangles a class of the user that has this name; we never write such a thing.
            let mangled = label == "user class named Buffer";
            if let Some(message) = again(received).filter(|_| !mangled) {
                let mut out = Outgoing::new();
                codec.encode(Frame::Message(message), &mut out).unwrap();
                assert_eq!(out.take(), bytes, "{file}: {label}");
            }
            checked += 1;
        }
    }
    assert!(checked > 200, "{checked} items");
}

/// Every frame of one direction of a recording, when the bytes arrive in pieces that end at `cuts`.
fn frames(stream: &[u8], config: &Config, cuts: &[usize]) -> Vec<Frame> {
    let mut codec = Codec::new(config, &Limits::default());
    let mut input = BytesMut::new();
    let mut found = Vec::new();
    let mut start = 0;
    for end in cuts.iter().copied().chain([stream.len()]) {
        input.extend_from_slice(&stream[start..end]);
        start = end;
        while let Some(frame) = codec.decode(&mut input).unwrap() {
            if matches!(&frame, Frame::Line(text) if text.starts_with(b"{\"type\":\"SockhopBinaryModeTransition\""))
            {
                codec.set_read_mode(Framing::Binary);
            }
            found.push(frame);
        }
    }
    assert!(input.is_empty(), "bytes left over");
    found
}

fn units_of(file: &Json) -> BTreeMap<(u64, String), Vec<&Json>> {
    let mut streams: BTreeMap<_, Vec<&Json>> = BTreeMap::new();
    for unit in file["units"].as_array().unwrap() {
        if unit["mode"] != "fin" {
            let stream = (unit["conn"].as_u64().unwrap_or(0), unit["dir"].as_str().unwrap().to_owned());
            streams.entry(stream).or_default().push(unit);
        }
    }
    streams
}

#[test]
fn every_recorded_session_is_cut_into_its_units_wherever_the_reads_end() {
    let (mut files, mut streams, mut messages, mut rewritten, mut made) = (0, 0, 0, 0, 0);
    for entry in fs::read_dir(DIR).unwrap() {
        let path = entry.unwrap().path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".json")) else {
            continue;
        };
        let file = load(name);
        if file.get("units").is_none() {
            continue;
        }
        files += 1;
        for ((_, dir), units) in units_of(&file) {
            streams += 1;
            let mut config = Config::default();
            if name == "terminators-210" {
                config.terminator = Terminator::both(if dir == "c2s" { &b"\r\n"[..] } else { b"\0" });
            }
            let parts: Vec<Vec<u8>> = units.iter().map(|unit| bytes_of(unit).unwrap()).collect();
            let stream = parts.concat();
            let whole = frames(&stream, &config, &[]);
            assert_eq!(whole.len(), parts.len(), "{name} {dir}");
            let written = |frame: Frame, mode: Framing| {
                let mut codec = Codec::new(&config, &Limits::default());
                codec.set_write_mode(mode);
                let mut out = Outgoing::new();
                codec.encode(frame, &mut out).unwrap();
                out.take()
            };
            for ((frame, part), unit) in whole.iter().zip(&parts).zip(&units) {
                if name == "peers-184-184-barejson" {
                    // No message, but any value.
                    assert_eq!(&written(frame.clone(), Framing::Json)[..], part, "{name} {dir}");
                    continue;
                }
                messages += 1;
                let received = read(frame);
                compare(&received, &unit["decoded"]);
                let mode = if matches!(frame, Frame::Line(_)) { Framing::Json } else { Framing::Binary };
                if let Some(message) = made_again(&received) {
                    assert_eq!(&written(Frame::Message(message), mode)[..], part, "{name} {dir}");
                    made += 1;
                }
                if let Some(message) = again(received) {
                    assert_eq!(&written(Frame::Message(message), mode)[..], part, "{name} {dir}");
                    rewritten += 1;
                }
            }
            for cut in 1..stream.len() {
                assert_eq!(frames(&stream, &config, &[cut]), whole, "{name} {dir} cut at {cut}");
            }
            let every_byte: Vec<usize> = (1..stream.len()).collect();
            assert_eq!(frames(&stream, &config, &every_byte), whole, "{name} {dir} byte by byte");
        }
    }
    assert!(files >= 22 && streams >= 40, "{files} files, {streams} streams");
    assert!(
        rewritten == messages && messages >= 240 && made >= 50,
        "{messages} messages, {rewritten} written, {made} made"
    );
}
