//! Frames to wire messages and back, field for field.
//!
//! ```text
//! request  {"session": "…", "name": "…", "data": DATA, "__id__": "…"}        __id__ in dialect B only
//! reply    {"session": "…", "name": "…", "data": DATA | null, "error": {"code": 411, "msg": "…"}, "__id__": "…"}
//!
//! DATA     {"version": {"core": [0,3,0], "db": [0,2,0], "torrent": [0,0,0]}, "guest_allowed": true}     greeting
//!          {} | {"user": "…", "password": "…"}    "Authenticated"                                       login, success
//!          [{"fname": "f", "argument": 1}, …]     [{"fname": "f", "data": 2}, {"fname": "g", "data": null, "error": {…}}]
//!          "requestauth" | 3                      {"msg": "wait"}   1 | 2                               command, not ready, broadcast
//! ```
//!
//! Read in source: `ClientHandler.parse` and `message.Function` of the 2018 server; observed in the captures `py-*`, `js1-*`, `js2-*`.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use polywire_core::json::{self, Members};
use polywire_core::{JsonError, JsonFault, JsonLimits, JsonText, Part};

/// What a successful login is answered with.
pub(crate) const AUTHENTICATED: &[u8] = b"\"Authenticated\"";

/// The keys of one message and where their values stand.
#[derive(Clone)]
pub(crate) struct Message {
    text: Bytes,
    session: Option<Range<usize>>,
    name: bool,
    data: Option<Range<usize>>,
    error: Option<Range<usize>>,
    id: Option<Range<usize>>,
    /// One of the keys that mean something is there more than once. The last counts.
    pub(crate) repeats_key: bool,
    /// The first key that is none of `session`, `name` and `data`.
    pub(crate) unknown_key: Option<String>,
    /// Where the first of Python's own literals stood, which were all read as `null`.
    pub(crate) mended: Option<JsonError>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} bytes)", self.text.len())
    }
}

/// Why a text is no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the text is not UTF-8")]
    NotUtf8,
    #[error("{0}")]
    TooDeep(JsonError),
    #[error("{0}")]
    Json(JsonError),
    #[error("an object was expected")]
    NotAnObject,
}

impl From<JsonError> for Unreadable {
    fn from(error: JsonError) -> Self {
        match error.what {
            JsonFault::NotUtf8 => Self::NotUtf8,
            JsonFault::TooDeep(_) => Self::TooDeep(error),
            _ => Self::Json(error),
        }
    }
}

impl Message {
    /// Reads the keys of `text` and validates all of it.
    pub(crate) fn read(text: &Bytes, limits: &JsonLimits) -> Result<Self, Unreadable> {
        json::check_utf8(text)?;
        match Self::read_keys(text, limits) {
            Err(Unreadable::Json(error)) => {
                // Python writes literals that JSON does not know; only then is the text looked at again.
                let Some(mended) = mend(text, error.offset) else { return Err(Unreadable::Json(error)) };
                Ok(Self { mended: Some(error), ..Self::read_keys(&mended, limits)? })
            }
            read => read,
        }
    }

    fn read_keys(text: &Bytes, limits: &JsonLimits) -> Result<Self, Unreadable> {
        let Ok(mut members) = Members::new(text, limits) else {
            json::validate(text, limits)?;
            return Err(Unreadable::NotAnObject);
        };
        let mut message = Self {
            text: text.clone(),
            session: None,
            name: false,
            data: None,
            error: None,
            id: None,
            repeats_key: false,
            unknown_key: None,
            mended: None,
        };
        while let Some((key, value)) = members.next()? {
            message.repeats_key |= if key.is("session") {
                message.session.replace(value).is_some()
            } else if key.is("name") {
                std::mem::replace(&mut message.name, true)
            } else if key.is("data") {
                message.data.replace(value).is_some()
            } else {
                if message.unknown_key.is_none() {
                    message.unknown_key = Some(key.decode().unwrap_or(Cow::Borrowed("?")).into_owned());
                }
                if key.is("error") {
                    message.error.replace(value).is_some()
                } else if key.is("__id__") {
                    message.id.replace(value).is_some()
                } else {
                    false
                }
            };
        }
        Ok(message)
    }

    /// The first key that a request must have and does not.
    pub(crate) fn missing_key(&self) -> Option<&'static str> {
        [("name", self.name), ("data", self.data.is_some()), ("session", self.session.is_some())]
            .into_iter()
            .find_map(|(key, there)| (!there).then_some(key))
    }

    /// The text of the session, empty when there is none; `None` when it is something other than text.
    pub(crate) fn session(&self) -> Option<Cow<'_, str>> {
        match self.at(self.session.as_ref()) {
            b"" | b"null" => Some(Cow::Borrowed("")),
            value => json::as_string(value),
        }
    }

    /// The data as it stands in the text; empty when the key is missing.
    pub(crate) fn data(&self) -> Part {
        self.part(self.data.as_ref())
    }

    /// The error as it stands in the text, unless there is none.
    pub(crate) fn error(&self) -> Option<Bytes> {
        Some(self.part(self.error.as_ref()).into_bytes()).filter(|error| !matches!(&error[..], b"" | b"null"))
    }

    /// The client's id as it stands in the text.
    pub(crate) fn id(&self) -> Option<Bytes> {
        self.id.as_ref().map(|range| self.part(Some(range)).into_bytes())
    }

    fn at(&self, range: Option<&Range<usize>>) -> &[u8] {
        range.and_then(|range| self.text.get(range.clone())).unwrap_or_default()
    }

    fn part(&self, range: Option<&Range<usize>>) -> Part {
        Part::of(&self.text, self.at(range), 0)
    }
}

/// The text with `NaN`, `Infinity` and `-Infinity` outside strings replaced by `null`, when one of them is at `offset`.
fn mend(text: &[u8], offset: usize) -> Option<Bytes> {
    literal(text.get(offset..)?)?;
    let mut out = BytesMut::with_capacity(text.len());
    let mut rest = text;
    let mut in_string = false;
    while let Some(first) = rest.first() {
        let step = match (in_string, first) {
            (true, b'\\') => 2,
            (_, b'"') => {
                in_string = !in_string;
                1
            }
            (false, b'-') if literal(rest.get(1..)?) == Some(8) => {
                out.extend_from_slice(b"null");
                rest = rest.get(9..)?;
                continue;
            }
            (false, b'N' | b'I') => {
                out.extend_from_slice(b"null");
                rest = rest.get(literal(rest)?..)?;
                continue;
            }
            _ => 1,
        };
        let (done, more) = rest.split_at(step.min(rest.len()));
        out.extend_from_slice(done);
        rest = more;
    }
    Some(out.freeze())
}

/// Length of the literal that `text` begins with.
fn literal(text: &[u8]) -> Option<usize> {
    [&b"NaN"[..], b"Infinity"].into_iter().find_map(|word| text.starts_with(word).then_some(word.len()))
}

/// One function call of a request.
pub(crate) struct FunctionCall {
    /// The name as it stands in the text, with its quotes.
    pub(crate) fname: Bytes,
    /// The arguments, as an object.
    pub(crate) arguments: JsonText,
}

/// Why an entry of a list is no function call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoCall {
    #[error("an object was expected in the list of functions")]
    NotAnObject,
    #[error("Function message missing 'fname' key")]
    NoName,
    #[error("'fname' must be a string")]
    NameIsNoText,
    #[error("more functions in one message than max_batch = {0}")]
    TooMany(usize),
}

impl FunctionCall {
    /// Reads a list that was validated, of at most `max` entries.
    pub(crate) fn read_list(data: &Bytes, max: usize, limits: &JsonLimits) -> Result<Vec<Self>, NoCall> {
        // Nearly every list has one entry, and then what is between its brackets is an object.
        let inner = data.get(1..data.len().saturating_sub(1)).unwrap_or_default().trim_ascii();
        if let Ok(only) = Self::read(&data.slice_ref(inner), limits) {
            return Ok(vec![only]);
        }
        let places = json::elements(data, max, limits).map_err(|_| NoCall::TooMany(max))?;
        places.into_iter().map(|place| Self::read(&data.slice(place), limits)).collect()
    }

    /// Reads one entry of a list that was validated.
    pub(crate) fn read(entry: &Bytes, limits: &JsonLimits) -> Result<Self, NoCall> {
        let mut members = Members::new(entry, limits).map_err(|_| NoCall::NotAnObject)?;
        let mut fname = None;
        let mut arguments = BytesMut::new();
        let mut end = 1;
        while let Some((key, value)) = members.next().map_err(|_| NoCall::NotAnObject)? {
            let member = entry.get(end..value.end).unwrap_or_default();
            end = value.end;
            if key.is("fname") {
                fname = Some(entry.slice(value));
                continue;
            }
            let start = member.iter().position(|byte| !matches!(byte, b',' | b' ' | b'\t' | b'\n' | b'\r'));
            if arguments.is_empty() {
                arguments.reserve(entry.len().saturating_sub(value.start).saturating_add(member.len() + 2));
                arguments.extend_from_slice(b"{");
            } else {
                arguments.extend_from_slice(b",");
            }
            arguments.extend_from_slice(member.get(start.unwrap_or(0)..).unwrap_or_default());
        }
        let fname = fname.ok_or(NoCall::NoName)?;
        if fname.first() != Some(&b'"') {
            return Err(NoCall::NameIsNoText);
        }
        let arguments = if arguments.is_empty() {
            Bytes::from_static(b"{}")
        } else {
            arguments.extend_from_slice(b"}");
            arguments.freeze()
        };
        Ok(Self { fname, arguments: JsonText::from_validated(arguments) })
    }
}

/// One entry of a reply.
pub(crate) struct FunctionResult {
    /// The name as it stands in the text, with its quotes; empty when it is missing.
    pub(crate) fname: Bytes,
    /// The result as it stands in the text; empty when it is missing.
    pub(crate) data: Part,
    /// The error as it stands in the text.
    pub(crate) error: Option<Bytes>,
}

impl FunctionResult {
    /// Reads one entry of a list that was validated, in a text of `pins` bytes; `None` when it is no object.
    pub(crate) fn read(entry: &Bytes, pins: usize, limits: &JsonLimits) -> Option<Self> {
        let mut members = Members::new(entry, limits).ok()?;
        let mut result = Self { fname: Bytes::new(), data: Bytes::new().into(), error: None };
        while let Some((key, value)) = members.next().ok()? {
            let value = Part::of(entry, entry.get(value).unwrap_or_default(), pins);
            if key.is("fname") {
                result.fname = value.into_bytes();
            } else if key.is("data") {
                result.data = value;
            } else if key.is("error") {
                result.error = Some(value.into_bytes()).filter(|error| &error[..] != b"null");
            }
        }
        Some(result)
    }
}

/// The member `name` of the object `text`, which was validated; `None` when it is no object or has no such member.
pub(crate) fn member(text: &Bytes, name: &str, limits: &JsonLimits) -> Option<Bytes> {
    let mut members = Members::new(text, limits).ok()?;
    let mut found = None;
    while let Some((key, value)) = members.next().ok()? {
        if key.is(name) {
            found = Some(text.slice(value));
        }
    }
    found
}

/// Begins an envelope, up to the value of `data`. Session and name are JSON text.
pub(crate) fn open(out: &mut BytesMut, session: &[u8], name: &[u8]) {
    out.extend_from_slice(b"{\"session\":");
    out.extend_from_slice(session);
    out.extend_from_slice(b",\"name\":");
    out.extend_from_slice(name);
    out.extend_from_slice(b",\"data\":");
}

/// Ends an envelope behind the value of `data` or `error`. `id` is JSON text.
pub(crate) fn close(out: &mut BytesMut, id: Option<&[u8]>) {
    if let Some(id) = id {
        out.extend_from_slice(b",\"__id__\":");
        out.extend_from_slice(id);
    }
    out.extend_from_slice(b"}");
}

/// Appends an error object.
pub(crate) fn write_error(out: &mut BytesMut, code: i64, text: &str) {
    out.extend_from_slice(format!("{{\"code\":{code},\"msg\":").as_bytes());
    json::write_string(out, text);
    out.extend_from_slice(b"}");
}

/// Appends one entry of a list of function calls. `arguments` is an object without a member `fname`, or empty.
pub(crate) fn write_call(out: &mut BytesMut, fname: &str, arguments: &[u8]) {
    out.extend_from_slice(b"{\"fname\":");
    json::write_string(out, fname);
    let inner = arguments.trim_ascii();
    let inner = inner.strip_prefix(b"{").unwrap_or_default();
    if inner.trim_ascii_start().first().is_none_or(|byte| *byte == b'}') {
        out.extend_from_slice(b"}");
    } else {
        out.extend_from_slice(b",");
        out.extend_from_slice(inner);
    }
}

/// `text` as JSON with its quotes.
pub(crate) fn quoted(text: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(text.len().saturating_add(2));
    json::write_string(&mut out, text);
    out.freeze()
}
