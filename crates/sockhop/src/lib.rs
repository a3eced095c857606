//! Sockhop for Rust: client and server over TCP and Unix sockets, for peers of the 1.x and 2.x libraries.
//!
//! Sockhop is a Node library for messages between processes: JSON lines, and after a handshake binary frames, with callbacks
//! both ways, typed buffers and pings. A message with a callback is a request here, one without is an event, and its type is
//! the route. What the protocol is was taken from recordings of the real library (1.8.4 and 2.1.0 on Node 20).
//!
//! ```no_run
//! use polywire_core::{Body, Endpoint, Incoming, Request, Response, Route};
//! use polywire_sockhop::{Config, dial, listen};
//! # struct Echo;
//! # impl polywire_core::Handler for Echo {
//! #     fn call(&self, incoming: Incoming) -> polywire_core::HandlerFuture {
//! #         Box::pin(async move { Ok(Response { body: incoming.body, meta: incoming.meta }) })
//! #     }
//! # }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let server = listen("127.0.0.1:0", Config::default(), Endpoint::new("sockhop", Echo)).await?;
//! let client = dial(server.address(), Config::default(), Endpoint::new("sockhop", Echo))?;
//! let request = Request::new(Route::from_static("echo"), Body::json(&[1, 2, 3])?);
//! let answer = client.caller().call(request).await?;
//! # let _ = answer; Ok(()) }
//! ```
//!
//! # Peers
//! | peer | what works |
//! |---|---|
//! | this crate | everything |
//! | 2.1.x | everything; the switch to frames is fenced so that the peer loses nothing |
//! | 1.x | requests by callback or by `SockhopRequest`, events, plain buffers as base64, pings |
//! | bare JSON lines | events without names |
//!
//! [`Peer::capabilities`](polywire_core::Peer::capabilities) tells which of them takes typed buffers, once the handshake is over.
//!
//! # Features
//! | feature | adds |
//! |---|---|
//! | `tls` | TLS for clients and servers |
//!
//! # Decisions, with the road not taken
//! - **Our switch to frames is fenced in three steps.** A stock 2.1 peer loses what shares a read with the
//!   transition, and the transition has no acknowledgement. So a ping empties the wire, a second ping leaves with the
//!   transition, and everything else is held until a ping as a frame, some milliseconds behind that pong, was
//!   answered too: on a wire that cuts between ping and transition the second pong proves nothing, and a pause alone
//!   is a guess that load makes wrong. What is left is a cut wire that also glues the transition to that frame: the
//!   ping is lost, the connection ends at `handshake_timeout` with the rest still queued, and a stock client's next
//!   handshake fails once. Asking again could make a whole frame of half a ping. A peer that fences itself, or says
//!   `"exact"` in its pong, is no stock peer and costs one round trip.
//! - **The default is `Switch::Late`.** Lines lose nothing and a stock peer reads them fastest; the fence is paid for
//!   by the first typed buffer, which needs it. `Early` is a choice, `Never` another.
//! - **An event for many is encoded for each**, because its form differs by peer (lines, frames, 1.x); what is in it is
//!   shared. One text for all of one form would save a copy of small messages and cost a table of forms: by `callgrind` a message of
//!   100 bytes is written in about 270 instructions, of 4 850 that its whole way through the engine takes.
//! - **Ids carry the number of the call behind a random prefix**, so the answer finds its call without a table, and
//!   a cancelled call leaves nothing behind. Requests of the peer are known by a fingerprint in a short list;
//!   hashing costs more than looking through it.
//! - **A terminator that JSON text cannot be kept free of is refused**, by its name: what we send must hold a control character or one
//!   that stands in strings alone, where it is written as an escape. The original takes any, and with `,` or `null` ends its lines
//!   within a message; what is received may end as the peer likes, and is cut where the original would cut it.
//! - **Silence is death only for who owes a word.** Every stock peer answers pings, but one made by hand may know none and have
//!   little to say. It is given up when it has left a call without an answer and says nothing through four pings, or when it
//!   has spoken once, or was offered a handshake, and says nothing through 180: a host that is gone is found by the kernel
//!   within a minute, a program that stands still by nobody else. To close it sooner would cut off who only reports now and
//!   then; who has never spoken and was offered nothing may listen for ever.

// A peer reaches this code: it never panics.
#![deny(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

// Bytes to frames to envelopes.
mod terminator;
mod codec;
mod binary;
mod wire;
mod id;
mod control;
mod session;
mod tables;
mod heartbeat;
mod translate;
// The two ends.
mod server;
mod client;
mod address;
#[cfg(unix)]
mod unix;
mod adapter;
// The notes.
mod config;
mod error;

#[cfg(test)]
mod tests;

pub use adapter::{ADAPTER, Sockhop, capabilities};
pub use address::Address;
pub use client::dial;
#[cfg(feature = "tls")]
pub use client::dial_tls;
pub use codec::{Codec, Frame, Framing};
pub use config::{Calls, Config, Mode, PeerType, Switch};
pub use error::Error;
#[cfg(feature = "tls")]
pub use polywire_net::tls;
pub use server::listen;
#[cfg(feature = "tls")]
pub use server::listen_tls;
pub use session::{Role, Session};
pub use tables::Reply;
pub use terminator::Terminator;
pub use translate::{BUFFER, TYPE};
pub use wire::Message;
