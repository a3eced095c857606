//! What was found of a peer is told to whoever observes, and by the peer itself in a handler, at both ends.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use polywire_core::{
    BinaryForm, Body, Close, Endpoint, Handler, HandlerFuture, Incoming, Observe, Peer, Reconnect, Request,
    Route,
};
use polywire_sockhop::{Config, Mode, dial, listen};
use tokio::sync::mpsc;

/// Answers with the name of the binary form of whoever asks.
struct Telling;

impl Handler for Telling {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let found = incoming.peer.capabilities().map(|found| format!("{:?}", found.binary));
        Box::pin(async move { Ok(Body::binary("Buffer", found.unwrap_or_default()).into()) })
    }
}

struct Found(mpsc::UnboundedSender<Option<BinaryForm>>);

impl Observe for Found {
    fn connected(&self, _: &Peer) {}

    fn disconnected(&self, _: &Peer, _: &Close) {}

    fn found(&self, peer: &Peer) {
        // The test may be over.
        let _ = self.0.send(peer.capabilities().map(|found| found.binary));
    }
}

#[tokio::test]
async fn both_ends_learn_what_the_other_takes() {
    for (mode, form) in [(Mode::Auto, BinaryForm::Typed), (Mode::Json, BinaryForm::Plain)] {
        let (tell, mut found) = mpsc::unbounded_channel();
        let endpoint = || {
            let mut endpoint = Endpoint::new("sockhop", Telling);
            endpoint.observer = Some(Arc::new(Found(tell.clone())));
            endpoint
        };
        let server = listen("127.0.0.1:0", Config::default(), endpoint()).await.unwrap();
        let client = dial(
            server.address(),
            Config::with_mode(mode),
            Endpoint { reconnect: Reconnect::never(), ..endpoint() },
        )
        .unwrap();
        for _ in 0..2 {
            assert_eq!(found.recv().await.unwrap(), Some(form), "{mode:?}");
        }
        let answer =
            client.caller().call(Request::new(Route::from_static("ask"), Body::Empty)).await.unwrap();
        let Body::Binary(told) = answer.body else { panic!("{answer:?}") };
        assert_eq!(told.bytes, format!("{form:?}"));
    }
}
