//! One model for many wire protocols: the envelope, the router, the caller and the connection engine.
//!
//! Stub of the front page; modules are listed in reading order.

mod body;
mod capability;
mod codec;
mod credentials;
mod envelope;
mod failure;
pub mod json;
mod ledger;
mod limits;
mod moment;
mod outgoing;
mod route;
mod secret;
mod session;

pub use body::{Binary, Body, JsonText};
pub use bytestring::ByteString;
pub use capability::{BinaryForm, Capabilities, Correlation, Errors, ProgressForm};
pub use codec::{Codec, FrameError, Message, MessageCodec, StreamCodec};
pub use credentials::{
    Authenticate, BoxFuture, CredentialSource, Credentials, Identity, Refusal, SharedCredentials,
};
pub use envelope::{CallId, Due, Event, Meta, Request, Response};
pub use failure::{CallError, Code, Failure, Outcome, Retry};
pub use json::{JsonError, JsonFault, JsonLimits};
pub use ledger::{Count, Ledger};
pub use limits::{LimitError, Limits};
pub use moment::{
    Alarm, Clock, Moment, Random, SeededRandom, Surroundings, SystemRandom, TokioClock, random_below,
    sleep_until,
};
pub use outgoing::Outgoing;
pub use route::{Route, RouteError};
pub use secret::Secret;
pub use session::{
    Action, Actions, Admit, Close, Cx, Delivery, Flush, FrameOf, Gate, ModeOf, Outbound, Session,
};
