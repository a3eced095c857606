//! Goals for processes that are ended: a server with a kill, the bridge with a drain. `cargo xtask soak goals` does so a hundred times.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use polywire_conformance::Relay;
use polywire_conformance::child::control::{MODE_VARIABLE, SECRET_VARIABLE};
use polywire_core::{
    Body, CallError, Client, ClientState, Code, Endpoint, Handler, HandlerFuture, Incoming, JsonText, Limits,
    Outcome, Reconnect, Request, Response, Route, Router, Secret, Target,
};
use polywire_size::{Progress, is_full, size};
use polywire_sockhop::{Config, dial, listen};
use polywire_tests::process::Process;
use polywire_tests::scratch::scratch;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// How long anything may take that a test waits for and that no goal bounds.
const LIMIT: Duration = Duration::from_secs(60);
/// A secret of these tests alone.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// How much later than asked something may be: 250 ms, and in a small run what a busy machine makes of it.
fn late() -> Duration {
    Duration::from_millis(if is_full() { 250 } else { 1_250 })
}

fn object(text: String) -> Body {
    Body::Json(JsonText::from_validated(text.into()))
}

/// A server of a wire as a program, and the port where it listens.
async fn start(wire: &str) -> (Process, u16) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conform-under-test"));
    command.arg(wire).env(MODE_VARIABLE, "server").env(SECRET_VARIABLE, SECRET);
    let mut process = Process::start(wire, command).unwrap();
    let hello = process.wait_for_json(|line| line["hello"].is_u64(), LIMIT).await.unwrap();
    let target = hello["target"].as_str().unwrap();
    let address = target.split("://").nth(1).unwrap().split('?').next().unwrap();
    (process, address.rsplit(':').next().unwrap().parse().unwrap())
}

/// Who wants a server back within 5 s says how long a pause may be: a server that is killed again and again is one that flaps, and is
/// dialled more and more rarely, by default every 30 s.
const PAUSE: Duration = Duration::from_secs(3);

async fn connect(wire: &str, port: u16) -> Client {
    let mut target = Target { address: format!("127.0.0.1:{port}"), ..Target::default() };
    match wire {
        "hpx" => {
            target.user = Some("tester".to_owned());
            target.options.set_secret("password", Secret::from(SECRET));
        }
        "stonyx" => target.options.set_secret("key", Secret::from(SECRET)),
        "hyperhq" => {
            target.options.set_secret("challenge", Secret::from(SECRET));
            target.options.set("plugin", "demo");
        }
        _ => {}
    }
    if matches!(wire, "stonyx" | "socketio") {
        target.options.set("errors_in_reply", "1");
    }
    let nothing = Router::new().build().unwrap();
    let endpoint = Endpoint {
        reconnect: Reconnect { max_pause: PAUSE, ..Reconnect::default() },
        ..Endpoint::new("goal", nothing)
    };
    polywire_cli::adapters().get(wire).unwrap().dial(target, endpoint).await.unwrap()
}

/// Waits until the client stands so.
async fn stands(client: &Client, so: impl FnMut(&ClientState) -> bool) {
    drop(timeout(LIMIT, client.watch().wait_for(so)).await.expect("in time").expect("it lives"));
}

async fn ran(client: &Client, key: &str) -> u64 {
    let request = Request::new(Route::from_static("ran"), object(format!("{{\"key\":\"{key}\"}}")));
    let response = client.caller().call(request.timeout(LIMIT)).await.unwrap();
    let Body::Json(text) = response.body else { panic!("it tells a count") };
    text.parse::<serde_json::Value>().unwrap()["ran"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g03_b06_a_server_that_is_killed_with_200_calls_in_flight_runs_none_twice_and_each_has_its_end() {
    const DEADLINE: Duration = Duration::from_secs(3);
    let kills = size(1, 100);
    for wire in ["sockhop", "hpx", "stonyx", "socketio", "hyperhq"] {
        let (mut process, port) = start(wire).await;
        let relay = Relay::start(format!("127.0.0.1:{port}"), 0).await.unwrap();
        let client = connect(wire, relay.address().port()).await;
        let (mut answered, mut unknown, mut unsent) = (0_u64, 0_u64, 0_u64);
        let (mut slowest, mut latest) = (Duration::ZERO, Duration::ZERO);
        let mut progress = Progress::new(&format!("g03: kills of {wire}"), kills);
        for kill in 0..kills {
            let mut calls = JoinSet::new();
            for number in 0..200 {
                let (caller, key) = (client.caller().clone(), format!("{kill}-{number}"));
                let body = object(format!("{{\"ms\":{},\"key\":\"{key}\"}}", number % 60));
                calls.spawn(async move {
                    let since = Instant::now();
                    let request = Request::new(Route::from_static("sleep"), body).timeout(DEADLINE);
                    (key, caller.call(request).await, since.elapsed())
                });
            }
            let mut ends = vec![calls.join_next().await.unwrap().unwrap()];
            process.kill().await;
            stands(&client, |state| *state != ClientState::Ready).await;
            let port;
            (process, port) = start(wire).await;
            relay.redirect(format!("127.0.0.1:{port}"));
            let there = Instant::now();
            stands(&client, |state| *state == ClientState::Ready).await;
            slowest = slowest.max(there.elapsed());
            while let Some(end) = calls.join_next().await {
                ends.push(end.unwrap());
            }
            assert_eq!(ends.len(), 200);
            for (key, end, took) in ends {
                latest = latest.max(took.saturating_sub(DEADLINE));
                match end {
                    Ok(_) => answered += 1,
                    Err(CallError::NotSent(_)) => unsent += 1,
                    Err(CallError::Unknown(failure)) => {
                        unknown += 1;
                        // One that was lost with the server that is dead was handed to no other; one that came late ran there once.
                        let most = u64::from(failure.code == Code::DeadlineExceeded);
                        assert!(ran(&client, &key).await <= most, "{wire}: {key}: {failure}");
                    }
                    Err(error) => panic!("{wire}: {key}: {error}"),
                }
            }
            progress.one_more();
        }
        println!(
            "g03: {wire}: {kills} kills; {answered} answered, {unknown} unknown, {unsent} not sent; ready again within \
             {slowest:?}, the last outcome {latest:?} after its deadline"
        );
        assert!(slowest <= Duration::from_secs(5), "{wire}: {slowest:?}");
        assert!(latest <= late(), "{wire}: {latest:?}");
        process.kill().await;
    }
}

/// Counts what runs, and answers when it is told to: `slow` then, `hang` never.
#[derive(Clone)]
struct Slow {
    running: watch::Sender<u64>,
    answer: watch::Sender<bool>,
}

impl Handler for Slow {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        self.running.send_modify(|running| *running += 1);
        let mut answer = self.answer.subscribe();
        Box::pin(async move {
            if *incoming.route == *"hang" {
                std::future::pending::<()>().await;
            }
            // Whoever tells is there to the end.
            let _ = answer.wait_for(|answer| *answer).await;
            Ok(Response::from(incoming.body))
        })
    }
}

/// What stands around a bridge that is drained.
struct Rig {
    bridge: Process,
    slow: Slow,
    calls: JoinSet<Outcome>,
    /// They are kept so that nothing closes before its time.
    _kept: (polywire_core::Server, Vec<Client>),
}

/// A bridge with 1,000 calls of `route` in flight.
async fn in_flight(route: &'static str) -> Rig {
    let slow = Slow { running: watch::Sender::new(0), answer: watch::Sender::new(false) };
    let mut endpoint = Endpoint::new("upstream", slow.clone());
    endpoint.limits = Arc::new(Limits { max_in_flight: 2_048, ..Limits::default() });
    let server = listen("127.0.0.1:0", Config::default(), endpoint).await.unwrap();
    let file = format!(
        "[endpoint.in]\nprotocol = \"sockhop\"\nrole = \"server\"\nlisten = \"127.0.0.1:0\"\n\
         [endpoint.out]\nprotocol = \"sockhop\"\nrole = \"client\"\naddress = \"{}\"\n\
         [[route]]\nfrom = {{ endpoint = \"in\", match = \"*\" }}\nto = {{ endpoint = \"out\" }}\n",
        server.address()
    );
    let path = scratch(&format!("{route}.toml"));
    std::fs::write(&path, file).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_polywire-under-test"));
    command.arg("run").arg(&path).env_remove("RUST_LOG");
    let mut bridge = Process::start("polywire run", command).unwrap();
    let listening = bridge.wait_for_json(|line| line["endpoint"] == "in", LIMIT).await.unwrap();
    let address = listening["address"].as_str().unwrap();
    let (mut clients, mut calls) = (Vec::new(), JoinSet::new());
    for _ in 0..8 {
        let nothing = Router::new().build().unwrap();
        let client = dial(
            address,
            Config::default(),
            Endpoint { reconnect: Reconnect::never(), ..Endpoint::new("goal", nothing) },
        )
        .unwrap();
        for _ in 0..125 {
            let caller = client.caller().clone();
            let request = Request::new(Route::from_static(route), object("{}".to_owned())).timeout(LIMIT);
            calls.spawn(async move { caller.call(request).await });
        }
        clients.push(client);
    }
    let mut running = slow.running.subscribe();
    let all = timeout(LIMIT, running.wait_for(|running| *running == 1_000)).await;
    drop(all.expect("1,000 calls are in flight").unwrap());
    Rig { bridge, slow, calls, _kept: (server, clients) }
}

impl Rig {
    async fn outcomes(&mut self) -> (u64, u64) {
        let (mut answered, mut failed) = (0, 0);
        while let Some(outcome) = timeout(LIMIT, self.calls.join_next()).await.expect("every call ends") {
            if outcome.unwrap().is_ok() { answered += 1 } else { failed += 1 }
        }
        (answered, failed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g16_a_bridge_that_drains_with_a_thousand_calls_in_flight_lets_each_have_its_answer() {
    let mut longest = Duration::ZERO;
    let rounds = size(1, 100);
    let mut progress = Progress::new("g16: drains", rounds);
    for _ in 0..rounds {
        let mut rig = in_flight("slow").await;
        rig.bridge.signal("TERM").await.unwrap();
        rig.bridge.wait_for_error_line(|line| line.contains("draining"), LIMIT).await.unwrap();
        let since = Instant::now();
        rig.slow.answer.send_replace(true);
        assert_eq!(rig.outcomes().await, (1_000, 0));
        assert_eq!(rig.bridge.finish(Duration::from_secs(31)).await.unwrap().code(), Some(0));
        longest = longest.max(since.elapsed());
        progress.one_more();
    }
    println!("g16: {rounds} drains with 1,000 in flight, gone within {longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g16_a_second_signal_ends_a_bridge_at_once_and_every_call_has_its_outcome() {
    let mut longest = Duration::ZERO;
    let rounds = size(1, 100);
    let mut progress = Progress::new("g16: second signals", rounds);
    for _ in 0..rounds {
        let mut rig = in_flight("hang").await;
        rig.bridge.signal("TERM").await.unwrap();
        rig.bridge.wait_for_error_line(|line| line.contains("draining"), LIMIT).await.unwrap();
        rig.bridge.signal("TERM").await.unwrap();
        let since = Instant::now();
        rig.bridge.finish(Duration::from_secs(5)).await.unwrap();
        longest = longest.max(since.elapsed());
        assert_eq!(rig.outcomes().await, (0, 1_000));
        progress.one_more();
    }
    println!("g16: {rounds} second signals with 1,000 in flight, gone within {longest:?}");
    assert!(longest <= Duration::from_secs(1) + late(), "{longest:?}");
}
