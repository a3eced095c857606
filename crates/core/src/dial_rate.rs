//! How fast one process may dial again: a storm of reconnects is spread out.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::moment::Moment;

/// One dial in this time on average: 10 a second.
const INTERVAL: Duration = Duration::from_millis(100);
/// Dials that may come at once after a quiet time.
const BURST: u32 = 10;

/// The rate at which all clients that share it dial again; the first dial of a client is free.
#[derive(Debug, Default)]
pub struct DialRate {
    /// When the dials granted so far would have happened at an even pace.
    even: Mutex<Moment>,
}

impl DialRate {
    /// When the dial that is asked for at `now` may happen.
    pub(crate) fn grant(&self, now: Moment) -> Moment {
        let mut even = self.even.lock().unwrap_or_else(PoisonError::into_inner);
        let ahead = even.since(now);
        *even = (*even).max(now) + INTERVAL;
        now + ahead.saturating_sub(INTERVAL * (BURST - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_rest_is_spread_out() {
        let rate = DialRate::default();
        let now = Moment::from_start(Duration::from_secs(100));
        let waits: Vec<u128> = (0..1_000).map(|_| (rate.grant(now) - now).as_millis()).collect();
        assert_eq!(waits[..10], [0; 10]);
        assert_eq!(waits[10..13], [100, 200, 300]);
        assert_eq!(waits[999], 99_000, "1 000 clients cut at once dial again within 100 s, 10 a second");
        assert_eq!(rate.grant(now + Duration::from_secs(200)), now + Duration::from_secs(200));
    }
}
