//! Our own Sockhop ends as the interop tests use them: they echo, listen, and push from the first moment.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_core::{
    Body, Client, Close, Endpoint, Event, Handler, HandlerFuture, Incoming, JsonLimits, JsonText, Kind,
    Observe, Peer, Request, Response, Route, Server,
};
use polywire_sockhop::{Address, Config, dial, listen};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long anything may take that a test waits for.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// What an end has heard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// Events, in order.
    pub(crate) events: Vec<(String, Body)>,
    /// Requests answered.
    pub(crate) requests: usize,
    /// Peers that came.
    pub(crate) peers: Vec<Peer>,
    /// Why peers left.
    pub(crate) left: Vec<Close>,
}

/// Echoes every request with its type, keeps every event.
#[derive(Clone, Debug)]
pub(crate) struct End {
    heard: watch::Sender<Heard>,
    push: usize,
}

impl End {
    /// An end that sends `push` events `{"burst": i}` to whoever connects, from the first moment.
    pub(crate) fn new(push: usize) -> Self {
        Self { heard: watch::Sender::new(Heard::default()), push }
    }

    /// Waits until what was heard satisfies `enough`.
    pub(crate) async fn wait_for(&self, enough: impl Fn(&Heard) -> bool) -> Heard {
        let mut heard = self.heard.subscribe();
        let found = timeout(LIMIT, heard.wait_for(|heard| enough(heard))).await;
        match found {
            Ok(Ok(found)) => found.clone(),
            _ => panic!("not heard in time: {:?}", Summary(&self.heard.borrow())),
        }
    }

    /// Serves at `address`.
    pub(crate) async fn serve(&self, address: impl Into<Address>, config: Config) -> Server {
        listen(address, config, self.endpoint()).await.expect("the address is free")
    }

    /// Dials `address`, again and again.
    pub(crate) fn dial(&self, address: impl Into<Address>, config: Config) -> Client {
        let mut endpoint = self.endpoint();
        endpoint.reconnect.first_pause = Duration::from_millis(1);
        endpoint.reconnect.max_pause = Duration::from_millis(20);
        dial(address, config, endpoint).expect("good settings")
    }

    fn endpoint(&self) -> Endpoint {
        let mut endpoint = Endpoint::new("sockhop", self.clone());
        endpoint.observer = Some(Arc::new(self.clone()));
        endpoint
    }
}

struct Summary<'a>(&'a Heard);

impl std::fmt::Debug for Summary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Heard { events, requests, peers, left } = self.0;
        write!(f, "{} events, {requests} requests, {} peers, left: {left:?}", events.len(), peers.len())
    }
}

impl Handler for End {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let Incoming { kind, route, body, meta, .. } = incoming;
        self.heard.send_modify(|heard| match kind {
            Kind::Event => heard.events.push((route.to_string(), body.clone())),
            _ => heard.requests += 1,
        });
        Box::pin(async { Ok(Response { body, meta }) })
    }
}

impl Observe for End {
    fn connected(&self, peer: &Peer) {
        self.heard.send_modify(|heard| heard.peers.push(peer.clone()));
        let (peer, count) = (peer.clone(), self.push);
        tokio::spawn(async move {
            for number in 0..count {
                let event =
                    Event::new(Route::from_static("Object"), json(&serde_json::json!({ "burst": number })));
                if peer.notify(event).await.is_err() {
                    return;
                }
            }
        });
    }

    fn disconnected(&self, _: &Peer, reason: &Close) {
        self.heard.send_modify(|heard| heard.left.push(reason.clone()));
    }
}

/// A body holding `value`.
pub(crate) fn json(value: &Value) -> Body {
    Body::Json(JsonText::new(value.to_string(), &JsonLimits::default()).expect("JSON"))
}

/// A request.
pub(crate) fn request(route: &str, body: Body) -> Request {
    Request::new(Route::new(route.to_owned()).expect("a short name"), body).timeout(LIMIT)
}

/// Makes `count` calls, 64 at once, and holds every answer against what was asked.
pub(crate) async fn echoes(client: &Client, count: usize, make: impl Fn(usize) -> (&'static str, Body)) {
    let numbers = Arc::new(Mutex::new(0..count));
    let questions: Vec<(&'static str, Body)> = (0..count).map(make).collect();
    let questions: Arc<[(&'static str, Body)]> = questions.into();
    let mut workers = JoinSet::new();
    for _ in 0..64 {
        let (caller, numbers, questions) =
            (client.caller().clone(), Arc::clone(&numbers), Arc::clone(&questions));
        workers.spawn(async move {
            loop {
                let Some(number) = numbers.lock().expect("nobody panics").next() else { return };
                let (route, body) = &questions[number];
                let answer = caller.call(request(route, body.clone())).await.expect("an answer");
                assert_same(&answer.body, body, number);
            }
        });
    }
    timeout(LIMIT, workers.join_all()).await.expect("all answers in time");
}

/// The same value; a peer in another language may spell JSON in its own way, and plain buffers lose their kind.
pub(crate) fn assert_same(found: &Body, expected: &Body, number: usize) {
    match (found, expected) {
        (Body::Json(found), Body::Json(expected)) => {
            let parse = |text: &JsonText| text.parse::<Value>().expect("JSON");
            assert_eq!(parse(found), parse(expected), "number {number}");
        }
        (Body::Binary(found), Body::Binary(expected)) => {
            assert_eq!(found.bytes, expected.bytes, "number {number}");
        }
        _ => panic!("number {number}: {found:?} is not {expected:?}"),
    }
}

/// Are these the events `{"burst": 0}`, `{"burst": 1}` and so on, none lost, none doubled, in order?
pub(crate) fn assert_bursts(events: &[(String, Body)], count: usize) {
    let member = |body: &Body| match body {
        Body::Json(text) => {
            let value = text.parse::<Value>().expect("JSON");
            value["burst"].as_u64().or(value["seq"].as_u64())
        }
        _ => None,
    };
    let numbers: Vec<u64> = events.iter().filter_map(|(_, body)| member(body)).collect();
    assert!(numbers.iter().copied().eq(0..count as u64), "{} of {count}, or out of order", numbers.len());
}
