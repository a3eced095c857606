//! The frames of a WebSocket by their heads: what each is, and which of those that leave answer a CONNECT.

use polywire_net::websocket::Header;

use super::head::Head;
use super::verdict::Verdict;

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

    /// The head of a text, of which `head` has come, as far as this frame has it; `None` while that has not come.
    ///
    /// # Errors
    /// How it breaks the protocol.
    pub(super) fn read_on(&self, mut head: Head, bytes: &[u8]) -> Result<Option<Head>, Verdict> {
        let mut content = self.content(bytes);
        let mut left = self.header.length;
        while left > 0 && !head.is_over() {
            let Some(byte) = content.next() else { return Ok(None) };
            head.read(byte)?;
            left -= 1;
        }
        Ok(Some(head))
    }

    /// All of its content, without the mask; `None` while it is not whole.
    pub(super) fn whole(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let end = usize::try_from(self.header.frame_bytes()).ok()?;
        bytes.get(..end).map(|bytes| self.content(bytes).collect())
    }

    /// What there is of its content, and behind it, without the mask.
    fn content<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = u8> + use<'a> {
        let content = bytes.get(self.header.bytes..).unwrap_or_default();
        let mask = self.header.mask.unwrap_or_default();
        content.iter().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask)
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
