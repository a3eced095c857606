//! Time and a socket in memory that wake as real ones do: whoever is not woken is not polled, so a wake-up that is lost shows.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, SystemTime};

use polywire_core::{Alarm, Clock, Moment};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Time that passes when it is told to.
#[derive(Clone, Debug)]
pub struct Time(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    now: Moment,
    alarms: Vec<(Moment, Waker)>,
}

impl Time {
    /// A second after the beginning.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            now: Moment::from_start(Duration::from_secs(1)),
            alarms: Vec::new(),
        })))
    }

    /// This much time passes.
    pub fn pass(&self, span: Duration) {
        let mut state = lock(&self.0);
        state.now = state.now + span;
        let now = state.now;
        let due = state.alarms.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>();
        drop(state);
        due.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

impl Default for Time {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for Time {
    fn now(&self) -> Moment {
        lock(&self.0).now
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn alarm(&self) -> Box<dyn Alarm> {
        Box::new(Timer { time: self.clone(), at: None })
    }
}

struct Timer {
    time: Time,
    at: Option<Moment>,
}

impl Alarm for Timer {
    fn set(&mut self, at: Moment) {
        self.at = Some(at);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let mut state = lock(&self.time.0);
        if at <= state.now {
            return Poll::Ready(());
        }
        state.alarms.retain(|(_, waker)| !waker.will_wake(cx.waker()));
        state.alarms.push((at, cx.waker().clone()));
        Poll::Pending
    }
}

/// Both ends of a socket: this one is held by the target, its clone by the engine.
#[derive(Clone, Debug, Default)]
pub struct Socket(Arc<Mutex<Pipe>>);

#[derive(Debug, Default)]
struct Pipe {
    incoming: VecDeque<u8>,
    /// Most bytes of one read; 0 for no bound.
    slice: usize,
    /// Nothing comes any more: in order, or by a reset.
    end: Option<io::ErrorKind>,
    over: bool,
    written: Vec<u8>,
    /// Bytes that can be written before it blocks.
    room: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Socket {
    /// An open one that takes whatever is written.
    pub fn new() -> Self {
        let socket = Self::default();
        lock(&socket.0).room = usize::MAX;
        socket
    }

    fn change(&self, change: impl FnOnce(&mut Pipe)) {
        let mut pipe = lock(&self.0);
        change(&mut pipe);
        let wakers = [pipe.reader.take(), pipe.writer.take()];
        drop(pipe);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// These bytes come.
    pub fn push(&self, bytes: &[u8]) {
        self.change(|pipe| pipe.incoming.extend(bytes));
    }

    /// Reads give this many bytes at most; 0 for no bound.
    pub fn slice(&self, most: usize) {
        self.change(|pipe| pipe.slice = most);
    }

    /// So many bytes can be written before it blocks.
    pub fn room(&self, bytes: usize) {
        self.change(|pipe| pipe.room = bytes);
    }

    /// Nothing comes any more.
    pub fn end(&self) {
        self.change(|pipe| pipe.over = true);
    }

    /// The connection is reset: reads and writes fail.
    pub fn reset(&self) {
        self.change(|pipe| pipe.end = Some(io::ErrorKind::ConnectionReset));
    }

    /// Bytes that came and were not read.
    pub fn unread(&self) -> usize {
        lock(&self.0).incoming.len()
    }

    /// What was written since this was asked last.
    pub fn written(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.0).written)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut pipe = lock(&self.0);
        if let Some(kind) = pipe.end {
            return Poll::Ready(Err(kind.into()));
        }
        if pipe.incoming.is_empty() {
            if pipe.over {
                return Poll::Ready(Ok(()));
            }
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let most = if pipe.slice == 0 { usize::MAX } else { pipe.slice };
        let most = most.min(buffer.remaining()).min(pipe.incoming.len());
        let bytes = pipe.incoming.drain(..most).collect::<Vec<_>>();
        buffer.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = lock(&self.0);
        if let Some(kind) = pipe.end {
            return Poll::Ready(Err(kind.into()));
        }
        let most = pipe.room.min(bytes.len());
        if most == 0 && !bytes.is_empty() {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if pipe.room != usize::MAX {
            pipe.room -= most;
        }
        pipe.written.extend_from_slice(&bytes[..most]);
        Poll::Ready(Ok(most))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Remembers that somebody was woken.
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    /// A flag that is raised, and a waker that raises it again.
    pub fn raised() -> (Arc<Self>, Waker) {
        let flag = Arc::new(Self(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&flag));
        (flag, waker)
    }

    /// Lowers it; whether it was raised.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
