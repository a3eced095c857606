//! The HTTP service of one accepted stream: who may come in, and which session a stream belongs to.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::service::{Service, service_fn};
use polywire_core::{Admission, BoxFuture, Clock, Count, Ledger, Place};
use socketioxide::service::SocketIoService;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::floor::Floor;
use super::gate::Gate;
use super::line::Slot;
use super::post::{Judge, Post};
use super::sessions::{Found, NO_SESSION, Sessions, set_session};

/// Where a request came from; kept with it, and with the session that it opens.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) address: Option<String>,
    pub(super) gate: Arc<Gate>,
    /// The session's place, and one among the strangers until it joins a namespace.
    place: Option<Arc<SessionPlace>>,
}

impl Origin {
    /// A login of the session was refused.
    pub(super) fn login_failed(&self) {
        if let Some(place) = &self.place {
            place.place.login_failed(place.clock.now());
        }
    }

    /// Have so many logins of its address failed that none is judged now?
    pub(super) fn is_paused(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.place.is_paused(place.clock.now()))
    }

    /// The session has joined a namespace.
    pub(super) fn joined(&self) {
        if let Some(place) = &self.place {
            place.stranger.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }
}

struct SessionPlace {
    place: Place,
    clock: Arc<dyn Clock>,
    stranger: Mutex<Option<OwnedSemaphorePermit>>,
}

impl fmt::Debug for SessionPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionPlace")
    }
}

/// Places for sessions: streams are not enough to count, because one stream of requests can open many.
pub(super) struct Places {
    pub(super) admission: Admission,
    pub(super) strangers: Arc<Semaphore>,
    pub(super) max_strangers: usize,
    pub(super) ledger: Arc<Ledger>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Places {
    fn take(&self, address: Option<&str>) -> Option<Arc<SessionPlace>> {
        let place = self.admission.enter(address)?;
        let Ok(stranger) = Arc::clone(&self.strangers).try_acquire_owned() else {
            self.ledger.add(Count::AcceptsRefused, 1);
            tracing::debug!("one session more exceeds max_strangers = {}", self.max_strangers);
            return None;
        };
        let clock = Arc::clone(&self.clock);
        Some(Arc::new(SessionPlace { place, clock, stranger: Mutex::new(Some(stranger)) }))
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Places")
    }
}

/// The request was turned away with this status; what serves other paths says so.
#[derive(Clone, Copy, Debug)]
struct TurnedAway(StatusCode);

/// Who may come in. `None` is everybody.
#[derive(Clone, Debug, Default)]
pub(super) struct Guests {
    pub(super) origins: Option<Vec<String>>,
    pub(super) hosts: Option<Vec<String>>,
}

impl Guests {
    fn admit(&self, headers: &HeaderMap) -> bool {
        let all = |name, known: &[String], read: fn(&str) -> &str| {
            let mut values = headers.get_all(name).iter();
            values.all(|value| {
                value.to_str().is_ok_and(|value| {
                    known
                        .iter()
                        .any(|one| one.eq_ignore_ascii_case(value) || one.eq_ignore_ascii_case(read(value)))
                })
            })
        };
        let origins = self.origins.as_deref().is_none_or(|known| all(ORIGIN, known, |origin| origin));
        let hosts = self.hosts.as_deref();
        origins && hosts.is_none_or(|known| headers.contains_key(HOST) && all(HOST, known, without_port))
    }
}

/// `localhost` of `localhost:3000`, `[::1]` of `[::1]:3000`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// What serves the paths that are not Socket.IO's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside;

impl<B> Service<Request<B>> for Beside {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        let turned_away = request.extensions().get::<TurnedAway>();
        let mut response = Response::new(String::new());
        *response.status_mut() = turned_away.map_or(StatusCode::NOT_FOUND, |TurnedAway(status)| *status);
        ready(Ok(response))
    }
}

/// The HTTP service of one guarded stream. It answers what is not Socket.IO's with 404.
#[derive(Clone)]
pub struct Door {
    pub(super) service: SocketIoService<Beside, Floor>,
    pub(super) path: Arc<str>,
    pub(super) guests: Arc<Guests>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) places: Arc<Places>,
    pub(super) address: Option<String>,
    /// The longest time for the rest of a request.
    pub(super) frame_timeout: Duration,
    pub(super) slot: Arc<Slot>,
}

/// The name of the session that a request speaks for: of several the first, as the library reads it.
fn session_name(uri: &Uri) -> Option<&str> {
    uri.query()?.split('&').find_map(|part| part.strip_prefix("sid="))
}

/// May a WebSocket come of it? Its query is read as the library reads it.
fn asks_for_websocket<B>(request: &Request<B>) -> bool {
    let mut parts = request.uri().query().unwrap_or_default().split('&');
    let transport = parts.find(|part| part.starts_with("transport=")).and_then(|part| part.split('=').nth(1));
    request.method() == Method::GET && transport == Some("websocket")
}

/// A stream that is not read until this is dropped, also where its request is given up.
struct Held(Arc<Gate>);

impl Held {
    fn new(stream: Arc<Gate>) -> Self {
        stream.fill();
        Self(stream)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl Door {
    /// This service, and `others` for every request that is not Socket.IO's: the service of one stream of a program.
    pub fn beside<S, B>(
        self,
        others: S,
    ) -> impl Service<Request<Incoming>, Response = Response<Answer>, Error = S::Error, Future: Send>
    where
        S: Service<Request<Incoming>, Response = Response<B>, Future: Send + 'static>,
        S::Error: Error + Send + Sync + 'static,
        B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        service_fn(move |request: Request<Incoming>| -> BoxFuture<'static, _> {
            if self.serves(&request) {
                let answered = self.call(request);
                return Box::pin(async move {
                    match answered.await {
                        Ok(response) => Ok(response),
                        Err(never) => match never {},
                    }
                });
            }
            let answered = others.call(request);
            Box::pin(async move { answered.await.map(answer) })
        })
    }

    /// Is this a request to Socket.IO?
    pub fn serves<B>(&self, request: &Request<B>) -> bool {
        let rest = request.uri().path().strip_prefix(&*self.path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The library's id of the session of this name, where a request has one, its gate, and what judges a request that `posts`.
    fn session(&self, name: Option<&str>, posts: bool) -> (Option<String>, Arc<Gate>, Option<Judge>) {
        let Some(name) = name else { return (None, Arc::default(), None) };
        match self.sessions.find(name) {
            Some(Found { id, gate, flood }) => {
                let judge = posts.then(|| {
                    let limit = (self.frame_timeout, Arc::clone(&self.places.clock));
                    Judge::new(Arc::clone(&gate), flood, limit)
                });
                (Some(id), gate, judge)
            }
            None => (Some(NO_SESSION.to_owned()), Arc::default(), None),
        }
    }
}

/// Moves the head of a request into memory of its own. hyper's are slices of the buffer that the stream was read into, and the
/// library keeps the head for as long as the session: eight kilobytes for a few hundred bytes.
fn let_go_of_the_stream<B>(request: &mut Request<B>) {
    if let Ok(uri) = request.uri().to_string().parse() {
        *request.uri_mut() = uri;
    }
    let headers = request.headers_mut();
    let mut room = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    for value in headers.values_mut() {
        room.extend_from_slice(value.as_bytes());
        if let Ok(mut own) = HeaderValue::from_maybe_shared(room.split().freeze()) {
            own.set_sensitive(value.is_sensitive());
            *value = own;
        }
    }
}

impl Service<Request<Incoming>> for Door {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let name = session_name(request.uri());
        let begins = name.is_none();
        let (posts, gets) = (request.method() == Method::POST, request.method() == Method::GET);
        let (session, gate, judge) = self.session(name, posts);
        let admitted = self.guests.admit(request.headers());
        let place = (admitted && begins).then(|| self.places.take(self.address.as_deref())).flatten();
        let refused = match (admitted, begins && place.is_none()) {
            (false, _) => Some(StatusCode::FORBIDDEN),
            (true, true) => Some(StatusCode::SERVICE_UNAVAILABLE),
            (true, false) => None,
        };
        if let Some(status) = refused {
            request.extensions_mut().insert(TurnedAway(status));
            // A path that is never the one of Socket.IO, as the settings are checked for.
            *request.uri_mut() = Uri::from_static("/");
        }
        match session {
            Some(id) => set_session(&mut request, &id),
            None => let_go_of_the_stream(&mut request),
        }
        let origin = Origin { address: self.address.clone(), gate: Arc::clone(&gate), place };
        request.extensions_mut().insert(origin);
        let (service, slot, sessions) =
            (self.service.clone(), Arc::clone(&self.slot), Arc::clone(&self.sessions));
        // It is answered at once, and HTTP reads nothing before: see `Heads`.
        let asks = asks_for_websocket(&request);
        let held = asks.then(|| Held::new(self.slot.gate()));
        let claims = asks && !begins;
        Box::pin(async move {
            // The library would answer it with 101, and take its end for that of the session.
            if claims && !gate.carry() {
                return Ok(second_websocket());
            }
            if posts {
                // What a session of requests sends is held up here: its client sends nothing more before it is answered.
                gate.opened().await;
            }
            let request = request.map(|body| Post::new(body, judge));
            let answered = Service::call(&service, request);
            let response = if gets && !begins {
                tokio::select! {
                    biased;
                    response = answered => response,
                    () = gate.ended() => return Ok(session_ends()),
                }
            } else {
                answered.await
            };
            let response = response.map(answer)?;
            drop(held);
            if claims && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                gate.put_down();
            }
            // What the request became is the library's word alone: it has a reading of the query of its own.
            Ok(match response.status() {
                StatusCode::SWITCHING_PROTOCOLS if !claims && !gate.carry() => second_websocket(),
                StatusCode::SWITCHING_PROTOCOLS => {
                    // Requests of several sessions may share a stream; a WebSocket has it for itself.
                    slot.upgraded(&gate);
                    response
                }
                StatusCode::BAD_REQUEST => respelled(response).await,
                StatusCode::OK if begins => sessions.rename(response, &gate).await,
                StatusCode::OK if gets => {
                    // What was waiting has been taken.
                    gate.flushed();
                    response
                }
                _ => response,
            })
        })
    }
}

/// The answer to a request that waits for more while this side ends its session: the packet that closes it.
fn session_ends() -> Response<Answer> {
    let mut response = answer(Response::new(Full::new(Bytes::from_static(b"1"))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    response
}

/// The answer to a request for a WebSocket of a session that has one.
fn second_websocket() -> Response<Answer> {
    let text = Bytes::from_static(b"{\"code\":3,\"message\":\"Bad request\"}");
    let mut response = answer(Response::new(Full::new(text)));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A refusal as the official server spells it: its code is a number there, and text in the library.
async fn respelled(refused: Response<Answer>) -> Response<Answer> {
    let (mut head, body) = refused.into_parts();
    let text = body.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
    let number = std::str::from_utf8(&text).ok().and_then(|text| {
        let (code, rest) = text.strip_prefix("{\"code\":\"")?.split_once('"')?;
        Some(Bytes::from(format!("{{\"code\":{code}{rest}")))
    });
    head.headers.remove(CONTENT_LENGTH);
    answer(Response::from_parts(head, Full::new(number.unwrap_or(text))))
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The body of an answer, of this server or of what stands beside it.
pub type Answer = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

fn answer<B>(response: Response<B>) -> Response<Answer>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    response.map(|body| body.map_err(Into::into).boxed_unsync())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(guests: &Guests, host: Option<&'static str>, origin: Option<&'static str>) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in [(HOST, host), (ORIGIN, origin)] {
            headers.extend(value.map(|value| (name, HeaderValue::from_static(value))));
        }
        guests.admit(&headers)
    }

    #[test]
    fn a_head_that_is_kept_holds_nothing_of_the_buffer_it_was_read_into() {
        let buffer = Bytes::from(b"/socket.io/?EIO=4 hello wide world".to_vec());
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_maybe_shared(buffer.slice(..17)).unwrap();
        for (name, place) in [("x-a", 18..23), ("x-b", 24..28), ("x-b", 29..34)] {
            let value = HeaderValue::from_maybe_shared(buffer.slice(place)).unwrap();
            request.headers_mut().append(name, value);
        }
        assert!(!buffer.is_unique());
        let before = (request.uri().to_string(), format!("{:?}", request.headers()));
        let_go_of_the_stream(&mut request);
        assert!(buffer.is_unique());
        assert_eq!((request.uri().to_string(), format!("{:?}", request.headers())), before);
    }

    #[test]
    fn a_websocket_is_asked_for_as_the_library_reads_it() {
        for (method, query, asks) in [
            (Method::GET, "EIO=4&transport=websocket", true),
            (Method::GET, "transport=websocket=x&EIO=4&sid=a", true),
            (Method::GET, "transport=websocket&transport=polling", true),
            (Method::POST, "EIO=4&transport=websocket", false),
            (Method::GET, "EIO=4&transport=polling&x=transport=websocket", false),
            (Method::GET, "EIO=4&transport=polling&transport=websocket", false),
            (Method::GET, "EIO=4&transport=websockets", false),
            (Method::GET, "EIO=4&xtransport=websocket", false),
            (Method::GET, "", false),
        ] {
            let uri = format!("/socket.io/?{query}");
            let request = Request::builder().method(&method).uri(uri).body(()).unwrap();
            assert_eq!(asks_for_websocket(&request), asks, "{method} {query}");
        }
    }

    #[test]
    fn h22_only_this_machine_by_its_own_name_and_no_page_of_a_browser() {
        let guests = Guests {
            origins: Some(vec!["http://localhost:3000".into()]),
            hosts: Some(["127.0.0.1", "localhost", "[::1]"].map(str::to_owned).to_vec()),
        };
        for host in ["127.0.0.1:52789", "localhost:52789", "LOCALHOST", "[::1]:52789", "127.0.0.1"] {
            assert!(admitted(&guests, Some(host), None), "{host}");
        }
        for host in [
            "evil.example:52789",
            "127.0.0.1.evil.example",
            "localhost.evil.example:1",
            "192.168.0.7",
            "",
            "[::2]:1",
            "[",
            ":",
            "localhost:x",
        ] {
            assert!(!admitted(&guests, Some(host), None), "{host}");
        }
        assert!(!admitted(&guests, None, None));
        for (origin, may) in [
            ("http://localhost:3000", true),
            ("http://localhost", false),
            ("null", false),
            ("https://evil.example", false),
        ] {
            assert_eq!(admitted(&guests, Some("localhost"), Some(origin)), may, "{origin}");
        }
        assert!(admitted(&Guests::default(), None, Some("https://anything.example")));
    }
}
