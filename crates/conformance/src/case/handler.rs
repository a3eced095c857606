//! Handlers that fail in every way a handler can.

use std::time::Duration;

use polywire_core::{CallError, Code};

use super::call::{finish, refused};
use super::{Broken, Outcome, holds, numbered, others, same};
use crate::bench::{Bench, Plan, limits};
use crate::finding::Verdict;

pub(crate) async fn a_panic_costs_one_message(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let rig = bench.start().await?;
    for route in ["panic.1", "stumble.1"] {
        match rig.call(route, numbered(1)).await? {
            Err(CallError::Failure(failure)) => {
                same!(failure.code, (bench.particulars.code)(Code::Internal), "{route} has another code");
                holds!(
                    !failure.message.contains("on purpose"),
                    "the words of a panic are told to the caller"
                );
            }
            other => return Err(Broken::new(format!("a call whose handler panics ends as {other:?}"))),
        }
        rig.still_serves().await?;
    }
    same!(rig.near.guests.came() + rig.far.guests.came(), 2, "a panic has cost the connection");
    finish(rig, Verdict::Held).await
}

pub(crate) async fn a_handler_that_never_returns_is_ended(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let timeout = Duration::from_secs(2);
    let far = polywire_core::Limits { handler_timeout: timeout, ..limits() };
    let rig = bench.start_with(Plan { far, ..Plan::default() }).await?;
    let call = rig.ask("hang", numbered(1)).await?;
    rig.far.app.hear(1).await?;
    rig.clock.advance(timeout);
    match call.outcome().await? {
        Err(CallError::Failure(failure)) => {
            same!(failure.code, (bench.particulars.code)(Code::DeadlineExceeded), "it has another code");
        }
        other => return Err(Broken::new(format!("a call whose handler never returns ends as {other:?}"))),
    }
    rig.far.app.until("the handler to be dropped", |log| log.running == 0).await?;
    rig.still_serves().await?;
    finish(rig, Verdict::Held).await
}

pub(crate) async fn a_name_that_nobody_serves_is_told(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let rig = bench.start().await?;
    let timeout = Duration::from_secs(2);
    let call = rig.ask_within("unserved", numbered(1), timeout).await?;
    rig.far.app.hear(1).await?;
    if bench.particulars.silent_unserved {
        // The wire declares that it says nothing; the caller learns it at the deadline.
        rig.still_serves().await?;
        others().await;
        holds!(!call.is_over(), "a request that the wire leaves without an answer was answered");
        rig.clock.advance(timeout);
        match call.outcome().await? {
            Err(CallError::Unknown(failure)) => {
                same!(failure.code, Code::DeadlineExceeded, "it has another code");
            }
            other => return Err(Broken::new(format!("a request without an answer ends as {other:?}"))),
        }
        return finish(rig, Verdict::Refused).await;
    }
    match call.outcome().await? {
        Err(CallError::Failure(failure)) => {
            same!(failure.code, (bench.particulars.code)(Code::NotFound), "it has another code");
        }
        other => return Err(Broken::new(format!("a call of a name that nobody serves ends as {other:?}"))),
    }
    rig.still_serves().await?;
    finish(rig, Verdict::Held).await
}
