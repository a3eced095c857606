//! Who is let in by our Socket.IO server, and what a stream that is upgraded early keeps.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/socketio_raw.rs"]
mod raw;

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{
    Authenticate, Body, BoxFuture, Close, Count, Credentials, Endpoint, Event, Handler, HandlerFuture,
    Identity, Incoming, Limits, Reconnect, Refusal, Request, Route, Server,
};
use polywire_socketio::{Config, ServerConfig, dial, listen};
use polywire_tests::socketio::{Ears, LIMIT};
use raw::{Raw, until};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

/// Lets everybody in, once it is told to.
struct Slow(Arc<Semaphore>);

impl Authenticate for Slow {
    fn authenticate(&self, _: Credentials) -> BoxFuture<'static, Result<Identity, Refusal>> {
        let told = Arc::clone(&self.0);
        Box::pin(async move {
            let _told = told.acquire().await;
            Ok(Identity::guest())
        })
    }
}

async fn serve(limits: Limits, ears: &Ears) -> Server {
    listen("127.0.0.1:0", ServerConfig::default(), ears.endpoint(limits)).await.unwrap()
}

#[tokio::test]
async fn an_upgrade_before_the_login_is_judged_keeps_its_flow() {
    const EVENTS: u64 = 5_000;
    let told = Arc::new(Semaphore::new(0));
    let endpoint = Endpoint {
        authenticator: Some(Arc::new(Slow(Arc::clone(&told)))),
        ..Endpoint::new("socketio", Ears::default())
    };
    let server = listen("127.0.0.1:0", ServerConfig::default(), endpoint).await.unwrap();
    let mut requests = Raw::dial(server.address()).await;
    let sid = requests.session().await;
    assert_eq!(requests.ask(&format!("&sid={sid}"), Some("40")).await.1, "ok");
    let mut stream = Raw::dial(server.address()).await;
    let head = stream.upgrade_of(&format!("&sid={sid}"), "").await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    stream.send(&["2probe"]).await;
    assert_eq!(stream.text().await, "3probe");
    stream.send(&["5"]).await;
    told.add_permits(1);
    while !stream.event().await.starts_with("40") {}
    until("a peer", || !server.peers().is_empty()).await;
    let peer = server.peers().remove(0);
    let sending = tokio::spawn(async move {
        for n in 0..EVENTS {
            let body = Body::json(&n).unwrap();
            peer.notify(Event::new(Route::from_static("n"), body)).await.unwrap();
        }
    });
    for n in 0..EVENTS {
        assert_eq!(stream.event().await, format!("42[\"n\",{n}]"));
    }
    sending.await.unwrap();
}

#[tokio::test]
async fn sessions_that_join_nothing_are_bounded_and_give_their_places_back() {
    let limits = Limits { max_strangers: 3, login_timeout: Duration::from_secs(2), ..Limits::default() };
    let ears = Ears::default();
    let server = serve(limits, &ears).await;
    let mut raw = Raw::dial(server.address()).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(raw.session().await);
    }
    assert_eq!(raw.ask("", None).await.0, 503);
    assert_eq!(server.ledger().get(Count::AcceptsRefused), 1);
    // One that joins is no stranger any more.
    assert_eq!(raw.ask(&format!("&sid={}", ids[0]), Some("40")).await.0, 200);
    until("a peer", || server.peers().len() == 1).await;
    ids.push(raw.session().await);
    assert_eq!(raw.ask("", None).await.0, 503);
    // Those that join nothing within login_timeout are gone.
    let free = async { while raw.ask("", None).await.0 == 503 {} };
    timeout(LIMIT, free).await.expect("a place in time");
}

#[tokio::test]
async fn sessions_that_have_joined_are_bounded_too() {
    let server = serve(Limits { max_connections: 2, ..Limits::default() }, &Ears::default()).await;
    let mut raw = Raw::dial(server.address()).await;
    for count in 1..=2 {
        let sid = raw.session().await;
        assert_eq!(raw.ask(&format!("&sid={sid}"), Some("40")).await.0, 200);
        until("a peer", || server.peers().len() == count).await;
    }
    assert_eq!(raw.ask("", None).await.0, 503);
}

#[tokio::test]
async fn c03_half_a_message_of_a_websocket_costs_its_connection() {
    let limits = Limits { frame_timeout: Duration::from_millis(300), ..Limits::default() };
    let ears = Ears::default();
    let server = serve(limits, &ears).await;
    let mut raw = Raw::join(server.address()).await;
    // Whole ones, also with a ping between two parts, cost nothing.
    raw.send(&["42[\"whole\"]"]).await;
    ears.next("whole").await;
    let parts = [
        &[0x01, 0x84, 0, 0, 0, 0][..],
        b"42[\"",
        &[0x89, 0x80, 0, 0, 0, 0],
        &[0x80, 0x84, 0, 0, 0, 0],
        b"in\"]",
    ];
    assert!(raw.write(&parts.concat()).await);
    ears.next("in").await;
    assert!(raw.write(&[0x81, 0xA0, 0, 0, 0, 0, b'4', b'2']).await);
    timeout(LIMIT, ears.ended(1)).await.expect("an end in time");
    let ends = ears.ends();
    assert_eq!(ends, [Close::SlowFrame(Duration::from_millis(300))], "{ends:?}");
}

/// Answers once it is told to, and tells that it was asked.
#[derive(Clone, Default)]
struct Late(Arc<(Notify, Notify)>);

impl Handler for Late {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let late = self.clone();
        Box::pin(async move {
            late.0.0.notify_one();
            late.0.1.notified().await;
            Ok(incoming.body.into())
        })
    }
}

/// The streams are cut when the server has ended, and what it answered last has left by then.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_answer_of_a_server_that_drains_reaches_its_client() {
    for round in 0..40 {
        let late = Late::default();
        let endpoint = Endpoint::new("socketio", late.clone());
        let server = listen("127.0.0.1:0", ServerConfig::default(), endpoint).await.unwrap();
        let endpoint =
            Endpoint { reconnect: Reconnect::never(), ..Endpoint::new("socketio", Ears::default()) };
        let client =
            dial(server.address(), Config::default(), Arc::new(Credentials::guest()), endpoint).unwrap();
        client.ready().await.unwrap();
        let body = Body::json(&round).unwrap();
        let request = Request::new(Route::from_static("late"), body.clone());
        let caller = client.caller().clone();
        let call = tokio::spawn(async move { caller.call(request).await });
        timeout(LIMIT, late.0.0.notified()).await.unwrap();
        let closing = tokio::spawn(server.shutdown());
        tokio::task::yield_now().await;
        late.0.1.notify_one();
        let outcome = timeout(LIMIT, call).await.unwrap().unwrap();
        assert_eq!(outcome.map(|answer| answer.body), Ok(body), "round {round}");
        timeout(LIMIT, closing).await.unwrap().unwrap();
        client.shutdown().await;
    }
}
