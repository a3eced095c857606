//! The end in order: what is in flight is finished first.

use polywire_core::{CallError, Code, Limits};

use super::call::{finish, refused};
use super::{Broken, Outcome, holds, numbered, others, same, within};
use crate::bench::{Bench, Plan, limits};
use crate::finding::Verdict;

/// Calls in flight when the drain begins, where the wire can have so many.
const CALLS: usize = 1_000;

pub(crate) async fn a_drain_lets_calls_in_flight_end(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let wide = Limits { max_in_flight: 2 * CALLS, max_pending: 2 * CALLS, ..limits() };
    let mut rig = bench.start_with(Plan { near: wide.clone(), far: wide, ..Plan::default() }).await?;
    let at_once = CALLS.min(bench.wire.max_concurrent_calls as usize);
    let mut asked = Vec::new();
    for number in 0..at_once {
        asked.push((number, rig.ask(&format!("hold.{number}"), numbered(number)).await?));
    }
    rig.far.app.hear(at_once).await?;
    let drained = rig.drain_far();
    others().await;
    holds!(!drained.is_finished(), "the drain does not wait for calls in flight");
    if at_once > 1 {
        match rig.call("echo.late", numbered(0)).await? {
            Err(CallError::Failure(failure)) => {
                same!(
                    failure.code,
                    (bench.particulars.code)(Code::Unavailable),
                    "a call too late has another code"
                );
            }
            Err(CallError::NotSent(_)) => {}
            other => return Err(Broken::new(format!("a call that comes during a drain ends as {other:?}"))),
        }
    }
    holds!(asked.iter().all(|(_, call)| !call.is_over()), "a call has ended before its handler");
    rig.far.app.release();
    for (number, call) in asked {
        let outcome = call.outcome().await?;
        let answer = outcome
            .map_err(|error| Broken::new(format!("call {number} of those in flight ends as {error}")))?;
        same!(answer.body, numbered(number), "call {number} has another answer");
    }
    // No time has passed.
    within("the drain to end with the last call", drained)
        .await?
        .map_err(|error| Broken::new(error.to_string()))?;
    same!(rig.far.app.times("echo.late"), 0, "a call that came during the drain has run");
    finish(rig, Verdict::Held).await
}

pub(crate) async fn a_drain_ends_at_its_timeout(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    // The drain is to end before the calls do.
    let near = Limits { call_timeout: limits().drain_timeout * 2, ..limits() };
    let mut rig = bench.start_with(Plan { near, ..Plan::default() }).await?;
    let at_once = 20.min(bench.wire.max_concurrent_calls as usize);
    let mut asked = Vec::new();
    for number in 0..at_once {
        asked.push(rig.ask(&format!("hang.{number}"), numbered(number)).await?);
    }
    rig.far.app.hear(at_once).await?;
    let drained = rig.drain_far();
    others().await;
    holds!(!drained.is_finished(), "the drain does not wait for calls in flight");
    rig.clock.advance(rig.far.limits.drain_timeout);
    within("the drain to end at its timeout", drained)
        .await?
        .map_err(|error| Broken::new(error.to_string()))?;
    for call in asked {
        let route = call.route.clone();
        let outcome = call.outcome().await?;
        holds!(matches!(outcome, Err(CallError::Unknown(_))), "{route} ends as {outcome:?}");
    }
    rig.far.app.until("the handlers to be dropped", |log| log.running == 0).await?;
    finish(rig, Verdict::Held).await
}
