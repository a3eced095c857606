//! What changes while a route works, in stripes: each connection keeps to one, so connections on different processors do not write
//! to the same memory for every message.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use polywire_core::Peer;

use crate::counts::{Counts, Ending};
use crate::rule::Rule;

/// Stripes of one route: more than the processors that are busy with it at once, as a rule.
const STRIPES: usize = 16;

/// One route and its stripes.
pub(crate) struct Stripes {
    rule: Arc<Rule>,
    stripes: [Arc<Stripe>; STRIPES],
}

/// One stripe: the route, to be held by each message on its way, and counters. Alone in its part of memory.
#[repr(align(128))]
pub(crate) struct Stripe {
    pub(crate) rule: Arc<Rule>,
    pub(crate) counts: Counts,
}

impl Stripes {
    pub(crate) fn new(rule: Rule) -> Self {
        let rule = Arc::new(rule);
        let stripes =
            std::array::from_fn(|_| Arc::new(Stripe { rule: Arc::clone(&rule), counts: Counts::new() }));
        Self { rule, stripes }
    }

    /// The stripe of everything that comes from `peer`.
    pub(crate) fn stripe(&self, peer: &Peer) -> &Arc<Stripe> {
        let [first, ..] = &self.stripes;
        let number = usize::try_from(peer.id()).unwrap_or_default() % STRIPES;
        self.stripes.get(number).unwrap_or(first)
    }

    pub(crate) fn received(&self) -> u64 {
        self.sum(|counts| counts.received())
    }

    pub(crate) fn get(&self, ending: Ending) -> u64 {
        self.sum(|counts| counts.get(ending))
    }

    /// Copies of broadcast events that one peer had no room for.
    pub(crate) fn copies_dropped(&self) -> u64 {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        self.sum(|counts| load(&counts.copies_dropped))
    }

    fn sum(&self, of: impl Fn(&Counts) -> u64) -> u64 {
        self.stripes.iter().map(|stripe| of(&stripe.counts)).fold(0, u64::saturating_add)
    }
}

impl Deref for Stripes {
    type Target = Rule;

    fn deref(&self) -> &Rule {
        &self.rule
    }
}
