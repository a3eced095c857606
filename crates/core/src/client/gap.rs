//! What a handler is told when events may be missing.

use std::time::Duration;

use bytes::BytesMut;

use crate::body::{Body, JsonText};
use crate::envelope::Event;
use crate::json;
use crate::limits::Limits;
use crate::route::Route;

/// The route of the event that tells a handler of a gap in front of the next event.
///
/// After a reconnect it is `{"since_ms": 1200, "reason": "..."}`: events may have been missed for that long. A wire on which no
/// events come has none. Where events were dropped it is `{"missed": 3, "reason": "..."}`: by this side at one of its limits, or by
/// the [`Hub`](crate::Hub) of a peer.
pub const GAP: Route = Route::from_static("polywire.gap");

/// The event that tells of dropped ones.
pub(crate) fn missed_event(missed: u64, limits: &Limits) -> Event {
    let text = format!(
        "{{\"missed\":{missed},\"reason\":\"more events at once than max_in_flight = {}, max_in_flight_bytes = {} or max_memory_bytes allow\"}}",
        limits.max_in_flight, limits.max_in_flight_bytes
    );
    Event::new(GAP, Body::Json(JsonText::from_validated(text.into())))
}

/// The event that tells of a reconnect.
pub(crate) fn gap_event(since: Duration, reason: &str) -> Event {
    let mut text = BytesMut::new();
    text.extend_from_slice(format!("{{\"since_ms\":{},\"reason\":", since.as_millis()).as_bytes());
    json::write_string(&mut text, reason);
    text.extend_from_slice(b"}");
    Event::new(GAP, Body::Json(JsonText::from_validated(text.freeze())))
}
