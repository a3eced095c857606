//! Callers that have been told an outcome and are woken a little later, all together.
//!
//! Whoever waits for many answers, as a bridge does, then finds as many of them as one read has brought, and its own answers
//! leave in one write; and it does not run yet while more is being told.

use std::task::Waker;

#[derive(Default)]
pub(super) struct Wakes(Vec<Waker>);

impl Wakes {
    pub(super) fn add(&mut self, waker: Option<Waker>) {
        self.0.extend(waker);
    }

    /// Wakes them, in order.
    pub(super) fn wake(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }

    /// Does it hold room that nothing waits in?
    pub(super) fn is_roomy(&self) -> bool {
        self.0.capacity() > 0
    }

    pub(super) fn rest(&mut self) {
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }
}

impl Drop for Wakes {
    /// A connection that is dropped, be it by a panic, leaves nobody waiting.
    fn drop(&mut self) {
        self.wake();
    }
}
