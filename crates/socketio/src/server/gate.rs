//! What a session and the stream below it tell each other, past the server library between them.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use super::verdict::Verdict;

/// Tasks that read at a time: those of two streams, each of which goes on in another task after its upgrade.
const READERS: usize = 4;
/// Requests that wait for what the server has to say: one, and one that takes its place.
const POLLS: usize = 2;

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
    /// Those that read: two streams for as long as a session moves from one to the other.
    readers: Mutex<Vec<Waker>>,
    /// Those that wait for more in the name of a client, until nobody wants to say more.
    polls: Mutex<Vec<Waker>>,
    /// Those that wait for the next flush, or the cut.
    writers: Mutex<Vec<Waker>>,
    /// The stream, and so many requests, have begun a message whose rest is waited for.
    stream: AtomicBool,
    requests: AtomicUsize,
    /// Attachments that a packet has announced and that have not come, whatever carries them.
    due: AtomicU32,
    /// What was told of these three: something was begun.
    begun: AtomicBool,
    /// Those that want to know about that.
    watchers: Mutex<Vec<Waker>>,
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
        if self.full.load(Ordering::Acquire) > 0 { Poll::Pending } else { Poll::Ready(Reading::Go) }
    }

    /// One more queue is full.
    pub(super) fn fill(&self) {
        self.full.fetch_add(1, Ordering::AcqRel);
    }

    /// One fewer.
    pub(super) fn clear(&self) {
        if self.full.fetch_sub(1, Ordering::AcqRel) == 1 {
            wake(&self.readers);
        }
    }

    /// Nothing more is read. What is waiting to be written is written; a session of requests is known no more.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        for waiting in [&self.readers, &self.polls, &self.writers, &self.watchers] {
            wake(waiting);
        }
    }

    /// Ready once nothing more is read.
    pub(super) fn poll_cut(&self, cx: &Context<'_>) -> Poll<()> {
        // Kept before looking, so that a change in between wakes it.
        wait(&self.polls, POLLS, cx);
        if self.is_cut() { Poll::Ready(()) } else { Poll::Pending }
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

    /// A packet has announced so many attachments.
    pub(super) fn announce(&self, attachments: u32) {
        self.due.fetch_max(attachments, Ordering::SeqCst);
    }

    /// An attachment has come, announced or not.
    pub(super) fn attached(&self) {
        // Fails when none was.
        let _ = self.due.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |due| due.checked_sub(1));
    }

    /// Whether the stream of the session waits for the rest of a message. While `more` is there to be read a beginning is not
    /// told, so that nobody is woken for what has been read together with its rest.
    pub(super) fn set_begun(&self, begun: bool, more: bool) {
        self.stream.store(begun, Ordering::SeqCst);
        if !more || !self.waits() {
            self.tell();
        }
    }

    /// The rest of a request is waited for until [`finish_request`](Self::finish_request).
    pub(super) fn begin_request(&self) {
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.tell();
    }

    /// One that was begun is whole, or nothing more of it comes.
    pub(super) fn finish_request(&self) {
        self.requests.fetch_sub(1, Ordering::SeqCst);
        self.tell();
    }

    /// Is the rest of anything waited for?
    fn waits(&self) -> bool {
        self.stream.load(Ordering::SeqCst)
            || self.requests.load(Ordering::SeqCst) > 0
            || self.due.load(Ordering::SeqCst) > 0
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

    /// Wakes this task when a message is begun, or whole, or nothing more is read.
    pub(super) fn await_begun(&self, cx: &Context<'_>) {
        wait(&self.watchers, usize::MAX, cx);
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
