//! What a session and the stream below it tell each other, past the server library between them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Shared by the stream of one client and all it has joined.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Namespaces whose inbound queue is full.
    full: AtomicUsize,
    cut: AtomicBool,
    reader: Mutex<Option<Waker>>,
    /// Those that wait for room in the outbound queue.
    writers: Mutex<Vec<Waker>>,
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
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        if self.cut.load(Ordering::Acquire) {
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
            self.wake_reader();
        }
    }

    /// Nothing more is read. What is waiting to be written is written.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.wake_reader();
    }

    fn wake_reader(&self) {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Wakes this task once the stream has taken more.
    pub(super) fn await_progress(&self, cx: &Context<'_>) {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        if !writers.iter().any(|waker| waker.will_wake(cx.waker())) {
            writers.push(cx.waker().clone());
        }
    }

    /// The stream has taken more.
    pub(super) fn progressed(&self) {
        let writers = std::mem::take(&mut *self.writers.lock().unwrap_or_else(PoisonError::into_inner));
        writers.into_iter().for_each(Waker::wake);
    }
}
