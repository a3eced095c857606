//! The end of a connection.

use polywire_core::{CallError, Code, Correlation, Event, Request};

use super::call::{finish, refused};
use super::{Broken, Outcome, holds, numbered, same, within};
use crate::bench::Bench;
use crate::finding::{Direction, Verdict};
use crate::rig::named;

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
    holds!(rig.far.app.heard().is_empty(), "a handler has heard of it");
    finish(rig, Verdict::Held).await
}
