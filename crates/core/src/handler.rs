//! What serves a message: the one object-safe trait, and what it is given.

use std::fmt;
use std::sync::Arc;

use crate::body::Body;
use crate::credentials::{BoxFuture, Identity};
use crate::envelope::{Meta, Response};
use crate::failure::Failure;
use crate::moment::Moment;
use crate::peer::Peer;
use crate::route::Route;

/// How a handler answers; the answer to an event is not sent, a failure there is counted.
pub type Answer = Result<Response, Failure>;

/// The future of a handler.
pub type HandlerFuture = BoxFuture<'static, Answer>;

/// Anything that can be called with an incoming message: a router, a layered router, the caller of another wire.
///
/// Dropping the future gives the message up; that happens when its caller has gone or its deadline has passed.
///
/// The future is polled in the task of its connection, and not at all while as much as `max_queue_bytes` waits to be written to the peer:
/// the handlers of a peer that does not read pause with all they hold. One that holds what others wait for, a lock or a place among few,
/// needs a task of its own ([`OwnTask`](crate::layer::OwnTask)).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    note = "async functions become handlers through `Router::handle`; a whole service implements `Handler`"
)]
pub trait Handler: Send + Sync + 'static {
    /// Handles one message.
    fn call(&self, incoming: Incoming) -> HandlerFuture;
}

impl<H: Handler + ?Sized> Handler for Arc<H> {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        (**self).call(incoming)
    }
}

/// Does a message want an answer?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It wants exactly one.
    Request,
    /// It wants none.
    Event,
}

impl Kind {
    /// The word for it: `request` or `event`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Request => "request",
            Kind::Event => "event",
        }
    }
}

/// A request or an event on its way to a handler.
#[derive(Clone)]
pub struct Incoming {
    /// Request or event.
    pub kind: Kind,
    /// Which handler.
    pub route: Route,
    /// The application data.
    pub body: Body,
    /// Facts only one wire has.
    pub meta: Meta,
    /// When the answer must be there; events have none.
    pub deadline: Option<Moment>,
    /// When it came; `None` for one that was made in this program.
    pub received: Option<Moment>,
    /// Who sent it.
    pub peer: Peer,
    /// Who asks, where a wire says so with each message; see [`Incoming::identity`].
    pub speaker: Option<Arc<Identity>>,
    /// Which run of a handler this is, for progress.
    pub(crate) run: RunId,
}

/// The number of one run of a handler; it belongs to one connection, because what a handler says may outlive that and reach
/// the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct RunId {
    pub(crate) connection: u64,
    pub(crate) run: u64,
}

impl Incoming {
    /// A request made in this program, from `peer`.
    pub fn request(route: Route, body: impl Into<Body>, peer: Peer) -> Self {
        Self {
            kind: Kind::Request,
            route,
            body: body.into(),
            meta: Meta::default(),
            deadline: None,
            received: None,
            peer,
            speaker: None,
            run: RunId::default(),
        }
    }

    /// An event made in this program, from `peer`.
    pub fn event(route: Route, body: impl Into<Body>, peer: Peer) -> Self {
        Self { kind: Kind::Event, ..Self::request(route, body, peer) }
    }

    /// Who asks: the speaker of this message, or whoever logged in on this connection.
    pub fn identity(&self) -> Option<Identity> {
        self.speaker.as_deref().cloned().or_else(|| self.peer.identity())
    }

    /// Tells the caller that the request is being worked on. Dropped and counted where the wire cannot carry it.
    pub fn progress(&self, body: impl Into<Body>) {
        if self.kind == Kind::Request {
            self.peer.progress(self.run, body.into());
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("kind", &self.kind)
            .field("route", &self.route)
            .field("body", &self.body)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
