//! Two ends of a pipe of frames, bounded in bytes, and the network that hands them out and can be cut or stalled.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use polywire_core::{BoxFuture, Flush, FrameError, Listener, Transport, TransportError};
use tokio::sync::mpsc;

use super::session::{Envelopes, Frame};
use crate::joint::{Joint, Stranger, Way};

/// What one direction holds before its sender has to wait. A frame that is larger passes alone.
const LANE_BYTES: usize = 64 << 10;
/// Where the one server is.
pub(super) const ADDRESS: &str = "memory";
/// Connections that may wait to be accepted.
const BACKLOG: usize = 128;

/// One direction of one connection.
#[derive(Default)]
struct Lane {
    frames: VecDeque<Frame>,
    bytes: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The sender has ended it: what is in it can still be read.
    ended: bool,
    /// It is gone, with what is in it.
    cut: bool,
    stalled: bool,
}

impl Lane {
    /// Puts a frame behind the others, unless nobody will read it.
    fn put(&mut self, frame: Frame) {
        if !self.ended && !self.cut {
            self.bytes = self.bytes.saturating_add(room(&frame));
            self.frames.push_back(frame);
        }
    }
}

type Shared = Arc<Mutex<Lane>>;

fn lock(lane: &Mutex<Lane>) -> MutexGuard<'_, Lane> {
    // Nothing panics while it is held.
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Changes a lane and wakes both who read and who write.
fn change(lane: &Mutex<Lane>, change: impl FnOnce(&mut Lane)) {
    let mut lane = lock(lane);
    change(&mut lane);
    let woken = [lane.reader.take(), lane.writer.take()];
    drop(lane);
    woken.into_iter().flatten().for_each(Waker::wake);
}

/// One end of a connection, as a transport.
pub(crate) struct End {
    inward: Shared,
    outward: Shared,
    /// Encoded, which is nothing here, and not written yet.
    output: VecDeque<Frame>,
    unsent: usize,
    limit: (usize, &'static str),
}

/// What a frame takes of a lane; even an empty one takes something.
fn room(frame: &Frame) -> usize {
    frame.bytes().max(1)
}

impl Transport<Envelopes> for End {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        codec: &mut Envelopes,
    ) -> Poll<Result<Option<Frame>, TransportError>> {
        let mut lane = lock(&self.inward);
        if lane.cut {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionReset).into()));
        }
        let frame = if lane.stalled { None } else { lane.frames.pop_front() };
        let Some(frame) = frame else {
            if lane.ended && !lane.stalled {
                return Poll::Ready(Ok(None));
            }
            lane.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        lane.bytes = lane.bytes.saturating_sub(room(&frame));
        let writer = lane.writer.take();
        drop(lane);
        writer.into_iter().for_each(Waker::wake);
        codec.check(frame.bytes())?;
        let (max, setting) = self.limit;
        if frame.bytes() > max {
            let [got, max] = [frame.bytes(), max].map(|bytes| bytes as u64);
            return Poll::Ready(Err(FrameError::TooLarge { got, max, setting }.into()));
        }
        Poll::Ready(Ok(Some(frame)))
    }

    fn has_partial(&self) -> bool {
        false
    }

    fn set_partial_limit(&mut self, max: usize, setting: &'static str) {
        self.limit = (max, setting);
    }

    fn send(&mut self, frame: Frame, _: Flush, codec: &mut Envelopes) -> Result<(), FrameError> {
        codec.check(frame.bytes())?;
        self.unsent = self.unsent.saturating_add(room(&frame));
        self.output.push_back(frame);
        Ok(())
    }

    fn unsent(&self) -> usize {
        self.unsent
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let mut lane = lock(&self.outward);
        let mut moved = false;
        let flushed = loop {
            if lane.cut {
                break Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionReset).into()));
            }
            let Some(bytes) = self.output.front().map(room) else { break Poll::Ready(Ok(())) };
            if lane.bytes > 0 && lane.bytes.saturating_add(bytes) > LANE_BYTES {
                lane.writer = Some(cx.waker().clone());
                break Poll::Pending;
            }
            lane.bytes = lane.bytes.saturating_add(bytes);
            self.unsent = self.unsent.saturating_sub(bytes);
            lane.frames.extend(self.output.pop_front());
            moved = true;
        };
        let reader = if moved { lane.reader.take() } else { None };
        drop(lane);
        reader.into_iter().for_each(Waker::wake);
        flushed
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        change(&self.outward, |lane| lane.ended = true);
        Poll::Ready(Ok(()))
    }

    fn rest(&mut self) {
        self.output = VecDeque::new();
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // What was written can still be read; what is written now is nobody's.
        change(&self.outward, |lane| lane.ended = true);
        change(&self.inward, |lane| lane.cut = true);
    }
}

/// Where ends meet: one server, and whoever dials it.
#[derive(Default)]
pub(crate) struct Network(Mutex<State>);

#[derive(Default)]
struct State {
    backlog: Option<mpsc::Sender<(End, Option<String>)>>,
    /// To the server and to the client, of every connection that came through the joint.
    lanes: Vec<[Weak<Mutex<Lane>>; 2]>,
    opened: usize,
    stalled: [bool; 2],
    /// What is said in place of the server.
    impostor: Option<Bytes>,
}

impl Network {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn listen(network: &Arc<Self>) -> Backlog {
        let (backlog, waiting) = mpsc::channel(BACKLOG);
        network.lock().backlog = Some(backlog);
        Backlog(waiting)
    }

    /// A connection that the joint holds in its hands.
    pub(super) fn dial(&self, address: &str) -> io::Result<End> {
        if address != ADDRESS {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let mut state = self.lock();
        let (near, lanes) = match &state.impostor {
            Some(said) => met(said),
            None => state.connect()?,
        };
        state.opened += 1;
        for (lane, stalled) in lanes.iter().zip(state.stalled) {
            lock(lane).stalled = stalled;
        }
        state.lanes.retain(|[lane, _]| lane.strong_count() > 0);
        state.lanes.push(lanes.map(|lane| Arc::downgrade(&lane)));
        Ok(near)
    }

    fn each_lane(&self, way: Option<Way>, act: impl Fn(&mut Lane)) {
        let lanes: Vec<_> = self
            .lock()
            .lanes
            .iter()
            .flat_map(|[there, back]| [(Way::ToServer, there), (Way::ToClient, back)])
            .filter(|(this, _)| way.is_none_or(|way| way == *this))
            .filter_map(|(_, lane)| lane.upgrade())
            .collect();
        for lane in lanes {
            change(&lane, &act);
        }
    }
}

/// The end of whoever reads from one direction and writes to the other.
fn end(inward: &Shared, outward: &Shared) -> End {
    End {
        inward: Arc::clone(inward),
        outward: Arc::clone(outward),
        output: VecDeque::new(),
        unsent: 0,
        limit: (usize::MAX, "max_frame_bytes"),
    }
}

/// The end of whoever dials and meets somebody who says this and then nothing more, and both directions.
fn met(said: &Bytes) -> (End, [Shared; 2]) {
    let (there, back) = (Shared::default(), Shared::default());
    change(&back, |lane| {
        lane.put(Frame::Junk(said.clone()));
        lane.ended = true;
    });
    (end(&back, &there), [there, back])
}

impl State {
    /// The end of whoever dials, and both directions.
    fn connect(&self) -> io::Result<(End, [Shared; 2])> {
        let (there, back) = (Shared::default(), Shared::default());
        let (near, far) = (end(&back, &there), end(&there, &back));
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let backlog = self.backlog.as_ref().ok_or_else(refused)?;
        backlog.try_send((far, None)).map_err(|_| refused())?;
        Ok((near, [there, back]))
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("opened", &self.lock().opened).finish_non_exhaustive()
    }
}

/// Connections that wait to be accepted.
pub(crate) struct Backlog(mpsc::Receiver<(End, Option<String>)>);

impl Listener for Backlog {
    type Io = End;

    async fn accept(&mut self) -> io::Result<(End, Option<String>)> {
        match self.0.recv().await {
            Some(end) => Ok(end),
            // The network is gone, and nobody will dial any more.
            None => std::future::pending().await,
        }
    }

    fn address(&self) -> String {
        ADDRESS.to_owned()
    }
}

/// The network in the hands of one case.
#[derive(Debug)]
pub(super) struct Hands {
    network: Arc<Network>,
    /// Connections of cases before this one.
    before: usize,
}

impl Hands {
    pub(super) fn of(network: &Arc<Network>) -> Self {
        Self { before: network.lock().opened, network: Arc::clone(network) }
    }
}

impl Joint for Hands {
    fn address(&self) -> String {
        ADDRESS.to_owned()
    }

    fn nowhere(&self) -> String {
        "nowhere".to_owned()
    }

    fn cut(&self) {
        self.network.each_lane(None, |lane| lane.cut = true);
    }

    fn stall(&self, way: Way) {
        let mut state = self.network.lock();
        match way {
            Way::ToServer => state.stalled[0] = true,
            Way::ToClient => state.stalled[1] = true,
        }
        drop(state);
        self.network.each_lane(Some(way), |lane| lane.stalled = true);
    }

    fn let_go(&self) {
        self.network.lock().stalled = [false, false];
        self.network.each_lane(None, |lane| lane.stalled = false);
    }

    fn inject(&self, way: Way, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.network.each_lane(Some(way), |lane| lane.put(Frame::Junk(bytes.clone())));
    }

    fn impersonate(&self, said: Option<&[u8]>) {
        self.network.lock().impostor = said.map(Bytes::copy_from_slice);
    }

    fn opened(&self) -> usize {
        self.network.lock().opened - self.before
    }

    fn opening(&self, _: Way) -> Vec<u8> {
        Vec::new()
    }

    fn stranger(&self) -> BoxFuture<'_, io::Result<Box<dyn Stranger>>> {
        Box::pin(async { Ok(Box::new(Sender(self.network.lock().connect()?.0)) as Box<dyn Stranger>) })
    }
}

/// An end that sends junk: on a wire without bytes, that is what bytes are.
struct Sender(End);

impl Stranger for Sender {
    fn send<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let junk = Frame::Junk(Bytes::copy_from_slice(bytes));
            self.0.unsent = self.0.unsent.saturating_add(room(&junk));
            self.0.output.push_back(junk);
            let flushed = std::future::poll_fn(|cx| self.0.poll_flush(cx)).await;
            flushed.map_err(|error| io::Error::other(error.to_string()))
        })
    }

    fn ended(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::poll_fn(|cx| {
            let mut lane = lock(&self.0.inward);
            lane.frames.clear();
            lane.bytes = 0;
            if lane.ended || lane.cut {
                return Poll::Ready(());
            }
            lane.reader = Some(cx.waker().clone());
            Poll::Pending
        }))
    }
}
