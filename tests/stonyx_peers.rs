//! Our Stonyx ends against the independent peers, in both roles, sealed and plain.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use polywire_core::{
    Adapter, Audience, Body, CallError, Client, ClientState, Close, Code, Count, Credentials, Endpoint,
    Event, Failure, Handler, HandlerFuture, Incoming, Json, JsonText, Limits, Observe, Options, Outcome,
    Peer, Reconnect, Request, Response, Route, Router, Secret, Server, Target,
};
use polywire_stonyx::{ADAPTER, Config, OnFailure, by_meta, listen};
use polywire_tests::driver::Driver;
use polywire_tests::install::WS;
use polywire_tests::process::Process;
use polywire_tests::{peer, skip};
use serde_json::{Value, json};
use tokio::sync::Notify;

const LIMIT: Duration = Duration::from_secs(30);
const KEY: &str = "the shared key of these tests";
const EVERYTHING: &str =
    "echo,whoami,falsy,silent,unknown,push,announce,meta,tricky,slow,heartbeat,reconnect";

/// The demo service with the handlers of this wire.
async fn serve(encryption: bool) -> Server {
    let mut target =
        Target { address: "127.0.0.1:0".to_owned(), options: Options::new(), ..Target::default() };
    target.options.set_secret("key", Secret::from(KEY));
    target.options.set("encryption", if encryption { "on" } else { "off" });
    let endpoint = polywire_cli::service::endpoint(&ADAPTER, &target.options).unwrap();
    ADAPTER.listen(target, endpoint).await.unwrap()
}

fn port(server: &Server) -> u16 {
    server.address().rsplit(':').next().unwrap().parse().unwrap()
}

/// Runs the independent client against our server.
async fn their_client(package: &Path, server: &Server, encryption: bool, flags: &[&str]) -> Value {
    let (port, sealed) = (port(server).to_string(), encryption.to_string());
    let mut arguments = vec!["--port", &port, "--encryption", &sealed];
    arguments.extend_from_slice(flags);
    let mut client = peer::stonyx("client.mjs", package, &arguments).unwrap();
    client.wait_for_json(|line| line["role"] == "client", LIMIT * 2).await.unwrap()
}

#[tokio::test]
async fn the_independent_client_runs_every_scenario_against_our_server() {
    let name = "the_independent_client_runs_every_scenario_against_our_server";
    let Some(package) = skip::package(name, &WS) else { return };
    for encryption in [true, false] {
        let server = serve(encryption).await;
        let shared = ["--auth-key", KEY, "--heartbeat-ms", "40"];
        for scenarios in [EVERYTHING, "fail", "drop"] {
            let flags = [&shared[..], &["--scenarios", scenarios]].concat();
            let report = their_client(&package, &server, encryption, &flags).await;
            assert_eq!(report["ok"], true, "encryption {encryption}: {report:#}");
        }
        let load = ["--scenarios", "echo", "--count", "10000", "--pipeline", "64"];
        let report = their_client(&package, &server, encryption, &[&shared[..], &load].concat()).await;
        assert_eq!(report["scenarios"]["echo"]["good"], 10_000, "{report:#}");
        let flags = ["--auth-key", "another key altogether", "--expect-reject"];
        let report = their_client(&package, &server, encryption, &flags).await;
        assert_eq!(report["ok"], true, "a wrong key is refused: {report:#}");
        let ledger = Arc::clone(server.ledger());
        server.shutdown().await;
        assert_eq!(ledger.unaccounted_frames(), 0);
    }
}

/// A push, by name and value.
type Push = (String, Value);

/// Notes the pushes it hears.
#[derive(Clone, Default)]
struct Heard(Arc<(Mutex<Vec<Push>>, Notify)>);

impl Handler for Heard {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let value = match &incoming.body {
            Body::Json(text) => text.parse().unwrap(),
            _ => json!("(nothing)"),
        };
        self.0.0.lock().unwrap().push((incoming.route.to_string(), value));
        self.0.1.notify_one();
        Box::pin(async { Ok(Response::default()) })
    }
}

impl Heard {
    async fn wait_for(&self, count: usize) -> Vec<Push> {
        tokio::time::timeout(LIMIT, async {
            loop {
                if self.0.0.lock().unwrap().len() >= count {
                    return self.0.0.lock().unwrap().clone();
                }
                self.0.1.notified().await;
            }
        })
        .await
        .unwrap()
    }
}

struct End {
    client: Client,
    heard: Heard,
    ends: Arc<Mutex<Vec<Close>>>,
}

/// Notes how connections end.
struct Ends(Arc<Mutex<Vec<Close>>>);

impl Observe for Ends {
    fn connected(&self, _: &Peer) {}

    fn disconnected(&self, _: &Peer, reason: &Close) {
        self.0.lock().unwrap().push(reason.clone());
    }
}

impl End {
    fn dial(port: u16, config: Config, reconnect: Reconnect) -> Self {
        let heard = Heard::default();
        let data = JsonText::new(r#"{"meta":{"tag":"ours"}}"#, &Limits::default().json).unwrap();
        let credentials = Arc::new(Credentials { data: Body::Json(data), ..Credentials::guest() });
        let ends = Arc::<Mutex<Vec<Close>>>::default();
        let observer = Some(Arc::new(Ends(Arc::clone(&ends))) as _);
        let endpoint = Endpoint { reconnect, observer, ..Endpoint::new("stonyx", heard.clone()) };
        let address = format!("127.0.0.1:{port}");
        let client = polywire_stonyx::dial(&address, config, credentials, endpoint).unwrap();
        Self { client, heard, ends }
    }

    /// An end of ours, and the independent server that it dials, which has these flags besides.
    async fn with_server(package: &Path, encryption: bool, more: &[&str]) -> (Process, Self) {
        let sealed = encryption.to_string();
        let flags = [&["--auth-key", KEY, "--encryption", &sealed], more].concat();
        let (server, port) = peer::stonyx_server(package, &flags).await.unwrap();
        (server, Self::dial(port, config(encryption), quickly()))
    }

    async fn call(&self, name: &'static str, data: Value, timeout: Duration) -> Outcome {
        let request = Request::new(Route::from_static(name), Body::json(&data).unwrap());
        self.client.caller().call(request.timeout(timeout)).await
    }

    async fn ask(&self, name: &'static str, data: Value) -> Value {
        match self.call(name, data, LIMIT).await.unwrap().body {
            Body::Json(text) => text.parse().unwrap(),
            other => panic!("{name}: {other:?}"),
        }
    }
}

fn config(encryption: bool) -> Config {
    Config { encryption, heartbeat: Duration::from_millis(40), ..Config::new(KEY) }
}

fn quickly() -> Reconnect {
    Reconnect { first_pause: Duration::from_millis(20), ..Reconnect::default() }
}

#[tokio::test]
async fn our_client_uses_everything_the_independent_server_offers() {
    let name = "our_client_uses_everything_the_independent_server_offers";
    let Some(package) = skip::package(name, &WS) else { return };
    for encryption in [true, false] {
        for push_field in ["response", "data"] {
            let (_server, end) = End::with_server(&package, encryption, &["--push-field", push_field]).await;
            end.client.ready().await.unwrap();
            let odd = json!({"n": 9_007_199_254_740_991_u64, "t": "añ🙂\u{2028}", "deep": [[null, false, {"": 0}]]});
            assert_eq!(end.ask("echo", odd.clone()).await, odd);
            let who = end.ask("whoAmI", json!({})).await;
            assert_eq!((&who["authenticated"], &who["meta"]["tag"]), (&json!(true), &json!("ours")));
            for (kind, value) in [("false", json!(false)), ("zero", json!(0)), ("empty", json!(""))] {
                assert_eq!(end.ask("falsy", json!({"kind": kind})).await, value);
            }
            let pushed = end.ask("pushMe", json!({"value": {"n": 1}, "count": 3})).await;
            assert_eq!(pushed, json!({"pushed": 3}));
            assert_eq!(end.ask("announce", json!("all")).await, json!({"clients": 1}));
            let mine = json!({"key": "tag", "value": "ours", "payload": 7});
            assert_eq!(end.ask("toMeta", mine).await, json!({"delivered": true}));
            let heard = end.heard.wait_for(5).await;
            let push = |name: &str, value| (name.to_owned(), value);
            let one = push("pushed", json!({"n": 1}));
            let expected =
                [one.clone(), one.clone(), one, push("announcement", json!("all")), push("pushed", json!(7))];
            assert_eq!(heard, expected);
            let silent =
                Request::new(Route::from_static("silent"), Body::Empty).timeout(Duration::from_millis(200));
            let error = end.client.caller().call(silent).await.unwrap_err();
            assert_eq!(error.code(), Code::DeadlineExceeded);
            end.client.shutdown().await;
        }
    }
}

/// The values of the independent peers' scenario `tricky`.
const TRICKY: &str = r#"[
    "", "plain", "quote \" backslash \\ slash /", "tab\tnewline\nreturn\r", "\u0000\u0001\u001f\u007f",
    "caf\u00e9", "cafe\u0301", "\u4f60\u597d", "\ud83d\ude00\ud83d\udc68\u200d\ud83d\udc69\u200d\ud83d\udc67",
    "\u2028\u2029", "\ufeffbom", 0, -1, 1.5, 1e21, 1e-7, 9007199254740991, -9007199254740991, true, false,
    [], {}, [null], [[[[]]]], {"a": {"b": [1, "two", null, {"c": false}]}},
    {"": "empty key", "sp ace": 1, "\u00e9": 2}
]"#;

#[tokio::test]
async fn our_client_gets_from_the_independent_server_every_tricky_value_and_each_slow_answer_for_its_own_call()
 {
    let name = "our_client_gets_from_the_independent_server_every_tricky_value_and_each_slow_answer_for_its_own_call";
    let Some(package) = skip::package(name, &WS) else { return };
    for encryption in [true, false] {
        let (_server, end) = End::with_server(&package, encryption, &[]).await;
        let tricky: Vec<Value> = serde_json::from_str(TRICKY).unwrap();
        assert_eq!(tricky.len(), 26);
        for value in tricky {
            assert_eq!(end.ask("echo", value.clone()).await, value);
            let within = json!({"item": value});
            assert_eq!(end.ask("echo", within.clone()).await, within);
        }
        // The server would answer the second first, and bears no mark of whose answer it is.
        let (first, second) = (json!({"n": 1, "ms": 120}), json!({"n": 2, "ms": 1}));
        let answers = tokio::join!(end.ask("slow", first.clone()), end.ask("slow", second.clone()));
        assert_eq!(answers, (first, second));
        end.client.shutdown().await;
    }
}

#[tokio::test]
async fn a_name_that_the_independent_server_does_not_know_is_not_answered_and_costs_no_connection() {
    let name = "a_name_that_the_independent_server_does_not_know_is_not_answered_and_costs_no_connection";
    let Some(package) = skip::package(name, &WS) else { return };
    for encryption in [true, false] {
        let (_server, end) = End::with_server(&package, encryption, &[]).await;
        end.client.ready().await.unwrap();
        let unknown = end.call("noSuchHandler", json!(1), Duration::from_secs(1)).await;
        let error = unknown.unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded);
        assert!(matches!(error, CallError::Unknown(_)), "nobody here can know that it was ignored: {error}");
        assert_eq!(end.ask("echo", json!("after")).await, json!("after"));
        assert_eq!(end.client.ledger().get(Count::Connections), 1);
        end.client.shutdown().await;
    }
}

#[tokio::test]
async fn a_connection_that_the_independent_server_ends_over_a_call_is_told_as_it_ended_and_replaced() {
    let name = "a_connection_that_the_independent_server_ends_over_a_call_is_told_as_it_ended_and_replaced";
    let Some(package) = skip::package(name, &WS) else { return };
    let goodbye = Close::Goodbye { code: 4000, reason: "bye".to_owned() };
    // Cut without a close frame, it ends as the transport notices.
    let ways = [
        ("fail", json!(1), Some(Close::Peer)),
        ("dropMe", json!({}), Some(Close::Peer)),
        ("dropMe", json!({"code": 4000, "reason": "bye"}), Some(goodbye)),
        ("dropMe", json!({"terminate": true}), None),
    ];
    for encryption in [true, false] {
        let (_server, end) = End::with_server(&package, encryption, &[]).await;
        end.client.ready().await.unwrap();
        for (number, (name, data, expected)) in (1..).zip(&ways) {
            let error = end.call(name, data.clone(), LIMIT).await.unwrap_err();
            assert!(matches!(error, CallError::Unknown(_)), "{name} {data}: {error}");
            assert_eq!(error.code(), Code::Unavailable, "{name} {data}: {error}");
            assert_eq!(end.ask("echo", json!(number)).await, json!(number), "on the next connection");
            let ends = end.ends.lock().unwrap().clone();
            assert_eq!(ends.len(), number, "{name} {data}: {ends:?}");
            match expected {
                Some(expected) => assert_eq!(ends[number - 1], *expected, "{name} {data}"),
                None => assert!(matches!(ends[number - 1], Close::Peer | Close::Transport(_)), "{ends:?}"),
            }
        }
        end.client.shutdown().await;
    }
}

/// Pushes to the first peer whose meta matches.
async fn to_meta(audience: Arc<OnceLock<Audience>>, asked: Value) -> Result<Body, Failure> {
    let value = JsonText::from_value(&asked["value"]).unwrap();
    let found = by_meta(audience.get().unwrap().peers(), asked["key"].as_str().unwrap(), &value);
    if let Some(peer) = &found {
        peer.notify(Event::new(Route::from_static("pushed"), Body::json(&asked["payload"]).unwrap())).await?;
    }
    Ok(Body::json(&json!({"delivered": found.is_some()})).unwrap())
}

#[tokio::test]
async fn a_push_by_meta_reaches_the_independent_client_that_has_it_and_nobody_else() {
    let name = "a_push_by_meta_reaches_the_independent_client_that_has_it_and_nobody_else";
    let Some(package) = skip::package(name, &WS) else { return };
    for encryption in [true, false] {
        let audience = Arc::<OnceLock<Audience>>::default();
        let known = Arc::clone(&audience);
        let router = Router::new()
            .handle("toMeta", move |Json(asked): Json<Value>| to_meta(Arc::clone(&known), asked))
            .build()
            .unwrap();
        let endpoint = Endpoint::new("stonyx", router);
        let server = listen("127.0.0.1:0", config(encryption), endpoint).await.unwrap();
        audience.set(server.audience()).unwrap();
        // It came first and has the same member, with another value.
        let ours = End::dial(port(&server), config(encryption), quickly());
        ours.client.ready().await.unwrap();
        let flags = ["--auth-key", KEY, "--scenarios", "meta", "--tag", "theirs"];
        let report = their_client(&package, &server, encryption, &flags).await;
        assert_eq!(report["ok"], true, "{report:#}");
        let payload = json!({"key": "tag", "value": "ours", "payload": "after theirs"});
        assert_eq!(ours.ask("toMeta", payload).await, json!({"delivered": true}));
        assert_eq!(ours.heard.wait_for(1).await, [("pushed".to_owned(), json!("after theirs"))]);
        ours.client.shutdown().await;
        server.shutdown().await;
    }
}

#[tokio::test]
async fn ten_thousand_calls_of_our_client_come_back_each_to_its_own_caller() {
    let name = "ten_thousand_calls_of_our_client_come_back_each_to_its_own_caller";
    let Some(package) = skip::package(name, &WS) else { return };
    let (_server, port) = peer::stonyx_server(&package, &["--auth-key", KEY]).await.unwrap();
    let end = End::dial(port, Config { concurrent_names: true, ..config(true) }, quickly());
    for round in 0..100_u64 {
        let tasks = (0..100).map(|number| {
            let caller = end.client.caller().clone();
            let body = Body::json(&(round * 100 + number)).unwrap();
            tokio::spawn(async move { caller.call(Request::new(Route::from_static("echo"), body)).await })
        });
        let tasks: Vec<_> = tasks.collect();
        for (number, task) in (0..).zip(tasks) {
            let body = task.await.unwrap().unwrap().body;
            assert_eq!(body, Body::json(&(round * 100 + number)).unwrap());
        }
    }
    end.client.shutdown().await;
}

#[tokio::test]
async fn a_server_that_misbehaves_is_survived() {
    let Some(package) = skip::package("a_server_that_misbehaves_is_survived", &WS) else { return };
    // After these the connection still works, and a good push of the server's arrives.
    let lived = [
        "garbage-before-auth",
        "tampered-push",
        "replayed-push",
        "global-key-push",
        "rekey",
        "double-heartbeat",
    ];
    for (fault, encryption) in lived.into_iter().flat_map(|fault| [(fault, true), (fault, false)]) {
        let case = format!("{fault}, encryption {encryption}");
        let (_server, port) = misbehaving(&package, fault, encryption).await;
        let end = End::dial(port, config(encryption), quickly());
        if fault.ends_with("push") || fault == "rekey" {
            // Plain messages bear nothing that tells a second one from the first.
            let count = if fault == "replayed-push" { 2 + usize::from(!encryption) } else { 1 };
            let heard = end.heard.wait_for(count).await;
            assert!(heard.iter().all(|push| push.0 == "pushed"), "{case}: {heard:?}");
            assert_eq!(heard.last().unwrap().1, json!("after fault"), "{case}: {heard:?}");
        }
        assert_eq!(end.ask("echo", json!(fault)).await, json!(fault), "{case}");
        let refused = end.client.ledger().get(Count::Undecodable);
        let harmless = matches!(fault, "rekey" | "double-heartbeat")
            || !encryption && matches!(fault, "replayed-push" | "global-key-push");
        assert_eq!(refused > 0, !harmless, "{case}: {refused} undecodable");
        assert_eq!(end.client.ledger().get(Count::Connections), 1, "{case}");
        end.client.shutdown().await;
    }
    // After these it is another connection.
    for fault in ["mute-heartbeat", "drop-after-auth", "close-4001-after-auth"] {
        for encryption in [true, false] {
            let (_server, port) = misbehaving(&package, fault, encryption).await;
            // Only the first of them has to be found out, and soon.
            let heartbeat_timeout =
                Duration::from_millis(if fault == "mute-heartbeat" { 60 } else { 10_000 });
            let config = Config { heartbeat_timeout, ..config(encryption) };
            let end = End::dial(port, config, quickly());
            assert!(end.heard_gap().await, "{fault}, encryption {encryption}");
            let ends = end.ends.lock().unwrap().clone();
            match (fault, &ends[0]) {
                ("mute-heartbeat", Close::Dead(_))
                | ("drop-after-auth", Close::Peer | Close::Transport(_)) => {}
                ("close-4001-after-auth", Close::Goodbye { code: 4001, reason }) if reason == "go away" => {}
                other => panic!("{other:?}"),
            }
            end.client.shutdown().await;
        }
    }
    // These never let us in.
    for (fault, encryption) in [
        ("no-session-key", true),
        ("short-session-key", true),
        ("auth-false", true),
        ("auth-false", false),
        ("no-auth-answer", true),
        ("no-auth-answer", false),
    ] {
        let (_server, port) = misbehaving(&package, fault, encryption).await;
        never_let_in(port, encryption, fault).await;
    }
}

async fn misbehaving(package: &Path, fault: &str, encryption: bool) -> (Process, u16) {
    let sealed = encryption.to_string();
    let flags = ["--auth-key", KEY, "--fault", fault, "--encryption", &sealed];
    peer::stonyx_server(package, &flags).await.unwrap()
}

async fn never_let_in(port: u16, encryption: bool, why: &str) {
    let end = End::dial(port, config(encryption), Reconnect::never());
    let request = Request::new(Route::from_static("echo"), Body::null()).timeout(Duration::from_secs(12));
    let error = end.client.caller().call(request).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent(_)), "{why}: {error}");
    assert_ne!(end.client.state(), ClientState::Ready, "{why}");
    end.client.shutdown().await;
}

#[tokio::test]
async fn a_login_is_waited_for_and_only_success_is_one() {
    let Some(package) = skip::package("a_login_is_waited_for_and_only_success_is_one", &WS) else { return };
    for encryption in [true, false] {
        let sealed = encryption.to_string();
        let shared = ["--auth-key", KEY, "--encryption", &sealed];
        let (_server, end) = End::with_server(&package, encryption, &["--auth-delay-ms", "300"]).await;
        assert_eq!(end.ask("echo", json!("held")).await, json!("held"));
        assert_eq!(end.client.ledger().get(Count::Connections), 1);
        end.client.shutdown().await;
        let object = [&shared[..], &["--auth-mode", "object"]].concat();
        let (_server, port) = peer::stonyx_server(&package, &object).await.unwrap();
        never_let_in(port, encryption, "answered with an object").await;
    }
}

#[tokio::test]
async fn after_a_restart_of_the_server_our_client_logs_in_again_and_calls() {
    let name = "after_a_restart_of_the_server_our_client_logs_in_again_and_calls";
    let Some(package) = skip::package(name, &WS) else { return };
    for encryption in [true, false] {
        let sealed = encryption.to_string();
        let shared = ["--auth-key", KEY, "--encryption", &sealed];
        let (server, port) = peer::stonyx_server(&package, &shared).await.unwrap();
        let end = End::dial(port, config(encryption), quickly());
        assert_eq!(end.ask("echo", json!(1)).await, json!(1));
        // Killed: nobody says goodbye.
        drop(server);
        let port = port.to_string();
        let again = [&shared[..], &["--port", &port]].concat();
        let (_server, _) = peer::stonyx_server(&package, &again).await.unwrap();
        assert!(end.heard_gap().await);
        let who = end.ask("whoAmI", json!({})).await;
        assert_eq!((&who["authenticated"], &who["meta"]["tag"]), (&json!(true), &json!("ours")));
        end.client.shutdown().await;
    }
}

/// File names of the original are kebab-case, names on the wire camelCase.
#[tokio::test]
async fn kebab_routes_are_camel_case_for_the_independent_peers() {
    let Some(package) = skip::package("kebab_routes_are_camel_case_for_the_independent_peers", &WS) else {
        return;
    };
    let (_server, port) = peer::stonyx_server(&package, &["--auth-key", KEY]).await.unwrap();
    let end = End::dial(port, Config { kebab_routes: true, ..config(true) }, quickly());
    assert_eq!(end.ask("who-am-i", json!({})).await["authenticated"], json!(true));
    let push = json!({"request": "newScore", "value": 3});
    assert_eq!(end.ask("push-me", push).await, json!({"pushed": 1}));
    assert_eq!(end.heard.wait_for(1).await, [("new-score".to_owned(), json!(3))]);
    end.client.shutdown().await;
}

/// Pushes `new-score`, and `pushed` as often as is asked.
async fn push_me(peer: Peer, asked: Value) -> Result<Json<Value>, Failure> {
    let count = asked["count"].as_u64().unwrap();
    let push = |name| Event::new(Route::from_static(name), Body::json(&asked["value"]).unwrap());
    peer.notify(push("new-score")).await?;
    for _ in 0..count {
        peer.notify(push("pushed")).await?;
    }
    Ok(Json(json!({ "pushed": count })))
}

#[tokio::test]
async fn kebab_routes_of_our_server_are_camel_case_for_those_who_dial() {
    let name = "kebab_routes_of_our_server_are_camel_case_for_those_who_dial";
    let Some(package) = skip::package(name, &WS) else { return };
    for encryption in [true, false] {
        let router = Router::new()
            .handle("who-am-i", |peer: Peer| async move {
                Json(json!({ "id": peer.id(), "authenticated": true }))
            })
            .handle("push-me", |peer: Peer, Json(asked): Json<Value>| push_me(peer, asked))
            .build()
            .unwrap();
        let config = || config(encryption);
        let endpoint = Endpoint::new("stonyx", router);
        let kebab = Config { kebab_routes: true, ..config() };
        let server = listen("127.0.0.1:0", kebab, endpoint).await.unwrap();
        let flags = ["--auth-key", KEY, "--scenarios", "whoami,push"];
        let report = their_client(&package, &server, encryption, &flags).await;
        assert_eq!(report["ok"], true, "{report:#}");
        // One that does not translate hears the names as they stand on the wire.
        let end = End::dial(port(&server), config(), quickly());
        let asked = json!({ "value": 3, "count": 0 });
        assert_eq!(end.ask("pushMe", asked).await, json!({ "pushed": 0 }));
        assert_eq!(end.heard.wait_for(1).await, [("newScore".to_owned(), json!(3))]);
        end.client.shutdown().await;
        server.shutdown().await;
    }
}

/// The independent client, logged in at our server and driven by commands.
async fn driven(package: &Path, server: &Server, encryption: bool) -> Driver {
    peer::beside_modules("stonyx", package);
    let mut client = Driver::start("ends_stonyx.mjs", package).unwrap();
    let how = json!({ "port": port(server), "secret": KEY, "encryption": encryption });
    client.run("connect", how).await.unwrap();
    client
}

/// The answer to a call of the driven client; an answer of any other name would be no answer to it.
async fn call(client: &mut Driver, name: &str, data: Value) -> Value {
    client.run("call", json!({ "name": name, "data": data })).await.unwrap()
}

#[tokio::test]
async fn kebab_routes_of_our_server_answer_nothing_and_failures_under_the_name_on_the_wire() {
    let name = "kebab_routes_of_our_server_answer_nothing_and_failures_under_the_name_on_the_wire";
    let Some(package) = skip::package(name, &WS) else { return };
    for encryption in [true, false] {
        for on_failure in [OnFailure::Answer, OnFailure::Close] {
            let router = Router::new()
                .handle("say-null", |_: Body| async { Response::from(Body::null()) })
                .handle("say-nothing", |_: Body| async { Response::default() })
                .handle("fail-now", |_: Body| async {
                    Err::<Response, _>(Failure::new(Code::NotFound, "as it was asked"))
                })
                .build()
                .unwrap();
            let empty_reply = Some(JsonText::new("null", &Limits::default().json).unwrap());
            let kebab = Config { kebab_routes: true, empty_reply, on_failure, ..config(encryption) };
            let server = listen("127.0.0.1:0", kebab, Endpoint::new("stonyx", router)).await.unwrap();
            let mut client = driven(&package, &server, encryption).await;
            assert_eq!(call(&mut client, "sayNull", json!(1)).await, Value::Null);
            assert_eq!(call(&mut client, "sayNothing", json!(1)).await, Value::Null);
            let failed = client.ask("call", json!({ "name": "failNow", "data": 1 })).await.unwrap();
            match on_failure {
                OnFailure::Answer => {
                    let failure = json!({ "code": "not_found", "message": "as it was asked" });
                    assert_eq!(failed.unwrap(), json!({ "error": failure }));
                }
                OnFailure::Close => {
                    let closed = client.event(|event| event["event"] == "closed", LIMIT).await.unwrap();
                    assert_eq!((&closed["code"], &closed["reason"]), (&json!(1005), &json!("")));
                    assert!(failed.is_err(), "{failed:?}");
                }
            }
            // Nothing came under a name that it did not ask for.
            assert_eq!(client.waiting_events().count(), 0);
            client.finish().await.unwrap();
            server.shutdown().await;
        }
    }
}

/// Null is answered where the library is silent: see `stonyx_unusual.json`, `echo-null`.
#[tokio::test]
async fn null_ends_a_call_of_the_independent_client_and_does_it_no_harm_where_it_did_not_ask() {
    let name = "null_ends_a_call_of_the_independent_client_and_does_it_no_harm_where_it_did_not_ask";
    let Some(package) = skip::package(name, &WS) else { return };
    for encryption in [true, false] {
        let server = serve(encryption).await;
        let mut client = driven(&package, &server, encryption).await;
        for known in ["echo", "noSuchHandler"] {
            let event = Event::new(Route::from_static(known), Body::null());
            server.audience().peers()[0].notify(event).await.unwrap();
            let heard = client.event(|event| event["event"] == "heard", LIMIT).await.unwrap();
            assert_eq!((&heard["name"], &heard["data"]), (&json!(known), &Value::Null));
        }
        assert_eq!(call(&mut client, "echo", Value::Null).await, Value::Null);
        assert_eq!(call(&mut client, "echo", json!("after")).await, json!("after"));
        assert_eq!(client.waiting_events().count(), 0, "it was not closed, and heard nothing else");
        client.finish().await.unwrap();
        // A client of ours: no answer would have it wait to its deadline.
        let ours = End::dial(port(&server), config(encryption), quickly());
        assert_eq!(ours.ask("echo", Value::Null).await, Value::Null);
        ours.client.shutdown().await;
        server.shutdown().await;
    }
}

impl End {
    /// Did it connect a second time, and say so?
    async fn heard_gap(&self) -> bool {
        self.heard.wait_for(1).await.iter().any(|(route, _)| route == "polywire.gap")
    }
}

#[tokio::test]
async fn a_wrong_key_is_refused_by_the_independent_server_and_told() {
    let Some(package) = skip::package("a_wrong_key_is_refused_by_the_independent_server_and_told", &WS)
    else {
        return;
    };
    let (_server, port) = peer::stonyx_server(&package, &["--auth-key", "another key"]).await.unwrap();
    let end = End::dial(port, config(true), Reconnect::never());
    let event = Event::new(Route::from_static("echo"), Body::null());
    end.client.caller().notify(event).await.unwrap();
    assert!(end.client.ready().await.is_err());
    end.client.shutdown().await;
}
