//! Many seeds, on a few threads.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::history::{End, What};
use crate::plan::Plan;
use crate::world::{Report, run};

/// What many seeds showed.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    /// The seeds that failed, and what was wrong.
    pub failed: BTreeMap<u64, Vec<String>>,
    /// How many records they had.
    pub records: u64,
    /// How often each kind of thing happened, so that a sweep in which nothing happens is found.
    pub happened: BTreeMap<String, u64>,
}

/// Runs `seeds` seeds from `from` on, one in `twice` of them two times; calls `done` for each.
///
/// # Panics
/// When the simulation itself is at fault.
pub fn sweep(from: u64, seeds: u64, threads: u64, twice: u64, done: impl Fn() + Sync) -> Swept {
    let next = AtomicU64::new(0);
    let swept = Mutex::new(Swept::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, 64) {
            scope.spawn(|| {
                while let Some(index) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).filter(|index| *index < seeds)
                {
                    let seed = from.wrapping_add(index);
                    let (faults, report) = seed_twice(seed, twice > 0 && index % twice == 0);
                    let mut swept = swept.lock().expect("nothing panics while it is held");
                    swept.note(seed, faults, &report);
                    drop(swept);
                    done();
                }
            });
        }
    });
    swept.into_inner().expect("nothing panics while it is held")
}

/// What is wrong with one seed.
fn seed_twice(seed: u64, twice: bool) -> (Vec<String>, Report) {
    let plan = Plan::of(seed);
    let report = run(&plan);
    let mut faults = report.violations.iter().map(ToString::to_string).collect::<Vec<_>>();
    if twice && run(&plan).trace != report.trace {
        faults.push("the same seed gave another trace".to_owned());
    }
    (faults, report)
}

impl Swept {
    fn note(&mut self, seed: u64, faults: Vec<String>, report: &Report) {
        if !faults.is_empty() {
            self.failed.insert(seed, faults);
        }
        self.records += report.records.len() as u64;
        let mut count = |kind: String| *self.happened.entry(kind).or_default() += 1;
        count(format!("{:?}", Plan::of(seed).shape));
        for record in &report.records {
            match &record.what {
                What::Ended { end, .. } => count(end_name(end).to_owned()),
                What::Fault(fault) => {
                    let text = format!("{fault:?}");
                    let name = text.split(['(', ' ']).next().unwrap_or_default();
                    count(name.to_owned());
                }
                What::GivenUp { .. } => count("given up".to_owned()),
                What::Heard { .. } => count("event".to_owned()),
                What::Owed { .. } => count("event after repair".to_owned()),
                What::Gap { .. } => count("gap".to_owned()),
                What::Refused { .. } => count("refused".to_owned()),
                What::Stranger { .. } => count("stranger".to_owned()),
                What::Served { .. } => count("served".to_owned()),
                What::Taken { .. } => count("bridge books".to_owned()),
                _ => {}
            }
        }
    }
}

fn end_name(end: &End) -> &'static str {
    match end {
        End::Answered(_) => "answered",
        End::Failed(..) => "failed",
        End::NotSent(_) => "not sent",
        End::Unknown(_) => "unknown",
    }
}
