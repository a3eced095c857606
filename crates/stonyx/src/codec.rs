//! WebSocket messages to Stonyx frames: sealed in binary messages, or plain in text messages.

use std::fmt;

use bytes::{Bytes, BytesMut};
use polywire_core::{ByteString, FrameError, Message, MessageCodec};

use crate::seal::{HEAD, Key, Nonce};

/// One message, in or out. `Debug` shows sizes, never what is carried.
pub enum Frame {
    /// A message to write.
    Write(Text),
    /// A message that could be opened, or needed no opening.
    Read {
        /// What it was sealed with; `None` where messages are not sealed.
        nonce: Option<Nonce>,
        /// The JSON text, not yet looked at.
        text: Bytes,
    },
    /// One that could not be opened: another key, changed on the way, or of the wrong kind.
    Shut(&'static str),
    /// A sign of life to ask for.
    Ping,
    /// The answer to it.
    Pong,
    /// The end, with a status code and a reason.
    Close(u16, ByteString),
    /// The peer closed in order, with a status code and a reason where it gave them.
    Closed(Option<(u16, ByteString)>),
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Frame::Write(text) => f.debug_tuple("Write").field(text).finish(),
            Frame::Read { nonce, text } => {
                let how = if nonce.is_some() { "sealed" } else { "plain" };
                write!(f, "Read({} bytes, {how})", text.len())
            }
            Frame::Shut(why) => f.debug_tuple("Shut").field(why).finish(),
            Frame::Ping => f.write_str("Ping"),
            Frame::Pong => f.write_str("Pong"),
            Frame::Close(code, reason) => f.debug_tuple("Close").field(code).field(reason).finish(),
            Frame::Closed(close) => f.debug_tuple("Closed").field(close).finish(),
        }
    }
}

/// The text of a message to write, with room in front for what sealing adds.
pub struct Text {
    pub(crate) bytes: BytesMut,
    pub(crate) nonce: Option<Nonce>,
}

impl Text {
    /// The JSON text.
    pub(crate) fn json(&self) -> &[u8] {
        self.bytes.get(if self.nonce.is_some() { HEAD } else { 0 }..).unwrap_or_default()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} bytes)", self.json().len())
    }
}

/// Opens and seals; its modes are keys.
#[derive(Debug)]
pub struct Codec {
    read: Key,
    write: Key,
}

impl Codec {
    /// Both directions begin with this key.
    pub fn new(key: &Key) -> Self {
        Self { read: key.clone(), write: key.clone() }
    }
}

impl polywire_core::Codec for Codec {
    type Frame = Frame;
    type Mode = Key;

    fn set_read_mode(&mut self, mode: Key) {
        self.read = mode;
    }

    fn set_write_mode(&mut self, mode: Key) {
        self.write = mode;
    }
}

impl MessageCodec for Codec {
    fn decode(&mut self, message: Message) -> Result<Option<Frame>, FrameError> {
        Ok(match (message, self.read.seals()) {
            (Message::Binary(sealed), true) => Some(match self.read.open(sealed) {
                Some((nonce, text)) => Frame::Read { nonce: Some(nonce), text },
                None => Frame::Shut("a message that cannot be opened"),
            }),
            (Message::Text(text), false) => Some(Frame::Read { nonce: None, text }),
            (Message::Text(_), true) => Some(Frame::Shut("a text message where messages are sealed")),
            (Message::Binary(_), false) => {
                Some(Frame::Shut("a binary message where messages are not sealed"))
            }
            (Message::Pong(_), _) => Some(Frame::Pong),
            (Message::Close(close), _) => Some(Frame::Closed(close)),
            (Message::Ping(_), _) => None,
        })
    }

    fn encode(&mut self, frame: Frame, out: &mut dyn FnMut(Message)) -> Result<(), FrameError> {
        match frame {
            Frame::Write(Text { mut bytes, nonce: Some(nonce) }) => {
                self.write
                    .seal(nonce, &mut bytes)
                    .ok_or(FrameError::Corrupt("there is no key to seal with"))?;
                out(Message::Binary(bytes.freeze()));
            }
            Frame::Write(Text { bytes, nonce: None }) => out(Message::Text(bytes.freeze())),
            Frame::Ping => out(Message::Ping(Bytes::new())),
            Frame::Close(code, reason) => out(Message::Close(Some((code, reason)))),
            Frame::Read { .. } | Frame::Shut(_) | Frame::Pong | Frame::Closed(_) => {
                return Err(FrameError::Corrupt("only read, never written"));
            }
        }
        Ok(())
    }
}
