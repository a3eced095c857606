//! Limits, each refused by its name.

use polywire_core::{CallError, Close, Count, Limits};

use super::call::{finish, refused};
use super::{Broken, Outcome, holds, json, large, numbered, others, same, until};
use crate::bench::{Bench, Plan, limits};
use crate::finding::Verdict;

const MAX: usize = 64 << 10;

pub(crate) async fn a_body_above_the_limit_is_refused_by_name(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let far = Limits { max_frame_bytes: MAX, ..limits() };
    let rig = bench.start_with(Plan { far, ..Plan::default() }).await?;
    // By its setting, or by the word in which the wire announces it.
    let names = |text: &str| {
        ["max_frame_bytes", "maxPayload"].iter().any(|name| text.contains(&format!("{name} = {MAX}")))
    };
    let call = rig.ask("echo.large", large(2 * MAX)).await?;
    match call.outcome().await? {
        // The connection goes on.
        Err(CallError::NotSent(failure) | CallError::Failure(failure)) if names(&failure.message) => {
            rig.still_serves().await?;
        }
        Err(CallError::Unknown(_)) => {
            let went = || rig.far.guests.went(|why| matches!(why, Close::Limit(text) if names(text)));
            until("the far side to close by name of the limit", went).await?;
            rig.reconnect().await?;
        }
        other => {
            return Err(Broken::new(format!("a call above the limit of the peer ends as {}", told(&other))));
        }
    }
    same!(rig.far.app.times("echo.large"), 0, "a call above the limit has reached a handler");
    finish(rig, Verdict::Held).await
}

fn told(outcome: &polywire_core::Outcome) -> String {
    match outcome {
        Ok(_) => "answered".to_owned(),
        Err(error) => error.to_string(),
    }
}

pub(crate) async fn json_beyond_the_bounds_reaches_no_handler(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let mut far = limits();
    far.json.max_json_depth = 20;
    let rig = bench.start_with(Plan { far, ..Plan::default() }).await?;
    let deep = json(format!("{{\"d\":{}{}}}", "[".repeat(30), "]".repeat(30)))?;
    let reasons = || {
        Count::ALL
            .iter()
            .filter(|count| count.is_reason())
            .map(|count| rig.far.ledger.get(*count))
            .sum::<u64>()
    };
    let before = reasons();
    let call = rig.ask("echo.deep", deep).await?;
    until("the call to end, or the message to be counted", || call.is_over() || reasons() > before).await?;
    others().await;
    if !call.is_over() {
        // What cannot be read has no id either, so there is nothing that an answer could be given to.
        rig.still_serves().await?;
        rig.clock.advance(rig.near.limits.call_timeout);
    }
    match call.outcome().await? {
        Err(CallError::Failure(_) | CallError::NotSent(_)) => rig.still_serves().await?,
        Err(CallError::Unknown(_)) => rig.reconnect().await?,
        Ok(_) => return Err(Broken::new("a call with JSON beyond the bounds is answered")),
    }
    same!(rig.far.app.times("echo.deep"), 0, "JSON beyond the bounds has reached a handler");
    finish(rig, Verdict::Held).await
}

pub(crate) async fn handlers_at_once_are_bounded(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    const MOST: usize = 4;
    let far = Limits { max_in_flight: MOST, ..limits() };
    let rig = bench.start_with(Plan { far, ..Plan::default() }).await?;
    let mut asked = Vec::new();
    for number in 0..50 {
        asked.push((number, rig.ask(&format!("hold.{number}"), numbered(number)).await?));
    }
    rig.far.app.hear(bench.wire.max_concurrent_calls.min(4) as usize).await?;
    let sent = || bench.wire.max_concurrent_calls < 50 || rig.near.ledger.get(Count::Calls) == 50;
    until("every call to have left", sent).await?;
    others().await;
    rig.far.app.release();
    let mut refused = 0;
    for (number, call) in asked {
        match call.outcome().await? {
            Ok(answer) => same!(answer.body, numbered(number), "a call has another answer"),
            Err(CallError::Failure(failure)) if failure.message.contains("max_in_flight") => refused += 1,
            Err(error) => return Err(Broken::new(format!("a call too many ends as {error}"))),
        }
    }
    let peak = rig.far.app.peak();
    holds!(peak <= MOST, "{peak} handlers have run at once, and max_in_flight is {MOST}");
    same!(rig.far.app.heard().len(), 50 - refused, "another number of calls has run");
    finish(rig, Verdict::Held).await
}
