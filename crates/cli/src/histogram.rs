//! Latencies, counted in buckets whose width grows with the value: every percentile is right within 2 %, in 30 KiB.

use std::time::Duration;

/// Values below this have a bucket each; above it every power of two has half as many.
const FINE: usize = 1 << FINE_BITS;
const FINE_BITS: u32 = 7;
const HALF: usize = 1 << (FINE_BITS - 1);
const BUCKETS: usize = FINE + (64 - FINE_BITS as usize) * HALF;

/// A histogram of durations, in nanoseconds.
#[derive(Clone)]
pub(crate) struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    sum: u128,
    least: u64,
    most: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Histogram {
    /// One without values.
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; BUCKETS].into(), count: 0, sum: 0, least: u64::MAX, most: 0 }
    }

    /// Counts one duration.
    pub(crate) fn record(&mut self, value: Duration) {
        let value = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get_mut(bucket_of(value)) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum += u128::from(value);
        self.least = self.least.min(value);
        self.most = self.most.max(value);
    }

    /// Adds everything another one has counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
    }

    /// How many durations were counted.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The shortest duration; zero when there is none.
    pub(crate) fn least(&self) -> Duration {
        Duration::from_nanos(if self.count == 0 { 0 } else { self.least })
    }

    /// The longest duration; zero when there is none.
    pub(crate) fn most(&self) -> Duration {
        Duration::from_nanos(self.most)
    }

    /// The mean; zero when there is none.
    pub(crate) fn mean(&self) -> Duration {
        let mean = self.sum.checked_div(u128::from(self.count)).unwrap_or(0);
        Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX))
    }

    /// The duration that this share of the values does not exceed, for a share from 0 to 1; zero when there is none.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        #[allow(clippy::cast_possible_truncation, reason = "a count times a share of at most 1 fits")]
        let rank = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(highest_of(bucket).min(self.most));
            }
        }
        Duration::ZERO
    }
}

fn bucket_of(value: u64) -> usize {
    if value < FINE as u64 {
        return usize::try_from(value).unwrap_or(0);
    }
    let shift = 64 - FINE_BITS - value.leading_zeros();
    let within = usize::try_from(value >> shift).unwrap_or(0) - HALF;
    FINE + (shift as usize - 1) * HALF + within
}

fn highest_of(bucket: usize) -> u64 {
    let Some(above) = bucket.checked_sub(FINE) else { return bucket as u64 };
    let (shift, within) = (above / HALF + 1, above % HALF);
    let base = ((within + HALF) as u128 + 1) << shift;
    u64::try_from(base - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_a_bucket_at_most_two_percent_wide() {
        for bits in 0..64 {
            for value in [1_u64 << bits, (1 << bits) + (1 << bits) / 3, u64::MAX >> (63 - bits)] {
                let bucket = bucket_of(value);
                assert!(bucket < BUCKETS, "{value}");
                let highest = highest_of(bucket);
                assert!(highest >= value, "{value} {highest}");
                assert!(highest - value <= value / 64, "{value} {highest}");
                assert!(bucket == 0 || highest_of(bucket - 1) < value);
            }
        }
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut one = Histogram::new();
        let mut two = Histogram::new();
        for millis in 1..=1_000 {
            let half = if millis % 2 == 0 { &mut one } else { &mut two };
            half.record(Duration::from_millis(millis));
        }
        one.merge(&two);
        assert_eq!(
            (one.count(), one.least(), one.most()),
            (1_000, Duration::from_millis(1), Duration::from_secs(1))
        );
        assert_eq!(one.mean(), Duration::from_micros(500_500));
        for (share, millis) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = one.quantile(share).as_secs_f64() * 1e3;
            assert!((found - millis).abs() <= millis * 0.016, "{share}: {found}");
        }
        assert_eq!(Histogram::new().quantile(0.5), Duration::ZERO);
    }
}
