//! Bytes to frames and back: JSON lines, then binary frames, with the switch between them at an exact byte.
//!
//! The engine holds the codec and feeds it; the session tells it when a direction switches. It never looks into a frame.
//!
//! ```text
//! JSON mode      text ......................... terminator
//! binary mode    length u32 LE | id u8 | payload of `length` bytes
//! ```

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use polywire_core::{FrameError, Limits, Outgoing, StreamCodec};

use crate::binary;
use crate::config::Config;
use crate::terminator::{Mark, kept_apart};
use crate::wire::{self, Message};

/// One delimited unit. `Debug` shows sizes, never what is carried.
#[derive(Clone, PartialEq)]
pub enum Frame {
    /// One line without its terminator. Written as it is, whatever the mode.
    Line(Bytes),
    /// One binary frame, of any message id. Written as it is, whatever the mode.
    Packet {
        /// The message id.
        id: u8,
        /// What follows the header.
        payload: Bytes,
    },
    /// A message to be written in the mode in force; never read.
    Message(Message),
    /// Lets go what was held back, in order; never read.
    Release,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Frame::Line(text) => write!(f, "Line({} bytes)", text.len()),
            Frame::Packet { id, payload } => write!(f, "Packet({id}, {} bytes)", payload.len()),
            Frame::Message(message) => f.debug_tuple("Message").field(message).finish(),
            Frame::Release => f.write_str("Release"),
        }
    }
}

/// How a direction is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One message a line.
    Json,
    /// Binary frames, but held back until [`Frame::Release`]; for the direction out only.
    Held,
    /// Binary frames. In the direction in, JSON lines are still taken until the first frame has been seen.
    Binary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Lines,
    /// Switched, but the peer may still send lines: a stock peer does (observed in
    /// `json-after-transition-210`).
    Either,
    Frames,
}

/// The codec of one connection.
#[derive(Debug)]
pub struct Codec {
    receive: Bytes,
    transmit: Bytes,
    mark: Mark,
    max_frame_bytes: usize,
    max_held_bytes: usize,
    reading: Reading,
    writing: Framing,
    /// So many bytes of the line at the front are known to hold no terminator.
    scanned: usize,
    /// Nothing has been decoded yet.
    fresh: bool,
    /// Written while the direction out is held; there is none most of the time.
    held: Option<Box<Outgoing>>,
}

/// Bytes of a binary frame before its payload.
const HEADER: usize = 5;

impl Codec {
    /// A codec in JSON mode both ways.
    pub fn new(config: &Config, limits: &Limits) -> Self {
        Self {
            receive: config.terminator.receive.clone(),
            transmit: config.terminator.transmit.clone(),
            // Settings are checked before; with a terminator that has no mark, lines are written as they are.
            mark: Mark::of(&config.terminator.transmit).unwrap_or(Mark::Control),
            max_frame_bytes: limits.max_frame_bytes,
            max_held_bytes: limits.max_queue_bytes,
            reading: Reading::Lines,
            writing: Framing::Json,
            scanned: 0,
            fresh: true,
            held: None,
        }
    }

    fn too_large(&self, got: usize) -> FrameError {
        FrameError::TooLarge { got: got as u64, max: self.max_frame_bytes as u64, setting: "max_frame_bytes" }
    }

    /// Does the stream begin with a binary frame? `None` while that cannot be told.
    ///
    /// The fifth byte of a frame is its id. No JSON line has a control character there, so the two never collide.
    fn is_packet(&self, input: &[u8]) -> Option<bool> {
        match self.reading {
            Reading::Lines => Some(false),
            Reading::Frames => Some(true),
            Reading::Either => {
                let id = input.get(HEADER - 1)?;
                Some(binary::is_known(*id) || input.first() != Some(&b'{'))
            }
        }
    }

    fn line(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        if self.fresh
            && let Some(protocol) = foreign(input)
        {
            return Err(FrameError::WrongProtocol(protocol));
        }
        let rest = input.get(self.scanned..).unwrap_or_default();
        let found = match &self.receive[..] {
            [byte] => memchr::memchr(*byte, rest),
            bytes => memchr::memmem::find(rest, bytes),
        };
        let Some(end) = found.map(|at| at.saturating_add(self.scanned)) else {
            self.scanned = input.len().saturating_sub(self.receive.len().saturating_sub(1));
            if self.scanned > self.max_frame_bytes {
                return Err(self.too_large(input.len()));
            }
            return Ok(None);
        };
        if end > self.max_frame_bytes {
            return Err(self.too_large(end));
        }
        self.scanned = 0;
        let mut line = input.split_to(end.saturating_add(self.receive.len()));
        line.truncate(end);
        Ok(Some(Frame::Line(line.freeze())))
    }

    fn packet(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(&[a, b, c, d, id]) = input.first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > self.max_frame_bytes {
            let text = self.reading == Reading::Frames && [a, b] == *b"{\"" && !binary::is_known(id);
            return Err(if text {
                FrameError::Corrupt("a JSON line after the first binary frame")
            } else {
                self.too_large(length)
            });
        }
        let whole = length.saturating_add(HEADER);
        if input.len() < whole {
            return Ok(None);
        }
        if binary::is_known(id) {
            self.reading = Reading::Frames;
        }
        let mut payload = input.split_to(whole).freeze();
        payload.advance(HEADER);
        Ok(Some(Frame::Packet { id, payload }))
    }
}

/// The protocol whose first bytes these are, if it is one that is met on a wrong port. No line of JSON begins so.
fn foreign(input: &[u8]) -> Option<&'static str> {
    const FOREIGN: [(&[u8], &str); 13] = [
        (b"GET ", "HTTP"),
        (b"POST ", "HTTP"),
        (b"PUT ", "HTTP"),
        (b"HEAD ", "HTTP"),
        (b"DELETE ", "HTTP"),
        (b"PATCH ", "HTTP"),
        (b"OPTIONS ", "HTTP"),
        (b"CONNECT ", "HTTP"),
        (b"PRI * HTTP", "HTTP"),
        (b"HTTP/", "HTTP"),
        (b"\x16\x03", "TLS"),
        (b"SSH-", "SSH"),
        (b"\x1f\x8b", "gzip (HPX)"),
    ];
    FOREIGN.iter().find(|(start, _)| input.starts_with(start)).map(|(_, name)| *name)
}

impl polywire_core::Codec for Codec {
    type Frame = Frame;
    type Mode = Framing;

    fn set_read_mode(&mut self, mode: Framing) {
        self.reading = match (mode, self.reading) {
            (Framing::Json | Framing::Held, _) => Reading::Lines,
            (Framing::Binary, Reading::Lines) => Reading::Either,
            (Framing::Binary, already) => already,
        };
    }

    fn set_write_mode(&mut self, mode: Framing) {
        self.writing = mode;
    }
}

impl StreamCodec for Codec {
    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let frame = match self.is_packet(input) {
            None => None,
            Some(true) => self.packet(input)?,
            Some(false) => self.line(input)?,
        };
        self.fresh &= frame.is_none();
        Ok(frame)
    }

    fn missing(&self, input: &BytesMut) -> usize {
        match (self.is_packet(input), input.first_chunk::<HEADER>()) {
            // The length was held against the limit when the header was whole.
            (Some(true), Some(&[a, b, c, d, _])) => {
                (u32::from_le_bytes([a, b, c, d]) as usize).saturating_add(HEADER).saturating_sub(input.len())
            }
            _ => 0,
        }
    }

    fn encode(&mut self, frame: Frame, out: &mut Outgoing) -> Result<(), FrameError> {
        match frame {
            Frame::Line(text) => {
                out.put_bytes(match self.mark {
                    Mark::Control => text,
                    Mark::Character(mark) => kept_apart(text, &self.transmit, mark),
                });
                out.put_slice(&self.transmit);
            }
            Frame::Packet { id, payload } => {
                let length = u32::try_from(payload.len()).map_err(|_| too_long(payload.len()))?;
                out.put_slice(&length.to_le_bytes());
                out.put_slice(&[id]);
                out.put_bytes(payload);
            }
            Frame::Message(message) => match self.writing {
                Framing::Json if self.mark == Mark::Control => {
                    wire::write_line(message, &self.transmit, out);
                }
                Framing::Json => {
                    self.encode(Frame::Line(wire::line_of(message)), out)?;
                }
                Framing::Binary => binary::write(message, out)?,
                Framing::Held => {
                    let held = self.held.get_or_insert_default();
                    if held.len() >= self.max_held_bytes {
                        return Err(FrameError::TooLarge {
                            got: held.len() as u64,
                            max: self.max_held_bytes as u64,
                            setting: "max_queue_bytes",
                        });
                    }
                    binary::write(message, held)?;
                }
            },
            Frame::Release => {
                if let Some(mut held) = self.held.take() {
                    out.put_bytes(held.take());
                }
            }
        }
        Ok(())
    }
}

/// A frame that the four bytes of a length cannot describe.
pub(crate) fn too_long(got: usize) -> FrameError {
    FrameError::TooLarge { got: got as u64, max: u64::from(u32::MAX), setting: "the length field" }
}
