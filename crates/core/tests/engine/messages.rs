//! A stream of messages as a transport: nothing stays behind in a sink that buffers, and a stranger sends little.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;
use polywire_core::{
    Action, Admit, Body, Close, Codec, Connection, Cx, Delivery, Ended, Endpoint, Event, FrameError, Message,
    MessageCodec, MessageStream, Outbound, OutboundOf, Route, Session, Surroundings,
};
use tokio::time::Instant;

use crate::toy::{Heard, Setup, check_books, settle};

/// A socket whose sink takes messages at once and lets them go only while it is open, as a WebSocket does with its buffer.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    arriving: VecDeque<Message>,
    reader: Option<Waker>,
    open: bool,
    buffered: Vec<Message>,
    gone: Vec<Message>,
    writer: Option<Waker>,
}

impl Socket {
    fn arrive(&self, message: Message) {
        let mut state = self.0.lock().unwrap();
        state.arriving.push_back(message);
        state.reader.take().into_iter().for_each(Waker::wake);
    }

    fn open(&self) {
        let mut state = self.0.lock().unwrap();
        state.open = true;
        state.writer.take().into_iter().for_each(Waker::wake);
    }

    fn gone(&self) -> Vec<Message> {
        self.0.lock().unwrap().gone.clone()
    }
}

impl Stream for Socket {
    type Item = Result<Message, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.lock().unwrap();
        match state.arriving.pop_front() {
            Some(message) => Poll::Ready(Some(Ok(message))),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Sink<Message> for Socket {
    type Error = Infallible;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Infallible> {
        self.0.lock().unwrap().buffered.push(message);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let mut state = self.0.lock().unwrap();
        if !state.open && !state.buffered.is_empty() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut sent = std::mem::take(&mut state.buffered);
        state.gone.append(&mut sent);
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.poll_flush(cx)
    }
}

/// Every message is an event, and the body of an event is a message.
struct Plain {
    login: bool,
    rests: Arc<Mutex<Vec<Instant>>>,
}

struct Whole;

impl Codec for Whole {
    type Frame = Bytes;
    type Mode = ();

    fn set_read_mode(&mut self, (): ()) {}

    fn set_write_mode(&mut self, (): ()) {}
}

impl MessageCodec for Whole {
    fn decode(&mut self, message: Message) -> Result<Option<Bytes>, FrameError> {
        let (Message::Text(bytes) | Message::Binary(bytes)) = message else { return Ok(None) };
        Ok(Some(bytes))
    }

    fn encode(&mut self, frame: Bytes, out: &mut dyn FnMut(Message)) -> Result<(), FrameError> {
        out(Message::Binary(frame));
        Ok(())
    }
}

impl Session for Plain {
    type Codec = Whole;
    type Reply = ();
    type Command = ();

    fn open(&mut self, cx: &mut Cx<'_, Self>) {
        if !self.login {
            cx.act(Action::Established(None));
        }
    }

    fn receive(&mut self, frame: Bytes, cx: &mut Cx<'_, Self>) {
        let event = Event::new(Route::from_static("message"), Body::binary("", frame));
        cx.deliver(Delivery::Event(event));
    }

    fn admit(&self, _: &OutboundOf<Self>) -> Admit {
        Admit::Now
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        if let Outbound::Event(Event { body: Body::Binary(binary), .. }) = outbound {
            cx.write(binary.bytes);
        }
    }

    fn rest(&mut self) {
        self.rests.lock().unwrap().push(Instant::now());
    }
}

struct Running {
    socket: Socket,
    heard: Heard,
    rests: Arc<Mutex<Vec<Instant>>>,
    endpoint: Endpoint,
    link: polywire_core::Link<Plain>,
    task: tokio::task::JoinHandle<Ended>,
}

fn start(login: bool) -> Running {
    let Setup { endpoint, heard, .. } = Setup::new();
    let endpoint = Endpoint { surroundings: Surroundings::seeded(1), ..endpoint };
    let (socket, rests) = (Socket::default(), Arc::default());
    let session = Plain { login, rests: Arc::clone(&rests) };
    let (connection, link) =
        Connection::new(MessageStream::new(socket.clone()), Whole, session, endpoint.clone(), None);
    Running { socket, heard, rests, endpoint, link, task: tokio::spawn(connection) }
}

impl Running {
    async fn notify(&self, bytes: &'static [u8]) {
        let event = Event::new(Route::from_static("message"), Body::binary("", bytes));
        self.link.caller().notify(event).await.unwrap();
        settle().await;
    }

    async fn ended(self) -> Ended {
        let ended = self.task.await.unwrap();
        check_books(&self.endpoint.ledger);
        ended
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_sink_has_buffered_is_flushed_when_it_can_be_and_empty_messages_too() {
    let running = start(false);
    running.notify(b"one").await;
    running.notify(b"").await;
    assert_eq!(running.socket.gone(), []);
    tokio::time::sleep(Duration::from_secs(5)).await;
    running.socket.open();
    settle().await;
    let expected = [b"one".as_slice(), b""].map(|bytes| Message::Binary(Bytes::from_static(bytes)));
    assert_eq!(running.socket.gone(), expected);
    tokio::time::sleep(Duration::from_secs(60)).await;
    running.notify(b"still here").await;
    assert_eq!(running.socket.gone().len(), 3);
    running.link.peer().close();
    assert_eq!(running.ended().await.reason, Close::Local);
}

#[tokio::test(start_paused = true)]
async fn a_connection_rests_a_second_after_its_last_work_whatever_pauses_there_were() {
    let running = start(false);
    running.socket.open();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        running.socket.arrive(Message::Text(Bytes::from_static(b"one")));
        settle().await;
    }
    let last = Instant::now();
    assert_eq!(*running.rests.lock().unwrap(), [], "no pause was a second long");
    tokio::time::sleep(Duration::from_secs(600)).await;
    let rests = running.rests.lock().unwrap().iter().map(|at| (*at - last).as_millis()).collect::<Vec<_>>();
    assert!(matches!(rests[..], [900..=1_000]), "once, a second after the last message: {rests:?}");
}

#[tokio::test(start_paused = true)]
async fn c08_a_sink_that_flushes_nothing_closes_the_connection() {
    let running = start(false);
    running.notify(b"one").await;
    let start = Instant::now();
    assert_eq!(running.ended().await.reason, Close::SlowConsumer(Duration::from_secs(10)));
    assert!(start.elapsed().as_secs() <= 10);
}

#[tokio::test(start_paused = true)]
async fn before_the_login_a_message_holds_max_login_bytes_at_most() {
    let running = start(true);
    running.socket.arrive(Message::Text(Bytes::from(vec![b'x'; 64 << 10])));
    settle().await;
    assert_eq!(running.heard.all().len(), 1);
    running.socket.arrive(Message::Text(Bytes::from(vec![b'x'; (64 << 10) + 1])));
    let ended = running.ended().await;
    let Close::Limit(text) = ended.reason else { panic!("{ended:?}") };
    assert_eq!(text, "frame of 65537 bytes exceeds max_login_bytes = 65536");
}

#[tokio::test(start_paused = true)]
async fn after_the_login_the_codec_decides_how_large_a_message_is() {
    let running = start(false);
    running.socket.arrive(Message::Text(Bytes::from(vec![b'x'; 1 << 20])));
    settle().await;
    assert_eq!(running.heard.all().len(), 1);
    running.endpoint.shutdown.drain();
    running.ended().await;
}
