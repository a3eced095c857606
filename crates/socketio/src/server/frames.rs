//! The frames of a WebSocket by their heads: what each is, and which of those that leave answer a CONNECT.

use polywire_net::websocket::Header;

/// The longest count of attachments that is read; a longer one is refused by the library.
const COUNT_DIGITS: usize = 5;
/// The longest head of a frame, and the two bytes of its content that say what it is.
const LOOK: usize = Header::MAX_BYTES + 2;

/// The head of a frame, and what it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) header: Header,
    /// The first bytes of its content, without the mask.
    pub(super) look: [Option<u8>; 2],
}

impl Frame {
    /// The head that these bytes begin with; `None` while it is not whole.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        Self::behind(Header::of(bytes)?, bytes)
    }

    /// The same, where the head has been read.
    pub(super) fn behind(header: Header, bytes: &[u8]) -> Option<Self> {
        let mut look = [None; 2];
        for ((index, place), mask) in look.iter_mut().enumerate().zip(header.mask.unwrap_or_default()) {
            if (index as u64) < header.length {
                *place = Some(bytes.get(header.bytes + index)? ^ mask);
            }
        }
        Some(Self { header, look })
    }

    /// How many attachments a packet that begins with it announces; `None` while that has not come. At least one where later
    /// frames say it, or no count is that long.
    pub(super) fn announced(&self, bytes: &[u8]) -> Option<u32> {
        let (1, [Some(b'4'), Some(b'5' | b'6')]) = (self.header.opcode(), self.look) else { return Some(0) };
        let mask = self.header.mask.unwrap_or_default();
        let mut count: u32 = 0;
        for (index, mask) in mask.iter().cycle().enumerate().take(2 + COUNT_DIGITS).skip(2) {
            if index as u64 >= self.header.length {
                break;
            }
            match bytes.get(self.header.bytes + index)? ^ mask {
                digit @ b'0'..=b'9' => count = count * 10 + u32::from(digit - b'0'),
                _ => return Some(count),
            }
        }
        Some(count.max(1))
    }

    /// All of its content, without the mask; `None` while it is not whole.
    pub(super) fn content(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let content = bytes.get(self.header.bytes..usize::try_from(self.header.frame_bytes()).ok()?)?;
        let mask = self.header.mask.unwrap_or_default();
        Some(content.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect())
    }

    /// Does a server answer CONNECT with it?
    fn is_answer(&self) -> bool {
        self.header.opcode() == 1 && matches!(self.look, [Some(b'4'), Some(b'0' | b'4')])
    }
}

/// What leaves once the stream is a WebSocket: its response first, then frames. A client that asks for a WebSocket before it has
/// taken an earlier response may have that one taken for it: what is said behind a CONNECT of its own may then wait for ever.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// How much of the end of the response's head has been seen.
    head: usize,
    /// The head of a frame, as far as it has been written.
    begun: Vec<u8>,
    /// Bytes of the frame at hand that are still to come.
    rest: u64,
}

impl Writes {
    /// How many answers to CONNECT are among these bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> usize {
        const END: &[u8; 4] = b"\r\n\r\n";
        let mut answers = 0;
        while let Some(&byte) = bytes.first() {
            if let Some(&expected) = END.get(self.head) {
                self.head = match byte {
                    byte if byte == expected => self.head + 1,
                    b'\r' => 1,
                    _ => 0,
                };
                bytes = bytes.get(1..).unwrap_or_default();
            } else if self.rest > 0 {
                let count = usize::try_from(self.rest).unwrap_or(usize::MAX).min(bytes.len());
                self.rest -= count as u64;
                bytes = bytes.get(count..).unwrap_or_default();
            } else if self.begun.is_empty()
                && let Some(frame) = Frame::of(bytes)
            {
                answers += usize::from(frame.is_answer());
                self.rest = frame.header.frame_bytes();
            } else {
                // Cut within its head.
                let count = (LOOK - self.begun.len()).min(bytes.len());
                let known = self.begun.len();
                self.begun.extend_from_slice(bytes.get(..count).unwrap_or_default());
                let Some(frame) = Frame::of(&self.begun) else { return answers };
                answers += usize::from(frame.is_answer());
                self.rest = frame.header.frame_bytes() - known as u64;
                self.begun.clear();
            }
        }
        answers
    }
}
