//! Callback ids: the peer's, echoed unchanged, and our own, which carry the call's number inside.
//!
//! Called by `wire` and `session`. Knows no state: which ids are open is the session's and the engine's business.

use bytes::{BufMut, Bytes, BytesMut};
use polywire_core::{Random, json};

/// Length of the id field of a binary frame in bytes. Source: observed (`codec-binary-210`).
pub(crate) const FIELD: usize = 36;

/// Longest id of a peer that is remembered, in bytes of JSON text.
pub(crate) const MAX_ID_BYTES: usize = 128;

/// A callback id of a peer. Never interpreted, only sent back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Id {
    /// At most [`FIELD`] bytes that need no unescaping: what every known peer sends. `plain` when they are known to stand
    /// between quotes as they are.
    Short { len: u8, plain: bool, text: [u8; FIELD] },
    /// Any other JSON value, as its text.
    Json(Bytes),
}

impl Id {
    /// The id whose JSON text is `raw`; `None` above [`MAX_ID_BYTES`].
    pub(crate) fn from_json(raw: &[u8]) -> Option<Self> {
        if raw.len() > MAX_ID_BYTES {
            return None;
        }
        match raw {
            [b'"', inner @ .., b'"'] if inner.len() <= FIELD && memchr::memchr(b'\\', inner).is_none() => {
                Some(Self::short(inner, true))
            }
            // White space that one side's lines may hold can be what ends the other's.
            _ if memchr::memchr3(b'\n', b'\r', b'\t', raw).is_some() => {
                let mut compact = BytesMut::with_capacity(raw.len());
                json::write_compact(&mut compact, raw);
                Some(Self::Json(compact.freeze()))
            }
            _ => Some(Self::Json(Bytes::copy_from_slice(raw))),
        }
    }

    /// The id in the field of a binary frame: it ends at the first NUL, and may be short because the frame is.
    pub(crate) fn from_field(field: &[u8]) -> Self {
        let field = field.get(..FIELD).unwrap_or(field);
        let end = memchr::memchr(0, field).unwrap_or(field.len());
        Self::short(field.get(..end).unwrap_or_default(), false)
    }

    /// An id of ours.
    pub(crate) fn own(text: [u8; FIELD]) -> Self {
        Self::short(&text, true)
    }

    fn short(bytes: &[u8], plain: bool) -> Self {
        let mut text = [0; FIELD];
        match bytes.first_chunk() {
            Some(whole) => text = *whole,
            None => text.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = *byte),
        }
        Self::Short { len: u8::try_from(bytes.len().min(FIELD)).unwrap_or(0), plain, text }
    }

    /// Can the field of a binary frame hold it? Only text of at most [`FIELD`] bytes without NUL comes back from there
    /// as the same id.
    pub(crate) fn fits_frame(&self) -> bool {
        match self {
            Self::Short { .. } => true,
            Self::Json(raw) => {
                json::as_string(raw).is_some_and(|text| text.len() <= FIELD && !text.contains('\0'))
            }
        }
    }

    /// Is it the empty text? In a line such an id is none. Source: observed (`json-id-empty`).
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Short { len: 0, .. })
    }

    /// Appends the id as a JSON value.
    pub(crate) fn write_json(&self, out: &mut BytesMut) {
        match self {
            Self::Short { len, plain, text } => {
                let text = text.get(..usize::from(*len)).unwrap_or_default();
                if *plain || text.iter().all(|byte| matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~')) {
                    out.put_u8(b'"');
                    out.put_slice(text);
                    out.put_u8(b'"');
                } else {
                    json::write_string(out, &String::from_utf8_lossy(text));
                }
            }
            Self::Json(raw) => out.put_slice(raw),
        }
    }

    /// Appends the id as the field of a binary frame, padded with NUL.
    pub(crate) fn write_field(&self, out: &mut BytesMut) {
        match self {
            Self::Short { text, .. } => out.put_slice(text),
            Self::Json(raw) => {
                let text = json::as_string(raw).unwrap_or_default();
                let text = text.as_bytes().get(..FIELD).unwrap_or(text.as_bytes());
                out.put_slice(text);
                out.put_bytes(0, FIELD.saturating_sub(text.len()));
            }
        }
    }

    /// A number for this id, the same for the same id. A peer that crafts two ids with one number harms only itself.
    pub(crate) fn fingerprint(&self) -> u64 {
        const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
        let (bytes, len) = match self {
            Self::Short { len, text, .. } => (&text[..], usize::from(*len)),
            Self::Json(raw) => (&raw[..], raw.len()),
        };
        let mix = |state: u64, word: u64| (state.rotate_left(26) ^ word).wrapping_mul(MULTIPLIER);
        let (words, rest) = bytes.as_chunks();
        let state = words.iter().fold(len as u64, |state, word| mix(state, u64::from_le_bytes(*word)));
        let state = rest.iter().fold(state, |state, byte| mix(state, u64::from(*byte)));
        state ^ (state >> 32)
    }
}

/// The ids of one connection's own calls: shaped like a UUID, a random prefix and then a number.
///
/// No table is needed to find the call of an answer, and an answer to another connection's call has another prefix.
#[derive(Clone, Copy, Default)]
pub(crate) struct OwnIds {
    prefix: [u8; PREFIX],
}

const PREFIX: usize = 24;
const HEX: &[u8; 16] = b"0123456789abcdef";
const NO_DIGIT: u8 = 0x80;
/// What each byte is worth as a digit of a number in an id of ours.
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut value: u8 = 0;
    #[allow(clippy::indexing_slicing, reason = "worked out when it is compiled")]
    while value < 16 {
        digits[HEX[value as usize] as usize] = value;
        value += 1;
    }
    digits
};

impl OwnIds {
    /// Numbers from here on are not calls.
    pub(crate) const RESERVED: u64 = 0xffff_ffff_ff00;
    /// The number of our handshake.
    pub(crate) const HANDSHAKE: u64 = 0xffff_ffff_ffff;

    pub(crate) fn new(random: &dyn Random) -> Self {
        let mut noise = [0; PREFIX];
        random.fill(&mut noise);
        let mut prefix = *b"xxxxxxxx-xxxx-4xxx-vxxx-";
        for (slot, noise) in prefix.iter_mut().zip(noise) {
            let digit = match *slot {
                b'x' => noise & 15,
                b'v' => 8 | (noise & 3),
                _ => continue,
            };
            *slot = HEX.get(usize::from(digit)).copied().unwrap_or(b'0');
        }
        Self { prefix }
    }

    /// The id with this number, of which the low 48 bits count.
    pub(crate) fn id(&self, number: u64) -> [u8; FIELD] {
        let mut text = [b'0'; FIELD];
        for (slot, byte) in text.iter_mut().zip(self.prefix) {
            *slot = byte;
        }
        let mut rest = number;
        for slot in text.iter_mut().rev().take(FIELD - PREFIX) {
            *slot = HEX.get((rest & 15) as usize).copied().unwrap_or(b'0');
            rest >>= 4;
        }
        text
    }

    /// The number in `text`, if it is an id of ours. Compared byte for byte.
    pub(crate) fn number(&self, text: &[u8]) -> Option<u64> {
        let digits: &[u8; FIELD - PREFIX] = text.strip_prefix(&self.prefix)?.try_into().ok()?;
        let (mut number, mut all) = (0, 0);
        for byte in digits {
            let digit = DIGITS.get(usize::from(*byte)).copied().unwrap_or(NO_DIGIT);
            number = (number << 4) | u64::from(digit & 15);
            all |= digit;
        }
        (all < 16).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polywire_core::SeededRandom;

    fn json(id: &Id) -> String {
        let mut out = BytesMut::new();
        id.write_json(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn field(id: &Id) -> Vec<u8> {
        let mut out = BytesMut::new();
        id.write_field(&mut out);
        out.to_vec()
    }

    #[test]
    fn s08_any_json_value_up_to_128_bytes_is_echoed_unchanged() {
        for raw in [
            "\"abc\"",
            "7",
            "{\"a\":1}",
            "\"\\u0061\"",
            "\"é\"",
            "true",
            "\"36 characters 36 characters 36 charac\"",
        ] {
            assert_eq!(json(&Id::from_json(raw.as_bytes()).unwrap()), raw);
        }
        let longest = format!("\"{}\"", "x".repeat(126));
        assert_eq!(json(&Id::from_json(longest.as_bytes()).unwrap()), longest);
        assert_eq!(Id::from_json(format!("\"{}\"", "x".repeat(127)).as_bytes()), None);
    }

    #[test]
    fn s08_an_id_never_holds_what_ends_a_line() {
        let id = Id::from_json(b"{\"a b\":\n[1,\t2 ]\r\n}").unwrap();
        assert_eq!(json(&id), "{\"a b\":[1,2]}");
    }

    #[test]
    fn s08_odd_ids_of_frames_are_echoed_byte_for_byte() {
        for (got, echoed) in [
            (&b"abc\0\0def"[..], &b"abc"[..]),
            (b"", b""),
            (&[0; 36], b""),
            (b"\xffzz", b"\xffzz"),
            (b"0123456789012345678901234567890123456789", b"012345678901234567890123456789012345"),
        ] {
            let mut padded = echoed.to_vec();
            padded.resize(FIELD, 0);
            assert_eq!(field(&Id::from_field(got)), padded);
        }
        assert_eq!(json(&Id::from_field(b"a\"b\xff")), "\"a\\\"b\u{fffd}\"");
    }

    #[test]
    fn an_id_crosses_from_a_line_into_a_frame_only_when_the_peer_would_know_it_again() {
        for (raw, fits) in
            [("\"abc\"", true), ("\"\\u0061\"", true), ("7", false), ("{}", false), ("\"\\u0000\"", false)]
        {
            assert_eq!(Id::from_json(raw.as_bytes()).unwrap().fits_frame(), fits, "{raw}");
        }
        assert_eq!(&field(&Id::from_json(b"\"\\u0061b\"").unwrap())[..3], b"ab\0");
        let long = format!("\"{}\"", "x".repeat(37));
        assert!(!Id::from_json(long.as_bytes()).unwrap().fits_frame());
    }

    #[test]
    fn own_ids_are_uuid_shaped_and_carry_the_number() {
        let own = OwnIds::new(&SeededRandom::new(1));
        let other = OwnIds::new(&SeededRandom::new(2));
        for number in [0, 1, 0xabc_def0_1234, OwnIds::HANDSHAKE] {
            let id = own.id(number);
            assert_eq!(own.number(&id), Some(number));
            assert_eq!(other.number(&id), None);
            let text = std::str::from_utf8(&id).unwrap();
            assert_eq!(uuid::Uuid::parse_str(text).unwrap().get_version_num(), 4);
        }
        let id = own.id(0xabc);
        assert_eq!(own.number(&id[..35]), None);
        assert_eq!(own.number(&id.to_ascii_uppercase()), None);
        assert_eq!(own.number(&[&id[..], b"0"].concat()), None);
    }

    #[test]
    fn fingerprints_tell_neighbours_apart() {
        let own = OwnIds::new(&SeededRandom::new(3));
        let mut seen = std::collections::HashSet::new();
        assert!((0..10_000).all(|number| seen.insert(Id::own(own.id(number)).fingerprint())));
    }
}
