//! Binary mode: the six message layouts, and buffers as base64 where the wire is text.
//!
//! ```text
//! payload   t u8 | type (t bytes) | d u32 LE | data (d bytes) | callback id (36 bytes; ids 11 12 14 15)
//! ids       10 json   11 json asks   12 json answers   13 bytes   14 bytes ask   15 bytes answer
//! ```
//! Source: observed (`codec-binary-210`). Called by `codec` and `wire`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use polywire_core::{FrameError, Outgoing};

use crate::codec::{Frame, too_long};
use crate::id::FIELD;
use crate::wire::{Bad, Data, Link, Message, NOTHING};

/// Is this one of the six message ids?
pub(crate) fn is_known(id: u8) -> bool {
    (10..=15).contains(&id)
}

/// The fields of one frame, as they stand in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fields<'a> {
    pub(crate) kind: &'a [u8],
    pub(crate) data: &'a [u8],
    /// Are the data bytes rather than JSON text?
    pub(crate) bytes: bool,
    pub(crate) link: FieldLink<'a>,
}

/// What the id of a frame says about callbacks. A field that the frame cuts short is a shorter id, and that is legal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FieldLink<'a> {
    None,
    Ask(&'a [u8]),
    Answer(&'a [u8]),
}

/// Takes a frame apart. Bytes behind the last field are ignored.
pub(crate) fn read(id: u8, payload: &[u8]) -> Result<Fields<'_>, Bad> {
    if !is_known(id) {
        return Err(Bad::UnknownKind);
    }
    let (length, rest) = payload.split_first().ok_or(Bad::Undecodable)?;
    let (kind, rest) = rest.split_at_checked(usize::from(*length)).ok_or(Bad::Undecodable)?;
    let (length, rest) = rest.split_first_chunk().ok_or(Bad::Undecodable)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (data, rest) = rest.split_at_checked(length).ok_or(Bad::Undecodable)?;
    let link = match id {
        11 | 14 => FieldLink::Ask(rest),
        12 | 15 => FieldLink::Answer(rest),
        _ => FieldLink::None,
    };
    Ok(Fields { kind, data, bytes: id >= 13, link })
}

/// Appends `message` as one frame.
pub(crate) fn write(message: Message, out: &mut Outgoing) -> Result<(), FrameError> {
    let Message { kind, data, link } = message;
    let (data, base) = match data {
        Data::Missing => (Bytes::from_static(NOTHING), 10),
        Data::Json(text) => (text, 10),
        Data::Bytes(bytes) => (bytes, 13),
    };
    let kind = kind.as_bytes();
    let short = u8::try_from(kind.len()).map_err(|_| FrameError::Corrupt("type of more than 255 bytes"))?;
    let (id, id_len) = match link {
        Link::None => (base, 0),
        Link::Ask(_) => (base + 1, FIELD),
        Link::Answer(_) => (base + 2, FIELD),
    };
    let length = data.len().saturating_add(5).saturating_add(kind.len()).saturating_add(id_len);
    let length = u32::try_from(length).map_err(|_| too_long(length))?;
    let data_len = u32::try_from(data.len()).unwrap_or(u32::MAX);
    out.put_with(|out| {
        out.put_slice(&length.to_le_bytes());
        out.put_slice(&[id, short]);
        out.put_slice(kind);
        out.put_slice(&data_len.to_le_bytes());
    });
    out.put_bytes(data);
    if let Link::Ask(id) | Link::Answer(id) = &link {
        out.put_with(|out| id.write_field(out));
    }
    Ok(())
}

/// `message`, of JSON, as a request whose callback id is cut away, which a peer reads as an empty one (observed in `bin-11-cb-0`).
///
/// Whatever a peer loses of it at its beginning, the rest is never a whole frame, and no byte of it ends a line: where a stock
/// peer still reads lines, nothing comes of it.
pub(crate) fn beheadable(message: &Message) -> Frame {
    let kind = message.kind.as_bytes();
    let data: &[u8] = match &message.data {
        Data::Missing => NOTHING,
        Data::Json(data) | Data::Bytes(data) => data,
    };
    let mut payload = BytesMut::with_capacity(data.len().saturating_add(kind.len()).saturating_add(5));
    payload.put_u8(u8::try_from(kind.len()).unwrap_or(u8::MAX));
    payload.put_slice(kind);
    payload.put_u32_le(u32::try_from(data.len()).unwrap_or(u32::MAX));
    payload.put_slice(data);
    Frame::Packet { id: 11, payload: payload.freeze() }
}

/// Appends `bytes` in standard base64 with padding, as JSON text with its quotes.
pub(crate) fn write_base64(out: &mut BytesMut, bytes: &[u8]) {
    // 48 bytes become 64 characters without a remainder, so only the last piece is padded.
    const PIECE: usize = 48;
    out.reserve((bytes.len() / 3).saturating_add(1).saturating_mul(4).saturating_add(2));
    out.put_u8(b'"');
    for piece in bytes.chunks(PIECE) {
        let mut text = [0; 64];
        let used = STANDARD.encode_slice(piece, &mut text).unwrap_or(0);
        out.put_slice(text.get(..used).unwrap_or_default());
    }
    out.put_u8(b'"');
}

/// Bytes from base64 as a Node peer reads it: both alphabets, foreign characters skipped, everything from the first `=` on
/// ignored, no padding needed. Source: observed (`json-buf-badbase64`), and Node 20 for what follows a `=`.
pub(crate) fn read_base64(text: &str) -> Vec<u8> {
    if let Ok(bytes) = STANDARD.decode(text) {
        return bytes;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0u8);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' => break,
            _ => continue,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use polywire_size::cases;
    use proptest::prelude::*;

    #[test]
    fn s17_a_ping_that_lost_its_beginning_is_never_a_whole_frame() {
        let ping = crate::control::ping(&"polywire-fence/".repeat(3), std::time::UNIX_EPOCH);
        let Frame::Packet { id, payload } = beheadable(&ping) else { panic!("no packet") };
        let mut frame = u32::try_from(payload.len()).unwrap().to_le_bytes().to_vec();
        frame.push(id);
        frame.extend_from_slice(&payload);
        assert!(!frame.contains(&b'\n'));
        for cut in 1..frame.len() {
            let Some((length, rest)) = frame[cut..].split_first_chunk::<4>() else { continue };
            assert!(u32::from_le_bytes(*length) as usize >= rest.len(), "cut at {cut}");
        }
        let fields = read(id, &payload).unwrap();
        assert_eq!((fields.kind, fields.link), (&b"SockhopPing"[..], FieldLink::Ask(b"")));
    }

    #[test]
    fn s10_base64_is_read_as_node_reads_it() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("AQID", b"\x01\x02\x03"),
            ("AQI", b"\x01\x02"),
            ("AQI=", b"\x01\x02"),
            ("-_8", b"\xfb\xff"),
            ("!!A@Q#I D", b"\x01\x02\x03"),
            ("QQ==QQ==", b"A"),
            ("QUI=QUI=", b"AB"),
            ("A", b""),
            ("é", b""),
        ] {
            assert_eq!(read_base64(text), bytes, "{text}");
        }
    }

    #[test]
    fn s05_fields_that_do_not_fit_their_frame_are_refused_and_bytes_left_over_ignored() {
        for payload in
            [&b""[..], b"\x06Str", b"\x01a", b"\x01a\x01\0\0", b"\x01a\x02\0\0\0x", b"\x01a\xff\xff\xff\xffx"]
        {
            assert_eq!(read(10, payload), Err(Bad::Undecodable), "{payload:?}");
        }
        let fields = read(13, b"\x01a\x01\0\0\0xTRAILING").unwrap();
        assert_eq!((fields.kind, fields.data, fields.bytes), (&b"a"[..], &b"x"[..], true));
        assert_eq!(read(12, b"\0\0\0\0\0id").unwrap().link, FieldLink::Answer(b"id"));
        assert_eq!(read(16, b"\0\0\0\0\0"), Err(Bad::UnknownKind));
    }

    proptest! {
        #![proptest_config(cases::<256>())]

        #[test]
        fn base64_written_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut out = BytesMut::new();
            write_base64(&mut out, &bytes);
            let text = std::str::from_utf8(&out[1..out.len() - 1]).unwrap();
            prop_assert_eq!(text, STANDARD.encode(&bytes));
            prop_assert_eq!(read_base64(text), bytes);
        }
    }
}
