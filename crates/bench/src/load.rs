//! The load generators: as little work of their own as possible, the same for every server.

pub(crate) mod hpx;
pub(crate) mod hyperhq;
pub(crate) mod sockhop;
pub(crate) mod stonyx;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What one run of a generator saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Calls that were answered.
    pub(crate) calls: u64,
    /// Reads that brought them.
    pub(crate) reads: u64,
    /// From the first byte sent to the last one received.
    pub(crate) elapsed: Duration,
}

/// A stream that counts the reads which brought something.
#[derive(Debug)]
pub(crate) struct Counted {
    io: TcpStream,
    reads: u64,
}

impl Counted {
    pub(crate) fn new(io: TcpStream) -> Self {
        Self { io, reads: 0 }
    }

    pub(crate) fn reads(&self) -> u64 {
        self.reads
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        self.reads += 1;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
