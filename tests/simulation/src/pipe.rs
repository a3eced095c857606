//! One connection of the simulated network: two lanes of bytes with delay, cuts, bounds, and everything that can befall them.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::chance::Chance;
use crate::history::History;

/// How good a way through the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quality {
    /// Every piece takes at least this long.
    pub delay: Duration,
    /// And up to this much longer.
    pub jitter: Duration,
    /// Pieces are cut to at most this many bytes.
    pub piece: usize,
    /// Bytes that one direction holds before a write must wait.
    pub room: usize,
    /// Bytes a second, each direction; 0 is without a bound.
    pub rate: u64,
    /// Pieces of a thousand that end in a reset.
    pub resets: u64,
}

impl Quality {
    /// A network that does no harm.
    pub const GOOD: Self = Self {
        delay: Duration::from_millis(1),
        jitter: Duration::ZERO,
        piece: 16 << 10,
        room: 256 << 10,
        rate: 0,
        resets: 0,
    };
}

/// Bytes in one direction.
struct Lane {
    pieces: VecDeque<(Instant, Bytes)>,
    held: usize,
    /// The last piece arrives then, and none before it.
    last: Instant,
    /// Nothing is delivered before this.
    blocked: Instant,
    /// The end arrives then.
    end: Option<Instant>,
    /// Nothing is ever delivered any more, and nobody is told.
    black: bool,
    /// The end that reads is gone; who writes learns of it then.
    deaf: Option<Instant>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Lane {
    fn new(now: Instant) -> Self {
        Self {
            pieces: VecDeque::new(),
            held: 0,
            last: now,
            blocked: now,
            end: None,
            black: false,
            deaf: None,
            reader: None,
            writer: None,
        }
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

/// What two ends share.
struct Shared {
    lanes: [Lane; 2],
    reset: bool,
    quality: Quality,
    chance: Chance,
}

/// One connection, as the network keeps it.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Mutex<Shared>>,
    number: usize,
    history: History,
}

/// One of the two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the end that dialled.
    There,
    /// To the end that dialled.
    Back,
}

impl Connection {
    /// A connection and its two ends: the one that dialled, the one that was dialled.
    pub fn new(number: usize, quality: Quality, chance: Chance, history: History) -> (Self, End, End) {
        let now = Instant::now();
        let lanes = [Lane::new(now), Lane::new(now)];
        let shared = Arc::new(Mutex::new(Shared { lanes, reset: false, quality, chance }));
        let this = Self { shared, number, history };
        let end = |out| End { connection: this.clone(), out, timer: None };
        let ends = (end(0), end(1));
        (this, ends.0, ends.1)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("not poisoned")
    }

    /// Is at least one end still held?
    pub fn is_alive(&self) -> bool {
        let shared = self.lock();
        !shared.reset && shared.lanes.iter().any(|lane| lane.deaf.is_none())
    }

    /// Both ends fail at once.
    pub fn reset(&self) {
        let mut shared = self.lock();
        shared.reset = true;
        shared.lanes.iter_mut().for_each(Lane::wake);
    }

    /// What is sent in this direction vanishes from now on.
    pub fn blacken(&self, direction: Direction) {
        let mut shared = self.lock();
        let lane = &mut shared.lanes[direction as usize];
        lane.black = true;
        lane.pieces.clear();
        lane.wake();
    }

    /// What is sent in this direction, and what is on its way, arrives after `until`.
    pub fn block(&self, direction: Direction, until: Instant) {
        let mut shared = self.lock();
        let lane = &mut shared.lanes[direction as usize];
        lane.blocked = lane.blocked.max(until);
        for (arrives, _) in &mut lane.pieces {
            *arrives = (*arrives).max(until);
        }
        lane.last = lane.last.max(until);
        lane.end = lane.end.map(|end| end.max(until));
        lane.wake();
    }

    /// From now on it is this good.
    pub fn set_quality(&self, quality: Quality) {
        self.lock().quality = quality;
    }
}

/// One end of a connection.
pub struct End {
    connection: Connection,
    /// The lane it writes to.
    out: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl End {
    /// Pending until `at`.
    fn wait(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        timer.as_mut().reset(at);
        if Future::poll(timer.as_mut(), cx).is_ready() {
            // It may be early by less than the timer can tell.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let connection = self.connection.clone();
        let mut shared = connection.lock();
        if shared.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let lane = &mut shared.lanes[1 - self.out];
        let now = Instant::now();
        let due = lane.pieces.front().map(|(arrives, _)| *arrives).or(lane.end);
        let Some(due) = due.filter(|_| !lane.black) else {
            lane.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if due > now {
            lane.reader = Some(cx.waker().clone());
            drop(shared);
            return self.wait(due, cx);
        }
        while let Some((arrives, piece)) = lane.pieces.front_mut() {
            if *arrives > now || buf.remaining() == 0 {
                break;
            }
            let count = piece.len().min(buf.remaining());
            buf.put_slice(&piece[..count]);
            piece.advance(count);
            lane.held -= count;
            if piece.is_empty() {
                lane.pieces.pop_front();
            }
        }
        lane.writer.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let connection = self.connection.clone();
        let mut shared = connection.lock();
        let now = Instant::now();
        if shared.reset {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let Shared { lanes, quality, chance, reset } = &mut *shared;
        let [there, back] = lanes;
        let (lane, other) = if self.out == 0 { (there, back) } else { (back, there) };
        if lane.end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        // A reset of the far end comes the way back.
        if lane.deaf.is_some_and(|since| since <= now && other.blocked <= now) && !other.black {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let room = quality.room.saturating_sub(lane.held);
        if room == 0 {
            lane.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // A system takes as much as it has room for, and the network cuts that as it likes.
        let taken = bytes.len().min(room);
        let mut rest = Bytes::copy_from_slice(&bytes[..taken]);
        while !rest.is_empty() {
            let most = quality.piece.min(rest.len());
            let cut = 1 + usize::try_from(chance.below(most as u64)).unwrap_or_default();
            let piece = rest.split_to(if chance.happens(300) { cut } else { most });
            let jitter = chance.millis(0..1 + u64::try_from(quality.jitter.as_millis()).unwrap_or(0));
            let slow = match quality.rate {
                0 => Duration::ZERO,
                rate => Duration::from_millis(piece.len() as u64 * 1_000 / rate),
            };
            let arrives = lane.last.max(lane.blocked).max(now + quality.delay + jitter) + slow;
            connection.history.carried(connection.number * 2 + self.out, piece.len(), arrives - now);
            lane.last = arrives;
            lane.held += piece.len();
            if !lane.black && lane.deaf.is_none() {
                lane.pieces.push_back((arrives, piece));
            }
            if quality.resets > 0 && chance.happens(quality.resets) {
                *reset = true;
            }
        }
        lane.reader.take().into_iter().for_each(Waker::wake);
        if *reset {
            lanes.iter_mut().for_each(Lane::wake);
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

impl End {
    /// Nothing more comes from this end.
    fn finish(&self) {
        let mut shared = self.connection.lock();
        let Shared { lanes, quality, .. } = &mut *shared;
        let lane = &mut lanes[self.out];
        if lane.end.is_none() {
            lane.end = Some(lane.last.max(lane.blocked).max(Instant::now() + quality.delay));
            lane.wake();
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.finish();
        let mut shared = self.connection.lock();
        let Shared { lanes, quality, .. } = &mut *shared;
        let lane = &mut lanes[1 - self.out];
        lane.deaf = Some(Instant::now() + quality.delay * 2);
        lane.pieces.clear();
        if !lane.black {
            lane.held = 0;
        }
        lane.wake();
    }
}
