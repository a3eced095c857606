//! Chance that a seed decides, with the few shapes of it that plans need.

use std::ops::Range;
use std::time::Duration;

use polywire_core::{SeededRandom, random_below};

/// A stream of chance.
#[derive(Debug)]
pub struct Chance(SeededRandom);

impl Chance {
    /// The stream of `seed` for one purpose; two purposes share nothing.
    pub fn new(seed: u64, purpose: u64) -> Self {
        Self(SeededRandom::new(
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ purpose.wrapping_mul(0x5851_f42d_4c95_7f2d),
        ))
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&self, bound: u64) -> u64 {
        random_below(&self.0, bound)
    }

    /// A number in `range`.
    pub fn within(&self, range: Range<u64>) -> u64 {
        range.start + self.below(range.end.saturating_sub(range.start))
    }

    /// So many milliseconds.
    pub fn millis(&self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.within(range))
    }

    /// Does something happen that happens `of_thousand` times in a thousand?
    pub fn happens(&self, of_thousand: u64) -> bool {
        self.below(1_000) < of_thousand
    }

    /// One of these.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        let index = usize::try_from(self.below(from.len() as u64)).unwrap_or_default();
        &from[index]
    }
}
