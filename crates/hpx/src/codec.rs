//! Bytes to frames and back: one gzip body and the delimiter `<EOF>`.
//!
//! The delimiter can stand inside gzip data, so finding it ends no frame: the body before it must be whole. A delimiter at which
//! the inflater still wants input is data. Only a body that is no gzip ends at the first delimiter, whatever comes after.
//! What goes out never holds the delimiter.

use std::fmt;
use std::sync::LazyLock;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem::Finder;
use polywire_core::{Codec, FrameError, Outgoing, StreamCodec};

use crate::config::Wire;
use crate::gzip::{self, Bounds, Fault, Inflater, Progress};

/// Ends every frame, both ways. Read in source: `utils.end_of_message` of the 2018 server, `_recv` of the
/// PyPI client; observed in every capture.
pub(crate) const DELIMITER: &[u8] = b"<EOF>";

/// What stands for the `<` of a delimiter in a text.
const ESCAPE: &[u8] = b"\\u003c";
/// Bytes that are new before a body is inflated ahead of its delimiter: it spreads the work, and a byte at a time costs little.
const AHEAD: usize = 16 << 10;
/// Tries to find an encoding without the delimiter.
const TRIES: usize = 16;

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(DELIMITER));

/// One message of the wire. `Debug` shows its size alone: it may hold a password or a session.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame {
    /// The text of one message; nothing is known of it yet.
    Text(Bytes),
    /// A body that is no gzip text. The stream goes on behind it.
    Bad(Fault),
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Frame::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Frame::Bad(fault) => f.debug_tuple("Bad").field(fault).finish(),
        }
    }
}

/// How far the peer is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Not logged in: its texts are as short as `max_login_bytes`.
    Stranger,
    /// Logged in, or dialled by us.
    Known,
}

/// Cuts the stream into frames; the same for both roles.
#[derive(Debug)]
pub struct HpxCodec {
    limits: Limits,
    trust: Trust,
    /// The first bytes of the stream have been looked at.
    sniffed: bool,
    /// No delimiter begins before this offset.
    searched: usize,
    /// The first delimiter of the frame, when it was taken for data.
    first_marker: Option<usize>,
    false_markers: u32,
    body: Option<Inflater>,
    bad: Option<Fault>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    max_frame_bytes: usize,
    max_inflated_bytes: usize,
    max_login_bytes: usize,
    max_members: u32,
    max_false_markers: u32,
    level: u32,
    stored_up_to: usize,
}

impl HpxCodec {
    /// A codec at the start of a stream.
    pub fn new(wire: &Wire, trust: Trust) -> Self {
        let limits = Limits {
            max_frame_bytes: wire.limits.max_frame_bytes,
            max_inflated_bytes: wire.max_inflated_bytes,
            max_login_bytes: wire.limits.max_login_bytes,
            max_members: wire.max_members,
            max_false_markers: wire.max_false_markers,
            level: wire.compression_level,
            stored_up_to: wire.stored_up_to,
        };
        Self {
            limits,
            trust,
            sniffed: false,
            searched: 0,
            first_marker: None,
            false_markers: 0,
            body: None,
            bad: None,
        }
    }

    fn bounds(&self) -> Bounds {
        let Limits { max_members, max_inflated_bytes, max_login_bytes, .. } = self.limits;
        let (max_text, setting) = match self.trust {
            Trust::Stranger => (max_login_bytes.min(max_inflated_bytes), "max_login_bytes"),
            Trust::Known => (max_inflated_bytes, "max_inflated_bytes"),
        };
        Bounds { max_text, setting, max_members }
    }

    /// The next delimiter that has not been looked at.
    fn next_marker(&mut self, input: &[u8]) -> Option<usize> {
        let found = FINDER.find(input.get(self.searched..)?).map(|at| self.searched.saturating_add(at));
        self.searched = match found {
            Some(at) => at.saturating_add(DELIMITER.len()),
            None => self.searched.max(input.len().saturating_sub(DELIMITER.len().saturating_sub(1))),
        };
        found
    }

    /// The frame is longer than it may be. When what is there of it shows that a delimiter taken for data was none, it ended
    /// there, and is not too long.
    fn overlong(&mut self, input: &mut BytesMut, bytes: usize) -> Result<Frame, FrameError> {
        let max = self.limits.max_frame_bytes;
        let body = input.get(..max).unwrap_or_default();
        if let Some(end) = self.first_marker
            && let Progress::Bad(fault) = self.feed(body, false)?
        {
            return Ok(self.give_up(input, fault, end));
        }
        Err(FrameError::TooLarge { got: bytes as u64, max: max as u64, setting: "max_frame_bytes" })
    }

    /// Inflates on to the end of `body`.
    fn feed(&mut self, body: &[u8], to_marker: bool) -> Result<Progress, FrameError> {
        if let Some(fault) = self.bad {
            return Ok(Progress::Bad(fault));
        }
        let bounds = self.bounds();
        let progress = self.body.get_or_insert_with(Inflater::new).feed(body, to_marker, &bounds)?;
        if let Progress::Bad(fault) = progress {
            self.bad = Some(fault);
            self.body = None;
        }
        Ok(progress)
    }

    /// Takes the frame that ends at the delimiter at `end` off the input.
    fn cut(&mut self, input: &mut BytesMut, end: usize) {
        input.advance(end.saturating_add(DELIMITER.len()).min(input.len()));
        self.searched = 0;
        self.first_marker = None;
        self.false_markers = 0;
        self.body = None;
        self.bad = None;
    }

    /// Gives the frame up: it ends at its first delimiter, and what follows is looked at afresh.
    fn give_up(&mut self, input: &mut BytesMut, fault: Fault, end: usize) -> Frame {
        let fault = if self.first_marker.is_some() { Fault::Truncated } else { fault };
        let end = self.first_marker.unwrap_or(end);
        self.cut(input, end);
        Frame::Bad(fault)
    }

    /// The frame that ends at the delimiter at `end`, unless that one is data.
    fn at_marker(&mut self, input: &mut BytesMut, end: usize) -> Result<Option<Frame>, FrameError> {
        let body = input.get(..end).unwrap_or_default();
        if body.is_empty() {
            self.cut(input, end);
            return Ok(Some(Frame::Text(Bytes::new())));
        }
        if self.body.is_none()
            && self.bad.is_none()
            && let Some(text) = gzip::stored(body, self.bounds().max_text)
        {
            self.cut(input, end);
            return Ok(Some(Frame::Text(text)));
        }
        match self.feed(body, true)? {
            Progress::Whole => {
                let text = self.body.take().map(Inflater::finish).unwrap_or_default();
                self.cut(input, end);
                Ok(Some(Frame::Text(text)))
            }
            Progress::Bad(fault) => Ok(Some(self.give_up(input, fault, end))),
            Progress::More => {
                self.first_marker.get_or_insert(end);
                self.false_markers = self.false_markers.saturating_add(1);
                if self.false_markers > self.limits.max_false_markers {
                    return Err(FrameError::TooMany {
                        what: "delimiters inside its data",
                        got: u64::from(self.false_markers),
                        max: u64::from(self.limits.max_false_markers),
                        setting: "max_false_markers",
                    });
                }
                Ok(None)
            }
        }
    }

    /// Inflates what is there of a frame whose end is not. The last bytes may be the beginning of a delimiter and are left out.
    fn run_ahead(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let used = self.body.as_ref().map_or(0, Inflater::used);
        let body = input.get(..self.searched).unwrap_or_default();
        if self.bad.is_none() && body.len().saturating_sub(used) >= AHEAD {
            self.feed(body, false)?;
        }
        Ok(match (self.bad, self.first_marker) {
            (Some(fault), Some(end)) => Some(self.give_up(input, fault, end)),
            _ => None,
        })
    }
}

impl Codec for HpxCodec {
    type Frame = Frame;
    type Mode = Trust;

    fn set_read_mode(&mut self, trust: Trust) {
        self.trust = trust;
    }

    fn set_write_mode(&mut self, _trust: Trust) {}

    /// The text of a frame that is inflated as it comes.
    fn keeps(&self) -> usize {
        self.body.as_ref().map_or(0, Inflater::keeps)
    }
}

impl StreamCodec for HpxCodec {
    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        if !self.sniffed {
            match sniff(input) {
                Some(Ok(())) => self.sniffed = true,
                Some(Err(other)) => return Err(FrameError::WrongProtocol(other)),
                None => return Ok(None),
            }
        }
        let max = self.limits.max_frame_bytes;
        while let Some(end) = self.next_marker(input) {
            if end > max {
                return self.overlong(input, end).map(Some);
            }
            if let Some(frame) = self.at_marker(input, end)? {
                return Ok(Some(frame));
            }
        }
        if self.searched > max {
            return self.overlong(input, input.len()).map(Some);
        }
        self.run_ahead(input)
    }

    fn missing(&self, _input: &BytesMut) -> usize {
        0
    }

    fn encode(&mut self, frame: Frame, out: &mut Outgoing) -> Result<(), FrameError> {
        let Frame::Text(mut text) = frame else { return Ok(()) };
        escape_delimiter(&mut text);
        for _ in 0..TRIES {
            if self.encode_once(&text, out) {
                return Ok(());
            }
            // A blank behind the text changes checksum, length and code.
            let mut longer = BytesMut::with_capacity(text.len().saturating_add(TRIES));
            longer.extend_from_slice(&text);
            longer.extend_from_slice(b" ");
            text = longer.freeze();
        }
        Err(FrameError::Corrupt("no encoding of the message is free of the delimiter"))
    }
}

impl HpxCodec {
    /// Appends the frame of `text`, unless its body holds the delimiter.
    fn encode_once(&self, text: &[u8], out: &mut Outgoing) -> bool {
        if text.len() > self.limits.stored_up_to {
            let mut body = gzip::deflated(text, self.limits.level);
            // Level 1 makes noise an eighth longer.
            if body.len() <= gzip::stored_bytes(text.len()) {
                let clean = FINDER.find(&body).is_none();
                if clean {
                    body.extend_from_slice(DELIMITER);
                    out.put_bytes(Bytes::from(body));
                }
                return clean;
            }
        }
        out.put_with(|out| {
            let start = out.len();
            gzip::write_stored(text, out);
            let clean = FINDER.find(out.get(start..).unwrap_or_default()).is_none();
            if clean {
                out.extend_from_slice(DELIMITER);
            } else {
                out.truncate(start);
            }
            clean
        })
    }
}

/// The longest text whose frame surely has at most `max_frame_bytes`: what is no shorter deflated is stored.
pub(crate) fn longest_text(max_frame_bytes: usize) -> usize {
    let around = gzip::stored_bytes(max_frame_bytes).saturating_sub(max_frame_bytes);
    max_frame_bytes.saturating_sub(around.saturating_add(TRIES))
}

/// The length that a JSON text has once its delimiters are escapes.
pub(crate) fn escaped_len(text: &[u8]) -> usize {
    let more = ESCAPE.len().saturating_sub(1);
    text.len().saturating_add(FINDER.find_iter(text).count().saturating_mul(more))
}

/// Writes the `<` of every delimiter in a JSON text as an escape; `<` stands inside strings only, so the value is the same.
fn escape_delimiter(text: &mut Bytes) {
    let Some(first) = FINDER.find(text) else { return };
    let mut safe = BytesMut::with_capacity(text.len().saturating_add(64));
    let mut rest: &[u8] = text;
    let mut next = Some(first);
    while let Some(at) = next {
        safe.extend_from_slice(rest.get(..at).unwrap_or_default());
        safe.extend_from_slice(ESCAPE);
        rest = rest.get(at.saturating_add(1)..).unwrap_or_default();
        next = FINDER.find(rest);
    }
    safe.extend_from_slice(rest);
    *text = safe.freeze();
}

/// Do the first bytes belong to another protocol? `None` while there are too few to tell.
fn sniff(input: &[u8]) -> Option<Result<(), &'static str>> {
    const STARTS: [(&[u8], &str); 12] = [
        (b"GET ", "HTTP"),
        (b"POST", "HTTP"),
        (b"PUT ", "HTTP"),
        (b"HEAD", "HTTP"),
        (b"OPTI", "HTTP"),
        (b"HTTP", "HTTP"),
        (b"PRI ", "HTTP/2"),
        (b"SSH-", "SSH"),
        (b"\x16\x03\x01", "TLS"),
        (b"\x16\x03\x03", "TLS"),
        (b"\x15\x03", "TLS"),
        (b"{\"type\":", "Sockhop"),
    ];
    // A MessagePack map whose first key is a short text: HPX since 1.0, which is read like nothing else here.
    let first_key = match input.first()? {
        0x80..=0x8f => 1,
        0xde => 3,
        0xdf => 5,
        _ => 0,
    };
    if first_key > 0 && matches!(input.get(first_key)?, 0xa0..=0xbf) {
        return Some(Err("HPX dialect C (MessagePack, servers and clients from 1.0 on)"));
    }
    let mut open = false;
    for (start, name) in STARTS {
        if input.starts_with(start) {
            return Some(Err(name));
        }
        open |= start.starts_with(input);
    }
    (!open).then_some(Ok(()))
}
