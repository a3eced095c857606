//! A network in memory that notes every write of both ends, and holds a server's back when the test says so.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use polywire_core::{Arrival, BoxFuture, Endpoint, Handler, Io, Network, NetworkListener, Surroundings};
use polywire_hpx::{Dialect, HpxServer, ServerConfig, Wire};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::sync::mpsc;

use crate::scripted::frame;
use crate::users;

/// Bytes that one direction of a stream holds.
pub(crate) const ROOM: usize = 1 << 20;

/// What one end wrote, write by write, and whether it may write now.
#[derive(Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Noted>>);

#[derive(Default)]
struct Noted {
    writes: Vec<Vec<u8>>,
    shut: bool,
    waiting: Option<Waker>,
}

impl Notes {
    pub(crate) fn shut(&self) {
        self.0.lock().unwrap().shut = true;
    }

    pub(crate) fn open(&self) {
        let mut noted = self.0.lock().unwrap();
        noted.shut = false;
        noted.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// The texts of the frames in each write since the last time.
    pub(crate) fn take(&self) -> Vec<Vec<String>> {
        let writes = std::mem::take(&mut self.0.lock().unwrap().writes);
        writes.iter().map(|write| frames(write)).collect()
    }
}

/// The texts of the frames in these bytes, which hold whole frames only.
pub(crate) fn frames(bytes: &[u8]) -> Vec<String> {
    let mut rest = bytes;
    let mut texts = Vec::new();
    while !rest.is_empty() {
        let mut text = String::new();
        let mut decoder = flate2::bufread::GzDecoder::new(rest);
        io::Read::read_to_string(&mut decoder, &mut text).expect("a write begins with a body");
        rest = decoder.into_inner().strip_prefix(b"<EOF>").expect("the delimiter is in the same write");
        texts.push(text);
    }
    texts
}

/// A stream in memory that notes every write.
pub(crate) struct Noting {
    stream: DuplexStream,
    notes: Notes,
}

impl AsyncRead for Noting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Noting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut noted = self.notes.0.lock().unwrap();
        if noted.shut {
            noted.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        drop(noted);
        let written = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.notes.0.lock().unwrap().writes.push(bytes[..written].to_vec());
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        self.poll_write(cx, &all)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A network of one server whose ends note what they write.
pub(crate) struct Wires {
    dialled: mpsc::UnboundedSender<Noting>,
    door: Mutex<Option<mpsc::UnboundedReceiver<Noting>>>,
    pub(crate) client: Notes,
    pub(crate) server: Notes,
}

impl Wires {
    pub(crate) fn new() -> Arc<Self> {
        let (dialled, door) = mpsc::unbounded_channel();
        let door = Mutex::new(Some(door));
        Arc::new(Self { dialled, door, client: Notes::default(), server: Notes::default() })
    }

    pub(crate) fn dial(&self) -> Noting {
        let (here, there) = duplex(ROOM);
        self.dialled.send(Noting { stream: there, notes: self.server.clone() }).unwrap();
        Noting { stream: here, notes: self.client.clone() }
    }
}

impl Network for Wires {
    fn connect<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
        Box::pin(async { Ok(Box::new(self.dial()) as Box<dyn Io>) })
    }

    fn listen(&self, _: &str) -> io::Result<Box<dyn NetworkListener>> {
        Ok(Box::new(Door(self.door.lock().unwrap().take().unwrap())))
    }
}

struct Door(mpsc::UnboundedReceiver<Noting>);

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
        "memory".to_owned()
    }
}

pub(crate) fn endpoint(wires: &Arc<Wires>, handler: impl Handler) -> Endpoint {
    let mut endpoint = Endpoint::new("hpx", handler);
    endpoint.surroundings = Surroundings { network: Some(Arc::clone(wires) as _), ..Surroundings::default() };
    endpoint.authenticator = Some(users());
    endpoint
}

pub(crate) fn wire(dialect: Dialect) -> Wire {
    Wire { dialect, ..Wire::default() }
}

pub(crate) async fn serve(wires: &Arc<Wires>, dialect: Dialect, handler: impl Handler) -> HpxServer {
    let config =
        ServerConfig { wire: wire(dialect), may_command: vec!["alice".into()], ..ServerConfig::default() };
    HpxServer::bind("memory", config, endpoint(wires, handler)).await.unwrap()
}

/// Lets everything run that can; on a paused clock no time passes meanwhile.
pub(crate) async fn settle() {
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
}

/// A peer of the test that has logged in, and its session.
pub(crate) async fn logged_in(wires: &Wires) -> (Noting, String) {
    let mut peer = wires.dial();
    let login = r#"{"session":"","name":"t","data":{"user":"alice","password":"s3cret"}}"#;
    peer.write_all(&frame(login)).await.unwrap();
    let mut bytes = Vec::new();
    // The greeting and the answer.
    while memchr::memmem::find_iter(&bytes, b"<EOF>").count() < 2 {
        peer.read_buf(&mut bytes).await.unwrap();
    }
    wires.server.take();
    let session = frames(&bytes)[1].split('"').nth(3).unwrap().to_owned();
    (peer, session)
}

pub(crate) fn message(session: &str, data: &str) -> Vec<u8> {
    frame(&format!(r#"{{"session":"{session}","name":"t","data":{data}}}"#))
}
