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
//! `{"_placeholder":true,"num":0}` and so on mark their places. No attachment above 1 KiB is copied, but those that polling
//! carries as base64; a smaller one would keep a whole read buffer.
//!
//! # What the wire does not give
//! It has no failures of its own: a failed request is acknowledged with `{"error":{"code","message"}}`. An event without an
//! acknowledgement may be lost when the connection is.
//!
//! An event whose JSON is beyond our limits (levels, keys, digits of a number) is counted as `bad_body` and not handed on, nor are
//! its attachments. One that wants an acknowledgement gets a failure that names the limit, and a call whose acknowledgement is
//! beyond them ends as unknown: an id stands before the JSON. A CONNECT or CONNECT_ERROR beyond them ends the connection.
//!
//! # Features
//! | feature | adds |
//! |---|---|
//! | `polling` | HTTP long-polling, and the upgrade from it to a WebSocket: [`Config::transports`] |
//! | `server` | the end that listens, on `socketioxide` |
//! | `tls` | TLS (`wss://`, `https://`) |
//!
//! # Decisions, with the road not taken
//! - **The packet codec is ours.** The published one builds JSON values and numbers attachments by their order, takes
//!   ids and counts that the official parser refuses, and knows no limits; ours is one scan over the text, held to
//!   every recorded vector of the official parser.
//! - **One argument is a body, several are a list with a fact** (`socketio.arguments`), because nearly every event
//!   has one. A fact does not cross a bridge; with `arguments = "list"` every body is the list, and nothing is lost.
//! - **Attachments inside JSON stay beside it**, uncopied, in the message's `Meta`; their places stay marked in the
//!   text. A bridge refuses such a message: the JSON alone would be less than what was sent. Bytes alone, or as
//!   `{"type","data"}`, are an ordinary binary body and cross.
//! - **A request that nothing handles is not acknowledged**, as the originals do; `answer_unrouted` changes that.
//! - **A server that disconnects a namespace is not dialled again**, as the originals do; `redial_when_dismissed`
//!   changes that. A lost transport is.
//! - **The offset that a recovering server adds to each event is taken off** before handlers see it. On an event
//!   without one (volatile) a last argument that is a string would be taken for it; `keep_offset` leaves all as they
//!   came.
//! - **A recovered session is no gap**: what was missed comes before anything else, and
//!   [`polywire.gap`](polywire_core::GAP) is told only where the server begins a new one. More than
//!   `max_early_events` missed is a new session too; asked for again, they would come again.
//! - **Recovery is forgotten when either side ends the session on purpose**: after a DISCONNECT the server keeps
//!   nothing, and whoever left does not come back for what it keeps after less.
//! - **Right behind an event a client sends no DISCONNECT**: npm `socket.io` drops an event that it reads together with
//!   one (observed), and an event has no receipt. That it was read is shown by the answer to a request that was written
//!   after it, and by the ping that follows a pong written after it; until then the end of the transport tells the end,
//!   as `transport close` there. To guess it by a time or by anything else that the server says would lose one now and then.
//! - **A binary packet without attachments ends the connection**, as the official parser decides, though it could be
//!   read.
//! - **Polling is one more transport** (`transport`, `polling`): it hands up the same messages, and what carries them
//!   may change under a session that does not notice. It is a state that the engine polls, not tasks with channels
//!   between them; dropping it ends every request. Until the upgrade's last word nothing is taken from polling, so
//!   whatever fails before leaves it whole.
//! - **A WebSocket from the first byte is the default**; the originals begin by polling, which costs a request more
//!   and needs a sticky balancer.
//! - **HTTP is hyper's client connection** and nothing above it. A pool or a client with redirects and proxies would
//!   decide what is asked twice; a request here is repeated only if not a byte of it was sent, because a POST that
//!   was heard twice is said twice.
//! - **The end of a session is a POST of its own.** Observed: engine.io ends the session before socket.io has looked
//!   at what else the body holds.
//! - **The server's transport is the library socketioxide, its engine is ours.** Events are taken in the task that
//!   reads, by a handler that is there before CONNECT is answered: their order is kept and the first is not lost.
//!   They wait in a bounded queue, and while it is full the stream is not read. Packets leave through the library's
//!   adapter as they are; at most 64 at a time, because its heartbeat needs a place in the same queue.
//! - **What the library cannot do is not hidden**: CONNECT_ERROR carries a message alone, the first ping comes at
//!   once, and a poll that its client gave up does not end the session. It recovers no session, so CONNECT is answered
//!   with a `sid` alone, and a client that comes back has missed what was sent in between.
//!   It hands answers over beside the events, so one waits here for the events that came before it; an event sent
//!   right behind an answer may be handled before the caller has it.
//! - **Nothing is sent `volatile`.** The library keeps one such event for each client, and the latest takes its place: of five
//!   in a row to a client that is idle one arrives (observed), and not in its order among the others. While a queue is full,
//!   `try_notify` says so instead.
//! - **A session of requests has a name of ours.** The library's id is that of the client too, which programs show to
//!   others, and whoever names a session in a request speaks for it. One that begins as a WebSocket has none.
//! - **A session of requests that this side ends is known no more.** A request that waits is answered with `1`, and every later
//!   one with 400, so the client comes back as from a stream that ends; only one that is closed by name is told to leave.
//!   The library has no way to end it from here: its own part of the session goes with the pong that is missing.
//!   What was said before waits for the next request, for `write_timeout` at most; then all that the session has joined
//!   goes with it.
//! - **What is said to many is encoded for each.** The library encodes what it is given, and its own way of saying it to
//!   many skips the queue of each member, and with it the bounds and the order that a member is promised.
//! - **A sieve lies under the library.** It looks at each frame of a WebSocket where it begins: packets that only
//!   servers send are left out, what follows an unanswered CONNECT is not read yet, and a message above the limit
//!   becomes a close frame with 1009, a flood one with 1008, a frame that breaks RFC 6455 one with 1002 or 1007, which
//!   the library answers. Without it the C# helper of HyperHQ plugins cannot connect at all. What passes is not copied,
//!   but for what came in one read with a head.
//!   HTTP never reads beyond the head of a request for a WebSocket, so what a client sends along with it, or before
//!   the answer, goes through the sieve, too.
//! - **The heads of packets are read under the library**, in the frames of a WebSocket and in the bodies of requests as they
//!   pass. Announced attachments are counted: those that never come are a message begun, which `frame_timeout` ends. A
//!   request has as long for all that does not come with its head, whatever else comes meanwhile. An id that the library
//!   would drop, so that whoever sent it waits in vain, and a DISCONNECT with a payload end the session, and so do more
//!   pings and pongs than `max_control_per_second`. Of a request, what stands before a breach is heard and nothing behind
//!   it: it is handed on packet by packet.
//! - **What this side decides under the library is told to the connections above it**, past the library, whose own word is
//!   only that the client is gone: over a WebSocket a message beyond its limit or in too many frames, a frame that breaks
//!   RFC 6455 and a write that stalls, over polling two polls at a time, over both a flood, the head of a packet
//!   that is none and a missing pong, end a connection by their names. Of what it cannot read, the library does not tell
//!   whether it is no packet or one too large, and neither does this side.
//! - **Texts are looked through once, by the library.** One that is not UTF-8 ends its connection by its name, since
//!   neither the client nor its stream has ended it, but with a close frame that has no code: to give it 1007 the sieve
//!   would have to read every byte that the library reads again.
//! - **A session has one gate, whatever carries it.** Its streams and requests meet there: reading and POSTs wait
//!   while its queue is full, and packets follow when the stream has been flushed or the client has asked again.
//!   Requests bring seven packets at most, because python-engineio ends a session that brings it more than sixteen.
//!   A second WebSocket is refused with 400: the library would answer it with 101 and then leave it.
//! - **What is mounted in a program is a service for each stream, together with the guarded stream** (`mount`). A
//!   service alone, as libraries offer it, would leave the guards out: they stand below HTTP.
//! - **A session's head is moved into memory of its own.** The library keeps it as long as the session, and hyper's are
//!   slices of an 8 KiB buffer.
//! - **Places are counted twice**: sessions have theirs besides streams, because one stream of requests can open any
//!   number of sessions.

// A peer reaches this code: it never panics.
#![deny(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

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
#[cfg(feature = "polling")]
pub use polling::{Payload, take_body};
#[cfg(feature = "tls")]
pub use polywire_net::tls;
#[cfg(all(feature = "server", feature = "tls"))]
pub use server::listen_tls;
#[cfg(feature = "server")]
pub use server::{Answer, Door, Handshake, Line, Mount, Seat, ServerConfig, listen, listen_with, mount};
pub use session::{Events, Link, Namespaces, Recovery};
pub use stack::{Lower, Packets, Stack, Up, Upper};
pub use translate::SEVERAL;
pub use transport::Carrier;
