//! A whole host over the bytes of recorded plugins: streams that the test cuts where it likes, Engine.IO and Socket.IO below, the
//! host's session above, and what it writes compared with what the recorded host wrote.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use polywire_core::{
    Arrival, Body, BoxFuture, Code, Endpoint, Failure, Handler, HandlerFuture, Incoming, Io, Network,
    NetworkListener, Response, Surroundings,
};
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncReadExt, DuplexStream, Join, ReadBuf, duplex, join};
use tokio::sync::mpsc;

use super::hand::{CHALLENGE, json};
use super::recording::{Said, load, said};
use crate::host::{Host, HostConfig};

const PORT: u16 = 52_789;

/// A network of one address.
struct Pipes {
    dialled: mpsc::UnboundedSender<HostEnd>,
    door: Mutex<Option<Door>>,
}

struct Door(mpsc::UnboundedReceiver<HostEnd>);

impl Network for Pipes {
    fn connect<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn listen(&self, _: &str) -> io::Result<Box<dyn NetworkListener>> {
        let door = self.door.lock().unwrap().take().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Box::new(door))
    }
}

impl NetworkListener for Door {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Arrival>> {
        Box::pin(async {
            match self.0.recv().await {
                Some(stream) => Ok((Box::new(stream) as Box<dyn Io>, None)),
                None => std::future::pending().await,
            }
        })
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{PORT}")
    }
}

/// What the recorded host answered to each method with each parameters, in the order of asking.
#[derive(Default)]
struct Answers(Mutex<HashMap<String, VecDeque<Result<Body, Failure>>>>);

impl Answers {
    fn of(recording: &[Said]) -> Self {
        let mut asked: Vec<(String, String)> = Vec::new();
        let mut answers: HashMap<_, VecDeque<_>> = HashMap::new();
        for text in recording.iter().filter_map(Said::packet) {
            let Some((name, members)) = event(text) else { continue };
            let member = |name: &str| members.get(name).map_or("", |value| value.get());
            if matches!(&*name, "requestData" | "request_data") {
                let question = format!("{} {}", member("method"), member("params"));
                asked.push((member("requestId").to_owned(), question));
            } else if name == "dataResponse" {
                let at = asked.iter().position(|(id, _)| id == member("requestId")).unwrap();
                let answer = match members.get("error") {
                    None => Ok(Body::Json(json(member("data")))),
                    Some(why) => {
                        Err(Failure::new(Code::NotFound, serde_json::from_str::<String>(why.get()).unwrap()))
                    }
                };
                answers.entry(asked.remove(at).1).or_default().push_back(answer);
            }
        }
        Self(Mutex::new(answers))
    }
}

impl Handler for Answers {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let Body::Json(params) = &incoming.body else { panic!("{incoming:?}") };
        let question = format!("\"{}\" {}", incoming.route, params.as_str());
        let answer = self.0.lock().unwrap().get_mut(&question).and_then(VecDeque::pop_front);
        let answer = answer.unwrap_or_else(|| panic!("nobody asked {question}"));
        Box::pin(async { answer.map(Response::from) })
    }
}

/// The name of an event, and the members of its argument.
fn event(packet: &str) -> Option<(String, HashMap<String, Box<RawValue>>)> {
    let parts: Vec<Box<RawValue>> = serde_json::from_str(packet.strip_prefix('2')?).ok()?;
    let name = serde_json::from_str(parts.first()?.get()).ok()?;
    Some((name, serde_json::from_str(parts.get(1)?.get()).ok()?))
}

/// The host's end of a stream.
type HostEnd = Join<Pieces, DuplexStream>;

/// What the plugin writes, as the host reads it: two pieces never come in one read.
struct Pieces {
    written: mpsc::UnboundedReceiver<Bytes>,
    piece: Bytes,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.piece.is_empty() {
            self.piece = ready!(self.written.poll_recv(cx)).unwrap_or_default();
        }
        let count = self.piece.len().min(buf.remaining());
        buf.put_slice(&self.piece.split_to(count));
        Poll::Ready(Ok(()))
    }
}

/// The plugin's end of a stream; what it writes comes in two pieces, the first of `cut` bytes.
struct Line {
    writes: mpsc::UnboundedSender<Bytes>,
    stream: DuplexStream,
    cut: usize,
}

impl Line {
    /// A stream of the host, and this end of it.
    fn new(cut: usize) -> (Self, HostEnd) {
        let (writes, written) = mpsc::unbounded_channel();
        let (stream, far) = duplex(1 << 20);
        (Self { writes, stream, cut }, join(Pieces { written, piece: Bytes::new() }, far))
    }

    fn write(&self, bytes: &[u8]) {
        let (first, second) = bytes.split_at(self.cut.min(bytes.len()));
        // An empty read would be the end.
        for piece in [first, second].into_iter().filter(|piece| !piece.is_empty()) {
            self.writes.send(Bytes::copy_from_slice(piece)).unwrap();
        }
    }

    async fn open(&mut self) {
        let head = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n\
            Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        self.write(head.as_bytes());
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(self.stream.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    }

    fn say(&self, text: &str) {
        self.write(&frame(text));
    }

    /// The next message of the host that is no ping.
    async fn hear(&mut self) -> String {
        loop {
            let [opcode, size] = [self.stream.read_u8().await.unwrap(), self.stream.read_u8().await.unwrap()];
            assert_eq!(opcode, 0x81, "the host says text alone");
            let size = match size {
                126 => usize::from(self.stream.read_u16().await.unwrap()),
                127 => panic!("a long message"),
                short => usize::from(short),
            };
            let mut text = vec![0; size];
            self.stream.read_exact(&mut text).await.unwrap();
            if text != b"2" {
                return String::from_utf8(text).unwrap();
            }
        }
    }
}

/// A message of a plugin as a frame of WebSocket.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u16::try_from(text.len()).unwrap() {
        short @ ..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
        long => {
            frame.push(0x80 | 126);
            frame.extend(long.to_be_bytes());
        }
    }
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    frame.extend(mask);
    frame.extend(text.bytes().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The value of a text member, wherever it stands.
fn member<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let rest = text.split_once(&format!("\"{name}\":"))?.1;
    Some(rest.split([',', '}']).next().unwrap().trim_matches('"'))
}

/// Replays what one plugin said to a host that is started for it.
async fn replay(recording: &[Said], cut: usize) -> usize {
    let (dialled, door) = mpsc::unbounded_channel();
    let pipes = Arc::new(Pipes { dialled, door: Mutex::new(Some(Door(door))) });
    let mut endpoint = Endpoint::new("hyperhq", Answers::of(recording));
    endpoint.surroundings =
        Surroundings { network: Some(Arc::clone(&pipes) as _), ..Surroundings::default() };
    let clock = Arc::clone(&endpoint.surroundings.clock);
    let mut config = HostConfig { port: Some(0), ..HostConfig::default() };
    // What the recorded host took.
    config.limits.max_frame_bytes = 1_000_000;
    let host = Host::listen(config, endpoint).await.unwrap();
    assert!(host.plugins().admit("demo-plugin", CHALLENGE.into(), clock.now()));
    let (mut line, far) = Line::new(cut);
    pipes.dialled.send(far).unwrap();
    line.open().await;
    // What each host draws itself: theirs, and ours in its place.
    let mut drawn: Vec<(String, String)> = Vec::new();
    let mut compared = 0;
    for said in recording {
        let Some(text) = &said.text else { break };
        let ours = |text: &str| {
            drawn.iter().fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
        };
        if said.by_plugin {
            line.say(&ours(text));
            continue;
        }
        let heard = line.hear().await;
        for name in ["sid", "sessionToken", "serverPort"] {
            if let (Some(theirs), Some(ours)) = (member(text, name), member(&heard, name)) {
                drawn.push((theirs.to_owned(), ours.to_owned()));
            }
        }
        let ours = drawn.iter().fold(text.clone(), |text, (theirs, ours)| text.replace(theirs, ours));
        assert_eq!(heard, ours, "cut at {cut}");
        compared += 1;
    }
    drop(line);
    host.shutdown().await;
    compared
}

#[tokio::test]
async fn our_host_writes_what_the_recorded_one_wrote_wherever_the_bytes_are_cut() {
    for (name, messages) in [("01-auth-node-websocket", 3), ("04-data-node", 30)] {
        let recording = said(&load(name));
        let written = recording.iter().filter(|said| said.by_plugin);
        let longest =
            written.filter_map(|said| said.text.as_deref()).map(|text| frame(text).len()).max().unwrap();
        for cut in 0..longest {
            let compared = replay(&recording, cut).await;
            assert!(compared >= messages, "{name}: {compared}");
        }
    }
}
