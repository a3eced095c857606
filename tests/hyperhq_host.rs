//! Our host, and plugins on npm `socket.io-client` that it launches.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../examples/hyperhq_host.rs"]
#[allow(dead_code, reason = "its `main` is a program's")]
mod example;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use polywire_core::{
    Body, CallError, Code, Count, Endpoint, Event, JsonText, Ledger, Limits, Peer, Request, Response, Route,
    Surroundings,
};
use polywire_hyperhq::{
    Farewell, FileEncoding, Host, HostConfig, HostSession, Launch, Line, Plugins, Process, Reauth,
};
use polywire_socketio::ServerConfig;
use polywire_tests::install::{PYTHON_SOCKETIO, SOCKET_IO_CLIENT};
use polywire_tests::plugin_folder::plugin_folder;
use polywire_tests::{peer, skip};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);
const ID: &str = "peer-plugin";

/// A host, the folder of its plugin, and the plugin's program.
struct Stage {
    host: Host,
    folder: PathBuf,
    program: Vec<String>,
    ledger: Arc<Ledger>,
}

/// The plugin on npm `socket.io-client`.
fn node(package: &Path) -> Vec<String> {
    vec!["node".to_owned(), peer::hyperhq_plugin(package).display().to_string()]
}

/// The plugin on PyPI `python-socketio`.
fn python(package: &Path) -> Vec<String> {
    let path = format!("PYTHONPATH={}", package.display());
    let program = polywire_tests::place::tests().join("peers/hyperhq/plugin.py").display().to_string();
    vec!["env".to_owned(), path, "PYTHONDONTWRITEBYTECODE=1".to_owned(), "python3".to_owned(), program]
}

impl Stage {
    async fn new(name: &str, program: Vec<String>, config: HostConfig) -> Self {
        let endpoint = Endpoint::new("hyperhq", polywire_cli::service::hyperhq::routes().build().unwrap());
        let ledger = Arc::clone(&endpoint.ledger);
        let host = Host::listen(HostConfig { port: Some(0), ..config }, endpoint).await.unwrap();
        let folder = plugin_folder(&format!("host-{name}")).unwrap();
        host.serve_files(ID, &folder.join("plugin")).unwrap();
        Self { host, folder, program, ledger }
    }

    fn launch(&self, arguments: &[&str]) -> Process {
        let mut words = self.program.clone();
        words.extend(arguments.iter().map(ToString::to_string));
        let mut launch = Launch::new(words.remove(0), ID, self.host.port());
        launch.arguments = words;
        self.host.launch(&launch).unwrap()
    }

    /// The plugin, once it is logged in.
    async fn plugin(&self) -> Peer {
        until("it logs in", || self.host.plugin(ID)).await
    }

    /// What a plugin says of one scenario that it runs by itself.
    async fn runs(&self, arguments: &[&str]) -> Value {
        report(self.launch(arguments)).await
    }

    async fn end(self) {
        // It has ended, over polling perhaps without a word, and would be asked for its `shutdown` in vain.
        self.host.forget(ID);
        self.host.shutdown().await;
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

/// Looks again and again; in between, the machine belongs to the plugin.
async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("{what} in time"))
}

/// The one line that a plugin prints, when it ends.
async fn report(mut process: Process) -> Value {
    let read = async {
        let mut last = Value::Null;
        while let Some(line) = process.line().await {
            match line {
                Line::Output(text) => last = serde_json::from_str(&text).unwrap_or(last),
                Line::Error(text) => eprintln!("plugin: {text}"),
            }
        }
        last
    };
    tokio::time::timeout(LIMIT, read).await.expect("it ends")
}

async fn ask(plugin: &Peer, method: &'static str, data: &Value) -> Result<Value, String> {
    let body = Body::Json(JsonText::from_value(data).unwrap());
    match plugin.call(Request::new(Route::from_static(method), body)).await {
        Ok(Response { body: Body::Json(text), .. }) => Ok(text.parse().unwrap()),
        Ok(other) => Ok(json!(format!("{other:?}"))),
        Err(error) => Err(error.to_string()),
    }
}

/// What plugins in both languages run by themselves.
fn scenarios() -> Vec<(&'static [&'static str], HostConfig)> {
    vec![
        (&["--scenario", "auth"], HostConfig::default()),
        (&["--scenario", "auth", "--namespace", "/plugin"], HostConfig::default()),
        (&["--scenario", "data", "--count", "500", "--inflight", "16"], HostConfig::default()),
        (
            &["--scenario", "data", "--alias"],
            HostConfig { require_data_token: true, ..HostConfig::default() },
        ),
        (&["--scenario", "data", "--omit-data-token"], HostConfig::default()),
        (&["--scenario", "file"], HostConfig::default()),
        (
            &["--scenario", "file"],
            HostConfig { file_encoding: FileEncoding::Binary, ..HostConfig::default() },
        ),
        (&["--scenario", "wrong-token"], HostConfig::default()),
        (&["--scenario", "no-auth"], HostConfig::default()),
        (&["--scenario", "bad-challenge"], HostConfig::default()),
        (&["--scenario", "reuse-challenge"], HostConfig::default()),
        (&["--scenario", "reconnect", "--reauth", "token", "--count", "3"], HostConfig::default()),
        (&["--scenario", "reconnect", "--reauth", "challenge", "--count", "2"], HostConfig::default()),
        (
            &["--scenario", "reconnect", "--reauth", "token-then-challenge", "--count", "2"],
            HostConfig { reauth: Reauth::Challenge, ..HostConfig::default() },
        ),
        (
            &["--scenario", "reconnect", "--expect", "reject", "--count", "1"],
            HostConfig { reauth: Reauth::None, ..HostConfig::default() },
        ),
        (
            // Whoever says nothing for as long as a challenge lives is sent away.
            &["--scenario", "expired-challenge", "--expect", "closed"],
            HostConfig { challenge_life: Duration::from_secs(2), ..HostConfig::default() },
        ),
    ]
}

/// What the plugin in Node.js runs besides.
fn node_scenarios() -> Vec<(&'static [&'static str], HostConfig)> {
    vec![
        (&["--scenario", "wrong-plugin-id"], HostConfig::default()),
        (&["--scenario", "malformed-auth"], HostConfig::default()),
        (&["--scenario", "sdk-opening"], HostConfig::default()),
        (&["--scenario", "thumbnails"], HostConfig::default()),
        (&["--scenario", "legacy"], HostConfig::default()),
    ]
}

async fn hold(name: &str, program: Vec<String>, transports: &str, rows: Vec<(&[&str], HostConfig)>) {
    for (arguments, config) in rows {
        let stage = Stage::new(name, program.clone(), config).await;
        let report = stage.runs(&[arguments, &["--transports", transports]].concat()).await;
        assert_eq!(report["ok"], true, "{arguments:?} over {transports}: {report:#}");
        stage.end().await;
    }
}

#[tokio::test]
async fn every_scenario_that_a_node_plugin_runs_by_itself_holds() {
    let name = "every_scenario_that_a_node_plugin_runs_by_itself_holds";
    let Some(package) = skip::package(name, &SOCKET_IO_CLIENT) else { return };
    for transports in ["websocket", "polling", "polling,websocket"] {
        hold("node", node(&package), transports, scenarios()).await;
    }
    let mut rows = node_scenarios();
    hold("node", node(&package), "websocket", rows.clone()).await;
    // The C# helper has nothing but a WebSocket.
    rows.retain(|(arguments, _)| !arguments.contains(&"sdk-opening"));
    hold("node", node(&package), "polling", rows).await;
}

#[tokio::test]
async fn every_scenario_that_a_python_plugin_runs_by_itself_holds() {
    let name = "every_scenario_that_a_python_plugin_runs_by_itself_holds";
    let Some(package) = skip::package(name, &PYTHON_SOCKETIO) else { return };
    for transports in ["websocket", "polling,websocket"] {
        hold("python", python(&package), transports, scenarios()).await;
    }
    let mut rows = scenarios();
    rows.retain(|(arguments, _)| !comes_back_by_its_challenge(arguments));
    hold("python", python(&package), "polling", rows).await;
}

/// Over polling the plugin in Python drops its requests without a word, so the host learns of it by the heartbeat; until then
/// the challenge is in use.
fn comes_back_by_its_challenge(arguments: &[&str]) -> bool {
    arguments.windows(2).any(|pair| matches!(pair, ["--reauth", "challenge" | "token-then-challenge"]))
}

/// Those scenarios hold when it stays away for so long that the heartbeat has told the host before.
#[tokio::test]
async fn a_python_plugin_that_polls_comes_back_by_its_challenge_once_the_heartbeat_has_missed_it() {
    let name = "a_python_plugin_that_polls_comes_back_by_its_challenge_once_the_heartbeat_has_missed_it";
    let Some(package) = skip::package(name, &PYTHON_SOCKETIO) else { return };
    let rows: Vec<_> =
        scenarios().into_iter().filter(|(arguments, _)| comes_back_by_its_challenge(arguments)).collect();
    assert_eq!(rows.len(), 2);
    for (arguments, config) in rows {
        let report = comes_back(python(&package), arguments, config).await;
        assert_eq!(report["ok"], true, "{arguments:?}: {report:#}");
    }
}

/// What a plugin says that stays away longer than its host's heartbeat takes to miss it.
async fn comes_back(program: Vec<String>, arguments: &[&str], config: HostConfig) -> Value {
    let heartbeats = ServerConfig {
        ping_interval: Duration::from_millis(500),
        // The plugin has to answer in time while it is there.
        ping_timeout: Duration::from_secs(3),
        ..ServerConfig::default()
    };
    let endpoint = Endpoint::new("hyperhq", polywire_cli::service::hyperhq::routes().build().unwrap());
    let Surroundings { clock, random, .. } = endpoint.surroundings.clone();
    let config = Arc::new(config);
    let plugins = Arc::new(Plugins::new(&config, Arc::clone(&clock)));
    let known = Arc::clone(&plugins);
    let session = move |_: &_| HostSession::new(Arc::clone(&config), Arc::clone(&known), 0);
    let server = polywire_socketio::listen_with("127.0.0.1:0", heartbeats, endpoint, session).await.unwrap();
    let (_, port) = server.address().rsplit_once(':').unwrap();
    let mut words = program;
    let mut launch = Launch::new(words.remove(0), ID, port.parse().unwrap());
    // It comes up to a tenth earlier.
    let away = ["--count", "1", "--reconnect-after-ms", "6000", "--transports", "polling"];
    words.extend(arguments.iter().chain(&away).map(ToString::to_string));
    launch.arguments = words;
    let challenge = plugins.launch(ID, clock.now(), &*random).unwrap();
    report(launch.start(&challenge).unwrap()).await
}

/// Tells the plugin that has subscribed, until it has heard enough and ends.
async fn hears_events(name: &str, program: Vec<String>, transports: &str) {
    let stage = Stage::new(name, program, HostConfig::default()).await;
    let process = stage.launch(&["--scenario", "events", "--count", "300", "--transports", transports]);
    stage.plugin().await;
    let telling = async {
        for number in 0_u64.. {
            let body = Body::json(&json!({ "gameId": format!("game-{number}") })).unwrap();
            for event in ["gameLaunched", "nobodyWantsThis"] {
                stage.host.broadcast(&Event::new(Route::new(event).unwrap(), body.clone()));
            }
            tokio::task::yield_now().await;
        }
    };
    let report = tokio::select! {
        report = report(process) => report,
        () = telling => unreachable!("it has no end"),
    };
    assert_eq!(report["ok"], true, "{transports}: {report:#}");
    stage.end().await;
}

#[tokio::test]
async fn events_reach_a_plugin_that_has_subscribed() {
    let name = "events_reach_a_plugin_that_has_subscribed";
    let Some(package) = skip::package(name, &SOCKET_IO_CLIENT) else { return };
    for transports in ["websocket", "polling", "polling,websocket"] {
        hears_events("events", node(&package), transports).await;
    }
    let Some(package) = skip::package(name, &PYTHON_SOCKETIO) else { return };
    for transports in ["websocket", "polling", "polling,websocket"] {
        hears_events("events", python(&package), transports).await;
    }
}

/// The plugins there are, in both languages.
fn programs(name: &str) -> Vec<Vec<String>> {
    let node = skip::package(name, &SOCKET_IO_CLIENT).map(|package| node(&package));
    let python = skip::package(name, &PYTHON_SOCKETIO).map(|package| python(&package));
    node.into_iter().chain(python).collect()
}

async fn ask_within(plugin: &Peer, data: &Value, limit: Duration) -> Result<Value, CallError> {
    let body = Body::Json(JsonText::from_value(data).unwrap());
    let request = Request::new(Route::from_static("execute"), body).timeout(limit);
    match plugin.call(request).await?.body {
        Body::Json(text) => Ok(text.parse().unwrap()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn status_updates_keep_a_request_alive_up_to_progress_timeout_and_silence_ends_it() {
    let name = "status_updates_keep_a_request_alive_up_to_progress_timeout_and_silence_ends_it";
    for program in programs(name) {
        tokio::join!(
            keeps_its_requests_alive(program.clone(), "websocket"),
            keeps_its_requests_alive(program, "polling")
        );
    }
}

async fn keeps_its_requests_alive(program: Vec<String>, transports: &str) {
    let (limit, cap) = (Duration::from_secs(2), Duration::from_secs(6));
    let config = HostConfig::default();
    let limits = Limits { progress_timeout: cap, ..config.limits };
    let stage = Stage::new(&format!("alive-{transports}"), program, HostConfig { limits, ..config }).await;
    let process = stage.launch(&["--scenario", "serve", "--transports", transports]);
    let plugin = stage.plugin().await;
    let slow = |ms: u64| json!({ "action": "slow", "workMs": ms, "everyMs": 100 });
    // Longer than its timeout, and told all the while.
    let began = std::time::Instant::now();
    assert_eq!(ask_within(&plugin, &slow(4_000), limit).await.unwrap(), json!({ "success": true }));
    assert!(began.elapsed() >= Duration::from_secs(4));
    // Longer than status updates may keep it.
    let began = std::time::Instant::now();
    let error = ask_within(&plugin, &slow(20_000), limit).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(matches!(error, CallError::Unknown(_)), "it was sent: {error}");
    assert!((cap..cap * 3).contains(&began.elapsed()), "{:?}", began.elapsed());
    stage.host.forget(ID);
    drop(process);
    let process = stage.launch(&["--scenario", "serve", "--transports", transports]);
    let plugin = stage.plugin().await;
    // A word said too late is nobody's.
    let silent = json!({ "action": "silent", "answerAfterMs": 3_000 });
    let error = ask_within(&plugin, &silent, limit).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    let counted = || (stage.ledger.get(Count::OrphanReply) > 0).then_some(());
    until("the late answer is counted", counted).await;
    let echo = json!({ "action": "echo", "n": 1 });
    assert_eq!(ask_within(&plugin, &echo, LIMIT).await.unwrap(), echo);
    assert_eq!(ask(&plugin, "shutdown", &json!({})).await, Ok(json!("ok")));
    assert_eq!(report(process).await["ok"], true);
    stage.end().await;
}

#[tokio::test]
async fn a_launched_plugin_is_driven_from_its_first_request_to_its_last() {
    for program in programs("a_launched_plugin_is_driven_from_its_first_request_to_its_last") {
        for transports in ["websocket", "polling"] {
            is_driven(program.clone(), transports).await;
        }
    }
}

async fn is_driven(program: Vec<String>, transports: &str) {
    let stage = Stage::new("lifecycle", program, HostConfig::default()).await;
    let events = ["--scenario", "serve", "--events", "gameLaunched", "--transports", transports];
    let process = stage.launch(&events);
    let plugin = stage.plugin().await;
    assert_eq!(
        ask(&plugin, "initialize", &json!({ "settings": {}, "pluginData": {} })).await,
        Ok(json!("initialized"))
    );
    assert_eq!(ask(&plugin, "test", &json!({})).await, Ok(json!(true)));
    for number in 0..50 {
        let data = json!({ "action": "echo", "n": number });
        assert_eq!(ask(&plugin, "execute", &data).await, Ok(data));
    }
    let unknown = ask(&plugin, "execute", &json!({ "action": "nope" })).await.unwrap_err();
    assert!(unknown.contains("Unknown action"), "{unknown}");
    // It has subscribed by now: it did so before it answered.
    for number in 0..500 {
        let game = json!({ "gameId": format!("game-{number}") });
        let body = Body::Json(JsonText::from_value(&game).unwrap());
        stage.host.broadcast(&Event::new(Route::from_static("gameLaunched"), body.clone()));
        stage.host.broadcast(&Event::new(Route::from_static("nobodyWantsThis"), body));
        if number % 100 == 99 {
            ask(&plugin, "test", &json!({})).await.unwrap();
        }
    }
    let heard = ask(&plugin, "execute", &json!({ "action": "event_count" })).await;
    assert_eq!(heard, Ok(json!({ "events": 500, "inOrder": true })));
    assert_eq!(ask(&plugin, "shutdown", &json!({})).await, Ok(json!("ok")));
    let report = report(process).await;
    assert_eq!(report["ok"], true, "{report:#}");
    stage.end().await;
}

/// The plugin in Node.js that has this flaw.
fn flawed(package: &Path, flaw: &str) -> Vec<String> {
    let program = polywire_tests::place::tests().join("drivers/flawed_plugin.mjs").display().to_string();
    vec!["node".to_owned(), program, package.display().to_string(), flaw.to_owned()]
}

/// As the guide's sample in JavaScript: its `initialize` connects a second time, with the challenge that was used, and answers there.
#[tokio::test]
async fn a_plugin_that_connects_anew_and_answers_there_is_heard_where_its_challenge_may_be_shown_again() {
    let name =
        "a_plugin_that_connects_anew_and_answers_there_is_heard_where_its_challenge_may_be_shown_again";
    let Some(package) = skip::package(name, &SOCKET_IO_CLIENT) else { return };
    let config = HostConfig { challenge_reuse_within_life: true, ..HostConfig::default() };
    let stage = Stage::new("again", flawed(&package, "again"), config).await;
    let mut process = stage.launch(&[]);
    let first = stage.plugin().await;
    assert_eq!(ask(&first, "initialize", &json!({})).await, Ok(json!("initialized")));
    let ended = || first.caller().unwrap().has_ended().then_some(());
    until("the connection that it has left is closed", ended).await;
    let second = stage.plugin().await;
    assert_ne!(first.id(), second.id());
    assert_eq!(ask(&second, "test", &json!({})).await, Ok(json!(true)));
    assert_eq!(stage.ledger.get(Count::OrphanReply), 0);
    assert_eq!(ask(&second, "shutdown", &json!({})).await, Ok(json!("ok")));
    assert_eq!(process.end(LIMIT).await.unwrap(), Some(0));
    stage.end().await;
}

#[tokio::test]
async fn a_plugin_is_ended_whether_it_answers_its_shutdown_leaves_without_a_word_or_hangs() {
    let name = "a_plugin_is_ended_whether_it_answers_its_shutdown_leaves_without_a_word_or_hangs";
    let Some(package) = skip::package(name, &SOCKET_IO_CLIENT) else { return };
    let answered = Farewell::Answered(Body::json(&"ok").unwrap());
    let short = Duration::from_millis(300);
    for (flaw, grace, farewell, code) in [
        ("none", LIMIT, answered, Some(0)),
        ("leaves", LIMIT, Farewell::Left, Some(0)),
        ("hangs", short, Farewell::Silent, None),
    ] {
        let stage = Stage::new("ends", flawed(&package, flaw), HostConfig::default()).await;
        let mut process = stage.launch(&[]);
        stage.plugin().await;
        let ended = stage.host.end(&mut process, ID, grace);
        let ended = tokio::time::timeout(LIMIT, ended).await.expect("it has an end").unwrap();
        assert_eq!(ended, (farewell, code), "{flaw}");
        assert!(stage.host.plugin(ID).is_none(), "{flaw}");
        // Who is gone cannot be asked.
        let again = stage.host.end(&mut process, ID, grace).await.unwrap();
        assert_eq!(again, (Farewell::Absent, code), "{flaw}");
        stage.end().await;
    }
}

#[tokio::test]
async fn a_host_that_stops_ends_its_plugins_whether_they_answer_leave_without_a_word_or_hang() {
    let name = "a_host_that_stops_ends_its_plugins_whether_they_answer_leave_without_a_word_or_hang";
    let Some(package) = skip::package(name, &SOCKET_IO_CLIENT) else { return };
    let routes = polywire_cli::service::hyperhq::routes().build().unwrap();
    let mut config = HostConfig { port: Some(0), ..HostConfig::default() };
    config.limits.drain_timeout = Duration::from_secs(2);
    let host = Host::listen(config, Endpoint::new("hyperhq", routes)).await.unwrap();
    let short = Duration::from_millis(300);
    let mut processes = Vec::new();
    for (flaw, grace, code) in [("none", LIMIT, Some(0)), ("leaves", LIMIT, Some(0)), ("hangs", short, None)]
    {
        let mut words = flawed(&package, flaw);
        let mut launch = Launch::new(words.remove(0), flaw, host.port());
        launch.arguments = words;
        processes.push((host.launch(&launch).unwrap(), flaw, grace, code));
        until("it logs in", || host.plugin(flaw)).await;
    }
    tokio::time::timeout(LIMIT, host.shutdown()).await.expect("it has an end");
    for (mut process, flaw, grace, code) in processes {
        // Who was not told dials again, for ever.
        assert_eq!(process.end(grace).await.unwrap(), code, "{flaw}");
    }
}

#[tokio::test]
async fn the_example_launches_a_plugin_and_drives_it() {
    let run = example::run(env!("CARGO_BIN_EXE_plugin-under-test"));
    let (answers, farewell) = tokio::time::timeout(LIMIT, run).await.expect("it ends").unwrap();
    let said: Vec<Value> = answers
        .iter()
        .map(|body| match body {
            Body::Json(text) => text.parse().unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(said, [json!("initialized"), json!(true), json!({ "success": true })]);
    assert_eq!(farewell, Farewell::Answered(Body::json(&"ok").unwrap()));
}
