//! One model for many wire protocols: the envelope, the router, the caller and the connection engine.
//!
//! Stub of the front page; modules are listed in reading order.

mod adapter;
mod body;
mod caller;
mod capability;
mod client;
mod codec;
mod connection;
mod credentials;
mod dial_rate;
mod envelope;
mod extract;
mod failure;
mod handler;
mod hub;
mod into_handler;
pub mod json;
pub mod layer;
mod ledger;
mod limits;
mod moment;
mod outgoing;
mod peer;
mod pending;
mod queue;
mod registry;
mod reply;
mod route;
mod router;
mod runs;
mod secret;
mod server;
mod session;
mod shutdown;
mod spare;
#[cfg(test)]
mod testing;
#[cfg(feature = "tower")]
mod tower;
mod transport;

pub use adapter::{
    Adapter, AdapterError, OptionKind, OptionSpec, Options, Target, parse_duration, parse_size,
};
pub use body::{Binary, Body, JsonText};
pub use bytestring::ByteString;
pub use caller::{Call, Caller};
pub use capability::{BinaryForm, Capabilities, Correlation, Errors, ProgressForm};
pub use client::{Client, ClientState, Commands, Dial, DialError, GAP, Reconnect};
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
pub use failure::{CallError, Code, Failure, Outcome, Retry};
pub use handler::{Answer, Handler, HandlerFuture, Incoming, Kind};
pub use hub::{Hub, HubConfig, HubCounts, Slow};
pub use into_handler::{IntoHandler, Layered, SharedHandler, Whole};
pub use json::{JsonError, JsonFault, JsonLimits};
pub use ledger::{Count, Ledger};
pub use limits::{LimitError, Limits};
pub use moment::{
    Alarm, Clock, Moment, Random, SeededRandom, Surroundings, SystemRandom, TokioClock, random_below,
    sleep_until,
};
pub use outgoing::Outgoing;
pub use peer::Peer;
pub use registry::{Registry, RegistryError};
pub use reply::IntoAnswer;
pub use route::{Route, RouteError};
pub use router::Router;
pub use secret::Secret;
pub use server::{Accept, Audience, Listener, Parts, Server};
pub use session::{
    Action, Actions, Admit, Close, Cx, Delivery, Flush, FrameOf, Gate, ModeOf, Outbound, Session,
};
pub use shutdown::Shutdown;
#[cfg(feature = "tower")]
pub use tower::{
    FromTower, FromTowerShared, IntoTower, TowerLayer, TowerLayerShared, from_tower, from_tower_layer,
    from_tower_layer_shared, from_tower_shared, into_tower,
};
pub use transport::{ByteStream, MessageStream, Transport, TransportError};
