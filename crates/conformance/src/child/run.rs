//! A run: every case on a stage of its own.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::case::{self, Case, WhichSecret};
use super::control::Mode;
use super::drive::Drive;
use super::known::KnownFailing;
use super::mask::Mask;
use super::program::{Command, LaunchError};
use super::report::{CaseReport, Report, Verdict};
use super::stage::{self, Stage};
use super::step::Step;
use super::trace::trace;
use super::wire::{Found, Lack, Wire, our_secret};

/// Longest time for the steps of one case, whatever each allows.
const CASE: Duration = Duration::from_secs(60);

/// Finds the adapter for the URL of a hello, or says what is wrong with it. The URL is the program's: nothing of this machine,
/// such as variables or files that it names, may be read for it.
pub type Find<'a> = dyn Fn(&str) -> Result<Found, String> + Send + Sync + 'a;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program.
    pub command: Command,
    /// Which end it is.
    pub mode: Mode,
    /// What is known to fail.
    pub known_failing: KnownFailing,
    /// Keep what passed on the wire of cases that fail?
    pub trace: bool,
    /// Only these cases; all of them when there is none.
    pub only: Vec<String>,
}

/// Every case, in order.
///
/// # Errors
/// None: the file with the cases is part of this crate.
pub fn cases() -> Result<Vec<Case>, LaunchError> {
    Ok(case::all()?)
}

/// Runs every case of `plan` and tells each as it ends.
///
/// # Errors
/// [`LaunchError`] when there is no program to run them with; what it does later is a failed case.
///
/// # Cancel safety
/// Dropping the future kills the program of the case that runs.
pub async fn run(
    plan: &Plan,
    find: &Find<'_>,
    mut tell: impl FnMut(&CaseReport),
) -> Result<Report, LaunchError> {
    let wire = look(plan, find).await?;
    let mut report = Report::default();
    for case in cases()?.iter().filter(|case| plan.only.is_empty() || plan.only.contains(&case.id)) {
        let told = run_case(plan, case, wire.lacks(case), find).await;
        tell(&told);
        report.cases.push(told);
    }
    Ok(report)
}

/// Launches the program once, to learn what it has.
async fn look(plan: &Plan, find: &Find<'_>) -> Result<Wire, LaunchError> {
    let (program, wire) = stage::launch(&plan.command, plan.mode, &stage::draw_secret(), find).await?;
    program.end().await;
    Ok(wire)
}

async fn run_case(plan: &Plan, case: &Case, lacks: Option<Lack>, find: &Find<'_>) -> CaseReport {
    let began = Instant::now();
    let steps = match &lacks {
        None => &case.steps[..],
        Some(lack) => lack.need.and_then(|need| case.without.get(&need)).map_or(&[][..], |steps| steps),
    };
    let (shown, trace) = show(plan, case, steps, find).await;
    let known = plan.known_failing.has(plan.mode, &case.id);
    let (verdict, why) = match (shown, lacks) {
        (Err(why), _) if known => (Verdict::KnownFailure, Some(why)),
        (Err(why), _) => (Verdict::Failed, Some(why)),
        (Ok(()), Some(Lack { why, .. })) if steps.is_empty() => {
            (Verdict::NotShown, Some(format!("{why}; nothing was asked of it")))
        }
        (Ok(()), _) if known => (Verdict::UnexpectedPass, None),
        (Ok(()), Some(Lack { why, .. })) => {
            (Verdict::Refused, Some(format!("{why}; it was refused as it should be")))
        }
        (Ok(()), None) => (Verdict::Held, None),
    };
    CaseReport {
        id: case.id.clone(),
        says: case.says.clone(),
        mode: plan.mode,
        verdict,
        why,
        trace: trace.filter(|_| plan.trace && matches!(verdict, Verdict::Failed | Verdict::KnownFailure)),
        took: began.elapsed(),
    }
}

/// Launches a program, sets the stage and takes the steps; what passed on the wire is there however that went.
async fn show(
    plan: &Plan,
    case: &Case,
    steps: &[Step],
    find: &Find<'_>,
) -> (Result<(), String>, Option<String>) {
    if steps.is_empty() {
        return (Ok(()), None);
    }
    let secret = stage::draw_secret();
    let mask = Mask::new(&secret);
    let (program, wire) = match stage::launch(&plan.command, plan.mode, &secret, find).await {
        Ok(launched) => launched,
        Err(error) => return (Err(mask.plain(&error.to_string())), None),
    };
    let stage = Stage::set(&program, wire, plan.mode, &our_secret(&secret, case.secret)).await;
    let (held, trace) = match &stage {
        Err(why) => (Err(why.clone()), None),
        Ok(stage) => {
            let played = timeout(CASE, play(stage, case.secret, steps)).await;
            let held =
                played.unwrap_or_else(|_| Err(format!("the steps of the case were not over after {CASE:?}")));
            (held, Some(trace(&stage.relay, &mask)))
        }
    };
    let ending = program.end().await;
    let why = match held {
        Ok(()) if !ending.is_crash() => return (Ok(()), trace),
        Ok(()) => format!("its steps held; told to end, {}", ending.words()),
        Err(why) if ending.is_crash() => format!("{why}; {}", ending.words()),
        Err(why) => why,
    };
    // Whatever went wrong, wherever: nothing of it is told with the secret, and all of it with the program's last words.
    let mut why = mask.plain(&why);
    let printed = program.printed();
    if !printed.is_empty() {
        why.push_str(&format!("\nthe last it wrote to standard error:\n  {}", printed.join("\n  ")));
    }
    (Err(why), trace)
}

/// Joins the two ends where they have the same secret, and takes the steps.
async fn play(stage: &Stage<'_>, secret: WhichSecret, steps: &[Step]) -> Result<(), String> {
    if secret == WhichSecret::Same {
        stage.join().await?;
    }
    let mut drive = Drive::new(stage);
    for (place, step) in steps.iter().enumerate() {
        drive.take(step).await.map_err(|why| format!("step {}: {why}", place + 1))?;
    }
    if ends_itself(steps) {
        return Ok(());
    }
    stage.program.check_whole().map_err(|why| format!("after its steps: {why}"))
}

/// Is the end of the program a step?
fn ends_itself(steps: &[Step]) -> bool {
    steps.iter().any(|step| matches!(step, Step::End))
}
