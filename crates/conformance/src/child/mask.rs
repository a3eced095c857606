//! Foreign bytes for people: escaped, bounded, and without anything that may be a secret.

/// Bytes that are shown of one thing.
const MAX_SHOWN: usize = 400;
/// So many hexadecimal digits in a row, letters among them, may be a key, a token or a challenge.
const MAX_DIGITS: usize = 16;

/// Knows the secret of one launch, to leave it out.
#[derive(Clone)]
pub(super) struct Mask(Box<[u8]>);

impl Mask {
    /// A mask for this secret.
    pub(super) fn new(secret: &str) -> Self {
        Self(secret.as_bytes().into())
    }

    /// `bytes` on one line.
    pub(super) fn shown(&self, bytes: &[u8]) -> String {
        let hidden = self.hide(bytes);
        let (head, more) = match hidden.split_at_checked(MAX_SHOWN) {
            Some((head, rest)) => (head, rest.len()),
            None => (&hidden[..], 0),
        };
        let text = escape(&String::from_utf8_lossy(head));
        if more == 0 { text } else { format!("{text}… ({more} bytes more)") }
    }

    /// A sentence without the secret.
    pub(super) fn plain(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.hide(text.as_bytes())).into_owned()
    }

    /// The bytes with an ellipsis for the secret and for every long row of hexadecimal digits.
    fn hide(&self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(bytes.len().min(4 * MAX_SHOWN));
        let mut rest = bytes;
        while let Some((first, tail)) = rest.split_first() {
            if !self.0.is_empty() && rest.starts_with(&self.0) {
                shown.extend_from_slice("…".as_bytes());
                rest = rest.get(self.0.len()..).unwrap_or_default();
                continue;
            }
            let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            if digits == 0 {
                shown.push(*first);
                rest = tail;
                continue;
            }
            let (row, after) = rest.split_at_checked(digits).unwrap_or((rest, &[]));
            if digits >= MAX_DIGITS && row.iter().any(u8::is_ascii_alphabetic) {
                shown.extend_from_slice("…".as_bytes());
            } else {
                shown.extend_from_slice(row);
            }
            rest = after;
        }
        shown
    }
}

/// The text with its control characters as escapes.
pub(super) fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_long_rows_of_digits_are_left_out_and_the_rest_is_escaped() {
        let mask = Mask::new("open sesame");
        assert_eq!(mask.shown(b"say open sesame\n"), "say …\\n");
        assert_eq!(mask.shown(b"id=0123456789abcdef0123 n=42\x00"), "id=… n=42\\u{0}");
        assert_eq!(mask.shown("é 18446744073709551616".as_bytes()), "é 18446744073709551616");
        let long = mask.shown(&b"xy".repeat(300));
        assert!(long.ends_with("… (200 bytes more)"), "{long}");
    }
}
