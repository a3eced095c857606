//! The ledger of one route: every message received is delivered, still running, or counted under a named reason.

use std::sync::atomic::{AtomicU64, Ordering};

use polywire_core::Moment;

macro_rules! route_counts {
    ($($(#[doc = $doc:literal])+ $name:ident => $text:literal,)+) => {
        /// How a message of a route ended. Every message received ends under exactly one of these.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Ending {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Ending {
            /// Every ending, in the order of declaration.
            pub const ALL: &'static [Ending] = &[$(Ending::$name),+];

            /// The name as it stands in output.
            pub const fn as_str(self) -> &'static str {
                match self { $(Ending::$name => $text,)+ }
            }
        }
    };
}

route_counts! {
    /// A request that was answered with a body.
    Answered => "answered",
    /// An event that was handed on.
    Delivered => "delivered",
    /// A request the other side answered with a failure.
    Failed => "failed",
    /// Never sent: nobody to send it to, or no connection.
    NotSent => "not_sent",
    /// Sent, and no answer came.
    Unknown => "unknown",
    /// Never sent: too little time was left.
    OutOfTime => "out_of_time",
    /// Never sent, or not handed back: the body or name cannot cross.
    Unsuitable => "unsuitable",
    /// Never sent: an event for which there was no room.
    Overflow => "overflow",
    /// Never sent: it had gone round.
    Loop => "loop",
    /// Its sender went away, or its time passed, while it was on its way.
    Abandoned => "abandoned",
}

const ENDINGS: usize = Ending::ALL.len();

/// The counters of one route.
#[derive(Debug)]
pub(crate) struct Counts {
    received: AtomicU64,
    endings: [AtomicU64; ENDINGS],
    /// Copies of broadcast events that one peer had no room for; the event itself counts as delivered.
    pub(crate) copies_dropped: AtomicU64,
}

impl Counts {
    pub(crate) fn new() -> Self {
        Self {
            received: AtomicU64::new(0),
            endings: [const { AtomicU64::new(0) }; ENDINGS],
            copies_dropped: AtomicU64::new(0),
        }
    }

    /// A message was received; it is running until it has an ending.
    pub(crate) fn receive(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    /// A message that was received has ended.
    pub(crate) fn end(&self, ending: Ending) {
        if let Some(cell) = self.endings.get(ending as usize) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(crate) fn get(&self, ending: Ending) -> u64 {
        self.endings.get(ending as usize).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }
}

/// Lets a log line of each ending through once in ten seconds, so that a flood of one kind does not hide the others.
#[derive(Debug)]
pub(crate) struct Seldom([AtomicU64; ENDINGS]);

impl Seldom {
    const PAUSE_MS: u64 = 10_000;

    pub(crate) fn new() -> Self {
        Self(Default::default())
    }

    pub(crate) fn now(&self, ending: Ending, now: Moment) -> bool {
        let Some(known) = self.0.get(ending as usize) else { return false };
        let now = u64::try_from(now.since_start().as_millis()).unwrap_or(u64::MAX);
        let next = known.load(Ordering::Relaxed);
        let later = now.saturating_add(Self::PAUSE_MS);
        now >= next && known.compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn logs_each_ending_once_in_ten_seconds() {
        let seldom = Seldom::new();
        let at = |seconds| Moment::from_start(Duration::from_secs(seconds));
        let seen = [1, 2, 10, 11, 20, 21].map(|second| seldom.now(Ending::Unsuitable, at(second)));
        assert_eq!(seen, [true, false, false, true, false, true]);
        assert!(seldom.now(Ending::Overflow, at(21)), "a flood of one kind hides no other");
        assert!(!seldom.now(Ending::Overflow, at(22)));
    }
}
