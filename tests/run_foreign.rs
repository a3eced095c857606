//! `polywire run` between ends that we did not write, on every ordered pair of the three WebSocket wires: calls, events both ways, an
//! upstream that is killed in mid-call, and a drain.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use polywire_tests::driver::Driver;
use polywire_tests::ends::{LIMIT, NEWS, TOLD, WIRES, Wire, event, packages, with_secrets};
use polywire_tests::process::Process;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::Command;

/// Bridge files written by this process, so that no two have one name.
static FILES: AtomicU64 = AtomicU64::new(0);

/// The bridge with somebody else's program at each end.
struct Between {
    pair: String,
    bridge: Process,
    port: u16,
    client: Driver,
    server: Driver,
}

impl Between {
    async fn start(front: &Wire, back: &Wire) -> Self {
        let (mut server, upstream) = back.serve().await;
        let (inside, outside) = (front.endpoint(true), back.endpoint(false));
        let text = format!(
            r#"
[endpoint.in]
{inside}
role = "server"
listen = "127.0.0.1:0"

[endpoint.out]
{outside}
role = "client"
address = "127.0.0.1:{upstream}"
required = true

[[route]]
from = {{ endpoint = "in", match = "{TOLD}", kind = "any" }}
to = {{ endpoint = "out", emit = "{TOLD}" }}

[[route]]
from = {{ endpoint = "in", match = "*", kind = "request" }}
to = {{ endpoint = "out" }}
timeout = "30s"

[[route]]
from = {{ endpoint = "out", match = "{NEWS}", kind = "event" }}
to = {{ endpoint = "in" }}
"#
        );
        let pair = format!("{} > {}", front.name, back.name);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-between-{number}.toml", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_polywire-under-test"));
        with_secrets(&mut command).arg("run").arg(&path);
        let mut bridge = Process::start("polywire run", command).unwrap();
        let listening = bridge.wait_for_json(|line| line["endpoint"] == "in", LIMIT).await.unwrap();
        std::fs::remove_file(path).unwrap();
        let port = listening["address"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
        event(&mut server, "present").await;
        let client = front.connect(port).await;
        Self { pair, bridge, port, client, server }
    }

    async fn call(&mut self, name: &str, data: &Value) -> Value {
        self.client.run("call", json!({"name": name, "data": data})).await.unwrap()
    }
}

fn pairs() -> impl Iterator<Item = (Wire, Wire)> {
    WIRES.into_iter().flat_map(|front| WIRES.map(|back| (front, back)))
}

#[tokio::test]
async fn calls_and_events_cross_between_programs_of_others() {
    if !packages("calls_and_events_cross_between_programs_of_others") {
        return;
    }
    for (front, back) in pairs() {
        let mut between = Between::start(&front, &back).await;
        let pair = between.pair.clone();
        let odd = json!({"text": "grüß 你好 🚀 \u{2028}", "deep": [{"a": [null, true, 1.5]}], "empty": {}});
        for number in 0..20 {
            let body = json!({"number": number, "odd": odd});
            assert_eq!(between.call("echo", &body).await, body, "{pair}");
            assert_eq!(event(&mut between.server, "asked").await["data"], body, "{pair}");
        }
        let body = json!({"up": odd});
        between.client.run("emit", json!({"name": TOLD, "data": body})).await.unwrap();
        let told = event(&mut between.server, "told").await;
        assert_eq!((&told["name"], &told["data"]), (&json!(TOLD), &body), "{pair}");
        let body = json!({"down": odd});
        let pushed = between.server.run("push", json!({"name": NEWS, "data": body})).await.unwrap();
        assert_eq!(pushed["told"], 1, "{pair}: the bridge hears it");
        let heard = event(&mut between.client, "heard").await;
        assert_eq!((&heard["name"], &heard["data"]), (&json!(NEWS), &body), "{pair}");
    }
}

#[tokio::test]
async fn an_upstream_that_is_killed_in_mid_call_gives_the_caller_a_definite_answer_at_once() {
    if !packages("an_upstream_that_is_killed_in_mid_call_gives_the_caller_a_definite_answer_at_once") {
        return;
    }
    for (front, back) in pairs() {
        let Between { pair, bridge: _bridge, mut client, mut server, .. } =
            Between::start(&front, &back).await;
        let call = client.begin("call", json!({"name": "hang", "data": {"n": 1}})).await.unwrap();
        assert_eq!(event(&mut server, "asked").await["name"], "hang", "{pair}");
        let killed = Instant::now();
        server.kill().await;
        let answer = client.answer(call).await.unwrap().unwrap();
        assert!(killed.elapsed().as_secs() < 10, "{pair}: long before its deadline of 30 s");
        match (front.name, &answer["error"]) {
            // Failures are words alone on this wire.
            ("hyperhq", Value::String(words)) => {
                assert!(words.contains("connection was lost"), "{pair}: {words}");
            }
            ("stonyx" | "socketio", error) => {
                assert_eq!(error["code"], "unavailable", "{pair}: {answer}");
            }
            _ => panic!("{pair}: {answer}"),
        }
    }
}

#[tokio::test]
async fn a_signal_drains_the_bridge_and_calls_in_flight_are_answered_before_a_clean_close() {
    if !packages("a_signal_drains_the_bridge_and_calls_in_flight_are_answered_before_a_clean_close") {
        return;
    }
    for (front, back) in pairs() {
        let mut between = Between::start(&front, &back).await;
        let pair = between.pair.clone();
        let body = json!({"ms": 1_500, "n": 1});
        let call = between.client.begin("call", json!({"name": "late", "data": body})).await.unwrap();
        event(&mut between.server, "asked").await;
        between.bridge.signal("TERM").await.unwrap();
        between.bridge.wait_for_error_line(|line| line.contains("draining"), LIMIT).await.unwrap();
        assert_eq!(between.client.answer(call).await.unwrap().unwrap(), body, "{pair}");
        let closed = event(&mut between.client, "closed").await;
        assert!(clean(&closed), "{pair}: {closed}");
        assert_eq!(between.bridge.finish(LIMIT).await.unwrap().code(), Some(0), "{pair}");
        assert!(TcpStream::connect(("127.0.0.1", between.port)).await.is_err(), "{pair}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_the_bridge_at_once() {
    if !packages("a_second_signal_ends_the_bridge_at_once") {
        return;
    }
    for wire in WIRES {
        let mut between = Between::start(&wire, &wire).await;
        let pair = between.pair.clone();
        between.client.begin("call", json!({"name": "hang", "data": {}})).await.unwrap();
        event(&mut between.server, "asked").await;
        between.bridge.signal("TERM").await.unwrap();
        between.bridge.wait_for_error_line(|line| line.contains("draining"), LIMIT).await.unwrap();
        let second = Instant::now();
        between.bridge.signal("INT").await.unwrap();
        assert_eq!(between.bridge.finish(LIMIT).await.unwrap().code(), Some(0), "{pair}");
        assert!(second.elapsed().as_secs() < 10, "{pair}: a drain may take 30 s");
        event(&mut between.client, "closed").await;
    }
}

/// Did the WebSocket end with its closing handshake? Without one the code is 1006.
fn clean(closed: &Value) -> bool {
    matches!(closed["code"].as_u64(), Some(1000 | 1001 | 1005))
}
