//! Our Socket.IO client against npm `socket.io`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use polywire_core::{
    Body, CallError, Client, ClientState, Close, Code, Count, CredentialSource, Endpoint, Event, Limits,
    Meta, Reconnect, Request, Route,
};
use polywire_socketio::{Config, SEVERAL, dial};
use polywire_tests::install::SOCKET_IO;
use polywire_tests::process::Process;
use polywire_tests::socketio::{Ears, LIMIT, Tokens, auth, control, text};
use polywire_tests::{peer, skip};
use serde_json::{Value, json};

/// A running server, and our client of its namespace `/realtime`.
struct Pair {
    server: Process,
    port: u16,
    client: Client,
    ears: Ears,
}

/// Pauses that a test can wait for.
fn quickly() -> Reconnect {
    Reconnect {
        first_pause: Duration::from_millis(20),
        max_pause: Duration::from_millis(200),
        max_refusals: 10,
        ..Reconnect::default()
    }
}

fn start(port: u16, config: Config, credentials: Arc<dyn CredentialSource>) -> (Client, Ears) {
    let ears = Ears::default();
    let endpoint = Endpoint { reconnect: quickly(), ..ears.endpoint(Limits::default()) };
    let client = dial(&format!("127.0.0.1:{port}"), config, credentials, endpoint).unwrap();
    (client, ears)
}

impl Pair {
    async fn new(package: &Path, flags: &[&str], config: Config) -> Self {
        let (server, port) = peer::socketio_server(package, flags).await.unwrap();
        let (client, ears) = start(port, config, Arc::new(Tokens::default()));
        ready(&client).await;
        Self { server, port, client, ears }
    }

    async fn call(&self, name: &'static str, body: Body) -> Result<Body, CallError> {
        let request = Request::new(Route::from_static(name), body).timeout(LIMIT);
        self.client.caller().call(request).await.map(|response| response.body)
    }

    async fn emit(&self, name: &'static str, body: &Value) {
        let meta = match body {
            Value::Array(items) => Meta::default().with(SEVERAL, items.len().to_string()),
            _ => Meta::default(),
        };
        let event = Event { route: Route::from_static(name), body: Body::Json(text(body)), meta };
        self.client.caller().notify(event).await.unwrap();
    }

    /// Ends both, and checks that no frame of ours is unaccounted for.
    async fn end(mut self) {
        let ledger = Arc::clone(self.client.ledger());
        self.client.shutdown().await;
        assert_eq!(ledger.unaccounted_frames(), 0, "{:?}", ledger.snapshot());
        self.server.kill().await;
    }
}

async fn ready(client: &Client) {
    tokio::time::timeout(LIMIT, client.ready()).await.expect("ready in time").unwrap();
}

async fn until(client: &Client, wanted: impl Fn(&ClientState) -> bool) -> ClientState {
    let mut state = client.watch();
    tokio::time::timeout(LIMIT, state.wait_for(|state| wanted(state)))
        .await
        .expect("in time")
        .unwrap()
        .clone()
}

#[tokio::test]
async fn everything_the_protocol_has_goes_both_ways() {
    let Some(package) = skip::package("everything_the_protocol_has_goes_both_ways", &SOCKET_IO) else {
        return;
    };
    let pair = Pair::new(&package, &[], Config::new("/realtime")).await;
    let (_, welcome, _) = pair.ears.next("welcome").await;
    assert_eq!(welcome["auth"], json!({ "token": "tok-1" }));

    // Acknowledged, with one argument, none and several.
    for value in [json!({"a": [1, null, "ünï 🎮"]}), json!(null), json!([]), json!("")] {
        assert_eq!(pair.call("echo", Body::Json(text(&value))).await, Ok(Body::Json(text(&value))));
    }
    assert_eq!(pair.call("echo", Body::Empty).await, Ok(Body::Empty));
    let several = Request {
        meta: Meta::default().with(SEVERAL, "2"),
        ..Request::new(Route::from_static("echo"), Body::Json(text(&json!([1, "two"]))))
    };
    let answer = pair.client.caller().call(several).await.unwrap();
    assert_eq!(
        (answer.body, &**answer.meta.get(SEVERAL).unwrap()),
        (Body::Json(text(&json!([1, "two"]))), "2")
    );

    // Bytes alone, with a type, and inside JSON.
    for kind in ["", "image/png"] {
        let body = Body::binary(kind, vec![7; 70_000]);
        assert_eq!(pair.call("echo", body.clone()).await, Ok(body));
    }
    let request = Request {
        meta: Meta::default().with_attachments(vec![vec![1, 2].into(), vec![].into()]),
        ..Request::new(
            Route::from_static("echo"),
            Body::Json(text(
                &json!({"a": {"_placeholder": true, "num": 0}, "b": [{"_placeholder": true, "num": 1}]}),
            )),
        )
    };
    let answer = pair.client.caller().call(request.clone()).await.unwrap();
    assert_eq!((answer.body, answer.meta), (request.body, request.meta));
    pair.emit("binary", &json!([0, 1, 70_000])).await;
    assert_eq!(pair.ears.next("blobs").await.2, [0, 1, 70_000]);

    // Events both ways in order, and the server asks.
    pair.emit("echo", &json!([1, "two", {"three": true}])).await;
    assert_eq!(pair.ears.next("echo-back").await.1, json!([1, "two", {"three": true}]));
    pair.emit("burst", &json!(2_000)).await;
    for number in 0..2_000 {
        assert_eq!(pair.ears.next("tick").await.1, json!(number));
    }
    pair.emit("ask-me", &json!([1, {"x": []}])).await;
    assert_eq!(pair.ears.next("answered").await.1, json!({"answer": [1, {"x": []}]}));

    // Time limits: one answer comes, one comes late, one never.
    assert_eq!(pair.call("echo", Body::null()).await, Ok(Body::null()));
    let late = Request {
        meta: Meta::default().with(SEVERAL, "2"),
        ..Request::new(Route::from_static("late"), Body::Json(text(&json!([300, "x"]))))
    };
    let outcome = pair.client.caller().call(late.timeout(Duration::from_millis(50))).await;
    assert!(
        matches!(&outcome, Err(CallError::Unknown(failure)) if failure.code == Code::DeadlineExceeded),
        "{outcome:?}"
    );
    let never = Request::new(Route::from_static("never"), Body::Empty).timeout(Duration::from_millis(50));
    assert!(matches!(pair.client.caller().call(never).await, Err(CallError::Unknown(_))));
    // The late answer has come by then, and is nobody's.
    let wait = Request {
        meta: Meta::default().with(SEVERAL, "2"),
        ..Request::new(Route::from_static("late"), Body::Json(text(&json!([600, "y"]))))
    };
    assert_eq!(pair.client.caller().call(wait).await.unwrap().body, Body::Json(text(&json!("y"))));
    assert_eq!(pair.client.ledger().get(Count::OrphanReply), 1);
    pair.end().await;
}

#[tokio::test]
async fn calls_in_flight_and_their_answers_are_paired() {
    let Some(package) = skip::package("calls_in_flight_and_their_answers_are_paired", &SOCKET_IO) else {
        return;
    };
    let pair = Arc::new(Pair::new(&package, &[], Config::new("/realtime")).await);
    let tasks: Vec<_> = (0..64)
        .map(|lane| {
            let pair = Arc::clone(&pair);
            tokio::spawn(async move {
                for number in 0..160 {
                    let body = Body::Json(text(&json!([lane, number])));
                    assert_eq!(pair.call("echo", body.clone()).await, Ok(body));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(pair.client.ledger().get(Count::CallsAnswered), 64 * 160);
    Arc::into_inner(pair).unwrap().end().await;
}

#[tokio::test]
async fn the_ways_to_end_are_told_apart() {
    let Some(package) = skip::package("the_ways_to_end_are_told_apart", &SOCKET_IO) else { return };
    for (mode, again) in
        [("engine", true), ("abort", true), ("close-packet", true), ("namespace", false), ("close", false)]
    {
        let pair = Pair::new(&package, &[], Config::new("/realtime")).await;
        control(pair.port, &format!("kick?mode={mode}")).await;
        pair.ears.ended(1).await;
        let end = pair.ears.ends().remove(0);
        match mode {
            "abort" => assert!(matches!(end, Close::Transport(_) | Close::Peer), "{mode}: {end:?}"),
            "namespace" | "close" => assert!(matches!(end, Close::Dismissed(_)), "{mode}: {end:?}"),
            _ => assert_eq!(end, Close::Peer, "{mode}"),
        }
        if again {
            // Not before the connection is known to be gone.
            pair.call("echo", Body::Empty).await.unwrap();
            assert_eq!(pair.client.state(), ClientState::Ready);
        } else {
            until(&pair.client, |state| matches!(state, ClientState::Closed(_))).await;
        }
        pair.end().await;
    }
}

#[tokio::test]
async fn h13_a_server_that_falls_silent_is_noticed_by_its_missing_pings() {
    let name = "h13_a_server_that_falls_silent_is_noticed_by_its_missing_pings";
    let Some(package) = skip::package(name, &SOCKET_IO) else { return };
    let config = Config { min_heartbeat: Duration::from_millis(100), ..Config::new("/realtime") };
    let pair = Pair::new(&package, &["--ping-interval", "300", "--ping-timeout", "300"], config).await;
    pair.emit("kick", &json!("freeze")).await;
    pair.ears.ended(1).await;
    assert_eq!(pair.ears.ends(), [Close::Dead("no ping for 600ms".into())]);
    pair.call("echo", Body::Empty).await.unwrap();
    pair.end().await;
}

#[tokio::test]
async fn a_refusal_is_told_and_tried_again_with_a_fresh_token() {
    let Some(package) = skip::package("a_refusal_is_told_and_tried_again_with_a_fresh_token", &SOCKET_IO)
    else {
        return;
    };
    let (mut server, port) = peer::socketio_server(&package, &[]).await.unwrap();
    control(port, "refuse?n=2").await;
    let (client, ears) = start(port, Config::new("/realtime"), Arc::new(Tokens::default()));
    ready(&client).await;
    let refusals: Vec<_> = ears
        .ends()
        .into_iter()
        .map(|end| match end {
            Close::Refused(refusal) => (refusal.reason, refusal.data.unwrap().parse::<Value>().unwrap()),
            other => panic!("{other:?}"),
        })
        .collect();
    let refused = json!({ "message": "temporarily refused", "data": { "code": "later" } });
    assert_eq!(
        refusals,
        [("temporarily refused".to_owned(), refused.clone()), ("temporarily refused".to_owned(), refused)]
    );
    client.shutdown().await;

    // The same token for ever: the server has seen it, and the caller hears why.
    let (client, _) = start(port, Config::new("/realtime"), Arc::new(auth(&json!({ "token": "tok-1" }))));
    let failure = tokio::time::timeout(LIMIT, client.ready()).await.unwrap().unwrap_err();
    assert_eq!(failure.code, Code::Unauthenticated);
    assert_eq!(failure.message, "login refused: stale token");
    let detail: Value = failure.detail.unwrap().parse().unwrap();
    assert_eq!(detail["data"]["code"], "stale");

    // A namespace that the server does not have.
    let (client, ears) = start(port, Config::new("/nowhere"), Arc::new(auth(&json!({}))));
    until(&client, |state| matches!(state, ClientState::Refused(_))).await;
    assert!(matches!(&ears.ends()[0], Close::Refused(refusal) if refusal.reason == "Invalid namespace"));
    server.kill().await;
}

#[tokio::test]
async fn what_is_said_while_the_server_is_away_leaves_in_order_when_it_is_back() {
    let name = "what_is_said_while_the_server_is_away_leaves_in_order_when_it_is_back";
    let Some(package) = skip::package(name, &SOCKET_IO) else { return };
    let mut pair = Pair::new(&package, &[], Config::new("/realtime")).await;
    pair.server.kill().await;
    until(&pair.client, |state| matches!(state, ClientState::Waiting(_))).await;
    for number in 0..100 {
        pair.emit("say", &json!(number)).await;
    }
    let number = pair.port.to_string();
    pair.server = peer::socketio_server(&package, &["--port", &number]).await.unwrap().0;
    for number in 0..100 {
        assert_eq!(pair.ears.next("said").await.1, json!(number));
    }
    pair.end().await;
}

#[tokio::test]
async fn what_the_server_would_not_take_fails_here_and_the_connection_lives() {
    let name = "what_the_server_would_not_take_fails_here_and_the_connection_lives";
    let Some(package) = skip::package(name, &SOCKET_IO) else { return };
    let pair = Pair::new(&package, &["--max-payload", "10000"], Config::new("/realtime")).await;
    let large = |bytes: usize| Body::Json(text(&json!("x".repeat(bytes))));
    assert_eq!(pair.call("echo", large(9_000)).await, Ok(large(9_000)));
    let CallError::NotSent(failure) = pair.call("echo", large(10_000)).await.unwrap_err() else { panic!() };
    assert!(failure.message.ends_with("exceeds maxPayload = 10000 of the server"), "{failure}");
    let outcome = pair.call("echo", Body::binary("", vec![0; 10_001])).await;
    assert!(matches!(outcome, Err(CallError::NotSent(_))), "{outcome:?}");
    assert_eq!(pair.call("echo", large(1)).await, Ok(large(1)));
    assert!(pair.ears.ends().is_empty());
    pair.end().await;
}

#[tokio::test]
async fn h05_what_no_server_may_send_ends_the_connection_and_the_client_comes_back() {
    let name = "h05_what_no_server_may_send_ends_the_connection_and_the_client_comes_back";
    let Some(package) = skip::package(name, &SOCKET_IO) else { return };
    let pair = Pair::new(&package, &[], Config::new("/realtime")).await;
    for (count, raw) in ["42/realtime,{}", "7", "0{}"].into_iter().enumerate() {
        pair.emit("raw", &json!(raw)).await;
        pair.ears.ended(count + 1).await;
        assert!(matches!(pair.ears.ends()[count], Close::Protocol(_)), "{raw}");
        pair.call("echo", Body::Empty).await.unwrap();
    }
    pair.end().await;
}
