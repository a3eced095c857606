//! Coming back after a lost connection.

use polywire_core::{CallError, Event, GAP, Kind};

use super::call::{finish, refused};
use super::{Broken, Outcome, holds, numbered, same, until};
use crate::app::Heard;
use crate::bench::Bench;
use crate::finding::Verdict;

/// Messages that wait for the next connection.
const MESSAGES: usize = 60;

/// The client is told of the gap when it is logged in again, before anything that waited is heard or anything new reaches it; what it
/// asked to be told, it is told at once.
pub(crate) async fn login_gap_and_what_waited_come_in_this_order(bench: &Bench<'_>) -> Outcome {
    let rig = bench.start().await?;
    let before = rig.far.guests.one().await?.identity();
    rig.joint.cut();
    until("both sides to notice", || rig.near.guests.is_empty() && rig.far.guests.is_empty()).await?;
    // Time stands still, so nothing is dialled yet.
    let mut asked = Vec::new();
    for number in 0..MESSAGES {
        if bench.tells() && number % 2 == 0 {
            let told = rig.tell(bench.event_route(), numbered(number)).await?;
            told.map_err(|error| Broken::new(format!("event {number} was not taken: {error}")))?;
        } else {
            let call = rig.ask(&format!("hold.{number}"), numbered(number)).await?;
            asked.push((number, call));
        }
    }
    holds!(rig.far.app.heard().is_empty(), "something was heard while there was no connection");
    let step = std::time::Duration::from_millis(100);
    rig.passing(step, "the first message that waited", rig.far.app.hear(1)).await??;
    let peer = rig.far.guests.one().await?;
    same!(peer.identity(), before, "it has come back as somebody else");
    if bench.wire.push {
        let [route, _] = crate::setup::EVENTS;
        let told = peer.notify(Event::new(crate::rig::named(route)?, numbered(1))).await;
        holds!(told.is_ok(), "an event for the client that came back was not taken: {told:?}");
        // Where events are requests, their answers are events too.
        let new = |heard: &Heard| *heard.route == *route && heard.body == numbered(1);
        rig.near.app.until("the event after the gap", |log| log.heard.iter().any(new)).await?;
        let heard = rig.near.app.heard();
        let first = heard.first().map(|heard| (heard.kind, heard.route.clone()));
        same!(first, Some((Kind::Event, GAP)), "the client hears something else first");
        let (gap, first) = (rig.near.app.turn(0), rig.far.app.turn(0));
        holds!(gap < first, "what waited is heard before the client is told of the gap");
    }
    rig.far.app.release();
    for (number, call) in asked {
        let outcome = call.outcome().await?;
        let answer =
            outcome.map_err(|error| Broken::new(format!("call {number} that waited ends as {error}")))?;
        same!(answer.body, numbered(number), "call {number} has another answer");
    }
    let heard = rig.far.app.hear(MESSAGES).await?;
    same!(heard.len(), MESSAGES, "another number of messages has come");
    for (number, heard) in heard.into_iter().enumerate() {
        same!(heard.body, numbered(number), "message {number} is another one ({:?})", heard.route);
    }
    same!(rig.joint.opened(), 2, "the client has dialled another number of times");
    // Where no events come none can be missed, and nobody is told of a gap.
    let verdict = if bench.wire.push { Verdict::Held } else { Verdict::Refused };
    holds!(bench.wire.push || rig.near.app.heard().is_empty(), "a gap is told where no events come");
    finish(rig, verdict).await
}

pub(crate) async fn a_call_runs_at_most_once(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let rig = bench.start().await?;
    let mut asked = Vec::new();
    for number in 0..40 {
        asked.push(rig.ask(&format!("echo.{number}"), numbered(number)).await?);
    }
    let held = rig.ask("hold.once", numbered(0)).await?;
    // Wherever the calls are just now: waiting, on their way, being answered.
    tokio::task::yield_now().await;
    rig.joint.cut();
    until("whoever calls to notice", || rig.near.guests.is_empty()).await?;
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
