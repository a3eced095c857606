//! How often something happened lately.

use std::time::Duration;

use crate::moment::Moment;

/// Counts what happens within one span of time. A span begins with what happens first after the last one is over, so it costs
/// no alarm.
#[derive(Debug, Default)]
pub(super) struct Window {
    began: Option<Moment>,
    count: u32,
}

impl Window {
    /// It happened at `now`; gives how often it has within the present span, this time included.
    pub(super) fn count(&mut self, now: Moment, span: Duration) -> u32 {
        if self.began.is_none_or(|began| now - began >= span) {
            *self = Self { began: Some(now), count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_begins_with_what_happens_first_after_the_last() {
        let at = |millis| Moment::from_start(Duration::from_millis(millis));
        let mut window = Window::default();
        let counts = [0, 999, 1_000, 5_000, 5_500, 5_999, 6_000]
            .map(|millis| window.count(at(millis), Duration::from_secs(1)));
        assert_eq!(counts, [1, 2, 1, 1, 2, 3, 1]);
    }
}
