//! A stream of bytes as tungstenite wants it: calls that fail with `WouldBlock` instead of being polled.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::WebSocketError;
use super::boundaries::Boundaries;
use super::fragments::Fragments;

/// The stream, and whom to wake when it would have blocked. One task polls both directions.
#[derive(Debug)]
pub(super) struct Blocking<Io> {
    pub(super) io: Io,
    waker: Waker,
    /// Where messages begin and end in what was read.
    pub(super) boundaries: Boundaries,
    /// Cuts large frames; apart, because it is seldom looked at.
    pub(super) fragments: Box<Fragments>,
    /// Most frames of one message.
    max_fragments: u32,
    /// What was cut and is not taken yet, and how much of it was.
    cut: (Vec<u8>, usize),
    /// Bytes written so far.
    pub(super) written: u64,
}

impl<Io> Blocking<Io> {
    pub(super) fn new(io: Io, max_fragments: u32) -> Self {
        Self {
            io,
            max_fragments,
            waker: Waker::noop().clone(),
            boundaries: Boundaries::default(),
            fragments: Box::default(),
            cut: (Vec::new(), 0),
            written: 0,
        }
    }

    /// Bytes that were read elsewhere, as they are to be handed on.
    pub(super) fn pass(&mut self, read: Vec<u8>) -> Vec<u8> {
        self.boundaries.pass(&read);
        if self.fragments.passes(&read) {
            return read;
        }
        let mut out = Vec::with_capacity(read.len());
        self.fragments.cut(&read, &mut out);
        out
    }

    /// Hands on what was cut; 0 when there is nothing.
    fn take_cut(&mut self, into: &mut [u8]) -> usize {
        let (bytes, taken) = &mut self.cut;
        let left = bytes.get(*taken..).unwrap_or_default();
        let count = left.len().min(into.len());
        if let (Some(into), Some(left)) = (into.get_mut(..count), left.get(..count)) {
            into.copy_from_slice(left);
        }
        *taken += count;
        if *taken == bytes.len() {
            *taken = 0;
            bytes.clear();
            // A connection that rests holds no buffer.
            bytes.shrink_to(if self.boundaries.between() { 0 } else { usize::MAX });
        }
        count
    }

    pub(super) fn wake_with(&mut self, cx: &Context<'_>) {
        self.waker.clone_from(cx.waker());
    }
}

fn or_would_block<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl<Io: AsyncRead + Unpin> Read for Blocking<Io> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let taken = self.take_cut(into);
            if taken > 0 {
                return Ok(taken);
            }
            let mut room = ReadBuf::new(&mut *into);
            let mut cx = Context::from_waker(&self.waker);
            or_would_block(Pin::new(&mut self.io).poll_read(&mut cx, &mut room))?;
            let read = room.filled();
            self.boundaries.pass(read);
            if self.boundaries.most_frames > self.max_fragments {
                return Err(io::Error::other(WebSocketError::Fragments(self.max_fragments)));
            }
            if read.is_empty() || self.fragments.passes(read) {
                return Ok(read.len());
            }
            // Nothing comes of it where a header has only begun.
            self.fragments.cut(read, &mut self.cut.0);
        }
    }
}

impl<Io: AsyncWrite + Unpin> Write for Blocking<Io> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut cx = Context::from_waker(&self.waker);
        let written = or_would_block(Pin::new(&mut self.io).poll_write(&mut cx, bytes))?;
        self.written = self.written.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut cx = Context::from_waker(&self.waker);
        or_would_block(Pin::new(&mut self.io).poll_flush(&mut cx))
    }
}
