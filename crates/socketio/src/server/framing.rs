//! What RFC 6455 asks of the frames of a client.
//!
//! The library asks it too, but whoever breaks it gets an end without a code, and is told of as a client that has left. Judged
//! here are the heads and the close frame, which is short. Texts are not looked through: that they are UTF-8 is left to the library.

use polywire_net::websocket::Header;

use super::verdict::Verdict;

/// Three bits that no extension of ours gives a meaning.
const RESERVED: u8 = 0x70;
/// The most that a frame may hold which is no part of a message.
const CONTROL_BYTES: u64 = 125;

/// Judges a frame by its head; `open` says whether the message before it waits for its rest.
///
/// # Errors
/// How it breaks the protocol.
pub(super) fn head(header: &Header, open: bool) -> Result<(), Verdict> {
    let breach = match header.opcode() {
        _ if header.mask.is_none() => "a frame without a mask",
        _ if header.first & RESERVED != 0 => "a frame with a reserved bit",
        _ if header.length < least(header) => "a frame whose length is longer than it has to be",
        3..=7 | 11.. => "a frame with an unknown opcode",
        8.. if !header.is_final() => "a ping, a pong or a close in fragments",
        8.. if header.length > CONTROL_BYTES => "a ping, a pong or a close of more than 125 bytes",
        8 if header.length == 1 => "a close with half a code",
        0 if !open => "a continuation of no message",
        1 | 2 if open => "a message within another",
        _ => return Ok(()),
    };
    Err(Verdict::Breach(breach))
}

/// The least length that a head of its form stands for.
fn least(header: &Header) -> u64 {
    // With a mask.
    match header.bytes {
        8 => 126,
        Header::MAX_BYTES => 1 << 16,
        _ => 0,
    }
}

/// Judges a close frame by its content.
///
/// # Errors
/// How it breaks the protocol.
pub(super) fn close(content: &[u8]) -> Result<(), Verdict> {
    let Some((code, words)) = content.split_first_chunk() else { return Ok(()) };
    if !matches!(u16::from_be_bytes(*code), 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Verdict::Breach("a close with a code that no peer may send"));
    }
    std::str::from_utf8(words)
        .map(|_| ())
        .map_err(|_| Verdict::NotUtf8("a close with words that are not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(frame: &[u8], open: bool) -> Result<(), Verdict> {
        head(&Header::of(frame).unwrap(), open)
    }

    #[test]
    fn h09_what_a_head_breaks_is_named() {
        for (first, second, open, breach) in [
            (0x81, 0x01, false, "a frame without a mask"),
            (0xC1, 0x81, false, "a frame with a reserved bit"),
            (0x83, 0x81, false, "a frame with an unknown opcode"),
            (0x8B, 0x80, false, "a frame with an unknown opcode"),
            (0x09, 0x80, false, "a ping, a pong or a close in fragments"),
            (0x8A, 0x80 | 126, false, "a ping, a pong or a close of more than 125 bytes"),
            (0x88, 0x81, false, "a close with half a code"),
            (0x80, 0x81, false, "a continuation of no message"),
            (0x81, 0x81, true, "a message within another"),
            (0x02, 0x81, true, "a message within another"),
        ] {
            let frame = [first, second, 1, 0, 0, 0, 0, 0];
            assert_eq!(judged(&frame, open), Err(Verdict::Breach(breach)));
        }
        for (length, shortest) in [
            (&[0xFE, 0, 125][..], false),
            (&[0xFE, 0, 126], true),
            (&[0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], false),
            (&[0xFF, 0, 0, 0, 0, 0, 1, 0, 0], true),
        ] {
            let frame = [&[0x81][..], length, &[0; 4]].concat();
            assert_eq!(judged(&frame, false).is_ok(), shortest, "{length:x?}");
        }
        for (first, second, open) in [
            (0x81, 0x80, false),
            (0x01, 0xFF, false),
            (0x00, 0x81, true),
            (0x80, 0x80, true),
            (0x89, 0x80 | 125, true),
            (0x8A, 0x80, false),
            (0x88, 0x82, true),
        ] {
            let frame = [first, second, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
            assert_eq!(judged(&frame, open), Ok(()), "{first:x} {second:x}");
        }
    }

    #[test]
    fn h09_a_close_has_a_code_that_a_peer_may_send_and_words() {
        for code in [1000_u16, 1003, 1007, 1011, 3000, 4999] {
            assert_eq!(close(&[&code.to_be_bytes()[..], "bye ä".as_bytes()].concat()), Ok(()));
        }
        assert_eq!(close(b""), Ok(()));
        for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535] {
            assert!(matches!(close(&code.to_be_bytes()), Err(Verdict::Breach(_))), "{code}");
        }
        assert!(matches!(close(&[0x03, 0xE8, 0xFF]), Err(Verdict::NotUtf8(_))));
    }
}
