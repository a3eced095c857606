//! The order of messages.

use super::call::{finish, refused};
use super::{Broken, Outcome, numbered, same};
use crate::bench::Bench;
use crate::finding::Verdict;

/// Messages sent in one go.
const MESSAGES: usize = 300;

pub(crate) async fn messages_arrive_in_the_order_they_were_sent(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let rig = bench.start().await?;
    let mut asked = Vec::new();
    for number in 0..MESSAGES {
        if bench.tells() && number % 3 == 0 {
            let told = rig.tell(bench.event_route(), numbered(number)).await?;
            told.map_err(|error| Broken::new(format!("event {number} was not taken: {error}")))?;
        } else {
            let call = rig.ask(&format!("echo.{number}"), numbered(number)).await?;
            asked.push(call);
        }
    }
    let heard = rig.far.app.hear(MESSAGES).await?;
    for call in asked {
        let outcome = call.outcome().await?;
        outcome.map_err(|error| Broken::new(format!("a call ends as {error}")))?;
    }
    if !bench.wire.order {
        return finish(rig, Verdict::Refused).await;
    }
    for (number, heard) in heard.into_iter().enumerate() {
        same!(heard.body, numbered(number), "message {number} is another one ({:?})", heard.route);
    }
    finish(rig, Verdict::Held).await
}
