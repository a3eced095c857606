//! Watches bytes go by and knows whether a message has been begun and not ended, and the most frames one came in. It judges
//! nothing.

use super::header::Begun;

#[derive(Debug, Default)]
pub(super) struct Boundaries {
    /// The header being read.
    header: Begun,
    /// Bytes of the payload that are still to come.
    payload: u64,
    /// That payload is none of a message.
    control: bool,
    /// A message of several frames has been begun.
    fragmented: bool,
    /// The frames of the message at hand so far.
    frames: u32,
    /// The bytes of its payload so far; none once it is whole.
    bytes: usize,
    /// The most frames that one message had.
    pub(super) most_frames: u32,
}

impl Boundaries {
    /// Between two messages?
    pub(super) fn between(&self) -> bool {
        self.header.is_empty() && self.payload == 0 && !self.fragmented
    }

    /// Bytes of a message that is not whole yet.
    pub(super) fn begun(&self) -> usize {
        self.bytes
    }

    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let skip = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                bytes = bytes.get(skip..).unwrap_or_default();
                if !self.control {
                    self.bytes = self.bytes.saturating_add(skip);
                }
                self.payload -= u64::try_from(skip).unwrap_or(self.payload);
            } else if let Some(header) = self.header.take(&mut bytes) {
                self.header.clear();
                self.payload = header.length;
                self.control = header.is_control();
                if !self.control {
                    self.fragmented = !header.is_final();
                    if header.opcode() != 0 {
                        (self.frames, self.bytes) = (0, 0);
                    }
                    self.frames = self.frames.saturating_add(1);
                    self.most_frames = self.most_frames.max(self.frames);
                }
            }
            if self.between() {
                self.bytes = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_open_from_its_first_byte_to_its_last_however_it_is_cut() {
        let mut long = vec![0x82, 126, 1, 0];
        long.extend_from_slice(&[7; 256]);
        let mut masked = vec![0x01, 0x83, 1, 2, 3, 4, 9, 9, 9];
        // A ping between two fragments, then the end.
        masked.extend_from_slice(&[0x89, 0x00]);
        masked.extend_from_slice(&[0x80, 0x01, 5]);
        for stream in [long, masked, vec![0x81, 0x00]] {
            for cut in 1..stream.len() {
                let mut boundaries = Boundaries::default();
                boundaries.pass(&stream[..cut]);
                assert!(!boundaries.between(), "{cut} of {stream:?}");
                assert!(boundaries.begun() <= cut);
                boundaries.pass(&stream[cut..]);
                assert!(boundaries.between(), "{stream:?}");
                assert_eq!(boundaries.begun(), 0);
            }
        }
    }

    #[test]
    fn frames_are_counted_by_message_and_pings_are_none_of_them() {
        let mut boundaries = Boundaries::default();
        let whole = [0x81, 0x00];
        let three = [0x01, 0x00, 0x89, 0x00, 0x00, 0x00, 0x8a, 0x00, 0x80, 0x00];
        for (bytes, most) in
            [(&whole[..], 1), (&three, 3), (&whole, 3), (&[0x02, 0], 3), (&[0, 0].repeat(7), 8)]
        {
            boundaries.pass(bytes);
            assert_eq!(boundaries.most_frames, most, "{bytes:?}");
        }
    }

    #[test]
    fn a_length_of_all_ones_is_only_a_number() {
        let mut boundaries = Boundaries::default();
        boundaries.pass(&[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2]);
        assert!(!boundaries.between());
    }

    #[test]
    fn a_message_that_is_whole_and_what_a_ping_carries_keep_nothing() {
        let mut boundaries = Boundaries::default();
        let mut begun = |bytes: &[u8]| {
            boundaries.pass(bytes);
            boundaries.begun()
        };
        let whole = [&[0x82, 126, 1, 0][..], &[7; 256]].concat();
        assert_eq!([begun(&whole), begun(&[0x89])], [0, 0], "the first byte of a ping");
        assert_eq!([begun(&[3, 1, 2]), begun(&[3])], [0, 0], "and its payload");
        assert_eq!([begun(&whole[..4]), begun(&whole[4..100]), begun(&whole[100..])], [0, 96, 0]);
        // Two fragments with a ping between them.
        assert_eq!([begun(&[0x01, 3, 1, 2, 3]), begun(&[0x89, 2, 9, 9]), begun(&[0x8a])], [3, 3, 3]);
        assert_eq!([begun(&[0]), begun(&[0x00, 2, 4, 5]), begun(&[0x80, 1, 6])], [3, 5, 0]);
        assert_eq!([begun(&[0x01, 1, 1]), begun(&[0x80, 0]), begun(&[0x89])], [1, 0, 0]);
    }
}
