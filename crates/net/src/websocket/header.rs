//! The head of a frame, as RFC 6455 section 5.2 has it.

pub(super) const FINAL: u8 = 0x80;
const CONTROL: u8 = 0x08;
pub(super) const MASKED: u8 = 0x80;

/// What the head of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The first byte: the end mark, three reserved bits, the opcode.
    pub first: u8,
    /// Bytes of the head itself.
    pub bytes: usize,
    /// Bytes of the content.
    pub length: u64,
    /// What the content was masked with, if it was.
    pub mask: Option<[u8; 4]>,
}

impl Header {
    /// The longest head: two bytes, a length of eight, a mask of four.
    pub const MAX_BYTES: usize = 14;

    /// The head that these bytes begin with; `None` while it is not whole.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let &[first, second, ..] = bytes else { return None };
        let (length, at) = match second & !MASKED {
            126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
            short => (u64::from(short), 2),
        };
        let size = Self::size(second);
        let mask = if second & MASKED == 0 { None } else { Some(bytes.get(at..size)?.try_into().ok()?) };
        Some(Self { first, bytes: size, length, mask })
    }

    /// How long the head with this second byte is.
    fn size(second: u8) -> usize {
        let length = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if second & MASKED == 0 { 0 } else { 4 }
    }

    /// Text is 1, bytes are 2, more of them is 0.
    pub fn opcode(&self) -> u8 {
        self.first & 15
    }

    /// Bytes of the whole frame.
    pub fn frame_bytes(&self) -> u64 {
        self.length.saturating_add(self.bytes as u64)
    }

    /// Is this the last frame of its message?
    pub fn is_final(&self) -> bool {
        self.first & FINAL != 0
    }

    /// Is it no part of a message, but a ping, a pong or the end?
    pub fn is_control(&self) -> bool {
        self.first & CONTROL != 0
    }
}

/// A head that comes byte by byte.
#[derive(Debug, Default)]
pub(super) struct Begun {
    bytes: [u8; Header::MAX_BYTES],
    have: usize,
}

impl Begun {
    /// Has nothing of it come?
    pub(super) fn is_empty(&self) -> bool {
        self.have == 0
    }

    /// What has come of it.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.have).unwrap_or_default()
    }

    /// Takes what belongs to it off the front of `bytes`. Once it is whole it is given back, and stays until
    /// [`clear`](Self::clear).
    pub(super) fn take(&mut self, bytes: &mut &[u8]) -> Option<Header> {
        loop {
            let wanted = if self.have < 2 { 2 } else { Header::size(self.bytes[1]) };
            if self.have == wanted {
                return Header::of(self.bytes());
            }
            if bytes.is_empty() {
                return None;
            }
            let count = wanted.saturating_sub(self.have).min(bytes.len());
            let (now, later) = bytes.split_at_checked(count)?;
            for (place, byte) in self.bytes.iter_mut().skip(self.have).zip(now) {
                *place = *byte;
            }
            self.have += count;
            *bytes = later;
        }
    }

    /// Forgets it: the next bytes begin the next one.
    pub(super) fn clear(&mut self) {
        self.have = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_whole_and_not_before() {
        let mask = [1, 2, 3, 4];
        for (head, length, masked) in [
            (vec![0x81, 125], 125, false),
            (vec![0x02, 0x80, 1, 2, 3, 4], 0, true),
            (vec![0x82, 126, 1, 0], 256, false),
            (vec![0x89, 0xFE, 0, 9, 1, 2, 3, 4], 9, true),
            (vec![0x82, 127, 0, 0, 0, 1, 0, 0, 0, 2], (1 << 32) + 2, false),
            (vec![0x82, 0xFF, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4], u64::MAX, true),
        ] {
            let expected = Header { first: head[0], bytes: head.len(), length, mask: masked.then_some(mask) };
            for cut in 0..head.len() {
                assert_eq!(Header::of(&head[..cut]), None, "{cut} of {head:?}");
                let (mut begun, mut first, mut second) = (Begun::default(), &head[..cut], &head[cut..]);
                assert_eq!(begun.take(&mut first), None, "{cut} of {head:?}");
                assert_eq!((first, begun.bytes()), (&[][..], &head[..cut]));
                assert_eq!(begun.take(&mut second), Some(expected), "{cut} of {head:?}");
            }
            let whole = [&head[..], b"content"].concat();
            let mut rest = &whole[..];
            assert_eq!(
                (Header::of(&whole), Begun::default().take(&mut rest)),
                (Some(expected), Some(expected))
            );
            assert_eq!(rest, b"content");
            assert_eq!((expected.opcode(), expected.is_final()), (head[0] & 15, head[0] >= 0x80));
            assert_eq!(expected.is_control(), head[0] == 0x89);
        }
    }
}
