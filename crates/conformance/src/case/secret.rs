//! Secrets stay where they belong.

use std::fmt::Debug;

use polywire_core::Secret;

use super::call::finish;
use super::{Broken, Outcome, holds, json, until};
use crate::bench::{BODY, Bench, Plan, RIGHT, SECRETS, WRONG};
use crate::finding::Verdict;
use crate::recorder::leak;
use crate::rig::Rig;

/// Everything that can be shown of both ends, as a program would that prints what it has.
fn shown(rig: &Rig, bench: &Bench<'_>, more: &[&dyn Debug]) -> String {
    let targets = [RIGHT, WRONG].map(|secret| {
        let secret = Secret::from(secret);
        (bench.setup.listen(&secret), bench.setup.dial("127.0.0.1:1", &secret))
    });
    let ends =
        [&rig.near, &rig.far].map(|end| (end.guests.clone(), end.ledger.clone(), end.shutdown.clone()));
    format!("{rig:?} {targets:?} {:?} {ends:?} {more:?}", bench.adapter)
}

fn silent(text: &str, of: &str) -> Result<(), Broken> {
    match leak(SECRETS, text) {
        None => Ok(()),
        Some(before) => Err(Broken::new(format!("a secret is to be seen in {of}, behind {before:?}"))),
    }
}

/// A login that is taken, one that is refused, calls that fail in every way, a lost connection. What is logged meanwhile is looked at
/// as in every other case.
pub(crate) async fn no_secret_is_seen(bench: &Bench<'_>) -> Outcome {
    let rig = bench.start().await?;
    let body = json(format!("{{\"password\":\"{BODY}\"}}"))?;
    let mut outcomes = Vec::new();
    for route in ["echo", "fail.internal", "panic"] {
        if bench.calls() {
            outcomes.push(rig.call(route, body.clone()).await?);
        }
    }
    let lost = if bench.calls() { Some(rig.ask("hang", body).await?) } else { None };
    let guest = rig.near.guests.one().await?;
    rig.joint.cut();
    until("the connection to be lost", || rig.near.guests.is_empty()).await?;
    if let Some(lost) = lost {
        outcomes.push(lost.outcome().await?);
    }
    rig.reconnect().await?;
    silent(&shown(&rig, bench, &[&outcomes, &guest, &guest.identity()]), "what can be printed")?;
    let refused = bench.dial(Plan { secret: WRONG, ..Plan::default() }).await?;
    if bench.wire.login {
        let failure = refused.over().await?;
        silent(&format!("{failure} {failure:?}"), "the words of a refused login")?;
    }
    silent(&shown(&refused, bench, &[]), "what can be printed")?;
    refused.end().await?;
    holds!(bench.log.lines() > 0, "nothing of the session was logged, so the log shows nothing");
    finish(rig, Verdict::Held).await
}
