//! The login, and what comes before it.

use polywire_core::{CallError, Code};

use super::call::finish;
use super::{Broken, Outcome, holds, numbered, same, within};
use crate::bench::{Bench, Plan, WRONG};
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
    let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
    let refused = async {
        loop {
            tokio::select! {
                biased;
                ready = rig.client.ready() => return ready,
                _ = look.tick() => rig.clock.advance(std::time::Duration::from_millis(20)),
            }
        }
    };
    match within("the client to be refused", refused).await? {
        Err(failure) => same!(failure.code, Code::Unauthenticated, "a refused login has another code"),
        Ok(()) => return Err(Broken::new("a client with a wrong secret is ready")),
    }
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
