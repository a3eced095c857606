//! Bounded queues, and peers that do not read.

use polywire_core::{CallError, Close, Code, Count, Event, Failure, GAP, Hub, HubConfig, Limits, Request};

use super::call::{finish, refused};
use super::event;
use super::{Broken, Outcome, holds, large, numbered, same, until, within};
use crate::bench::{Bench, Plan, limits};
use crate::finding::Verdict;
use crate::joint::Way;
use crate::rig::{Rig, named};

/// What is sent to fill a queue, and how many of them are tried: many times what the system buffers.
const PIECE_BYTES: usize = 16 << 10;
const PIECES: usize = 4_096;

/// Nobody reads at the far side: sends events until one is refused, and says how many were taken and why that one was not.
async fn fill(bench: &Bench<'_>, rig: &Rig) -> Result<(usize, CallError), Broken> {
    rig.joint.stall(bench.way());
    let caller = rig.caller().await?;
    for taken in 0..PIECES {
        let event = Event::new(bench.event_route(), large(PIECE_BYTES));
        if let Err(error) = caller.try_notify(event) {
            return Ok((taken, error));
        }
        tokio::task::yield_now().await;
    }
    Err(Broken::new(format!("{PIECES} events of {PIECE_BYTES} bytes were taken, and nobody reads them")))
}

pub(crate) async fn a_full_queue_says_so(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() && !bench.tells() {
        return refused(bench).await;
    }
    let messages = Limits { max_queue_messages: 16, ..limits() };
    if !bench.tells() {
        let rig = bench.start_with(Plan { near: messages, ..Plan::default() }).await?;
        return calls_wait_in_turn(bench, rig).await;
    }
    named_when_full(bench, messages, "max_queue_messages = 16").await?;
    let bytes = Limits { max_queue_bytes: 16 * PIECE_BYTES, ..limits() };
    named_when_full(bench, bytes, "max_queue_bytes = 262144").await
}

/// Under these limits the queue is full one day, the event that finds it so is refused by this name, and those that were taken arrive.
async fn named_when_full(bench: &Bench<'_>, near: Limits, name: &str) -> Outcome {
    let rig = bench.start_with(Plan { near, ..Plan::default() }).await?;
    let (taken, error) = fill(bench, &rig).await?;
    match error {
        CallError::NotSent(failure) if failure.code == Code::ResourceExhausted => {
            holds!(failure.message.contains(name), "the limit is not named {name}: {failure}");
        }
        other => return Err(Broken::new(format!("an event that finds the queue full ends as {other:?}"))),
    }
    rig.joint.let_go();
    let heard = rig.far.app.hear(taken).await?;
    holds!(heard.iter().all(|heard| heard.body == large(PIECE_BYTES)), "an event that was taken has changed");
    if bench.calls() {
        rig.still_serves().await?;
    }
    same!(rig.far.app.times(&bench.event_route()), taken, "another number of events has arrived");
    finish(rig, Verdict::Held).await
}

/// Calls beyond the queue are refused by name, or wait until there is room: then an event that finds it full says so.
async fn calls_wait_in_turn(bench: &Bench<'_>, rig: Rig) -> Outcome {
    let mut asked = Vec::new();
    for number in 0..100 {
        asked.push((number, rig.ask(&format!("hold.{number}"), numbered(number)).await?));
    }
    rig.far.app.hear(1).await?;
    let names_it = |failure: &Failure| {
        let why = &failure.message;
        failure.code == Code::ResourceExhausted && why.contains("max_queue_messages = 16")
    };
    let event = rig.caller().await?.try_notify(Event::new(bench.event_route(), numbered(0)));
    let mut named = usize::from(matches!(event, Err(CallError::NotSent(failure)) if names_it(&failure)));
    rig.far.app.release();
    for (number, call) in asked {
        match call.outcome().await? {
            Ok(answer) => same!(answer.body, numbered(number), "a call has another answer"),
            Err(CallError::NotSent(failure)) if failure.code == Code::ResourceExhausted => {
                holds!(names_it(&failure), "the limit is not named: {failure}");
                named += 1;
            }
            Err(error) => {
                return Err(Broken::new(format!("a call that finds the queue full ends as {error}")));
            }
        }
    }
    holds!(named > 0, "a queue of 16 messages has taken 100 calls");
    finish(rig, Verdict::Held).await
}

pub(crate) async fn a_peer_that_does_not_read_is_left(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() && !bench.tells() {
        return refused(bench).await;
    }
    let near = Limits { max_queue_messages: 16, ..limits() };
    let rig = bench.start_with(Plan { near, ..Plan::default() }).await?;
    let mut call = None;
    if bench.tells() {
        fill(bench, &rig).await?;
    } else {
        rig.joint.stall(bench.way());
        let sent = rig.near.ledger.get(Count::FramesSent);
        call = Some(rig.ask("echo.large", large(limits().max_frame_bytes / 2)).await?);
        until("the call to be written", || rig.near.ledger.get(Count::FramesSent) > sent).await?;
    }
    let left = || rig.near.guests.went(|why| matches!(why, Close::SlowConsumer(_)));
    let before = polywire_core::Clock::now(&rig.clock);
    rig.clock.advance(rig.near.limits.write_timeout / 2);
    super::others().await;
    holds!(!left(), "the peer was left before write_timeout");
    rig.passing(rig.near.limits.write_timeout / 5, "the peer to be left", until("it", left)).await??;
    let took = polywire_core::Clock::now(&rig.clock) - before;
    holds!(took <= rig.near.limits.write_timeout * 3, "the peer was left after {took:?} only");
    if let Some(call) = call {
        let outcome = call.outcome().await?;
        holds!(matches!(outcome, Err(CallError::Unknown(_))), "a call on its way ends as {outcome:?}");
    }
    rig.joint.let_go();
    rig.reconnect().await?;
    finish(rig, Verdict::Held).await
}

pub(crate) async fn a_slow_member_is_told_what_it_missed(bench: &Bench<'_>) -> Outcome {
    if !bench.wire.push {
        return event::refused(bench).await;
    }
    let near = Limits { max_queue_messages: 4, ..limits() };
    let rig = bench.start_with(Plan { near, ..Plan::default() }).await?;
    let config = HubConfig { max_subscriber_messages: 4, ..HubConfig::default() };
    let hub = Hub::new(config).map_err(|error| Broken::new(format!("no hub: {error}")))?;
    let peer = rig.near.guests.one().await?;
    hub.join("all", &peer).map_err(|error| Broken::new(format!("the peer cannot be a member: {error}")))?;
    rig.joint.stall(Way::ToClient);
    let route = bench.event_route();
    let mut published = 0;
    while hub.total().dropped < 3 {
        holds!(published < PIECES, "{published} events wait for a member that reads none");
        hub.publish("all", &Event::new(route.clone(), large(PIECE_BYTES)));
        published += 1;
        tokio::task::yield_now().await;
    }
    rig.joint.let_go();
    until("the member to have caught up", || hub.total().waiting == 0).await?;
    hub.publish("all", &Event::new(route.clone(), numbered(1)));
    let last = |log: &crate::app::Log| log.heard.last().is_some_and(|heard| heard.body == numbered(1));
    rig.far.app.until("the event after the gap", last).await?;
    let missed = usize::try_from(hub.total().dropped).unwrap_or(usize::MAX);
    same!(rig.far.app.times(&route), published + 1 - missed, "another number of events has arrived");
    holds!(rig.far.app.times(&GAP) >= 1, "nobody has told the member that it missed {missed} events");
    finish(rig, Verdict::Held).await
}

/// Where the wire itself has no more calls at once than the bound, the bound is not what holds them back.
pub(crate) async fn calls_owed_are_bounded(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    const MOST: usize = 4;
    let near = Limits { max_pending: MOST, ..limits() };
    let rig = bench.start_with(Plan { near, ..Plan::default() }).await?;
    let mut asked = Vec::new();
    for number in 0..20 {
        asked.push((number, rig.ask(&format!("hold.{number}"), numbered(number)).await?));
    }
    let at_once = bench.at_once(MOST);
    rig.far.app.hear(at_once).await?;
    super::others().await;
    let peak = rig.far.app.peak();
    holds!(peak <= MOST, "{peak} calls are owed an answer, and max_pending is {MOST}");
    // One that has no time to wait for its turn is told what it has waited for.
    let timeout = std::time::Duration::from_secs(1);
    let hasty = rig.ask_within("hold.hasty", numbered(0), timeout).await?;
    super::others().await;
    rig.clock.advance(timeout);
    match hasty.outcome().await? {
        Err(CallError::NotSent(failure)) => {
            let named = at_once < MOST || failure.message.contains("max_pending = 4");
            holds!(named, "a call that waited in vain is not told of the limit, but: {failure}");
        }
        other => {
            return Err(Broken::new(format!("a call that waited in vain for its turn ends as {other:?}")));
        }
    }
    rig.far.app.release();
    for (number, call) in asked {
        let outcome = call.outcome().await?;
        let answer = outcome.map_err(|error| Broken::new(format!("a call that waited ends as {error}")))?;
        same!(answer.body, numbered(number), "a call has another answer");
    }
    finish(rig, if bench.has_more_than(MOST) { Verdict::Held } else { Verdict::Refused }).await
}

pub(crate) async fn a_call_that_waits_for_room_keeps_its_deadline(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let near = Limits { max_queue_messages: 4, max_pending: 1, ..limits() };
    let rig = bench.start_with(Plan { near, ..Plan::default() }).await?;
    let timeout = std::time::Duration::from_secs(2);
    // One is in flight, some wait in the queue, the others for room in it.
    let first = rig.ask("hold.0", numbered(0)).await?;
    rig.far.app.hear(1).await?;
    let caller = rig.caller().await?;
    let mut waiting = Vec::new();
    for number in 1..20 {
        let request = Request::new(named(&format!("hold.{number}"))?, numbered(number)).timeout(timeout);
        let caller = caller.clone();
        waiting.push(tokio::spawn(async move { caller.call(request).await }));
    }
    super::others().await;
    rig.clock.advance(timeout);
    for call in waiting {
        let outcome = within("the outcome of a call that waits", call).await?;
        match outcome.map_err(|error| Broken::new(error.to_string()))? {
            Err(CallError::NotSent(failure))
                if matches!(failure.code, Code::DeadlineExceeded | Code::ResourceExhausted) => {}
            other => {
                return Err(Broken::new(format!("a call that waited until its deadline ends as {other:?}")));
            }
        }
    }
    rig.far.app.release();
    let outcome = first.outcome().await?;
    holds!(outcome.is_ok(), "the call in flight ends as {outcome:?}");
    same!(rig.far.app.heard().len(), 1, "a call that ended as not sent has reached a handler");
    finish(rig, Verdict::Held).await
}
