//! Calls that are given up.

use polywire_core::Count;

use super::call::{finish, refused};
use super::{Broken, Outcome, numbered, same, until};
use crate::bench::Bench;
use crate::finding::Verdict;

pub(crate) async fn a_call_that_is_given_up_is_nobodys(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let rig = bench.start().await?;
    let call = rig.ask("hold.given-up", numbered(0)).await?;
    rig.far.app.hear(1).await?;
    call.give_up();
    until("the call to be counted as given up", || rig.near.ledger.get(Count::CallsCancelled) == 1).await?;
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
