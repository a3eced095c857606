//! When the machine slept: what was due meanwhile is due when it wakes, and nobody is late for having slept.

use std::time::Duration;

use crate::history::{Record, What};
use crate::plan::Fault;

/// From when to when it slept, as often as it did.
pub(super) struct Sleeps(Vec<(Duration, Duration)>);

impl Sleeps {
    pub(super) fn of(records: &[Record]) -> Self {
        let slept = records.iter().filter_map(|Record { at, what }| match what {
            What::Fault(Fault::Suspend(span)) => Some((*at, *at + *span)),
            _ => None,
        });
        Self(slept.collect())
    }

    /// How late something was that was due then and came `at`: the time between, but for what was slept of it.
    pub(super) fn late(&self, due: Duration, at: Duration) -> Duration {
        let slept = self.0.iter().map(|(since, until)| (*until).min(at).saturating_sub((*since).max(due)));
        at.saturating_sub(due).saturating_sub(slept.sum())
    }
}
