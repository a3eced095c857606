//! What becomes of messages that cross a running bridge, without any real wire: time is simulated, every wait ends on its event.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod toy;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_bridge::{Bridge, Config, Ending, EndpointState, Registry, RouteSnapshot, Source, StartError};
use polywire_core::{
    Adapter, Body, CallError, Capabilities, Client, ClientState, Code, Endpoint, Event, Failure, Handler,
    HandlerFuture, Incoming, JsonLimits, JsonText, Kind, Limits, MemoryStep, ProgressForm, Request, Response,
    Route, Server, Surroundings, Target,
};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use toy::{FULL, PLAIN, Toy};

/// An application at one end: shows what it is sent, and answers requests as a test wants.
#[derive(Clone)]
struct App {
    seen: mpsc::UnboundedSender<(Kind, String, Body)>,
    /// What it answers; `None` is the body it was sent.
    answer: Arc<Mutex<Option<Result<Body, Failure>>>>,
    /// Every message takes one of these before it is done.
    permits: Arc<Semaphore>,
}

struct Seen(mpsc::UnboundedReceiver<(Kind, String, Body)>);

impl Seen {
    async fn next(&mut self) -> (Kind, String, Body) {
        self.0.recv().await.unwrap()
    }

    fn is_empty(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

fn app() -> (App, Seen) {
    let (seen, sees) = mpsc::unbounded_channel();
    (App { seen, answer: Arc::default(), permits: Arc::new(Semaphore::new(100_000)) }, Seen(sees))
}

impl App {
    /// Answers nothing from now on.
    fn stall(&self) {
        self.permits.forget_permits(100_000);
    }

    fn answers(&self, answer: Result<Body, Failure>) {
        *self.answer.lock().unwrap() = Some(answer);
    }
}

impl Handler for App {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let app = self.clone();
        let seen = (incoming.kind, incoming.route.to_string(), incoming.body.clone());
        self.seen.send(seen).unwrap();
        Box::pin(async move {
            if let Some(seconds) = incoming.route.strip_prefix("works.") {
                for _ in 0..seconds.parse().unwrap() {
                    incoming.progress(Body::Empty);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            app.permits.acquire().await.unwrap().forget();
            let answer = app.answer.lock().unwrap().clone();
            answer.unwrap_or(Ok(incoming.body)).map(Response::from)
        })
    }
}

fn at(address: &str) -> Target {
    Target { address: address.to_owned(), ..Target::default() }
}

async fn listen(toy: &Toy, address: &str, app: &App) -> Server {
    let mut endpoint = Endpoint::on(toy, app.clone());
    // Whatever ends early is not ended here.
    Arc::make_mut(&mut endpoint.limits).handler_timeout = Duration::from_secs(3_600);
    toy.listen(at(address), endpoint).await.unwrap()
}

async fn dial(toy: &Toy, address: &str, app: &App) -> Client {
    let client = toy.dial(at(address), Endpoint::new(toy.name, app.clone())).await.unwrap();
    client.ready().await.unwrap();
    client
}

/// Peers dial `in` of the bridge, and the bridge dials `up:1`.
const TO_UPSTREAM: &str = r#"
[bridge]
drain = "10s"
[endpoint.in]
protocol = "full"
role = "server"
listen = "in:1"
[endpoint.up]
protocol = "UP"
role = "client"
address = "up:1"
required = true
"#;

async fn bridge(toys: &[&Toy], text: &str) -> Bridge {
    let mut registry = Registry::new();
    for toy in toys {
        registry.add(Arc::new((*toy).clone()));
    }
    let config = Config::parse(Source::new("bridge.toml", text));
    match Bridge::start(&config, &registry, Surroundings::seeded(1)).await {
        Ok(bridge) => bridge,
        Err(StartError::Check(report)) => panic!("{}", report.to_text()),
        Err(error) => panic!("{error}"),
    }
}

fn json(text: &str) -> Body {
    Body::Json(JsonText::new(text.to_owned(), &JsonLimits::default()).unwrap())
}

fn request(name: &'static str, body: Body) -> Request {
    Request::new(Route::from_static(name), body)
}

fn route(bridge: &Bridge, place: usize) -> RouteSnapshot {
    bridge.snapshot().routes[place].clone()
}

/// A caller, a bridge with these routes, and an upstream.
struct Chain {
    client: Client,
    bridge: Bridge,
    up: App,
    seen: Seen,
    server: Server,
    toy: Toy,
}

async fn chain(upstream: Capabilities, routes: &str) -> Chain {
    let toy = Toy::new("full", FULL);
    let other = toy.twin("other", upstream);
    let (up, seen) = app();
    let server = listen(&other, "up:1", &up).await;
    let text = format!("{}{routes}", TO_UPSTREAM.replace("UP", "other"));
    let bridge = bridge(&[&toy, &other], &text).await;
    bridge.ready().await.unwrap();
    let client = dial(&toy, "in:1", &app().0).await;
    Chain { client, bridge, up, seen, server, toy }
}

const ALL: &str = "[[route]]\nfrom = { endpoint = \"in\", match = \"*\" }\nto = { endpoint = \"up\" }\n";

#[tokio::test(start_paused = true)]
async fn requests_and_events_cross_byte_for_byte_and_answers_come_back() {
    let mut chain = chain(FULL, ALL).await;
    for text in [r#"{ "big":12345678901234567890,  "z":1.50, "a":"\ud800" }"#, "null", "[]"] {
        let answer = chain.client.caller().call(request("a.b", json(text))).await.unwrap();
        assert_eq!(answer.body, json(text));
        assert_eq!(chain.seen.next().await, (Kind::Request, "a.b".to_owned(), json(text)));
    }
    for body in [Body::Empty, Body::null(), Body::binary("", vec![]), Body::binary("T", vec![0, 255])] {
        assert_eq!(chain.client.caller().call(request("x", body.clone())).await.unwrap().body, body);
        chain.seen.next().await;
    }
    chain.client.caller().notify(Event::new(Route::from_static("e"), json("1"))).await.unwrap();
    assert_eq!(chain.seen.next().await, (Kind::Event, "e".to_owned(), json("1")));
    let counts = route(&chain.bridge, 0);
    assert_eq!((counts.received, counts.running()), (8, 0));
    assert_eq!((counts.count(Ending::Answered), counts.count(Ending::Delivered)), (7, 1));
}

#[tokio::test(start_paused = true)]
async fn c20_all_endpoints_share_the_memory_that_the_file_says() {
    const BYTES: usize = 1 << 20;
    let text = TO_UPSTREAM.replace("drain = \"10s\"", "max_memory_bytes = \"16MiB\"");
    let text = format!("{}{ALL}", text.replace("UP", "other"));
    let toy = Toy::new("full", FULL);
    let other = toy.twin("other", FULL);
    let (up, _seen) = app();
    let _server = listen(&other, "up:1", &up).await;
    let bridge = bridge(&[&toy, &other], &text).await;
    bridge.ready().await.unwrap();
    let client = dial(&toy, "in:1", &app().0).await;
    let body = Body::binary("", vec![0; BYTES]);
    client.caller().call(request("echo", body)).await.unwrap();
    let memory = bridge.snapshot().memory;
    assert_eq!((memory.max, memory.held, memory.step), (16 << 20, 0, MemoryStep::None));
    assert!((BYTES..8 * BYTES).contains(&memory.peak), "on its way there and back: {}", memory.peak);
}

#[tokio::test(start_paused = true)]
async fn the_first_route_that_takes_a_message_has_it_under_its_new_name() {
    let routes = r#"
[[route]]
from = { endpoint = "in", match = "pose.*", kind = "event" }
to = { endpoint = "up", emit = "arm.*.now" }
[[route]]
from = { endpoint = "in", match = "pose.left" }
to = { endpoint = "up", call = "left" }
[[route]]
from = { endpoint = "in", match = "tick", kind = "event" }
to = { endpoint = "up", call = "tock" }
[[route]]
from = { endpoint = "in", match = "tell", kind = "request" }
to = { endpoint = "up", emit = "told" }
"#;
    let mut chain = chain(FULL, routes).await;
    let caller = chain.client.caller();
    caller.notify(Event::new(Route::from_static("pose.left"), json("1"))).await.unwrap();
    assert_eq!(chain.seen.next().await.1, "arm.left.now");
    caller.call(request("pose.left", json("1"))).await.unwrap();
    assert_eq!(chain.seen.next().await, (Kind::Request, "left".to_owned(), json("1")));
    caller.notify(Event::new(Route::from_static("tick"), json("2"))).await.unwrap();
    assert_eq!(chain.seen.next().await, (Kind::Request, "tock".to_owned(), json("2")));
    assert_eq!(caller.call(request("tell", json("3"))).await.unwrap().body, Body::Empty);
    assert_eq!(chain.seen.next().await, (Kind::Event, "told".to_owned(), json("3")));
    let error = caller.call(request("pose.right", json("1"))).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    let endpoint = chain.bridge.snapshot().endpoints.into_iter().find(|e| e.name == "in").unwrap();
    assert_eq!((endpoint.unrouted_requests, endpoint.unrouted_events), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn b03_an_upstream_that_never_answers_ends_each_call_by_its_deadline_and_holds_up_no_other() {
    let routes = format!(
        "[[route]]\nfrom = {{ endpoint = \"in\", match = \"slow\" }}\nto = {{ endpoint = \"up\" }}\ntimeout = \"2s\"\n{ALL}"
    );
    let mut chain = chain(FULL, &routes).await;
    let quick = chain.client.caller().call(request("quick", json("1"))).await;
    assert!(quick.is_ok());
    chain.seen.next().await;
    chain.up.stall();
    let start = Instant::now();
    let error = chain.client.caller().call(request("slow", json("1"))).await.unwrap_err();
    assert_eq!(start.elapsed().as_millis(), 1_960, "the timeout of the route, less what comes back needs");
    assert_eq!(error.code(), Code::DeadlineExceeded);
    let counts = route(&chain.bridge, 0);
    assert_eq!((counts.count(Ending::Unknown), counts.running()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_may_take_what_suits_the_wire_it_goes_to_or_what_the_file_says_however_long() {
    let toy = Toy::new("full", FULL);
    let limits = Limits { call_timeout: Duration::from_secs(30), ..Limits::default() };
    let other = Toy { limits, ..toy.twin("other", FULL) };
    let (up, _seen) = app();
    up.stall();
    let _server = listen(&other, "up:1", &up).await;
    let (start, end) = TO_UPSTREAM.split_once("required").unwrap();
    for (endpoint, route, millis) in [
        ("", "", 29_500),
        ("timeout = \"40s\"\n", "", 39_500),
        ("", "timeout = \"5min\"\n", 299_500),
        ("timeout = \"40s\"\n", "timeout = \"1h\"\n", 3_599_500),
    ] {
        let text = format!("{}{endpoint}required{end}{ALL}{route}", start.replace("UP", "other"));
        let bridge = bridge(&[&toy, &other], &text).await;
        bridge.ready().await.unwrap();
        let client = dial(&toy, "in:1", &app().0).await;
        let start = Instant::now();
        let call = request("slow", json("1")).timeout(Duration::from_secs(7_200));
        let error = client.caller().call(call).await.unwrap_err();
        assert_eq!((error.code(), start.elapsed().as_millis()), (Code::DeadlineExceeded, millis));
        bridge.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn signs_of_progress_there_keep_a_call_up_to_progress_timeout() {
    let mut chain = chain(Capabilities { progress: ProgressForm::Call, ..FULL }, ALL).await;
    for (name, seconds, answered) in [("works.500", 500, true), ("works.700", 600, false)] {
        let start = Instant::now();
        let call = request(name, json("1")).timeout(Duration::from_secs(7_200));
        let outcome = chain.client.caller().call(call).await;
        assert_eq!((outcome.is_ok(), start.elapsed().as_secs()), (answered, seconds), "{outcome:?}");
        chain.seen.next().await;
    }
    let counts = route(&chain.bridge, 0);
    assert_eq!((counts.count(Ending::Answered), counts.count(Ending::Unknown)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_with_too_little_time_left_is_not_sent() {
    let routes = ALL.to_owned() + "timeout = \"60ms\"\n";
    let mut chain = chain(FULL, &routes).await;
    let error = chain.client.caller().call(request("x", json("1"))).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(chain.seen.is_empty());
    assert_eq!(route(&chain.bridge, 0).count(Ending::OutOfTime), 1);
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_end_at_once_when_the_upstream_dies_and_are_never_sent_again() {
    let mut chain = chain(FULL, ALL).await;
    chain.up.stall();
    let start = Instant::now();
    let call = async {
        let error = chain.client.caller().call(request("x", json("1"))).await.unwrap_err();
        (error, start.elapsed())
    };
    let kill = async {
        chain.seen.next().await;
        chain.server.shutdown_handle().stop();
    };
    let ((error, elapsed), ()) = tokio::join!(call, kill);
    assert_eq!(error.code(), Code::Unavailable);
    assert_eq!(elapsed, Duration::ZERO);
    // The upstream comes back: what was in flight is not repeated, what is new arrives.
    chain.server.shutdown().await;
    let (again, mut seen) = app();
    let _server = listen(&chain.toy, "up:1", &again).await;
    chain.client.caller().call(request("y", json("2"))).await.unwrap();
    assert_eq!(seen.next().await.1, "y");
    assert!(seen.is_empty());
    let counts = route(&chain.bridge, 0);
    assert_eq!((counts.count(Ending::Unknown), counts.count(Ending::Answered), counts.running()), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn b05_a_caller_that_leaves_with_calls_in_flight_leaves_nothing_behind() {
    let mut chain = chain(FULL, ALL).await;
    chain.up.stall();
    let call = |_| chain.client.caller().call(request("x", json("1")));
    let calls: Vec<_> = (0..200).map(call).collect();
    let mut calls: Vec<_> = calls.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        for call in &mut calls {
            assert!(call.as_mut().poll(cx).is_pending());
        }
        std::task::Poll::Ready(())
    })
    .await;
    for _ in 0..200 {
        chain.seen.next().await;
    }
    drop(calls);
    chain.client.shutdown().await;
    while route(&chain.bridge, 0).running() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(route(&chain.bridge, 0).count(Ending::Abandoned), 200);
    chain.up.permits.add_permits(200);
    let orphans = || {
        let up =
            chain.bridge.snapshot().endpoints.into_iter().find(|endpoint| endpoint.name == "up").unwrap();
        let found = up.ledger.into_iter().find(|(count, _)| *count == polywire_core::Count::OrphanReply);
        found.map_or(0, |(_, count)| count)
    };
    while orphans() < 200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn failures_of_the_upstream_reach_the_caller_with_their_code_and_clean_words() {
    let chain = chain(FULL, ALL).await;
    for code in Code::ALL {
        chain.up.answers(Err(Failure::new(code, "no\u{7}pe")));
        let error = chain.client.caller().call(request("x", json("1"))).await.unwrap_err();
        assert_eq!(error, CallError::Failure(Failure::new(code, "nope")));
    }
    assert_eq!(route(&chain.bridge, 0).count(Ending::Failed), 11);
}

#[tokio::test(start_paused = true)]
async fn bytes_onto_a_wire_without_bytes_are_refused_unless_the_route_says_base64() {
    let caps = Capabilities { object_arguments: false, ..PLAIN };
    let mut refusing = chain(caps, ALL).await;
    let bytes = || Body::binary("Pose", vec![1, 2, 3, 250]);
    let error = refusing.client.caller().call(request("x", bytes())).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    assert!(error.to_string().contains("binary = \"base64\""), "{error}");
    assert!(refusing.seen.is_empty());
    assert_eq!(route(&refusing.bridge, 0).count(Ending::Unsuitable), 1);

    let mut encoding = chain(caps, &format!("{ALL}binary = \"base64\"\n")).await;
    for (sent, crossing) in [
        (bytes(), json(r#"{"$bytes":{"type":"Pose","b64":"AQID+g=="}}"#)),
        (Body::binary("", vec![]), json(r#"{"$bytes":{"type":"","b64":""}}"#)),
        (json(r#"{"$bytes": [1] }"#), json(r#"{"$$bytes":[1]}"#)),
        (json(r#"{"$$bytes":1}"#), json(r#"{"$$$bytes":1}"#)),
        (json(r#"{"$bytes":1,"b":2}"#), json(r#"{"$bytes":1,"b":2}"#)),
    ] {
        let answer = encoding.client.caller().call(request("x", sent.clone())).await.unwrap();
        assert_eq!(encoding.seen.next().await.2, crossing);
        let back = if crossing == json(r#"{"$$bytes":[1]}"#) { json(r#"{"$bytes":[1]}"#) } else { sent };
        assert_eq!(answer.body, back);
    }
    encoding.up.answers(Ok(json(r#"{"$bytes":{"type":"T","b64":"AQ"}}"#)));
    let answer = encoding.client.caller().call(request("x", Body::Empty)).await.unwrap();
    assert_eq!(answer.body, Body::binary("T", vec![1]));
}

#[tokio::test(start_paused = true)]
async fn b09_a_body_that_grows_over_the_limit_is_refused_before_it_is_sent() {
    let caps = Capabilities { object_arguments: false, max_body_bytes: 1_000, ..PLAIN };
    let mut chain = chain(caps, &format!("{ALL}binary = \"base64\"\n")).await;
    let call = |size: usize| chain.client.caller().call(request("x", Body::binary("T", vec![7; size])));
    assert!(call(699).await.is_ok());
    chain.seen.next().await;
    let error = call(720).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert!(error.to_string().contains("max_body_bytes = 1000"), "{error}");
    let error = chain.client.caller().call(request("x", json(&format!("\"{}\"", "x".repeat(999))))).await;
    assert!(error.unwrap_err().to_string().contains("body of 1001 bytes exceeds max_body_bytes = 1000"));
    assert!(chain.seen.is_empty());
}

#[tokio::test(start_paused = true)]
async fn bodies_that_are_no_object_are_wrapped_or_refused_where_arguments_are_an_object() {
    let mut refusing = chain(PLAIN, ALL).await;
    let error = refusing.client.caller().call(request("x", json("[1]"))).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.to_string().contains("wrap = \"value\"") && refusing.seen.is_empty(), "{error}");
    let mut wrapping = chain(PLAIN, &format!("{ALL}wrap = \"value\"\nbinary = \"base64\"\n")).await;
    for (sent, crossing) in [
        (json("[1]"), json(r#"{"value":[1]}"#)),
        (json(r#" {"a":1}"#), json(r#" {"a":1}"#)),
        (Body::Empty, Body::Empty),
        (Body::binary("T", vec![1]), json(r#"{"value":{"$bytes":{"type":"T","b64":"AQ=="}}}"#)),
    ] {
        wrapping.client.caller().call(request("x", sent)).await.unwrap();
        assert_eq!(wrapping.seen.next().await.2, crossing);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_to_a_server_endpoint_take_turns_among_its_peers_and_events_reach_them_all() {
    let toy = Toy::new("full", FULL);
    let text = r#"
[endpoint.in]
protocol = "full"
role = "server"
listen = "in:1"
[endpoint.workers]
protocol = "full"
role = "server"
listen = "workers:1"
[[route]]
from = { endpoint = "in", match = "*" }
to = { endpoint = "workers" }
"#;
    let bridge = bridge(&[&toy], text).await;
    assert_eq!(bridge.address("workers"), Some("workers:1"));
    let client = dial(&toy, "in:1", &app().0).await;
    let error = client.caller().call(request("x", json("1"))).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    let ((one, mut one_seen), (two, mut two_seen)) = (app(), app());
    let first = dial(&toy, "workers:1", &one).await;
    let _second = dial(&toy, "workers:1", &two).await;
    for _ in 0..4 {
        client.caller().call(request("x", json("1"))).await.unwrap();
    }
    for seen in [&mut one_seen, &mut two_seen] {
        seen.next().await;
        seen.next().await;
        assert!(seen.is_empty());
    }
    client.caller().notify(Event::new(Route::from_static("e"), json("1"))).await.unwrap();
    assert_eq!((one_seen.next().await.0, two_seen.next().await.0), (Kind::Event, Kind::Event));
    first.shutdown().await;
    for _ in 0..2 {
        client.caller().call(request("x", json("1"))).await.unwrap();
        two_seen.next().await;
    }
    let counts = route(&bridge, 0);
    assert_eq!((counts.received, counts.count(Ending::NotSent), counts.running()), (8, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn b01_two_bridges_that_call_each_other_stop_a_message_that_lists_them() {
    let toy = Toy::new("full", FULL);
    let ring = |node: &str, own: &str, next: &str| {
        format!(
            r#"
[bridge]
node = "{node}"
[endpoint.own]
protocol = "full"
role = "server"
listen = "{own}:1"
[endpoint.next]
protocol = "full"
role = "client"
address = "{next}:1"
required = true
[[route]]
from = {{ endpoint = "own", match = "*" }}
to = {{ endpoint = "next" }}
via = "_via"
"#
        )
    };
    let one = bridge(&[&toy], &ring("one", "a", "b")).await;
    let two = bridge(&[&toy], &ring("two", "b", "a")).await;
    one.ready().await.unwrap();
    two.ready().await.unwrap();
    let client = dial(&toy, "a:1", &app().0).await;
    let start = Instant::now();
    let error = client.caller().call(request("x", json("{}"))).await.unwrap_err();
    assert_eq!((error.code(), start.elapsed()), (Code::Unavailable, Duration::ZERO));
    assert_eq!(error.failure().message, "the message went round a loop of bridges");
    assert_eq!((route(&one, 0).received, route(&two, 0).received), (2, 1));
    assert_eq!(route(&one, 0).count(Ending::Loop), 1);
    client.caller().notify(Event::new(Route::from_static("e"), json("{}"))).await.unwrap();
    while route(&one, 0).count(Ending::Loop) < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!((route(&one, 0).running(), route(&two, 0).running()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_not_there_delays_nothing_and_calls_wait_for_it_within_their_time() {
    let toy = Toy::new("full", FULL);
    let text = format!("{}{ALL}timeout = \"1s\"\n", TO_UPSTREAM.replace("UP", "full"));
    let bridge = bridge(&[&toy], &text).await;
    let client = dial(&toy, "in:1", &app().0).await;
    let start = Instant::now();
    let error = client.caller().call(request("x", json("1"))).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    // While there is no connection, calls that wait are looked at every 100 ms.
    assert!(start.elapsed() <= Duration::from_millis(1_100), "{:?}", start.elapsed());
    assert_eq!(route(&bridge, 0).count(Ending::OutOfTime), 1);
    let (up, mut seen) = app();
    let (call, _server) =
        tokio::join!(client.caller().call(request("x", json("2"))), listen(&toy, "up:1", &up));
    call.unwrap();
    assert_eq!(seen.next().await.2, json("2"));
    let up = bridge.snapshot().endpoints.into_iter().find(|endpoint| endpoint.name == "up").unwrap();
    assert_eq!((up.state, up.required), (EndpointState::Client(ClientState::Ready), true));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_lets_calls_in_flight_end_and_takes_nothing_new() {
    let mut chain = chain(FULL, ALL).await;
    chain.up.stall();
    let caller = chain.client.caller().clone();
    let call = tokio::spawn(async move { caller.call(request("x", json("1"))).await });
    chain.seen.next().await;
    let shutdown = tokio::spawn(chain.bridge.shutdown());
    tokio::task::yield_now().await;
    assert!(!shutdown.is_finished());
    chain.up.permits.add_permits(1);
    assert_eq!(call.await.unwrap().unwrap().body, json("1"));
    shutdown.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_file_with_errors_does_not_start_and_an_address_in_use_is_told() {
    let toy = Toy::new("full", FULL);
    let registry = Registry::new().with(toy.clone());
    let start = async |text: &str| {
        let config = Config::parse(Source::new("bridge.toml", text));
        Bridge::start(&config, &registry, Surroundings::seeded(1)).await.unwrap_err()
    };
    assert!(matches!(start("").await, StartError::Check(report) if report.errors() == 2));
    let _taken = listen(&toy, "in:1", &app().0).await;
    let text = format!("{}{ALL}", TO_UPSTREAM.replace("UP", "full"));
    let error = start(&text).await.to_string();
    assert!(error.starts_with("endpoint in: cannot listen at in:1"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn b12_a_slow_receiver_of_events_slows_their_sender_and_none_is_lost_or_overtaken() {
    let padded = |number: u32| json(&format!("\"{number:0>200}\""));
    let mut chain = chain(FULL, ALL).await;
    chain.up.stall();
    let caller = chain.client.caller().clone();
    let total = 10_000_u32;
    let send = tokio::spawn(async move {
        for number in 0..total {
            caller.notify(Event::new(Route::from_static("e"), padded(number))).await.unwrap();
        }
    });
    // Time is simulated: it passes only once nothing moves any more.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let counts = route(&chain.bridge, 0);
    assert!(counts.running() > 0 && counts.received < u64::from(total) && !send.is_finished(), "{counts:?}");
    chain.up.permits.add_permits(100_000);
    for number in 0..total {
        assert_eq!(chain.seen.next().await.2, padded(number), "{number}");
    }
    send.await.unwrap();
    let counts = route(&chain.bridge, 0);
    assert_eq!((counts.count(Ending::Delivered), counts.running()), (u64::from(total), 0));
}

#[tokio::test(start_paused = true)]
async fn b12_events_for_an_upstream_that_is_not_there_fill_its_queue_and_then_are_counted_out() {
    let toy = Toy::new("full", FULL);
    let text = format!("{}{ALL}", TO_UPSTREAM.replace("UP", "full"));
    let bridge = bridge(&[&toy], &text).await;
    let client = dial(&toy, "in:1", &app().0).await;
    for number in 0..3_000 {
        client.caller().notify(Event::new(Route::from_static("e"), json(&number.to_string()))).await.unwrap();
    }
    while route(&bridge, 0).received < 3_000 || route(&bridge, 0).running() > 0 {
        tokio::task::yield_now().await;
    }
    let counts = route(&bridge, 0);
    assert_eq!((counts.count(Ending::Delivered), counts.count(Ending::Overflow)), (1_024, 1_976));
    // The oldest were kept, and arrive in order once there is a connection.
    let (up, mut seen) = app();
    let _server = listen(&toy, "up:1", &up).await;
    for number in 0..1_024 {
        assert_eq!(seen.next().await.2, json(&number.to_string()));
    }
}
