//! Engine.IO packets, one to a message: WebSocket messages to frames and back.

use std::fmt;

use bytes::Bytes;
use polywire_core::{FrameError, Message, MessageCodec, Part};

/// One Engine.IO packet. `Debug` shows its size alone.
#[derive(PartialEq, Eq)]
pub enum Frame {
    /// The opening packet: its JSON text.
    Open(Bytes),
    /// The peer ends the session.
    End,
    /// A sign of life asked for, with whatever must be sent back.
    Ping(Bytes),
    /// A Socket.IO packet: its text.
    Packet(Bytes),
    /// One attachment.
    Attachment(Bytes),
    /// A packet without a meaning here: an answer to a ping nobody sent, an upgrade, nothing at all.
    Idle,
    /// The transport was closed in order, with a status code where there was one.
    Closed(Option<u16>),
    /// A message to write, with its type in front.
    Write(Bytes),
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, bytes) = match self {
            Frame::Open(text) => ("Open", text),
            Frame::Ping(payload) => ("Ping", payload),
            Frame::Packet(text) => ("Packet", text),
            Frame::Attachment(bytes) => ("Attachment", bytes),
            Frame::Write(text) => ("Write", text),
            Frame::End => return f.write_str("End"),
            Frame::Idle => return f.write_str("Idle"),
            Frame::Closed(code) => return f.debug_tuple("Closed").field(code).finish(),
        };
        write!(f, "{name}({} bytes)", bytes.len())
    }
}

/// The codec; it has no modes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Codec;

impl polywire_core::Codec for Codec {
    type Frame = Frame;
    type Mode = ();

    fn set_read_mode(&mut self, (): ()) {}

    fn set_write_mode(&mut self, (): ()) {}
}

impl MessageCodec for Codec {
    fn decode(&mut self, message: Message) -> Result<Option<Frame>, FrameError> {
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(bytes) => {
                // A small one would keep a read buffer.
                return Ok(Some(Frame::Attachment(Part::of(&bytes, &bytes, 0).into_bytes())));
            }
            Message::Close(frame) => return Ok(Some(Frame::Closed(frame.map(|(code, _)| code)))),
            Message::Ping(_) | Message::Pong(_) => return Ok(None),
        };
        let Some(kind) = text.first() else { return Err(FrameError::Corrupt("an empty message")) };
        let rest = || text.slice(1..);
        Ok(Some(match kind {
            b'0' => Frame::Open(rest()),
            b'1' => Frame::End,
            b'2' => Frame::Ping(rest()),
            b'3' | b'5' | b'6' => Frame::Idle,
            b'4' => Frame::Packet(rest()),
            _ => return Err(FrameError::Corrupt("an unknown type of Engine.IO packet")),
        }))
    }

    fn encode(&mut self, frame: Frame, out: &mut dyn FnMut(Message)) -> Result<(), FrameError> {
        match frame {
            Frame::Write(text) => out(Message::Text(text)),
            Frame::Attachment(bytes) => out(Message::Binary(bytes)),
            _ => return Err(FrameError::Corrupt("only read, never written")),
        }
        Ok(())
    }
}
