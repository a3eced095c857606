//! Coming back after a lost connection.

use polywire_core::{CallError, GAP, Kind};

use super::call::finish;
use super::{Broken, Outcome, holds, numbered, same, until};
use crate::bench::Bench;
use crate::finding::Verdict;

/// Messages that wait for the next connection.
const MESSAGES: usize = 60;

pub(crate) async fn what_waited_leaves_in_order_after_the_login(bench: &Bench<'_>) -> Outcome {
    let rig = bench.start().await?;
    let before = rig.far.guests.one().await?.identity();
    rig.joint.cut();
    until("the client to notice", || rig.near.guests.is_empty()).await?;
    // Time stands still, so nothing is dialled yet.
    let mut asked = Vec::new();
    for number in 0..MESSAGES {
        if bench.tells() && number % 2 == 0 {
            let told = rig.tell(bench.event_route(), numbered(number)).await?;
            told.map_err(|error| Broken::new(format!("event {number} was not taken: {error}")))?;
        } else {
            let call = rig.ask(&format!("echo.{number}"), numbered(number)).await?;
            asked.push((number, call));
        }
    }
    holds!(rig.far.app.heard().is_empty(), "something was heard while there was no connection");
    rig.reconnect().await?;
    for (number, call) in asked {
        let outcome = call.outcome().await?;
        let answer =
            outcome.map_err(|error| Broken::new(format!("call {number} that waited ends as {error}")))?;
        same!(answer.body, numbered(number), "call {number} has another answer");
    }
    let heard = rig.far.app.hear(MESSAGES).await?;
    for (number, heard) in heard.into_iter().take(MESSAGES).enumerate() {
        same!(heard.body, numbered(number), "message {number} is another one ({:?})", heard.route);
    }
    same!(rig.joint.opened(), 2, "the client has dialled another number of times");
    same!(rig.far.guests.one().await?.identity(), before, "it has come back as somebody else");
    finish(rig, Verdict::Held).await
}

pub(crate) async fn a_gap_is_told_and_events_go_on(bench: &Bench<'_>) -> Outcome {
    if !bench.wire.push {
        // There is nothing that could be missed; coming back alone is shown elsewhere.
        let rig = bench.start().await?;
        rig.joint.cut();
        until("the client to notice", || rig.near.guests.is_empty()).await?;
        rig.reconnect().await?;
        return finish(rig, Verdict::Refused).await;
    }
    let rig = bench.start().await?;
    let [route, _] = crate::setup::EVENTS;
    rig.joint.cut();
    until("the client to notice", || rig.near.guests.is_empty()).await?;
    rig.reconnect().await?;
    let peer = rig.far.guests.one().await?;
    let event = polywire_core::Event::new(crate::rig::named(route)?, numbered(1));
    let told = peer.notify(event).await;
    holds!(told.is_ok(), "an event for the client that came back was not taken: {told:?}");
    let heard = rig.near.app.hear(2).await?;
    let [gap, event] = &heard[..] else { return Err(Broken::new(format!("the client has heard {heard:?}"))) };
    same!((gap.kind, &gap.route), (Kind::Event, &GAP), "the client hears something else first");
    same!((&*event.route, &event.body), (route, &numbered(1)), "the client hears another event");
    finish(rig, Verdict::Held).await
}

pub(crate) async fn a_call_runs_at_most_once(bench: &Bench<'_>) -> Outcome {
    let rig = bench.start().await?;
    let mut asked = Vec::new();
    for number in 0..40 {
        asked.push(rig.ask(&format!("echo.{number}"), numbered(number)).await?);
    }
    let held = rig.ask("hold.once", numbered(0)).await?;
    // Wherever the calls are just now: waiting, on their way, being answered.
    tokio::task::yield_now().await;
    rig.joint.cut();
    until("the client to notice", || rig.near.guests.is_empty()).await?;
    rig.far.app.release();
    rig.reconnect().await?;
    asked.push(held);
    for call in asked {
        let route = call.route.clone();
        let times = match call.outcome().await? {
            Ok(_) => 1..=1,
            Err(CallError::Unknown(_)) => 0..=1,
            Err(CallError::NotSent(_)) => 0..=0,
            Err(CallError::Failure(failure)) => {
                return Err(Broken::new(format!("{route} is answered with {failure}")));
            }
        };
        let ran = rig.far.app.times(&route);
        holds!(times.contains(&ran), "{route} has run {ran} times, and its outcome says {times:?}");
    }
    finish(rig, Verdict::Held).await
}
