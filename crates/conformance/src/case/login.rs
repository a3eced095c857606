//! The login, and what comes before it.

use std::time::{Duration, Instant};

use polywire_core::{CallError, Clock, Code, Count, Limits};

use super::call::finish;
use super::{Broken, Outcome, holds, numbered, others, same, until, within};
use crate::bench::{Bench, Plan, RIGHT, WRONG, limits};
use crate::door::Door;
use crate::finding::Verdict;
use crate::joint::Way;

pub(crate) async fn nothing_is_heard_before_the_login(bench: &Bench<'_>) -> Outcome {
    let plan = Plan { secret: WRONG, ..Plan::default() };
    if !bench.wire.login {
        // Whatever is shown, nobody looks at it: the wire lets in everybody, and says so.
        let rig = bench.start_with(plan).await?;
        rig.still_serves().await?;
        holds!(
            rig.far.guests.one().await?.identity().is_none(),
            "somebody is known on a wire without a login"
        );
        return finish(rig, Verdict::Refused).await;
    }
    let rig = bench.dial(plan).await?;
    let call = rig.ask("echo", numbered(1)).await?;
    same!(rig.over().await?.code, Code::Unauthenticated, "a refused login has another code");
    match call.outcome().await? {
        Err(CallError::NotSent(failure)) => {
            same!(failure.code, Code::Unauthenticated, "a call of a refused client has another code");
        }
        other => return Err(Broken::new(format!("a call of a refused client ends as {other:?}"))),
    }
    holds!(rig.far.app.heard().is_empty(), "a handler has heard of a client that was refused");
    holds!(rig.far.guests.is_empty(), "the server tells of a client that was refused");
    finish(rig, Verdict::Held).await
}

/// Messages that a client has before it is logged in.
const EARLY: usize = 4;

/// The client's own queue first: it is held up by the network and then by the judge. After that a client that does not wait: what one
/// has said from its first byte on is said again to a server that has not decided yet, and that refuses it in the end, and to one that
/// takes it. Where the login is no matter of the endpoint's judge, the one lets in another secret and the other this one.
pub(crate) async fn what_is_said_early_waits_for_the_verdict(bench: &Bench<'_>) -> Outcome {
    if !bench.wire.login {
        return nothing_is_heard_before_the_login(bench).await;
    }
    let door = Door::closed();
    let stalled = Some(Way::ToClient);
    let rig = bench.dial(Plan { door: Some(door.clone()), stalled, ..Plan::default() }).await?;
    let mut asked = Vec::new();
    for number in 0..EARLY {
        if bench.tells() && number % 2 == 0 {
            let told = rig.tell(bench.event_route(), numbered(number)).await?;
            told.map_err(|error| Broken::new(format!("event {number} was not taken: {error}")))?;
        } else {
            asked.push((number, rig.ask(&format!("echo.{number}"), numbered(number)).await?));
        }
    }
    until("the client to dial", || rig.joint.opened() > 0).await?;
    waits(&rig).await?;
    rig.joint.let_go();
    // A wire whose login is no matter of the endpoint's judge was held up by the network alone.
    until("the login to be judged", || door.asked() > 0 || rig.is_ready()).await?;
    let judged = door.asked() > 0;
    if judged {
        waits(&rig).await?;
        holds!(asked.iter().all(|(_, call)| !call.is_over()), "a call has ended before the login was judged");
    }
    door.open();
    for (number, call) in asked {
        let outcome = call.outcome().await?;
        let answer = outcome.map_err(|error| Broken::new(format!("a call that waited ends as {error}")))?;
        same!(answer.body, numbered(number), "call {number} has another answer");
    }
    for (number, heard) in rig.far.app.hear(EARLY).await?.into_iter().enumerate() {
        same!(heard.body, numbered(number), "message {number} is another one ({:?})", heard.route);
    }
    let said = rig.joint.opening(Way::ToServer);
    let frames = rig.far.ledger.get(Count::FramesReceived);
    rig.end().await?;
    if said.is_empty() {
        // On a wire without bytes nobody can say it again.
        return Ok(Verdict::Refused);
    }
    for taken in [false, true] {
        let again = Again { judged, frames, taken };
        said_again(bench, &said, again).await?;
    }
    Ok(Verdict::Held)
}

/// What is said again.
#[derive(Clone, Copy)]
struct Again {
    /// The login is a matter of the endpoint's judge.
    judged: bool,
    /// How many frames it was the first time.
    frames: u64,
    /// The login is taken.
    taken: bool,
}

/// While the login is held up nobody hears anything, nor of anybody.
async fn waits(rig: &crate::rig::Rig) -> Result<(), Broken> {
    others().await;
    let heard = rig.far.app.heard();
    holds!(heard.is_empty(), "a handler has heard {heard:?} before the login was judged");
    holds!(!rig.is_ready(), "the client is ready before its login was judged");
    holds!(rig.far.guests.is_empty(), "the server tells of a client before its login was judged");
    Ok(())
}

/// Says all of this at once to another server, whose judge takes their time and then takes or refuses the login.
async fn said_again(bench: &Bench<'_>, said: &[u8], again: Again) -> Result<(), Broken> {
    let Again { judged, frames, taken } = again;
    let door = Door::closed();
    let lets_in = if judged || taken { RIGHT } else { WRONG };
    // Another seed: with the same one the sessions of both servers would have the same ids.
    let plan = Plan { door: Some(door.clone()), lets_in, nowhere: true, seed: 8, ..Plan::default() };
    let rig = bench.dial(plan).await?;
    let stranger = rig.joint.stranger().await;
    let mut stranger = stranger.map_err(|error| Broken::new(format!("nobody can connect: {error}")))?;
    // As far as it is taken.
    let _ = within("the server to read", stranger.send(said)).await?;
    {
        let ended = stranger.ended();
        tokio::pin!(ended);
        let read = || rig.far.ledger.get(Count::FramesReceived) >= frames;
        let decided = async {
            tokio::select! {
                biased;
                asked = until("a verdict", || if judged { door.asked() > 0 } else { read() }) => asked,
                () = &mut ended => Ok(()),
            }
        };
        // Where the words of one connection mean nothing on another it is sent away in time.
        rig.passing(Duration::from_millis(100), "the stranger to be judged or sent away", decided).await??;
        if judged || !taken {
            waits(&rig).await?;
        }
        if taken {
            door.open();
        } else {
            door.refuse();
        }
        others().await;
    }
    if taken {
        // What is bound to its own connection, such as to the id of a session, is not heard; where the judge has taken the login that is
        // all of it or nothing.
        let (since, step) = (rig.clock.now(), Duration::from_millis(100));
        let all = || rig.far.app.heard().len() >= EARLY || rig.clock.now() - since >= step * 20;
        rig.passing(step, "what was said early to be heard", until("it", all)).await??;
        others().await;
        let heard: Vec<_> = rig.far.app.heard().into_iter().map(|heard| heard.body).collect();
        let whole: Vec<_> = (0..EARLY).map(numbered).collect();
        let mut rest = whole.iter();
        let in_order = heard.iter().all(|body| rest.any(|said| said == body));
        let right = if judged { heard.is_empty() || heard == whole } else { in_order };
        holds!(right, "of what was said early there is heard {heard:?}");
    }
    drop(stranger);
    let gone = || rig.far.ledger.get(Count::Connections) == rig.far.ledger.get(Count::Closed);
    rig.passing(Duration::from_millis(100), "the stranger to be gone", until("it", gone)).await??;
    let heard = rig.far.app.heard();
    holds!(taken || heard.is_empty(), "a handler has heard {heard:?} of somebody whose login was refused");
    rig.end().await
}

pub(crate) async fn a_refused_login_is_not_hammered(bench: &Bench<'_>) -> Outcome {
    let plan = Plan { secret: WRONG, ..Plan::default() };
    if !bench.wire.login {
        return nothing_is_heard_before_the_login(bench).await;
    }
    let most = plan.reconnect.max_refusals as usize;
    let rig = bench.dial(plan).await?;
    rig.over().await?;
    let tried = rig.joint.opened();
    holds!((1..=most).contains(&tried), "a login was tried {tried} times, and max_refusals is {most}");
    rig.clock.advance(Duration::from_secs(3_600));
    others().await;
    same!(rig.joint.opened(), tried, "a login that was refused for good is tried again");
    finish(rig, Verdict::Held).await
}

pub(crate) async fn a_silent_stranger_is_sent_away(bench: &Bench<'_>) -> Outcome {
    let timeout = Duration::from_secs(1);
    let far = Limits { login_timeout: timeout, ..limits() };
    let rig = bench.start_with(Plan { far, ..Plan::default() }).await?;
    let stranger = rig.joint.stranger().await;
    let mut stranger = stranger.map_err(|error| Broken::new(format!("nobody can connect: {error}")))?;
    if !bench.wire.login {
        // A silent peer is a legal one, and costs what an idle one costs.
        until("the stranger to be accepted", || rig.far.ledger.get(Count::Connections) == 2).await?;
        rig.clock.advance(timeout * 2);
        rig.still_serves().await?;
        drop(stranger);
        return finish(rig, Verdict::Refused).await;
    }
    let (before, started) = (rig.clock.now(), Instant::now());
    rig.passing(timeout / 20, "the server to send a silent stranger away", stranger.ended()).await?;
    // By the clock that was handed in, or by that of the system where the library below keeps its own.
    let by_hand = rig.clock.now() - before;
    let took = by_hand.min(started.elapsed());
    // The hand is the faster of both, so that it shows at least as much whichever rules.
    holds!(
        by_hand >= timeout,
        "a silent stranger was sent away after {by_hand:?}, and login_timeout is {timeout:?}"
    );
    holds!(
        took <= timeout * 3,
        "a silent stranger was sent away after {took:?}, and login_timeout is {timeout:?}"
    );
    rig.still_serves().await?;
    holds!(rig.far.guests.came() == 1, "the server tells of a stranger who has not logged in");
    finish(rig, Verdict::Held).await
}
