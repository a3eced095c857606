//! What a received frame amounted to.

use crate::ledger::Count;

/// Every frame received has exactly one, and is counted under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Used,
    Delivered,
    Ignored(Count),
}

impl Fate {
    /// Something of the frame was delivered. That outweighs every reason.
    pub(super) fn deliver(&mut self) {
        *self = Self::Delivered;
    }

    /// A part of the frame was of no use. The first reason is that of the frame.
    pub(super) fn ignore(&mut self, reason: Count) {
        if *self == Self::Used {
            *self = Self::Ignored(reason);
        }
    }
}
