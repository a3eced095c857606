//! The guard against messages that go round: at most four hops from bridge to bridge.
//!
//! No wire has a place for such a count, so it exists only where a route gives it one: with `via = "MEMBER"` that member of an
//! object body lists the bridges a message has passed, by their `node` names, and a bridge that finds itself there, or four
//! others, stops the message. Loops within one file need none of this: the check refuses them.

use bytes::BytesMut;
use polywire_core::{Body, JsonLimits, JsonText, json};

/// Most hops of one message.
pub const MAX_HOPS: usize = 4;

/// The message has gone round.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WentRound;

/// Adds `node` to the bridges that `member` of the body lists. A body that has no place for such a list stays as it is.
pub(crate) fn list(body: Body, member: &str, node: &str) -> Result<Body, WentRound> {
    let Body::Json(text) = &body else { return Ok(body) };
    match listed(text.as_bytes(), member, node)? {
        Some(longer) => Ok(Body::Json(longer)),
        None => Ok(body),
    }
}

fn listed(text: &[u8], member: &str, node: &str) -> Result<Option<JsonText>, WentRound> {
    let limits = JsonLimits::default();
    let Ok(mut members) = json::Members::new(text, &limits) else { return Ok(None) };
    let mut found = None;
    let mut empty = true;
    while let Ok(Some((key, at))) = members.next() {
        empty = false;
        if key.is(member) {
            found = Some(at);
        }
    }
    let mut longer =
        BytesMut::with_capacity(text.len().saturating_add(member.len()).saturating_add(node.len() + 16));
    let Some(at) = found else {
        let open = text.iter().position(|byte| *byte == b'{').unwrap_or_default().saturating_add(1);
        longer.extend_from_slice(b"{");
        json::write_string(&mut longer, member);
        longer.extend_from_slice(b":[");
        json::write_string(&mut longer, node);
        longer.extend_from_slice(if empty { b"]" } else { b"]," });
        longer.extend_from_slice(text.get(open..).unwrap_or_default());
        return Ok(Some(JsonText::from_validated(longer.freeze())));
    };
    let value = text.get(at.clone()).unwrap_or_default();
    // Something else of that name is the user's own.
    let Ok(passed) = json::elements(value, usize::MAX, &limits) else { return Ok(None) };
    if passed.len() >= MAX_HOPS {
        return Err(WentRound);
    }
    longer.extend_from_slice(text.get(..at.start).unwrap_or_default());
    longer.extend_from_slice(b"[");
    for name in passed {
        let name = value.get(name).unwrap_or_default();
        if json::as_string(name).is_some_and(|name| name == node) {
            return Err(WentRound);
        }
        longer.extend_from_slice(name);
        longer.extend_from_slice(b",");
    }
    json::write_string(&mut longer, node);
    longer.extend_from_slice(b"]");
    longer.extend_from_slice(text.get(at.end..).unwrap_or_default());
    Ok(Some(JsonText::from_validated(longer.freeze())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b01_a_list_in_the_body_stops_at_a_bridge_it_names_and_after_four() {
        let json = |text: &str| Body::Json(JsonText::new(text.to_owned(), &JsonLimits::default()).unwrap());
        let add = |text: &str, node: &str| list(json(text), "_via", node);
        for (before, after) in [
            ("{}", r#"{"_via":["a"]}"#),
            (r#" {"x": 1.50 }"#, r#"{"_via":["a"],"x": 1.50 }"#),
            (r#"{"x":1,"_via" : [ "b" ] }"#, r#"{"x":1,"_via" : ["b","a"] }"#),
            (r#"{"_via":7}"#, r#"{"_via":7}"#),
            ("[1]", "[1]"),
        ] {
            assert_eq!(add(before, "a"), Ok(json(after)), "{before}");
        }
        assert_eq!(add(r#"{"_via":["b","a"]}"#, "a"), Err(WentRound));
        assert_eq!(add(r#"{"_via":["1","2","3","4"]}"#, "a"), Err(WentRound));
        assert_eq!(list(Body::Empty, "_via", "a"), Ok(Body::Empty));
    }
}
