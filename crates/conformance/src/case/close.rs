//! The end of a connection.

use polywire_core::{CallError, Code, Correlation, Count, Event, Limits, Request};

use super::call::{finish, refused};
use super::{Broken, Outcome, holds, large, numbered, same, until, within};
use crate::bench::{Bench, Plan, limits};
use crate::finding::{Direction, Verdict};
use crate::rig::{Asked, Rig, named};

pub(crate) async fn calls_in_flight_end_when_the_connection_dies(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let rig = bench.start().await?;
    let at_once = bench.wire.max_concurrent_calls.min(50) as usize;
    let mut asked = Vec::new();
    for number in 0..at_once {
        asked.push(rig.ask(&format!("hang.{number}"), numbered(number)).await?);
    }
    rig.far.app.hear(at_once).await?;
    rig.joint.cut();
    // No time passes.
    for call in asked {
        let route = call.route.clone();
        match call.outcome().await? {
            Err(CallError::Unknown(failure)) => {
                same!(failure.code, Code::Unavailable, "{route} has another code");
            }
            other => {
                return Err(Broken::new(format!(
                    "{route}, in flight when the connection died, ends as {other:?}"
                )));
            }
        }
    }
    if bench.wire.correlation == Correlation::Order {
        // Nothing is read while an answer is owed, so the end is noticed when one is written.
        rig.clock.advance(rig.far.limits.handler_timeout);
    }
    rig.far.app.until("the handlers to be dropped", |log| log.running == 0).await?;
    rig.reconnect().await?;
    finish(rig, Verdict::Held).await
}

pub(crate) async fn nothing_leaves_after_the_end(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() && !bench.tells() {
        return refused(bench).await;
    }
    let rig = bench.start().await?;
    let caller = rig.caller().await?;
    match bench.direction {
        Direction::Forward => rig.dialling().shutdown.drain(),
        Direction::Swapped => rig.near.guests.one().await?.close(),
    }
    within("the caller to know of the end", async {
        while !caller.has_ended() {
            tokio::task::yield_now().await;
        }
    })
    .await?;
    let call = Request::new(named("echo")?, numbered(1));
    match within("the outcome of a call after the end", caller.call(call)).await? {
        Err(CallError::NotSent(_)) => {}
        other => return Err(Broken::new(format!("a call after the end ends as {other:?}"))),
    }
    let event = Event::new(bench.event_route(), numbered(1));
    let told = within("the outcome of an event after the end", caller.notify(event)).await?;
    holds!(matches!(told, Err(CallError::NotSent(_))), "an event after the end ends as {told:?}");
    until("the other side to know of the end", || rig.far.guests.is_empty()).await?;
    holds!(rig.far.app.heard().is_empty(), "a handler has heard of it");
    finish(rig, Verdict::Held).await
}

/// The names of what comes too late.
const LATE: &str = "echo.late";

pub(crate) async fn nothing_is_heard_after_the_end(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() && !bench.tells() {
        return refused(bench).await;
    }
    on_its_way_when_this_side_ends(bench).await?;
    if bench.calls() {
        sent_while_this_side_ends(bench).await?;
    }
    Ok(Verdict::Held)
}

/// The network holds messages back; they go on once the other side has closed.
async fn on_its_way_when_this_side_ends(bench: &Bench<'_>) -> Result<(), Broken> {
    let rig = bench.start().await?;
    rig.joint.stall(bench.way());
    let asked = send(bench, &rig).await?;
    rig.far.guests.one().await?.close();
    // Where a close has an answer, that is waited for no longer than for a write.
    let step = limits().write_timeout / 5;
    rig.passing(step, "the connection to be closed", until("it", || rig.far.guests.is_empty())).await??;
    rig.joint.let_go();
    over(bench, rig, asked).await
}

/// The other side has closed and cannot go yet, because it has answers to write that nobody reads.
async fn sent_while_this_side_ends(bench: &Bench<'_>) -> Result<(), Broken> {
    let near = Limits { max_queue_bytes: 64 << 20, ..limits() };
    let rig = bench.start_with(Plan { near: near.clone(), far: near, ..Plan::default() }).await?;
    rig.joint.stall(bench.way_back());
    let written = || rig.far.ledger.get(Count::RequestsAnswered);
    let before = written();
    let at_once = bench.wire.max_concurrent_calls.min(4) as usize;
    let mut large_ones = Vec::new();
    for number in 0..at_once {
        let body = large((8 << 20) / at_once);
        large_ones.push(rig.ask(&format!("hold.large.{number}"), body).await?);
    }
    rig.far.app.until("the large calls", |log| log.running == at_once).await?;
    rig.far.app.release();
    until("the answers to be on their way", || written() == before + at_once as u64).await?;
    rig.far.guests.one().await?.close();
    let asked = if at_once > 1 { send(bench, &rig).await? } else { Vec::new() };
    rig.joint.let_go();
    until("the connection to be closed", || rig.far.guests.is_empty()).await?;
    for call in large_ones {
        let outcome = call.outcome().await?;
        let known = matches!(outcome, Ok(_) | Err(CallError::Unknown(_)));
        holds!(known, "a call whose answer was on its way ends as {:?}", outcome.err());
    }
    over(bench, rig, asked).await
}

/// Sends what this side can send, and waits until all of it has left.
async fn send(bench: &Bench<'_>, rig: &Rig) -> Result<Vec<Asked>, Broken> {
    let sent = || rig.near.ledger.get(Count::FramesSent);
    let (before, mut messages) = (sent(), 0);
    let mut asked = Vec::new();
    if bench.calls() {
        for number in 0..bench.wire.max_concurrent_calls.min(3) {
            asked.push(rig.ask(&format!("{LATE}.{number}"), numbered(0)).await?);
            messages += 1;
        }
    }
    if bench.tells() {
        let told = rig.tell(bench.event_route(), numbered(0)).await?;
        told.map_err(|error| Broken::new(format!("an event was not taken: {error}")))?;
        messages += 1;
    }
    until("what is too late to have left", || sent() >= before + messages).await?;
    Ok(asked)
}

/// Nobody has heard of what was sent, and nobody says that it was done.
async fn over(bench: &Bench<'_>, rig: Rig, asked: Vec<Asked>) -> Result<(), Broken> {
    for call in asked {
        let route = call.route.clone();
        let outcome = call.outcome().await?;
        holds!(matches!(outcome, Err(CallError::Unknown(_))), "{route}, sent too late, ends as {outcome:?}");
    }
    if bench.direction == Direction::Forward {
        let back = rig.reconnect().await;
        // Some wires dismiss a client by that, which then stays away.
        holds!(back.is_ok() || rig.caller().await?.has_ended(), "after an end of the other side: {back:?}");
    }
    let late = |route: &str| route.starts_with(LATE) || *route == *bench.event_route();
    let heard = rig.far.app.heard().into_iter().find(|heard| late(&heard.route));
    holds!(heard.is_none(), "a handler has heard {heard:?} after the end of its side");
    rig.end().await
}
