//! Callers that have been told an outcome and are woken a little later, all together.
//!
//! Whoever waits for many answers, as a bridge does, then finds all that one read has brought, so its own answers leave in one
//! write; and on another processor it does not begin with the first while the others are being told.

use std::task::Waker;

#[derive(Default)]
pub(super) struct Wakes {
    wakers: Vec<Waker>,
    /// Turns that the first of them has waited.
    turns: u32,
}

impl Wakes {
    pub(super) fn add(&mut self, waker: Option<Waker>) {
        self.wakers.extend(waker);
    }

    /// A turn ends before all that was read is handled; have they waited for so many?
    pub(super) fn have_waited(&mut self, turns: u32) -> bool {
        self.turns += u32::from(!self.wakers.is_empty());
        self.turns >= turns
    }

    /// Wakes them, in order.
    pub(super) fn wake(&mut self) {
        self.turns = 0;
        self.wakers.drain(..).for_each(Waker::wake);
    }

    /// Does it hold room that nothing waits in?
    pub(super) fn is_roomy(&self) -> bool {
        self.wakers.capacity() > 0
    }

    pub(super) fn rest(&mut self) {
        if self.wakers.is_empty() {
            self.wakers = Vec::new();
        }
    }
}

impl Drop for Wakes {
    /// A connection that is dropped, be it by a panic, leaves nobody waiting.
    fn drop(&mut self) {
        self.wake();
    }
}
