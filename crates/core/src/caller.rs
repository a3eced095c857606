//! The handle that sends a request and awaits its one outcome.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::body::Body;
use crate::calling::Calling;
use crate::cell::Awaited;
use crate::credentials::BoxFuture;
use crate::envelope::{CallId, Due, Event, Request};
use crate::failure::{CallError, Code, Failure, Outcome};
use crate::handler::{Handler, HandlerFuture, Incoming, Kind, RunId};
use crate::ledger::{Count, Ledger};
use crate::memory::{MemoryStep, UNIT};
use crate::moment::{Moment, Surroundings, sleep_until};
use crate::queue::{Outlet, Rejected};
use crate::session::Close;

/// Calls a peer over its connection, over whichever connection a supervisor has up, or through anything that implements
/// [`Call`]. A clone calls the same peer.
///
/// Every call ends exactly once, at its deadline at the latest, and its error says whether the peer may have acted.
/// A caller is a [`Handler`] too: a router whose handler is the caller of another wire is a bridge.
#[derive(Clone)]
pub struct Caller(Way);

#[derive(Clone)]
pub(crate) enum Way {
    Queue(Arc<QueueWay>),
    Custom(Arc<dyn Call>),
}

pub(crate) struct QueueWay {
    pub(crate) outlet: Arc<dyn Outlet>,
    pub(crate) surroundings: Surroundings,
    ledger: Arc<Ledger>,
    pub(crate) timeout: Duration,
}

/// A way of calling that is not one queue in front of one connection, such as a pool.
pub trait Call: Send + Sync + 'static {
    /// Makes one call; the future must end at the request's deadline at the latest.
    fn call(&self, request: Request) -> BoxFuture<'_, Outcome>;

    /// Sends one event.
    fn notify(&self, event: Event) -> BoxFuture<'_, Result<(), CallError>>;

    /// Will every call from now on be `NotSent`? A way that cannot tell says no.
    fn has_ended(&self) -> bool {
        false
    }
}

/// What waits in front of a connection: calls and events that were accepted and are not written yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// How many; `max_queue_messages` bounds them.
    pub messages: usize,
    /// The bytes of their names and facts, and of the memory that bodies and attachments keep; `max_queue_bytes` bounds them.
    pub bytes: usize,
}

impl Caller {
    pub(crate) fn over_queue(
        outlet: Arc<dyn Outlet>,
        surroundings: Surroundings,
        ledger: Arc<Ledger>,
        timeout: Duration,
    ) -> Self {
        Self(Way::Queue(Arc::new(QueueWay { outlet, surroundings, ledger, timeout })))
    }

    /// A caller that goes some way of its own.
    pub fn custom(call: impl Call) -> Self {
        Self(Way::Custom(Arc::new(call)))
    }

    /// Makes one call and waits for its one outcome. While the queue is full the call waits too.
    ///
    /// # Errors
    /// [`CallError`], which says whether the peer may have acted.
    ///
    /// # Cancel safety
    /// Dropping the future gives the call up: unsent it is removed, sent its answer is nobody's.
    pub async fn call(&self, request: Request) -> Outcome {
        match &self.0 {
            Way::Queue(_) => Self::begin(self, request).await,
            Way::Custom(call) => call.call(request).await,
        }
    }

    /// Makes one call, as a small future. Over a queue with room the call is queued now; while the queue is full, and over a
    /// [`Call`] of its own, it is made when the future is first polled.
    pub fn begin<C: Borrow<Caller>>(caller: C, request: Request) -> Calling<C> {
        Calling::new(caller, request)
    }

    /// Sends one event; waits while the queue is full.
    ///
    /// `Ok` means that the event is queued in order behind what was sent before; where a supervisor reconnects it
    /// survives that. It is no receipt of the peer.
    ///
    /// # Errors
    /// [`CallError::NotSent`] when the connection has ended, or the wire cannot carry it.
    ///
    /// # Cancel safety
    /// Dropped while it waits for room, the event is not sent.
    pub async fn notify(&self, event: Event) -> Result<(), CallError> {
        match &self.0 {
            Way::Queue(way) => way.notify(event).await,
            Way::Custom(call) => call.notify(event).await,
        }
    }

    /// Sends one event now or not at all.
    ///
    /// # Errors
    /// [`CallError::NotSent`] with `resource_exhausted` when the queue is full, and from 70 % of `max_memory_bytes` on when it holds
    /// 64 KiB.
    pub fn try_notify(&self, event: Event) -> Result<(), CallError> {
        match &self.0 {
            Way::Queue(way) => way.try_notify(event),
            Way::Custom(_) => Err(only_waits()),
        }
    }

    /// Has the connection, or the supervisor that would make a new one, ended for good? Every call is then `NotSent`.
    pub fn has_ended(&self) -> bool {
        match &self.0 {
            Way::Queue(way) => way.outlet.has_ended(),
            Way::Custom(call) => call.has_ended(),
        }
    }

    /// Are events for this peer dropped, so that all connections keep less memory?
    pub(crate) fn sheds_events(&self) -> bool {
        match &self.0 {
            Way::Queue(way) => way.sheds_events(),
            Way::Custom(_) => false,
        }
    }

    /// Sends one event now or not at all, however much memory is kept.
    pub(crate) fn send_now(&self, event: Event) -> Result<(), CallError> {
        match &self.0 {
            Way::Queue(way) => way.send_now(event),
            Way::Custom(_) => Err(only_waits()),
        }
    }

    /// So many events for this peer were dropped, so that all connections keep less memory.
    pub(crate) fn count_withheld(&self, events: u64) {
        if let Way::Queue(way) = &self.0 {
            way.ledger.add(Count::EventsWithheld, events);
        }
    }

    pub(crate) fn way(&self) -> &Way {
        &self.0
    }

    /// What waits to be sent now: while there is no connection, before its login, behind a peer that does not read. `None` where
    /// this caller keeps no such count, as a pool does.
    pub fn queued(&self) -> Option<Queued> {
        match &self.0 {
            Way::Queue(way) => Some(way.outlet.queued()),
            Way::Custom(_) => None,
        }
    }

    pub(crate) fn close(&self, reason: Close) {
        if let Way::Queue(way) = &self.0 {
            way.outlet.close(reason);
        }
    }

    pub(crate) fn progress(&self, run: RunId, body: Body) {
        if let Way::Queue(way) = &self.0 {
            way.outlet.progress(run, body);
        }
    }
}

fn only_waits() -> CallError {
    CallError::not_sent(Code::Unimplemented, "this caller can only wait for room")
}

impl From<Arc<QueueWay>> for Caller {
    fn from(way: Arc<QueueWay>) -> Self {
        Self(Way::Queue(way))
    }
}

impl QueueWay {
    /// Queues the request once there is room for it.
    pub(crate) async fn wait_for_room(
        &self,
        mut request: Request,
        deadline: Moment,
    ) -> Result<(CallId, Awaited), CallError> {
        let clock = &self.surroundings.clock;
        loop {
            tokio::select! {
                biased;
                () = self.outlet.room() => {}
                () = sleep_until(&**clock, deadline) => {
                    return Err(CallError::too_late("the call waited for room in the queue", self.timeout));
                }
            }
            match self.outlet.request(request, deadline) {
                Ok(accepted) => return Ok(accepted),
                Err((back, Rejected::Full { .. })) => request = back,
                Err((_, rejected)) => return Err(rejected.into_error()),
            }
        }
    }

    /// Only those for a peer that is slow: it is their queue that takes the memory.
    fn sheds_events(&self) -> bool {
        self.surroundings.memory.step() >= MemoryStep::DropEvents && self.outlet.queued().bytes >= UNIT
    }

    fn try_notify(&self, event: Event) -> Result<(), CallError> {
        if self.sheds_events() {
            self.ledger.add(Count::EventsWithheld, 1);
            return Err(CallError::not_sent(Code::ResourceExhausted, self.surroundings.memory.why()));
        }
        self.send_now(event)
    }

    fn send_now(&self, event: Event) -> Result<(), CallError> {
        self.outlet.event(event).map_err(|(_, rejected)| rejected.into_error())
    }

    async fn notify(&self, mut event: Event) -> Result<(), CallError> {
        loop {
            match self.outlet.event(event) {
                Ok(()) => return Ok(()),
                Err((back, Rejected::Full { .. })) => {
                    event = back;
                    self.outlet.room().await;
                }
                Err((_, rejected)) => return Err(rejected.into_error()),
            }
        }
    }
}

impl Handler for Caller {
    /// Forwards the message. A request goes on with the deadline it came with; the outcome becomes the answer.
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let caller = self.clone();
        Box::pin(async move {
            let Incoming { kind, route, body, meta, deadline, .. } = incoming;
            match kind {
                Kind::Request => {
                    let due = deadline.map_or(Due::Default, Due::At);
                    let request = Request { route, body, due, meta };
                    caller.call(request).await.map_err(Failure::from)
                }
                Kind::Event => {
                    caller.notify(Event { route, body, meta }).await.map_err(Failure::from)?;
                    Ok(Body::Empty.into())
                }
            }
        })
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Caller")
    }
}
