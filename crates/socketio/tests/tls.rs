//! Two ends of ours over TLS, through the adapter's options, by every choice of transports.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use polywire_core::{
    Adapter, Body, Client, ClientState, Endpoint, Event, Handler, HandlerFuture, Incoming, Kind, Options,
    Request, Route, Secret, Server, Target,
};
use polywire_socketio::ADAPTER;
use tokio::sync::mpsc;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);

/// Answers requests with their body, and tells of events.
struct Echo(mpsc::UnboundedSender<Body>);

impl Handler for Echo {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        if incoming.kind == Kind::Event {
            // Nobody may be looking any more.
            let _ = self.0.send(incoming.body.clone());
        }
        Box::pin(async move { Ok(incoming.body.into()) })
    }
}

fn endpoint() -> (Endpoint, mpsc::UnboundedReceiver<Body>) {
    let (tell, told) = mpsc::unbounded_channel();
    (Endpoint::new("socketio", Echo(tell)), told)
}

fn target(address: &str, texts: &[(&str, &str)], secrets: &[(&str, &str)]) -> Target {
    let mut options = Options::new();
    options.set("tls", "1");
    options.extend(texts.iter().copied());
    for (name, value) in secrets {
        options.set_secret(*name, Secret::from(*value));
    }
    Target { address: address.to_owned(), options, ..Target::default() }
}

/// A certificate for 127.0.0.1 and its key.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

async fn listen(cert: &str, key: &str) -> Server {
    let target = target("127.0.0.1:0", &[], &[("tls_cert", cert), ("tls_key", key)]);
    ADAPTER.listen(target, endpoint().0).await.unwrap()
}

async fn dial(address: &str, transports: &str, authority: &str) -> (Client, mpsc::UnboundedReceiver<Body>) {
    let (endpoint, told) = endpoint();
    let target = target(address, &[("transports", transports)], &[("tls_ca", authority)]);
    (ADAPTER.dial(target, endpoint).await.unwrap(), told)
}

#[tokio::test]
async fn calls_and_events_cross_over_tls_by_every_choice_of_transports() {
    let (cert, key) = certificate();
    let server = listen(&cert, &key).await;
    for transports in ["websocket", "websocket,polling", "polling,websocket", "polling"] {
        let (client, mut told) = dial(server.address(), transports, &cert).await;
        for body in [Body::json(&"x".repeat(100_000)).unwrap(), Body::binary("", vec![7; 100_000])] {
            let request = Request::new(Route::from_static("echo"), body.clone()).timeout(LIMIT);
            assert_eq!(client.caller().call(request).await.unwrap().body, body, "{transports}");
            server.audience().broadcast(&Event::new(Route::from_static("news"), body.clone()));
            assert_eq!(timeout(LIMIT, told.recv()).await.unwrap(), Some(body), "{transports}");
        }
        client.shutdown().await;
    }
    timeout(LIMIT, server.shutdown()).await.unwrap();
}

#[tokio::test]
async fn c21_a_socketio_certificate_of_somebody_else_is_named_as_the_cause() {
    let (cert, key) = certificate();
    let server = listen(&cert, &key).await;
    for transports in ["websocket", "polling"] {
        let (client, _told) = dial(server.address(), transports, &certificate().0).await;
        let mut state = client.watch();
        let waiting = timeout(LIMIT, state.wait_for(|state| matches!(state, ClientState::Waiting(_)))).await;
        let ClientState::Waiting(why) = waiting.unwrap().unwrap().clone() else { unreachable!() };
        assert!(why.contains("certificate"), "{transports}: {why}");
    }
}
