//! From callers to frames: what may leave now leaves, what must wait waits behind its gate.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::cell::Owed;
use crate::codec::FrameError;
use crate::envelope::CallId;
use crate::failure::{CallError, Code, Failure, Retry};
use crate::ledger::{Count, Ledger};
use crate::limits::Limits;
use crate::moment::Moment;
use crate::queue::{Job, Numbered, Outlet, Queue, Taken};
use crate::session::{Admit, Close, Cx, Gate, Outbound, OutboundOf, Session};
use crate::transport::Transport;

use super::{Connection, Stage};

/// Encoded bytes waiting from which on nothing more of ours is encoded: what is not encoded is not sent, and can say so.
const UNSENT_FULL: usize = 64 << 10;

/// What callers wanted sent and was not sent yet.
pub(super) struct Outbox<S: Session> {
    queue: Arc<Queue<S::Command>>,
    keep: bool,
    /// Taken from the queue, in order, not yet looked at.
    jobs: VecDeque<JobOf<S>>,
    /// In an order, so that one seed gives one trace.
    held: BTreeMap<Gate, VecDeque<JobOf<S>>>,
    /// Gates that were opened and may let something go.
    opened: VecDeque<Gate>,
    /// No deadline of a held call is before this moment.
    earliest: Option<Moment>,
    /// Of all that waits here and in the queue, when it was last looked at.
    bytes: usize,
    /// The call that is being encoded.
    encoding: Option<CallId>,
    /// A close that was asked for while this connection was closing already: it is for the next one.
    pub(super) asked: Option<Close>,
}

/// How many waiting calls were ended.
#[derive(Default)]
struct Swept {
    not_sent: usize,
    cancelled: usize,
}

type JobOf<S> = Numbered<<S as Session>::Command>;

impl<S: Session> Outbox<S> {
    pub(super) fn new(queue: Arc<Queue<S::Command>>, keep: bool) -> Self {
        Self {
            queue,
            keep,
            jobs: VecDeque::new(),
            held: BTreeMap::new(),
            opened: VecDeque::new(),
            earliest: None,
            bytes: 0,
            encoding: None,
            asked: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.held.is_empty()
    }

    /// Has everything that callers queued been taken?
    pub(super) fn queue_is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// What would be given back if the connection were closed: a queue that is kept goes to the next one.
    pub(super) fn bytes(&self) -> usize {
        if self.keep { 0 } else { self.bytes }
    }

    pub(super) fn earliest(&self) -> Option<Moment> {
        self.earliest
    }

    pub(super) fn open(&mut self, gate: Gate) {
        if self.held.contains_key(&gate) && !self.opened.contains(&gate) {
            self.opened.push_back(gate);
        }
    }

    /// Takes what callers have queued, so that its deadlines are watched.
    pub(super) fn take(&mut self, cx: &Context<'_>) -> Option<Taken> {
        let Poll::Ready(taken) = self.queue.poll_take(&mut self.jobs, cx.waker()) else { return None };
        self.earliest = [self.earliest, taken.earliest].into_iter().flatten().min();
        self.bytes = taken.bytes;
        Some(taken)
    }

    fn hold(&mut self, gate: Gate, job: JobOf<S>) {
        self.held.entry(gate).or_default().push_back(job);
    }

    /// The next job that may be let go: first what an opened gate held, then what is new.
    #[inline]
    fn next(&mut self) -> Option<(Option<Gate>, JobOf<S>)> {
        if self.opened.is_empty() {
            return self.jobs.pop_front().map(|job| (None, job));
        }
        self.next_held()
    }

    fn next_held(&mut self) -> Option<(Option<Gate>, JobOf<S>)> {
        while let Some(gate) = self.opened.front().copied() {
            if let Some(job) = self.held.get_mut(&gate).and_then(VecDeque::pop_front) {
                return Some((Some(gate), job));
            }
            self.held.remove(&gate);
            self.opened.pop_front();
        }
        self.jobs.pop_front().map(|job| (None, job))
    }

    /// Puts a job back where it came from: it must wait after all.
    fn put_back(&mut self, from: Option<Gate>, to: Option<Gate>, job: JobOf<S>) {
        match (from, to) {
            (Some(from), Some(to)) if from == to => {
                self.held.entry(from).or_default().push_front(job);
                self.opened.pop_front();
            }
            (_, Some(to)) => self.hold(to, job),
            (Some(from), None) => self.held.entry(from).or_default().push_front(job),
            (None, None) => self.jobs.push_front(job),
        }
    }

    /// Is a waiting call due?
    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.earliest.is_some_and(|earliest| earliest <= now)
    }

    /// Ends every waiting call that is due, for this reason, or whose caller has gone.
    fn sweep(&mut self, now: Moment, why: &CallError) -> Swept {
        let mut earliest: Option<Moment> = None;
        let mut swept = Swept::default();
        let Self { queue, bytes, .. } = self;
        let mut check = |waiting: &mut VecDeque<JobOf<S>>| {
            for Numbered { number, job } in std::mem::take(waiting) {
                let size = job.bytes();
                match job {
                    Job::Request { answer, .. } if answer.is_left() => {
                        swept.cancelled += 1;
                        *bytes = queue.release(1, size);
                    }
                    Job::Request { deadline, answer, .. } if deadline <= now => {
                        swept.not_sent += 1;
                        *bytes = queue.release(1, size);
                        answer.tell(Err(why.clone()));
                    }
                    job => {
                        if let Job::Request { deadline, .. } = &job {
                            earliest = Some(earliest.map_or(*deadline, |known| known.min(*deadline)));
                        }
                        waiting.push_back(Numbered { number, job });
                    }
                }
            }
        };
        check(&mut self.jobs);
        self.held.values_mut().for_each(&mut check);
        self.held.retain(|_, waiting| !waiting.is_empty());
        self.earliest = earliest;
        swept
    }

    /// The connection is over: what was not sent goes back in order, or is answered.
    pub(super) fn end(&mut self, reason: &Close, ledger: &Ledger) {
        let mut left: Vec<JobOf<S>> = std::mem::take(&mut self.held).into_values().flatten().collect();
        left.extend(self.jobs.drain(..));
        left.sort_unstable_by_key(|job| job.number);
        self.queue.put_back(left.into());
        if self.keep {
            if let Some(close) = self.asked.take() {
                self.queue.close(close);
            }
        } else {
            let (calls, events) = self.queue.end(Code::Unavailable, &format!("connection closed: {reason}"));
            let counts =
                [(Count::Calls, calls), (Count::CallsNotSent, calls), (Count::EventsNotSent, events)];
            ledger.add_all(&counts);
        }
    }

    /// Does it hold room that nothing waits in?
    pub(super) fn is_roomy(&self) -> bool {
        self.jobs.capacity() > 0
    }

    pub(super) fn rest(&mut self) {
        if self.jobs.is_empty() {
            self.jobs = VecDeque::new();
        }
        if self.held.is_empty() {
            self.earliest = None;
        }
        self.queue.rest();
    }
}

impl<T, S> Connection<T, S>
where
    S: Session,
    T: Transport<S::Codec>,
{
    /// Sends what callers want sent, as far as session, limits and the write buffer let it.
    pub(super) fn take_jobs(&mut self, cx: &mut Context<'_>) -> bool {
        let mut worked = false;
        if let Some(taken) = self.outbox.take(cx) {
            worked = true;
            let mut waiting = false;
            for call in taken.cancelled {
                if self.pending.remove(call).is_some() {
                    self.tally.add(Count::CallsCancelled);
                    self.send(Outbound::Cancel(call));
                } else {
                    waiting = true;
                }
            }
            if waiting {
                self.sweep_outbox();
            }
            if let Some(reason) = taken.close {
                self.close(reason);
                return true;
            }
        }
        let (mut messages, mut bytes) = (0, 0);
        while matches!(self.stage, Stage::Open { .. }) && self.transport.unsent() < UNSENT_FULL {
            let Some((from, Numbered { number, job })) = self.outbox.next() else { break };
            let size = job.bytes();
            if let Some((to, job)) = self.send_job(job) {
                self.outbox.put_back(from, to, Numbered { number, job });
                let Some(gate) = to else { break };
                if from != to {
                    self.with_session(|session, cx| session.held(gate, cx));
                    self.apply();
                }
                continue;
            }
            worked = true;
            messages += 1;
            bytes += size;
        }
        if messages > 0 {
            self.outbox.bytes = self.outbox.queue.release(messages, bytes);
        }
        worked
    }

    /// Ends calls that wait in vain: their deadline has passed or their caller has gone.
    pub(super) fn sweep_outbox(&mut self) {
        let swept = self.outbox.sweep(self.now, &self.too_late());
        for _ in 0..swept.not_sent {
            self.tally.add(Count::Calls);
            self.tally.add(Count::CallsNotSent);
        }
        for _ in 0..swept.cancelled {
            self.tally.add(Count::Calls);
            self.tally.add(Count::CallsCancelled);
        }
    }

    /// What a call is told that has waited for its turn until its deadline.
    fn too_late(&self) -> CallError {
        let Limits { max_pending: max, call_timeout, .. } = *self.endpoint.limits;
        if self.pending.len() < max {
            return CallError::too_late("the call waited for its turn", call_timeout);
        }
        let waited = format!("the peer owed answers to max_pending = {max} calls");
        CallError::too_late(&waited, call_timeout)
    }

    /// Sends one job, or gives it back with the gate it must wait for (`None`: until a call in flight has ended).
    fn send_job(&mut self, job: Job<S::Command>) -> Option<(Option<Gate>, Job<S::Command>)> {
        match job {
            Job::Request { call, deadline, request, answer } => {
                if answer.is_left() {
                    self.tally.add(Count::Calls);
                    self.tally.add(Count::CallsCancelled);
                    return None;
                }
                if deadline <= self.now {
                    self.not_sent(answer, self.too_late());
                    return None;
                }
                if self.pending.len() >= self.endpoint.limits.max_pending {
                    return Some((None, Job::Request { call, deadline, request, answer }));
                }
                let outbound = Outbound::Request { call, deadline, request };
                match self.session.admit(&outbound) {
                    Admit::Now => {
                        self.tally.add(Count::Calls);
                        self.pending.insert(call, self.now, deadline, answer);
                        self.outbox.encoding = Some(call);
                        self.send(outbound);
                        self.outbox.encoding = None;
                    }
                    Admit::Hold(gate) => {
                        let Outbound::Request { call, deadline, request } = outbound else { return None };
                        return Some((Some(gate), Job::Request { call, deadline, request, answer }));
                    }
                    Admit::Refuse(failure) => self.not_sent(answer, CallError::refused(failure)),
                }
            }
            Job::Event(event) => {
                let outbound = Outbound::Event(event);
                match self.session.admit(&outbound) {
                    Admit::Now => {
                        self.tally.add(Count::EventsSent);
                        self.send(outbound);
                    }
                    Admit::Hold(gate) => {
                        let Outbound::Event(event) = outbound else { return None };
                        return Some((Some(gate), Job::Event(event)));
                    }
                    Admit::Refuse(_) => self.tally.add(Count::EventsNotSent),
                }
            }
            Job::Progress(run, body) => {
                let reading = self.wants_frames();
                let Self { runs, session, actions, endpoint, now, .. } = self;
                if let Some(reply) = runs.reply(run) {
                    let wall = || endpoint.surroundings.clock.wall();
                    let mut cx =
                        Cx::new(*now, &wall, &*endpoint.surroundings.random, actions).reading(reading);
                    session.progress(reply, body, &mut cx);
                }
                self.apply();
            }
            Job::Command(command) => self.send(Outbound::Command(command)),
        }
        None
    }

    fn not_sent(&mut self, answer: Owed, error: CallError) {
        self.tally.add(Count::Calls);
        self.tally.add(Count::CallsNotSent);
        answer.tell(Err(error));
    }

    /// Hands something to the session and applies what it wants.
    pub(super) fn send(&mut self, outbound: OutboundOf<S>) {
        self.with_session(|session, cx| session.send(outbound, cx));
        self.apply();
    }

    /// A frame could not be encoded: if it was a call of ours, that call was not sent; anything else ends the connection,
    /// because the peer would wait for what never comes.
    pub(super) fn unwritable(&mut self, error: &FrameError) {
        match self
            .outbox
            .encoding
            .take()
            .and_then(|call| self.pending.remove(call).map(|answer| (call, answer)))
        {
            Some((call, answer)) => {
                self.tally.add(Count::CallsNotSent);
                let code = match error {
                    FrameError::TooLarge { .. } | FrameError::TooMany { .. } => Code::ResourceExhausted,
                    _ => Code::InvalidArgument,
                };
                let failure = Failure::new(code, error.to_string()).with_retry(Retry::Never);
                answer.tell(Err(CallError::refused(failure)));
                self.with_session(|session, cx| session.send(Outbound::Cancel(call), cx));
            }
            None => self.close(Close::Protocol(format!("cannot send: {error}"))),
        }
    }
}
