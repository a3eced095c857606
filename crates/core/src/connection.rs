//! The one connection engine: drives any transport with any session and its codec.
//!
//! It owns the read loop, the writing, the calls in flight, every deadline, the running handlers and their panics. It knows no
//! fact of any protocol; those are the session's. It is one future, polled in one task, that never spawns and never waits
//! inside a step: each poll takes turns through deadlines, shutdown, login, what callers want sent, what the peer sent, and what
//! handlers have finished, and writes the result with one flush.

mod deadlines;
mod inbound;
mod outbound;
mod window;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::caller::Caller;
use crate::client::{Reconnect, gap_event};
use crate::codec::FrameError;
use crate::credentials::{Authenticate, BoxFuture, Identity, Refusal};
use crate::failure::{CallError, Code};
use crate::handler::Handler;
use crate::ledger::{Count, Ledger, Tally};
use crate::limits::Limits;
use crate::moment::{Moment, Surroundings};
use crate::peer::Peer;
use crate::pending::Pending;
use crate::queue::Queue;
use crate::runs::Runs;
use crate::session::{Action, Actions, Close, Cx, Delivery, Session};
use crate::shutdown::Shutdown;
use crate::transport::{Transport, TransportError};

use deadlines::Deadlines;
use outbound::Outbox;
use window::Window;

/// Most frames handled before the task lets others run.
const FRAMES_PER_TURN: usize = 64;
/// Written bytes waiting from which on there is no use in waiting for more.
const LINGER_BELOW: usize = 16 << 10;
/// How long after some work a connection looks whether it can give memory back.
const REST_AFTER: Duration = Duration::from_secs(1);
/// How long after its drain a connection has for the last writes and the close.
const CLOSE_GRACE: Duration = Duration::from_millis(500);
/// Actions there is always room for.
const FEW_ACTIONS: usize = 8;
/// Most rounds of one poll.
const ROUNDS: usize = 16;

/// What connections of one endpoint share.
#[derive(Clone)]
pub struct Endpoint {
    /// The adapter's name.
    pub wire: &'static str,
    /// Serves what peers send.
    pub handler: Arc<dyn Handler>,
    /// Judges what peers show to log in; without one every login is refused.
    pub authenticator: Option<Arc<dyn Authenticate>>,
    /// Hears of peers that come and go.
    pub observer: Option<Arc<dyn Observe>>,
    /// The bounds.
    pub limits: Arc<Limits>,
    /// When and how often to dial; only clients look at it.
    pub reconnect: Reconnect,
    /// Where everything is counted.
    pub ledger: Arc<Ledger>,
    /// Time and chance.
    pub surroundings: Surroundings,
    /// When to end.
    pub shutdown: Shutdown,
}

impl Endpoint {
    /// An endpoint with default limits and real surroundings.
    pub fn new(wire: &'static str, handler: impl Handler) -> Self {
        Self {
            wire,
            handler: Arc::new(handler),
            authenticator: None,
            observer: None,
            limits: Arc::new(Limits::default()),
            reconnect: Reconnect::default(),
            ledger: Arc::new(Ledger::new()),
            surroundings: Surroundings::real(),
            shutdown: Shutdown::new(),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("wire", &self.wire).finish_non_exhaustive()
    }
}

/// Hears of peers that come and go. Called in the connection's task: it must not block.
pub trait Observe: Send + Sync + 'static {
    /// The peer is there and, where the wire has a login, logged in.
    fn connected(&self, peer: &Peer);

    /// A peer that was reported as connected is gone.
    fn disconnected(&self, peer: &Peer, reason: &Close);

    /// A connection ended before it was established, so its peer was never reported: a refused login, a stranger that speaks
    /// another protocol. Ignored unless implemented.
    fn turned_away(&self, reason: &Close) {
        let _ = reason;
    }
}

/// What is held of a connection besides its future.
pub struct Link<S: Session> {
    peer: Peer,
    caller: Caller,
    queue: Arc<Queue<S::Command>>,
    established: oneshot::Receiver<()>,
    was_established: Option<bool>,
}

impl<S: Session> Link<S> {
    /// The peer at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Calls the peer.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Hands the session an input that only its adapter knows.
    pub fn command(&self, command: S::Command) {
        self.queue.command(command);
    }

    /// Waits until the connection is established; `false` when it ended before.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn established(&mut self) -> bool {
        if let Some(known) = self.was_established {
            return known;
        }
        let established = (&mut self.established).await.is_ok();
        self.was_established = Some(established);
        established
    }
}

impl<S: Session> fmt::Debug for Link<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub reason: Close,
    /// Had it been established before?
    pub established: bool,
}

type Verdict = Result<Identity, Refusal>;

/// One live connection: a future that ends when the connection does.
///
/// # Cancel safety
/// Dropping it closes the transport at once; calls in flight end as [`CallError::Unknown`], what was not sent as
/// [`CallError::NotSent`].
pub struct Connection<T, S: Session> {
    transport: T,
    codec: S::Codec,
    session: S,
    endpoint: Endpoint,
    peer: Peer,
    actions: Actions<S>,
    /// The actions are being applied, further down the stack.
    applying: bool,
    runs: Runs<S::Reply>,
    pending: Pending,
    outbox: Outbox<S>,
    deadlines: Deadlines,
    tally: Tally,
    judging: Option<BoxFuture<'static, Verdict>>,
    signals: (Pin<Box<WaitForCancellationFutureOwned>>, Pin<Box<WaitForCancellationFutureOwned>>),
    established: Option<oneshot::Sender<()>>,
    stage: Stage,
    reading: bool,
    /// The last turn ended before its flush, to gather more.
    lingering: bool,
    bad_in_a_row: u32,
    bad_lately: Window,
    control_lately: Window,
    /// What the handler is told once this connection is established: since when events may be missing, and why.
    gap: Option<(Moment, String)>,
    now: Moment,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// Not polled yet.
    New,
    /// Frames go both ways.
    Open { draining: bool },
    /// What is waiting is written, then the transport is closed.
    Closing(Close),
    /// Over.
    Ended,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl<T, S> Connection<T, S>
where
    S: Session,
    T: Transport<S::Codec>,
{
    /// A connection over `transport`, and what to hold of it. `address` is the peer's, for people.
    pub fn new(
        transport: T,
        codec: S::Codec,
        session: S,
        endpoint: Endpoint,
        address: Option<String>,
    ) -> (Self, Link<S>) {
        let queue = Arc::new(Queue::new(&endpoint.limits));
        Self::over_queue(transport, codec, session, endpoint, address, queue, false)
    }

    /// The same over a queue that exists already; `keep` leaves what was not sent in it for the next connection.
    pub(crate) fn over_queue(
        mut transport: T,
        codec: S::Codec,
        session: S,
        endpoint: Endpoint,
        address: Option<String>,
        queue: Arc<Queue<S::Command>>,
        keep: bool,
    ) -> (Self, Link<S>) {
        let limits = &endpoint.limits;
        let caller =
            Caller::over_queue(Arc::clone(&queue) as _, endpoint.surroundings.clone(), limits.call_timeout);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let peer = Peer::new(id, endpoint.wire, address.map(String::into_boxed_str), Some(caller.clone()));
        let (established, when_established) = oneshot::channel();
        let (drain, stop) = endpoint.shutdown.signals();
        transport.set_partial_limit(limits.max_login_bytes, "max_login_bytes");
        let link = Link {
            peer: peer.clone(),
            caller,
            queue: Arc::clone(&queue),
            established: when_established,
            was_established: None,
        };
        let connection = Self {
            transport,
            codec,
            session,
            peer,
            actions: Actions::new(),
            applying: false,
            runs: Runs::new(id),
            pending: Pending::new(),
            outbox: Outbox::new(queue, keep),
            deadlines: Deadlines::new(),
            tally: Tally::new(),
            judging: None,
            signals: (Box::pin(drain), Box::pin(stop)),
            established: Some(established),
            stage: Stage::New,
            reading: true,
            lingering: false,
            bad_in_a_row: 0,
            bad_lately: Window::default(),
            control_lately: Window::default(),
            gap: None,
            now: endpoint.surroundings.clock.now(),
            endpoint,
        };
        (connection, link)
    }

    /// Once established, tell the handler that events may be missing since a moment.
    pub(crate) fn announce_gap(&mut self, since: Moment, reason: String) {
        self.gap = Some((since, reason));
    }

    /// Calls the session and applies what it wants.
    fn with_session(&mut self, call: impl FnOnce(&mut S, &mut Cx<'_, S>)) {
        let clock = &self.endpoint.surroundings.clock;
        let wall = || clock.wall();
        let random = &*self.endpoint.surroundings.random;
        let mut cx = Cx::new(self.now, &wall, random, &mut self.actions);
        call(&mut self.session, &mut cx);
    }

    fn open(&mut self) {
        self.stage = Stage::Open { draining: false };
        self.tally.add(Count::Connections);
        self.deadlines.login = Some(self.now + self.endpoint.limits.login_timeout);
        tracing::debug!(wire = self.endpoint.wire, peer = self.peer.id(), "connection opened");
        self.with_session(|session, cx| session.open(cx));
        self.apply(false);
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        self.now = self.endpoint.surroundings.clock.now();
        if self.stage == Stage::New {
            self.open();
        }
        let mut frames = 0;
        for round in 0.. {
            let mut worked = self.meet_deadlines(cx);
            worked |= self.heed_signals(cx, round == 0);
            if let Stage::Closing(reason) = &self.stage {
                let reason = reason.clone();
                return self.finish(reason, cx);
            }
            worked |= self.judge(cx);
            let mut woken = self.take_jobs(cx);
            worked |= self.receive(cx, &mut frames);
            woken |= self.answer(cx);
            worked |= woken;
            if woken && self.lingers(cx) {
                break;
            }
            worked |= self.flush(cx);
            if matches!(self.stage, Stage::Closing(_)) {
                continue;
            }
            if frames >= FRAMES_PER_TURN || round >= ROUNDS {
                // Others first: come back at once.
                cx.waker().wake_by_ref();
                break;
            }
            if !worked {
                if self.is_idle() && self.is_roomy() {
                    self.deadlines.rest.get_or_insert(self.now + REST_AFTER);
                }
                break;
            }
        }
        self.tally.settle(&self.endpoint.ledger);
        self.set_alarm(cx);
        Poll::Pending
    }

    /// Other tasks have just given this connection something to write, and probably go on doing so: lets them run once, so that
    /// what they give leaves in one write.
    fn lingers(&mut self, cx: &mut Context<'_>) -> bool {
        let open = matches!(self.stage, Stage::Open { .. });
        self.lingering = open && !self.lingering && (1..LINGER_BELOW).contains(&self.transport.unsent());
        if self.lingering {
            cx.waker().wake_by_ref();
        }
        self.lingering
    }

    /// Waits for the verdict on the credentials shown.
    fn judge(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(judging) = &mut self.judging else { return false };
        let Poll::Ready(verdict) = judging.as_mut().poll(cx) else { return false };
        self.judging = None;
        if let Ok(identity) = &verdict {
            self.peer.identify(identity.clone());
        }
        self.with_session(|session, cx| session.authenticated(verdict, cx));
        self.apply(false);
        true
    }

    /// Drains and stops when asked; `listen` once a poll is enough.
    fn heed_signals(&mut self, cx: &mut Context<'_>, listen: bool) -> bool {
        if listen && self.signals.1.as_mut().poll(cx).is_ready() {
            self.close(Close::Shutdown);
            return true;
        }
        if listen && self.deadlines.over.is_none() && self.signals.0.as_mut().poll(cx).is_ready() {
            let drained = self.now + self.endpoint.limits.drain_timeout;
            self.deadlines.over = Some(drained + CLOSE_GRACE);
            if self.stage == (Stage::Open { draining: false }) {
                self.stage = Stage::Open { draining: true };
                self.deadlines.drain = Some(drained);
            }
        }
        let idle = self.runs.len() == 0 && self.pending.is_empty() && self.outbox.is_empty();
        if self.stage == (Stage::Open { draining: true }) && idle && self.outbox.queue_is_empty() {
            self.close(Close::Shutdown);
            return true;
        }
        false
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> bool {
        let before = self.transport.unsent();
        if before == 0 {
            return false;
        }
        match self.transport.poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.deadlines.write = None;
                true
            }
            Poll::Ready(Err(error)) => {
                self.fail(error);
                true
            }
            Poll::Pending => {
                let progress = self.transport.unsent() < before;
                if progress || self.deadlines.write.is_none() {
                    self.deadlines.write = Some(self.now + self.endpoint.limits.write_timeout);
                }
                progress
            }
        }
    }

    fn established(&mut self, identity: Option<Identity>) {
        self.deadlines.login = None;
        self.transport.set_partial_limit(usize::MAX, "max_frame_bytes");
        if let Some(identity) = identity {
            self.peer.identify(identity);
        }
        if let Some(established) = self.established.take() {
            // Nobody may be waiting for it.
            let _ = established.send(());
            if let Some(observer) = &self.endpoint.observer {
                observer.connected(&self.peer);
            }
            if let Some((since, reason)) = self.gap.take() {
                self.deliver_event(gap_event(self.now - since, &reason));
            }
        }
    }

    /// Closes without having been asked by the session, which may still take its leave.
    fn close(&mut self, reason: Close) {
        if matches!(self.stage, Stage::Closing(_) | Stage::Ended) {
            return;
        }
        self.actions.clear();
        if !is_gone(&reason) {
            self.with_session(|session, cx| session.close(&reason, cx));
            for action in std::mem::take(&mut self.actions) {
                if let Action::Write(frame, flush) = action
                    && self.transport.send(frame, flush, &mut self.codec).is_ok()
                {
                    self.tally.add(Count::FramesSent);
                }
            }
        }
        self.close_now(reason);
    }

    fn close_now(&mut self, reason: Close) {
        if matches!(self.stage, Stage::Closing(_) | Stage::Ended) {
            return;
        }
        self.stage = Stage::Closing(reason);
        self.actions.clear();
        self.judging = None;
        self.deadlines.close(self.now + self.endpoint.limits.write_timeout);
        for _ in 0..self.runs.abandon() {
            self.tally.add(Count::RequestsAbandoned);
        }
    }

    fn fail(&mut self, error: TransportError) {
        let reason = match error {
            TransportError::Io(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Close::Peer,
            TransportError::Io(error) => Close::Transport(error.to_string()),
            TransportError::Frame(error @ (FrameError::TooLarge { .. } | FrameError::TooMany { .. })) => {
                Close::Limit(error.to_string())
            }
            TransportError::Frame(error) => Close::Protocol(error.to_string()),
            TransportError::Layer(error) => Close::Transport(error.to_string()),
        };
        self.close(reason);
    }

    /// Writes what is waiting, closes the transport, and ends every call.
    fn finish(&mut self, reason: Close, cx: &mut Context<'_>) -> Poll<Ended> {
        let gone = is_gone(&reason);
        let late = [self.deadlines.write, self.deadlines.over].into_iter().flatten().any(|at| at <= self.now)
            || self.endpoint.shutdown.is_stopped();
        if !gone && !late {
            let before = self.transport.unsent();
            let closed = match self.transport.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.transport.poll_close(cx).map(|_| ()),
                Poll::Ready(Err(_)) => Poll::Ready(()),
                Poll::Pending => Poll::Pending,
            };
            if closed.is_pending() {
                if self.transport.unsent() < before || self.deadlines.write.is_none() {
                    self.deadlines.write = Some(self.now + self.endpoint.limits.write_timeout);
                }
                self.end_calls(&reason);
                self.outbox.take(cx);
                self.set_alarm(cx);
                return Poll::Pending;
            }
        }
        self.end(&reason);
        Poll::Ready(Ended { established: self.established.is_none(), reason })
    }

    fn is_idle(&self) -> bool {
        let calls = self.runs.len() == 0 && self.pending.is_empty();
        calls && self.outbox.is_empty() && self.transport.unsent() == 0
    }

    /// Does it hold memory that an idle connection has no use for?
    fn is_roomy(&self) -> bool {
        let own = self.actions.capacity() > FEW_ACTIONS;
        own || self.runs.is_roomy() || self.pending.is_roomy() || self.outbox.is_roomy()
    }

    /// Nothing is going on: memory that a burst needed is given back.
    fn rest(&mut self) {
        if self.is_idle() {
            self.transport.rest();
            self.runs.rest();
            self.pending.rest();
            self.outbox.rest();
            if self.actions.capacity() > FEW_ACTIONS {
                self.actions = Actions::new();
            }
        }
    }
}

impl<T, S: Session> Connection<T, S> {
    /// Every call that was sent ends here: whether it ran nobody knows.
    fn end_calls(&mut self, reason: &Close) {
        for answer in self.pending.drain() {
            self.tally.add(Count::CallsUnknown);
            let _ =
                answer.send(Err(CallError::unknown(Code::Unavailable, format!("connection lost: {reason}"))));
        }
    }

    fn end(&mut self, reason: &Close) {
        if self.stage == Stage::Ended {
            return;
        }
        let opened = self.stage != Stage::New;
        self.stage = Stage::Ended;
        for _ in 0..self.runs.abandon() {
            self.tally.add(Count::RequestsAbandoned);
        }
        self.end_calls(reason);
        self.outbox.end(reason, &self.endpoint.ledger);
        if opened {
            self.tally.add(Count::Closed);
        }
        self.tally.settle(&self.endpoint.ledger);
        if let Some(observer) = &self.endpoint.observer {
            match self.established {
                None => observer.disconnected(&self.peer, reason),
                Some(_) => observer.turned_away(reason),
            }
        }
        tracing::debug!(wire = self.endpoint.wire, peer = self.peer.id(), %reason, "connection closed");
    }
}

/// Nothing in it is ever pinned in place.
impl<T, S: Session> Unpin for Connection<T, S> {}

impl<T, S> Future for Connection<T, S>
where
    S: Session,
    T: Transport<S::Codec>,
{
    type Output = Ended;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        self.get_mut().turn(cx)
    }
}

impl<T, S: Session> Drop for Connection<T, S> {
    fn drop(&mut self) {
        let reason = match &self.stage {
            Stage::Closing(reason) => reason.clone(),
            _ => Close::Local,
        };
        self.end(&reason);
    }
}

impl<T, S: Session> fmt::Debug for Connection<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

/// Does nobody read any more what is written?
fn is_gone(reason: &Close) -> bool {
    matches!(reason, Close::Peer | Close::Transport(_) | Close::SlowConsumer(_) | Close::Dead(_))
}

/// What the actions of one received frame amounted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Used,
    Delivered,
    Ignored(Count),
}

fn fate_of<S: Session>(actions: &Actions<S>, pending: &Pending) -> Fate {
    let mut fate = Fate::Used;
    for action in actions {
        let reason = match action {
            Action::Deliver(Delivery::Response { call, .. }) if !pending.contains(*call) => {
                Count::OrphanReply
            }
            Action::Deliver(_) => return Fate::Delivered,
            Action::Count(count) if count.is_reason() => *count,
            _ => continue,
        };
        if fate == Fate::Used {
            fate = Fate::Ignored(reason);
        }
    }
    fate
}
