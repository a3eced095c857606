//! The packet with which a server opens a session.

use std::time::Duration;

use bytes::Bytes;
use polywire_core::json::{self, Members};

use crate::config::MAX_HEARTBEAT;

/// What the opening packet says.
pub(super) struct Opening {
    /// How long after a ping the next one must have come.
    pub(super) patience: Duration,
    /// Largest message the server takes.
    pub(super) max_payload: usize,
}

impl Opening {
    pub(super) fn parse(
        text: &Bytes,
        least: Duration,
        limits: &polywire_core::JsonLimits,
    ) -> Result<Self, String> {
        let broken = |_| "the opening packet is not a JSON object".to_owned();
        let (mut has_id, mut interval, mut timeout, mut max_payload) = (false, None, None, None);
        let mut walk = Members::new(text, limits).map_err(broken)?;
        while let Some((key, place)) = walk.next().map_err(broken)? {
            let value = text.get(place).unwrap_or_default();
            let number = || std::str::from_utf8(value).ok().and_then(|digits| digits.parse::<u64>().ok());
            if key.is("sid") {
                has_id = json::as_string(value).is_some_and(|id| !id.is_empty());
            } else if key.is("pingInterval") {
                interval = number();
            } else if key.is("pingTimeout") {
                timeout = number();
            } else if key.is("maxPayload") {
                max_payload = number().filter(|bytes| *bytes > 0);
            }
        }
        if !has_id {
            return Err("the opening packet has no sid".to_owned());
        }
        let span = |name, value: Option<u64>| {
            let span = value.map(Duration::from_millis).filter(|span| (least..=MAX_HEARTBEAT).contains(span));
            span.ok_or_else(|| format!("the opening packet has no {name} of {least:?} to {MAX_HEARTBEAT:?}"))
        };
        let patience = span("pingInterval", interval)? + span("pingTimeout", timeout)?;
        let max_payload =
            max_payload.map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        Ok(Self { patience, max_payload })
    }
}
