//! What a session over HTTP needs of the opening packet; the rest is the link's to read.

use bytes::Bytes;
use polywire_core::json::{self, Members};
use polywire_core::{JsonLimits, JsonText};

/// Most bytes of a session's id. Read in source: ids of engine.io have 20, of python-engineio 20 too, of socketioxide 16.
const MAX_SID_BYTES: usize = 256;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) sid: String,
    /// Does the server offer a WebSocket for this session?
    pub(crate) offers_websocket: bool,
    /// Largest body that the server takes.
    pub(crate) max_payload: usize,
}

impl Opening {
    /// From the packet with its type; `None` when it is no opening packet with an id.
    pub(crate) fn parse(packet: &Bytes, limits: &JsonLimits) -> Option<Self> {
        let text = packet.strip_prefix(b"0")?;
        let (mut sid, mut upgrades, mut max_payload) = (None, Vec::new(), usize::MAX);
        let mut walk = Members::new(text, limits).ok()?;
        while let Some((key, place)) = walk.next().ok()? {
            let value = text.get(place)?;
            if key.is("sid") {
                sid = json::as_string(value).map(|sid| sid.into_owned());
            } else if key.is("upgrades") {
                let list = JsonText::from_validated(Bytes::copy_from_slice(value));
                upgrades = list.parse::<Vec<String>>().unwrap_or_default();
            } else if key.is("maxPayload") {
                let bytes = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
                max_payload = bytes.filter(|bytes| *bytes > 0).unwrap_or(usize::MAX);
            }
        }
        Some(Self {
            sid: sid.filter(|sid| (1..=MAX_SID_BYTES).contains(&sid.len()))?,
            offers_websocket: upgrades.iter().any(|upgrade| upgrade == "websocket"),
            max_payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Opening> {
        Opening::parse(&Bytes::from(text.to_owned()), &JsonLimits::default())
    }

    #[test]
    fn the_id_is_needed_and_the_rest_has_defaults() {
        let opening = |offers_websocket, max_payload| {
            Some(Opening { sid: "s".to_owned(), offers_websocket, max_payload })
        };
        assert_eq!(
            parse(r#"0{"sid":"s","upgrades":["x","websocket"],"pingInterval":1,"maxPayload":1000}"#),
            opening(true, 1_000)
        );
        for text in [r#"0{"sid":"s"}"#, r#"0{"maxPayload":0,"upgrades":"websocket","sid":"s"}"#] {
            assert_eq!(parse(text), opening(false, usize::MAX), "{text}");
        }
        let long = format!("0{{\"sid\":\"{}\"}}", "x".repeat(257));
        for text in
            ["0", "0{}", "0[]", r#"0{"sid":""}"#, r#"0{"sid":1}"#, r#"4{"sid":"s"}"#, "<html>", "", &long]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
