//! One model for many wire protocols: the envelope, the router, the caller and the connection engine.
//!
//! A handler is an async function under a [`Route`]; a [`Router`] of handlers serves an adapter of any wire, or is called in memory.
//! A [`Caller`] makes calls over any wire, and each has exactly one [`Outcome`]. An adapter implements [`Session`] and a codec, both
//! without I/O; [`Connection`] drives them, and [`Server`] and [`Client`] keep connections. What an [`Endpoint`] is given is all that
//! runs on it: limits, time, chance, memory and the end.
//!
//! ```
//! use polywire_core::{Body, Failure, Json, Router};
//!
//! async fn add(Json((a, b)): Json<(i64, i64)>) -> Json<i64> {
//!     Json(a + b)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Failure> {
//! let router = Router::new().handle("add", add).build().expect("one route is no duplicate");
//! let answer = router.request("add", Body::json(&(40, 2)).expect("numbers have a JSON form")).await?;
//! assert_eq!(answer.body, Body::json(&42).expect("numbers have a JSON form"));
//! # Ok(()) }
//! ```
//!
//! This crate opens no socket, reads no clock and draws no chance of its own: the network, the time and the randomness are handed in
//! ([`Listener`], [`Dial`], [`Network`], [`Surroundings`]). It knows no fact of any protocol.
//!
//! # An adapter of one's own
//! A wire is a [`StreamCodec`] or a [`MessageCodec`] (bytes and frames), a [`Session`] (frames and envelopes), an [`Accept`] and a
//! [`Dial`] (what a connection is made of), and an [`Adapter`] (the same as a value, with its [`Capabilities`]). Everything else is
//! here: [`ByteStream`] and [`MessageStream`] carry the frames, [`Server`] and [`Client`] run the connections. In a test the engine
//! is a loop over [`Actions`]. `examples/fifth_adapter` of the repository is a whole one, and its page leads through it.
//!
//! # Stability
//! [`Session`], [`Codec`] and what they are made of change until an adapter from outside this workspace has used them.
//!
//! # Features
//! | feature | adds |
//! |---|---|
//! | `tower` | handlers as tower services and back, so that any tower middleware can be used |

// A peer reaches this code: it never panics.
#![deny(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

// The modules stand in reading order.

// What is carried.
mod envelope;
mod body;
pub mod json;
mod route;
mod failure;
// Who serves it.
mod handler;
mod extract;
mod reply;
mod into_handler;
mod registry;
mod router;
pub mod layer;
#[cfg(feature = "tower")]
mod tower;
// Who is at the other end.
mod caller;
mod calling;
mod peer;
mod credentials;
mod secret;
mod hub;
// The seam, and the engine behind it.
mod codec;
mod session;
mod transport;
mod outgoing;
mod part;
mod spare;
mod connection;
mod cell;
mod pending;
mod queue;
mod runs;
// The ends of a wire.
mod accepts;
mod failed_logins;
mod pace;
mod server;
mod client;
mod dial_rate;
mod shutdown;
mod adapter;
mod limit_options;
mod login_options;
// What all of them share.
mod capability;
mod ledger;
mod limits;
mod memory;
mod moment;
mod network;

pub use accepts::{Admission, Place};
pub use adapter::{
    Adapter, AdapterError, OptionKind, OptionSpec, Options, Target, parse_duration, parse_size,
};
pub use body::{Binary, Body, JsonText};
pub use bytestring::ByteString;
pub use caller::{Call, Caller, Queued};
pub use calling::Calling;
pub use capability::{
    BinaryForm, Capabilities, Correlation, EmptyReply, Errors, EventForm, Particulars, ProgressForm,
};
pub use client::{
    Client, ClientState, Commands, Dial, DialError, Follow, GAP, Reconnect, Standing, supervise,
};
pub use codec::{Codec, FrameError, Message, MessageCodec, StreamCodec};
pub use connection::{Connection, Ended, Endpoint, Link, Observe};
pub use credentials::{
    Authenticate, BoxFuture, CredentialSource, Credentials, Identity, Refusal, SharedCredentials,
};
pub use dial_rate::DialRate;
pub use envelope::{CallId, Due, Event, Meta, Request, Response};
pub use extract::{
    BodyRejection, Deadline, FromIncoming, FromIncomingRef, IdentityRejection, Json, JsonRejection, Progress,
    State, ViaIncoming, ViaRef,
};
pub use failed_logins::{FailedLogins, network_of};
pub use failure::{CallError, Code, Failure, Outcome, Retry};
pub use handler::{Answer, Handler, HandlerFuture, Incoming, Kind};
pub use hub::{Hub, HubConfig, HubCounts, Slow};
pub use into_handler::{IntoHandler, Layered, SharedHandler, Whole};
pub use json::{JsonError, JsonFault, JsonLimits};
pub use ledger::{Count, Ledger};
pub use limit_options::limit_options;
pub use limits::{LimitError, Limits};
pub use login_options::LoginOptions;
pub use memory::{Memory, MemoryStep};
pub use moment::{
    Alarm, Clock, Moment, Random, SeededRandom, Surroundings, SystemRandom, TokioClock, random_below,
    sleep_until,
};
pub use network::{Arrival, Io, Network, NetworkListener};
pub use outgoing::Outgoing;
pub use part::Part;
pub use peer::Peer;
pub use registry::{Registry, RegistryError};
pub use reply::IntoAnswer;
pub use route::{Route, RouteError};
pub use router::Router;
pub use secret::Secret;
pub use server::{Accept, Audience, Listener, Parts, Server};
pub use session::{
    Action, Actions, Admit, Close, Cx, Delivery, Flush, FrameOf, Gate, ModeOf, Outbound, OutboundOf, Session,
};
pub use shutdown::Shutdown;
pub use spare::copied;
#[cfg(feature = "tower")]
pub use tower::{
    FromTower, FromTowerShared, IntoTower, TowerLayer, TowerLayerShared, from_tower, from_tower_layer,
    from_tower_layer_shared, from_tower_shared, into_tower,
};
pub use transport::{ByteStream, MessageStream, Transport, TransportError};
