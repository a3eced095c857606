//! The sockets that polywire's adapters share.
//!
//! The core drives any transport and opens none. What more than one adapter needs to get bytes or messages to it is here.
//!
//! # Features
//! | feature | adds |
//! |---|---|
//! | `tls` | TLS, both ends: certificates from PEM files, and the authorities of the system |
//! | `websocket` | [`WebSocket`](websocket::WebSocket), both ends |
//!
//! # Decisions, with the road not taken
//! - **tungstenite is driven directly**, in the engine's one task. The usual asynchronous wrapper keeps a waker for
//!   each direction, and hides the limits that the login changes. A connection that rests gives the whole machine
//!   back and keeps the stream alone.
//! - **A large frame is handed to tungstenite as fragments.** It reserves what a header announces; nothing in it
//!   bounds that apart from the limit on messages. One more copy of a large message is the price.
//! - **A few bytes are looked at twice**, to know whether a message has been begun: a slow sender is told from an
//!   idle one by that.
//! - **A network is handed in beside clock and chance** (`Surroundings::network`), and adapters ask `net::connect`
//!   and `net::listen` for sockets. A dialler of its own for each adapter would be ten entry points more, and none
//!   for the bridge, which meets adapters as values.
//! - **Without `tls_ca` a client trusts whom its system trusts**, through `rustls-native-certs`, so that a server with a public
//!   certificate, or one of the operator's own authority, is met as every other program there meets it. A list compiled in
//!   (`webpki-roots`) knows no authority of one's own and grows old with the program.
//! - **The opening handshake is ours**, on `httparse`: it is one request and one answer, and both need a bound, a
//!   check and a status of their own.

// A peer reaches this code: it never panics.
#![deny(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

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
