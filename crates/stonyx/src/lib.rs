//! Stonyx sockets for Rust: client and server, for peers of every known revision of `@stonyx/sockets`.
//!
//! JSON messages over a WebSocket, each sealed with AES-256-GCM under a key that both ends derive from one shared secret, then
//! under a session key. A message to the server is a request under a name, an answer carries the same name and no id; what the
//! server sends unasked is an event. What the protocol is was taken from recordings of the real library (0.1.1-alpha.1, beta.11
//! and beta.39 on Node 20).
//!
//! ```no_run
//! use polywire_core::{Body, Credentials, Endpoint, Incoming, Request, Response, Route};
//! use polywire_stonyx::{Config, dial, listen};
//! # struct Echo;
//! # impl polywire_core::Handler for Echo {
//! #     fn call(&self, incoming: Incoming) -> polywire_core::HandlerFuture {
//! #         Box::pin(async move { Ok(Response { body: incoming.body, meta: incoming.meta }) })
//! #     }
//! # }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::new("32 random bytes in hex, from a file");
//! let server = listen("127.0.0.1:0", config.clone(), Endpoint::new("stonyx", Echo)).await?;
//! let credentials = std::sync::Arc::new(Credentials::guest());
//! let endpoint = Endpoint::new("stonyx", Echo);
//! let client = dial(server.address(), config, credentials, endpoint)?;
//! let request = Request::new(Route::from_static("echo"), Body::json(&[1, 2, 3])?);
//! let answer = client.caller().call(request).await?;
//! # let _ = answer; Ok(()) }
//! ```
//!
//! # What the wire does not give
//! There is no forward secrecy: whoever has the shared key and a recording can read it. Nothing protects the order or number of
//! messages beyond the nonces remembered here. A weak key can be guessed from one recorded login, because the salt is fixed.
//! Off loopback, run it inside TLS, with a generated key.
//!
//! # Large messages
//! A message is sealed, opened and looked through in one go, in the task of its connection, which holds up whatever else its thread
//! has to do: measured, 0.4 ms for each MiB where the processor has instructions for AES, so 7 ms for the 16 MiB that
//! `max_frame_bytes` allows by default, and 10 ms for each MiB where it has none. Before the login there are 64 KiB at most
//! (`max_login_bytes`). Where that is too long, lower `max_frame_bytes`.
//!
//! # Features
//! | feature | adds |
//! |---|---|
//! | `tls` | TLS for clients (`wss://`) and servers |
//!
//! # Decisions, with the road not taken
//! - **The seal is a mode of the codec, the nonce comes from the session.** A key switch is then an action like any
//!   other and falls exactly where the login's answer is written; and the session, which draws the nonces, can know
//!   its own when they come back.
//! - **256 nonces each way for a connection, 100 000 logins for a server.** The wire cannot tell a replay; a memory
//!   can, and honest peers never notice. Remembering all of a connection's nonces would grow without bound.
//! - **A name whose call was given up is owed**, for as long as `owed_for`: its late answer is swallowed, and the next
//!   call of that name waits. After that another call of that name has the connection replaced: it and all new calls
//!   wait until nothing is in flight (`Session::held`), and leave on the next. Without ids anything else hands one
//!   caller's answer to another; the simulation showed that it does when a network is silent for longer than
//!   `owed_for`.
//! - **Null is answered, nothing is not.** The original is silent for both; here they are two values. An answer that nobody
//!   waits for is safe: clients of the original hand it to the handler of its name, which is there or is not, and drop
//!   what that throws. The silence would not be: a caller of ours waits for it until its deadline, and may then not
//!   know whether its call ran.
//! - **Before the login only a login is heard.** The original ignores unknown names and closes for known ones, and so
//!   tells a stranger which exist.
//! - **Only the answer `"success"` is a login.** The library's server lets in with any value that is true in JavaScript,
//!   `{"error":"denied"}` among them; the client handler that its pages show takes every other for a refusal.
//! - **A binary message is refused where messages are plain**, and the other way round, because a peer that mixes
//!   them has another configuration.

// A peer reaches this code: it never panics.
#![deny(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

// Messages to frames to envelopes.
mod seal;
mod keys;
mod codec;
mod wire;
mod guard;
mod session;
// The two ends.
mod server;
mod client;
mod adapter;
// The notes.
mod config;
mod error;

#[cfg(test)]
mod tests;

pub use adapter::{ADAPTER, Stonyx, capabilities};
pub use client::dial;
#[cfg(feature = "tls")]
pub use client::dial_tls;
pub use codec::{Codec, Frame, Text};
pub use config::{Config, OnFailure};
pub use error::Error;
pub use guard::Nonces;
#[cfg(feature = "tls")]
pub use polywire_net::tls;
pub use seal::Key;
#[cfg(feature = "tls")]
pub use server::listen_tls;
pub use server::{by_meta, listen};
pub use session::{CLOSE, ClientSession, Reply, ServerSession};
