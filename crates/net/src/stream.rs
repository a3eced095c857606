//! What carries the bytes: TCP, alone or under TLS, or what a network that was handed in gives.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use polywire_core::Io;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// One connection's bytes; a call through a table costs nothing beside the system call behind it.
pub type Stream = Box<dyn Io>;

/// A connected stream, before anything such as TLS is put above it.
#[derive(Debug)]
pub enum Socket {
    /// The operating system's.
    Tcp(TcpStream),
    /// Any other: of the network of the surroundings, a Unix socket, one under TLS.
    Other(Stream),
}

impl Socket {
    /// The address of the other end, where that is not this program.
    ///
    /// # Errors
    /// What the operating system says, such as that the peer is gone.
    pub fn peer(&self) -> io::Result<Option<IpAddr>> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().map(|address| Some(address.ip())),
            Self::Other(_) => Ok(None),
        }
    }

    /// Has the operating system end the stream within 60 s when the other end is gone without a word: for a wire that has no
    /// heartbeat of its own.
    pub fn keep_alive(&self) {
        if let Self::Tcp(stream) = self {
            let seconds = Duration::from_secs;
            let probes =
                TcpKeepalive::new().with_time(seconds(30)).with_interval(seconds(10)).with_retries(3);
            let socket = SockRef::from(stream);
            // A system without it finds out at the next write.
            let _ = socket.set_tcp_keepalive(&probes);
            // Nothing is probed while something of ours is unacknowledged, and it is sent again for a quarter of an hour.
            #[cfg(target_os = "linux")]
            let _ = socket.set_tcp_user_timeout(Some(seconds(60)));
        }
    }
}

/// Runs an expression on whichever stream there is, pinned.
macro_rules! each {
    ($socket:expr, $io:ident => $run:expr) => {
        match $socket.get_mut() {
            Socket::Tcp(io) => {
                let $io = Pin::new(io);
                $run
            }
            Socket::Other(io) => {
                let $io = Pin::new(&mut **io);
                $run
            }
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, io => io.poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
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
        match self {
            Self::Tcp(io) => io.is_write_vectored(),
            Self::Other(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => io.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_peer_is_found_within_a_minute() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let socket = Socket::Tcp(stream);
        socket.keep_alive();
        let Socket::Tcp(stream) = &socket else { unreachable!("as made above") };
        let set = SockRef::from(stream);
        assert!(set.keepalive().unwrap());
        let silent = set.tcp_keepalive_time().unwrap();
        let probes = set.tcp_keepalive_interval().unwrap() * set.tcp_keepalive_retries().unwrap();
        assert_eq!(silent + probes, Duration::from_secs(60));
        #[cfg(target_os = "linux")]
        assert_eq!(
            set.tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(60)),
            "also with something on its way"
        );
    }
}
