//! A plugin's connection as a program has it, fed by hand: the real transport, codec and stacked session, over a stream of bytes
//! that the test writes and cuts where it likes. No engine runs it, and the moment comes from the test.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use polywire_core::{
    Action, Actions, Admit, BoxFuture, CallId, Close, Count, Credentials, Cx, Delivery, Dial, Endpoint, Io,
    Message, MessageCodec, Moment, Network, NetworkListener, Outbound, OutboundOf, Parts, Request, Route,
    Router, SeededRandom, Session, Surroundings, Transport,
};
use polywire_socketio::{Carrier, Link, Stack};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};

use super::cut::Cut;
use crate::plugin::{PluginSession, Reply, dialler};

type Stacked = Stack<Link, PluginSession>;

/// The longest stream that the tests write at once.
const ROOM: usize = 1 << 20;

/// Whoever dials gets one end of a pipe; the test gets the other.
#[derive(Default)]
struct Pipes(Mutex<Option<DuplexStream>>);

impl Network for Pipes {
    fn connect<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
        Box::pin(async {
            let (near, far) = duplex(ROOM);
            *self.0.lock().unwrap() = Some(far);
            Ok(Box::new(near) as Box<dyn Io>)
        })
    }

    fn listen(&self, _: &str) -> io::Result<Box<dyn NetworkListener>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A plugin that dials again and again.
pub(super) struct Program<D> {
    dialler: D,
    pipes: Arc<Pipes>,
}

/// The program of these tests, in this namespace.
pub(super) fn program(namespace: &str) -> Program<impl Dial<Session = Stacked, Transport = Carrier>> {
    let pipes = Arc::new(Pipes::default());
    let mut endpoint = Endpoint::new("hyperhq", Router::new::<()>().build().unwrap());
    endpoint.surroundings =
        Surroundings { network: Some(Arc::clone(&pipes) as _), ..Surroundings::default() };
    Program { dialler: dialler("host", Some(namespace), Vec::new(), &endpoint).unwrap(), pipes }
}

impl<D: Dial<Session = Stacked, Transport = Carrier>> Program<D> {
    /// A connection whose WebSocket is open, of a plugin with this challenge; every frame of the host will come in the
    /// pieces of `cut`.
    pub(super) fn dial(&self, challenge: &str, cut: Cut) -> Connection {
        let credentials = Credentials::new("demo-plugin", challenge);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (parts, host) = runtime.block_on(async {
            let host = async {
                let mut host = loop {
                    let dialled = self.pipes.0.lock().unwrap().take();
                    match dialled {
                        Some(host) => break host,
                        None => tokio::task::yield_now().await,
                    }
                };
                open(&mut host).await;
                host
            };
            tokio::join!(self.dialler.dial(credentials), host)
        });
        let Parts { transport, codec, session } = parts.unwrap();
        let mut connection = Connection {
            session,
            codec,
            transport,
            host,
            cut,
            random: SeededRandom::new(7),
            now: Moment::from_start(Duration::from_secs(1)),
            written: VecDeque::new(),
            delivered: VecDeque::new(),
            counted: Vec::new(),
            established: false,
            closed: None,
            calls: 0,
        };
        connection.with(|session, cx| session.open(cx));
        connection
    }
}

/// Answers the opening handshake.
async fn open(host: &mut DuplexStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(host.read_u8().await.unwrap());
    }
    let request = String::from_utf8(request).unwrap();
    let key = request.split("Sec-WebSocket-Key: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let accepted = tungstenite::handshake::derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accepted}\r\n\r\n"
    );
    host.write_all(head.as_bytes()).await.unwrap();
}

/// The WebSocket frame of a message of a host.
pub(super) fn frame(message: &Message) -> Vec<u8> {
    let (opcode, payload) = match message {
        Message::Text(text) => (0x81, text),
        Message::Binary(bytes) => (0x82, bytes),
        other => panic!("{other:?}"),
    };
    let mut frame = vec![opcode];
    match u16::try_from(payload.len()).unwrap() {
        short @ ..126 => frame.push(u8::try_from(short).unwrap()),
        long => {
            frame.push(126);
            frame.extend(long.to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

pub(super) struct Connection {
    session: Stacked,
    codec: polywire_socketio::Codec,
    transport: Carrier,
    host: DuplexStream,
    cut: Cut,
    random: SeededRandom,
    pub(super) now: Moment,
    pub(super) written: VecDeque<Message>,
    pub(super) delivered: VecDeque<Delivery<Reply>>,
    pub(super) counted: Vec<Count>,
    pub(super) established: bool,
    pub(super) closed: Option<Close>,
    calls: u64,
}

impl Connection {
    pub(super) fn with(&mut self, call: impl FnOnce(&mut Stacked, &mut Cx<'_, Stacked>)) {
        let mut actions = Actions::new();
        let wall = || SystemTime::UNIX_EPOCH;
        call(&mut self.session, &mut Cx::new(self.now, &wall, &self.random, &mut actions));
        for action in actions {
            match action {
                Action::Write(frame, _) => {
                    self.codec.encode(frame, &mut |message| self.written.push_back(message)).unwrap();
                }
                Action::Deliver(delivery) => self.delivered.push_back(delivery),
                Action::Established(_) => self.established = true,
                Action::Close(reason) => self.closed = Some(reason),
                Action::Count(count) => self.counted.push(count),
                Action::WakeAt(_) | Action::Open(_) | Action::Reading(_) => {}
                Action::Authenticate(_) | Action::Found(_) | Action::ReadMode(()) | Action::WriteMode(()) => {
                }
            }
        }
    }

    /// The host says this, in pieces: before the last nothing has come yet.
    pub(super) fn hear(&mut self, message: &Message) {
        let bytes = frame(message);
        let mut cx = Context::from_waker(Waker::noop());
        for piece in self.cut.pieces(&bytes) {
            let Poll::Ready(Ok(written)) = Pin::new(&mut self.host).poll_write(&mut cx, piece) else {
                panic!("the pipe has room")
            };
            assert_eq!(written, piece.len());
            let come = self.transport.poll_receive(&mut cx, &mut self.codec);
            match come {
                Poll::Pending => assert!(piece.len() < bytes.len(), "{message:?} has come"),
                Poll::Ready(Ok(Some(frame))) => {
                    assert_eq!(
                        piece.as_ptr_range().end,
                        bytes.as_ptr_range().end,
                        "{message:?} is not whole"
                    );
                    self.with(|session, cx| session.receive(frame, cx));
                }
                Poll::Ready(end) => panic!("{message:?}: {end:?}"),
            }
        }
    }

    pub(super) fn send(&mut self, outbound: OutboundOf<Stacked>) {
        assert_eq!(self.session.admit(&outbound), Admit::Now, "{outbound:?}");
        self.with(|session, cx| session.send(outbound, cx));
    }

    pub(super) fn call(&mut self, name: &str, body: polywire_core::Body) {
        self.calls += 1;
        let (call, deadline) = (CallId(self.calls), self.now + Duration::from_secs(30));
        let request = Request::new(Route::new(name.to_owned()).unwrap(), body);
        self.send(Outbound::Request { call, deadline, request });
    }

    /// The program wants to go.
    pub(super) fn leave(&mut self) {
        self.with(|session, cx| session.close(&Close::Local, cx));
    }

    /// The next message that was written, which is text.
    pub(super) fn wrote(&mut self) -> Option<String> {
        match self.written.pop_front()? {
            Message::Text(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
            other => panic!("{other:?}"),
        }
    }
}

/// The messages of a packet: its text, then its attachments.
pub(super) fn messages(text: String, attachments: &[Bytes]) -> impl Iterator<Item = Message> {
    std::iter::once(Message::Text(text.into())).chain(attachments.iter().cloned().map(Message::Binary))
}
