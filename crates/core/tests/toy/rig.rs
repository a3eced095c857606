//! One toy connection under test, with the peer's end of the pipe in the hands of the test.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_core::{
    Answer, Authenticate, Body, ByteStream, Caller, Code, Connection, Count, Credentials, Ended, Endpoint,
    Event, Failure, Handler, HandlerFuture, Identity, Incoming, JsonLimits, JsonText, Kind, Ledger, Limits,
    Link, Observe, Outcome, Peer, Refusal, Request, Response, Route, Shutdown, Surroundings,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::task::JoinHandle;

use super::codec::ToyCodec;
use super::session::{Login, ToySession};

/// Everything the engine can do at this moment of the paused clock is done when this ends.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// A handler made of a function.
pub(crate) struct Serve<F>(pub(crate) F);

impl<F, Fut> Handler for Serve<F>
where
    F: Fn(Incoming) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        Box::pin(self.0(incoming))
    }
}

/// What handlers were given, in the order they were started: `? name body` or `. name body`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().expect("not poisoned").clone()
    }

    fn add(&self, incoming: &Incoming) {
        let sign = if incoming.kind == Kind::Request { '?' } else { '.' };
        let body = match &incoming.body {
            Body::Json(text) => text.as_str(),
            _ => "",
        };
        let line = format!("{sign} {} {body}", incoming.route.as_str());
        self.0.lock().expect("not poisoned").push(line.trim_end().to_owned());
    }
}

/// The demo service: `echo`, `late` (echo after 100 ms), `fail`, `hang`, `panic` (at once), `panic-later`, `back` (asks the
/// peer for `question` and answers with what it says), `working` (two signs of progress, then the answer).
pub(crate) fn demo(heard: &Heard) -> impl Handler + use<> {
    let heard = heard.clone();
    Serve(move |incoming: Incoming| {
        heard.add(&incoming);
        async move {
            match incoming.route.as_str() {
                "late" => tokio::time::sleep(Duration::from_millis(100)).await,
                "fail" => return Err(Failure::new(Code::NotFound, "there is no such thing")),
                "hang" => std::future::pending().await,
                "panic" => panic!("on purpose"),
                "panic-later" => {
                    tokio::task::yield_now().await;
                    panic!("on purpose, later")
                }
                "back" => {
                    let question = Request::new(Route::from_static("question"), Body::Empty);
                    return incoming.peer.call(question).await.map_err(Failure::from);
                }
                "working" => {
                    incoming.progress(json("\"half\""));
                    settle().await;
                    incoming.progress(json("\"nearly\""));
                    settle().await;
                }
                _ => {}
            }
            Ok(Response::from(incoming.body))
        }
    })
}

pub(crate) fn json(text: &str) -> Body {
    Body::Json(JsonText::new(text.to_owned(), &JsonLimits::default()).expect("the test's JSON is valid"))
}

/// What a connection is made of; change what the test is about, then [`start`](Setup::start).
pub(crate) struct Setup {
    pub(crate) session: ToySession,
    pub(crate) limits: Limits,
    pub(crate) endpoint: Endpoint,
    pub(crate) heard: Heard,
    /// Bytes the pipe holds in each direction.
    pub(crate) pipe: usize,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self::with_login(Login::None)
    }

    /// With a login, `ann` gets in with the secret `s3cret`, 50 ms after she has shown it.
    pub(crate) fn with_login(login: Login) -> Self {
        let heard = Heard::default();
        let mut endpoint = Endpoint::new("toy", demo(&heard));
        endpoint.surroundings = Surroundings::seeded(7);
        endpoint.authenticator = Some(Arc::new(judge()));
        let session = ToySession::new(login);
        Self { session, limits: Limits::default(), endpoint, heard, pipe: 1 << 20 }
    }

    pub(crate) fn handler(mut self, handler: impl Handler) -> Self {
        self.endpoint.handler = Arc::new(handler);
        self
    }

    pub(crate) fn start(self) -> Rig {
        let (near, far) = tokio::io::duplex(self.pipe);
        let heard = self.heard.clone();
        let (connection, link, endpoint) = self.connect(near);
        Rig {
            link,
            heard,
            ledger: endpoint.ledger,
            shutdown: endpoint.shutdown,
            far: BufReader::new(far),
            task: tokio::spawn(connection),
        }
    }

    pub(crate) fn connect<Io>(
        mut self,
        io: Io,
    ) -> (Connection<ByteStream<Io>, ToySession>, Link<ToySession>, Endpoint)
    where
        ByteStream<Io>: polywire_core::Transport<ToyCodec>,
    {
        let codec = ToyCodec::new(self.limits.max_frame_bytes);
        self.endpoint.limits = Arc::new(self.limits);
        let transport = ByteStream::new(io);
        let (connection, link) =
            Connection::new(transport, codec, self.session, self.endpoint.clone(), Some("far".into()));
        (connection, link, self.endpoint)
    }
}

pub(crate) fn judge() -> impl Authenticate {
    |credentials: Credentials| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let name = credentials.subject.unwrap_or_default();
        let right = credentials.secret.is_some_and(|secret| secret.matches(b"s3cret"));
        if name == "ann" && right { Ok(Identity::user(name)) } else { Err(Refusal::new("not you")) }
    }
}

/// A running connection.
pub(crate) struct Rig {
    pub(crate) link: Link<ToySession>,
    pub(crate) heard: Heard,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) shutdown: Shutdown,
    pub(crate) far: BufReader<DuplexStream>,
    pub(crate) task: JoinHandle<Ended>,
}

/// Longer than any limit: what has not come by then never comes.
const NEVER: Duration = Duration::from_secs(100_000);

impl Rig {
    /// The peer writes these bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.far.write_all(bytes).await.expect("the connection reads");
    }

    /// The peer writes one line.
    pub(crate) async fn say(&mut self, line: &str) {
        self.write(format!("{line}\n").as_bytes()).await;
    }

    /// The next line the peer gets.
    pub(crate) async fn hear(&mut self) -> String {
        let mut line = String::new();
        let read = tokio::time::timeout(NEVER, self.far.read_line(&mut line)).await.expect("a line comes");
        read.expect("the connection writes");
        assert!(line.ends_with('\n'), "the connection was closed after {line:?}");
        line.trim_end_matches('\n').to_owned()
    }

    /// Everything the peer still gets.
    pub(crate) async fn hear_all(&mut self) -> String {
        let mut rest = String::new();
        let read = tokio::time::timeout(NEVER, self.far.read_to_string(&mut rest)).await;
        read.expect("the connection closes").expect("it wrote text");
        rest
    }

    /// Does nothing reach the peer now?
    pub(crate) async fn silent(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(1), self.far.fill_buf()).await.is_err()
    }

    pub(crate) fn caller(&self) -> &Caller {
        self.link.caller()
    }

    /// Calls the peer from a task of its own.
    pub(crate) fn call(&self, name: &'static str, body: &str) -> JoinHandle<Outcome> {
        self.ask(Request::new(Route::from_static(name), json(body)))
    }

    pub(crate) fn ask(&self, request: Request) -> JoinHandle<Outcome> {
        let caller = self.caller().clone();
        tokio::spawn(async move { caller.call(request).await })
    }

    pub(crate) async fn notify(&self, name: &'static str, body: &str) {
        self.caller().notify(Event::new(Route::from_static(name), json(body))).await.expect("there is room");
    }

    pub(crate) fn count(&self, count: Count) -> u64 {
        self.ledger.get(count)
    }

    /// The connection ends by itself; its books are in order then.
    pub(crate) async fn ended(self) -> Ended {
        let ended = tokio::time::timeout(NEVER, self.task).await.expect("the connection ends");
        check_books(&self.ledger);
        ended.expect("the connection does not panic")
    }

    /// The peer goes away; the connection ends with its books in order.
    pub(crate) async fn hang_up(self) -> Ended {
        let Self { link, heard, ledger, shutdown, far, task } = self;
        drop(far);
        let (_, far) = tokio::io::duplex(1);
        Self { link, heard, ledger, shutdown, far: BufReader::new(far), task }.ended().await
    }
}

/// Every frame, every call and every request is accounted for, and no connection is left.
#[track_caller]
pub(crate) fn check_books(ledger: &Ledger) {
    let of = |counts: &[Count]| counts.iter().map(|count| ledger.get(*count)).sum::<u64>();
    let books = format!("{:?}", ledger.snapshot());
    assert_eq!(ledger.unaccounted_frames(), 0, "{books}");
    let ends = [
        Count::CallsAnswered,
        Count::CallsFailed,
        Count::CallsNotSent,
        Count::CallsUnknown,
        Count::CallsCancelled,
    ];
    assert_eq!(of(&[Count::Calls]), of(&ends), "calls and their ends: {books}");
    let ends = [Count::RequestsAnswered, Count::RequestsFailed, Count::RequestsAbandoned];
    assert_eq!(of(&[Count::Requests]), of(&ends), "requests and their ends: {books}");
    assert_eq!(of(&[Count::Connections]), of(&[Count::Closed]), "connections: {books}");
}

/// Notes who comes and goes: `+1`, `-1 the peer closed the connection`, with connections numbered as they come.
#[derive(Debug, Default)]
pub(crate) struct Guests(Mutex<(Vec<u64>, VecDeque<String>)>);

impl Guests {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().expect("not poisoned").1.iter().cloned().collect()
    }
}

impl Observe for Guests {
    fn connected(&self, peer: &Peer) {
        let mut state = self.0.lock().expect("not poisoned");
        state.0.push(peer.id());
        let number = state.0.len();
        state.1.push_back(format!("+{number}"));
    }

    fn disconnected(&self, peer: &Peer, reason: &polywire_core::Close) {
        let mut state = self.0.lock().expect("not poisoned");
        let number = state.0.iter().position(|id| *id == peer.id()).map_or(0, |at| at + 1);
        state.1.push_back(format!("-{number} {reason}"));
    }
}
