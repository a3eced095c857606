//! The bridge between real wires over loopback, both ways: what is measured against foreign peers elsewhere, here end to end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use polywire_bridge::{Bridge, Config, Registry, Source, StartError};
use polywire_core::{
    Answer, Body, Client, Code, Endpoint, Errors, Failure, Handler, HandlerFuture, Incoming, JsonLimits,
    JsonText, Kind, Request, Response, Route, Server, Surroundings, Target,
};
use polywire_tests::place;
use tokio::sync::mpsc;

/// Answers what it is sent, `fail` with a failure, `hang` never; shows every event, and what is named `hang` or `moved`.
struct App(mpsc::UnboundedSender<(String, Body)>);

impl Handler for App {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        if incoming.kind == Kind::Event || matches!(&*incoming.route, "hang" | "moved") {
            self.0.send((incoming.route.to_string(), incoming.body.clone())).unwrap();
        }
        Box::pin(async move {
            match &*incoming.route {
                "hang" => std::future::pending::<Answer>().await,
                "fail" => Err(Failure::new(Code::PermissionDenied, "not you")),
                _ => Ok(Response::from(incoming.body)),
            }
        })
    }
}

fn registry() -> Registry {
    let registry = Registry::new().with(polywire_sockhop::ADAPTER).with(polywire_hpx::ADAPTER);
    registry.with(polywire_stonyx::ADAPTER).with(polywire_socketio::ADAPTER).with(polywire_hyperhq::ADAPTER)
}

const WIRES: [&str; 5] = ["sockhop", "hpx", "stonyx", "socketio", "hyperhq"];

/// The shared key of one wire and the challenge of another, and a file with it for the bridge.
const KEY: &str = "the shared key of these tests";

fn key_file() -> String {
    static WRITTEN: OnceLock<String> = OnceLock::new();
    let written = WRITTEN.get_or_init(|| {
        let path = place::tests().join("../target/bridge-test.key");
        std::fs::write(&path, KEY).unwrap();
        path.display().to_string()
    });
    written.clone()
}

fn target(wire: &str, address: &str, guests: bool) -> Target {
    let mut target = Target { address: address.to_owned(), ..Target::default() };
    if wire == "stonyx" {
        target.options.set_secret("key", polywire_core::Secret::from(KEY));
        target.options.set("errors_in_reply", "1");
    }
    if wire == "hyperhq" {
        target.options.set_secret("challenge", polywire_core::Secret::from(KEY));
        target.options.set("plugin", "demo");
    }
    if guests {
        target.options.set("guests", "1");
    }
    target
}

async fn serve(wire: &str) -> (Server, mpsc::UnboundedReceiver<(String, Body)>) {
    let registry = registry();
    let adapter = registry.get(wire).unwrap();
    let (show, seen) = mpsc::unbounded_channel();
    let mut endpoint = Endpoint::new(adapter.name(), App(show));
    endpoint.authenticator = Some(Arc::new(|_| async { Ok(polywire_core::Identity::guest()) }));
    (adapter.listen(target(wire, "127.0.0.1:0", wire == "hpx"), endpoint).await.unwrap(), seen)
}

async fn dial(wire: &str, address: &str) -> Client {
    let (show, _) = mpsc::unbounded_channel();
    let endpoint = Endpoint::new("test", App(show));
    let client = registry().get(wire).unwrap().dial(target(wire, address, false), endpoint).await.unwrap();
    client.ready().await.unwrap();
    client
}

async fn bridge(from: &str, to: &str, upstream: &str, more: &str) -> Bridge {
    let key = format!("key = \"file:{}\"\nerrors_in_reply = true", key_file());
    let challenge = format!("plugin = \"demo\"\nchallenge = \"file:{}\"", key_file());
    let option = |wire: &str, hpx| match wire {
        "hpx" => hpx,
        "stonyx" => key.as_str(),
        "hyperhq" => challenge.as_str(),
        _ => "",
    };
    let (guests, out) = (option(from, "guests = true"), option(to, ""));
    let text = format!(
        r#"
[endpoint.in]
protocol = "{from}"
role = "server"
listen = "127.0.0.1:0"
{guests}

[endpoint.out]
protocol = "{to}"
role = "client"
address = "{upstream}"
required = true
{out}

[[route]]
from = {{ endpoint = "in", match = "*" }}
to = {{ endpoint = "out" }}
timeout = "5s"
{more}
"#
    );
    let config = Config::parse(Source::new("bridge.toml", text));
    let bridge = match Bridge::start(&config, &registry(), Surroundings::real()).await {
        Ok(bridge) => bridge,
        Err(StartError::Check(report)) => panic!("{}", report.to_text()),
        Err(error) => panic!("{error}"),
    };
    bridge.ready().await.unwrap();
    bridge
}

fn json(text: &str) -> Body {
    Body::Json(JsonText::new(text.to_owned(), &JsonLimits::default()).unwrap())
}

/// The same bytes as they come back: a typed buffer has one name, and in a request that is the route.
fn answered(body: &Body) -> Body {
    let Body::Binary(binary) = body else { panic!("{body:?}") };
    Body::binary("echo", binary.bytes.clone())
}

fn request(name: &'static str, body: Body) -> Request {
    Request::new(Route::from_static(name), body)
}

fn errors_of(wire: &str) -> Errors {
    let options = target(wire, "", false).options;
    registry().get(wire).unwrap().capabilities(&options).unwrap().errors
}

#[tokio::test]
async fn a_call_crosses_every_pair_of_wires_and_comes_back_byte_for_byte() {
    for (from, to) in WIRES.into_iter().flat_map(|from| WIRES.map(|to| (from, to))) {
        let (server, _seen) = serve(to).await;
        let bridge = bridge(from, to, server.address(), "").await;
        let client = dial(from, bridge.address("in").unwrap()).await;
        let body = json(r#"{"big":12345678901234567890,"z":1.50,"a":["\ud83d\ude00",null]}"#);
        let answer = client.caller().call(request("echo", body.clone())).await;
        assert_eq!(answer.map(|answer| answer.body), Ok(body), "{from} to {to}");
        let error = client.caller().call(request("fail", json("{}"))).await.unwrap_err();
        // A wire that tells a failure as text alone loses its code, as its capabilities say.
        let textual = [from, to].into_iter().any(|wire| errors_of(wire) == Errors::Text);
        let code = if textual { Code::Unknown } else { Code::PermissionDenied };
        assert_eq!(error.code(), code, "{from} to {to}: {error}");
        assert!(error.to_string().ends_with("not you"), "{from} to {to}: {error}");
        bridge.shutdown().await;
    }
}

#[tokio::test]
async fn bytes_and_events_cross_between_wires_that_have_them() {
    let (server, mut seen) = serve("sockhop").await;
    let bridge = bridge("sockhop", "sockhop", server.address(), "").await;
    let client = dial("sockhop", bridge.address("in").unwrap()).await;
    let bytes = Body::binary("Pose", vec![0, 10, 255]);
    assert_eq!(client.caller().call(request("echo", bytes.clone())).await.unwrap().body, answered(&bytes));
    client
        .caller()
        .notify(polywire_core::Event::new(Route::from_static("Pose"), bytes.clone()))
        .await
        .unwrap();
    assert_eq!(seen.recv().await.unwrap(), ("Pose".to_owned(), bytes));
    let event = polywire_core::Event::new(Route::from_static("moved"), json("{\"x\":1}"));
    client.caller().notify(event).await.unwrap();
    assert_eq!(seen.recv().await.unwrap(), ("moved".to_owned(), json("{\"x\":1}")));
}

#[tokio::test]
async fn events_cross_every_pair_of_wires_that_have_them() {
    // HPX has no events of a client, and HyperHQ only those that its flow names.
    const TELL: [&str; 3] = ["sockhop", "stonyx", "socketio"];
    for (from, to) in TELL.into_iter().flat_map(|from| TELL.map(|to| (from, to))) {
        let (server, mut seen) = serve(to).await;
        let bridge = bridge(from, to, server.address(), "").await;
        let client = dial(from, bridge.address("in").unwrap()).await;
        let event = polywire_core::Event::new(Route::from_static("moved"), json("{\"x\":1}"));
        client.caller().notify(event).await.unwrap();
        // What a client of Stonyx tells is a request to its server, which serves it as such.
        assert_eq!(seen.recv().await.unwrap(), ("moved".to_owned(), json("{\"x\":1}")), "{from} to {to}");
        bridge.shutdown().await;
    }
}

#[tokio::test]
async fn bytes_onto_hpx_are_refused_or_wrapped_and_come_back_as_bytes() {
    let (server, _seen) = serve("hpx").await;
    let bytes = Body::binary("Pose", vec![0, 10, 255]);
    let refusing = bridge("sockhop", "hpx", server.address(), "").await;
    let client = dial("sockhop", refusing.address("in").unwrap()).await;
    let error = client.caller().call(request("echo", bytes.clone())).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented, "{error}");
    let encoding = bridge("sockhop", "hpx", server.address(), "binary = \"base64\"").await;
    let client = dial("sockhop", encoding.address("in").unwrap()).await;
    assert_eq!(client.caller().call(request("echo", bytes.clone())).await.unwrap().body, answered(&bytes));
}

#[tokio::test]
async fn pending_calls_end_at_once_when_the_upstream_dies() {
    for to in WIRES {
        let (server, mut seen) = serve(to).await;
        let bridge = bridge("sockhop", to, server.address(), "").await;
        let client = dial("sockhop", bridge.address("in").unwrap()).await;
        let start = Instant::now();
        let kill = async {
            seen.recv().await.unwrap();
            server.shutdown_handle().stop();
        };
        let (outcome, ()) = tokio::join!(client.caller().call(request("hang", json("{}"))), kill);
        assert_eq!(outcome.unwrap_err().code(), Code::Unavailable, "{to}");
        assert!(start.elapsed() < Duration::from_secs(2), "{to}: {:?}", start.elapsed());
    }
}
