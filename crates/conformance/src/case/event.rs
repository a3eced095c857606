//! Events and what becomes of them.

use polywire_core::{Count, EventForm, Kind};

use super::call::finish;
use super::{Outcome, holds, numbered, same, until};
use crate::app::Heard;
use crate::bench::Bench;
use crate::finding::{Direction, Verdict};

/// A wire on which this side has no events: each is refused at once or counted as not sent, and none is lost in silence.
pub(super) async fn refused(bench: &Bench<'_>) -> Outcome {
    let rig = bench.start().await?;
    let told = rig.tell(bench.event_route(), numbered(1)).await?;
    match told {
        Err(why) => holds!(why.contains("unimplemented"), "an event is refused with {why}"),
        Ok(()) => {
            let known = || rig.near.ledger.get(Count::EventsNotSent) == 1 || !rig.far.app.heard().is_empty();
            until("an event that the wire cannot carry to be counted as not sent", known).await?;
        }
    }
    if bench.calls() {
        rig.still_serves().await?;
    }
    holds!(rig.far.app.times(&bench.event_route()) == 0, "an event that was refused has arrived");
    finish(rig, Verdict::Refused).await
}

pub(crate) async fn events_arrive_once_and_in_order(bench: &Bench<'_>) -> Outcome {
    if !bench.tells() {
        return refused(bench).await;
    }
    let rig = bench.start().await?;
    let route = bench.event_route();
    for number in 0..500 {
        let told = rig.tell(route.clone(), numbered(number)).await?;
        holds!(told.is_ok(), "event {number} was not taken: {told:?}");
    }
    let as_requests = bench.particulars.client_events == EventForm::Requests;
    let kind = if bench.direction == Direction::Forward && as_requests { Kind::Request } else { Kind::Event };
    let heard = rig.far.app.hear(500).await?;
    for (number, heard) in heard.into_iter().enumerate() {
        let expected = Heard { kind, route: route.clone(), body: numbered(number) };
        same!(heard, expected, "message {number} is another one");
    }
    finish(rig, Verdict::Held).await
}
