//! Socket.IO v5 for Rust: a client for servers of npm `socket.io`, `python-socketio` and others that speak Engine.IO 4, and a server.
//!
//! An event that wants an acknowledgement is a request, one that wants none an event, an acknowledgement is a response; both
//! ends may send all of them. What the protocol is was taken from the two protocol documents, read in the source of socket.io
//! 4.8, and observed with it and with python-socketio 5.18.
//!
//! ```no_run
//! use std::sync::Arc;
//! use polywire_core::{Body, Credentials, Endpoint, Failure, Json, Request, Route, Router};
//! use polywire_socketio::{Config, dial};
//!
//! async fn sum(Json((a, b)): Json<(i64, i64)>) -> Json<i64> {
//!     Json(a + b)
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let router = Router::new().handle("sum", sum).build()?;
//! let auth = Arc::new(|attempt: u32| async move {
//!     let data = Body::json(&[("token", format!("tok-{attempt}"))].into_iter().collect::<std::collections::BTreeMap<_, _>>());
//!     data.map(|data| Credentials { data, ..Credentials::guest() })
//!         .map_err(|error| Failure::new(polywire_core::Code::Internal, error.to_string()))
//! });
//! let endpoint = Endpoint::new("socketio", router);
//! let client = dial("127.0.0.1:3000", Config::new("/realtime"), auth, endpoint)?;
//! let answer = client.caller().call(Request::new(Route::from_static("echo"), Body::json(&[1, 2])?)).await?;
//! # let _ = answer; Ok(()) }
//! ```
//!
//! # Arguments and bodies
//! Socket.IO carries any number of arguments, a [`Body`](polywire_core::Body) is one. One argument is the body, none is an empty
//! one, several are a JSON array with the fact [`SEVERAL`]; with [`Arguments::List`] every body is that array. An attachment
//! alone is bytes; attachments inside JSON stay beside it in the [`Meta`](polywire_core::Meta), in whose order
//! `{"_placeholder":true,"num":0}` and so on mark their places. No attachment is copied.
//!
//! # What the wire does not give
//! It has no failures of its own: a failed request is acknowledged with `{"error":{"code","message"}}`. An event without an
//! acknowledgement may be lost when the connection is.
//!
//! # Features
//! | feature | adds |
//! |---|---|
//! | `polling` | HTTP long-polling, and the upgrade from it to a WebSocket: [`Config::transports`] |
//! | `server` | the end that listens, on `socketioxide` |
//! | `tls` | TLS (`wss://`, `https://`) |

// Messages to packets.
mod codec;
mod placeholder;
mod args;
mod packet;
// Packets to envelopes.
mod translate;
mod stack;
mod session;
// What carries messages.
mod connector;
#[cfg(feature = "polling")]
mod polling;
mod transport;
// The end that dials.
mod client;
// The end that listens.
#[cfg(feature = "server")]
mod server;
mod adapter;
// The notes.
mod config;
mod error;

#[cfg(test)]
mod tests;

pub use adapter::{ADAPTER, SocketIo, capabilities};
pub use args::Args;
#[cfg(feature = "tls")]
pub use client::dial_tls;
pub use client::{Dialler, dial};
pub use codec::{Codec, Frame};
pub use config::{Arguments, Config, Transports};
pub use error::Error;
pub use packet::{Kind, MAIN, Packet, PacketLimits, Parsed, RESERVED};
#[cfg(feature = "tls")]
pub use polywire_net::tls;
#[cfg(all(feature = "server", feature = "tls"))]
pub use server::listen_tls;
#[cfg(feature = "server")]
pub use server::{Answer, Door, Handshake, Line, Mount, Seat, ServerConfig, listen, listen_with, mount};
pub use session::{Events, Link, Recovery};
pub use stack::{Lower, Packets, Stack, Up, Upper};
pub use translate::SEVERAL;
pub use transport::Carrier;
