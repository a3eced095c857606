//! The handlers that are running on one connection.
//!
//! A handler's future is polled at once in the connection's own task; only one that is not ready takes a slot here. Slots and
//! their wakers are used again, so a handler that waits costs no allocation of ours after the first few.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::failure::{Code, Failure};
use crate::handler::{Answer, HandlerFuture, RunId};
use crate::moment::Moment;

pub(crate) struct Runs<R> {
    slots: Vec<Slot<R>>,
    free: Vec<usize>,
    ready: Arc<Ready>,
    /// Slots that were woken, taken from `ready` all at once.
    woken: VecDeque<usize>,
    running: usize,
    requests: usize,
    bytes: usize,
    connection: u64,
    next: u64,
    earliest: Option<Moment>,
}

struct Slot<R> {
    run: Option<Run<R>>,
    wake: Arc<SlotWaker>,
    waker: Waker,
}

impl<R> Slot<R> {
    fn new(index: usize, ready: &Arc<Ready>) -> Self {
        let wake = Arc::new(SlotWaker { index, queued: AtomicBool::new(false), ready: Arc::clone(ready) });
        Self { run: None, waker: Arc::clone(&wake).into(), wake }
    }
}

struct Run<R> {
    id: RunId,
    future: HandlerFuture,
    /// What a response must carry back; events have none.
    reply: Option<R>,
    deadline: Option<Moment>,
    /// Memory kept by the body that it was given, and by what is beside it.
    bytes: usize,
}

/// A handler that has ended.
pub(crate) struct Finished<R> {
    pub(crate) reply: Option<R>,
    pub(crate) answer: Answer,
}

impl<R> Runs<R> {
    pub(crate) fn new(connection: u64) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            ready: Arc::default(),
            woken: VecDeque::new(),
            running: 0,
            requests: 0,
            bytes: 0,
            connection,
            next: 1,
            earliest: None,
        }
    }

    /// How many requests are being handled.
    pub(crate) fn requests(&self) -> usize {
        self.requests
    }

    /// How many handlers are running, those of events included.
    pub(crate) fn len(&self) -> usize {
        self.running
    }

    /// How much memory is kept by the bodies that running handlers were given, and by what is beside them, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// No deadline of a running handler is before this moment.
    pub(crate) fn earliest(&self) -> Option<Moment> {
        self.earliest
    }

    /// Starts a handler that is given a body which keeps so many bytes; gives its answer back when it is ready at once. One that is
    /// held up takes a slot before it is first polled, as if it had been woken, and so does each that comes after it: none is
    /// overtaken.
    pub(crate) fn start(
        &mut self,
        reply: Option<R>,
        deadline: Option<Moment>,
        bytes: usize,
        held_up: bool,
        call: impl FnOnce(RunId) -> HandlerFuture,
    ) -> Option<Finished<R>> {
        let id = RunId { connection: self.connection, run: self.next };
        self.next += 1;
        let Ok(future) = catch_unwind(AssertUnwindSafe(|| call(id))) else {
            return Some(Finished { reply, answer: Err(panicked()) });
        };
        let index = self.free.pop().unwrap_or_else(|| {
            let index = self.slots.len();
            self.slots.push(Slot::new(index, &self.ready));
            index
        });
        let Some(slot) = self.slots.get_mut(index) else {
            return Some(Finished { reply, answer: Err(panicked()) });
        };
        let mut run = Run { id, future, reply, deadline, bytes };
        let polled = if held_up || !self.woken.is_empty() {
            slot.wake.queued.store(true, Ordering::Release);
            self.woken.push_back(index);
            Poll::Pending
        } else {
            poll(&mut run, &slot.waker)
        };
        match polled {
            Poll::Ready(answer) => {
                self.free.push(index);
                Some(Finished { reply: run.reply, answer })
            }
            Poll::Pending => {
                self.running += 1;
                self.requests += usize::from(run.reply.is_some());
                self.bytes += bytes;
                if let Some(deadline) = deadline {
                    self.earliest = Some(self.earliest.map_or(deadline, |known| known.min(deadline)));
                }
                slot.run = Some(run);
                None
            }
        }
    }

    /// Polls the handlers that were woken until one has ended.
    pub(crate) fn poll_finished(&mut self, cx: &Context<'_>) -> Poll<Finished<R>> {
        if self.running == 0 {
            return Poll::Pending;
        }
        while let Some(index) = self.next_woken(cx.waker()) {
            let Some(slot) = self.slots.get_mut(index) else { continue };
            slot.wake.queued.store(false, Ordering::Release);
            let Some(run) = &mut slot.run else { continue };
            if let Poll::Ready(answer) = poll(run, &slot.waker) {
                let reply = run.reply.take();
                self.clear(index, reply.is_some());
                return Poll::Ready(Finished { reply, answer });
            }
        }
        Poll::Pending
    }

    /// The next slot that was woken; `waker` is kept when there is none.
    fn next_woken(&mut self, waker: &Waker) -> Option<usize> {
        if self.woken.is_empty() {
            self.ready.take(&mut self.woken, waker);
        }
        self.woken.pop_front()
    }

    /// Drops every handler that is due; gives back the replies that are owed.
    pub(crate) fn expired(&mut self, now: Moment) -> Vec<R> {
        let mut owed = Vec::new();
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return owed;
        }
        let mut earliest: Option<Moment> = None;
        for index in 0..self.slots.len() {
            let Some(Some(run)) = self.slots.get_mut(index).map(|slot| &mut slot.run) else { continue };
            match run.deadline {
                Some(deadline) if deadline <= now => {
                    let reply = run.reply.take();
                    self.clear(index, reply.is_some());
                    owed.extend(reply);
                }
                Some(deadline) => earliest = Some(earliest.map_or(deadline, |known| known.min(deadline))),
                None => {}
            }
        }
        self.earliest = earliest;
        owed
    }

    /// The reply that belongs to a running handler.
    pub(crate) fn reply(&self, id: RunId) -> Option<&R> {
        self.slots.iter().filter_map(|slot| slot.run.as_ref()).find(|run| run.id == id)?.reply.as_ref()
    }

    /// Drops the handler of the request with this reply, if it is running.
    pub(crate) fn cancel(&mut self, reply: &R) -> bool
    where
        R: PartialEq,
    {
        let of = |slot: &Slot<R>| slot.run.as_ref().is_some_and(|run| run.reply.as_ref() == Some(reply));
        let Some(index) = self.slots.iter().position(of) else { return false };
        self.clear(index, true);
        true
    }

    /// Drops every handler; says how many requests are left without an answer.
    pub(crate) fn abandon(&mut self) -> usize {
        let left = self.requests;
        self.slots.iter_mut().for_each(let_go);
        self.slots.clear();
        self.free.clear();
        self.woken.clear();
        self.running = 0;
        self.requests = 0;
        self.bytes = 0;
        self.earliest = None;
        left
    }

    /// Does it hold room that nothing uses?
    pub(crate) fn is_roomy(&self) -> bool {
        self.slots.capacity() > 0
    }

    /// Gives back what a burst left behind.
    pub(crate) fn rest(&mut self) {
        if self.running == 0 {
            self.slots = Vec::new();
            self.free = Vec::new();
            self.woken = VecDeque::new();
            self.ready.rest();
        }
    }

    fn clear(&mut self, index: usize, request: bool) {
        if let Some(slot) = self.slots.get_mut(index) {
            self.bytes -= slot.run.as_ref().map_or(0, |run| run.bytes);
            let_go(slot);
            self.free.push(index);
            self.running -= 1;
            self.requests -= usize::from(request);
        }
    }
}

/// Drops the handler; what it holds may panic as it goes.
fn let_go<R>(slot: &mut Slot<R>) {
    let run = slot.run.take();
    let _ = catch_unwind(AssertUnwindSafe(|| drop(run)));
}

fn poll<R>(run: &mut Run<R>, waker: &Waker) -> Poll<Answer> {
    let mut cx = Context::from_waker(waker);
    match catch_unwind(AssertUnwindSafe(|| run.future.as_mut().poll(&mut cx))) {
        Ok(answer) => answer,
        Err(_) => Poll::Ready(Err(panicked())),
    }
}

fn panicked() -> Failure {
    Failure::new(Code::Internal, "the handler panicked")
}

/// The slots that were woken, and whom to wake for them.
#[derive(Default)]
struct Ready(Mutex<Woken>);

#[derive(Default)]
struct Woken {
    slots: VecDeque<usize>,
    connection: Option<Waker>,
}

impl Ready {
    /// Moves all that were woken into `slots`, which is empty.
    fn take(&self, slots: &mut VecDeque<usize>, connection: &Waker) {
        let mut woken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !woken.slots.is_empty() {
            std::mem::swap(slots, &mut woken.slots);
        } else if !woken.connection.as_ref().is_some_and(|known| known.will_wake(connection)) {
            woken.connection = Some(connection.clone());
        }
    }

    fn push(&self, index: usize) {
        let mut woken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        woken.slots.push_back(index);
        let connection = woken.connection.take();
        drop(woken);
        if let Some(connection) = connection {
            connection.wake();
        }
    }

    fn rest(&self) {
        let mut woken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        woken.slots = VecDeque::new();
    }
}

struct SlotWaker {
    index: usize,
    /// In the list of woken slots already: however often it is woken, it stands there once.
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.ready.push(self.index);
        }
    }
}
