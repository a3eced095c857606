//! Signs of life: at most one in 100 ms, and the latest is never lost.

use std::time::Duration;

use polywire_core::{Body, JsonText, Moment};

use crate::message::Object;

/// The least time between two. Read in the plugin guide.
const PACE: Duration = Duration::from_millis(100);

/// What to say, and when.
#[derive(Debug, Default)]
pub(super) struct Status {
    next: Moment,
    waiting: Option<JsonText>,
}

impl Status {
    /// Something to say at `now`; given back where it may leave at once.
    pub(super) fn say(&mut self, status: JsonText, now: Moment) -> Option<JsonText> {
        self.waiting = Some(status);
        self.due(now)
    }

    /// What waits, once its moment has come.
    pub(super) fn due(&mut self, now: Moment) -> Option<JsonText> {
        let status = self.waiting.take_if(|_| now >= self.next)?;
        self.next = now + PACE;
        Some(status)
    }

    /// When something is due.
    pub(super) fn wake_at(&self) -> Option<Moment> {
        self.waiting.as_ref().map(|_| self.next)
    }
}

/// The payload of a body: an object as it is, a text as its status, anything else as a sign of life without words.
pub(super) fn payload(body: Body) -> JsonText {
    match body {
        Body::Json(text) if text.as_bytes().starts_with(b"{") => text,
        Body::Json(text) if text.as_bytes().starts_with(b"\"") => {
            Object::new().raw("status", text.as_bytes()).json()
        }
        Body::Empty | Body::Json(_) | Body::Binary(_) => Object::new().text("status", "working").json(),
    }
}
