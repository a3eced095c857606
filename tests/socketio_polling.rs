//! Our Socket.IO client against npm `socket.io` over HTTP: long-polling, and the upgrade to a WebSocket.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use polywire_core::{
    Body, CallError, Client, Close, Code, Count, CredentialSource, Endpoint, Event, Limits, Meta, Reconnect,
    Request, Route,
};
use polywire_socketio::{Config, SEVERAL, Transports, dial};
use polywire_tests::install::SOCKET_IO;
use polywire_tests::process::Process;
use polywire_tests::socketio::{Ears, LIMIT, Tokens, control, text};
use polywire_tests::{peer, skip};
use serde_json::{Value, json};
use tokio::process::Command;

/// A running server, and our client of its namespace `/realtime`.
struct Pair {
    server: Process,
    port: u16,
    client: Client,
    ears: Ears,
    tokens: Arc<Tokens>,
}

fn over(transports: Transports) -> Config {
    Config { transports, min_heartbeat: Duration::from_millis(100), ..Config::new("/realtime") }
}

impl Pair {
    /// `None` when the foreign package is not there.
    async fn new(test: &str, flags: &[&str], config: Config) -> Option<Self> {
        let package = skip::package(test, &SOCKET_IO)?;
        let (server, port) = peer::socketio_server(&package, flags).await.unwrap();
        let ears = Ears::default();
        let mut endpoint = ears.endpoint(Limits::default());
        endpoint.reconnect.first_pause = Duration::from_millis(20);
        endpoint.reconnect.max_pause = Duration::from_millis(200);
        let tokens = Arc::new(Tokens::default());
        let credentials = Arc::clone(&tokens) as Arc<dyn CredentialSource>;
        let client = dial(&format!("127.0.0.1:{port}"), config, credentials, endpoint).unwrap();
        tokio::time::timeout(LIMIT, client.ready()).await.expect("ready in time").unwrap();
        Some(Self { server, port, client, ears, tokens })
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

    async fn stats(&self) -> Value {
        control(self.port, "stats").await
    }

    /// Which transport the server saw at the connect.
    async fn welcomed_over(&self) -> Value {
        self.ears.next("welcome").await.1["transport"].clone()
    }

    /// Calls until the server counts so many upgrades; every answer is right.
    async fn call_until_upgraded(&self, upgrades: u64) {
        let work = async {
            for number in 0_u64.. {
                let body = Body::Json(text(&json!(number)));
                assert_eq!(self.call("echo", body.clone()).await, Ok(body));
                if number % 20 == 0 && self.stats().await["upgrades"] == upgrades {
                    break;
                }
            }
        };
        tokio::time::timeout(LIMIT, work).await.expect("upgraded in time");
    }

    /// Everything the protocol has, both ways.
    async fn try_everything(&self) {
        for value in [json!({"a": [1, null, "ünï 🎮 \u{1e}"]}), json!(null), json!([]), json!("")] {
            assert_eq!(self.call("echo", Body::Json(text(&value))).await, Ok(Body::Json(text(&value))));
        }
        assert_eq!(self.call("echo", Body::Empty).await, Ok(Body::Empty));
        for size in [0, 1, 2, 3, 70_000] {
            let body = Body::binary("", vec![7; size]);
            assert_eq!(self.call("echo", body.clone()).await, Ok(body));
        }
        let beside = Request {
            meta: Meta::default().with_attachments(vec![vec![1, 2].into(), vec![].into()]),
            ..Request::new(
                Route::from_static("echo"),
                Body::Json(text(
                    &json!({"a": {"_placeholder": true, "num": 0}, "b": [{"_placeholder": true, "num": 1}]}),
                )),
            )
        };
        let answer = self.client.caller().call(beside.clone()).await.unwrap();
        assert_eq!((answer.body, answer.meta), (beside.body, beside.meta));
        self.emit("binary", &json!([0, 1, 70_000])).await;
        assert_eq!(self.ears.next("blobs").await.2, [0, 1, 70_000]);
        self.emit("burst", &json!(2_000)).await;
        for number in 0..2_000 {
            assert_eq!(self.ears.next("tick").await.1, json!(number));
        }
        for number in 0..500 {
            self.emit("say", &json!(number)).await;
        }
        for number in 0..500 {
            assert_eq!(self.ears.next("said").await.1, json!(number));
        }
        self.emit("ask-me", &json!([1, {"x": []}])).await;
        assert_eq!(self.ears.next("answered").await.1, json!({"answer": [1, {"x": []}]}));
    }

    /// Leaves; the server has noticed, and no frame of ours is unaccounted for.
    async fn end(mut self) {
        // Behind an event without an answer the end of the session would tell it alone: what was said is answered before.
        self.call("echo", Body::Empty).await.unwrap();
        let ledger = Arc::clone(self.client.ledger());
        self.client.shutdown().await;
        assert_eq!(ledger.unaccounted_frames(), 0, "{:?}", ledger.snapshot());
        let noticed = async {
            while control(self.port, "stats").await["disconnects"]["client namespace disconnect"] != 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, noticed).await.expect("the server has noticed that the client left");
        self.server.kill().await;
    }
}

#[tokio::test]
async fn everything_the_protocol_has_goes_both_ways_by_polling() {
    let name = "everything_the_protocol_has_goes_both_ways_by_polling";
    let Some(pair) = Pair::new(name, &[], over(Transports::Polling)).await else { return };
    assert_eq!(pair.welcomed_over().await, "polling");
    pair.try_everything().await;
    let stats = pair.stats().await;
    assert_eq!((&stats["engineConnections"], &stats["upgrades"]), (&json!(1), &json!(0)));
    pair.end().await;
}

#[tokio::test]
async fn calls_in_flight_by_polling_and_their_answers_are_paired() {
    let name = "calls_in_flight_by_polling_and_their_answers_are_paired";
    let Some(pair) = Pair::new(name, &[], over(Transports::Polling)).await else { return };
    let pair = Arc::new(pair);
    let tasks: Vec<_> = (0..64)
        .map(|lane| {
            let pair = Arc::clone(&pair);
            tokio::spawn(async move {
                for number in 0..20 {
                    let body = Body::Json(text(&json!([lane, number])));
                    assert_eq!(pair.call("echo", body.clone()).await, Ok(body));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(pair.client.ledger().get(Count::CallsAnswered), 64 * 20);
    Arc::into_inner(pair).unwrap().end().await;
}

#[tokio::test]
async fn a_websocket_takes_over_in_mid_traffic_and_nothing_is_lost_doubled_or_reordered() {
    let name = "a_websocket_takes_over_in_mid_traffic_and_nothing_is_lost_doubled_or_reordered";
    let Some(pair) = Pair::new(name, &[], over(Transports::PollingFirst)).await else { return };
    // Events both ways across the switch.
    let said = async {
        for number in 0..3_000 {
            pair.emit("say", &json!(number)).await;
            if number % 50 == 0 {
                tokio::task::yield_now().await;
            }
        }
    };
    let heard = async {
        for number in 0..3_000 {
            assert_eq!(pair.ears.next("said").await.1, json!(number));
        }
    };
    tokio::join!(said, heard, pair.call_until_upgraded(1));
    pair.try_everything().await;
    assert_eq!(pair.stats().await["engineConnections"], 1);
    assert!(pair.ears.ends().is_empty());
    pair.end().await;
}

#[tokio::test]
async fn every_new_connection_is_upgraded_with_a_token_of_its_own() {
    let name = "every_new_connection_is_upgraded_with_a_token_of_its_own";
    let Some(pair) = Pair::new(name, &[], over(Transports::PollingFirst)).await else { return };
    for round in 1..=20 {
        // Some are cut before their upgrade, some after it.
        if round % 2 == 0 {
            let before = pair.stats().await["upgrades"].as_u64().unwrap();
            pair.call_until_upgraded(before.max(1)).await;
        }
        pair.call("echo", Body::Empty).await.unwrap();
        control(pair.port, "kick?mode=engine").await;
        pair.ears.ended(round).await;
        pair.call("echo", Body::Empty).await.unwrap();
    }
    let stats = pair.stats().await;
    assert_eq!((&stats["reusedTokens"], &stats["refused"]), (&json!(0), &json!(0)), "{stats}");
    assert!(pair.tokens.0.load(Ordering::Relaxed) >= 21);
    pair.end().await;
}

#[tokio::test]
async fn without_a_websocket_polling_goes_on() {
    let name = "without_a_websocket_polling_goes_on";
    for transports in [Transports::PollingFirst, Transports::WebSocketFirst, Transports::Polling] {
        let Some(pair) = Pair::new(name, &["--transports", "polling"], over(transports)).await else {
            return;
        };
        assert_eq!(pair.welcomed_over().await, "polling");
        pair.try_everything().await;
        pair.end().await;
    }
}

#[tokio::test]
async fn a_websocket_is_tried_first_where_that_is_wanted() {
    let name = "a_websocket_is_tried_first_where_that_is_wanted";
    for transports in [Transports::WebSocketFirst, Transports::WebSocket] {
        let Some(pair) = Pair::new(name, &[], over(transports)).await else { return };
        assert_eq!(pair.welcomed_over().await, "websocket");
        pair.end().await;
    }
}

#[tokio::test]
async fn a_session_by_polling_lives_on_its_pings() {
    let name = "a_session_by_polling_lives_on_its_pings";
    let flags = ["--ping-interval", "200", "--ping-timeout", "400"];
    for transports in [Transports::Polling, Transports::PollingFirst] {
        let Some(pair) = Pair::new(name, &flags, over(transports)).await else { return };
        // The answer comes long after either end would have given up.
        let late = Request {
            meta: Meta::default().with(SEVERAL, "2"),
            ..Request::new(Route::from_static("late"), Body::Json(text(&json!([3_000, "x"]))))
        };
        assert_eq!(pair.client.caller().call(late).await.unwrap().body, Body::Json(text(&json!("x"))));
        assert!(pair.ears.ends().is_empty(), "{:?}", pair.ears.ends());
        pair.end().await;
    }
}

#[tokio::test]
async fn h13_a_server_that_falls_silent_while_polling_is_noticed_by_its_missing_pings() {
    let name = "h13_a_server_that_falls_silent_while_polling_is_noticed_by_its_missing_pings";
    let flags = ["--ping-interval", "300", "--ping-timeout", "300"];
    let Some(pair) = Pair::new(name, &flags, over(Transports::Polling)).await else { return };
    pair.emit("kick", &json!("freeze")).await;
    pair.ears.ended(1).await;
    assert_eq!(pair.ears.ends(), [Close::Dead("no ping for 600ms".into())]);
    pair.call("echo", Body::Empty).await.unwrap();
}

#[tokio::test]
async fn h12_what_is_posted_stays_within_max_payload() {
    let name = "h12_what_is_posted_stays_within_max_payload";
    let flags = ["--max-payload", "1000"];
    let Some(pair) = Pair::new(name, &flags, over(Transports::Polling)).await else { return };
    // Far more than one body holds, at once.
    for number in 0..200 {
        pair.emit("say", &json!(format!("{number}{}", "x".repeat(100)))).await;
    }
    for number in 0..200 {
        assert_eq!(pair.ears.next("said").await.1, json!(format!("{number}{}", "x".repeat(100))));
    }
    let body = Body::binary("", vec![1; 650]);
    assert_eq!(pair.call("echo", body.clone()).await, Ok(body));
    // As base64 it would be too large.
    let CallError::NotSent(failure) = pair.call("echo", Body::binary("", vec![1; 800])).await.unwrap_err()
    else {
        panic!()
    };
    assert_eq!(failure.code, Code::InvalidArgument);
    assert!(failure.message.ends_with("exceeds maxPayload = 1000 of the server"), "{failure}");
    assert!(pair.ears.ends().is_empty(), "{:?}", pair.ears.ends());
    pair.end().await;
}

#[tokio::test]
async fn h02_a_session_that_the_server_has_forgotten_is_told_and_begun_anew() {
    let name = "h02_a_session_that_the_server_has_forgotten_is_told_and_begun_anew";
    let Some(mut pair) = Pair::new(name, &[], over(Transports::Polling)).await else { return };
    pair.server.kill().await;
    pair.ears.ended(1).await;
    let package = skip::package(name, &SOCKET_IO).unwrap();
    let port = pair.port.to_string();
    pair.server = peer::socketio_server(&package, &["--port", &port]).await.unwrap().0;
    pair.call("echo", Body::Empty).await.unwrap();
    // A path that nothing answers under.
    let ears = Ears::default();
    let endpoint = Endpoint { reconnect: Reconnect::never(), ..ears.endpoint(Limits::default()) };
    let config = Config { path: "/control/nothing/".to_owned(), ..over(Transports::Polling) };
    let address = format!("127.0.0.1:{port}");
    let lost = dial(&address, config, Arc::new(Tokens::default()), endpoint).unwrap();
    let failure = tokio::time::timeout(LIMIT, lost.ready()).await.unwrap().unwrap_err();
    assert!(failure.message.contains("HTTP status 404: nothing answers under this path"), "{failure}");
    pair.end().await;
}

#[tokio::test]
async fn the_command_speaks_every_choice_of_transports() {
    let name = "the_command_speaks_every_choice_of_transports";
    let Some(package) = skip::package(name, &SOCKET_IO) else { return };
    let flags = ["--transports", "polling", "--auth-mode", "none"];
    let (mut server, port) = peer::socketio_server(&package, &flags).await.unwrap();
    for (transports, works) in
        [("polling", true), ("websocket,polling", true), ("polling,websocket", true), ("websocket", false)]
    {
        let url = format!("socketio://127.0.0.1:{port}/realtime?transports={transports}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_polywire-under-test"));
        command.args(["call", &url, "echo", "{\"n\":1}", "--timeout", "20s"]).env_remove("RUST_LOG");
        let run = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
        let said = String::from_utf8(run.stdout).unwrap();
        assert_eq!(run.status.success(), works, "{transports}: {said} {:?}", String::from_utf8(run.stderr));
        assert_eq!(said.contains("{\"n\":1}"), works, "{transports}: {said}");
    }
    server.kill().await;
}
