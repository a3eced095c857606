//! What a stock Sockhop peer makes of the bytes we write, and what would kill it.
//!
//! A peer of the 2.x library ends with an uncaught exception over a line `null`, over an answer to an id it has not asked with
//! or that was answered before, over a message with `id` and `callback_id`, and over a handshake or ping whose data are null
//! (observed: `malformed`, `callbacks-json-210`). It loses JSON that stands behind its first binary frame. A peer of bare values
//! looks into each for the `type` of a message of the protocol, and for the name of its `constructor` (read in source: 1.8.4).

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};
use polywire_core::JsonLimits;
use polywire_core::json::{self, Members};
use polywire_sockhop::{Config, Frame, PeerType};
use serde_json::value::RawValue;

/// The peer at the other end.
#[derive(Debug)]
pub struct Stock {
    terminator: Bytes,
    /// Its values come without an envelope.
    bare: bool,
    /// What came and is not whole yet.
    input: Vec<u8>,
    /// Our transition has come.
    frames: bool,
    /// Ids it has asked with and waits for: of callbacks, and of 1.x requests.
    waits: HashSet<(bool, String)>,
    /// Ids that we asked with, as JSON text or as text of a frame.
    pub asks: Vec<String>,
    /// Ids of our pings that were not answered.
    pub pings: Vec<String>,
}

/// The members of a message that matter here, as JSON text; of a frame the id is JSON text too.
#[derive(Debug, Default)]
struct Seen<'a> {
    kind: Option<String>,
    data: Option<&'a [u8]>,
    id: Option<String>,
    callback_id: Option<String>,
}

impl Stock {
    /// The peer of an end with these settings.
    pub fn new(config: &Config) -> Self {
        Self {
            terminator: config.terminator.transmit.clone(),
            bare: config.peer_type == PeerType::Json,
            input: Vec::new(),
            frames: false,
            waits: HashSet::new(),
            asks: Vec::new(),
            pings: Vec::new(),
        }
    }

    /// May this frame end without a word? Only what is the protocol's own: a pong, a second handshake, an answer to ours.
    pub fn may_be_quiet(&self, frame: &Frame) -> bool {
        let seen = match frame {
            Frame::Line(line) => seen_in_line(line),
            Frame::Packet { id, payload } => seen_in_packet(*id, payload),
            Frame::Message(_) | Frame::Release => None,
        };
        let Some(seen) = seen else { return false };
        let ours = seen.callback_id.is_some_and(|id| self.asks.contains(&id));
        !self.bare && (ours || seen.kind.is_some_and(|kind| kind.starts_with("Sockhop")))
    }

    /// It sends this frame.
    pub fn sends(&mut self, frame: &Frame) {
        if self.bare {
            return;
        }
        match frame {
            Frame::Line(line) => {
                let line = String::from_utf8_lossy(line).into_owned();
                if let Some(seen) = seen_in_line(line.as_bytes()) {
                    self.asks_with(&seen);
                }
            }
            Frame::Packet { id, payload } => {
                if let Some(seen) = seen_in_packet(*id, payload) {
                    self.asks_with(&seen);
                }
            }
            Frame::Message(_) | Frame::Release => panic!("{frame:?} was read"),
        }
    }

    fn asks_with(&mut self, seen: &Seen<'_>) {
        if let (Some(id), None) = (&seen.id, &seen.callback_id) {
            self.waits.insert((false, id.clone()));
        }
        if let (Some("SockhopRequest"), Some(data)) = (seen.kind.as_deref(), seen.data)
            && let Some([Some(uuid), ..]) = members(data, ["uuid", "", "", ""])
        {
            self.waits.insert((true, name(uuid)));
        }
    }

    /// It reads what we have written.
    ///
    /// # Panics
    /// When that would kill it, or could not be read.
    pub fn reads(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        let mut input = std::mem::take(&mut self.input);
        let mut at = 0;
        while let Some(length) = self.reads_one(&input[at..]) {
            at += length;
        }
        assert!(at == input.len(), "{} bytes are no whole message", input.len() - at);
        input.clear();
        self.input = input;
    }

    fn reads_one(&mut self, input: &[u8]) -> Option<usize> {
        if self.frames {
            let (length, rest) = input.split_first_chunk::<4>()?;
            let length = u32::from_le_bytes(*length) as usize;
            let (id, payload) = rest.split_first()?;
            let payload = payload.get(..length).expect("a frame is written whole");
            assert!((10..=15).contains(id), "message id {id}");
            let seen = seen_in_packet(*id, payload).expect("the fields of a frame fit it");
            // The ping of a fence has no callback id, and only it.
            let missing = if *id == 11 && seen.kind.as_deref() == Some("SockhopPing") { 36 } else { 0 };
            assert_eq!(field_bytes(*id, payload) - missing, length, "a frame is not its fields");
            self.takes(&seen);
            return Some(length + 5);
        }
        let end = memmem(input, &self.terminator)?;
        let line = &input[..end];
        assert!(serde_json::from_slice::<&RawValue>(line).is_ok(), "a line that is no JSON");
        assert!(line.trim_ascii() != b"null", "the line null");
        if self.bare {
            takes_bare(line);
        } else {
            let seen = seen_in_line(line).expect("a line is an object");
            self.takes(&seen);
            self.frames = seen.kind.as_deref() == Some("SockhopBinaryModeTransition");
        }
        Some(end + self.terminator.len())
    }

    fn is_answered(&mut self, packet: bool, id: &str) {
        // Ids that are not UTF-8 cannot be told apart here; no stock peer has such.
        let waited = self.waits.remove(&(packet, id.to_owned())) || id.contains('\u{fffd}');
        assert!(waited, "an answer to {id}, which was not asked");
    }

    fn takes(&mut self, seen: &Seen<'_>) {
        let kind = seen.kind.as_deref().expect("a type is text");
        // An answer may be a function or a symbol, which have none.
        let answers = seen.callback_id.is_some() && !kind.starts_with("Sockhop");
        let data = seen.data.or(answers.then_some(b"null")).expect("there are data");
        assert!(seen.id.is_none() || seen.callback_id.is_none(), "both id and callback_id");
        let object = data.trim_ascii().first() == Some(&b'{');
        if let Some(id) = &seen.callback_id {
            self.is_answered(false, id);
        }
        match kind {
            "SockhopHandshake" | "SockhopBinaryModeTransition" | "SockhopPong" => {
                assert!(object, "{kind} without an object");
            }
            "SockhopPing" => {
                let [id, ..] = members(data, ["_id", "", "", ""]).expect("the data of a ping are an object");
                self.pings.push(name(id.expect("a ping has an _id")));
            }
            "SockhopRequest" => {
                let found = members(data, ["uuid", "type", "data", ""]).expect("a request is an object");
                assert!(found[..3].iter().all(Option::is_some), "a request misses a member");
                self.asks.push(name(found[0].unwrap_or_default()));
            }
            "SockhopResponsePacket" => {
                let [uuid, .., last] =
                    members(data, ["uuid", "type", "data", "last"]).expect("an answer is an object");
                assert_eq!(last, Some(&b"true"[..]), "an answer that is not the last");
                self.is_answered(true, &name(uuid.expect("an answer has a uuid")));
            }
            _ => {}
        }
        if let Some(id) = &seen.id {
            assert!(!self.asks.contains(id), "{id} was asked with before");
            self.asks.push(id.clone());
        }
    }
}

/// It hands a bare value on, after it has looked into it.
fn takes_bare(value: &[u8]) {
    let Some([kind, constructor, ..]) = members(value, ["type", "constructor", "", ""]) else { return };
    if let Some(kind) = kind.and_then(json::as_string) {
        let own = ["SockhopPing", "SockhopPong", "SockhopRequest", "SockhopResponsePacket"];
        assert!(!own.contains(&&*kind), "a bare value that is taken for a {kind}");
    }
    assert_ne!(constructor, Some(&b"null"[..]), "a bare value whose constructor has no name");
}

fn seen_in_line(line: &[u8]) -> Option<Seen<'_>> {
    let [kind, data, id, callback_id] = members(line, ["type", "data", "id", "callback_id"])?;
    let truthy = |value: Option<&[u8]>| value.filter(|value| !is_falsy(value)).map(name);
    Some(Seen {
        kind: kind.and_then(json::as_string).map(|kind| kind.into_owned()),
        data,
        id: truthy(id),
        callback_id: truthy(callback_id),
    })
}

fn is_falsy(value: &[u8]) -> bool {
    match serde_json::from_slice::<serde_json::Value>(value) {
        Ok(serde_json::Value::Number(number)) => number.as_f64() == Some(0.0),
        Ok(value) => matches!(value, serde_json::Value::Null | serde_json::Value::Bool(false)) || value == "",
        // More than a double holds, or a lone surrogate: a number above all others, or text.
        Err(_) => false,
    }
}

/// An id as the peer compares it: the text of a string, else the JSON text without white space.
fn name(id: &[u8]) -> String {
    match json::as_string(id) {
        Some(text) => format!("text {text}"),
        None => {
            let mut compact = BytesMut::new();
            json::write_compact(&mut compact, id);
            format!("json {}", String::from_utf8_lossy(&compact))
        }
    }
}

fn members<'a>(text: &'a [u8], names: [&str; 4]) -> Option<[Option<&'a [u8]>; 4]> {
    let limits =
        JsonLimits { max_json_keys: 1 << 20, max_json_number_bytes: 64 << 10, ..JsonLimits::default() };
    let mut found = [None; 4];
    let mut walk = Members::new(text, &limits).ok()?;
    while let Some((key, place)) = walk.next().ok()? {
        for (slot, name) in found.iter_mut().zip(names) {
            if !name.is_empty() && key.is(name) {
                *slot = Some(&text[place.clone()]);
            }
        }
    }
    Some(found)
}

/// Where the fields of a frame end.
fn field_bytes(id: u8, payload: &[u8]) -> usize {
    let kind = usize::from(payload[0]);
    let data =
        u32::from_le_bytes([payload[kind + 1], payload[kind + 2], payload[kind + 3], payload[kind + 4]]);
    kind + 5 + data as usize + if matches!(id, 10 | 13) { 0 } else { 36 }
}

fn seen_in_packet(id: u8, payload: &[u8]) -> Option<Seen<'_>> {
    let (length, rest) = payload.split_first()?;
    let (kind, rest) = rest.split_at_checked(usize::from(*length))?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (data, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    if (10..=12).contains(&id) && !String::from_utf8_lossy(data).is_empty() {
        let text = String::from_utf8_lossy(data);
        serde_json::from_slice::<&RawValue>(text.as_bytes()).ok()?;
    }
    let field = rest.get(..36).unwrap_or(rest);
    let field = field.split(|byte| *byte == 0).next().unwrap_or_default();
    let field = format!("text {}", String::from_utf8_lossy(field));
    Some(Seen {
        kind: std::str::from_utf8(kind).ok().map(str::to_owned),
        data: Some(data),
        id: matches!(id, 11 | 14).then(|| field.clone()),
        callback_id: matches!(id, 12 | 15).then_some(field),
    })
}

fn memmem(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
