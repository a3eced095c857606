//! How much a client may send that the library takes without a word: pings and pongs, and the frames of one message.
//!
//! Observed with engineioxide 0.17.9: neither is bounded, and nothing of them reaches the engine, which bounds the like on every
//! other wire.

use std::time::Duration;

use polywire_core::Moment;
use polywire_net::websocket::MAX_FRAGMENTS;

use super::verdict::Verdict;

/// The time in which they are counted.
const SECOND: Duration = Duration::from_secs(1);

/// What one client has sent of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flood {
    max: u32,
    /// How many since the moment.
    seen: (u32, Option<Moment>),
    /// The frames of the message at hand.
    frames: u32,
}

impl Flood {
    /// At most `max` messages within a second that are sent only to be seen.
    pub(super) fn new(max: u32) -> Self {
        Self { max, seen: (0, None), frames: 0 }
    }

    /// The head of a frame has come, with the first byte of its content.
    ///
    /// # Errors
    /// The verdict, when it is too much.
    pub(super) fn frame(
        &mut self,
        opcode: u8,
        first: Option<u8>,
        now: impl FnOnce() -> Moment,
    ) -> Result<(), Verdict> {
        match opcode {
            0 => self.frames = self.frames.saturating_add(1),
            1 | 2 => self.frames = 1,
            _ => {}
        }
        if self.frames > MAX_FRAGMENTS {
            return Err(Verdict::Fragments(MAX_FRAGMENTS));
        }
        // Pings and pongs of the WebSocket, then those of Engine.IO; an empty frame may begin one.
        match (opcode, first) {
            (9.., _) | (1, None) => self.seen(now),
            (1, Some(first)) => self.packet(first, now),
            _ => Ok(()),
        }
    }

    /// A text of Engine.IO has come that begins with this byte.
    ///
    /// # Errors
    /// The verdict, when it is too much.
    pub(super) fn packet(&mut self, first: u8, now: impl FnOnce() -> Moment) -> Result<(), Verdict> {
        // Pings and pongs, and what it has besides.
        if matches!(first, b'0' | b'2' | b'3' | b'6') { self.seen(now) } else { Ok(()) }
    }

    fn seen(&mut self, now: impl FnOnce() -> Moment) -> Result<(), Verdict> {
        if self.is_too_much(now()) { Err(Verdict::Flood(self.max)) } else { Ok(()) }
    }

    fn is_too_much(&mut self, now: Moment) -> bool {
        match &mut self.seen {
            (count, Some(since)) if now - *since < SECOND => {
                *count = count.saturating_add(1);
                *count > self.max
            }
            seen => {
                *seen = (1, Some(now));
                self.max == 0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONLY_SEEN: [(u8, Option<u8>); 6] =
        [(9, None), (10, Some(b'x')), (1, Some(b'3')), (1, Some(b'2')), (1, Some(b'6')), (1, None)];

    #[test]
    fn h10_more_in_a_second_than_allowed_are_too_much_whatever_they_are() {
        let mut now = Moment::default();
        for (opcode, first) in ONLY_SEEN {
            let mut flood = Flood::new(3);
            for _ in 0..2 {
                for _ in 0..3 {
                    assert_eq!(flood.frame(opcode, first, || now), Ok(()));
                    assert_eq!(flood.frame(1, Some(b'4'), || now), Ok(()));
                }
                now = now + SECOND;
            }
            for (opcode, first) in ONLY_SEEN.iter().take(3) {
                assert_eq!(flood.frame(*opcode, *first, || now), Ok(()));
            }
            assert_eq!(flood.frame(opcode, first, || now), Err(Verdict::Flood(3)));
        }
        let mut flood = Flood::new(3);
        for _ in 0..10_000 {
            assert_eq!(flood.frame(2, None, || now), Ok(()), "an attachment may be empty");
            assert_eq!(flood.frame(1, Some(b'4'), || now), Ok(()));
        }
    }

    #[test]
    fn h08_a_message_in_more_frames_than_allowed_is_too_much() {
        let now = Moment::default;
        let mut flood = Flood::new(3);
        for _ in 0..2 {
            assert_eq!(flood.frame(1, Some(b'4'), now), Ok(()));
            for _ in 1..MAX_FRAGMENTS {
                assert_eq!(flood.frame(0, None, now), Ok(()));
            }
        }
        assert_eq!(flood.frame(0, None, now), Err(Verdict::Fragments(1_024)));
    }
}
