//! Strings in and out of JSON text, and text without its white space.

use std::borrow::Cow;

use bytes::BytesMut;

/// The text between the quotes of a JSON string, unescaped; `None` when it holds a lone surrogate or is no string body.
pub fn unescape(raw: &[u8]) -> Option<Cow<'_, str>> {
    if !raw.contains(&b'\\') {
        return std::str::from_utf8(raw).ok().map(Cow::Borrowed);
    }
    let mut quoted = Vec::with_capacity(raw.len().saturating_add(2));
    quoted.push(b'"');
    quoted.extend_from_slice(raw);
    quoted.push(b'"');
    serde_json::from_slice::<String>(&quoted).ok().map(Cow::Owned)
}

/// The value of a JSON string given with its quotes, unescaped; `None` when it is no string or holds a lone surrogate.
pub fn as_string(value: &[u8]) -> Option<Cow<'_, str>> {
    match value {
        [b'"', inner @ .., b'"'] => unescape(inner),
        _ => None,
    }
}

/// Appends `text` to `out` as a JSON string with its quotes.
pub fn write_string(out: &mut BytesMut, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\"");
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain);
        let (special, tail) = tail.split_first().unwrap_or((&b' ', &[]));
        match special {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(control >> 4), digit(control & 15)]);
            }
        }
        rest = tail;
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(b"\"");
}

/// Appends the valid JSON in `text` without the white space outside its strings.
pub fn write_compact(out: &mut BytesMut, text: &[u8]) {
    let mut in_string = false;
    let mut escaped = false;
    let mut start = 0;
    for (at, byte) in text.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else if *byte == b'"' {
            in_string = true;
        } else if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            out.extend_from_slice(text.get(start..at).unwrap_or_default());
            start = at.saturating_add(1);
        }
    }
    out.extend_from_slice(text.get(start..).unwrap_or_default());
}
