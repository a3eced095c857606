//! How many cases a property has.

use std::thread;

use proptest::test_runner::{Config, ResultCache, ResultCacheKey, TestCaseResult};

use crate::{Progress, size};

/// Cases of a property in a soak run, unless it has another number.
const FULL: u32 = 1_000_000;

/// So many cases in ordinary tests, up to a million in a soak run, which tells how far it has come. The number is a constant because
/// proptest takes a plain function for its cache, which has to know it.
#[must_use]
pub fn cases<const SMALL: u32>() -> Config {
    cases_up_to::<SMALL, FULL>()
}

/// The same with another number for the soak run.
#[must_use]
pub fn cases_up_to<const SMALL: u32, const MOST: u32>() -> Config {
    let cases = u32::try_from(size(SMALL.into(), MOST.into())).unwrap_or(MOST);
    Config { result_cache: told::<SMALL, MOST>, ..Config::with_cases(cases) }
}

/// Keeps no result: it is what hears of every case, those of shrinking too.
struct Told(Progress);

fn told<const SMALL: u32, const MOST: u32>() -> Box<dyn ResultCache> {
    let property = thread::current().name().unwrap_or("a property").to_owned();
    Box::new(Told(Progress::new(&format!("cases of {property}"), size(SMALL.into(), MOST.into()))))
}

impl ResultCache for Told {
    fn key(&self, _: &ResultCacheKey<'_>) -> u64 {
        0
    }

    fn put(&mut self, _: u64, _: &TestCaseResult) {
        self.0.one_more();
    }

    fn get(&self, _: u64) -> Option<&TestCaseResult> {
        None
    }
}
