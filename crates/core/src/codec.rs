//! Bytes to frames and back, pure: the contract that an adapter's `codec.rs` fulfils.

use std::fmt::{self, Debug};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use crate::outgoing::Outgoing;

/// What every codec has: its frames, and the modes in which they are read and written.
pub trait Codec: Send + 'static {
    /// One delimited unit, meaning not yet known. What is wrong but does not end the stream is a frame too, so that it is
    /// counted and answered like any other.
    type Frame: Debug + Send + 'static;
    /// A way of framing or sealing that the session switches between; `()` where there is only one.
    type Mode: Debug + Send + 'static;

    /// Reads in this mode from the next byte or message on.
    fn set_read_mode(&mut self, mode: Self::Mode);

    /// Writes in this mode from the next frame on.
    fn set_write_mode(&mut self, mode: Self::Mode);

    /// Memory that the codec keeps of a frame that is not whole, in bytes, for [`Memory`](crate::Memory): what was inflated of it so
    /// far. 0 unless implemented.
    fn keeps(&self) -> usize {
        0
    }
}

/// A codec over a stream of bytes.
pub trait StreamCodec: Codec {
    /// Takes the next whole frame off the front of `input`; `None` when more bytes are needed, and then `input` is unchanged.
    ///
    /// Must cost time in proportion to the bytes that are new since the last call.
    ///
    /// # Errors
    /// [`FrameError`] when the stream cannot be resynchronised; the connection is closed.
    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Self::Frame>, FrameError>;

    /// How many more bytes the frame at the front of `input` is known to need, after `decode` gave `None`; 0 when unknown.
    ///
    /// The engine trusts it for the size of the next read only up to what it has already received, or 64 KiB. Unknown unless
    /// implemented, as where a frame ends in a delimiter.
    fn missing(&self, input: &BytesMut) -> usize {
        let _ = input;
        0
    }

    /// Appends `frame` to `out`.
    ///
    /// # Errors
    /// [`FrameError`] when the wire cannot hold the frame; `out` is then unchanged.
    fn encode(&mut self, frame: Self::Frame, out: &mut Outgoing) -> Result<(), FrameError>;
}

/// One message of a message-oriented transport such as a WebSocket. `Debug` shows its size alone.
#[derive(Clone, PartialEq, Eq)]
pub enum Message {
    /// Text, known to be UTF-8.
    Text(Bytes),
    /// Bytes.
    Binary(Bytes),
    /// A sign of life asked for; the transport below answers those of the peer and does not hand them up.
    Ping(Bytes),
    /// The answer to a ping of this side.
    Pong(Bytes),
    /// The end, with a status code and a reason where there is a code. Received, it is the last message.
    Close(Option<(u16, ByteString)>),
}

impl Message {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Message::Close(_) => 0,
            Message::Text(bytes) | Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => {
                bytes.len()
            }
        }
    }

    /// Is the message empty?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Message::Text(_) => "Text",
            Message::Binary(_) => "Binary",
            Message::Ping(_) => "Ping",
            Message::Pong(_) => "Pong",
            Message::Close(close) => return f.debug_tuple("Close").field(close).finish(),
        };
        write!(f, "{name}({} bytes)", self.len())
    }
}

/// A codec over a stream of messages.
pub trait MessageCodec: Codec {
    /// Reads one message; `None` when it is part of a frame that later messages complete.
    ///
    /// # Errors
    /// [`FrameError`] when the connection must be closed.
    fn decode(&mut self, message: Message) -> Result<Option<Self::Frame>, FrameError>;

    /// Turns `frame` into the messages that carry it, handing each to `out`.
    ///
    /// # Errors
    /// [`FrameError`] when the wire cannot hold the frame; `out` was not called then.
    fn encode(&mut self, frame: Self::Frame, out: &mut dyn FnMut(Message)) -> Result<(), FrameError>;
}

/// Framing that cannot be mended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A frame is larger than a limit allows.
    #[error("frame of {got} bytes exceeds {setting} = {max}")]
    TooLarge {
        /// Its size in bytes, as announced or as received so far.
        got: u64,
        /// The limit in bytes.
        max: u64,
        /// The setting that holds it.
        setting: &'static str,
    },
    /// A frame has more of something than a limit allows.
    #[error("frame with {got} {what} exceeds {setting} = {max}")]
    TooMany {
        /// Of what, in the plural.
        what: &'static str,
        /// How many, as far as they were counted.
        got: u64,
        /// The limit.
        max: u64,
        /// The setting that holds it.
        setting: &'static str,
    },
    /// The bytes are no frame of this wire.
    #[error("{0}")]
    Corrupt(&'static str),
    /// The first bytes belong to another protocol.
    #[error("the peer speaks {0}, not this protocol")]
    WrongProtocol(&'static str),
}
