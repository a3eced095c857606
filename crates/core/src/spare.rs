//! Buffers between two uses, a few for each thread: a connection that wakes takes one instead of asking the allocator, and an
//! idle connection holds none.

use std::cell::RefCell;
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Most buffers a thread keeps.
const KEPT: usize = 4;
/// Room in a fresh buffer.
const ROOM: usize = 16 << 10;
/// Room that small copies share.
const PIECE: usize = 4 << 10;
/// Up to this size a copy is a small one.
pub(crate) const SMALL: usize = 1 << 10;
/// Most full pieces a thread keeps in sight.
const PIECES: usize = 16;
/// A buffer with more room than this is not kept.
pub(crate) const MAX_ROOM: usize = 256 << 10;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    static COPIES: RefCell<Copies> = RefCell::new(Copies::new());
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
    COPIES.with_borrow_mut(|copies| copies.copy(part))
}

/// The piece that small copies are made into, and those before it.
struct Copies {
    piece: BytesMut,
    /// Full pieces, oldest first: what is copied in a burst is mostly let go in the same order.
    full: VecDeque<BytesMut>,
}

impl Copies {
    fn new() -> Self {
        Self { piece: BytesMut::with_capacity(PIECE), full: VecDeque::new() }
    }

    fn copy(&mut self, part: &[u8]) -> Bytes {
        if self.piece.capacity() < part.len() {
            self.make_room();
        }
        self.piece.extend_from_slice(part);
        self.piece.split().freeze()
    }

    /// In the same piece or in the oldest one, if nobody holds a part of it any more, else in a fresh one.
    fn make_room(&mut self) {
        if self.piece.try_reclaim(PIECE) {
            return;
        }
        let free = self.full.pop_front_if(|oldest| oldest.try_reclaim(PIECE));
        if self.full.len() >= PIECES {
            self.full.pop_front();
        }
        let next = free.unwrap_or_else(|| BytesMut::with_capacity(PIECE));
        self.full.push_back(std::mem::replace(&mut self.piece, next));
    }
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
    fn a_full_piece_is_used_again_once_nobody_holds_a_part_of_it() {
        let mut copies = Copies::new();
        let first = copies.copy(&[1; PIECE]);
        let place = first.as_ptr();
        let second = copies.copy(&[2; PIECE]);
        assert_ne!(second.as_ptr(), place, "the first is still held");
        drop(first);
        let third = copies.copy(&[3; PIECE]);
        assert_eq!(third.as_ptr(), place);
        assert_eq!((&second[..], &third[..]), (&[2; PIECE][..], &[3; PIECE][..]));
    }

    #[test]
    fn a_thread_keeps_a_bounded_number_of_full_pieces() {
        let mut copies = Copies::new();
        let held: Vec<_> = (0..2 * PIECES).map(|_| copies.copy(&[1; PIECE])).collect();
        assert_eq!(copies.full.len(), PIECES);
        assert!(held.iter().all(|copy| *copy == [1; PIECE][..]));
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
