//! One stream of bytes to a peer, over whatever it was dialled.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use polywire_net::Socket;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
#[cfg(unix)]
use tokio::net::UnixStream;

/// A connected stream.
#[derive(Debug)]
pub(crate) enum Stream {
    Net(Socket),
    #[cfg(unix)]
    Unix(UnixStream),
    #[cfg(feature = "tls")]
    Tls(polywire_net::Stream),
}

/// Runs an expression on whichever stream there is, pinned.
macro_rules! each {
    ($stream:expr, $io:ident => $run:expr) => {
        match $stream.get_mut() {
            Stream::Net(io) => {
                let $io = Pin::new(io);
                $run
            }
            #[cfg(unix)]
            Stream::Unix(io) => {
                let $io = Pin::new(io);
                $run
            }
            #[cfg(feature = "tls")]
            Stream::Tls(io) => {
                let $io = Pin::new(&mut **io);
                $run
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, io => io.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, io => io.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => io.poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => io.poll_shutdown(cx))
    }
}
