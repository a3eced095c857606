//! The places in a JSON text where attachments belong: `{"_placeholder":true,"num":0}`.

use std::ops::Range;

use polywire_core::JsonLimits;
use polywire_core::json::{plain_string, unescape, value_end};

/// One place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where the object stands in the text.
    pub(crate) at: Range<usize>,
    /// Which attachment belongs there; `None` when that is no whole number.
    pub(crate) number: Option<usize>,
}

/// What a member is for a placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Mark,
    Number,
    Other,
}

/// One object or array that has been begun.
#[derive(Debug)]
struct Level {
    start: usize,
    is_object: bool,
    /// The member whose value comes next; `None` where a name comes next.
    member: Option<Member>,
    marked: bool,
    number: Option<usize>,
}

/// Finds every place in a text that was validated under `limits`, in the order in which they end, in one pass.
///
/// Extra members do not matter, the last of two with one name counts, and only `true` marks: as the official parser decides.
pub(crate) fn places(text: &[u8], limits: &JsonLimits) -> Vec<Place> {
    let mut found = Vec::new();
    let mut levels: Vec<Level> = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'{' | b'[' => {
                if let Some(level) = levels.last_mut() {
                    level.value(b"");
                }
                let is_object = *byte == b'{';
                levels.push(Level { start: at, is_object, member: None, marked: false, number: None });
                at += 1;
            }
            b'}' | b']' => {
                at += 1;
                if let Some(level) = levels.pop()
                    && level.marked
                {
                    found.push(Place { at: level.start..at, number: level.number });
                }
            }
            b',' => {
                if let Some(level) = levels.last_mut() {
                    level.member = None;
                }
                at += 1;
            }
            b':' | b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            _ => {
                let end = value_end(text, at, limits).unwrap_or(text.len()).max(at + 1);
                let scalar = text.get(at..end).unwrap_or_default();
                if let Some(level) = levels.last_mut() {
                    if level.is_object && level.member.is_none() {
                        level.member = Some(member(text, at, end));
                    } else {
                        level.value(scalar);
                    }
                }
                at = end;
            }
        }
    }
    found
}

fn member(text: &[u8], start: usize, end: usize) -> Member {
    let escaped = || unescape(text.get(start + 1..end - 1).unwrap_or_default());
    let is = |name: &str| match plain_string(text, start + 1) {
        Some(plain) => plain == name.as_bytes(),
        None => escaped().is_some_and(|key| key == name),
    };
    if is("_placeholder") {
        Member::Mark
    } else if is("num") {
        Member::Number
    } else {
        Member::Other
    }
}

impl Level {
    /// Takes the value of the member that was named; empty for an object or an array.
    fn value(&mut self, scalar: &[u8]) {
        match self.member {
            Some(Member::Mark) => self.marked = scalar == b"true",
            Some(Member::Number) => {
                let is_whole = !scalar.is_empty() && scalar.iter().all(u8::is_ascii_digit);
                let digits = std::str::from_utf8(scalar).ok().filter(|_| is_whole);
                self.number = digits.and_then(|digits| digits.parse().ok());
            }
            Some(Member::Other) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(&str, Option<usize>)> {
        let places = places(text.as_bytes(), &JsonLimits::default());
        places.into_iter().map(|place| (&text[place.at], place.number)).collect()
    }

    #[test]
    fn finds_every_object_that_is_marked_and_no_other() {
        let mark = r#"{"_placeholder":true,"num":1}"#;
        assert_eq!(found(mark), [(mark, Some(1))]);
        let escaped = r#"{ "\u005fplaceholder" : true , "x" : [ {} ] , "num" : 0 }"#;
        assert_eq!(found(escaped), [(escaped, Some(0))]);
        assert_eq!(found(&format!(r#"["a",{{"b":[{mark}]}},{mark}]"#)), [(mark, Some(1)); 2]);
        for number in ["0.5", "-1", "\"0\"", "null", "1e0", "[0]", "99999999999999999999999"] {
            let text = format!(r#"{{"_placeholder":true,"num":{number}}}"#);
            assert_eq!(found(&text), [(&*text, None)]);
        }
        for other in [
            r#"{"_placeholder":1,"num":0}"#,
            r#"{"_placeholder":"true"}"#,
            r#"{"_placeholder":[true]}"#,
            r#"["_placeholder",true]"#,
            r#"{"a":"{\"_placeholder\":true}"}"#,
            r#"{"_placeholder":true,"_placeholder":false}"#,
            "17",
        ] {
            assert_eq!(found(other), [], "{other}");
        }
    }

    #[test]
    fn a_mark_around_a_mark_ends_later() {
        let text = r#"{"_placeholder":true,"num":0,"in":{"_placeholder":true,"num":1}}"#;
        assert_eq!(found(text).iter().map(|(_, number)| *number).collect::<Vec<_>>(), [Some(1), Some(0)]);
    }
}
