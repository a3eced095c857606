//! One connection over memory: what a callback costs from its bytes to the bytes of its answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use polywire_core::{ByteStream, Connection, Endpoint, Limits};
use polywire_sockhop::{Codec, Config, Role, Session};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::load::sockhop::{Mode, build};
use crate::ours::Echo;

/// Requests of one read.
const BATCH: usize = 64;

/// Gives the same requests again and again, and takes whatever is written.
struct Pipe {
    requests: Vec<u8>,
    left: usize,
    written: u64,
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Pending;
        }
        self.left -= 1;
        buffer.put_slice(&self.requests);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written += bytes.len() as u64;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Runs `calls` callbacks through one connection.
pub(crate) fn run(calls: u32) {
    let mut requests = build(Mode::Json, BATCH, 100);
    requests.truncate(requests.len() / 2);
    let batches = calls as usize / BATCH;
    let pipe = Pipe { requests, left: batches, written: 0 };
    let config = Arc::new(Config::default());
    let limits = Limits::default();
    let codec = Codec::new(&config, &limits);
    let session = Session::new(config, &limits, Role::Server);
    let (mut connection, _link) =
        Connection::new(ByteStream::new(pipe), codec, session, Endpoint::new("sockhop", Echo), None);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..batches + 4 {
        // Pending after every budget of frames.
        let _ = Pin::new(&mut connection).poll(&mut cx);
    }
}
