//! What the tests of the Socket.IO client share: tokens that change at each connect, events that are noted, the server's controls.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use polywire_core::{
    Body, BoxFuture, Close, CredentialSource, Credentials, Endpoint, Failure, Handler, HandlerFuture,
    Incoming, JsonText, Kind, Limits, Observe, Peer, Response,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Longest wait for anything in these tests.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Shows `tok-1`, `tok-2` and so on, one at each connect.
#[derive(Debug, Default)]
pub struct Tokens(pub AtomicU64);

impl CredentialSource for Tokens {
    fn credentials(&self, _: u32) -> BoxFuture<'_, Result<Credentials, Failure>> {
        let number = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        Box::pin(async move { Ok(auth(&json!({ "token": format!("tok-{number}") }))) })
    }
}

/// Credentials that are this object.
#[must_use]
pub fn auth(object: &Value) -> Credentials {
    Credentials { data: Body::Json(text(object)), ..Credentials::guest() }
}

/// A value as text.
#[must_use]
pub fn text(value: &Value) -> JsonText {
    JsonText::from_validated(value.to_string().into())
}

/// An event as it was heard: its name, its body, and how many bytes were beside it.
pub type HeardEvent = (String, Value, Vec<usize>);

/// Notes events and how connections end, and answers requests with their own body.
#[derive(Clone, Default)]
pub struct Ears(Arc<Inner>);

#[derive(Default)]
struct Inner {
    events: Mutex<VecDeque<HeardEvent>>,
    ends: Mutex<Vec<Close>>,
    more: Notify,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ears {
    /// An end that hears by them, and tells them how connections end.
    #[must_use]
    pub fn endpoint(&self, limits: Limits) -> Endpoint {
        Endpoint {
            limits: Arc::new(limits),
            observer: Some(Arc::new(self.clone())),
            ..Endpoint::new("socketio", self.clone())
        }
    }

    /// The next event of this name; others before it are forgotten.
    ///
    /// # Panics
    /// When it does not come within 30 s.
    pub async fn next(&self, name: &str) -> HeardEvent {
        let wait = async {
            loop {
                let more = self.0.more.notified();
                while let Some(event) = locked(&self.0.events).pop_front() {
                    if event.0 == name {
                        return event;
                    }
                }
                more.await;
            }
        };
        tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("no event {name:?}"))
    }

    /// How connections ended so far.
    #[must_use]
    pub fn ends(&self) -> Vec<Close> {
        locked(&self.0.ends).clone()
    }

    /// Waits for so many ends.
    ///
    /// # Panics
    /// When they do not come within 30 s.
    pub async fn ended(&self, count: usize) {
        let wait = async {
            loop {
                let more = self.0.more.notified();
                if self.ends().len() >= count {
                    return;
                }
                more.await;
            }
        };
        tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("{:?}", self.ends()));
    }
}

impl Handler for Ears {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let Incoming { kind, route, body, meta, .. } = incoming;
        if kind == Kind::Request {
            return Box::pin(std::future::ready(Ok(Response { body, meta })));
        }
        let mut beside: Vec<_> = meta.attachments().iter().map(|bytes| bytes.len()).collect();
        let value = match &body {
            Body::Json(text) => text.parse().unwrap_or_default(),
            Body::Binary(binary) => {
                beside.push(binary.bytes.len());
                json!("(bytes)")
            }
            Body::Empty => json!("(nothing)"),
        };
        locked(&self.0.events).push_back((route.as_str().to_owned(), value, beside));
        self.0.more.notify_waiters();
        Box::pin(std::future::ready(Ok(Response::default())))
    }
}

impl Observe for Ears {
    fn connected(&self, _: &Peer) {}

    fn disconnected(&self, _: &Peer, reason: &Close) {
        locked(&self.0.ends).push(reason.clone());
        self.0.more.notify_waiters();
    }

    fn turned_away(&self, reason: &Close) {
        locked(&self.0.ends).push(reason.clone());
        self.0.more.notify_waiters();
    }
}

/// Tells the test server to do something, such as `kick?mode=abort`; gives back what it answers.
///
/// # Panics
/// When the server is not there or answers no JSON.
pub async fn control(port: u16, what: &str) -> Value {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!("GET /control/{what} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer =
        tokio::time::timeout(LIMIT, ask).await.expect("an answer in time").expect("the server is there");
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let body = body.find('{').and_then(|start| Some(&body[start..=body.rfind('}')?])).unwrap_or(body);
    serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"))
}
