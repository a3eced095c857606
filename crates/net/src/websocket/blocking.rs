//! A stream of bytes as tungstenite wants it: calls that fail with `WouldBlock` instead of being polled.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::boundaries::Boundaries;

/// The stream, and whom to wake when it would have blocked. One task polls both directions.
#[derive(Debug)]
pub(super) struct Blocking<Io> {
    pub(super) io: Io,
    waker: Waker,
    /// Where messages begin and end in what was read.
    pub(super) boundaries: Boundaries,
    /// Bytes written so far.
    pub(super) written: u64,
}

impl<Io> Blocking<Io> {
    pub(super) fn new(io: Io) -> Self {
        Self { io, waker: Waker::noop().clone(), boundaries: Boundaries::default(), written: 0 }
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
        let mut room = ReadBuf::new(into);
        let mut cx = Context::from_waker(&self.waker);
        or_would_block(Pin::new(&mut self.io).poll_read(&mut cx, &mut room))?;
        self.boundaries.pass(room.filled());
        Ok(room.filled().len())
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
