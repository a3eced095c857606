//! An HTTP server whose every answer the test gives, and a client that notes what it hears.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::Cursor;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_core::{
    Answer, Body, Client, Close, Codec, Credentials, Endpoint, Flush, FrameError, Handler, HandlerFuture,
    Incoming, JsonText, Message, MessageCodec, Observe, Peer, Reconnect, Response, Transport,
};
use polywire_net::websocket::{Settings, WebSocket, accept};
use polywire_socketio::{Config, dial};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};

/// Longest wait for anything.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// What is to come within [`LIMIT`].
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, work).await.unwrap_or_else(|_| panic!("{what} does not come"))
}

/// Lets the client take in everything that has been written to its sockets: on loopback that is there at once, and the runtime of
/// a test, which has one thread, looks at its sockets many times meanwhile.
pub(crate) async fn settle() {
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
}

/// A request as it came.
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: String,
    pub(crate) body: String,
    reply: Reply,
}

enum Reply {
    Http(oneshot::Sender<Vec<u8>>),
    Upgrade(Box<dyn Duplex>),
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Asked {
    /// Answers with these bytes.
    pub(crate) fn bytes(self, bytes: impl Into<Vec<u8>>) {
        let Reply::Http(reply) = self.reply else { panic!("{} is no request for an answer", self.path) };
        // The client may have gone.
        let _ = reply.send(bytes.into());
    }

    /// Answers with a status, headers and a body.
    pub(crate) fn with(self, status: u16, headers: &str, body: &str) {
        let length = body.len();
        self.bytes(format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n{body}"));
    }

    /// Answers as engine.io does.
    pub(crate) fn ok(self, body: &str) {
        self.with(200, "Content-Type: text/plain; charset=UTF-8\r\n", body);
    }

    /// The `t` parameter, and the path without it.
    pub(crate) fn stamp(&self) -> (String, String) {
        let (before, rest) = self.path.split_once("&t=").unwrap_or_else(|| panic!("{}", self.path));
        let (stamp, after) =
            rest.split_once('&').map_or((rest, String::new()), |(t, after)| (t, format!("&{after}")));
        (stamp.to_owned(), format!("{before}{after}"))
    }

    /// Answers with a WebSocket.
    pub(crate) async fn socket(self) -> Socket {
        let Reply::Upgrade(stream) = self.reply else { panic!("{} asks for no WebSocket", self.path) };
        Socket(accept(stream, Settings::default(), |_| Ok(())).await.unwrap())
    }

    /// Refuses the WebSocket.
    pub(crate) async fn no_socket(self) {
        let Reply::Upgrade(mut stream) = self.reply else { panic!("{} asks for no WebSocket", self.path) };
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    }

    /// Leaves it without an answer, and its connection open.
    pub(crate) fn never(self) -> impl Sized {
        self.reply
    }
}

/// The server's end of a WebSocket.
pub(crate) struct Socket(WebSocket<Box<dyn Duplex>>);

struct Bare;

impl Codec for Bare {
    type Frame = Message;
    type Mode = ();

    fn set_read_mode(&mut self, (): ()) {}

    fn set_write_mode(&mut self, (): ()) {}
}

impl MessageCodec for Bare {
    fn decode(&mut self, message: Message) -> Result<Option<Message>, FrameError> {
        Ok(Some(message))
    }

    fn encode(&mut self, message: Message, out: &mut dyn FnMut(Message)) -> Result<(), FrameError> {
        out(message);
        Ok(())
    }
}

impl Socket {
    pub(crate) async fn say(&mut self, text: &str) {
        let message = Message::Text(text.to_owned().into());
        Transport::<Bare>::send(&mut self.0, message, Flush::Coalesce, &mut Bare).unwrap();
        poll_fn(|cx| Transport::<Bare>::poll_flush(&mut self.0, cx)).await.unwrap();
    }

    /// The next text; `None` at the end.
    pub(crate) async fn hear(&mut self) -> Option<String> {
        let next = poll_fn(|cx| Transport::<Bare>::poll_receive(&mut self.0, cx, &mut Bare));
        match soon("a message", next).await {
            Ok(Some(Message::Text(text))) => Some(String::from_utf8(text.to_vec()).unwrap()),
            Ok(Some(Message::Close(_)) | None) | Err(_) => None,
            Ok(Some(other)) => panic!("{other:?}"),
        }
    }
}

/// How many requests are under way, and how many connections are open.
#[derive(Default)]
struct Counts {
    gets: AtomicUsize,
    posts: AtomicUsize,
    open: AtomicUsize,
    /// All that ever were.
    accepted: AtomicUsize,
    closed: Notify,
}

/// The server.
pub(crate) struct Script {
    pub(crate) address: String,
    asked: mpsc::UnboundedReceiver<Asked>,
    counts: Arc<Counts>,
}

impl Script {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (tell, asked) = mpsc::unbounded_channel();
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tell, counts) = (tell.clone(), Arc::clone(&shared));
                counts.open.fetch_add(1, Ordering::SeqCst);
                counts.accepted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    serve(stream, &tell, &counts).await;
                    counts.open.fetch_sub(1, Ordering::SeqCst);
                    counts.closed.notify_waiters();
                });
            }
        });
        Self { address, asked, counts }
    }

    /// The next request, whatever it is.
    pub(crate) async fn any(&mut self) -> Asked {
        soon("a request", self.asked.recv()).await.unwrap()
    }

    /// The next request, which has this method.
    pub(crate) async fn next(&mut self, method: &str) -> Asked {
        let asked = self.any().await;
        assert_eq!(asked.method, method, "{} {:?}", asked.path, asked.body);
        asked
    }

    /// Has nothing been asked?
    pub(crate) fn is_silent(&mut self) -> bool {
        self.asked.is_empty()
    }

    /// Begins a session for the namespace `/`: opening, CONNECT and its grant. Gives back the GET that then hangs.
    pub(crate) async fn begin(&mut self, opening: &str) -> Asked {
        self.next("GET").await.ok(opening);
        self.grant().await
    }

    /// CONNECT and its grant, in whatever order the two requests come.
    pub(crate) async fn grant(&mut self) -> Asked {
        let (mut get, mut granted) = (None, false);
        while get.is_none() || !granted {
            let asked = self.any().await;
            match asked.method.as_str() {
                "GET" => get = Some(asked),
                _ => {
                    assert_eq!(asked.body, "40");
                    asked.ok("ok");
                    granted = true;
                }
            }
        }
        get.unwrap().ok("40{\"sid\":\"S\"}");
        self.next("GET").await
    }

    /// How many connections the client has made so far.
    pub(crate) fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    /// Waits until the client has closed every connection.
    pub(crate) async fn deserted(&self) {
        let wait = async {
            loop {
                let closed = self.counts.closed.notified();
                if self.counts.open.load(Ordering::SeqCst) == 0 {
                    return;
                }
                closed.await;
            }
        };
        soon("the end of every connection", wait).await;
    }
}

/// One connection: reads requests, has them answered by the test, and watches that there is one of each kind at a time.
async fn serve(mut stream: TcpStream, tell: &mpsc::UnboundedSender<Asked>, counts: &Counts) {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8(read[..end].to_vec()).unwrap();
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        if head.to_ascii_lowercase().contains("\r\nupgrade: websocket\r\n") {
            let (reader, writer) = tokio::io::split(stream);
            let stream = tokio::io::join(Cursor::new(std::mem::take(&mut read)).chain(reader), writer);
            let reply = Reply::Upgrade(Box::new(stream));
            let _ = tell.send(Asked { method, path, headers: head, body: String::new(), reply });
            return;
        }
        let length: usize = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, length)| length.parse().unwrap());
        while read.len() < end + length {
            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let body = String::from_utf8(read[end..end + length].to_vec()).unwrap();
        read.drain(..end + length);
        let under_way = if method == "GET" { &counts.gets } else { &counts.posts };
        assert_eq!(under_way.fetch_add(1, Ordering::SeqCst), 0, "two of {method} at once");
        let (reply, answer) = oneshot::channel();
        let told = tell.send(Asked { method, path, headers: head, body, reply: Reply::Http(reply) });
        let answer = tokio::select! {
            answer = answer => answer.ok(),
            // Nothing may come before the answer but the end.
            more = stream.read_buf(&mut read) => {
                assert_eq!(more.unwrap_or(0), 0, "a request before the answer to the last one");
                None
            }
        };
        under_way.fetch_sub(1, Ordering::SeqCst);
        let (Some(answer), Ok(())) = (answer, told) else { return };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// Notes events and ends.
#[derive(Clone, Default)]
pub(crate) struct Ears(Arc<Heard>);

#[derive(Default)]
struct Heard {
    events: Mutex<VecDeque<(String, Body)>>,
    ends: Mutex<Vec<Close>>,
    more: Notify,
}

impl Ears {
    pub(crate) async fn event(&self) -> (String, Body) {
        let wait = async {
            loop {
                let more = self.0.more.notified();
                if let Some(event) = self.0.events.lock().unwrap().pop_front() {
                    return event;
                }
                more.await;
            }
        };
        soon("an event", wait).await
    }

    pub(crate) async fn end(&self) -> Close {
        let wait = async {
            loop {
                let more = self.0.more.notified();
                if let Some(end) = self.0.ends.lock().unwrap().first() {
                    return end.clone();
                }
                more.await;
            }
        };
        soon("the end", wait).await
    }
}

impl Handler for Ears {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        self.0.events.lock().unwrap().push_back((incoming.route.as_str().to_owned(), incoming.body));
        self.0.more.notify_waiters();
        let answer: Answer = Ok(Response::default());
        Box::pin(std::future::ready(answer))
    }
}

impl Observe for Ears {
    fn connected(&self, _: &Peer) {}

    fn disconnected(&self, _: &Peer, reason: &Close) {
        self.turned_away(reason);
    }

    fn turned_away(&self, reason: &Close) {
        self.0.ends.lock().unwrap().push(reason.clone());
        self.0.more.notify_waiters();
    }
}

/// A client of the script that dials once.
pub(crate) fn client(script: &Script, config: Config) -> (Client, Ears) {
    client_with(script, config, Credentials::guest(), |_| {})
}

/// The same, with these credentials and what the test wants otherwise.
pub(crate) fn client_with(
    script: &Script,
    config: Config,
    credentials: Credentials,
    change: impl FnOnce(&mut Endpoint),
) -> (Client, Ears) {
    let ears = Ears::default();
    let mut endpoint =
        Endpoint { observer: Some(Arc::new(ears.clone())), ..Endpoint::new("socketio", ears.clone()) };
    endpoint.reconnect = Reconnect::never();
    change(&mut endpoint);
    let client = dial(&script.address, config, Arc::new(credentials), endpoint).unwrap();
    (client, ears)
}

/// JSON text as it stands.
pub(crate) fn json(text: &str) -> JsonText {
    JsonText::from_validated(text.to_owned().into())
}
