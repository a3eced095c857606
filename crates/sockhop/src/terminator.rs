//! The end of a line, each way, and how text is kept free of it.

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memmem;

/// The end of a line, each way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminator {
    /// What ends the lines received, 1 to 16 bytes.
    pub receive: Bytes,
    /// What ends the lines sent, 1 to 16 bytes of which one is a character that JSON text holds nowhere or in strings alone: a
    /// control character, a sign such as `;` or `|`, a letter of no literal, number or escape, which leaves out a to f, small and
    /// capital. In strings it is then written as an escape where a line would end too early.
    pub transmit: Bytes,
}

impl Terminator {
    /// The same bytes each way.
    pub fn both(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { receive: bytes.clone(), transmit: bytes }
    }
}

impl Default for Terminator {
    fn default() -> Self {
        Self::both(Bytes::from_static(b"\n"))
    }
}

/// What a terminator that is sent has to be.
pub(crate) const MARKED: &str =
    "text with a character that JSON has nowhere or in strings alone, such as \\n or ;";

/// What keeps a terminator out of JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// A control character, which JSON text never holds.
    Control,
    /// A character that stands in strings alone, and can be written as an escape there.
    Character(u8),
}

impl Mark {
    /// Of this terminator; `None` when it has none.
    pub(crate) fn of(terminator: &[u8]) -> Option<Self> {
        if terminator.iter().any(|byte| *byte < 0x20) {
            return Some(Self::Control);
        }
        terminator.iter().find(|byte| stands_in_strings_alone(**byte)).map(|byte| Self::Character(*byte))
    }
}

/// Is it no part of the syntax, of a literal, of a number, nor of an escape?
fn stands_in_strings_alone(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"{}[]:,\"\\/+-.truefalsn".contains(&byte) && !byte.is_ascii_hexdigit()
}

/// The same JSON as `line`, in which `terminator` is found nowhere before the one that is written behind it.
pub(crate) fn kept_apart(line: Bytes, terminator: &[u8], mark: u8) -> Bytes {
    let mut whole = BytesMut::with_capacity(line.len().saturating_add(terminator.len()));
    whole.put_slice(&line);
    whole.put_slice(terminator);
    if memmem::find(&whole, terminator) == Some(line.len()) {
        return line;
    }
    whole.clear();
    for byte in line.iter().copied() {
        if byte == mark {
            whole.put_slice(b"\\u00");
            for digit in [byte >> 4, byte & 15] {
                whole.put_u8(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
            }
        } else {
            whole.put_u8(byte);
        }
    }
    whole.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use polywire_size::cases;
    use proptest::prelude::*;
    use serde_json::Value;

    /// Terminators of which each is refused or kept apart.
    const TERMINATORS: &[&str] = &[
        ";;", "|", "END", "};", "};}", "\";", "<eof>", "a;a", "~~~~", "x\\", "}", "\"}", "null", "\\u", " ",
        "1", "é",
    ];

    #[test]
    fn a_terminator_needs_a_character_that_json_has_in_strings_alone() {
        let refused: Vec<_> = TERMINATORS.iter().filter(|text| Mark::of(text.as_bytes()).is_none()).collect();
        assert_eq!(refused, [&"}", &"\"}", &"null", &"\\u", &" ", &"1", &"é"]);
        assert_eq!(Mark::of(b";\n"), Some(Mark::Control));
        assert_eq!(Mark::of(b"};"), Some(Mark::Character(b';')));
    }

    #[test]
    fn what_would_end_a_line_too_early_is_written_as_an_escape() {
        let kept = |text: &'static str| kept_apart(Bytes::from_static(text.as_bytes()), b";;", b';');
        assert_eq!(kept(r#"{"a":"b;c"}"#), r#"{"a":"b;c"}"#, "it is harmless");
        assert_eq!(kept(r#"{"a;;":"\\;;"}"#), r#"{"a\u003b\u003b":"\\\u003b\u003b"}"#);
    }

    proptest! {
        #![proptest_config(cases::<256>())]

        #[test]
        fn no_line_holds_its_terminator_and_each_says_the_same(
            parts in prop::collection::vec(prop_oneof![
                prop::sample::select(TERMINATORS).prop_map(str::to_owned),
                "[;|}{a~é\\\\\"\n]{0,4}",
            ], 0..6),
            number in any::<i64>(),
        ) {
            let value = serde_json::json!({ "type": "T", "data": { parts.concat(): [parts.concat(), number] } });
            let line = Bytes::from(value.to_string());
            for terminator in TERMINATORS {
                let Some(Mark::Character(mark)) = Mark::of(terminator.as_bytes()) else { continue };
                let kept = kept_apart(line.clone(), terminator.as_bytes(), mark);
                let whole = [&kept[..], terminator.as_bytes()].concat();
                prop_assert_eq!(memmem::find(&whole, terminator.as_bytes()), Some(kept.len()));
                prop_assert_eq!(&serde_json::from_slice::<Value>(&kept).unwrap(), &value);
            }
        }
    }
}
