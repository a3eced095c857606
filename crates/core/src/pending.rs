//! Calls of ours that a peer owes an answer.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use crate::cell::Owed;
use crate::envelope::CallId;
use crate::ledger::Count;
use crate::moment::Moment;

pub(crate) struct Pending {
    calls: HashMap<CallId, Call, BuildHasherDefault<CallIdHasher>>,
    /// No deadline is before this moment; it may be earlier than the first one.
    earliest: Option<Moment>,
    answered: Answered,
}

/// Which of the last 64 calls were answered: the lowest bit is that of the newest that was.
#[derive(Default)]
struct Answered {
    newest: u64,
    bits: u64,
}

impl Answered {
    fn add(&mut self, CallId(call): CallId) {
        if let Some(newer) = call.checked_sub(self.newest) {
            self.bits = u32::try_from(newer).ok().and_then(|newer| self.bits.checked_shl(newer)).unwrap_or(0);
            self.newest = call;
        }
        self.bits |= self.bit(CallId(call));
    }

    fn has(&self, call: CallId) -> bool {
        self.bits & self.bit(call) != 0
    }

    /// The bit of a call, 0 when it is not among the last.
    fn bit(&self, CallId(call): CallId) -> u64 {
        let age = self.newest.checked_sub(call).and_then(|age| u32::try_from(age).ok());
        age.and_then(|age| 1_u64.checked_shl(age)).unwrap_or(0)
    }
}

struct Call {
    started: Moment,
    timeout: Duration,
    deadline: Moment,
    answer: Owed,
}

impl Call {
    fn extend(&mut self, now: Moment, most: Duration) {
        self.deadline = self.deadline.max((now + self.timeout).min(self.started + most));
    }
}

impl Pending {
    pub(crate) fn new() -> Self {
        Self { calls: HashMap::default(), earliest: None, answered: Answered::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    pub(crate) fn earliest(&self) -> Option<Moment> {
        self.earliest
    }

    pub(crate) fn insert(&mut self, call: CallId, started: Moment, deadline: Moment, answer: Owed) {
        self.earliest = Some(self.earliest.map_or(deadline, |known| known.min(deadline)));
        let timeout = deadline - started;
        self.calls.insert(call, Call { started, timeout, deadline, answer });
    }

    /// Ends one call; gives back what answers its caller.
    pub(crate) fn remove(&mut self, call: CallId) -> Option<Owed> {
        self.calls.remove(&call).map(|call| call.answer)
    }

    /// Ends one call that was answered.
    ///
    /// # Errors
    /// Why nobody waits for the answer.
    pub(crate) fn answered(&mut self, call: CallId) -> Result<Owed, Count> {
        match self.remove(call) {
            Some(answer) => {
                self.answered.add(call);
                Ok(answer)
            }
            None if self.answered.has(call) => Err(Count::DuplicateReply),
            None => Err(Count::OrphanReply),
        }
    }

    /// Ends every call that is due.
    pub(crate) fn expired(&mut self, now: Moment) -> Vec<(CallId, Owed)> {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return Vec::new();
        }
        let mut over: Vec<_> = self
            .calls
            .extract_if(|_, call| call.deadline <= now)
            .map(|(id, call)| (id, call.answer))
            .collect();
        over.sort_unstable_by_key(|(id, _)| *id);
        self.earliest = self.calls.values().map(|call| call.deadline).min();
        over
    }

    /// A sign of life: restarts the timeout of one call or of all, none of which outlives `most` by it.
    pub(crate) fn extend(&mut self, call: Option<CallId>, now: Moment, most: Duration) {
        match call {
            Some(id) => self.calls.get_mut(&id).into_iter().for_each(|call| call.extend(now, most)),
            None => self.calls.values_mut().for_each(|call| call.extend(now, most)),
        }
    }

    /// Ends every call, in the order they were made.
    pub(crate) fn drain(&mut self) -> Vec<Owed> {
        let mut all: Vec<_> = std::mem::take(&mut self.calls).into_iter().collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        self.earliest = None;
        all.into_iter().map(|(_, call)| call.answer).collect()
    }

    /// Does it hold room that nothing uses?
    pub(crate) fn is_roomy(&self) -> bool {
        self.calls.capacity() > 0
    }

    /// Gives back what a burst left behind.
    pub(crate) fn rest(&mut self) {
        if self.calls.is_empty() {
            self.earliest = None;
            self.calls = HashMap::default();
        }
    }
}

/// Call numbers are counted here and never come from a peer, so their hash needs no key.
#[derive(Default)]
struct CallIdHasher(u64);

impl Hasher for CallIdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte) ^ self.0);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::cell;

    fn at(seconds: u64) -> Moment {
        Moment::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn calls_end_at_their_deadline_and_progress_stretches_them_within_bounds() {
        let mut pending = Pending::new();
        let (first, _keep) = cell();
        let (second, _keep) = cell();
        pending.insert(CallId(1), at(0), at(10), first);
        pending.insert(CallId(2), at(0), at(20), second);
        assert!(pending.expired(at(9)).is_empty());
        let most = Duration::from_secs(150);
        pending.extend(Some(CallId(1)), at(9), most);
        assert!(pending.expired(at(18)).is_empty());
        assert_eq!(pending.expired(at(19)).len(), 1);
        pending.extend(None, at(19), most);
        assert!(pending.expired(at(38)).is_empty());
        assert_eq!(pending.earliest(), Some(at(39)));
        for second in 0..250 {
            pending.extend(None, at(second), most);
        }
        assert!(pending.expired(at(149)).is_empty());
        assert_eq!(pending.expired(at(150)).len(), 1, "no progress keeps a call longer than that");
        // One that was given longer keeps what it was given.
        let (third, _keep) = cell();
        pending.insert(CallId(3), at(0), at(300), third);
        pending.extend(None, at(299), most);
        assert!(pending.expired(at(299)).is_empty());
        assert_eq!(pending.expired(at(300)).len(), 1);
        assert!(pending.is_empty());
    }
}
