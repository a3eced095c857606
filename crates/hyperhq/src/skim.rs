//! What can be told of an event whose JSON is beyond our limits: its name, and the id that whoever asked waits for. Nothing else of
//! the text is judged, at whatever depth it stands.

use bytes::Bytes;
use polywire_core::json::{self, space_end, value_end};
use polywire_core::{JsonLimits, JsonText};

use crate::message::MAX_ID_BYTES;

/// The name of the event in the text of these arguments, if it is text itself.
pub(crate) fn name_of(text: &[u8]) -> Option<String> {
    let at = space_end(text, text.iter().position(|byte| *byte == b'[')? + 1);
    let end = value_end(text, at, &JsonLimits::default()).ok()?;
    json::as_string(text.get(at..end)?).map(|name| name.into_owned())
}

/// The member of this name, of an object as the first argument behind the name of the event; `None` where it is absent, beyond
/// the limits itself, or longer than an id may be. Of two of one name, the last.
pub(crate) fn id_of(text: &[u8], member: &str) -> Option<JsonText> {
    let limits = JsonLimits::default();
    let (mut at, mut depth, mut found) = (0, 0_usize, None);
    while let Some(byte) = text.get(at) {
        match byte {
            b'[' | b'{' => depth = depth.saturating_add(1),
            b']' | b'}' if depth <= 2 => break,
            b']' | b'}' => depth -= 1,
            b'"' => {
                // Of what stands behind a text that is none, nothing can be told.
                let Ok(end) = value_end(text, at, &limits) else { break };
                let colon = space_end(text, end);
                let is_key = depth == 2 && text.get(colon) == Some(&b':');
                if is_key && json::as_string(text.get(at..end)?).is_some_and(|key| key == member) {
                    let start = space_end(text, colon + 1);
                    let value = value_end(text, start, &limits).ok().and_then(|end| text.get(start..end));
                    found = value.filter(|value| value.len() <= MAX_ID_BYTES);
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found.map(|value| JsonText::from_validated(Bytes::copy_from_slice(value)))
}

/// The same where it is text.
pub(crate) fn text_of(text: &[u8], member: &str) -> Option<String> {
    json::as_string(id_of(text, member)?.as_bytes()).map(|id| id.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Option<String> {
        id_of(text.as_bytes(), "requestId").map(|id| id.as_str().to_owned())
    }

    #[test]
    fn the_name_and_the_id_are_found_on_either_side_of_what_is_beyond() {
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        let before = format!(r#"["requestData", {{"requestId": "a\"b", "params": {deep}}}]"#);
        let behind = format!(r#"["requestData",{{"params":{deep},"requestId":7 }}]"#);
        assert_eq!(name_of(before.as_bytes()).as_deref(), Some("requestData"));
        assert_eq!((id(&before).as_deref(), id(&behind).as_deref()), (Some(r#""a\"b""#), Some("7")));
    }

    #[test]
    fn an_id_that_stands_elsewhere_is_not_taken_for_one() {
        for text in [
            r#"["requestData",{"params":{"requestId":1}}]"#,
            r#"["requestData",{"method":"requestId","params":[":"]}]"#,
            r#"["requestData",{"method":"\"requestId\":1"}]"#,
            r#"["requestData",{"method":"x"},{"requestId":1}]"#,
            r#"["requestData","requestId",1]"#,
            r#"["requestId"]"#,
            r#"["requestData",{"requestId":"#,
            r#"["requestData",{"requestId":"un"#,
            "[\"requestData\",{\"params\":\"\t\",\"requestId\":1}]",
            r#"["requestData"]]]]{{"requestId":1}"#,
            "",
        ] {
            assert_eq!(id(text), None, "{text}");
        }
        let long = format!(r#"["requestData",{{"requestId":"{}"}}]"#, "x".repeat(300));
        assert_eq!(id(&long), None);
        assert_eq!(id(r#"["requestData",{"requestId":1,"requestId":2}]"#).as_deref(), Some("2"));
        assert_eq!(id("[\"requestData\",{\"requestId\":1,\"params\":\"\t\"}]").as_deref(), Some("1"));
        assert_eq!(name_of(b"[1]"), None);
        assert_eq!(name_of(b"x"), None);
    }
}
