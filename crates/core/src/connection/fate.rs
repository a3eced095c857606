//! What a received frame amounted to.

use crate::ledger::Count;
use crate::pending::Pending;
use crate::session::{Action, Actions, Delivery, Session};

/// Every frame received has exactly one, and is counted under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Used,
    Delivered,
    Ignored(Count),
}

pub(super) fn fate_of<S: Session>(actions: &Actions<S>, pending: &Pending) -> Fate {
    let mut fate = Fate::Used;
    for action in actions {
        let reason = match action {
            Action::Deliver(Delivery::Response { call, .. }) if !pending.contains(*call) => {
                Count::OrphanReply
            }
            Action::Deliver(_) => return Fate::Delivered,
            Action::Count(count) if count.is_reason() => *count,
            _ => continue,
        };
        if fate == Fate::Used {
            fate = Fate::Ignored(reason);
        }
    }
    fate
}
