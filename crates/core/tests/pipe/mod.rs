//! Two ends of a message pipe in memory, as a WebSocket is between two programs.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use futures_sink::Sink;
use polywire_core::Message;

#[derive(Default)]
struct Lane {
    messages: VecDeque<Message>,
    reader: Option<Waker>,
    closed: bool,
}

impl Lane {
    fn wake(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
    }
}

/// One end. Dropping or closing it ends what the other end reads.
pub(crate) struct End {
    inward: Arc<Mutex<Lane>>,
    outward: Arc<Mutex<Lane>>,
}

pub(crate) fn pair() -> (End, End) {
    let (there, back) = (Arc::<Mutex<Lane>>::default(), Arc::<Mutex<Lane>>::default());
    (End { inward: Arc::clone(&back), outward: Arc::clone(&there) }, End { inward: there, outward: back })
}

fn lock(lane: &Mutex<Lane>) -> MutexGuard<'_, Lane> {
    lane.lock().expect("not poisoned")
}

impl End {
    /// Sends one message.
    pub(crate) fn send(&self, message: Message) {
        let mut lane = lock(&self.outward);
        lane.messages.push_back(message);
        lane.wake();
    }

    /// The next message, if one is there.
    pub(crate) fn try_receive(&self) -> Option<Message> {
        lock(&self.inward).messages.pop_front()
    }

    /// Has the other end closed?
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.inward).closed
    }
}

impl Stream for End {
    type Item = Result<Message, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut lane = lock(&self.inward);
        match lane.messages.pop_front() {
            Some(message) => Poll::Ready(Some(Ok(message))),
            None if lane.closed => Poll::Ready(None),
            None => {
                lane.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Sink<Message> for End {
    type Error = Infallible;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Infallible> {
        self.send(message);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let mut lane = lock(&self.outward);
        lane.closed = true;
        lane.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut lane = lock(&self.outward);
        lane.closed = true;
        lane.wake();
    }
}
