//! What peers say and what they log in with stands in no log and no `Debug`, whatever the level.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/bridged.rs"]
mod bridged;

use std::sync::Arc;
use std::time::Duration;

use bridged::{EVENT, WIRES, bridge, event, json, onward, registry, request};
use polywire_core::{
    Authenticate, Body, BoxFuture, ClientState, Code, Credentials, Endpoint, Event, Failure, Identity,
    Reconnect, Refusal, Request, Response, Route, Router, Secret, Target,
};
use polywire_tests::log::Log;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);
/// A part of every secret and every body here, and of nothing else.
const MARK: &str = "7c1fd0b3";

/// Lets in whoever shows the right one; the adapters that have a login of their own judge before it.
struct Judge;

impl Authenticate for Judge {
    fn authenticate(&self, credentials: Credentials) -> BoxFuture<'static, Result<Identity, Refusal>> {
        let wrong = matches!(&credentials.data, Body::Json(data) if data.as_bytes().windows(5).any(|at| at == b"wrong"));
        let identity = Identity::user("ada").with_data(credentials.data);
        Box::pin(async move { if wrong { Err(Refusal::new("wrong")) } else { Ok(identity) } })
    }
}

fn target(wire: &str, address: &str, listens: bool, right: bool) -> Target {
    let mut target = Target { address: address.to_owned(), ..Target::default() };
    let secret = format!("{} secret of a wire {MARK}", if right { "right" } else { "wrong" });
    let options = &mut target.options;
    match wire {
        "hpx" => {
            target.user = Some("ada".to_owned());
            options.set_secret("password", Secret::from(secret));
        }
        "stonyx" => {
            options.set_secret("key", Secret::from(secret));
            if !listens {
                options.set_secret("auth_data", Secret::from(format!("{{\"token\":\"{MARK}\"}}")));
            }
        }
        "socketio" if !listens => {
            options.set_secret("auth", Secret::from(format!("{{\"token\":\"{secret}\"}}")));
        }
        "hyperhq" => {
            options.set_secret("challenge", Secret::from(secret));
            options.set("plugin", "demo");
            if !listens {
                options.set("events", EVENT);
            }
        }
        _ => {}
    }
    target
}

fn endpoint(wire: &'static str) -> Endpoint {
    let router = Router::new()
        .handle("echo", async |body: Body| Response::from(body))
        .handle("fail", async |_: Body| Err::<Response, _>(Failure::new(Code::InvalidArgument, "not you")))
        .on(EVENT, async |_: Body| {})
        .build()
        .unwrap();
    let reconnect = Reconnect { max_refusals: 1, refused_pause: None, ..Reconnect::default() };
    Endpoint { reconnect, authenticator: Some(Arc::new(Judge)), ..Endpoint::new(wire, router) }
}

/// Every kind of message both ways, a login that is refused, and everything that has a `Debug` shown in the log.
async fn talk(wire: &'static str) {
    let adapters = registry();
    let adapter = adapters.get(wire).unwrap();
    let server = adapter.listen(target(wire, "127.0.0.1:0", true, true), endpoint(wire)).await.unwrap();
    let right = target(wire, server.address(), false, true);
    let client = adapter.dial(right.clone(), endpoint(wire)).await.unwrap();
    timeout(LIMIT, client.ready()).await.unwrap().unwrap();
    let body = json(&format!("{{\"words\":\"{MARK}\"}}"));
    let answer = client.caller().call(request("echo", body.clone())).await.unwrap();
    assert_eq!(answer.body, body, "{wire}");
    let failed = client.caller().call(request("fail", body.clone())).await;
    // What a wire cannot carry it refuses, and says so without what it was.
    let bytes = Body::binary("kind", format!("bytes {MARK}"));
    let refused = client.caller().call(request("echo", bytes.clone())).await.err();
    let told = client.caller().notify(event(EVENT, body.clone())).await.err();
    server.audience().broadcast(&event(EVENT, body.clone()));
    let nowhere =
        client.caller().call(request("nowhere", body.clone()).timeout(Duration::from_millis(200))).await;
    tracing::info!(?right, ?server, ?client, ?failed, ?refused, ?told, "shown");
    tracing::info!(peers = ?server.peers(), state = ?client.state(), body = ?bytes, ?nowhere, "shown");
    let all = (
        Request::new(Route::from_static("echo"), body.clone()),
        Event::new(Route::from_static("echo"), body.clone()),
        Credentials::new("ada", Secret::from(format!("secret {MARK}"))),
        Identity::user("ada").with_data(body),
    );
    tracing::info!(?all, endpoint = ?endpoint(wire), "shown");
    if wire != "sockhop" {
        let stranger =
            adapter.dial(target(wire, server.address(), false, false), endpoint(wire)).await.unwrap();
        timeout(LIMIT, stranger.ready()).await.unwrap().unwrap_err();
        assert!(matches!(stranger.state(), ClientState::Refused(_)), "{wire}: {:?}", stranger.state());
    }
    client.shutdown().await;
    server.shutdown().await;
}

/// At TRACE tungstenite tells the `log` crate whole messages; nothing of ours may listen.
#[test]
fn inv9_the_command_takes_no_records_of_the_log_crate() {
    let locked = include_str!("../Cargo.lock");
    assert!(locked.contains("name = \"tracing-subscriber\"") && locked.contains("name = \"tungstenite\""));
    assert!(
        !locked.contains("name = \"tracing-log\""),
        "tracing-subscriber must not have its feature tracing-log"
    );
}

#[tokio::test]
async fn inv9_what_peers_say_and_log_in_with_is_in_no_log_on_any_wire() {
    let log = Log::default();
    let writer = log.clone();
    let told =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
    told.init();
    for wire in WIRES {
        talk(wire).await;
    }
    for wire in WIRES {
        let upstream = bridged::serve(wire).await;
        let between = bridge(wire, wire, upstream.server.address(), &onward("")).await;
        let (client, _seen) = bridged::dial(wire, between.address("in").unwrap()).await;
        for route in ["echo", "fail.not_found"] {
            let body = json(&format!("{{\"words\":\"{MARK}\"}}"));
            // What comes of it is not the question here.
            let _ = client.caller().call(request(route, body)).await;
        }
        between.shutdown().await;
    }
    let log = log.take();
    for expected in ["connection opened", "connection closed", "shown", "call failed"] {
        assert!(log.contains(expected), "the log is one: {expected}");
    }
    if let Some(line) = log.lines().find(|line| line.contains(MARK)) {
        panic!("{line}");
    }
}
