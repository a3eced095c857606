//! `emit`, `listen` and `bench`, against a server inside the test.

#![allow(clippy::unwrap_used, reason = "a test that cannot run has failed")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use polywire_core::{
    Adapter, Body, CallError, Close, Endpoint, Event, Failure, Handler, Incoming, Observe, Options, Peer,
    Request, Response, Route, Router, Secret, Server, Target,
};
use serde_json::json;
use support::{file, polywire, serve, start};
use tokio::sync::mpsc;

/// Tells of peers that come.
struct Arrivals(mpsc::UnboundedSender<Peer>);

impl Observe for Arrivals {
    fn connected(&self, peer: &Peer) {
        self.0.send(peer.clone()).unwrap();
    }

    fn disconnected(&self, _: &Peer, _: &Close) {}
}

async fn server(handler: impl Handler) -> (Server, mpsc::UnboundedReceiver<Peer>, String) {
    let (tell, arrivals) = mpsc::unbounded_channel();
    let mut endpoint = Endpoint::new("sockhop", handler);
    endpoint.observer = Some(Arc::new(Arrivals(tell)));
    let target = Target { address: "127.0.0.1:0".to_owned(), options: Options::new(), ..Target::default() };
    let server = polywire_sockhop::ADAPTER.listen(target, endpoint).await.unwrap();
    let url = format!("sockhop://{}", server.address());
    (server, arrivals, url)
}

fn nothing() -> Router {
    Router::new().build().unwrap()
}

fn event(name: &'static str, n: u32) -> Event {
    Event::new(Route::from_static(name), Body::json(&n).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_prints_events_that_match_and_ends_after_so_many() {
    let (_server, mut arrivals, url) = server(nothing()).await;
    let mut listening = start(&["listen", &url, "tick*", "-n", "2"]);
    let peer = arrivals.recv().await.unwrap();
    for event in [event("tick", 1), event("other", 2), event("ticks", 3)] {
        peer.notify(event).await.unwrap();
    }
    assert_eq!(listening.text(), r#"{"event":"tick","body":1}"#);
    assert_eq!(listening.text(), r#"{"event":"ticks","body":3}"#);
    assert_eq!(listening.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_emitted_and_listened_to_on_every_wire_that_has_them() {
    let secret = "a secret of these tests, long enough";
    let path = file("shared", secret.as_bytes());
    let named = format!("file:{}", path.display());
    let adapters = polywire_cli::adapters();
    for (wire, options) in [
        ("sockhop", String::new()),
        ("stonyx", format!("?key={named}")),
        ("socketio", String::new()),
        ("hyperhq", format!("?plugin=demo&challenge={named}")),
    ] {
        let (tell, mut heard) = mpsc::unbounded_channel();
        let handler = move |incoming: Incoming| {
            tell.send((incoming.route, incoming.body)).unwrap();
            async { Ok::<_, Failure>(Response::default()) }
        };
        let (arrive, mut arrivals) = mpsc::unbounded_channel();
        let router = Router::new().on("thumbnail:created", handler.clone()).fallback(handler);
        let mut endpoint = Endpoint::new(wire, router.build().unwrap());
        endpoint.observer = Some(Arc::new(Arrivals(arrive)));
        let mut target = Target { address: "127.0.0.1:0".to_owned(), ..Target::default() };
        let adapter = adapters.get(wire).unwrap();
        for option in ["key", "challenge"] {
            if adapter.options().iter().any(|known| known.name == option) {
                target.options.set_secret(option, Secret::from(secret));
            }
        }
        if wire == "hyperhq" {
            target.options.set("plugin", "demo");
        }
        let server = adapter.listen(target, endpoint).await.unwrap();
        let url = format!("{wire}://{}{options}", server.address());

        polywire(&["emit", &url, "thumbnail:created", r#"{"n":1}"#]).ends(0);
        let (name, body) = heard.recv().await.unwrap();
        assert_eq!((&*name, body), ("thumbnail:created", Body::json(&json!({"n": 1})).unwrap()), "{wire}");

        let first = arrivals.recv().await.unwrap();
        drop(first);
        let mut listening = start(&["listen", &url, "tick", "-n", "1"]);
        let peer = arrivals.recv().await.unwrap();
        // Told again and again, because on one wire a peer hears nothing before it has asked for it.
        let telling = tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(10));
            loop {
                pace.tick().await;
                if peer.notify(event("tick", 7)).await.is_err() {
                    break;
                }
            }
        });
        assert_eq!(listening.text(), r#"{"event":"tick","body":7}"#, "{wire}");
        assert_eq!(listening.wait().code(), Some(0), "{wire}");
        telling.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_survives_a_reconnect_and_marks_the_gap() {
    let (_server, mut arrivals, url) = server(nothing()).await;
    let mut listening = start(&["listen", &url, "tick", "-n", "2"]);
    let peer = arrivals.recv().await.unwrap();
    peer.notify(event("tick", 1)).await.unwrap();
    assert_eq!(listening.line()["body"], 1);
    peer.close();
    let peer = arrivals.recv().await.unwrap();
    peer.notify(event("tick", 2)).await.unwrap();
    let gap = listening.line();
    assert!(gap["gap"]["since_ms"].is_u64() && gap["gap"]["reason"].is_string(), "{gap}");
    assert_eq!(listening.line()["body"], 2);
    assert_eq!(listening.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_ends_after_a_time_with_4_when_too_few_came() {
    let (_server, _arrivals, url) = server(nothing()).await;
    polywire(&["listen", &url, "--for", "1ms"]).ends(0);
    let ran = polywire(&["listen", &url, "-n", "1", "--for", "1ms"]).ends(4);
    assert!(ran.stderr.contains("0 of 1 events"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn emit_sends_one_event() {
    let (tell, mut heard) = mpsc::unbounded_channel();
    let handler = move |body: Body| {
        tell.send(body).unwrap();
        async {}
    };
    let (_server, _arrivals, url) = server(Router::new().on("tick", handler).build().unwrap()).await;
    let ran = polywire(&["emit", &url, "tick", r#"{"n":1}"#]).ends(0);
    assert_eq!(ran.line(), json!({"ok": true}));
    assert_eq!(heard.recv().await.unwrap(), Body::json(&json!({"n": 1})).unwrap());
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_the_call_in_flight_end() {
    let (running, url) = serve("sockhop://127.0.0.1:0");
    let address = url.trim_start_matches("sockhop://").to_owned();
    let target = Target { address, ..Target::default() };
    let client = polywire_sockhop::ADAPTER.dial(target, Endpoint::new("sockhop", nothing())).await.unwrap();
    let caller = client.caller();
    let asked = Body::json(&json!({"ms": 500})).unwrap();
    let (slept, ()) = tokio::join!(
        biased;
        caller.call(Request::new(Route::from_static("sleep"), asked.clone())),
        async {
            // What was sent later and is answered shows that the server has the sleep in hand.
            caller.call(Request::new(Route::from_static("echo"), Body::null())).await.unwrap();
            running.terminate();
        }
    );
    assert_eq!(slept.unwrap().body, asked);
    assert_eq!(running.wait().code(), Some(0));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_does_not_wait_for_the_call_in_flight() {
    let (running, url) = serve("sockhop://127.0.0.1:0");
    let address = url.trim_start_matches("sockhop://").to_owned();
    let target = Target { address: address.clone(), ..Target::default() };
    let client = polywire_sockhop::ADAPTER.dial(target, Endpoint::new("sockhop", nothing())).await.unwrap();
    let caller = client.caller();
    let sleep = Request::new(Route::from_static("sleep"), Body::json(&json!({"ms": 60_000})).unwrap());
    let mut sleep = std::pin::pin!(caller.call(sleep.timeout(Duration::from_secs(60))));
    tokio::select! {
        biased;
        early = &mut sleep => panic!("{early:?}"),
        echo = caller.call(Request::new(Route::from_static("echo"), Body::null())) => drop(echo.unwrap()),
    }
    let start = Instant::now();
    running.terminate();
    // It drains once nobody is let in any more; two signals at once could be heard as one.
    while tokio::net::TcpStream::connect(&address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    running.terminate();
    assert!(matches!(sleep.await, Err(CallError::Unknown(_))));
    assert_eq!(running.wait().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(20), "the call would have taken a minute, the drain 30 s");
}

#[test]
fn an_event_on_a_wire_without_events_is_2() {
    let (_running, url) = serve("hpx://127.0.0.1:0");
    let ran = polywire(&["emit", &url, "tick", "{}"]).ends(2);
    assert_eq!((&ran.line()["code"], &ran.line()["outcome"]), (&json!("unimplemented"), &json!("not_sent")));
}

#[test]
fn bench_measures_in_a_closed_loop_and_at_a_rate() {
    let (_running, url) = serve("sockhop://127.0.0.1:0");
    let closed =
        polywire(&["bench", &url, "echo", "[1]", "-n", "500", "-c", "8", "--clients", "2"]).ends(0).line();
    assert_eq!(
        (&closed["loop"], &closed["calls"], &closed["failed"]),
        (&json!("closed"), &json!(500), &json!(0))
    );
    let latency = |name: &str| closed["latency_us"][name].as_f64().unwrap();
    assert!(latency("min") > 0.0 && latency("min") <= latency("p50"));
    assert!(latency("p50") <= latency("p99") && latency("p99") <= latency("max"));

    let open = polywire(&["bench", &url, "echo", "-n", "20", "-r", "1000"]).ends(0).line();
    assert_eq!((&open["loop"], &open["rate"], &open["answered"]), (&json!("open"), &json!(1000), &json!(20)));

    let failed = polywire(&["bench", &url, "fail", r#"{"code":"not_found"}"#, "-n", "3"]).ends(6);
    assert_eq!(failed.line()["failures"], json!({"not_found": 3}));
}

#[test]
fn a_stall_is_charged_to_every_call_that_was_due_meanwhile() {
    let (_running, url) = serve("sockhop://127.0.0.1:0");
    // One call at a time, each takes 20 ms, one is due every 5 ms: the last of ten is due after 45 ms and answered after 200 ms.
    let args = ["bench", &url, "sleep", r#"{"ms":20}"#, "-n", "10", "-c", "1", "-r", "200"];
    let line = polywire(&args).ends(0).line();
    let latency = |name: &str| line["latency_us"][name].as_f64().unwrap();
    assert!(latency("min") >= 20_000.0, "{line}");
    assert!(latency("max") >= 150_000.0, "{line}");
}
