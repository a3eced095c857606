//! The ledger: every message received is delivered, used by the session, or counted under a named reason.
//!
//! Two identities hold at every instant a snapshot is taken:
//! `frames_received = frames_delivered + frames_used + sum of reasons`, and for calls each way
//! `started = answered + failed + … + running`. A connection counts in plain numbers and adds them to the shared ledger once a turn,
//! all under one lock: an atomic number for each count would let a reader see the half of a turn, and costs a writer more. The ledger
//! is kept in shards, so that connections on other processors seldom meet at one lock.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $name:ident => $text:literal,)+) => {
        /// One thing that is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Count {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Count {
            /// Every count, in the order of declaration.
            pub const ALL: &'static [Count] = &[$(Count::$name),+];

            /// The name as it stands in output.
            pub const fn as_str(self) -> &'static str {
                match self { $(Count::$name => $text,)+ }
            }
        }
    };
}

counts! {
    /// Connections that were opened.
    Connections => "connections",
    /// Connections that have ended.
    Closed => "closed",
    /// Times that accepting failed.
    AcceptsFailed => "accepts_failed",
    /// Connections turned away because their address had `max_connections_per_address` already.
    AcceptsRefused => "accepts_refused",
    /// Connections turned away because all connections keep too much of `max_memory_bytes`.
    AcceptsShed => "accepts_shed",
    /// Times that accepting rested because connections came faster than `max_accepts_per_second`.
    AcceptsPaused => "accepts_paused",
    /// Connections closed because they kept most of `max_memory_bytes`.
    ConnectionsShed => "connections_shed",
    /// Frames received.
    FramesReceived => "frames_received",
    /// Frames that held something for a handler or a caller.
    FramesDelivered => "frames_delivered",
    /// Frames the session used itself: greeting, login, heartbeat, a switch of mode.
    FramesUsed => "frames_used",
    /// Frames sent.
    FramesSent => "frames_sent",
    /// Requests handed to a handler.
    Requests => "requests",
    /// Requests answered with a body.
    RequestsAnswered => "requests_answered",
    /// Requests answered with a failure.
    RequestsFailed => "requests_failed",
    /// Requests whose caller was gone, or had cancelled them, before the answer.
    RequestsAbandoned => "requests_abandoned",
    /// Requests refused because `max_in_flight` or `max_in_flight_bytes` was reached, or during a drain.
    RequestsRefused => "requests_refused",
    /// Requests refused because all connections keep too much of `max_memory_bytes`.
    RequestsShed => "requests_shed",
    /// Events handed to a handler.
    Events => "events",
    /// Events whose handler failed or had no handler.
    EventsFailed => "events_failed",
    /// Events dropped because as many were being handled as `max_in_flight` or `max_in_flight_bytes` allow.
    EventsRefused => "events_refused",
    /// Events of a peer dropped because all connections keep too much of `max_memory_bytes`.
    EventsShed => "events_shed",
    /// Calls of ours that were accepted.
    Calls => "calls",
    /// Calls that got a body.
    CallsAnswered => "calls_answered",
    /// Calls the peer answered with a failure.
    CallsFailed => "calls_failed",
    /// Calls that never left.
    CallsNotSent => "calls_not_sent",
    /// Calls that left and have no answer.
    CallsUnknown => "calls_unknown",
    /// Calls the caller gave up.
    CallsCancelled => "calls_cancelled",
    /// Events of ours that never left.
    EventsNotSent => "events_not_sent",
    /// Events of ours for a slow peer that were dropped because all connections keep too much of `max_memory_bytes`.
    EventsWithheld => "events_withheld",
    /// Events of ours that were sent.
    EventsSent => "events_sent",
    /// Reason: a message that could not be read.
    Undecodable => "undecodable",
    /// Reason: an answer nobody waits for: late, never asked for, or repeated where that cannot be told.
    OrphanReply => "orphan_reply",
    /// Reason: a second answer to one of the 64 calls up to the newest that was answered, on wires whose answers carry the number of the call.
    DuplicateReply => "duplicate_reply",
    /// Reason: an id that is still in flight was used again.
    RepeatedId => "repeated_id",
    /// Reason: a message that has no meaning now or ever.
    Unexpected => "unexpected",
    /// Reason: a message of a kind this wire does not know.
    UnknownKind => "unknown_kind",
    /// Reason: a name that cannot be a route.
    BadRoute => "bad_route",
    /// Reason: a body that no envelope can hold.
    BadBody => "bad_body",
    /// Reason: a message that came before the login.
    BeforeLogin => "before_login",
    /// Note: a message was read as what this side can hold: U+FFFD for bytes that are not UTF-8, the last of two equal keys.
    Mended => "mended",
    /// Note: progress that the wire cannot carry was dropped.
    ProgressDropped => "progress_dropped",
    /// Note: an answer did not leave, because what their wire can say at that time would be no answer.
    AnswersDropped => "answers_dropped",
    /// Note: a connection was given up for one with a new key, because its own had sealed as many messages as it may.
    KeysWornOut => "keys_worn_out",
    /// Note: a ping, a pong, a heartbeat: what a peer sends only to be seen. `max_control_per_second` bounds it.
    Control => "control",
}

impl Count {
    /// Is this one of the reasons for which a received frame ends without being delivered?
    pub const fn is_reason(self) -> bool {
        matches!(
            self,
            Count::Undecodable
                | Count::OrphanReply
                | Count::DuplicateReply
                | Count::RepeatedId
                | Count::Unexpected
                | Count::UnknownKind
                | Count::BadRoute
                | Count::BadBody
                | Count::BeforeLogin
        )
    }
}

const COUNTS: usize = Count::ALL.len();

/// Shards of a ledger.
const SHARDS: usize = 8;

type Counts = [u64; COUNTS];

/// One of them, apart from its neighbours by two lines of a processor's cache.
#[derive(Debug)]
#[repr(align(128))]
struct Shard(Mutex<Counts>);

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counters shared by the connections of one endpoint.
#[derive(Debug)]
pub struct Ledger {
    shards: [Shard; SHARDS],
    /// How many connections have been given a shard.
    given: AtomicUsize,
}

impl Ledger {
    /// A ledger with every count at zero.
    pub fn new() -> Self {
        let shards = std::array::from_fn(|_| Shard(Mutex::new([0; COUNTS])));
        Self { shards, given: AtomicUsize::new(0) }
    }

    fn shard(&self, which: usize) -> &Shard {
        let [first, ..] = &self.shards;
        self.shards.get(which % SHARDS).unwrap_or(first)
    }

    /// The sums of one instant.
    fn sums(&self) -> Counts {
        // All are locked, in one order, before the first is read.
        let shards = self.shards.each_ref().map(Shard::lock);
        std::array::from_fn(|which| {
            shards.iter().fold(0_u64, |sum, counts| sum.wrapping_add(counts.get(which).copied().unwrap_or(0)))
        })
    }

    /// The present value of one count.
    pub fn get(&self, count: Count) -> u64 {
        of(&self.sums(), count)
    }

    /// Adds to one count.
    pub fn add(&self, count: Count, more: u64) {
        self.add_all(&[(count, more)]);
    }

    /// Adds to several counts at once: no snapshot sees some of them alone.
    pub fn add_all(&self, more: &[(Count, u64)]) {
        let mut counts = self.shard(0).lock();
        for (count, more) in more {
            if let Some(cell) = counts.get_mut(*count as usize) {
                *cell = cell.wrapping_add(*more);
            }
        }
    }

    /// Every count that is not zero, in the order of declaration, all of one instant.
    pub fn snapshot(&self) -> Vec<(Count, u64)> {
        let counts = self.sums();
        Count::ALL.iter().map(|count| (*count, of(&counts, *count))).filter(|(_, value)| *value > 0).collect()
    }

    /// Frames received that are not accounted for; anything but 0 is a fault of ours.
    pub fn unaccounted_frames(&self) -> i64 {
        let counts = self.sums();
        let reasons: u64 =
            Count::ALL.iter().filter(|count| count.is_reason()).map(|count| of(&counts, *count)).sum();
        let known = of(&counts, Count::FramesDelivered) + of(&counts, Count::FramesUsed) + reasons;
        of(&counts, Count::FramesReceived).cast_signed().wrapping_sub(known.cast_signed())
    }
}

fn of(counts: &Counts, count: Count) -> u64 {
    counts.get(count as usize).copied().unwrap_or_default()
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

/// What one connection has counted since it last told the [`Ledger`].
///
/// Few counts move in one turn, and only those are added.
#[derive(Debug)]
pub(crate) struct Tally {
    /// The shard of the ledger that it is added to.
    shard: usize,
    moved: u64,
    counts: [u32; COUNTS],
}

impl Tally {
    pub(crate) fn new(ledger: &Ledger) -> Self {
        const { assert!(COUNTS <= 64) };
        Self { shard: ledger.given.fetch_add(1, Ordering::Relaxed), moved: 0, counts: [0; COUNTS] }
    }

    pub(crate) fn add(&mut self, count: Count) {
        if let Some(cell) = self.counts.get_mut(count as usize) {
            *cell = cell.saturating_add(1);
            self.moved |= 1 << count as u64;
        }
    }

    pub(crate) fn settle(&mut self, ledger: &Ledger) {
        if self.moved == 0 {
            return;
        }
        let mut counts = ledger.shard(self.shard).lock();
        while self.moved != 0 {
            let index = self.moved.trailing_zeros() as usize;
            self.moved &= self.moved - 1;
            if let (Some(cell), Some(count)) = (self.counts.get_mut(index), counts.get_mut(index)) {
                *count = count.wrapping_add(u64::from(std::mem::take(cell)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_tally_settles_into_the_ledger_once() {
        let ledger = Ledger::new();
        let mut tally = Tally::new(&ledger);
        tally.add(Count::FramesReceived);
        tally.add(Count::FramesReceived);
        tally.add(Count::OrphanReply);
        tally.settle(&ledger);
        tally.settle(&ledger);
        assert_eq!(ledger.snapshot(), [(Count::FramesReceived, 2), (Count::OrphanReply, 1)]);
        assert_eq!(ledger.unaccounted_frames(), 1);
    }

    #[test]
    fn a_snapshot_under_load_balances_at_every_instant() {
        let ledger = Ledger::new();
        let still = AtomicU32::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for turn in 0..20_000 {
                        let mut tally = Tally::new(&ledger);
                        for ended in [Count::FramesDelivered, Count::FramesUsed, Count::BeforeLogin] {
                            tally.add(Count::FramesReceived);
                            tally.add(ended);
                        }
                        tally.settle(&ledger);
                        ledger.add_all(&[(Count::Calls, turn), (Count::CallsNotSent, turn)]);
                    }
                    still.fetch_sub(1, Ordering::Relaxed);
                });
            }
            let mut samples = 0_u32;
            while still.load(Ordering::Relaxed) > 0 {
                assert_eq!(ledger.unaccounted_frames(), 0);
                let counts: std::collections::HashMap<_, _> = ledger.snapshot().into_iter().collect();
                assert_eq!(counts.get(&Count::Calls), counts.get(&Count::CallsNotSent));
                samples += 1;
            }
            assert!(samples > 0);
        });
        assert_eq!(ledger.get(Count::FramesReceived), 4 * 20_000 * 3);
    }
}
