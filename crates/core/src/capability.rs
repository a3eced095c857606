//! What a wire can carry, as data: the bridge and its check reason from this one declaration.

use crate::failure::Code;

/// What one adapter can carry with its present options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// How a response finds its request.
    pub correlation: Correlation,
    /// Calls of one connection that may be in flight at once, client to server; 1 where the wire has no ids.
    pub max_concurrent_calls: u32,
    /// May the side that listens send requests to the side that dialled?
    pub server_calls: bool,
    /// May the side that dialled send events?
    pub client_events: bool,
    /// May the side that listens send events?
    pub push: bool,
    /// How a failed call is told.
    pub errors: Errors,
    /// What bytes can travel as.
    pub binary: BinaryForm,
    /// Progress of a running call.
    pub progress: ProgressForm,
    /// Does the wire tell the peer of a call that is given up, so that its handler ends?
    pub cancel: bool,
    /// Do messages of one connection keep their order?
    pub order: bool,
    /// Does the wire have a login?
    pub login: bool,
    /// Must a request body be a JSON object (arguments by name)?
    pub object_arguments: bool,
    /// Can a response without a body be told from JSON `null`?
    pub empty_body: bool,
    /// Longest route in bytes.
    pub max_route_bytes: usize,
    /// Largest body that surely crosses, in bytes; where a wire compresses, a larger one may.
    pub max_body_bytes: usize,
}

/// How a response finds its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Correlation {
    /// By an id on the wire.
    Id,
    /// By the route's name.
    Name,
    /// By order alone.
    Order,
}

/// How a failed call is told on a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Errors {
    /// By convention, inside an ordinary answer.
    InBody,
    /// As text without a code.
    Text,
    /// As a code and a text.
    Codes,
}

/// What bytes can travel as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BinaryForm {
    /// Not at all: only as text inside JSON, when a bridge is told so.
    None,
    /// Without a type name.
    Plain,
    /// With a type name.
    Typed,
}

/// Progress of a running call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgressForm {
    /// The wire has none.
    None,
    /// It names no call and counts for all of its connection.
    Connection,
    /// It names its call.
    Call,
}

/// What a wire does besides, where a word of [`Capabilities`] tells too little. The default is a wire without any of it.
#[derive(Clone, Copy, Debug)]
pub struct Particulars {
    /// What becomes of the events of the side that dialled.
    pub client_events: EventForm,
    /// What a request, or an event of the side that dialled, arrives as when it has no body; `None` when it arrives without one.
    pub empty_request: Option<&'static str>,
    /// The same of an event of the side that listens.
    pub empty_push: Option<&'static str>,
    /// What a request of the side that dialled arrives as when its body is `null`; a request of the other side and an event
    /// arrive as they are.
    pub null_client_request: &'static str,
    /// What an answer without a body arrives as.
    pub empty_reply: EmptyReply,
    /// Which values change when a message of the peer is read, as an option asks; `None` when none does.
    pub alters: Option<&'static str>,
    /// Is a request that nobody serves left without an answer, so that the caller waits in vain?
    pub silent_unserved: bool,
    /// Is a client with a wrong secret sent away without a word, so that it cannot tell that from a lost connection?
    pub silent_refusal: bool,
    /// The code with which a failure of this code arrives.
    pub code: fn(Code) -> Code,
}

impl Default for Particulars {
    fn default() -> Self {
        Self {
            client_events: EventForm::Any,
            empty_request: None,
            empty_push: None,
            null_client_request: "null",
            empty_reply: EmptyReply::Empty,
            alters: None,
            silent_unserved: false,
            silent_refusal: false,
            code: |code| code,
        }
    }
}

/// What an answer without a body arrives as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EmptyReply {
    /// As an answer without a body.
    Empty,
    /// As this JSON, or what these words stand for.
    Value(&'static str),
    /// Not at all: the caller waits in vain.
    Silence,
}

/// What becomes of the events of the side that dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventForm {
    /// They arrive as events, whatever their names.
    Any,
    /// They arrive as requests, whose answers come back as events of the same name.
    Requests,
    /// Only those of these names arrive.
    Only(&'static [&'static str]),
}
