//! Calls and their outcomes.

use polywire_core::{CallError, Code, Count};

use super::{Broken, Outcome, holds, numbered, same};
use crate::app::NO;
use crate::bench::Bench;
use crate::finding::Verdict;
use crate::rig::Rig;

/// A wire on which this side may not call: the call is refused before anything is sent, and the wire is none the worse.
pub(super) async fn refused(bench: &Bench<'_>) -> Outcome {
    let rig = bench.start().await?;
    let outcome = rig.call("echo", numbered(1)).await?;
    match outcome {
        Err(CallError::NotSent(failure)) if failure.code == Code::Unimplemented => {}
        other => return Err(Broken::new(format!("a call that this wire cannot carry ends as {other:?}"))),
    }
    holds!(rig.far.app.heard().is_empty(), "a call that was refused has reached a handler");
    finish(rig, Verdict::Refused).await
}

/// Ends the rig, whose books must balance, with this verdict.
pub(super) async fn finish(rig: Rig, verdict: Verdict) -> Outcome {
    rig.end().await?;
    Ok(verdict)
}

pub(crate) async fn every_call_has_one_outcome(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let rig = bench.start().await?;
    let mut asked = Vec::new();
    for number in 0..100 {
        let route = match number % 4 {
            0 => format!("echo.{number}"),
            1 => format!("fail.{}.{number}", Code::ALL[number % Code::ALL.len()]),
            2 => format!("panic.{number}"),
            _ => format!("stumble.{number}"),
        };
        asked.push((number, rig.ask(&route, numbered(number)).await?));
    }
    for (number, call) in asked {
        let route = call.route.clone();
        let outcome = call.outcome().await?;
        match (number % 4, outcome) {
            (0, Ok(answer)) => same!(answer.body, numbered(number), "{route} has another answer"),
            (1, Err(CallError::Failure(failure))) => {
                let code = (bench.particulars.code)(Code::ALL[number % Code::ALL.len()]);
                same!((failure.code, &*failure.message), (code, NO), "{route} has another failure");
            }
            (2 | 3, Err(CallError::Failure(failure))) => {
                same!(failure.code, (bench.particulars.code)(Code::Internal), "{route} has another failure");
            }
            (_, other) => return Err(Broken::new(format!("{route} ends as {other:?}"))),
        }
        same!(rig.far.app.times(&route), 1, "{route} has run another number of times");
    }
    same!(rig.near.ledger.get(Count::Calls), 100, "another number of calls was counted");
    rig.still_serves().await?;
    finish(rig, Verdict::Held).await
}

pub(crate) async fn no_answer_reaches_another_call(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let rig = bench.start().await?;
    // Fewer where the wire answers in order: there the others wait in turn.
    let at_once = bench.wire.max_concurrent_calls.min(200) as usize;
    let mut asked = Vec::new();
    for number in 0..200 {
        let route = format!("hold.{number}");
        asked.push((number, rig.ask(&route, numbered(number)).await?));
    }
    rig.far.app.hear(at_once).await?;
    holds!(asked.iter().all(|(_, call)| !call.is_over()), "a call was answered before its handler");
    rig.far.app.release();
    for (number, call) in asked {
        let route = call.route.clone();
        let answer =
            call.outcome().await?.map_err(|error| Broken::new(format!("{route} ends as {error}")))?;
        same!(answer.body, numbered(number), "{route} has the answer of another call");
    }
    finish(rig, Verdict::Held).await
}
