//! What becomes of a part of a frame that is kept: a copy of its own, or a slice that keeps all of the frame's buffer.

use std::ops::Deref;

use bytes::Bytes;

use crate::spare::{SMALL, copied};

/// A slice keeps at most so many times its length; what would keep more is copied.
const MOST_KEPT: usize = 8;

/// Bytes of a body, and how much memory they keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub(crate) bytes: Bytes,
    /// Never less than the bytes.
    pub(crate) pins: usize,
}

impl Part {
    /// `part` of `frame`, which lies in a buffer of `pins` bytes: [`Cx::pins`](crate::Cx::pins), or 0 where that is just the length
    /// of the frame.
    ///
    /// At most 1 KiB is copied, and so is what is less than an eighth of its buffer. What is larger is a slice, without a copy, and
    /// keeps the buffer.
    pub fn of(frame: &Bytes, part: &[u8], pins: usize) -> Self {
        let pins = pins.max(frame.len());
        if part.len() <= SMALL || part.len() < pins / MOST_KEPT {
            return copied(part).into();
        }
        Self { bytes: frame.slice_ref(part), pins }
    }

    /// How much memory it keeps, in bytes.
    pub fn pins(&self) -> usize {
        self.pins
    }

    /// The bytes alone.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

/// Bytes with memory of their own.
impl From<Bytes> for Part {
    fn from(bytes: Bytes) -> Self {
        Self { pins: bytes.len(), bytes }
    }
}

impl Deref for Part {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_part_is_copied_and_a_large_one_is_a_slice_that_says_what_it_keeps() {
        let small = Bytes::from(vec![7; 4 << 10]);
        let part = Part::of(&small, &small[..(1 << 10) + 1], 0);
        assert_eq!((part.as_ptr(), part.pins()), (small.as_ptr(), 4 << 10));
        let frame = Bytes::from(vec![7; 16 << 10]);
        for (size, buffer, kept) in [
            (0, 0, None),
            (1 << 10, 0, None),
            ((1 << 10) + 1, 0, None),
            ((2 << 10) - 1, 0, None),
            (2 << 10, 0, Some(16 << 10)),
            (16 << 10, 0, Some(16 << 10)),
            (16 << 10, 128 << 10, Some(128 << 10)),
            (16 << 10, (128 << 10) + 8, None),
        ] {
            let part = Part::of(&frame, &frame[..size], buffer);
            let is_slice = size > 0 && part.bytes.as_ptr() == frame.as_ptr();
            assert_eq!((is_slice, part.pins), (kept.is_some(), kept.unwrap_or(size)), "{size} of {buffer}");
            assert_eq!(part.into_bytes(), frame[..size]);
        }
    }
}
