//! A Socket.IO server whose handler notes what it hears and how connections end, and a neighbour that must go on.

#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_core::{
    Body, Close, Endpoint, Handler, HandlerFuture, Incoming, Kind, Limits, Observe, Peer, Response, Server,
};
use polywire_socketio::{ServerConfig, listen};

use crate::raw::{Raw, until};

/// What the handler heard, `event a [..]` or `request a [..]`, and why connections ended.
#[derive(Clone, Default)]
pub(crate) struct Heard(pub(crate) Arc<Mutex<Vec<String>>>, pub(crate) Arc<Mutex<Vec<Close>>>);

impl Heard {
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Why the one connection ended that did.
    pub(crate) async fn ended(&self, what: &str) -> Close {
        until(&format!("{what}: told"), || !self.1.lock().unwrap().is_empty()).await;
        let mut ends = std::mem::take(&mut *self.1.lock().unwrap());
        assert_eq!(ends.len(), 1, "{what}: {ends:?}");
        ends.remove(0)
    }
}

impl Observe for Heard {
    fn connected(&self, _: &Peer) {}

    fn disconnected(&self, _: &Peer, reason: &Close) {
        self.1.lock().unwrap().push(reason.clone());
    }
}

impl Handler for Heard {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let kind = if incoming.kind == Kind::Request { "request" } else { "event" };
        let body = match &incoming.body {
            Body::Json(text) => text.as_str().to_owned(),
            Body::Binary(binary) => format!("{:?}", binary.bytes),
            Body::Empty => String::new(),
        };
        self.0.lock().unwrap().push(format!("{kind} {} {body}", incoming.route.as_str()).trim().to_owned());
        Box::pin(std::future::ready(Ok(Response::default())))
    }
}

/// How long anything may take that a test waits for.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) async fn serve(heard: &Heard, limits: Limits, config: ServerConfig) -> Server {
    let endpoint = Endpoint {
        limits: Arc::new(limits),
        observer: Some(Arc::new(heard.clone())),
        ..Endpoint::new("socketio", heard.clone())
    };
    listen("127.0.0.1:0", config, endpoint).await.unwrap()
}

/// A server whose pings do not come in between.
pub(crate) fn quiet() -> ServerConfig {
    let long = Duration::from_secs(300);
    ServerConfig { ping_interval: long, ping_timeout: long, ..ServerConfig::default() }
}

/// Still served after all that, and nothing of it was heard.
pub(crate) async fn goes_on(neighbour: &mut Raw, heard: &Heard, what: &str) {
    neighbour.send(&["421[\"n\",7]"]).await;
    assert!(neighbour.event().await.starts_with("431["), "{what}");
    assert_eq!(heard.take(), ["request n 7"], "{what}");
}

/// Asks until there is nothing left to be taken: the next poll waits.
pub(crate) async fn join_by_requests(raw: &mut Raw, sid: &str) {
    assert_eq!(raw.ask(sid, Some("40")).await.0, 200);
    let (mut pinged, mut joined) = (false, false);
    while !pinged || !joined {
        let came = raw.ask(sid, None).await.1;
        pinged |= came.split('\u{1e}').any(|packet| packet == "2");
        joined |= came.contains("40{");
    }
}
