//! The login, and what comes before it.

use std::time::{Duration, Instant};

use polywire_core::{CallError, Clock, Code, Count, Limits};

use super::call::finish;
use super::{Broken, Outcome, holds, numbered, others, same, until};
use crate::bench::{Bench, Plan, WRONG, limits};
use crate::finding::Verdict;

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
