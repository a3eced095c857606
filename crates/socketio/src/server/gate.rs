//! What a session and the stream below it tell each other, past the server library between them.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

use super::verdict::Verdict;

/// Tasks that have read and may have ended since: a stream goes on in another one after its upgrade.
const READERS: usize = 4;

/// Shared by the stream of one client and all it has joined.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Namespaces whose inbound queue is full.
    full: AtomicUsize,
    cut: AtomicBool,
    /// Why this side ends the session, where it does below the library.
    verdict: OnceLock<Verdict>,
    /// A WebSocket of the session has ended or failed, or its client has closed it.
    lost: AtomicBool,
    /// How often everything written so far has left.
    flushes: AtomicU64,
    /// Those that read the stream.
    readers: Mutex<Vec<Waker>>,
    /// Tells the requests that wait: there is room again, or nothing more is read.
    requests: Notify,
    /// Those that wait for the next flush, or the cut.
    writers: Mutex<Vec<Waker>>,
    /// The session has got its WebSocket.
    carried: AtomicBool,
    /// The WebSocket has begun a message whose rest is waited for.
    midway: AtomicBool,
    /// Attachments that a packet has announced and that have not come, whatever carries them.
    due: AtomicU32,
    /// What was told of the two, and of the room for what is missing: the client keeps this side waiting.
    begun: AtomicBool,
    /// Those that want to know about that.
    watchers: Mutex<Vec<Waker>>,
    /// How many messages have been handed on, in whatever namespace.
    finished: AtomicU64,
}

/// What may be done with the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Read on.
    Go,
    /// Nobody wants more: it is as if the client had closed.
    Cut,
}

impl Gate {
    /// May the stream be read? Pending while a queue is full; the reader is woken when that changes.
    pub(super) fn poll_read(&self, cx: &Context<'_>) -> Poll<Reading> {
        // Kept before looking, so that a change in between wakes it.
        wait(&self.readers, READERS, cx);
        if self.is_cut() {
            return Poll::Ready(Reading::Cut);
        }
        if self.is_full() { Poll::Pending } else { Poll::Ready(Reading::Go) }
    }

    /// Ready when a request may be read: no queue is full, or nothing more is read.
    pub(super) async fn opened(&self) {
        self.told(|| self.is_cut() || !self.is_full()).await;
    }

    /// Ready once nothing more is read.
    pub(super) async fn ended(&self) {
        self.told(|| self.is_cut()).await;
    }

    async fn told(&self, so: impl Fn() -> bool) {
        loop {
            // Listens before looking, so that a change in between is heard.
            let change = self.requests.notified();
            if so() {
                return;
            }
            change.await;
        }
    }

    fn is_full(&self) -> bool {
        self.full.load(Ordering::SeqCst) > 0
    }

    /// One more queue is full.
    pub(super) fn fill(&self) {
        if self.full.fetch_add(1, Ordering::SeqCst) == 0 {
            self.tell();
        }
    }

    /// One fewer.
    pub(super) fn clear(&self) {
        if self.full.fetch_sub(1, Ordering::SeqCst) == 1 {
            wake(&self.readers);
            self.requests.notify_waiters();
            self.tell();
        }
    }

    /// Nothing more is read. What is waiting to be written is written; a session of requests is known no more.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        for waiting in [&self.readers, &self.writers, &self.watchers] {
            wake(waiting);
        }
        self.requests.notify_waiters();
    }

    /// Is nothing more read?
    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// This side ends the session, which is told to all that the session has joined. The first reason counts.
    pub(super) fn condemn(&self, verdict: Verdict) {
        let _ = self.verdict.set(verdict);
    }

    /// Why this side ends the session, if it does.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.verdict.get().copied()
    }

    /// A WebSocket of the session has ended or failed, or its client has closed it: what the library makes of that is no breach.
    pub(super) fn lose(&self) {
        self.lost.store(true, Ordering::Release);
    }

    /// Has a WebSocket of the session ended so?
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// A WebSocket carries the session from now on, or is to; `false` when another one does.
    pub(super) fn carry(&self) -> bool {
        !self.carried.swap(true, Ordering::AcqRel)
    }

    /// The one that was to carry it does not.
    pub(super) fn put_down(&self) {
        self.carried.store(false, Ordering::Release);
    }

    /// A packet has announced so many attachments.
    pub(super) fn announce(&self, attachments: u32) {
        self.due.fetch_max(attachments, Ordering::SeqCst);
    }

    /// An attachment has come, announced or not.
    pub(super) fn attached(&self) {
        // Fails when none was.
        let _ = self.due.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |due| due.checked_sub(1));
    }

    /// Whether the WebSocket of the session waits for the rest of a message. While `more` is there to be read a beginning is not
    /// told, so that nobody is woken for what has been read together with its rest.
    pub(super) fn set_begun(&self, begun: bool, more: bool) {
        self.midway.store(begun, Ordering::SeqCst);
        if !more || !self.waits() {
            self.tell();
        }
    }

    /// Is the rest of anything waited for? While a queue is full it is this side that lets it wait.
    fn waits(&self) -> bool {
        let begun = self.midway.load(Ordering::SeqCst) || self.due.load(Ordering::SeqCst) > 0;
        begun && !self.is_full()
    }

    /// Tells whether that is so to those that want to know; attachments that are due are told by whoever carries them.
    pub(super) fn tell(&self) {
        loop {
            let waits = self.waits();
            if self.begun.swap(waits, Ordering::SeqCst) != waits {
                wake(&self.watchers);
            }
            // Another thread may have told what was true before.
            if self.waits() == waits {
                return;
            }
        }
    }

    /// Is the rest of a message waited for?
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// A message is whole, and handed on: what is waited for now is another one, which has its own time.
    pub(super) fn finish(&self) {
        self.finished.fetch_add(1, Ordering::AcqRel);
        if self.has_begun() {
            wake(&self.watchers);
        }
    }

    /// How many have been.
    pub(super) fn finished(&self) -> u64 {
        self.finished.load(Ordering::Acquire)
    }

    /// Wakes this task when a message is begun, or whole, or nothing more is read.
    pub(super) fn await_begun(&self, cx: &Context<'_>) {
        wait(&self.watchers, usize::MAX, cx);
    }

    /// Forgets who waits for that, because one of them is gone; the others come again.
    pub(super) fn forget_watchers(&self) {
        wake(&self.watchers);
    }

    /// Wakes this task once everything written so far has left, or nothing more is read.
    pub(super) fn await_flush(&self, cx: &Context<'_>) {
        wait(&self.writers, usize::MAX, cx);
    }

    /// How often everything written so far has left.
    pub(super) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Acquire)
    }

    /// Everything written so far has left.
    pub(super) fn flushed(&self) {
        self.flushes.fetch_add(1, Ordering::AcqRel);
        wake(&self.writers);
    }
}

/// Keeps the waker of this task, and drops the oldest of more than `most`.
fn wait(wakers: &Mutex<Vec<Waker>>, most: usize, cx: &Context<'_>) {
    let mut wakers = wakers.lock().unwrap_or_else(PoisonError::into_inner);
    if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
        if wakers.len() >= most {
            wakers.remove(0);
        }
        wakers.push(cx.waker().clone());
    }
}

fn wake(wakers: &Mutex<Vec<Waker>>) {
    let wakers = std::mem::take(&mut *wakers.lock().unwrap_or_else(PoisonError::into_inner));
    wakers.into_iter().for_each(Waker::wake);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    struct Task;

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn nothing_is_kept_of_a_task_that_waited_and_is_forgotten() {
        let (gate, task) = (Gate::default(), Arc::new(Task));
        gate.await_begun(&Context::from_waker(&Waker::from(Arc::clone(&task))));
        assert_eq!(Arc::strong_count(&task), 2);
        gate.forget_watchers();
        assert_eq!(Arc::strong_count(&task), 1);
    }
}
