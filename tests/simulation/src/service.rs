//! The service behind every server, and what clients serve: it writes down what it is given, and does what the route says.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_core::{
    Answer, Authenticate, Body, BoxFuture, Close, Code, Credentials, Failure, GAP, Handler, HandlerFuture,
    Identity, Incoming, JsonLimits, JsonText, Kind, Observe, Peer, Refusal, Response,
};
use serde_json::Value;

use crate::history::{History, Stream, What};

/// What handlers say when they panic, so that it is told from a panic of ours.
pub const PANIC: &str = "a handler of the simulation panics";

/// The body of a call.
pub fn call_body(nonce: u64, wait: Duration, padding: usize) -> Body {
    let text =
        format!(r#"{{"nonce":{nonce},"ms":{},"padding":"{}"}}"#, wait.as_millis(), "x".repeat(padding));
    json(text)
}

/// The body of an event.
pub fn event_body(stream: Stream, sequence: u64) -> Body {
    json(format!(r#"{{"source":{},"key":{},"sequence":{sequence}}}"#, stream.source, stream.key))
}

/// A body of this text.
///
/// # Panics
/// When it is no JSON.
pub fn json(text: String) -> Body {
    Body::Json(JsonText::new(text, &JsonLimits::default()).expect("what the simulation writes is JSON"))
}

fn value(body: &Body) -> Value {
    match body {
        Body::Json(text) => serde_json::from_slice(text.as_bytes()).unwrap_or_default(),
        _ => Value::Null,
    }
}

/// The number that stands in a body.
pub fn nonce_of(body: &Body) -> Option<u64> {
    value(body)["nonce"].as_u64()
}

/// The number that stands in the words of a failure.
pub fn nonce_told(words: &str) -> Option<u64> {
    let (_, rest) = words.split_once("nonce ")?;
    rest.split(';').next()?.parse().ok()
}

/// A handler that writes down what it is given: calls, events and gaps.
#[derive(Clone)]
pub struct Service {
    history: History,
    /// Whose it is; 0 is the server's.
    who: u64,
}

impl Service {
    /// The service of `who`.
    pub fn new(history: History, who: u64) -> Self {
        Self { history, who }
    }

    fn hear(&self, incoming: &Incoming) -> Answer {
        if *incoming.route == *GAP {
            self.history.add(What::Gap { who: self.who });
            return Ok(Response::default());
        }
        let event = value(&incoming.body);
        if let (Some(source), Some(key), Some(sequence)) =
            (event["source"].as_u64(), event["key"].as_u64(), event["sequence"].as_u64())
        {
            self.history.add(What::Heard { who: self.who, stream: Stream { source, key }, sequence });
        }
        Ok(Response::default())
    }
}

impl Handler for Service {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        if incoming.kind == Kind::Event {
            return Box::pin(std::future::ready(self.hear(&incoming)));
        }
        let told = value(&incoming.body);
        let Some(nonce) = told["nonce"].as_u64() else {
            // What a wire makes of an event of a client.
            return Box::pin(std::future::ready(self.hear(&incoming)));
        };
        let peer = (self.who == 0).then(|| incoming.peer.id());
        self.history.add(What::Ran { nonce, peer });
        Box::pin(async move {
            match &*incoming.route {
                "slow" => {
                    tokio::time::sleep(Duration::from_millis(told["ms"].as_u64().unwrap_or_default())).await
                }
                "fail" => return Err(Failure::new(Code::NotFound, format!("nonce {nonce}; is not served"))),
                "hang" => std::future::pending().await,
                "panic" => panic!("{PANIC}"),
                _ => {}
            }
            Ok(Response::from(incoming.body))
        })
    }
}

/// Judges logins: everybody but those whose names are struck off.
#[derive(Clone)]
pub struct Judge {
    history: History,
    struck: Arc<Mutex<Vec<String>>>,
    slow: Arc<AtomicBool>,
}

impl Judge {
    /// A judge who lets everybody in.
    pub fn new(history: History) -> Self {
        Self { history, struck: Arc::default(), slow: Arc::default() }
    }

    /// From now on `subject` is refused, or not any more.
    pub fn strike(&self, subject: &str, refused: bool) {
        let mut struck = self.struck.lock().expect("not poisoned");
        struck.retain(|known| known != subject);
        if refused {
            struck.push(subject.to_owned());
        }
    }

    /// From now on every judgement takes a while, or not any more.
    pub fn hesitate(&self, slow: bool) {
        self.slow.store(slow, Ordering::Relaxed);
    }
}

impl Authenticate for Judge {
    fn authenticate(&self, credentials: Credentials) -> BoxFuture<'static, Result<Identity, Refusal>> {
        let named = value(&credentials.data)["user"].as_str().map(str::to_owned);
        let subject = credentials.subject.map(|subject| subject.to_string()).or(named).unwrap_or_default();
        let this = self.clone();
        Box::pin(async move {
            if this.slow.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
            let granted = !this.struck.lock().expect("not poisoned").contains(&subject);
            this.history.add(What::Judged { subject: subject.clone(), granted });
            if granted { Ok(Identity::user(subject)) } else { Err(Refusal::new("struck off")) }
        })
    }
}

/// Writes down who comes and goes.
pub struct Porter(pub History);

impl Observe for Porter {
    fn connected(&self, peer: &Peer) {
        self.0.add(What::Joined { peer: peer.id() });
    }

    fn disconnected(&self, peer: &Peer, _: &Close) {
        self.0.add(What::Left { peer: peer.id() });
    }
}
