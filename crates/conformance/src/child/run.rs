//! A run: every case on a stage of its own.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::case::{self, Case};
use super::control::Mode;
use super::drive::Drive;
use super::known::KnownFailing;
use super::program::{Command, LaunchError};
use super::report::{CaseReport, Report, Verdict};
use super::stage::{self, Stage};
use super::step::Step;
use super::wire::{Found, Wire};

/// Longest time for one case, whatever its steps allow.
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

async fn run_case(plan: &Plan, case: &Case, lacks: Option<String>, find: &Find<'_>) -> CaseReport {
    let began = Instant::now();
    let mut trace = None;
    let shown = timeout(CASE, show(plan, case, lacks.is_some(), find, &mut trace));
    let shown = shown.await.unwrap_or_else(|_| Err(format!("the case was not over after {CASE:?}")));
    let known = plan.known_failing.has(&case.id);
    let (verdict, why) = match (shown, lacks) {
        (Err(why), _) if known => (Verdict::KnownFailure, Some(why)),
        (Err(why), _) => (Verdict::Failed, Some(why)),
        (Ok(()), why) if known => (Verdict::UnexpectedPass, why),
        (Ok(()), Some(why)) => {
            let shown = if case.refused.is_empty() {
                "no refusal can be shown"
            } else {
                "it was refused as it should be"
            };
            (Verdict::Refused, Some(format!("{why}; {shown}")))
        }
        (Ok(()), None) => (Verdict::Held, None),
    };
    CaseReport {
        id: case.id.clone(),
        says: case.says.clone(),
        mode: plan.mode,
        verdict,
        why,
        trace: trace.filter(|_| matches!(verdict, Verdict::Failed | Verdict::KnownFailure)),
        took: began.elapsed(),
    }
}

/// Sets the stage, and takes the steps.
async fn show(
    plan: &Plan,
    case: &Case,
    refused: bool,
    find: &Find<'_>,
    trace: &mut Option<String>,
) -> Result<(), String> {
    let steps = if refused { &case.refused } else { &case.steps };
    if steps.is_empty() {
        return Ok(());
    }
    let stage = Stage::set(&plan.command, plan.mode, case.secret, find).await?;
    let mut drive = Drive::new(&stage);
    let mut held = Ok(());
    for (place, step) in steps.iter().enumerate() {
        held = drive.take(step).await.map_err(|why| format!("step {}: {why}", place + 1));
        if held.is_err() {
            break;
        }
    }
    if held.is_ok() && !ends_itself(steps) {
        held = stage.program.check_whole().map_err(|why| format!("after its steps: {why}"));
    }
    if plan.trace {
        *trace = Some(stage.relay.trace(&stage.mask));
    }
    let ending = stage.program.end().await;
    held.map_err(|why| {
        let mut why = stage.mask.plain(&why);
        if ending.is_crash() {
            why.push_str(&format!("; {}", ending.words()));
        }
        let printed = stage.program.printed();
        if !printed.is_empty() {
            why.push_str(&format!("\nthe last it wrote to standard error:\n  {}", printed.join("\n  ")));
        }
        why
    })
}

/// Is the end of the program a step?
fn ends_itself(steps: &[Step]) -> bool {
    steps.iter().any(|step| matches!(step, Step::End))
}
