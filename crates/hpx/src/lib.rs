//! HPX for Rust: client and server of the HappyPanda X remote calls, for peers of the Python and Node libraries.
//!
//! HappyPanda X serves functions by name over TCP: each message is JSON, compressed with gzip and ended by `<EOF>`. A client
//! reads a greeting, logs in with a name or as a guest, and calls functions under the session it was given, several in one
//! message if it likes. A function is a route here, its named arguments are the body. What the protocol is was taken from the
//! source of the 2018 server, of its clients, and from recordings of them.
//!
//! ```no_run
//! use std::sync::Arc;
//! use polywire_core::{Body, Credentials, Endpoint, Request, Route};
//! use polywire_hpx::{ClientConfig, HpxClient, HpxServer, ServerConfig, Users};
//! # struct Echo;
//! # impl polywire_core::Handler for Echo {
//! #     fn call(&self, incoming: polywire_core::Incoming) -> polywire_core::HandlerFuture {
//! #         Box::pin(async move { Ok(incoming.body.into()) })
//! #     }
//! # }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let mut endpoint = Endpoint::new("hpx", Echo);
//! endpoint.authenticator = Some(Arc::new(Users::new().with("alice", &"s3cret".into())));
//! let server = HpxServer::bind("127.0.0.1:7007", ServerConfig::default(), endpoint).await?;
//!
//! let alice = Arc::new(Credentials::new("alice", "s3cret"));
//! let nothing = Endpoint::new("hpx", Echo);
//! let client =
//!     HpxClient::connect(server.address(), alice, ClientConfig::default(), nothing)?;
//! let request = Request::new(Route::from_static("echo"), Body::json(&serde_json::json!({"value": 1}))?);
//! let answer = client.call(request).await?;
//! # let _ = answer; Ok(()) }
//! ```
//!
//! # Peers
//! | peer | dialect | what works |
//! |---|---|---|
//! | this crate | a, b | everything |
//! | servers up to 0.3.0, PyPI client 1.0.0, npm clients 1.0.1 to 2.1.0 | a | everything; each frame leaves in a write of its own |
//! | npm clients 2.1.1 and 2.2.0 | b | everything; their `__id__` is given back |
//! | servers and clients from 1.0 on | c | nothing: MessagePack, named as such and left |
//!
//! # What differs from the original on purpose
//! A call under an unknown session is refused (407) instead of making its caller a guest. Results stand in the order of the
//! calls, one for each. The failure of one function does not fail its message. Commands that end the server need a user who
//! may. Sessions expire, and outlive their connections.
//!
//! # Not given by the wire
//! Passwords and sessions travel in clear text unless TLS is used, so a password is refused off this machine without it; a
//! session is a bearer secret. A call that was sent and then lost has an unknown outcome.
//!
//! # Features
//! | feature | adds |
//! |---|---|
//! | `tls` | TLS for clients and servers |
//!
//! # Decisions, with the road not taken
//! - **A delimiter ends a frame only where the inflater is done**, because `<EOF>` can stand inside gzip data.
//!   Splitting at the first one, as the originals do, loses such messages. Outgoing bodies are checked and made again
//!   until they have none.
//! - **Small bodies are stored blocks.** That is legal gzip, read by every peer, and costs a copy and a checksum;
//!   deflating costs more than all the rest of a small call.
//! - **A body is deflated in one go.** In steps that yield it would have to be kept aside until it is whole, because no byte
//!   may leave before all are known to be free of the delimiter, and every frame behind it would wait. At level 1 a thread
//!   is held for 2 ms by 1 MiB of JSON that repeats itself and for 8 ms by noise, by 16 MiB for 30 and 140 ms, by 64 MiB for
//!   120 and 570 ms. Who sends such bodies to one peer and has others waiting raises `stored_up_to` (1 MiB at most), or serves
//!   them on a runtime of their own.
//! - **A reply is never longer than `max_frame_bytes`**, and neither is its text than `max_inflated_bytes`: the answers of one
//!   message share a frame, and a client that does not take it would lose them all. The text is counted, not what it
//!   deflates to, because that is known too late to refuse one answer.
//! - **Inflating follows the reads**, at most 256 KiB of them at a time, so text of common density takes a few milliseconds a
//!   turn. A bomb of 64 KiB may take 40 ms once, when it has grown to `max_inflated_bytes` and its connection is closed; a
//!   decoder that stops in the middle of a read would need a way to be called again without one.
//! - **A pool of lanes instead of one connection.** The wire has no ids, so one connection carries one call. Lanes
//!   share one session: the first that needs one logs in for all, the others show it with an empty list, lest the
//!   server cut them as strangers; and a call that was answered by a refused session is sent once more, because it
//!   provably did not run.
//! - **A guest adopts the session that it is given** when a server takes a call for a login; a named user logs in
//!   again, because it would have become a guest.
//! - **A call that is given up closes its connection.** Waiting for its late answer would keep the lane; taking it
//!   for the next one would be wrong.
//! - **Serving is stricter than the original**: an unknown session is 407 and nobody, sessions expire and are
//!   bounded, commands need a user who may. What such a user ends is the program: whatever shares the endpoint's shutdown.
//! - **NaN and Infinity are refused**, because JSON has no word for them and `null` in their place would be a silent change.
//!   With `lenient_python` they are `null`, and counted.

// A peer reaches this code: it never panics.
#![deny(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

// Bytes to frames to envelopes.
mod codec;
mod gzip;
mod wire;
mod session;
mod translate;
mod batch;
// The two ends.
mod server;
mod users;
mod client;
mod lanes;
mod adapter;
// The notes.
mod config;
mod error;

#[cfg(test)]
mod tests;

pub use adapter::{ADAPTER, Hpx};
pub use client::HpxClient;
pub use codec::{Frame, HpxCodec, Trust};
pub use config::{ClientConfig, Dialect, NonFinite, ServerConfig, Version, Wire};
pub use error::Error;
pub use gzip::Fault;
#[cfg(feature = "tls")]
pub use polywire_net::tls;
pub use server::HpxServer;
pub use session::{ClientSession, Pool, ServerCommand, ServerSession, Shared, Turn, Wake};
pub use translate::failure;
pub use users::Users;
