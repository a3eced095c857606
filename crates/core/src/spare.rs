//! Buffers between two uses, a few for each thread: a connection that wakes takes one instead of asking the allocator, and an
//! idle connection holds none.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

/// Most buffers a thread keeps.
const KEPT: usize = 4;
/// Room in a fresh buffer.
const ROOM: usize = 16 << 10;
/// Room that small copies share.
const PIECE: usize = 4 << 10;
/// Up to this size a copy is a small one.
const SMALL: usize = 1 << 10;
/// A buffer with more room than this is not kept.
const MAX_ROOM: usize = 256 << 10;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    static COPIES: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// An empty buffer with some room.
pub(crate) fn take() -> BytesMut {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| BytesMut::with_capacity(ROOM))
}

/// A copy of a part of a read buffer, so that the part does not keep all of the buffer.
///
/// Copies of at most 1 KiB that are made one after the other share a piece of memory of 4 KiB: they cost no allocation of their
/// own, and one that is kept keeps its piece.
pub fn copied(part: &[u8]) -> Bytes {
    if part.len() > SMALL {
        return Bytes::copy_from_slice(part);
    }
    COPIES.with_borrow_mut(|piece| {
        if piece.capacity() < part.len() {
            // The same piece again if nobody holds a part of it any more.
            piece.reserve(PIECE);
        }
        piece.extend_from_slice(part);
        piece.split().freeze()
    })
}

/// Gives a buffer back. It is kept when nobody else holds a part of it.
pub(crate) fn give(mut buffer: BytesMut) {
    buffer.clear();
    if buffer.try_reclaim(ROOM) && buffer.capacity() <= MAX_ROOM {
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < KEPT {
                spare.push(buffer);
            }
        });
    }
}

/// How many this thread keeps.
#[cfg(test)]
pub(crate) fn kept() -> usize {
    SPARE.with_borrow(Vec::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_apart_and_outlive_what_they_were_copied_from() {
        let copies: Vec<_> = (0..=u8::MAX).map(|byte| copied(&[byte; 100])).collect();
        for (byte, copy) in (0..=u8::MAX).zip(&copies) {
            assert_eq!(*copy, [byte; 100][..]);
        }
        assert!(copied(&[]).is_empty());
        let large = vec![7; 2 * PIECE];
        assert_eq!(copied(&large), large);
        drop(copies);
        let places: std::collections::HashSet<_> = (0..1_000).map(|_| copied(&[1; 100]).as_ptr()).collect();
        assert!(places.len() <= 2 * PIECE / 100, "memory that nobody holds is used again");
    }

    #[test]
    fn a_buffer_comes_back_empty_unless_a_part_of_it_is_still_held() {
        let mut buffer = take();
        buffer.extend_from_slice(&[7; 100]);
        let place = buffer.as_ptr();
        give(buffer);
        let mut buffer = take();
        assert!(buffer.is_empty() && buffer.as_ptr() == place);
        buffer.extend_from_slice(&[7; 100]);
        let held = buffer.split_to(10).freeze();
        buffer.clear();
        give(buffer);
        assert_ne!(take().as_ptr(), place, "a part of it is still held");
        assert_eq!(held, [7; 10][..]);
        for _ in 0..100 {
            give(BytesMut::with_capacity(ROOM));
        }
        assert_eq!(kept(), KEPT);
    }
}
