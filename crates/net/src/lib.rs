//! The sockets that polywire's adapters share.
//!
//! The core drives any transport and opens none. What more than one adapter needs to get bytes or messages to it is here.
//!
//! # Features
//! | feature | adds |
//! |---|---|
//! | `tls` | TLS from PEM files, both ends |
//! | `websocket` | [`WebSocket`](websocket::WebSocket), both ends |

mod ends;
mod stream;
pub mod tcp;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "websocket")]
pub mod websocket;

pub use ends::{Listening, connect, listen};
pub use polywire_core::Io;
pub use stream::{Socket, Stream};
