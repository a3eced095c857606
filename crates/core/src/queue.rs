//! The bounded queue in front of a connection: what callers want sent, in messages and in bytes.
//!
//! It outlives a connection when a supervisor reconnects: what was not sent goes out on the next one, in order.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tokio::sync::Notify;

use crate::body::Body;
use crate::caller::Queued;
use crate::cell::{Awaited, Owed, cell};
use crate::credentials::BoxFuture;
use crate::envelope::{CallId, Event, Meta, Request};
use crate::failure::{CallError, Code, Failure};
use crate::handler::RunId;
use crate::limits::{Limits, too_large};
use crate::moment::Moment;
use crate::route::Route;
use crate::session::Close;

/// One thing a connection is to send.
pub(crate) enum Job<C> {
    Request { call: CallId, deadline: Moment, request: Request, answer: Owed },
    Event(Event),
    Progress(RunId, Body),
    Command(C),
}

impl<C> Job<C> {
    /// What it counts for in the queue besides one message.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Job::Request { request, .. } => pins(&request.route, &request.body, &request.meta),
            Job::Event(event) => pins(&event.route, &event.body, &event.meta),
            Job::Progress(_, body) => body.pins(),
            Job::Command(_) => 0,
        }
    }
}

/// The memory that a message keeps.
fn pins(route: &Route, body: &Body, meta: &Meta) -> usize {
    route.len().saturating_add(body.pins()).saturating_add(meta.pins())
}

/// A job and its place in the order it was asked for.
pub(crate) struct Numbered<C> {
    pub(crate) number: u64,
    pub(crate) job: Job<C>,
}

/// Why the queue did not take something.
#[derive(Debug)]
pub(crate) enum Rejected {
    Full { what: &'static str, max: usize },
    TooLarge(Failure),
    Ended(Code, String),
}

impl Rejected {
    pub(crate) fn into_error(self) -> CallError {
        match self {
            Rejected::Full { what, max } => {
                CallError::not_sent(Code::ResourceExhausted, format!("queue is full: {what} = {max}"))
            }
            Rejected::TooLarge(failure) => CallError::refused(failure),
            Rejected::Ended(code, why) => CallError::not_sent(code, why),
        }
    }
}

/// The queue as callers see it: no session type in sight.
pub(crate) trait Outlet: Send + Sync {
    fn request(&self, request: Request, deadline: Moment) -> Result<(CallId, Awaited), (Request, Rejected)>;
    fn event(&self, event: Event) -> Result<(), (Event, Rejected)>;
    /// Waits until there may be room again.
    fn room(&self) -> BoxFuture<'_, ()>;
    fn cancel(&self, call: CallId);
    fn progress(&self, run: RunId, body: Body);
    fn close(&self, reason: Close);
    /// Will nothing be sent any more?
    fn has_ended(&self) -> bool;
    /// What has not left yet.
    fn queued(&self) -> Queued;
}

pub(crate) struct Queue<C> {
    state: Mutex<State<C>>,
    room: Notify,
    max_messages: usize,
    max_bytes: usize,
    max_frame_bytes: usize,
}

struct State<C> {
    jobs: VecDeque<Numbered<C>>,
    next: u64,
    /// No deadline of a call in `jobs` is before this moment.
    earliest: Option<Moment>,
    cancelled: Vec<CallId>,
    messages: usize,
    bytes: usize,
    next_call: u64,
    waiting: bool,
    reader: Option<Waker>,
    close: Option<Close>,
    ended: Option<(Code, String)>,
}

/// What a connection takes out of the queue in one go.
pub(crate) struct Taken {
    /// No deadline of what was taken is before this moment.
    pub(crate) earliest: Option<Moment>,
    pub(crate) cancelled: Vec<CallId>,
    pub(crate) close: Option<Close>,
    /// Of everything that was not released yet.
    pub(crate) bytes: usize,
}

impl<C> Queue<C> {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                next: 0,
                earliest: None,
                cancelled: Vec::new(),
                messages: 0,
                bytes: 0,
                next_call: 0,
                waiting: false,
                reader: None,
                close: None,
                ended: None,
            }),
            room: Notify::new(),
            max_messages: limits.max_queue_messages,
            max_bytes: limits.max_queue_bytes,
            max_frame_bytes: limits.max_frame_bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        // Nothing panics while it is held, and every state of it is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn add(&self, state: &mut State<C>, job: Job<C>) {
        state.messages += 1;
        state.bytes = state.bytes.saturating_add(job.bytes());
        state.earliest = earlier(state.earliest, &job);
        let number = state.next;
        state.next += 1;
        state.jobs.push_back(Numbered { number, job });
    }

    /// Is there room for a message that is so long, and keeps so many bytes of memory?
    fn check(&self, state: &mut State<C>, length: usize, bytes: usize) -> Result<(), Rejected> {
        if let Some((code, why)) = &state.ended {
            return Err(Rejected::Ended(*code, why.clone()));
        }
        if let Some(failure) = too_large("message", length, self.max_frame_bytes) {
            return Err(Rejected::TooLarge(failure));
        }
        if state.messages >= self.max_messages {
            state.waiting = true;
            return Err(Rejected::Full { what: "max_queue_messages", max: self.max_messages });
        }
        // One message larger than the whole queue may pass alone.
        if state.messages > 0 && state.bytes.saturating_add(bytes) > self.max_bytes {
            state.waiting = true;
            return Err(Rejected::Full { what: "max_queue_bytes", max: self.max_bytes });
        }
        Ok(())
    }

    fn wake(mut state: MutexGuard<'_, State<C>>) {
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Puts an input of the adapter into the queue; commands have no limit of their own, the adapter's code bounds them.
    pub(crate) fn command(&self, command: C) {
        let mut state = self.lock();
        if state.ended.is_none() {
            self.add(&mut state, Job::Command(command));
        }
        Self::wake(state);
    }

    /// Does nothing wait to be taken?
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().jobs.is_empty()
    }

    /// Moves everything into `jobs`, behind what it holds. Pending, and the waker is kept, when there is nothing.
    pub(crate) fn poll_take(&self, jobs: &mut VecDeque<Numbered<C>>, waker: &Waker) -> Poll<Taken> {
        let mut state = self.lock();
        if state.jobs.is_empty() && state.cancelled.is_empty() && state.close.is_none() {
            if !state.reader.as_ref().is_some_and(|known| known.will_wake(waker)) {
                state.reader = Some(waker.clone());
            }
            return Poll::Pending;
        }
        if jobs.is_empty() {
            std::mem::swap(jobs, &mut state.jobs);
        } else {
            jobs.append(&mut state.jobs);
        }
        Poll::Ready(Taken {
            earliest: state.earliest.take(),
            cancelled: std::mem::take(&mut state.cancelled),
            close: state.close.take(),
            bytes: state.bytes,
        })
    }

    /// One message has left the queue for good: it was written, failed or was given up. Gives the bytes that are left.
    pub(crate) fn release(&self, messages: usize, bytes: usize) -> usize {
        let mut state = self.lock();
        state.messages = state.messages.saturating_sub(messages);
        state.bytes = state.bytes.saturating_sub(bytes);
        let left = state.bytes;
        if state.waiting && state.messages <= self.max_messages / 2 && state.bytes <= self.max_bytes / 2 {
            state.waiting = false;
            drop(state);
            self.room.notify_waiters();
        }
        left
    }

    /// Puts unsent jobs back in front, in order, for the next connection. Progress belonged to this one and is dropped.
    pub(crate) fn put_back(&self, mut jobs: VecDeque<Numbered<C>>) {
        let mut state = self.lock();
        jobs.append(&mut state.jobs);
        let (progress, kept): (VecDeque<_>, _) =
            jobs.into_iter().partition(|Numbered { job, .. }| matches!(job, Job::Progress(..)));
        state.jobs = kept;
        state.earliest =
            state.jobs.iter().fold(None, |earliest, Numbered { job, .. }| earlier(earliest, job));
        drop(state);
        self.release(progress.len(), progress.iter().map(|Numbered { job, .. }| job.bytes()).sum());
    }

    /// Ends every queued call whose deadline has passed, for this reason, or whose caller has gone; says how many of each.
    pub(crate) fn expire(&self, now: Moment, why: &CallError) -> (u64, u64) {
        let mut state = self.lock();
        state.cancelled.clear();
        let due = |Numbered { job, .. }: &Numbered<C>| match job {
            Job::Request { deadline, answer, .. } => *deadline <= now || answer.is_left(),
            _ => false,
        };
        if !state.jobs.iter().any(due) {
            return (0, 0);
        }
        let (over, kept): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut state.jobs).into_iter().partition(due);
        state.jobs = kept;
        drop(state);
        self.release(over.len(), over.iter().map(|Numbered { job, .. }| job.bytes()).sum());
        let (mut not_sent, mut cancelled) = (0, 0);
        for Numbered { job, .. } in over {
            if let Job::Request { answer, .. } = job {
                if answer.tell(Err(why.clone())) {
                    not_sent += 1;
                } else {
                    cancelled += 1;
                }
            }
        }
        (not_sent, cancelled)
    }

    /// Was a close asked for while no connection was there to hear it?
    pub(crate) fn take_close(&self) -> Option<Close> {
        self.lock().close.take()
    }

    /// Nothing will be sent any more: everything queued is answered, and so is whatever comes later. Says how many calls
    /// and how many events were left over.
    pub(crate) fn end(&self, code: Code, why: &str) -> (u64, u64) {
        let mut state = self.lock();
        state.ended.get_or_insert_with(|| (code, why.to_owned()));
        let jobs = std::mem::take(&mut state.jobs);
        state.cancelled = Vec::new();
        state.messages = 0;
        state.bytes = 0;
        state.waiting = false;
        drop(state);
        self.room.notify_waiters();
        let (mut calls, mut events) = (0, 0);
        for Numbered { job, .. } in jobs {
            match job {
                Job::Request { answer, .. } => {
                    calls += 1;
                    answer.tell(Err(CallError::not_sent(code, why.to_owned())));
                }
                Job::Event(_) => events += 1,
                Job::Progress(..) | Job::Command(_) => {}
            }
        }
        (calls, events)
    }

    /// Gives back what a burst left behind.
    pub(crate) fn rest(&self) {
        let mut state = self.lock();
        if state.jobs.is_empty() && state.jobs.capacity() > 0 {
            state.jobs = VecDeque::new();
        }
    }
}

/// The earlier of a moment and the deadline of a job, where it is a call.
fn earlier<C>(known: Option<Moment>, job: &Job<C>) -> Option<Moment> {
    match job {
        Job::Request { deadline, .. } => Some(known.map_or(*deadline, |known| known.min(*deadline))),
        _ => known,
    }
}

impl<C: Send> Outlet for Queue<C> {
    fn request(&self, request: Request, deadline: Moment) -> Result<(CallId, Awaited), (Request, Rejected)> {
        let mut state = self.lock();
        let Request { route, body, meta, .. } = &request;
        let length = route.len().saturating_add(body.len());
        if let Err(rejected) = self.check(&mut state, length, pins(route, body, meta)) {
            return Err((request, rejected));
        }
        let (answer, outcome) = cell();
        let call = CallId(state.next_call);
        state.next_call += 1;
        self.add(&mut state, Job::Request { call, deadline, request, answer });
        Self::wake(state);
        Ok((call, outcome))
    }

    fn event(&self, event: Event) -> Result<(), (Event, Rejected)> {
        let mut state = self.lock();
        let Event { route, body, meta } = &event;
        let length = route.len().saturating_add(body.len());
        if let Err(rejected) = self.check(&mut state, length, pins(route, body, meta)) {
            return Err((event, rejected));
        }
        self.add(&mut state, Job::Event(event));
        Self::wake(state);
        Ok(())
    }

    fn room(&self) -> BoxFuture<'_, ()> {
        // Registered before the state is looked at again, so that no wake-up falls between.
        let mut notified = Box::pin(self.room.notified());
        notified.as_mut().enable();
        let full = self.lock().waiting;
        Box::pin(async move {
            if full {
                notified.await;
            }
        })
    }

    fn cancel(&self, call: CallId) {
        let mut state = self.lock();
        // At most one entry a call, so `max_pending` and the queue's own limit bound it.
        if state.ended.is_none() {
            state.cancelled.push(call);
        }
        Self::wake(state);
    }

    fn progress(&self, run: RunId, body: Body) {
        let mut state = self.lock();
        if self.check(&mut state, body.len(), body.pins()).is_ok() {
            self.add(&mut state, Job::Progress(run, body));
        }
        Self::wake(state);
    }

    fn close(&self, reason: Close) {
        let mut state = self.lock();
        state.close.get_or_insert(reason);
        Self::wake(state);
    }

    fn has_ended(&self) -> bool {
        self.lock().ended.is_some()
    }

    fn queued(&self) -> Queued {
        let state = self.lock();
        Queued { messages: state.messages, bytes: state.bytes }
    }
}
