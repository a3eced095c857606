//! What an idle connection gives back.

use crate::session::{Actions, Session};
use crate::transport::Transport;

use super::Connection;

impl<T, S> Connection<T, S>
where
    S: Session,
    T: Transport<S::Codec>,
{
    /// Is nothing going on? While a login is judged or reading is off, what has come may wait unread.
    pub(super) fn is_idle(&self) -> bool {
        if !self.wants_frames() {
            return false;
        }
        let calls = self.runs.len() == 0 && self.pending.is_empty();
        calls && self.outbox.is_empty() && self.transport.unsent() == 0
    }

    /// Does it hold memory that an idle connection has no use for?
    pub(super) fn is_roomy(&self) -> bool {
        self.transport.is_roomy()
            || self.actions.capacity() > 0
            || self.runs.is_roomy()
            || self.pending.is_roomy()
            || self.outbox.is_roomy()
            || self.wakes.is_roomy()
    }

    /// Nothing is going on: memory that a burst needed is given back.
    pub(super) fn rest(&mut self) {
        if self.is_idle() {
            self.transport.rest();
            self.session.rest();
            self.runs.rest();
            self.pending.rest();
            self.outbox.rest();
            self.wakes.rest();
            self.deadlines.rest();
            if self.actions.is_empty() {
                self.actions = Actions::new();
            }
        }
    }
}
