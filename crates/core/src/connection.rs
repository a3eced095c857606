//! The one connection engine: drives any transport with any session and its codec.
//!
//! It owns the read loop, the writing, the calls in flight, every deadline, the running handlers and their panics. It knows no
//! fact of any protocol; those are the session's. It is one future, polled in one task, that never spawns and never waits
//! inside a step: each poll takes turns through deadlines, shutdown, login, what callers want sent, what the peer sent, and what
//! handlers have finished, and writes the result with one flush.

mod closing;
mod deadlines;
mod endpoint;
mod fate;
mod inbound;
mod link;
mod outbound;
mod rest;
mod wakes;
mod window;

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::coop::unconstrained;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::client::gap_event;
use crate::codec::Codec;
use crate::credentials::{BoxFuture, Identity, Refusal};
use crate::ledger::{Count, Tally};
use crate::memory::Charge;
use crate::moment::Moment;
use crate::peer::Peer;
use crate::pending::Pending;
use crate::runs::Runs;
use crate::session::{Actions, Close, Cx, FrameOf, Session};
use crate::transport::Transport;

use deadlines::Deadlines;
pub use endpoint::{Endpoint, Observe};
use inbound::Taken;
pub(crate) use link::Reach;
pub use link::{Ended, Link};
use outbound::Outbox;
use wakes::Wakes;
use window::Window;

/// Most turns that callers who were told an outcome wait for the others of one read.
const TURNS_HELD: u32 = 8;
/// Written bytes waiting from which on there is no use in waiting for more.
const LINGER_BELOW: usize = 16 << 10;
/// How long after its last work a connection looks whether it can give memory back.
const REST_AFTER: Duration = Duration::from_millis(100);
/// How long after its drain a connection has for the last writes and the close.
const CLOSE_GRACE: Duration = Duration::from_millis(500);
/// Most rounds of one poll.
const ROUNDS: usize = 16;

type Verdict = Result<Identity, Refusal>;

/// One live connection: a future that ends when the connection does.
///
/// # Cancel safety
/// Dropping it closes the transport at once; calls in flight end as [`CallError::Unknown`](crate::CallError::Unknown), what was
/// not sent as [`CallError::NotSent`](crate::CallError::NotSent).
pub struct Connection<T, S: Session> {
    transport: T,
    codec: S::Codec,
    session: S,
    endpoint: Arc<Endpoint>,
    peer: Peer,
    actions: Actions<S>,
    /// The actions are being applied, further down the stack.
    applying: bool,
    /// Bytes of answers that joined the actions while these are being applied.
    answered: usize,
    runs: Runs<S::Reply>,
    pending: Pending,
    wakes: Wakes,
    outbox: Outbox<S>,
    deadlines: Deadlines,
    tally: Tally,
    /// What it keeps of the memory of all.
    charge: Charge,
    /// Because of that no request is begun in this turn, nor an event.
    refuses: bool,
    judging: Option<BoxFuture<'static, Verdict>>,
    /// Asked to drain, and after that: asked to stop.
    signal: Pin<Box<WaitForCancellationFutureOwned>>,
    established: Option<oneshot::Sender<()>>,
    stage: Stage,
    reading: bool,
    /// The last turn ended before its flush, to gather more.
    lingering: bool,
    bad_in_a_row: u32,
    bad_lately: Window,
    control_lately: Window,
    taken: Taken,
    /// The first frame of the next turn, decoded after all that came of the frame before.
    ahead: Option<FrameOf<S>>,
    /// What the handler is told once this connection is established: since when events may be missing, and why.
    gap: Option<(Moment, String)>,
    /// Events that were dropped since the handler heard of it last.
    pub(crate) missed: u64,
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
        endpoint: impl Into<Arc<Endpoint>>,
        address: Option<String>,
    ) -> (Self, Link<S>) {
        let endpoint = endpoint.into();
        let reach = Reach::new(&endpoint, false);
        Self::reached(transport, codec, session, endpoint, address, reach)
    }

    /// The same for callers that are there already.
    pub(crate) fn reached(
        mut transport: T,
        codec: S::Codec,
        session: S,
        endpoint: Arc<Endpoint>,
        address: Option<String>,
        Reach { queue, caller, keep }: Reach<S::Command>,
    ) -> (Self, Link<S>) {
        let limits = &endpoint.limits;
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let peer = Peer::new(id, endpoint.wire, address.map(String::into_boxed_str), Some(caller.clone()));
        let (established, when_established) = oneshot::channel();
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
            answered: 0,
            runs: Runs::new(id),
            pending: Pending::new(),
            wakes: Wakes::default(),
            outbox: Outbox::new(queue, keep),
            deadlines: Deadlines::new(),
            tally: Tally::new(&endpoint.ledger),
            charge: Charge::new(Arc::clone(&endpoint.surroundings.memory), id),
            refuses: false,
            judging: None,
            signal: Box::pin(endpoint.shutdown.when_draining()),
            established: Some(established),
            stage: Stage::New,
            reading: true,
            lingering: false,
            bad_in_a_row: 0,
            bad_lately: Window::default(),
            control_lately: Window::default(),
            taken: Taken::default(),
            ahead: None,
            gap: None,
            missed: 0,
            now: endpoint.surroundings.clock.now(),
            endpoint,
        };
        (connection, link)
    }

    /// Logged in at `moment` at the latest: below it a handshake has already taken a part of the time.
    pub(crate) fn login_by(&mut self, moment: Moment) {
        self.deadlines.login = Some(moment);
    }

    /// Once established, tell the handler that events may be missing since a moment.
    pub(crate) fn announce_gap(&mut self, since: Moment, reason: String) {
        self.gap = Some((since, reason));
    }

    /// Calls the session and applies what it wants.
    fn with_session(&mut self, call: impl FnOnce(&mut S, &mut Cx<'_, S>)) {
        let reading = self.wants_frames();
        let clock = &self.endpoint.surroundings.clock;
        let wall = || clock.wall();
        let random = &*self.endpoint.surroundings.random;
        let mut cx = Cx::new(self.now, &wall, random, &mut self.actions)
            .reading(reading)
            .pinning(self.transport.pins());
        call(&mut self.session, &mut cx);
    }

    fn open(&mut self) {
        self.stage = Stage::Open { draining: false };
        self.tally.add(Count::Connections);
        self.deadlines.login.get_or_insert(self.now + self.endpoint.limits.login_timeout);
        let address = self.peer.address().unwrap_or_default();
        tracing::debug!(wire = self.endpoint.wire, peer = self.peer.id(), address, "connection opened");
        self.with_session(|session, cx| session.open(cx));
        self.apply();
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        self.now = self.endpoint.surroundings.clock.now();
        if self.stage == Stage::New {
            self.open();
        }
        self.refuses = self.charge.refuses();
        if let Some(why) = self.charge.must_close() {
            self.shed(why);
        }
        self.taken = Taken::default();
        let mut active = false;
        for round in 0.. {
            let mut worked = self.meet_deadlines(cx);
            worked |= self.heed_signals(cx, round == 0);
            if let Stage::Closing(reason) = &self.stage {
                let reason = reason.clone();
                return self.finish(reason, cx);
            }
            worked |= self.judge(cx);
            let mut woken = self.take_jobs(cx);
            worked |= self.receive(cx);
            if !self.taken.is_over() || self.wakes.have_waited(TURNS_HELD) {
                self.wakes.wake();
            }
            woken |= self.answer(cx);
            worked |= woken;
            if woken && self.lingers(cx) {
                break;
            }
            worked |= self.flush(cx);
            active |= worked;
            if matches!(self.stage, Stage::Closing(_)) {
                continue;
            }
            if self.taken.is_over() || round >= ROUNDS {
                // Others first: come back at once.
                cx.waker().wake_by_ref();
                break;
            }
            if !worked {
                if self.is_idle() && self.is_roomy() {
                    let known = self.deadlines.rest.filter(|_| !active);
                    self.deadlines.rest = known.or(Some(self.now + REST_AFTER));
                }
                break;
            }
        }
        self.tally.settle(&self.endpoint.ledger);
        self.reckon(cx);
        self.set_alarm(cx);
        Poll::Pending
    }

    /// Says what this connection keeps. While it comes back at once, what it has read is mostly whole frames.
    fn reckon(&mut self, cx: &Context<'_>) {
        let begun = if self.taken.is_over() { 0 } else { self.transport.keeps() };
        let bytes = begun
            .saturating_add(self.codec.keeps())
            .saturating_add(self.session.keeps())
            .saturating_add(self.runs.bytes())
            .saturating_add(self.outbox.bytes())
            .saturating_add(self.transport.unsent());
        self.charge.hold(bytes, self.now, cx.waker());
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
        match &verdict {
            Ok(identity) => self.peer.identify(identity.clone()),
            Err(why) => tracing::debug!(wire = self.endpoint.wire, peer = self.peer.id(), %why, "not let in"),
        }
        self.with_session(|session, cx| session.authenticated(verdict, cx));
        self.apply();
        true
    }

    /// Drains and stops when asked; `listen` once a poll is enough.
    fn heed_signals(&mut self, cx: &mut Context<'_>, listen: bool) -> bool {
        // A stop is a drain first, so one of the two is awaited at a time.
        while listen && self.signal.as_mut().poll(cx).is_ready() {
            if self.endpoint.shutdown.is_stopped() {
                self.close(Close::Shutdown);
                return true;
            }
            self.signal = Box::pin(self.endpoint.shutdown.when_stopped());
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
        // Reads and handlers may have used up what tokio lets a task do in one poll, and a peer that is never silent would keep it so.
        let flush = pin!(unconstrained(poll_fn(|cx| self.transport.poll_flush(cx))));
        match flush.poll(cx) {
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
            if let Some((since, reason)) = self.gap.take().filter(|_| !self.session.resumes()) {
                // Whatever else is dropped: nothing would tell of this one.
                self.hand_on(gap_event(self.now - since, &reason));
            }
        }
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

impl<T, S: Session> fmt::Debug for Connection<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}
