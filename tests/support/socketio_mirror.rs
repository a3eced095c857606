//! A Socket.IO server that says everything back, and what a client of requests does with it.

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{
    Endpoint, Event, Handler, HandlerFuture, Incoming, Kind, Limits, Response, Route, Server,
};
use polywire_socketio::{Arguments, ServerConfig, listen};

use crate::raw::Raw;

/// `message` comes back as `message-back`, and whatever wants an answer is acknowledged, with the same arguments.
struct Mirror;

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

/// The server. It knows messages up to a million bytes, and a second for what opens or joins.
pub(crate) async fn serve() -> Server {
    let limits =
        Limits { max_frame_bytes: 1_000_000, login_timeout: Duration::from_secs(1), ..Limits::default() };
    let endpoint = Endpoint { limits: Arc::new(limits), ..Endpoint::new("socketio", Mirror) };
    let config = ServerConfig {
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_secs(2),
        arguments: Arguments::List,
        ..ServerConfig::new(["/", "/custom"])
    };
    listen("127.0.0.1:0", config, endpoint).await.unwrap()
}

/// A session of requests that has joined the main namespace.
pub(crate) async fn polling(server: &Server) -> (Raw, String) {
    let mut raw = Raw::dial(server.address()).await;
    let query = format!("&sid={}", raw.session().await);
    assert_eq!(raw.ask(&query, Some("40")).await, (200, "ok".to_owned()));
    let mut heard = String::new();
    while !heard.contains("40{") {
        heard = raw.ask(&query, None).await.1;
        if heard.split('\u{1e}').any(|message| message == "2") {
            assert_eq!(raw.ask(&query, Some("3")).await.0, 200);
        }
    }
    (raw, query)
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
