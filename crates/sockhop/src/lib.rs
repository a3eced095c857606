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
//! # Features
//! | feature | adds |
//! |---|---|
//! | `tls` | TLS for clients and servers |

// Bytes to frames to envelopes.
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
mod stream;
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
pub use config::{Calls, Config, Mode, PeerType, Switch, Terminator};
pub use error::Error;
#[cfg(feature = "tls")]
pub use polywire_net::tls;
pub use server::listen;
#[cfg(feature = "tls")]
pub use server::listen_tls;
pub use session::{Role, Session};
pub use tables::Reply;
pub use translate::{BUFFER, TYPE};
pub use wire::Message;
