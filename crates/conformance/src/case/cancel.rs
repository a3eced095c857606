//! Calls that are given up.

use polywire_core::{Count, Limits};

use super::call::{finish, refused};
use super::{Broken, Outcome, holds, numbered, others, same, until};
use crate::bench::{Bench, Plan, limits};
use crate::finding::Verdict;
use crate::rig::Rig;

/// Both ends, after a call that was given up while its handler waits.
async fn after_one(bench: &Bench<'_>) -> Result<Rig, Broken> {
    let rig = bench.start().await?;
    let call = rig.ask("hold.given-up", numbered(0)).await?;
    rig.far.app.hear(1).await?;
    call.give_up();
    until("the call to be counted as given up", || rig.near.ledger.get(Count::CallsCancelled) == 1).await?;
    Ok(rig)
}

pub(crate) async fn a_call_that_is_given_up_is_nobodys(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let rig = after_one(bench).await?;
    rig.far.app.release();
    rig.reconnect().await?;
    for number in 1..=5 {
        let outcome = rig.call("hold.given-up", numbered(number)).await?;
        let answer =
            outcome.map_err(|error| Broken::new(format!("the next call of that name ends as {error}")))?;
        same!(answer.body, numbered(number), "the next call of that name has another answer");
    }
    finish(rig, Verdict::Held).await
}

pub(crate) async fn a_call_that_is_given_up_ends_its_handler(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let rig = after_one(bench).await?;
    let abandoned = || rig.far.ledger.get(Count::RequestsAbandoned);
    if bench.wire.cancel {
        until("its handler to end", || abandoned() == 1).await?;
        rig.still_serves().await?;
        same!(rig.far.ledger.get(Count::Closed), 0, "a call that was given up has cost its connection");
        return finish(rig, Verdict::Held).await;
    }
    others().await;
    rig.far.app.release();
    until("its handler to end", || abandoned() + rig.far.ledger.get(Count::RequestsAnswered) == 1).await?;
    rig.reconnect().await?;
    rig.still_serves().await?;
    holds!(
        abandoned() == 0 || rig.far.ledger.get(Count::Connections) > 1,
        "a call that was given up has ended its handler on a wire that declares no cancel"
    );
    finish(rig, Verdict::Refused).await
}

pub(crate) async fn a_call_given_up_in_the_queue_never_leaves(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let near = Limits { max_pending: 1, ..limits() };
    let rig = bench.start_with(Plan { near, ..Plan::default() }).await?;
    let first = rig.ask("hold.first", numbered(0)).await?;
    rig.far.app.hear(1).await?;
    for number in 0..10 {
        rig.ask(&format!("echo.given-up.{number}"), numbered(number)).await?.give_up();
    }
    others().await;
    rig.far.app.release();
    let outcome = first.outcome().await?;
    holds!(outcome.is_ok(), "the call in flight ends as {outcome:?}");
    rig.still_serves().await?;
    same!(rig.far.app.heard().len(), 2, "a call that was given up before it left has reached a handler");
    finish(rig, Verdict::Held).await
}
