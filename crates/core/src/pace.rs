//! How fast something may be: an even pace with a burst at its beginning.

use std::time::Duration;

use crate::moment::Moment;

/// An even pace with a burst at its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    interval: Duration,
    burst: Duration,
    /// When what was spent so far would have been at an even pace.
    even: Moment,
}

impl Pace {
    /// `count` in each `span` in the long run.
    pub(crate) fn new(span: Duration, count: u32, burst: u32) -> Self {
        let interval = span.checked_div(count).unwrap_or(span);
        Self { interval, burst: interval.saturating_mul(burst), even: Moment::default() }
    }

    /// One more is spent at `now`; says when the next may be, `None` for at once.
    pub(crate) fn spend(&mut self, now: Moment) -> Option<Moment> {
        self.even = self.even.max(now) + self.interval;
        let next = now + (self.even - now).saturating_sub(self.slack());
        (self.even - now >= self.burst).then_some(next.max(now + Duration::from_nanos(1)))
    }

    /// Nobody waits longer than `pause` for the next one.
    pub(crate) fn forgive_beyond(&mut self, pause: Duration, now: Moment) {
        self.even = self.even.min(now + self.slack() + pause);
    }

    /// How long it is until there is one left, `None` when there is.
    pub(crate) fn pause(&self, now: Moment) -> Option<Duration> {
        let left = (self.even - now).saturating_sub(self.slack());
        (!left.is_zero()).then_some(left)
    }

    /// When what was spent so far would have been at an even pace.
    pub(crate) fn even(&self) -> Moment {
        self.even
    }

    /// How far ahead of an even pace one may be and still spend.
    fn slack(&self) -> Duration {
        self.burst.saturating_sub(self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c05_a_burst_is_accepted_at_once_and_the_rest_at_an_even_pace() {
        let mut pace = Pace::new(Duration::from_secs(1), 200, 400);
        let start = Moment::from_start(Duration::from_secs(100));
        let mut now = start;
        let mut came = Vec::new();
        for _ in 0..1_000 {
            came.push((now - start).as_millis());
            now = pace.spend(now).unwrap_or(now);
        }
        assert_eq!((came[0], came[399]), (0, 0));
        assert!(came[401] > 0, "the burst is over");
        assert!((2_990..=3_000).contains(&came[999]), "{}", came[999]);
        let later = now + Duration::from_secs(10);
        assert_eq!(pace.spend(later), None, "after a quiet time there is a burst again");
    }
}
