//! Socket.IO packets and their text, strict where the official parser is odd.

use bytes::Bytes;
use polywire_core::json::{self, JsonLimits};
use polywire_core::{Codec, JsonText};
use serde_json::Value;

/// Most attachments of one packet, as the official parser allows.
const MAX_ATTACHMENTS: usize = 10;
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Connect,
    Disconnect,
    Event,
    Ack,
    ConnectError,
}

/// One packet; placeholders stand in `data` for the attachments beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) id: Option<u64>,
    pub(crate) data: Option<Bytes>,
    pub(crate) attachments: Vec<Bytes>,
}

/// Packets are what the upper half reads and writes; it has no modes.
pub(crate) struct Packets;

impl Codec for Packets {
    type Frame = Packet;
    type Mode = ();

    fn set_read_mode(&mut self, (): ()) {}

    fn set_write_mode(&mut self, (): ()) {}
}

impl Packet {
    /// An event of the main namespace with one argument.
    pub(crate) fn event(name: &str, argument: &str) -> Self {
        let data = Bytes::from(format!("[{},{argument}]", quoted(name)));
        Self { kind: Kind::Event, namespace: "/".into(), id: None, data: Some(data), attachments: Vec::new() }
    }

    /// The name and the first argument of an event.
    pub(crate) fn as_event(&self) -> Option<(String, Option<JsonText>)> {
        let data = self.data.as_ref().filter(|_| self.kind == Kind::Event)?;
        let parts = json::elements(data, 1_000, &JsonLimits::default()).ok()?;
        let name = json::as_string(&data[parts.first()?.clone()])?.into_owned();
        Some((name, parts.get(1).map(|at| JsonText::from_validated(data.slice(at.clone())))))
    }

    /// The text that goes in front of the attachments.
    pub(crate) fn text(&self) -> Bytes {
        let binary = !self.attachments.is_empty();
        let kind = match self.kind {
            Kind::Connect => 0,
            Kind::Disconnect => 1,
            Kind::Event if binary => 5,
            Kind::Event => 2,
            Kind::Ack if binary => 6,
            Kind::Ack => 3,
            Kind::ConnectError => 4,
        };
        let mut text = format!("{kind}");
        if binary {
            text.push_str(&format!("{}-", self.attachments.len()));
        }
        if self.namespace != "/" {
            text.push_str(&self.namespace);
            text.push(',');
        }
        if let Some(id) = self.id {
            text.push_str(&id.to_string());
        }
        let mut text = text.into_bytes();
        text.extend_from_slice(self.data.as_deref().unwrap_or_default());
        text.into()
    }

    /// Reads the text of a packet; says also how many attachments follow.
    pub(crate) fn parse(text: &Bytes) -> Result<(Self, usize), &'static str> {
        json::check_utf8(text).map_err(|_| "not UTF-8")?;
        let (kind, binary) = match text.first() {
            Some(b'0') => (Kind::Connect, false),
            Some(b'1') => (Kind::Disconnect, false),
            Some(b'2') => (Kind::Event, false),
            Some(b'3') => (Kind::Ack, false),
            Some(b'4') => (Kind::ConnectError, false),
            Some(b'5') => (Kind::Event, true),
            Some(b'6') => (Kind::Ack, true),
            _ => return Err("unknown type of packet"),
        };
        let mut rest = text.slice(1..);
        let mut due = 0;
        if binary {
            let digits = digits(&rest);
            due = number(&digits)
                .and_then(|count| usize::try_from(count).ok())
                .ok_or("no count of attachments")?;
            if due == 0 || due > MAX_ATTACHMENTS || rest.get(digits.len()) != Some(&b'-') {
                return Err("illegal count of attachments");
            }
            rest = rest.slice(digits.len() + 1..);
        }
        let mut namespace = "/".to_owned();
        if rest.first() == Some(&b'/') {
            let end = rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len());
            namespace = String::from_utf8_lossy(&rest[..end]).into_owned();
            rest = rest.slice((end + 1).min(rest.len())..);
        }
        let digits = digits(&rest);
        let id = if digits.is_empty() { None } else { Some(number(&digits).ok_or("an id above 2^53")?) };
        rest = rest.slice(digits.len()..);
        let data = (!rest.is_empty()).then_some(rest);
        check(kind, data.as_ref())?;
        Ok((Self { kind, namespace, id, data, attachments: Vec::new() }, due))
    }

    /// Do the placeholders name attachments that are there?
    pub(crate) fn check_placeholders(&self) -> Result<(), &'static str> {
        let data = self.data.as_deref().unwrap_or_default();
        let value: Value = serde_json::from_slice(data).map_err(|_| "invalid payload")?;
        if placeholders(&value, self.attachments.len()) { Ok(()) } else { Err("illegal attachments") }
    }
}

fn placeholders(value: &Value, count: usize) -> bool {
    match value {
        Value::Array(items) => items.iter().all(|item| placeholders(item, count)),
        Value::Object(members) if members.get("_placeholder") == Some(&Value::Bool(true)) => {
            members.get("num").and_then(Value::as_u64).is_some_and(|number| number < count as u64)
        }
        Value::Object(members) => members.values().all(|member| placeholders(member, count)),
        _ => true,
    }
}

fn check(kind: Kind, data: Option<&Bytes>) -> Result<(), &'static str> {
    let limits = JsonLimits::default();
    if let Some(data) = data {
        json::validate(data, &limits).map_err(|_| "invalid payload")?;
    }
    let first = data.and_then(|data| data.first());
    let fits = match kind {
        Kind::Connect => matches!(first, None | Some(b'{')),
        Kind::Disconnect => first.is_none(),
        Kind::ConnectError => matches!(first, None | Some(b'{' | b'"')),
        Kind::Ack => matches!(first, None | Some(b'[')),
        Kind::Event => {
            let data = data.filter(|data| data.starts_with(b"[")).ok_or("an event without arguments")?;
            let parts = json::elements(data, 1_000, &limits).map_err(|_| "invalid payload")?;
            let name = parts.first().map(|at| &data[at.clone()]).unwrap_or_default();
            match json::as_string(name) {
                Some(name) => !RESERVED.contains(&&*name),
                None => matches!(name.first(), Some(b'"' | b'-' | b'0'..=b'9')),
            }
        }
    };
    if fits { Ok(()) } else { Err("invalid payload") }
}

fn digits(text: &Bytes) -> Bytes {
    text.slice(..text.iter().take_while(|byte| byte.is_ascii_digit()).count())
}

fn number(digits: &[u8]) -> Option<u64> {
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (number < 1 << 53).then_some(number)
}

pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text is JSON")
}
