//! Deadlines: kept to the moment, on a clock that the suite moves.

use std::time::Duration;

use polywire_core::{CallError, Code};

use super::call::{finish, refused};
use super::{Broken, Outcome, holds, numbered, others, same};
use crate::bench::{Bench, Plan};
use crate::finding::Verdict;

/// The time that calls get here.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The least that a clock can be moved by.
const INSTANT: Duration = Duration::from_nanos(1);

pub(crate) async fn a_call_ends_at_its_deadline(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let rig = bench.start().await?;
    let call = rig.ask_within("hang", numbered(1), TIMEOUT).await?;
    rig.far.app.hear(1).await?;
    rig.clock.advance(TIMEOUT - INSTANT);
    others().await;
    holds!(!call.is_over(), "the call has ended before its deadline");
    rig.clock.advance(INSTANT);
    match call.outcome().await? {
        Err(CallError::Unknown(failure)) => same!(failure.code, Code::DeadlineExceeded, "another code"),
        other => {
            return Err(Broken::new(format!("a call that was heard and not answered ends as {other:?}")));
        }
    }
    rig.reconnect().await?;
    finish(rig, Verdict::Held).await
}

pub(crate) async fn a_late_answer_reaches_nobody(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let rig = bench.start().await?;
    let call = rig.ask_within("hold.late", numbered(0), TIMEOUT).await?;
    rig.far.app.hear(1).await?;
    rig.clock.advance(TIMEOUT);
    let outcome = call.outcome().await?;
    holds!(matches!(outcome, Err(CallError::Unknown(_))), "a call beyond its deadline ends as {outcome:?}");
    // The late answer and the calls of the same name are on their way together.
    rig.far.app.release();
    rig.reconnect().await?;
    for number in 1..=5 {
        let outcome = rig.call("hold.late", numbered(number)).await?;
        let answer =
            outcome.map_err(|error| Broken::new(format!("the next call of that name ends as {error}")))?;
        same!(answer.body, numbered(number), "the next call of that name has another answer");
    }
    finish(rig, Verdict::Held).await
}

pub(crate) async fn a_call_that_never_left_says_so(bench: &Bench<'_>) -> Outcome {
    let rig = bench.dial(Plan { nowhere: true, ..Plan::default() }).await?;
    let call = rig.ask_within("echo", numbered(1), TIMEOUT).await?;
    others().await;
    holds!(!call.is_over(), "a call that waits for a connection has ended before its deadline");
    // In two steps, because a client without a connection looks at deadlines only every now and then.
    rig.clock.advance(TIMEOUT);
    others().await;
    rig.clock.advance(Duration::from_millis(100));
    match call.outcome().await? {
        Err(CallError::NotSent(failure)) => same!(failure.code, Code::DeadlineExceeded, "another code"),
        other => return Err(Broken::new(format!("a call that never left ends as {other:?}"))),
    }
    same!(rig.far.app.times("echo"), 0, "a call that ended as not sent has reached a handler");
    finish(rig, Verdict::Held).await
}
