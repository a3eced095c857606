//! WebSocket (RFC 6455) over any stream of bytes, as a transport of the connection engine.
//!
//! Compression is neither offered nor accepted. Pings are answered here; a pong that answers a ping of ours is handed to the
//! codec. A peer that breaks the protocol gets the close code the protocol names for it, and only its own connection ends.

mod blocking;
mod boundaries;
mod fragments;
mod handshake;
mod header;
mod transport;

pub use handshake::{Denial, Head, Opening, accept, connect};
pub use header::Header;
pub use transport::WebSocket;

use std::fmt;
use std::io;
use std::sync::Arc;

use polywire_core::{Clock, TokioClock};

/// Frames that one message may come in, unless a setting says otherwise. However small they are, each costs a look.
pub const MAX_FRAGMENTS: u32 = 1_024;

/// The most memory that a message keeps which is a slice of a read buffer, in bytes; a larger one has memory of its own.
pub const BUFFER_BYTES: usize = 128 << 10;

/// How one end of a WebSocket behaves.
#[derive(Clone)]
pub struct Settings {
    /// Largest message to receive, in bytes; the engine lowers it before login. Default 16 MiB.
    pub max_frame_bytes: usize,
    /// The status code this side closes with; `None` sends an empty close frame, as the `ws` package does by itself. Default
    /// 1000.
    pub close_code: Option<u16>,
    /// Largest HTTP head of the opening handshake, in bytes. Default 16 KiB.
    pub max_head_bytes: usize,
    /// Pings and pongs to receive in one second; more end the connection. Default 100.
    pub max_control_per_second: u32,
    /// Frames that one message may come in; more end the connection. Default 1 024.
    pub max_fragments: u32,
    /// What measures that second. Default tokio's clock.
    pub clock: Arc<dyn Clock>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_frame_bytes: 16 << 20,
            close_code: Some(1000),
            max_head_bytes: 16 << 10,
            max_control_per_second: 100,
            max_fragments: MAX_FRAGMENTS,
            clock: Arc::new(TokioClock),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("max_frame_bytes", &self.max_frame_bytes)
            .field("close_code", &self.close_code)
            .field("max_head_bytes", &self.max_head_bytes)
            .field("max_control_per_second", &self.max_control_per_second)
            .field("max_fragments", &self.max_fragments)
            .finish_non_exhaustive()
    }
}

/// Why a WebSocket is over, or never was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebSocketError {
    /// The stream below failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The stream ended without a close frame.
    #[error("the connection was cut without a close frame")]
    Cut,
    /// The peer broke the WebSocket protocol.
    #[error("WebSocket protocol violation: {0}")]
    Protocol(String),
    /// A text message is not UTF-8.
    #[error("a text message is not UTF-8")]
    NotUtf8,
    /// The peer sends more control frames than allowed.
    #[error("more than max_control_per_second = {0} pings and pongs in a second")]
    ControlFlood(u32),
    /// The peer sends a message in more frames than allowed.
    #[error("a message in more than max_fragments = {0} frames")]
    Fragments(u32),
    /// The peer answered the opening handshake with another status.
    #[error("the server answered {status} {reason:?} instead of opening a WebSocket")]
    Status {
        /// The HTTP status.
        status: u16,
        /// Its reason phrase, at most 64 bytes.
        reason: String,
    },
    /// The opening handshake is not one.
    #[error("no WebSocket handshake: {0}")]
    Handshake(&'static str),
    /// The opening handshake was denied by this side.
    #[error("denied with {0}")]
    Denied(u16),
    /// The HTTP head is too large.
    #[error("HTTP head exceeds max_head_bytes = {0}")]
    HeadTooLarge(usize),
}
