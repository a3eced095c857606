//! Signs of life while a call is worked on.

use std::time::Duration;

use polywire_core::{CallError, Code, Count, ProgressForm};

use super::call::{finish, refused};
use super::{Broken, Outcome, holds, numbered, others, same, until};
use crate::bench::Bench;
use crate::finding::Verdict;

pub(crate) async fn a_sign_of_progress_keeps_a_call_alive(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let rig = bench.start().await?;
    let timeout = Duration::from_secs(2);
    let call = rig.ask_within("work", numbered(1), timeout).await?;
    rig.far.app.hear(1).await?;
    rig.clock.advance(timeout * 3 / 4);
    let before = rig.near.ledger.get(Count::FramesReceived);
    rig.far.app.nudge();
    let dropped = || rig.far.ledger.get(Count::ProgressDropped) > 0;
    let came = || rig.near.ledger.get(Count::FramesReceived) > before;
    until("progress to arrive, or to be counted as dropped", || dropped() || came()).await?;
    if dropped() {
        holds!(bench.wire.progress != ProgressForm::Call, "progress is declared and was dropped");
        // The call is none the better for it, and ends at its deadline.
        rig.clock.advance(timeout / 4);
        match call.outcome().await? {
            Err(CallError::Unknown(failure)) => {
                same!(failure.code, Code::DeadlineExceeded, "it has another code");
            }
            other => return Err(Broken::new(format!("a call without a sign of life ends as {other:?}"))),
        }
        rig.far.app.release();
        rig.reconnect().await?;
        return finish(rig, Verdict::Refused).await;
    }
    holds!(bench.wire.progress != ProgressForm::None, "progress arrives on a wire that declares none");
    rig.clock.advance(timeout * 3 / 4);
    others().await;
    holds!(!call.is_over(), "the call has ended although it was being worked on");
    rig.far.app.release();
    let outcome = call.outcome().await?;
    let answer =
        outcome.map_err(|error| Broken::new(format!("a call that was worked on ends as {error}")))?;
    same!(answer.body, numbered(1), "it has another answer");
    finish(rig, Verdict::Held).await
}
