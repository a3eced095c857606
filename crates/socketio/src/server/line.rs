//! The stream below HTTP, guarded: writes that stall end it, and reads stop while a queue is full.
//!
//! Observed with socketioxide 0.18.9: without it a client that stops reading is never cleaned up, because the task that writes
//! waits for the client alone.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use polywire_core::{Alarm, Clock, Close, Place};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::clock::alarm_at;
use super::gate::{Gate, Reading};
use super::sieve::Sieve;
use super::verdict::Verdict;

/// What the requests of a stream tell the stream itself.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// That of its session once the stream is a WebSocket.
    gate: Mutex<Arc<Gate>>,
    /// What follows the next response are messages.
    websocket: AtomicBool,
}

impl Slot {
    pub(super) fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The stream is a WebSocket from now on, of the session of this gate.
    pub(super) fn upgraded(&self, gate: &Arc<Gate>) {
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(gate);
        self.websocket.store(true, Ordering::Release);
    }

    fn is_websocket(&self) -> bool {
        self.websocket.load(Ordering::Acquire)
    }
}

/// A guarded stream: reads rest while a queue is full, and a write that makes no progress for `write_timeout` fails.
pub struct Line<Io> {
    io: Io,
    slot: Arc<Slot>,
    sieve: Sieve,
    write_timeout: (Duration, Arc<dyn Clock>),
    stalled: Option<Box<dyn Alarm>>,
    /// The server is gone.
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Its place among the streams of the server.
    _place: Place,
}

impl<Io> Line<Io> {
    pub(super) fn new(
        io: Io,
        slot: Arc<Slot>,
        sieve: Sieve,
        write_timeout: (Duration, Arc<dyn Clock>),
        end: WaitForCancellationFutureOwned,
        place: Place,
    ) -> Self {
        Self { io, slot, sieve, write_timeout, stalled: None, end: Box::pin(end), _place: place }
    }

    /// Notes whether a write got on.
    fn watched<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(done) = &written {
            self.stalled = None;
            if done.is_err() {
                self.slot.gate().lose();
            }
            return written;
        }
        let (limit, clock) = &self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| alarm_at(&**clock, clock.now() + *limit));
        if stalled.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let limit = *limit;
        self.slot.gate().condemn(Verdict::Stalled(limit));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, Close::SlowConsumer(limit).to_string())))
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Line<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end.as_mut().poll(cx).is_ready() {
            self.slot.gate().lose();
            return Poll::Ready(Ok(()));
        }
        let this = &mut *self;
        let (gate, io) = (this.slot.gate(), Pin::new(&mut this.io));
        match gate.poll_read(cx) {
            Poll::Ready(Reading::Go) if this.slot.is_websocket() => {
                let clock = &*this.write_timeout.1;
                let before = (buf.filled().len(), buf.remaining());
                let read = this.sieve.poll_read(io, &gate, clock, cx, buf);
                let nothing = before.1 > 0 && buf.filled().len() == before.0;
                let ended = matches!(&read, Poll::Ready(read) if nothing || read.is_err());
                // In the middle of an upgrade the library takes a close for an error.
                if ended || this.sieve.is_closed() {
                    gate.lose();
                }
                gate.set_begun(this.sieve.has_begun(), read.is_ready());
                read
            }
            Poll::Ready(Reading::Go) => this.sieve.poll_http(io, cx, buf),
            Poll::Ready(Reading::Cut) => {
                if this.slot.is_websocket() {
                    this.sieve.cut(io, cx, buf);
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Line<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(count)) = &written
            && self.slot.is_websocket()
        {
            self.sieve.written(buf.get(..*count).unwrap_or_default());
        }
        self.watched(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(count)) = &written
            && self.slot.is_websocket()
        {
            let mut rest = *count;
            for buf in bufs {
                let part = buf.get(..rest.min(buf.len())).unwrap_or_default();
                rest -= part.len();
                self.sieve.written(part);
            }
        }
        self.watched(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.slot.gate().flushed();
        }
        self.watched(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.io).poll_shutdown(cx);
        self.watched(cx, closed)
    }
}

impl<Io> fmt::Debug for Line<Io> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use polywire_core::{Admission, Endpoint, Router, TokioClock};
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn a_stream_that_ends_with_its_server_has_not_been_broken_by_its_client() {
        let (slot, gate, end) = (Arc::<Slot>::default(), Arc::<Gate>::default(), CancellationToken::new());
        slot.upgraded(&gate);
        let place =
            Admission::new(Endpoint::new("test", Router::new().build().unwrap())).enter(None).unwrap();
        let limit = (Duration::from_secs(1), Arc::new(TokioClock) as Arc<dyn Clock>);
        let sieve = Sieve::new(100, 100);
        let mut line =
            Line::new(tokio::io::empty(), slot, sieve, limit, end.clone().cancelled_owned(), place);
        end.cancel();
        let mut room = [0; 8];
        let mut buf = ReadBuf::new(&mut room);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(Pin::new(&mut line).poll_read(&mut cx, &mut buf), Poll::Ready(Ok(()))));
        assert!(buf.filled().is_empty() && gate.is_lost());
    }
}
