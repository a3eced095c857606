//! Socket.IO packets and their text, strict where the official parser is odd.
//!
//! Read in the protocol document, revision 5, and observed with socket.io-parser 4.2.7. Not imitated: blanks as digits of an
//! id, counts such as `1e0` or `0x1`, an empty text as CONNECT, ids and attachment counts beyond what a program can mean.

use bytes::{BufMut, Bytes, BytesMut};
use polywire_core::json;
use polywire_core::{ByteString, FrameError, JsonError, JsonFault, JsonLimits, JsonText};

use crate::args::Args;

/// The namespace everybody has.
pub const MAIN: &str = "/";
/// Largest id of a request: what a JavaScript peer counts exactly.
pub(crate) const MAX_ID: u64 = (1 << 53) - 1;
/// Most digits of a count of attachments that are looked at.
const COUNT_DIGITS: usize = 9;
/// Names the official parser keeps for itself.
pub const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// One packet, with its attachments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The namespace it belongs to, `/` for the main one.
    pub namespace: ByteString,
    /// What it is.
    pub kind: Kind,
}

/// What a packet is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks for a namespace, with an object for its login, or grants it.
    Connect(Option<JsonText>),
    /// Leaves a namespace.
    Disconnect,
    /// An event: its name, then its arguments. With an id, an acknowledgement is wanted.
    Event {
        /// The id, at most 2^53 - 1.
        id: Option<u64>,
        /// Name and arguments; never empty, and the first is text or a number.
        args: Args,
    },
    /// The answer to the event with this id; without one it is nobody's.
    Ack {
        /// The id, at most 2^53 - 1.
        id: Option<u64>,
        /// What is answered.
        args: Args,
    },
    /// Refuses a namespace, and why: an object, a text, or nothing.
    ConnectError(Option<JsonText>),
    /// An event or an acknowledgement whose JSON is beyond what this side looks into: only its id is known, and its attachments are
    /// dropped. It is only read, never sent.
    Beyond {
        /// Is it an acknowledgement?
        ack: bool,
        /// The id, at most 2^53 - 1.
        id: Option<u64>,
        /// The arguments as they came, of which nobody knows whether they are JSON.
        text: Bytes,
        /// The limit, and where the text exceeds it.
        error: JsonError,
    },
}

/// A packet as a server library hands it over.
#[cfg(feature = "server")]
pub(crate) struct Parts {
    /// Is it an answer?
    pub(crate) ack: bool,
    /// Its id.
    pub(crate) id: Option<u64>,
    /// The array of arguments.
    pub(crate) text: Bytes,
    /// What belongs to it.
    pub(crate) attachments: Vec<Bytes>,
}

#[cfg(feature = "server")]
impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Parts({} bytes, {} attachments)", self.text.len(), self.attachments.len())
    }
}

/// Bounds on packets that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketLimits {
    /// Bounds on the JSON.
    pub json: JsonLimits,
    /// Most attachments of one packet; default 10, as the official parser since 4.2.6.
    pub max_attachments: usize,
    /// Longest namespace in bytes; default 256.
    pub max_namespace_bytes: usize,
}

impl Default for PacketLimits {
    fn default() -> Self {
        Self { json: JsonLimits::default(), max_attachments: 10, max_namespace_bytes: 256 }
    }
}

/// What the text of a packet turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A packet.
    Whole(Packet),
    /// A packet that is whole after this many attachments, at least one.
    Awaits(Packet, usize),
}

impl Packet {
    /// A packet in the main namespace.
    pub const fn main(kind: Kind) -> Self {
        Self { namespace: ByteString::from_static(MAIN), kind }
    }

    /// Reads the text of a packet; it is UTF-8.
    ///
    /// # Errors
    /// [`FrameError`]: it is none, and the connection must be closed.
    pub fn parse(text: &Bytes, limits: &PacketLimits) -> Result<Parsed, FrameError> {
        let mut at = 1;
        let kind = text.first().copied().ok_or(FrameError::Corrupt("an empty packet"))?;
        let mut due = 0;
        if matches!(kind, b'5' | b'6') {
            due = count(text, &mut at, limits.max_attachments)?;
        }
        let namespace = namespace(text, &mut at, limits.max_namespace_bytes)?;
        let id = id(text, &mut at)?;
        let payload = text.slice(at.min(text.len())..);
        let kind = match kind {
            b'0' => Kind::Connect(payload_of(payload, b"{", limits, "a CONNECT beyond the limits on JSON")?),
            b'1' if payload.is_empty() => Kind::Disconnect,
            b'1' => return Err(FrameError::Corrupt("a DISCONNECT with a payload")),
            b'2' | b'5' => event(id, payload, limits)?,
            b'3' | b'6' => acknowledgement(id, payload, limits)?,
            b'4' => {
                let beyond = "a CONNECT_ERROR beyond the limits on JSON";
                Kind::ConnectError(payload_of(payload, b"{\"", limits, beyond)?)
            }
            _ => return Err(FrameError::Corrupt("an unknown type of packet")),
        };
        let packet = Self { namespace, kind };
        Ok(if due == 0 { Parsed::Whole(packet) } else { Parsed::Awaits(packet, due) })
    }

    /// The same packet with the attachments it awaited.
    ///
    /// # Errors
    /// [`FrameError`] when a placeholder names none of them.
    pub fn complete(self, attachments: Vec<Bytes>, limits: &JsonLimits) -> Result<Self, FrameError> {
        let with = |args: Args| args.with_attachments(attachments, limits).map_err(FrameError::Corrupt);
        let kind = match self.kind {
            Kind::Event { id, args } => Kind::Event { id, args: with(args)? },
            Kind::Ack { id, args } => Kind::Ack { id, args: with(args)? },
            other => other,
        };
        Ok(Self { kind, ..self })
    }

    /// A packet that something else has taken apart; its text is not looked at yet.
    #[cfg(feature = "server")]
    pub(crate) fn from_parts(
        parts: Parts,
        namespace: ByteString,
        limits: &PacketLimits,
    ) -> Result<Self, FrameError> {
        let Parts { ack, id, text, attachments } = parts;
        if id.is_some_and(|id| id > MAX_ID) {
            return Err(FrameError::Corrupt("an id above 2^53 - 1"));
        }
        let kind = if ack { acknowledgement(id, text, limits) } else { event(id, text, limits) }?;
        let packet = Self { namespace, kind };
        if attachments.is_empty() { Ok(packet) } else { packet.complete(attachments, &limits.json) }
    }

    /// The attachments.
    pub fn attachments(&self) -> &[Bytes] {
        match &self.kind {
            Kind::Event { args, .. } | Kind::Ack { args, .. } => args.attachments(),
            _ => &[],
        }
    }

    /// Length of the text in bytes, nearly: at least as many, at most 64 more.
    pub(crate) fn text_bytes(&self) -> usize {
        let payload = match &self.kind {
            Kind::Connect(data) | Kind::ConnectError(data) => {
                data.as_ref().map_or(0, |text| text.as_bytes().len())
            }
            Kind::Disconnect => 0,
            Kind::Event { args, .. } | Kind::Ack { args, .. } => args.text().len(),
            Kind::Beyond { text, .. } => text.len(),
        };
        self.namespace.len().saturating_add(payload).saturating_add(64)
    }

    /// Appends the text that goes in front of the attachments.
    pub fn write(&self, out: &mut BytesMut) {
        let binary = !self.attachments().is_empty();
        let (kind, id, payload): (_, _, &[u8]) = match &self.kind {
            Kind::Connect(data) => (b'0', None, data.as_ref().map_or(&[], JsonText::as_bytes)),
            Kind::Disconnect => (b'1', None, &[]),
            Kind::Event { id, args } => (if binary { b'5' } else { b'2' }, *id, args.text()),
            Kind::Ack { id, args } => (if binary { b'6' } else { b'3' }, *id, args.text()),
            Kind::ConnectError(data) => (b'4', None, data.as_ref().map_or(&[], JsonText::as_bytes)),
            Kind::Beyond { ack, id, text, .. } => (if *ack { b'3' } else { b'2' }, *id, text),
        };
        out.put_u8(kind);
        if binary {
            decimal(out, self.attachments().len() as u64);
            out.put_u8(b'-');
        }
        if &*self.namespace != MAIN {
            out.put_slice(self.namespace.as_bytes().as_ref());
            out.put_u8(b',');
        }
        if let Some(id) = id {
            decimal(out, id);
        }
        out.put_slice(payload);
    }
}

/// Does the text exceed a limit of this side, and may be JSON beyond it?
fn is_beyond(error: &JsonError) -> bool {
    matches!(error.what, JsonFault::TooDeep(_) | JsonFault::TooManyKeys(_) | JsonFault::NumberTooLong(_))
}

/// A payload that is absent or one JSON value beginning with one of these bytes; `beyond` is said of one beyond the limits.
fn payload_of(
    payload: Bytes,
    begins: &[u8],
    limits: &PacketLimits,
    beyond: &'static str,
) -> Result<Option<JsonText>, FrameError> {
    let Some(first) = payload.first() else { return Ok(None) };
    if !begins.contains(first) {
        return Err(FrameError::Corrupt("a payload of the wrong type"));
    }
    match JsonText::new(payload, &limits.json) {
        Ok(text) => Ok(Some(text)),
        Err(error) if is_beyond(&error) => Err(FrameError::Corrupt(beyond)),
        Err(_) => Err(FrameError::Corrupt("an invalid payload")),
    }
}

/// Arguments, or their text where it is beyond the limits, and why.
type Arguments = Result<Args, (Bytes, JsonError)>;

fn arguments(payload: Bytes, limits: &PacketLimits) -> Result<Arguments, FrameError> {
    if payload.first() != Some(&b'[') {
        return Err(FrameError::Corrupt("a payload that is not an array"));
    }
    match Args::parse_or_return(payload, &limits.json) {
        Err((_, error)) if !is_beyond(&error) => Err(FrameError::Corrupt("an invalid payload")),
        args => Ok(args),
    }
}

fn acknowledgement(id: Option<u64>, payload: Bytes, limits: &PacketLimits) -> Result<Kind, FrameError> {
    if payload.is_empty() {
        return Ok(Kind::Ack { id, args: Args::none() });
    }
    Ok(match arguments(payload, limits)? {
        Ok(args) => Kind::Ack { id, args },
        Err((text, error)) => Kind::Beyond { ack: true, id, text, error },
    })
}

fn event(id: Option<u64>, payload: Bytes, limits: &PacketLimits) -> Result<Kind, FrameError> {
    let args = match arguments(payload, limits)? {
        Ok(args) => args,
        Err((text, error)) => return Ok(Kind::Beyond { ack: false, id, text, error }),
    };
    match args.element(0) {
        Some(name @ [b'"', ..]) => {
            if RESERVED.iter().any(|reserved| is_string(name, reserved)) {
                return Err(FrameError::Corrupt("a reserved name of an event"));
            }
        }
        Some([b'-' | b'0'..=b'9', ..]) => {}
        Some(_) => {
            return Err(FrameError::Corrupt("a name of an event that is neither text nor a number"));
        }
        None => return Err(FrameError::Corrupt("an event without a name")),
    }
    Ok(Kind::Event { id, args })
}

/// Is this JSON string, with its quotes, `text`?
fn is_string(raw: &[u8], text: &str) -> bool {
    match raw {
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => inner == text.as_bytes(),
        _ => json::as_string(raw).is_some_and(|name| name == text),
    }
}

/// Reads `2-`: how many attachments follow.
fn count(text: &[u8], at: &mut usize, max: usize) -> Result<usize, FrameError> {
    let digits = text.get(*at..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count();
    let end = at.saturating_add(digits);
    let no_count = FrameError::Corrupt("a binary packet without a count of attachments");
    if digits == 0 || text.get(end) != Some(&b'-') {
        return Err(no_count);
    }
    let shown = text.get(*at..end).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default();
    let count = if digits > COUNT_DIGITS { None } else { shown.parse::<usize>().ok() };
    *at = end + 1;
    match count {
        Some(0) => Err(FrameError::Corrupt("a binary packet with no attachments")),
        Some(count) if count <= max => Ok(count),
        over => Err(FrameError::TooMany {
            what: "attachments",
            got: over.map_or(u64::MAX, |count| count as u64),
            max: max as u64,
            setting: "max_attachments",
        }),
    }
}

/// Reads `/name,`; the comma may be missing when nothing follows.
fn namespace(text: &Bytes, at: &mut usize, max: usize) -> Result<ByteString, FrameError> {
    if text.get(*at) != Some(&b'/') {
        return Ok(ByteString::from_static(MAIN));
    }
    let rest = text.get(*at..).unwrap_or_default();
    // Not further than it may reach, whatever else there is.
    let looked = rest.iter().take(max.saturating_add(1)).position(|byte| *byte == b',');
    let length = looked.unwrap_or(rest.len().min(max.saturating_add(1)));
    if length > max {
        let [got, max] = [length as u64, max as u64];
        return Err(FrameError::TooLarge { got, max, setting: "max_namespace_bytes" });
    }
    let name = text.slice(*at..at.saturating_add(length));
    *at = at.saturating_add(length).saturating_add(1);
    ByteString::try_from(name).map_err(|_| FrameError::Corrupt("a namespace that is not UTF-8"))
}

fn id(text: &[u8], at: &mut usize) -> Result<Option<u64>, FrameError> {
    let digits = text.get(*at..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return Ok(None);
    }
    let end = at.saturating_add(digits);
    let shown = text.get(*at..end).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default();
    *at = end;
    let id = shown.parse().ok().filter(|id| *id <= MAX_ID);
    id.map(Some).ok_or(FrameError::Corrupt("an id above 2^53 - 1"))
}

/// Appends a number in decimal.
pub(crate) fn decimal(out: &mut BytesMut, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    for place in digits.iter_mut().rev() {
        *place = b'0' + u8::try_from(number % 10).unwrap_or_default();
        start -= 1;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.put_slice(digits.get(start..).unwrap_or_default());
}
