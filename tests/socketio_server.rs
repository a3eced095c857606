//! Our Socket.IO server: against our client, against npm `socket.io-client`, and against raw frames.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "support/socketio_raw.rs"]
mod raw;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use polywire_core::{
    Authenticate, Body, BoxFuture, Client, Close, Credentials, Endpoint, Event, Handler, HandlerFuture,
    Identity, Incoming, JsonLimits, Limits, Meta, Peer, Queued, Refusal, Request, Response, Route, Router,
    Server,
};
use polywire_socketio::{Config, ServerConfig, dial, listen};
use polywire_tests::driver::Driver;
use polywire_tests::install::{PYTHON_SOCKETIO, SOCKET_IO_CLIENT};
use polywire_tests::skip;
use polywire_tests::socketio::{Ears, LIMIT, auth, text};
use raw::{Raw, one_peer, until};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Lets in whoever shows `{"token":"right"}`.
struct Judge;

impl Authenticate for Judge {
    fn authenticate(&self, credentials: Credentials) -> BoxFuture<'static, Result<Identity, Refusal>> {
        Box::pin(async move {
            match &credentials.data {
                Body::Json(data) if data.as_bytes() == br#"{"token":"right"}"# => Ok(Identity::user("ada")),
                _ => Err(Refusal::new("the token is wrong").with_data(text(&json!({"code": 7})))),
            }
        })
    }
}

/// Notes the numbers that come with events, and answers requests with their own body.
#[derive(Clone, Default)]
struct Numbers(Arc<(Mutex<Vec<u64>>, Notify)>);

impl Numbers {
    async fn count(&self, count: usize) -> Vec<u64> {
        let wait = async {
            loop {
                let more = self.0.1.notified();
                let numbers = self.0.0.lock().unwrap().clone();
                if numbers.len() >= count {
                    return numbers;
                }
                more.await;
            }
        };
        timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("{} of {count}", self.0.0.lock().unwrap().len()))
    }
}

impl Handler for Numbers {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        if let Body::Json(text) = &incoming.body {
            self.0.0.lock().unwrap().push(text.parse().unwrap_or(u64::MAX));
            self.0.1.notify_waiters();
        }
        Box::pin(std::future::ready(Ok(Response::default())))
    }
}

async fn serve(endpoint: Endpoint, config: ServerConfig) -> Server {
    listen("127.0.0.1:0", config, endpoint).await.unwrap()
}

fn dial_at(server: &Server, namespace: &str, credentials: Credentials, ears: &Ears) -> Client {
    let mut endpoint = ears.endpoint(Limits::default());
    endpoint.reconnect.max_refusals = 1;
    dial(server.address(), Config::new(namespace), Arc::new(credentials), endpoint).unwrap()
}

#[tokio::test]
async fn our_client_calls_and_is_called() {
    let (here, there) = (Ears::default(), Ears::default());
    let endpoint =
        Endpoint { authenticator: Some(Arc::new(Judge)), ..Endpoint::new("socketio", here.clone()) };
    let server = serve(endpoint, ServerConfig::new(["/", "/realtime"])).await;
    let client = dial_at(&server, "/realtime", auth(&json!({"token": "right"})), &there);
    timeout(LIMIT, client.ready()).await.unwrap().unwrap();
    for body in [
        Body::Json(text(&json!({"a": [1, "x"]}))),
        Body::Empty,
        Body::binary("", vec![1, 2, 3]),
        Body::binary("image/png", vec![0; 70_000]),
        Body::Json(polywire_core::JsonText::from_validated("12345678901234567890123".into())),
    ] {
        let request = || Request::new(Route::from_static("echo"), body.clone()).timeout(LIMIT);
        assert_eq!(client.caller().call(request()).await.unwrap().body, body);
        let peer = one_peer(&server).await;
        assert_eq!(peer.call(request()).await.unwrap().body, body);
        peer.notify(Event::new(Route::from_static("news"), body.clone())).await.unwrap();
        there.next("news").await;
        client.caller().notify(Event::new(Route::from_static("word"), body)).await.unwrap();
        here.next("word").await;
    }
    let peer = one_peer(&server).await;
    assert_eq!(&*peer.identity().unwrap().subject, "ada");
    peer.close();
    there.ended(1).await;
    assert!(matches!(there.ends()[0], Close::Dismissed(_) | Close::Peer), "{:?}", there.ends());
    let ledger = Arc::clone(server.ledger());
    timeout(LIMIT, server.shutdown()).await.unwrap();
    assert_eq!(ledger.unaccounted_frames(), 0, "{:?}", ledger.snapshot());
}

/// Lets everybody in once it is told to.
struct Patient(Arc<Notify>);

impl Authenticate for Patient {
    fn authenticate(&self, _: Credentials) -> BoxFuture<'static, Result<Identity, Refusal>> {
        let open = Arc::clone(&self.0);
        Box::pin(async move {
            open.notified().await;
            Ok(Identity::guest())
        })
    }
}

#[tokio::test]
async fn what_waits_for_the_login_is_visible_and_leaves_with_it() {
    let (here, there, open) = (Ears::default(), Ears::default(), Arc::<Notify>::default());
    let authenticator = Some(Arc::new(Patient(Arc::clone(&open))) as _);
    let endpoint = Endpoint { authenticator, ..Endpoint::new("socketio", here.clone()) };
    let server = serve(endpoint, ServerConfig::default()).await;
    let client = dial_at(&server, "/", Credentials::guest(), &there);
    let caller = client.caller().clone();
    assert_eq!(caller.queued(), Some(Queued::default()));
    for number in 10_u64..13 {
        let event = Event::new(Route::from_static("word"), Body::json(&number).unwrap());
        caller.notify(event).await.unwrap();
    }
    let asking = caller.clone();
    let asked = tokio::spawn(async move {
        asking.call(Request::new(Route::from_static("echo"), Body::json(&1_u64).unwrap())).await
    });
    // Three of four letters and two digits, one of four and one.
    let waiting = Queued { messages: 4, bytes: 3 * (4 + 2) + 4 + 1 };
    until("all of it waits", || caller.queued() == Some(waiting)).await;
    open.notify_one();
    timeout(LIMIT, asked).await.unwrap().unwrap().unwrap();
    for number in 10_u64..13 {
        assert_eq!(here.next("word").await.1, json!(number));
    }
    assert_eq!(caller.queued(), Some(Queued::default()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_that_comes_at_once_is_not_lost() {
    const LANES: u64 = 16;
    const CALLS: u64 = 2_000;
    let (here, there) = (Ears::default(), Ears::default());
    let server = serve(Endpoint::new("socketio", here), ServerConfig::default()).await;
    let client = dial_at(&server, "/", Credentials::guest(), &there);
    timeout(LIMIT, client.ready()).await.unwrap().unwrap();
    let peer = one_peer(&server).await;
    let mut lanes = tokio::task::JoinSet::new();
    for lane in 0..LANES {
        let peer = peer.clone();
        lanes.spawn(async move {
            for number in 0..CALLS {
                let body = Body::Json(text(&json!([lane, number])));
                let request = Request::new(Route::from_static("echo"), body.clone()).timeout(LIMIT);
                assert_eq!(peer.call(request).await.unwrap().body, body);
            }
        });
    }
    while let Some(lane) = lanes.join_next().await {
        lane.unwrap();
    }
    timeout(LIMIT, server.shutdown()).await.unwrap();
}

#[tokio::test]
async fn a_refusal_reaches_the_client_with_its_reason() {
    let endpoint =
        Endpoint { authenticator: Some(Arc::new(Judge)), ..Endpoint::new("socketio", Ears::default()) };
    let server = serve(endpoint, ServerConfig::default()).await;
    let mut raw = Raw::open(server.address()).await;
    raw.send(&[r#"40{"token":"wrong"}"#]).await;
    // The message alone: the library has no place for the data of a refusal.
    assert_eq!(raw.event().await, r#"44{"message":"the token is wrong"}"#);
    raw.send(&["40/other,"]).await;
    assert_eq!(raw.event().await, r#"44/other,{"message":"Invalid namespace"}"#);
    assert!(server.peers().is_empty());
}

#[tokio::test]
async fn events_come_in_the_order_they_were_sent() {
    const EVENTS: u64 = 20_000;
    let numbers = Numbers::default();
    let server = serve(Endpoint::new("socketio", numbers.clone()), ServerConfig::default()).await;
    let mut raw = Raw::join(server.address()).await;
    for first in (0..EVENTS).step_by(1_000) {
        let messages: Vec<_> = (first..first + 1_000).map(|n| format!("42[\"n\",{n}]")).collect();
        raw.send(&messages.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    let got = numbers.count(usize::try_from(EVENTS).unwrap()).await;
    assert!(got.iter().copied().eq(0..EVENTS), "out of order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_does_not_overtake_the_events_before_it() {
    const EVENTS: usize = 10_000;
    // The first event holds its connection up until everything has come, the answer too.
    let (go, held) = std::sync::mpsc::channel::<()>();
    let (held, heard) = (Mutex::new(held), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&heard);
    let router = Router::new().on("n", move |_: Body| {
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            held.lock().unwrap().recv().unwrap();
        }
        std::future::ready(())
    });
    let limits = Limits { max_queue_messages: 2 * EVENTS, ..Limits::default() };
    let endpoint =
        Endpoint { limits: Arc::new(limits), ..Endpoint::new("socketio", router.build().unwrap()) };
    let server = serve(endpoint, ServerConfig::new(["/", "/other"])).await;
    let mut raw = Raw::join(server.address()).await;
    let peer = one_peer(&server).await;
    let request = Request::new(Route::from_static("q"), Body::Empty).timeout(LIMIT);
    let call = tokio::spawn(async move { peer.call(request).await.map(|_| heard.load(Ordering::SeqCst)) });
    let asked = raw.event().await;
    let id = asked.strip_prefix("42").and_then(|rest| rest.strip_suffix("[\"q\"]")).unwrap();
    raw.send(&vec!["42[\"n\",1]"; EVENTS]).await;
    raw.send(&[&format!("43{id}[]"), "40/other,"]).await;
    assert!(raw.event().await.starts_with("40/other,{"), "by now the answer has been read");
    go.send(()).unwrap();
    assert_eq!(call.await.unwrap(), Ok(EVENTS));
}

#[tokio::test]
async fn no_first_event_is_lost() {
    const CLIENTS: u64 = 500;
    let numbers = Numbers::default();
    let server = serve(Endpoint::new("socketio", numbers.clone()), ServerConfig::default()).await;
    for n in 0..CLIENTS {
        let mut raw = Raw::join(server.address()).await;
        raw.send(&[&format!("42[\"n\",{n}]")]).await;
        // Gone as soon as it is heard.
        assert_eq!(numbers.count(usize::try_from(n).unwrap() + 1).await.last(), Some(&n));
    }
}

#[tokio::test]
async fn no_event_to_a_client_is_lost_in_silence() {
    const EVENTS: u64 = 10_000;
    let server = serve(Endpoint::new("socketio", Ears::default()), ServerConfig::default()).await;
    let mut raw = Raw::join(server.address()).await;
    let peer = one_peer(&server).await;
    let sending = tokio::spawn(async move {
        for n in 0..EVENTS {
            let body = Body::json(&n).unwrap();
            peer.notify(Event::new(Route::from_static("n"), body)).await.unwrap();
        }
    });
    for n in 0..EVENTS {
        assert_eq!(raw.event().await, format!("42[\"n\",{n}]"));
    }
    sending.await.unwrap();
}

#[tokio::test]
async fn a_message_beyond_max_frame_bytes_ends_the_connection() {
    let limits = Limits { max_frame_bytes: 10_000, ..Limits::default() };
    let ears = Ears::default();
    let server = serve(ears.endpoint(limits), ServerConfig::default()).await;
    let mut raw = Raw::join(server.address()).await;
    // 42["big",""] and the text make exactly the limit.
    raw.send(&[&format!("42[\"big\",\"{}\"]", "x".repeat(10_000 - 12))]).await;
    ears.next("big").await;
    raw.send(&[&format!("42[\"big\",\"{}\"]", "x".repeat(10_000 - 11))]).await;
    let close = loop {
        let frame = raw.frame().await;
        if frame.as_ref().is_none_or(|(opcode, _)| *opcode == 8) {
            break frame;
        }
    };
    assert_eq!(close.map(|(_, content)| content), Some(1_009_u16.to_be_bytes().to_vec()));
    ears.ended(1).await;
    assert_eq!(ears.ends(), [Close::Limit("frame of 10001 bytes exceeds max_frame_bytes = 10000".into())]);
    assert!(server.peers().is_empty());
}

#[tokio::test]
async fn json_beyond_the_limits_is_counted_and_refused_and_the_connection_goes_on() {
    let numbers = Numbers::default();
    let json = JsonLimits { max_json_depth: 8, max_json_keys: 2, max_json_number_bytes: 8 };
    let limits = Limits { json, ..Limits::default() };
    let endpoint = Endpoint { limits: Arc::new(limits), ..Endpoint::new("socketio", numbers.clone()) };
    let server = serve(endpoint, ServerConfig::default()).await;
    let mut raw = Raw::join(server.address()).await;
    let deep = format!("{}{}", "[".repeat(20), "]".repeat(20));
    let beyond = [
        (&*deep, "nested deeper than max_json_depth = 8"),
        (r#"{"a":1,"b":2,"c":3}"#, "object with more members than max_json_keys = 2"),
        ("123456789", "number longer than max_json_number_bytes = 8"),
    ];
    for (id, (beyond, limit)) in beyond.iter().enumerate() {
        raw.send(&[&format!("42[\"e\",{beyond}]"), &format!("42{id}[\"q\",{beyond}]")]).await;
        assert_refused(&raw.event().await, id, limit);
    }
    raw.send(&[&format!("451-5[\"q\",{{\"_placeholder\":true,\"num\":0}},{deep}]")]).await;
    raw.send_binary(&[b"x"]).await;
    assert_refused(&raw.event().await, 5, beyond[0].1);
    raw.send(&["427[\"n\",1]"]).await;
    assert_eq!(raw.event().await, "437[]", "the connection goes on");
    assert_eq!(numbers.count(1).await, [1]);
    let ledger = server.ledger();
    let beyond = 2 * beyond.len() as u64 + 1;
    assert_eq!((ledger.get(polywire_core::Count::BadBody), ledger.unaccounted_frames()), (beyond, 0));
}

/// This is the acknowledgement of the request of this id, and it names the limit.
fn assert_refused(text: &str, id: usize, limit: &str) {
    let args: Vec<Value> = serde_json::from_str(text.strip_prefix(&format!("43{id}")).unwrap()).unwrap();
    let error = &args[0]["error"];
    assert_eq!((args.len(), error["code"].as_str()), (1, Some("invalid_argument")));
    assert!(error["message"].as_str().unwrap().ends_with(limit), "{error}");
}

#[tokio::test]
async fn an_opening_in_one_go_is_served() {
    let numbers = Numbers::default();
    let endpoint =
        Endpoint { authenticator: Some(Arc::new(Judge)), ..Endpoint::new("socketio", numbers.clone()) };
    let server = serve(endpoint, ServerConfig::default()).await;
    for n in 0..60 {
        let mut raw = Raw::dial(server.address()).await;
        let head = raw.upgrade("").await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        raw.send(&["0", "40{\"token\":\"right\"}", &format!("42[\"n\",{n}]"), "6"]).await;
        assert_eq!(numbers.count(n + 1).await.last(), Some(&(n as u64)));
    }
    // What follows a CONNECT that is refused is heard too: it belongs to nothing and ends the session, as in the original.
    let mut raw = Raw::open(server.address()).await;
    raw.send(&["40{\"token\":\"wrong\"}", "42[\"n\",1]"]).await;
    assert_eq!(raw.event().await, r#"44{"message":"the token is wrong"}"#);
    raw.end().await;
    assert_eq!(numbers.count(60).await.len(), 60);
}

#[tokio::test]
async fn only_known_origins_and_hosts_connect() {
    let config = ServerConfig {
        origins: Some(vec!["https://good.example".to_owned()]),
        hosts: Some(vec!["localhost".to_owned()]),
        ..ServerConfig::default()
    };
    let server = serve(Endpoint::new("socketio", Ears::default()), config).await;
    for (headers, status) in [
        ("Origin: https://evil.example\r\n", "HTTP/1.1 403"),
        ("Origin: https://good.example\r\n", "HTTP/1.1 101"),
        ("", "HTTP/1.1 101"),
    ] {
        let mut raw = Raw::dial(server.address()).await;
        let head = raw.upgrade(headers).await;
        assert!(head.starts_with(status), "{headers:?}: {head}");
    }
}

/// The library's pings go through the queue that events go through, and one that finds it full ends the session.
#[tokio::test(flavor = "multi_thread")]
async fn pings_go_out_and_pongs_are_seen_while_more_waits_than_is_taken() {
    const PINGS: usize = 6;
    let config = ServerConfig {
        ping_interval: Duration::from_millis(200),
        ping_timeout: Duration::from_millis(1_000),
        max_buffered_packets: 256,
        ..ServerConfig::default()
    };
    let limits = Limits { max_queue_messages: 300, ..Limits::default() };
    let endpoint = Endpoint { limits: Arc::new(limits), ..Endpoint::new("socketio", Ears::default()) };
    let server = serve(endpoint, config).await;
    let mut raw = Raw::join(server.address()).await;
    let peer = one_peer(&server).await;
    let full = Arc::new(AtomicUsize::new(0));
    let noted = Arc::clone(&full);
    let sending = tokio::spawn(async move {
        let event = Event::new(Route::from_static("much"), Body::Json(text(&json!("x".repeat(2_000)))));
        loop {
            if peer.caller().unwrap().try_notify(event.clone()).is_ok() {
                continue;
            }
            noted.fetch_add(1, Ordering::Relaxed);
            if peer.notify(event.clone()).await.is_err() {
                return;
            }
        }
    });
    let (mut pings, mut full_before) = (0, 0);
    while pings < PINGS {
        if raw.text().await == "2" {
            raw.send(&["3"]).await;
            let full = full.load(Ordering::Relaxed);
            assert!(pings == 0 || full > full_before, "the queue was full since the last ping");
            (pings, full_before) = (pings + 1, full);
        }
    }
    assert_eq!(server.peers().len(), 1, "every pong was seen");
    timeout(LIMIT, server.shutdown()).await.unwrap();
    drop(raw);
    timeout(LIMIT, sending).await.expect("the connection ends").unwrap();
}

async fn npm_client(name: &str, transports: &Value, upgraded: &str) {
    let Some(package) = skip::package(name, &SOCKET_IO_CLIENT) else { return };
    let (ears, numbers) = (Ears::default(), Numbers::default());
    let handler = Router::new().on("n", numbers.clone()).fallback(ears.clone()).build().unwrap();
    let endpoint = Endpoint { authenticator: Some(Arc::new(Judge)), ..Endpoint::new("socketio", handler) };
    let server = serve(endpoint, ServerConfig::new(["/", "/realtime"])).await;
    let url = format!("http://{}/realtime", server.address());
    let mut driver = Driver::start("socketio_js_client.mjs", &package).unwrap();
    let wrong = json!({"url": url, "options": {"transports": transports, "auth": {"token": "wrong"}}});
    let refused = driver.ask("connect", wrong).await.unwrap().unwrap_err();
    assert_eq!(refused["message"], "the token is wrong");
    let right = json!({"url": url, "options": {"transports": transports, "auth": {"token": "right"}}});
    driver.ask("connect", right).await.unwrap().unwrap();
    if upgraded == "websocket" {
        assert_eq!(driver.ask("upgraded", json!({})).await.unwrap().unwrap(), "websocket");
    }
    for value in [json!({"a": [1, null, "ü"]}), json!("text"), json!(1.5), json!({"hex": "00ff10"})] {
        let echoed = driver.ask("call", json!({"name": "echo", "args": [value]})).await.unwrap().unwrap();
        assert_eq!(echoed, value);
    }
    let refused = driver.ask("call", json!({"name": "echo", "args": [nested(200)]})).await.unwrap().unwrap();
    assert_too_deep(&refused);
    driver.ask("emit", json!({"name": "word", "args": [{"x": 1}]})).await.unwrap().unwrap();
    assert_eq!(ears.next("word").await.1, json!({"x": 1}));
    let peer = one_peer(&server).await;
    let body = Body::Json(text(&json!({"from": "server"})));
    let request = Request::new(Route::from_static("ask"), body.clone()).timeout(LIMIT);
    assert_eq!(peer.call(request).await.unwrap().body, body);
    let bytes = Body::binary("", vec![1, 2, 255]);
    let request = Request::new(Route::from_static("ask"), bytes.clone()).timeout(LIMIT);
    assert_eq!(peer.call(request).await.unwrap().body, bytes);
    two_attachments_cross_both_ways(&mut driver, &peer, &ears).await;
    numbers_cross_both_ways(&mut driver, &peer, &numbers).await;
    assert_eq!(driver.ask("transport", json!({})).await.unwrap().unwrap(), upgraded);
    driver.ask("leave", json!({})).await.unwrap().unwrap();
    until("no peer", || server.peers().is_empty()).await;
    timeout(LIMIT, server.shutdown()).await.unwrap();
}

#[tokio::test]
async fn npm_client_over_websocket() {
    npm_client("npm_client_over_websocket", &json!(["websocket"]), "websocket").await;
}

#[tokio::test]
async fn npm_client_over_polling() {
    npm_client("npm_client_over_polling", &json!(["polling"]), "polling").await;
}

#[tokio::test]
async fn npm_client_upgrades() {
    npm_client("npm_client_upgrades", &json!(["polling", "websocket"]), "websocket").await;
}

/// An event with two attachments from the client, and a request with two that it answers with the same.
async fn two_attachments_cross_both_ways(driver: &mut Driver, peer: &Peer, ears: &Ears) {
    let two = json!([{"hex": "0001"}, {"hex": "020304"}]);
    driver.ask("emit", json!({"name": "two", "args": two})).await.unwrap().unwrap();
    let (_, places, sizes) = ears.next("two").await;
    let place = |number: u32| json!({"_placeholder": true, "num": number});
    assert_eq!((places, sizes), (json!([place(0), place(1)]), vec![2, 3]));
    let body = Body::Json(text(&json!({"a": place(0), "b": [1, place(1)]})));
    let attachments: Vec<Bytes> = vec![vec![7; 2_000].into(), vec![8; 3].into()];
    let meta = Meta::default().with_attachments(attachments.clone());
    let request = Request { meta, ..Request::new(Route::from_static("ask"), body.clone()) }.timeout(LIMIT);
    let answer = peer.call(request).await.unwrap();
    assert_eq!((answer.body, answer.meta.attachments()), (body, &attachments[..]));
}

/// Events in a row, from the client and to it at the same time: all come, and in order.
async fn numbers_cross_both_ways(driver: &mut Driver, peer: &Peer, numbers: &Numbers) {
    const EVENTS: u64 = 500;
    let sending = async {
        for n in 0..EVENTS {
            let event = Event::new(Route::from_static("n"), Body::json(&n).unwrap());
            peer.notify(event).await.unwrap();
        }
    };
    let hearing = async {
        driver.ask("burst", json!({"name": "n", "count": EVENTS})).await.unwrap().unwrap();
        driver.ask("heard", json!({"count": EVENTS})).await.unwrap().unwrap()
    };
    let (heard, ()) = tokio::join!(hearing, sending);
    assert_eq!(heard, json!((0..EVENTS).collect::<Vec<_>>()));
    assert!(numbers.count(usize::try_from(EVENTS).unwrap()).await.into_iter().eq(0..EVENTS), "out of order");
}

/// A value of so many levels.
fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

/// This is how a client hears that its request is deeper than this side looks.
fn assert_too_deep(refused: &Value) {
    let error = &refused["error"];
    assert_eq!(error["code"], "invalid_argument", "{refused}");
    let why = error["message"].as_str().unwrap();
    assert!(why.ends_with("nested deeper than max_json_depth = 128"), "{why}");
}

async fn python_client(name: &str, transports: &Value, upgraded: &str) {
    let Some(package) = skip::package(name, &PYTHON_SOCKETIO) else { return };
    let numbers = Numbers::default();
    let handler = Router::new()
        .handle("echo", |body: Body| async { Ok::<_, polywire_core::Failure>(Response::from(body)) })
        .fallback(numbers.clone())
        .build()
        .unwrap();
    let endpoint = Endpoint { authenticator: Some(Arc::new(Judge)), ..Endpoint::new("socketio", handler) };
    let server = serve(endpoint, ServerConfig::new(["/", "/realtime"])).await;
    let mut driver = Driver::start("socketio_py_client.py", &package).unwrap();
    let connect = |token: &str| {
        json!({
            "url": format!("http://{}", server.address()),
            "namespace": "/realtime",
            "transports": transports,
            "auth": { "token": token },
        })
    };
    assert!(driver.ask("connect", connect("wrong")).await.unwrap().is_err());
    let refused = driver.event(|event| event["event"] == "refused", LIMIT).await.unwrap();
    assert_eq!(refused["data"], json!({"message": "the token is wrong"}));
    driver.ask("connect", connect("right")).await.unwrap().unwrap();
    for value in [json!({"a": [1, null, "ü"]}), json!("text"), json!(1.5), json!({"hex": "00ff10"})] {
        let echoed = driver.ask("call", json!({"name": "echo", "arg": value})).await.unwrap().unwrap();
        assert_eq!(echoed, value);
    }
    let peer = one_peer(&server).await;
    let refused = driver.ask("call", json!({"name": "echo", "arg": nested(200)})).await.unwrap().unwrap();
    assert_too_deep(&refused);
    for body in [Body::Json(text(&json!({"from": "server"}))), Body::binary("", vec![1, 2, 255])] {
        let request = Request::new(Route::from_static("ask"), body.clone()).timeout(LIMIT);
        assert_eq!(peer.call(request).await.unwrap().body, body);
    }
    numbers_cross_both_ways(&mut driver, &peer, &numbers).await;
    assert_eq!(driver.ask("transport", json!({})).await.unwrap().unwrap(), upgraded);
    driver.ask("leave", json!({})).await.unwrap().unwrap();
    until("no peer", || server.peers().is_empty()).await;
    timeout(LIMIT, server.shutdown()).await.unwrap();
}

#[tokio::test]
async fn python_client_over_websocket() {
    python_client("python_client_over_websocket", &json!(["websocket"]), "websocket").await;
}

#[tokio::test]
async fn python_client_over_polling() {
    python_client("python_client_over_polling", &json!(["polling"]), "polling").await;
}

#[tokio::test]
async fn python_client_upgrades() {
    python_client("python_client_upgrades", &json!(["polling", "websocket"]), "websocket").await;
}
