//! What a handler is told when events may be missing.

use std::time::Duration;

use bytes::BytesMut;

use crate::body::{Body, JsonText};
use crate::envelope::Event;
use crate::json;
use crate::route::Route;

/// The route of the event that a handler gets after a reconnect: `{"since_ms": 1200, "reason": "..."}`. Events may have
/// been missed for that long. A wire on which no events come has none.
pub const GAP: Route = Route::from_static("polywire.gap");

/// The event that tells of a gap.
pub(crate) fn gap_event(since: Duration, reason: &str) -> Event {
    let mut text = BytesMut::new();
    text.extend_from_slice(format!("{{\"since_ms\":{},\"reason\":", since.as_millis()).as_bytes());
    json::write_string(&mut text, reason);
    text.extend_from_slice(b"}");
    Event::new(GAP, Body::Json(JsonText::from_validated(text.freeze())))
}
