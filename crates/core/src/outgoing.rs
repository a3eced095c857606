//! Bytes on their way out: small pieces are gathered, large ones are shared and never copied.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use crate::spare;

/// From this size on a piece is queued as it is instead of being copied.
const SHARE_FROM: usize = 8 << 10;

/// Most pieces handed to the operating system in one write.
const PIECES: usize = 16;

/// A write buffer that a codec appends to and a transport drains.
#[derive(Default)]
pub struct Outgoing {
    /// Full pieces, in order, before `tail`.
    pieces: VecDeque<Bytes>,
    tail: BytesMut,
    len: usize,
    /// Everything before this many bytes leaves in writes of its own.
    fences: VecDeque<usize>,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outgoing({} bytes)", self.len)
    }
}

impl Outgoing {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes waiting.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Is nothing waiting?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a copy of `bytes`.
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.tail().put_slice(bytes);
        self.len = self.len.saturating_add(bytes.len());
    }

    /// Appends `bytes`, shared when they are large.
    pub fn put_bytes(&mut self, bytes: Bytes) {
        if bytes.len() < SHARE_FROM {
            return self.put_slice(&bytes);
        }
        self.len = self.len.saturating_add(bytes.len());
        self.close_tail();
        self.pieces.push_back(bytes);
    }

    /// Appends what `write` puts into a plain buffer, for text that is built in place; gives back what `write` returns.
    pub fn put_with<R>(&mut self, write: impl FnOnce(&mut BytesMut) -> R) -> R {
        let before = self.tail.len();
        let result = write(self.tail());
        self.len = self.len.saturating_add(self.tail.len().saturating_sub(before));
        result
    }

    /// Ends a write here: what is waiting leaves before anything appended later, in writes of its own.
    pub(crate) fn fence(&mut self) {
        if self.len > 0 && self.fences.back() != Some(&self.len) {
            self.fences.push_back(self.len);
        }
    }

    /// Everything waiting, as one run of bytes; for tests and for transports that want it whole.
    pub fn take(&mut self) -> Bytes {
        self.close_tail();
        // What is left of it is room that the pieces keep alive anyway.
        self.tail = BytesMut::new();
        self.len = 0;
        self.fences.clear();
        if self.pieces.len() == 1 {
            return self.pieces.pop_front().unwrap_or_default();
        }
        let mut all = BytesMut::new();
        for piece in self.pieces.drain(..) {
            all.put_slice(&piece);
        }
        all.freeze()
    }

    /// Writes until everything is gone or `io` takes no more. Pending means that some bytes are left.
    ///
    /// # Errors
    /// Whatever `io` reports; `WriteZero` when it takes nothing.
    pub fn poll_write_to<W: AsyncWrite + ?Sized>(
        &mut self,
        mut io: Pin<&mut W>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.len > 0 {
            let most = self.fences.front().copied().unwrap_or(self.len);
            let written = if self.pieces.is_empty() {
                let run = self.tail.get(..most.min(self.tail.len())).unwrap_or_default();
                ready!(io.as_mut().poll_write(cx, run))?
            } else {
                let mut slices = [IoSlice::new(&[]); PIECES];
                let mut used = 0;
                let mut room = most;
                let runs = self.pieces.iter().map(|piece| &piece[..]).chain([&self.tail[..]]);
                for (slot, run) in slices.iter_mut().zip(runs) {
                    let run = run.get(..room.min(run.len())).unwrap_or_default();
                    if run.is_empty() {
                        break;
                    }
                    room -= run.len();
                    *slot = IoSlice::new(run);
                    used += 1;
                }
                ready!(io.as_mut().poll_write_vectored(cx, slices.get(..used).unwrap_or_default()))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        self.release();
        Poll::Ready(Ok(()))
    }

    /// Gives back memory that a burst left behind.
    fn release(&mut self) {
        if self.tail.capacity() > 0 {
            spare::give(std::mem::take(&mut self.tail));
        }
        if self.pieces.capacity() > PIECES {
            self.pieces = VecDeque::new();
        }
    }

    fn tail(&mut self) -> &mut BytesMut {
        if self.tail.capacity() == 0 {
            self.tail = spare::take();
        }
        &mut self.tail
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
    }

    fn advance(&mut self, mut written: usize) {
        self.len -= written.min(self.len);
        for fence in &mut self.fences {
            *fence = fence.saturating_sub(written);
        }
        while self.fences.front() == Some(&0) {
            self.fences.pop_front();
        }
        while let Some(piece) = self.pieces.front_mut() {
            if piece.len() > written {
                piece.advance(written);
                return;
            }
            written -= piece.len();
            self.pieces.pop_front();
        }
        self.tail.advance(written.min(self.tail.len()));
    }
}
