//! The books: whatever comes in ends somewhere, and whatever is asked has an end.

use std::time::Duration;

use polywire_core::Count;

use super::call::{finish, refused};
use super::{Broken, Outcome, holds, numbered, same, until};
use crate::bench::Bench;
use crate::finding::Verdict;
use crate::rig::{CALL_ENDS, REQUEST_ENDS};

pub(crate) async fn the_books_balance_at_every_moment(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let rig = bench.start().await?;
    let timeout = Duration::from_secs(2);
    let at_once = bench.wire.max_concurrent_calls.min(10) as usize;
    for number in 0..20 {
        let route = ["echo", "fail.not_found", "panic"][number % 3];
        // How it ends is shown elsewhere.
        let _ = rig.call(&format!("{route}.{number}"), numbered(number)).await?;
        if bench.tells() {
            let told = rig.tell(bench.event_route(), numbered(number)).await?;
            told.map_err(|error| Broken::new(format!("event {number} was not taken: {error}")))?;
        }
    }
    let events = if bench.tells() { 20 } else { 0 };
    let mut asked = Vec::new();
    for number in 0..at_once {
        asked.push(rig.ask_within(&format!("hang.{number}"), numbered(number), timeout).await?);
    }
    rig.far.app.hear(20 + events + at_once).await?;
    // While some are in flight.
    let near = |count| rig.near.ledger.get(count);
    let far = |count| rig.far.ledger.get(count);
    until("what was heard to be counted", || {
        far(Count::Requests) + far(Count::Events) >= (20 + events + at_once) as u64
    })
    .await?;
    let running = far(Count::Requests) - REQUEST_ENDS.iter().map(|count| far(*count)).sum::<u64>();
    same!(running, at_once as u64, "another number of requests is said to be running");
    let pending = near(Count::Calls) - CALL_ENDS.iter().map(|count| near(*count)).sum::<u64>();
    same!(pending, at_once as u64, "another number of calls is said to be in flight");
    for end in [&rig.near, &rig.far] {
        let lost = end.ledger.unaccounted_frames();
        holds!(lost == 0, "{lost} frames are not accounted for: {:?}", end.ledger.snapshot());
    }
    // One is given up, the others end with their connection.
    if let Some(call) = asked.pop() {
        call.give_up();
    }
    until("the call to be counted as given up", || near(Count::CallsCancelled) == 1).await?;
    rig.joint.cut();
    for call in asked {
        // How it ends is shown elsewhere.
        let _ = call.outcome().await?;
    }
    rig.reconnect().await?;
    finish(rig, Verdict::Held).await
}
