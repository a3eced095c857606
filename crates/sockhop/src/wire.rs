//! Frames to typed wire messages and back, field for field; knows no state.
//!
//! ```text
//! plain      {"type":"String","data":"hello"}
//! request    {"type":"Object","data":{"a":1},"id":"<uuid>"}
//! response   {"type":"Array","data":[1],"callback_id":"<uuid>"}
//! ```
//! One scan validates the envelope and the data inside it; nothing is parsed into values. Source: observed
//! (`json-kinds-210`, `callbacks-json-210`).

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use polywire_core::{Count, JsonLimits, Outgoing, Route, json};

use crate::binary::{self, FieldLink};
use crate::id::Id;

/// A message to be written, in whichever mode is in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub(crate) kind: Route,
    pub(crate) data: Data,
    pub(crate) link: Link,
}

/// What stands for no data where a message cannot do without.
pub(crate) const NOTHING: &[u8] = b"{}";

/// What a message carries.
#[derive(Clone, PartialEq)]
pub(crate) enum Data {
    /// None at all, as a function or a symbol of the original's language has none: a line without the member. In a frame, which
    /// cannot do without, an empty object.
    Missing,
    /// Valid JSON text.
    Json(Bytes),
    /// Bytes: a frame of their own in binary mode, base64 in JSON mode.
    Bytes(Bytes),
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Data::Missing => f.write_str("missing"),
            Data::Json(data) | Data::Bytes(data) => write!(f, "{} bytes", data.len()),
        }
    }
}

/// The callback a message asks for or answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Link {
    None,
    Ask(Id),
    Answer(Id),
}

/// A message as it stands in its frame.
#[derive(Debug, PartialEq)]
pub(crate) struct Received<'a> {
    pub(crate) kind: Name<'a>,
    pub(crate) data: Value<'a>,
    pub(crate) link: Wanted<'a>,
    /// Something had to be mended: bytes that are not UTF-8, or a member that stands twice.
    pub(crate) mended: bool,
}

/// The type of a message received.
#[derive(Debug, PartialEq)]
pub(crate) enum Name<'a> {
    /// There is none.
    Missing,
    /// Text.
    Text(Cow<'a, str>),
    /// Something that names nothing: no string, a lone surrogate, not UTF-8.
    Odd,
}

/// The data of a message received.
#[derive(Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// There are none.
    Missing,
    /// Validated JSON text, from a line.
    Line(&'a [u8]),
    /// Validated JSON text, from a frame.
    Framed(Cow<'a, [u8]>),
    /// Bytes, from a frame.
    Bytes(&'a [u8]),
}

impl Value<'_> {
    /// The JSON text.
    pub(crate) fn json(&self) -> Option<&[u8]> {
        match self {
            Value::Line(text) => Some(text),
            Value::Framed(text) => Some(text),
            Value::Missing | Value::Bytes(_) => None,
        }
    }
}

/// The callback a message received asks for or answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wanted<'a> {
    None,
    Ask(WireId<'a>),
    Answer(WireId<'a>),
}

/// An id as it stands in its frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum WireId<'a> {
    /// JSON text.
    Json(&'a [u8]),
    /// The field of a binary frame, which may be short.
    Field(&'a [u8]),
}

impl<'a> WireId<'a> {
    /// The bytes that are compared with ids of ours.
    pub(crate) fn text(self) -> &'a [u8] {
        match self {
            WireId::Json([b'"', inner @ .., b'"']) => inner,
            WireId::Json(raw) => raw,
            WireId::Field(field) => field.get(..crate::id::FIELD).unwrap_or(field),
        }
    }

    /// The id to remember; `None` when it is too long.
    pub(crate) fn to_id(self) -> Option<Id> {
        match self {
            WireId::Json(raw) => Id::from_json(raw),
            WireId::Field(field) => Some(Id::from_field(field)),
        }
    }
}

/// Why a frame is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// Not JSON, or fields that do not fit.
    Undecodable,
    /// JSON, but no object: nothing that has a meaning.
    NotAnObject,
    /// A message id that does not exist.
    UnknownKind,
}

impl Bad {
    /// The reason it is counted under.
    pub(crate) fn count(self) -> Count {
        match self {
            Bad::Undecodable => Count::Undecodable,
            Bad::NotAnObject => Count::Unexpected,
            Bad::UnknownKind => Count::UnknownKind,
        }
    }
}

/// Reads one line, which is UTF-8.
pub(crate) fn read_line<'a>(text: &'a [u8], limits: &JsonLimits) -> Result<Received<'a>, Bad> {
    match read_usual_line(text, limits) {
        Some(received) => Ok(received),
        None => read_any_line(text, limits),
    }
}

/// Reads a line that stands as every stock peer writes it: `type`, `data` and at most one id, compact and in this order. `None`
/// for any other line, valid or not.
fn read_usual_line<'a>(text: &'a [u8], limits: &JsonLimits) -> Option<Received<'a>> {
    const TYPE: &[u8] = b"{\"type\":\"";
    const DATA: &[u8] = b"\",\"data\":";
    const ID: &[u8] = b",\"id\":\"";
    const CALLBACK_ID: &[u8] = b",\"callback_id\":\"";
    if !text.starts_with(TYPE) {
        return None;
    }
    let kind = json::plain_string(text, TYPE.len())?;
    let after = TYPE.len().saturating_add(kind.len());
    if !text.get(after..)?.starts_with(DATA) {
        return None;
    }
    let data = after.saturating_add(DATA.len());
    let end = json::value_end(text, data, limits).ok()?;
    let rest = text.get(end..)?;
    let id = |key: &[u8]| {
        let start = end.saturating_add(key.len());
        let id = json::plain_string(text, start)?;
        // With its quotes, as it stands.
        let id = text.get(start.saturating_sub(1)..start.saturating_add(id.len()).saturating_add(1))?;
        (text.get(start.saturating_sub(1)..)?.strip_prefix(id)? == b"}" && id.len() > 2)
            .then_some(WireId::Json(id))
    };
    let link = if rest.starts_with(ID) {
        Wanted::Ask(id(ID)?)
    } else if rest.starts_with(CALLBACK_ID) {
        Wanted::Answer(id(CALLBACK_ID)?)
    } else if rest == b"}" {
        Wanted::None
    } else {
        return None;
    };
    let kind = Name::Text(Cow::Borrowed(name(kind)?));
    Some(Received { kind, data: Value::Line(text.get(data..end)?), link, mended: false })
}

/// The name in these bytes, if they are UTF-8; those that stock peers give to values are known by sight.
fn name(kind: &[u8]) -> Option<&str> {
    match kind {
        b"Object" => Some("Object"),
        b"Array" => Some("Array"),
        b"String" => Some("String"),
        b"Number" => Some("Number"),
        b"Boolean" => Some("Boolean"),
        _ => std::str::from_utf8(kind).ok(),
    }
}

/// Reads a line whatever the order of its members.
fn read_any_line<'a>(text: &'a [u8], limits: &JsonLimits) -> Result<Received<'a>, Bad> {
    let not_an_object = |_| match json::validate(text, limits) {
        Ok(()) => Bad::NotAnObject,
        Err(_) => Bad::Undecodable,
    };
    let mut members = json::Members::new(text, limits).map_err(not_an_object)?;
    let (mut kind, mut data, mut id, mut callback_id) = (None, None, None, None);
    let mut twice = false;
    while let Some((key, place)) = members.next().map_err(|_| Bad::Undecodable)? {
        let slot = if key.is("type") {
            &mut kind
        } else if key.is("data") {
            &mut data
        } else if key.is("id") {
            &mut id
        } else if key.is("callback_id") {
            &mut callback_id
        } else {
            continue;
        };
        twice |= slot.replace(text.get(place).unwrap_or_default()).is_some();
    }
    let link = match (callback_id.filter(|id| is_truthy(id)), id.filter(|id| is_truthy(id))) {
        (Some(id), _) => Wanted::Answer(WireId::Json(id)),
        (None, Some(id)) => Wanted::Ask(WireId::Json(id)),
        (None, None) => Wanted::None,
    };
    let kind = match kind {
        None => Name::Missing,
        Some(text) => json::as_string(text).map_or(Name::Odd, Name::Text),
    };
    Ok(Received { kind, data: data.map_or(Value::Missing, Value::Line), link, mended: twice })
}

/// Reads one binary frame. JSON text that is not UTF-8 is mended as in a line; a type that is not is odd.
pub(crate) fn read_packet<'a>(id: u8, payload: &'a [u8], limits: &JsonLimits) -> Result<Received<'a>, Bad> {
    let fields = binary::read(id, payload)?;
    let kind = name(fields.kind).map_or(Name::Odd, |kind| Name::Text(Cow::Borrowed(kind)));
    let link = match fields.link {
        FieldLink::None => Wanted::None,
        FieldLink::Ask(id) => Wanted::Ask(WireId::Field(id)),
        FieldLink::Answer(id) => Wanted::Answer(WireId::Field(id)),
    };
    if fields.bytes {
        return Ok(Received { kind, data: Value::Bytes(fields.data), link, mended: false });
    }
    let text = match json::check_utf8(fields.data) {
        Ok(()) => Cow::Borrowed(fields.data),
        Err(_) => Cow::Owned(mend(fields.data)),
    };
    json::validate_utf8(&text, limits).map_err(|_| Bad::Undecodable)?;
    let mended = matches!(text, Cow::Owned(_));
    Ok(Received { kind, data: Value::Framed(text), link, mended })
}

/// The same text with U+FFFD for what is not UTF-8, as every stock peer reads it.
pub(crate) fn mend(text: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(text).into_owned().into_bytes()
}

/// Is this JSON value true in a condition of the original's language? `null`, `false`, `0` and `""` are not.
pub(crate) fn is_truthy(value: &[u8]) -> bool {
    match value {
        b"null" | b"false" | b"\"\"" => false,
        [b'-' | b'0'..=b'9', ..] => value
            .iter()
            .take_while(|byte| !matches!(byte, b'e' | b'E'))
            .any(|byte| matches!(byte, b'1'..=b'9')),
        _ => true,
    }
}

/// Appends `message` as one line.
pub(crate) fn write_line(message: Message, terminator: &[u8], out: &mut Outgoing) {
    let Message { kind, data, link } = message;
    match data {
        // A line cannot hold the white space that ends it.
        Data::Json(text) if memchr::memchr3(b'\n', b'\r', b'\t', &text).is_some() => out.put_with(|out| {
            write_head(out, &kind, text.len());
            json::write_compact(out, &text);
            write_tail(out, &link, terminator);
        }),
        Data::Json(text) if text.len() <= COPY_UP_TO => out.put_with(|out| {
            write_head(out, &kind, text.len());
            out.put_slice(&text);
            write_tail(out, &link, terminator);
        }),
        Data::Json(text) => {
            out.put_with(|out| write_head(out, &kind, 0));
            out.put_bytes(text);
            out.put_with(|out| write_tail(out, &link, terminator));
        }
        Data::Missing => out.put_with(|out| {
            out.put_slice(b"{\"type\":");
            json::write_string(out, &kind);
            write_tail(out, &link, terminator);
        }),
        Data::Bytes(bytes) => out.put_with(|out| {
            write_head(out, &kind, bytes.len());
            binary::write_base64(out, &bytes);
            write_tail(out, &link, terminator);
        }),
    }
}

/// A message as a line without its end.
pub(crate) fn line_of(message: Message) -> Bytes {
    let mut line = Outgoing::new();
    write_line(message, b"", &mut line);
    line.take()
}

/// Text up to this size is written in one go with what stands around it.
const COPY_UP_TO: usize = 4 << 10;

fn write_head(out: &mut BytesMut, kind: &str, data_bytes: usize) {
    out.reserve(data_bytes.saturating_add(kind.len()).saturating_add(128));
    if kind == "Object" {
        return out.put_slice(b"{\"type\":\"Object\",\"data\":");
    }
    out.put_slice(b"{\"type\":");
    json::write_string(out, kind);
    out.put_slice(b",\"data\":");
}

fn write_tail(out: &mut BytesMut, link: &Link, terminator: &[u8]) {
    match link {
        Link::None => {}
        Link::Ask(id) => {
            out.put_slice(b",\"id\":");
            id.write_json(out);
        }
        Link::Answer(id) => {
            out.put_slice(b",\"callback_id\":");
            id.write_json(out);
        }
    }
    out.put_u8(b'}');
    out.put_slice(terminator);
}

#[cfg(test)]
mod tests {
    use super::*;
    use polywire_size::cases;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(cases::<256>())]

        /// The short way reads only what the long way reads, and reads it the same.
        #[test]
        fn usual_lines_read_the_same_without_a_walk(
            kind in "[A-Za-z\"\\\\é]{0,6}",
            data in prop_oneof![Just("{}"), Just("[1,{\"a\":2}]"), Just("\"x\\n\""), Just("1"), Just(""), Just("{"), Just(" 1 ")],
            tail in prop_oneof![
                Just("}"), Just(",\"id\":\"a\"}"), Just(",\"callback_id\":\"a\"}"), Just(",\"id\":\"\"}"), Just(",\"id\":7}"),
                Just(",\"id\":\"a\",\"callback_id\":\"b\"}"), Just(",\"type\":\"B\"}"), Just("} "), Just("}x"), Just(",\"id\":\"a\"} }"), Just(""),
            ],
        ) {
            let line = format!("{{\"type\":\"{kind}\",\"data\":{data}{tail}");
            let limits = JsonLimits::default();
            if let Some(received) = read_usual_line(line.as_bytes(), &limits) {
                prop_assert_eq!(Ok(received), read_any_line(line.as_bytes(), &limits), "{}", line);
            }
        }
    }
}
