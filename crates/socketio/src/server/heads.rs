//! Where the head of a request ends.
//!
//! What HTTP reads beyond the head of a request for a WebSocket it hands to the library by itself, past every guard. So no read
//! of it goes beyond the end of a head: what stands behind is kept back until it asks again, or until there is a WebSocket.

/// The fewest letters in a head that makes a WebSocket: its first line alone has more. A shorter block ends nowhere, so that a body
/// of empty lines is not read byte by byte.
const FEWEST: usize = 32;

/// Blocks of lines up to an empty one, as every head is. A body may look like one, and is then read in pieces.
#[derive(Debug)]
pub(super) struct Heads {
    /// Bytes other than line ends since the last empty line.
    letters: usize,
    /// The line at hand has none so far.
    empty: bool,
}

impl Heads {
    pub(super) fn new() -> Self {
        Self { letters: 0, empty: true }
    }

    /// How many of these bytes may be read at once: up to the end of the first block, or all of them.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' if self.empty => {
                    if std::mem::take(&mut self.letters) >= FEWEST {
                        return at + 1;
                    }
                }
                b'\n' => self.empty = true,
                // A line may end without one.
                b'\r' => {}
                _ => {
                    self.letters = self.letters.saturating_add(1);
                    self.empty = false;
                }
            }
        }
        bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "GET /?EIO=4&transport=websocket HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";

    /// What is read at once of these bytes, when as many as `size` come at a time.
    fn reads(bytes: &[u8], size: usize) -> Vec<usize> {
        let mut heads = Heads::new();
        let mut ends = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let most = (at + size).min(bytes.len());
            at += heads.take(&bytes[at..most]);
            ends.push(at);
        }
        ends
    }

    #[test]
    fn no_read_goes_beyond_the_end_of_a_head() {
        for line_end in ["\r\n", "\n"] {
            let head = HEAD.replace("\r\n", line_end);
            // Empty lines before a head are none of it; a head behind a body is one, too.
            for before in ["", "\r\n\r\n", "POST / HTTP/1.1\nContent-Length: 7\n\n\n\n\n\nxyz"] {
                let bytes = [before, &head, "behind\r\n\r\n", &head].concat();
                let end = before.len() + head.len();
                for size in 1..=bytes.len() {
                    assert!(reads(bytes.as_bytes(), size).contains(&end), "{size} bytes of {bytes:?}");
                }
            }
        }
    }

    #[test]
    fn a_body_of_empty_lines_is_not_read_byte_by_byte() {
        assert_eq!(reads(&b"\r\n".repeat(1_000), 2_000), [2_000]);
        let few = [&b"x".repeat(FEWEST - 1)[..], b"\n\n"].concat().repeat(100);
        assert_eq!(reads(&few, few.len()), [few.len()]);
        let enough = [&b"x".repeat(FEWEST)[..], b"\n\n"].concat().repeat(100);
        assert_eq!(reads(&enough, enough.len()).len(), 100);
    }
}
