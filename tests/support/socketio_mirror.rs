//! A Socket.IO server that says everything back, and how clients join it.

#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{
    Authenticate, Body, BoxFuture, Close, Credentials, Endpoint, Event, Handler, HandlerFuture, Identity,
    Incoming, JsonText, Kind, Limits, Observe, Peer, Refusal, Response, Route, Server,
};
use polywire_socketio::{Arguments, ServerConfig, listen};

use crate::raw::Raw;

/// Whoever joins hears with `auth` what it has shown, or an empty object. `message` comes back as `message-back`, and whatever wants
/// an answer is acknowledged, with the same arguments.
struct Mirror;

impl Authenticate for Mirror {
    fn authenticate(&self, credentials: Credentials) -> BoxFuture<'static, Result<Identity, Refusal>> {
        Box::pin(std::future::ready(Ok(Identity::guest().with_data(credentials.data))))
    }
}

impl Observe for Mirror {
    fn connected(&self, peer: &Peer) {
        let shown = match peer.identity().unwrap().data {
            Body::Json(shown) => format!("[{}]", shown.as_str()),
            _ => "[{}]".to_owned(),
        };
        let body = Body::Json(JsonText::from_validated(shown.into()));
        peer.caller().unwrap().try_notify(Event::new(Route::from_static("auth"), body)).unwrap();
    }

    fn disconnected(&self, _: &Peer, _: &Close) {}
}

impl Handler for Mirror {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        Box::pin(async move {
            if incoming.kind == Kind::Event {
                let back = Event {
                    meta: incoming.meta.clone(),
                    ..Event::new(Route::from_static("message-back"), incoming.body.clone())
                };
                if let Some(caller) = incoming.peer.caller() {
                    let _ = caller.notify(back).await;
                }
            }
            Ok(Response { body: incoming.body, meta: incoming.meta })
        })
    }
}

/// The server. It knows messages up to a million bytes, a second for what opens or joins, pings every 300 ms, and gives two seconds
/// for each pong.
pub(crate) async fn serve() -> Server {
    serve_with(Duration::from_millis(300), Duration::from_secs(2)).await
}

/// The same with no ping but the first, so that nothing comes by itself.
pub(crate) async fn serve_quietly() -> Server {
    serve_with(Duration::from_secs(300), Duration::from_secs(300)).await
}

/// The same with these pings and this time for each pong.
pub(crate) async fn serve_with(ping_interval: Duration, ping_timeout: Duration) -> Server {
    let limits =
        Limits { max_frame_bytes: 1_000_000, login_timeout: Duration::from_secs(1), ..Limits::default() };
    let endpoint = Endpoint {
        limits: Arc::new(limits),
        authenticator: Some(Arc::new(Mirror)),
        observer: Some(Arc::new(Mirror)),
        ..Endpoint::new("socketio", Mirror)
    };
    let config = ServerConfig {
        ping_interval,
        ping_timeout,
        arguments: Arguments::List,
        ..ServerConfig::new(["/", "/custom"])
    };
    listen("127.0.0.1:0", config, endpoint).await.unwrap()
}

/// A WebSocket that has joined the main namespace and has heard all that comes by itself, but for later pings.
pub(crate) async fn join(server: &Server) -> Raw {
    let mut raw = Raw::open(server.address()).await;
    raw.send(&["40"]).await;
    let (mut pinged, mut heard) = (false, Vec::new());
    while !pinged || heard.len() < 2 {
        let text = raw.text().await;
        if text == "2" {
            raw.send(&["3"]).await;
            pinged = true;
        } else {
            heard.push(text);
        }
    }
    joined(&heard);
    raw
}

/// The same as a session of requests, and how a request names it.
pub(crate) async fn polling(server: &Server) -> (Raw, String) {
    let mut raw = Raw::dial(server.address()).await;
    let query = format!("&sid={}", raw.session().await);
    assert_eq!(raw.ask(&query, Some("40")).await, (200, "ok".to_owned()));
    let (mut pinged, mut heard) = (false, Vec::new());
    while !pinged || heard.len() < 2 {
        for message in raw.ask(&query, None).await.1.split('\u{1e}') {
            if message == "2" {
                assert_eq!(raw.ask(&query, Some("3")).await.0, 200);
                pinged = true;
            } else {
                heard.push(message.to_owned());
            }
        }
    }
    joined(&heard);
    (raw, query)
}

/// The main namespace was granted to somebody who has shown nothing.
fn joined(heard: &[String]) {
    assert!(heard[0].starts_with("40{\"sid\":\""), "{heard:?}");
    assert_eq!(heard[1..], ["42[\"auth\",{}]"]);
}

/// Everything that comes by requests until `count` messages of events have come.
pub(crate) async fn events(raw: &mut Raw, query: &str, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < count {
        let (status, text) = raw.ask(query, None).await;
        assert_eq!(status, 200, "{text}");
        for message in text.split('\u{1e}') {
            match message {
                "2" => assert_eq!(raw.ask(query, Some("3")).await.0, 200),
                message => all.push(message.to_owned()),
            }
        }
    }
    all
}
