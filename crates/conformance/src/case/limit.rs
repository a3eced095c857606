//! Limits, each refused by its name.

use std::time::Duration;

use polywire_core::{CallError, Clock, Close, Count, JsonLimits, Limits, Request, Route};

use super::call::{finish, refused};
use super::nuisance::unusable;
use super::{Broken, Outcome, holds, json, large, numbered, others, same, until, within};
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

/// The bounds on JSON, and for each a body that goes beyond it alone.
fn beyond() -> [(&'static str, String); 3] {
    let keys: String = (0..30).map(|key| format!("\"k{key}\":0,")).collect();
    [
        ("max_json_depth", format!("{{\"d\":{}{}}}", "[".repeat(30), "]".repeat(30))),
        ("max_json_keys", format!("{{{keys}\"z\":0}}")),
        ("max_json_number_bytes", format!("{{\"n\":1{}}}", "0".repeat(60))),
    ]
}

pub(crate) async fn json_beyond_the_bounds_reaches_no_handler(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    for (name, body) in beyond() {
        let found = json_beyond(bench, name, body).await;
        found.map_err(|broken| Broken::new(format!("{name}: {broken}")))?;
    }
    Ok(Verdict::Held)
}

async fn json_beyond(bench: &Bench<'_>, name: &str, body: String) -> Result<(), Broken> {
    let mut far = limits();
    far.json = JsonLimits { max_json_depth: 20, max_json_keys: 20, max_json_number_bytes: 40 };
    let rig = bench.start_with(Plan { far, ..Plan::default() }).await?;
    let before = unusable(&rig);
    let call = rig.ask("echo.beyond", json(body)?).await?;
    until("the call to end, or the message to be counted", || call.is_over() || unusable(&rig) > before)
        .await?;
    others().await;
    if !call.is_over() {
        // What cannot be read has no id either, so there is nothing that an answer could be given to.
        rig.still_serves().await?;
        rig.clock.advance(rig.near.limits.call_timeout);
    }
    match call.outcome().await? {
        Err(CallError::Failure(failure) | CallError::NotSent(failure)) => {
            holds!(failure.message.contains(name), "the limit is not named: {failure}");
            rig.still_serves().await?;
        }
        Err(CallError::Unknown(_)) => rig.reconnect().await?,
        Ok(_) => return Err(Broken::new("a call with JSON beyond the bounds is answered")),
    }
    same!(rig.far.app.times("echo.beyond"), 0, "JSON beyond the bounds has reached a handler");
    rig.end().await
}

pub(crate) async fn a_name_may_be_as_long_as_declared_and_no_longer(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let rig = bench.start().await?;
    let longest = bench.wire.max_route_bytes;
    let name = |bytes: usize| format!("echo.{}", "n".repeat(bytes.saturating_sub(5)));
    let outcome = rig.call(&name(longest), numbered(1)).await?;
    holds!(outcome.is_ok(), "a call with a name of {longest} bytes, which is declared, ends as {outcome:?}");
    same!(
        rig.far.app.times(&name(longest)),
        1,
        "a name of {longest} bytes has arrived another number of times"
    );
    let said = match Route::new(name(longest + 1)) {
        Err(error) => error.to_string(),
        Ok(route) => match within("the outcome", rig.caller().await?.call(Request::new(route, numbered(1))))
            .await?
        {
            Err(CallError::NotSent(failure)) => failure.message.into_owned(),
            other => return Err(Broken::new(format!("a call with a longer name ends as {}", told(&other)))),
        },
    };
    holds!(said.contains(&longest.to_string()), "a longer name is refused without its bound: {said}");
    rig.still_serves().await?;
    same!(rig.far.app.heard().len(), 2, "a name that was refused has arrived");
    finish(rig, Verdict::Held).await
}

pub(crate) async fn a_message_that_is_begun_has_its_time(bench: &Bench<'_>) -> Outcome {
    // Over before the next heartbeat, which would come behind the message and end it.
    let far = Limits { frame_timeout: Duration::from_secs(2), ..limits() };
    let rig = bench.start_with(Plan { far, ..Plan::default() }).await?;
    rig.exchange(numbered(1)).await?;
    let before = rig.joint.opening(bench.way()).len();
    rig.exchange(large(300)).await?;
    let said = rig.joint.opening(bench.way()).split_off(before);
    if said.is_empty() {
        // A wire without bytes: its messages come whole.
        return finish(rig, Verdict::Refused).await;
    }
    let timeout = rig.far.limits.frame_timeout;
    // It may be several messages: all but the last byte of them ends amid one.
    rig.joint.inject(bench.way(), said.get(..said.len() - 1).unwrap_or_default());
    let began = rig.clock.now();
    let late = || rig.clock.now() - began > timeout * 3;
    let gone = until("it", || rig.far.guests.is_empty() || late());
    rig.passing(timeout / 5, "a message without its end to be noticed", gone).await??;
    let named = |why: &Close| matches!(why, Close::SlowFrame(_)) && why.to_string().contains("frame_timeout");
    holds!(
        rig.far.guests.went(named),
        "a message without its end was not ended by name of frame_timeout = {timeout:?}: {}",
        rig.far.guests.ends()
    );
    rig.reconnect().await?;
    finish(rig, Verdict::Held).await
}

/// What nobody says to log in: more than `max_login_bytes` of it.
const LETTERS: usize = 64 << 10;

pub(crate) async fn a_stranger_says_no_more_than_a_login_takes(bench: &Bench<'_>) -> Outcome {
    let far = Limits { max_login_bytes: 1 << 10, ..limits() };
    let rig = bench.start_with(Plan { far, ..Plan::default() }).await?;
    if !bench.wire.login {
        // Nobody is a stranger there, and a message may be as long as ever.
        rig.still_serves().await?;
        return finish(rig, Verdict::Refused).await;
    }
    let stranger = rig.joint.stranger().await;
    let mut stranger = stranger.map_err(|error| Broken::new(format!("nobody can connect: {error}")))?;
    // As far as it is taken.
    let _ = within("the server to read", stranger.send(&[b'a'; LETTERS])).await?;
    let began = rig.clock.now();
    let step = rig.far.limits.login_timeout / 10;
    rig.passing(step, "the stranger to be sent away", stranger.ended()).await?;
    let (took, timeout) = (rig.clock.now() - began, rig.far.limits.login_timeout);
    holds!(took < timeout, "{LETTERS} bytes of no login are kept until login_timeout, after {took:?}");
    rig.still_serves().await?;
    holds!(rig.far.guests.came() == 1, "the server tells of a stranger who has not logged in");
    finish(rig, Verdict::Held).await
}

/// Where the wire itself has no more calls at once than the bound, the bound is not what holds them back.
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
    let at_once = bench.at_once(MOST);
    rig.far.app.hear(at_once).await?;
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
    finish(rig, if bench.has_more_than(MOST) { Verdict::Held } else { Verdict::Refused }).await
}
