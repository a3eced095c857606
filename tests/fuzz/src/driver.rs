//! Runs a target on mutated inputs, on a stable toolchain.
//!
//! A worker thread executes; this thread watches it, so that an input that never ends is found too. What counts as a
//! finding: a panic, an execution that takes longer than it may, one that is not over after [`STUCK`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use polywire_size::Progress;

use crate::mutate::{Chance, mutate};
use crate::{Target, trace};

/// After this long an execution is given up as endless.
pub const STUCK: Duration = Duration::from_secs(60);
/// Characters of a panic that are told; it may hold all that was compared.
const MOST_WORDS: usize = 1_000;
/// Most inputs kept to mutate further.
const CORPUS: usize = 20_000;

/// How long to go on.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// So many executions.
    Executions(u64),
    /// So long.
    Elapsed(Duration),
}

/// What a run is to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Which inputs: one seed makes one sequence.
    pub seed: u64,
    /// When it is enough.
    pub until: Until,
    /// Longest one execution may take. Inputs are at most 1 MiB long.
    pub limit: Duration,
}

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Inputs executed.
    pub executions: u64,
    /// Inputs that did something new.
    pub corpus: usize,
    /// The longest execution.
    pub slowest: Duration,
    /// How long it all took.
    pub took: Duration,
}

/// An input that shows a fault.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What is wrong.
    pub what: String,
    /// The input.
    pub input: Vec<u8>,
    /// Executions before it.
    pub after: u64,
}

/// Executes `target` once; says how long it took.
///
/// # Errors
/// What is wrong: the words of a panic, or that it took longer than `limit`.
pub fn execute(target: &Target, input: &[u8], limit: Duration) -> Result<Duration, String> {
    let started = Instant::now();
    match catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        Ok(()) => {
            let took = started.elapsed();
            if took <= limit { Ok(took) } else { slow(target, input, took, limit) }
        }
        Err(panic) => Err(message(&*panic)),
    }
}

/// The machine may have been busy with something else: only the shortest of three counts.
fn slow(target: &Target, input: &[u8], mut took: Duration, limit: Duration) -> Result<Duration, String> {
    for _ in 0..2 {
        let started = Instant::now();
        (target.run)(input);
        took = took.min(started.elapsed());
    }
    if took <= limit {
        return Ok(took);
    }
    Err(format!("{} bytes took {took:?}, the limit is {limit:?}", input.len()))
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
    text.chars().take(MOST_WORDS).collect()
}

/// Runs `target` until it is enough or something was found.
///
/// # Errors
/// The finding.
pub fn run(target: &Target, plan: Plan) -> Result<Report, Finding> {
    let (tell, told) = channel();
    let watched = Arc::new(Watched::default());
    let worker = Arc::clone(&watched);
    let target = *target;
    let _detached = thread::spawn(move || {
        // Nobody listens only when the run was given up.
        let _ = tell.send(work(&target, plan, &worker));
    });
    let mut progress = match plan.until {
        Until::Executions(count) => Progress::new(&format!("fuzz: executions of {}", target.name), count),
        Until::Elapsed(span) => Progress::new(&format!("fuzz: seconds of {}", target.name), span.as_secs()),
    };
    let began = Instant::now();
    let (mut seen, mut since) = (0, began);
    loop {
        match told.recv_timeout(Duration::from_millis(200)) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(watched.finding("the worker is gone".to_owned()));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let executions = watched.executions.load(Ordering::Relaxed);
        progress.done(match plan.until {
            Until::Executions(_) => executions,
            Until::Elapsed(_) => began.elapsed().as_secs(),
        });
        if executions != seen {
            (seen, since) = (executions, Instant::now());
        } else if since.elapsed() > STUCK {
            return Err(watched.finding(format!("not over after {STUCK:?}")));
        }
    }
}

/// What the watching thread sees of the worker.
#[derive(Debug, Default)]
struct Watched {
    executions: AtomicU64,
    input: Mutex<Vec<u8>>,
}

impl Watched {
    fn finding(&self, what: String) -> Finding {
        let input = self.input.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Finding { what, input, after: self.executions.load(Ordering::Relaxed) }
    }

    fn begin(&self, input: &[u8]) {
        let mut slot = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        slot.clear();
        slot.extend_from_slice(input);
    }
}

fn work(target: &Target, plan: Plan, watched: &Watched) -> Result<Report, Finding> {
    let started = Instant::now();
    let mut chance = Chance::new(plan.seed);
    let mut corpus = (target.seeds)();
    corpus.push(Vec::new());
    let seeds = corpus.len();
    let mut slowest = Duration::ZERO;
    let mut input = Vec::new();
    for executions in 0.. {
        let over = match plan.until {
            Until::Executions(most) => executions >= most,
            Until::Elapsed(span) => started.elapsed() >= span,
        };
        if over {
            let corpus = corpus.len() - seeds;
            return Ok(Report { executions, corpus, slowest, took: started.elapsed() });
        }
        input.clear();
        let index = usize::try_from(executions).unwrap_or(usize::MAX);
        if let Some(seed) = corpus.get(index).filter(|_| index < seeds) {
            input.extend_from_slice(seed);
        } else {
            // Half of the time what was found last, which has been mutated least.
            let newest = corpus.len() / 8 + 1;
            let pick = if chance.below(2) == 0 {
                corpus.len() - 1 - chance.below(newest)
            } else {
                chance.below(corpus.len())
            };
            input.extend_from_slice(&corpus[pick]);
            let other = chance.below(corpus.len());
            mutate(&mut input, &corpus[other], target.words, &mut chance);
        }
        watched.begin(&input);
        match execute(target, &input, plan.limit) {
            Ok(took) => slowest = slowest.max(took),
            Err(what) => return Err(Finding { what, input, after: executions }),
        }
        watched.executions.fetch_add(1, Ordering::Relaxed);
        if trace::take_fresh() && corpus.len() < seeds + CORPUS && input.len() <= 64 << 10 {
            corpus.push(input.clone());
        }
    }
    unreachable!("there is no end to the numbers")
}

/// A shorter input that still shows a fault, by leaving out ever smaller pieces.
pub fn minimize(target: &Target, input: &[u8], limit: Duration) -> Vec<u8> {
    let mut best = input.to_vec();
    let mut piece = best.len().next_power_of_two();
    while piece > 0 {
        let mut at = 0;
        while at < best.len() {
            let mut shorter = best.clone();
            shorter.drain(at..(at + piece).min(best.len()));
            if execute(target, &shorter, limit).is_err() {
                best = shorter;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn plan(seed: u64, executions: u64) -> Plan {
        Plan { seed, until: Until::Executions(executions), limit: LIMIT }
    }

    fn target(run: fn(&[u8])) -> Target {
        Target { name: "test", run, seeds: || vec![b"seed".to_vec()], words: &[b"needle"] }
    }

    #[test]
    fn a_fault_is_found_and_made_short() {
        let target = target(|input| {
            let text = String::from_utf8_lossy(input);
            assert!(!text.contains("needle"), "found it");
        });
        let finding = run(&target, plan(1, 100_000)).unwrap_err();
        assert_eq!(finding.what, "found it");
        assert_eq!(minimize(&target, &finding.input, LIMIT), b"needle");
        let again = run(&target, plan(1, 100_000)).unwrap_err();
        assert_eq!((again.input, again.after), (finding.input, finding.after), "one seed, one run");
    }

    #[test]
    fn marks_lead_where_chance_does_not() {
        let target = target(|input| {
            let right = input.iter().zip(b"deep and far in").take_while(|(got, want)| got == want).count();
            trace::mark(right);
            assert!(right < 10, "ten right");
        });
        run(&target, plan(3, 5_000_000)).unwrap_err();
    }

    #[test]
    fn a_run_without_findings_reports_what_it_did() {
        let report = run(&target(|_| {}), plan(1, 1_000)).unwrap();
        assert_eq!((report.executions, report.corpus), (1_000, 0));
    }
}
