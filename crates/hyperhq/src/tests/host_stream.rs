//! A whole host over the bytes of recorded plugins: streams that the test cuts where it likes, Engine.IO and Socket.IO below, the
//! host's session above, and what it writes compared with what the recorded host wrote.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use polywire_core::{
    Action, Admit, Arrival, Body, BoxFuture, Code, Cx, Endpoint, Failure, Handler, HandlerFuture, Identity,
    Incoming, Io, Network, NetworkListener, OutboundOf, Response, Session, Surroundings,
};
use polywire_socketio::{Packet, Packets, ServerConfig, Upper, listen_with};
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncReadExt, DuplexStream, Join, ReadBuf, duplex, join};
use tokio::sync::mpsc;

use super::cut::{Cut, every};
use super::hand::{CHALLENGE, json, packet};
use super::recording::{Said, load, recordings, said};
use crate::host::{Host, HostConfig};

const PORT: u16 = 52_789;
/// How long anything may take that is waited for.
const LIMIT: Duration = Duration::from_secs(10);

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

/// The plugin's end of a stream; each message that it writes comes in the pieces of `cut`.
struct Line {
    writes: mpsc::UnboundedSender<Bytes>,
    stream: DuplexStream,
    cut: Cut,
}

impl Line {
    /// A stream of the host, and this end of it.
    fn new(cut: Cut) -> (Self, HostEnd) {
        let (writes, written) = mpsc::unbounded_channel();
        let (stream, far) = duplex(1 << 20);
        (Self { writes, stream, cut }, join(Pieces { written, piece: Bytes::new() }, far))
    }

    fn write(&self, bytes: &[u8]) {
        // An empty one would be the end; there is none.
        for piece in self.cut.pieces(bytes) {
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
        self.write(&frame(0x81, text.as_bytes()));
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
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![opcode];
    match u16::try_from(payload.len()).unwrap() {
        short @ ..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
        long => {
            frame.push(0x80 | 126);
            frame.extend(long.to_be_bytes());
        }
    }
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The value of a text member, wherever it stands.
fn member<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let rest = text.split_once(&format!("\"{name}\":"))?.1;
    Some(rest.split([',', '}']).next().unwrap().trim_matches('"'))
}

/// What a plugin has said, packet by packet, as the session of a host gets it.
struct Hears(mpsc::UnboundedSender<Packet>);

impl Session for Hears {
    type Codec = Packets;
    type Reply = ();
    type Command = ();

    fn open(&mut self, cx: &mut Cx<'_, Self>) {
        cx.act(Action::Established(None));
    }

    fn receive(&mut self, packet: Packet, _: &mut Cx<'_, Self>) {
        self.0.send(packet).unwrap();
    }

    fn admit(&self, _: &OutboundOf<Self>) -> Admit {
        Admit::Now
    }

    fn send(&mut self, _: OutboundOf<Self>, _: &mut Cx<'_, Self>) {}
}

impl Upper for Hears {
    fn connected(&mut self, _: Identity, _: &mut Cx<'_, Self>) {}
}

/// Replays what one plugin said to a host that is started for it.
async fn replay(recording: &[Said], cut: Cut) -> usize {
    let (dialled, door) = mpsc::unbounded_channel();
    let pipes = Arc::new(Pipes { dialled, door: Mutex::new(Some(Door(door))) });
    let mut endpoint = Endpoint::new("hyperhq", Answers::of(recording));
    // Chance of a seed: a token that happened to hold the digits of the recorded port would be changed with it.
    endpoint.surroundings =
        Surroundings { network: Some(Arc::clone(&pipes) as _), ..Surroundings::seeded(1) };
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
        assert_eq!(heard, ours, "{cut:?}");
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
        let longest = written
            .filter_map(|said| said.text.as_deref())
            .map(|text| frame(0x81, text.as_bytes()).len())
            .max()
            .unwrap();
        for cut in (0..longest).map(Cut::At).chain([Cut::Everywhere]) {
            let compared = replay(&recording, cut).await;
            assert!(compared >= messages, "{name}: {compared}");
        }
    }
}

/// The messages of one connection of a plugin, as frames; those that belong to what carried them are left out.
fn frames(said: &[&Said]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for said in said {
        let Some(text) = said.text.as_ref().filter(|text| text.starts_with(['0', '4'])) else { continue };
        frames.push(frame(0x81, text.as_bytes()));
        frames.extend(said.attachments.iter().map(|bytes| frame(0x82, bytes)));
    }
    frames
}

/// So long a message may be to be cut at one place after the other.
const SHORT: usize = 200;

/// What our host's session gets of any recording does not depend on how its bytes come. What it says to that is a function of
/// what it gets, and compared with every recording elsewhere.
#[tokio::test]
async fn a_host_gets_what_every_recorded_plugin_has_said_wherever_the_bytes_are_cut() {
    let (dialled, door) = mpsc::unbounded_channel();
    let pipes = Arc::new(Pipes { dialled, door: Mutex::new(Some(Door(door))) });
    let mut endpoint = Endpoint::new("hyperhq", Answers::default());
    endpoint.surroundings =
        Surroundings { network: Some(Arc::clone(&pipes) as _), ..Surroundings::default() };
    let (say, mut heard) = mpsc::unbounded_channel();
    let config = ServerConfig::new(["/", "/plugin"]);
    let server = listen_with("host:1", config, endpoint, move |_| Hears(say.clone())).await.unwrap();
    let (mut recorded, mut events) = (0, 0);
    for (name, recording) in recordings() {
        let all = said(&recording);
        let lines: BTreeSet<_> = all.iter().map(|said| &said.line).collect();
        for line in lines {
            let by_plugin: Vec<_> = all.iter().filter(|said| said.by_plugin && said.line == *line).collect();
            let frames = frames(&by_plugin);
            let wanted: Vec<Packet> = by_plugin
                .iter()
                .filter_map(|said| Some((said.packet()?.replacen("/plugin,", "", 1), &said.attachments)))
                .filter(|(text, _)| text.starts_with(['2', '5']))
                .map(|(text, attachments)| packet(&text, attachments.clone()))
                .collect();
            events += wanted.len();
            let longest = frames.iter().map(Vec::len).max().unwrap_or_default();
            for cut in [Cut::At(0)].into_iter().chain(every(longest, SHORT)) {
                let (mut plugin, far) = Line::new(cut);
                pipes.dialled.send(far).unwrap();
                plugin.open().await;
                frames.iter().for_each(|frame| plugin.write(frame));
                for wanted in &wanted {
                    let heard = tokio::time::timeout(LIMIT, heard.recv()).await;
                    let heard = heard.unwrap_or_else(|_| panic!("{name}, {cut:?}: {wanted:?} does not come"));
                    assert_eq!(heard.unwrap().kind, wanted.kind, "{name}, {cut:?}");
                }
            }
        }
        recorded += 1;
    }
    assert!(heard.try_recv().is_err(), "and nothing besides");
    assert!(recorded == 34 && events == 257, "{recorded}, {events}");
    server.shutdown().await;
}
