//! A small HTTP/1.1 client: one request at a time over a connection that is kept while it is in use.
//!
//! Nothing is spawned: the connection moves on while its request is polled, and dropping a [`Lane`] ends both.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use polywire_core::{BoxFuture, FrameError, Moment, TransportError};
use polywire_net::Stream;

use super::refused::Refused;
use crate::connector::Connector;

/// Most bytes and lines of the head of an answer.
const MAX_HEAD_BYTES: usize = 16 << 10;
const MAX_HEADERS: usize = 100;
/// Most that is read of an answer that refuses.
const MAX_REFUSAL_BYTES: usize = 4 << 10;
/// A connection that has rested for longer is not used again. Servers close theirs after 5 s (observed with Node.js), and a
/// request that meets its connection being closed cannot be repeated: it may have been heard.
const REUSED_WITHIN: Duration = Duration::from_secs(2);

/// Why a request got no answer that is one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// There is no connection, or it was lost.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is no HTTP/1.1, or ended in the middle.
    #[error("the server's answer is no sound HTTP: {0}")]
    Broken(String),
    /// The body is too large.
    #[error(transparent)]
    TooLarge(FrameError),
    /// The server refuses.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl From<hyper::Error> for HttpError {
    fn from(error: hyper::Error) -> Self {
        match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
            Some(source) => Self::Io(io::Error::new(source.kind(), source.to_string())),
            None => Self::Broken(error.to_string()),
        }
    }
}

impl From<HttpError> for TransportError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Io(error) => Self::Io(error),
            HttpError::TooLarge(error) => Self::Frame(error),
            other => Self::Layer(Box::new(other)),
        }
    }
}

/// An answer with status 200.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// What kind of body it says it has, for people.
    pub(crate) fn content_type(&self) -> String {
        let kind = self.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        kind.unwrap_or("no content type").chars().take(64).collect()
    }
}

type Driver = http1::Connection<TokioIo<Stream>, Full<Bytes>>;

/// One connection to the server.
struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// What moves the bytes; `None` once it has ended.
    driver: Option<Pin<Box<Driver>>>,
}

impl Connection {
    async fn open(connector: &Connector) -> Result<Self, HttpError> {
        let stream = connector.connect().await?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD_BYTES).max_headers(MAX_HEADERS);
        let (sender, driver) = builder.handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, driver: Some(Box::pin(driver)) })
    }

    /// Can another request be sent? A server that has closed is noticed here.
    async fn is_free(&mut self) -> bool {
        poll_fn(|cx| {
            self.move_bytes(cx);
            Poll::Ready(self.driver.is_some() && self.sender.is_ready())
        })
        .await
    }

    fn move_bytes(&mut self, cx: &mut Context<'_>) -> bool {
        // What went wrong is told to whoever waits for the answer.
        let over = self.driver.as_mut().is_some_and(|driver| driver.as_mut().poll(cx).is_ready());
        if over {
            self.driver = None;
        }
        over
    }

    /// Waits for `work`, which needs this connection's bytes to move.
    async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Pending if self.move_bytes(cx) => work.as_mut().poll(cx),
            other => other,
        })
        .await
    }
}

type Asked = BoxFuture<'static, Result<(Connection, Response<Incoming>), HttpError>>;
type Read = BoxFuture<'static, Result<(Connection, Answer), HttpError>>;

/// One request at a time.
pub(crate) struct Lane {
    connector: Arc<Connector>,
    /// Largest body of an answer, and the setting that says so.
    limit: (usize, &'static str),
    state: State,
}

enum State {
    /// Nothing is asked; the connection of the last request may serve the next one.
    Free(Option<(Connection, Moment)>),
    /// The head of the answer is awaited.
    Asking(Asked),
    /// The body of the answer is.
    Reading(Read),
}

impl Lane {
    /// A lane to this server; an answer's body has at most so many bytes.
    pub(crate) fn new(connector: Arc<Connector>, limit: (usize, &'static str)) -> Self {
        Self { connector, limit, state: State::Free(None) }
    }

    /// Is an answer awaited?
    pub(crate) fn is_busy(&self) -> bool {
        !matches!(self.state, State::Free(_))
    }

    /// Has an answer begun and not ended?
    pub(crate) fn has_partial(&self) -> bool {
        matches!(self.state, State::Reading(_))
    }

    /// Asks. A request whose answer is still awaited is given up.
    pub(crate) fn ask(&mut self, request: Request<Full<Bytes>>) {
        let kept = match std::mem::replace(&mut self.state, State::Free(None)) {
            State::Free(kept) => kept,
            State::Asking(_) | State::Reading(_) => None,
        };
        self.state = State::Asking(Box::pin(ask(kept, Arc::clone(&self.connector), request)));
    }

    /// The answer to what was asked; pending as long as nothing is.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, HttpError>> {
        loop {
            match &mut self.state {
                State::Free(_) => return Poll::Pending,
                State::Asking(asked) => {
                    let asked = ready!(asked.as_mut().poll(cx));
                    self.state = State::Free(None);
                    let (connection, response) = asked?;
                    self.state = State::Reading(Box::pin(read(connection, response, self.limit)));
                }
                State::Reading(read) => {
                    let read = ready!(read.as_mut().poll(cx));
                    self.state = State::Free(None);
                    let (connection, answer) = read?;
                    self.state = State::Free(Some((connection, self.connector.now())));
                    return Poll::Ready(Ok(answer));
                }
            }
        }
    }

    /// Asks and waits for the answer.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the lane still awaits the answer.
    pub(crate) async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, HttpError> {
        self.ask(request);
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Nothing is going on: closes a connection that only waits.
    pub(crate) fn rest(&mut self) {
        if let State::Free(kept) = &mut self.state {
            *kept = None;
        }
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("busy", &self.is_busy()).finish_non_exhaustive()
    }
}

async fn ask(
    kept: Option<(Connection, Moment)>,
    connector: Arc<Connector>,
    request: Request<Full<Bytes>>,
) -> Result<(Connection, Response<Incoming>), HttpError> {
    let mut free = None;
    if let Some((mut connection, since)) = kept
        && connector.now() - since < REUSED_WITHIN
        && connection.is_free().await
    {
        free = Some(connection);
    }
    let request = match free {
        Some(mut connection) => {
            let answer = connection.sender.try_send_request(request);
            match connection.drive(answer).await {
                Ok(response) => return Ok((connection, response)),
                // Not a byte of it was sent if it comes back; otherwise it may have been heard.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        None => request,
    };
    let mut connection = Connection::open(&connector).await?;
    let answer = connection.sender.send_request(request);
    let response = connection.drive(answer).await?;
    Ok((connection, response))
}

async fn read(
    mut connection: Connection,
    response: Response<Incoming>,
    (max, setting): (usize, &'static str),
) -> Result<(Connection, Answer), HttpError> {
    let (head, mut incoming) = response.into_parts();
    let refuses = head.status != StatusCode::OK;
    let too_large = |got: u64| {
        let max = u64::try_from(max).unwrap_or(u64::MAX);
        HttpError::TooLarge(FrameError::TooLarge { got, max, setting })
    };
    let announced = incoming.size_hint().lower();
    if !refuses && usize::try_from(announced).map_or(true, |announced| announced > max) {
        return Err(too_large(announced));
    }
    let max = if refuses { MAX_REFUSAL_BYTES.min(max) } else { max };
    let mut body = BytesMut::new();
    while let Some(frame) = connection.drive(incoming.frame()).await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = max.saturating_sub(body.len());
        if data.len() > room {
            if !refuses {
                let got = body.len().saturating_add(data.len());
                return Err(too_large(u64::try_from(got).unwrap_or(u64::MAX)));
            }
            body.extend_from_slice(data.get(..room).unwrap_or_default());
            break;
        }
        body.extend_from_slice(&data);
    }
    if refuses {
        return Err(Refused::new(head.status, &body).into());
    }
    Ok((connection, Answer { headers: head.headers, body: body.freeze() }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use polywire_core::{Io, Message, Network, NetworkListener, Random, SeededRandom, Surroundings};
    use polywire_size::{Progress, size};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::polling::payload::{Payload, take_body};
    use crate::polling::site::Site;

    /// A network of one server, whose ends of the streams are here.
    #[derive(Default)]
    struct There(Mutex<Vec<DuplexStream>>);

    impl Network for There {
        fn connect<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
            let (near, far) = duplex(1 << 16);
            self.0.lock().unwrap().push(far);
            Box::pin(std::future::ready(Ok(Box::new(near) as Box<dyn Io>)))
        }

        fn listen(&self, _: &str) -> io::Result<Box<dyn NetworkListener>> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// A lane, and the server at its other end.
    struct Pair {
        lane: Lane,
        site: Site,
        there: Arc<There>,
        far: Option<DuplexStream>,
    }

    impl Pair {
        fn new() -> Self {
            let there = Arc::<There>::default();
            let network = Some(Arc::clone(&there) as _);
            let connector = Connector {
                address: "h".to_owned(),
                surroundings: Surroundings { network, ..Surroundings::real() },
                #[cfg(feature = "tls")]
                tls: None,
            };
            let lane = Lane::new(Arc::new(connector), (1 << 20, "max_poll_bytes"));
            Self { lane, site: Site::new("h", "/socket.io/", "", 0), there, far: None }
        }

        /// What comes of an answer that is written in these pieces, each of which is taken in before the next.
        async fn come(&mut self, pieces: impl Iterator<Item = &[u8]>) -> Vec<Message> {
            let request = self.site.get().unwrap();
            let (there, far) = (Arc::clone(&self.there), &mut self.far);
            let answering = async {
                while far.is_none() {
                    tokio::task::yield_now().await;
                    *far = there.0.lock().unwrap().pop();
                }
                let far = far.as_mut().unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(far.read_u8().await.unwrap());
                }
                for piece in pieces {
                    far.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let (answer, ()) = tokio::join!(self.lane.exchange(request), answering);
            packets(answer.unwrap().body)
        }
    }

    fn packets(body: Bytes) -> Vec<Message> {
        let mut payload = Payload::new(body).unwrap();
        std::iter::from_fn(|| payload.next((usize::MAX, "max_frame_bytes")).unwrap()).collect()
    }

    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\n";

    /// An answer that announces its length.
    fn announced(body: &[u8]) -> Vec<u8> {
        [format!("{HEAD}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
    }

    /// One that comes in chunks of so many bytes.
    fn chunked(body: &[u8], chunk: usize) -> Vec<u8> {
        let mut answer = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
        for chunk in body.chunks(chunk) {
            answer.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            answer.extend([chunk, b"\r\n"].concat());
        }
        [&answer[..], b"0\r\n\r\n"].concat()
    }

    #[tokio::test]
    async fn every_recorded_answer_brings_the_same_wherever_it_is_cut() {
        let mut pair = Pair::new();
        let mut bodies = 0;
        for name in ["basic-polling", "upgrade"] {
            let path = format!("{}/transcripts/{name}.json", crate::tests::vectors::VECTORS);
            let recording: serde_json::Value =
                serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
            for entry in recording["entries"].as_array().unwrap() {
                if entry["kind"] != "http-response" || entry["status"] != 200 {
                    continue;
                }
                let body = entry["body"].as_str().unwrap();
                bodies += 1;
                let expected = packets(Bytes::from(body.to_owned()));
                assert_eq!(expected.len(), body.split('\u{1e}').count());
                let answer = announced(body.as_bytes());
                // Heads are alike: one is cut.
                let first = if bodies == 1 { 1 } else { answer.len() - body.len() };
                for cut in first..answer.len() {
                    let (one, other) = answer.split_at(cut);
                    assert_eq!(pair.come([one, other].into_iter()).await, expected, "{cut} of {body}");
                }
                assert_eq!(pair.come(answer.chunks(1)).await, expected, "every byte of {body}");
            }
        }
        assert!(bodies > 12, "{bodies}");
    }

    #[tokio::test]
    async fn bodies_cut_anywhere_hold_the_packets_that_were_sent() {
        let bodies = size(10_000, 1_000_000);
        let mut progress = Progress::new("bodies of answers", bodies);
        let random = SeededRandom::new(405);
        let draw = |below: usize| {
            let mut byte = [0];
            random.fill(&mut byte);
            usize::from(byte[0]) % below
        };
        let mut pair = Pair::new();
        for number in 0..bodies {
            let mut sent: VecDeque<_> = (0..1 + draw(4))
                .map(|_| {
                    if draw(3) == 0 {
                        let mut bytes = vec![0; draw(16)];
                        random.fill(&mut bytes);
                        return Message::Binary(bytes.into());
                    }
                    let letters = (0..draw(16)).map(|_| ['a', '"', '\\', ' ', 'b', 'é', '€', '🎮'][draw(8)]);
                    Message::Text(format!("4{}", letters.collect::<String>()).into())
                })
                .collect();
            let expected = Vec::from(sent.clone());
            let body = take_body(&mut sent, usize::MAX).unwrap();
            let chunk = draw(30);
            let answer = if chunk == 0 { announced(&body) } else { chunked(&body, chunk) };
            // That of the recorded ones is cut.
            let (head, body) =
                answer.split_at(answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4);
            let most = 1 + draw(50);
            let mut rest = body;
            let pieces = std::iter::from_fn(|| {
                let (piece, more) = rest.split_at((1 + draw(most)).min(rest.len()));
                rest = more;
                (!piece.is_empty()).then_some(piece)
            });
            assert_eq!(
                pair.come([head].into_iter().chain(pieces)).await,
                expected,
                "body {number} in pieces"
            );
            let pieces = [head].into_iter().chain(body.chunks(1));
            assert_eq!(pair.come(pieces).await, expected, "body {number} byte by byte");
            progress.one_more();
        }
    }
}
