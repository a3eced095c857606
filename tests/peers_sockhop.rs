//! The foreign Sockhop peers, before anything of ours is measured against them.
//!
//! Each test here runs foreign code against foreign code. A failure means that the peer or its driver is broken on
//! this machine, and that every interop test built on it proves nothing.

use std::time::Duration;

use polywire_conformance::{Relay, Way};
use polywire_tests::driver::Driver;
use polywire_tests::install::SOCKHOP_184;
use polywire_tests::peer;
use polywire_tests::place;
use polywire_tests::process::{Process, ProcessError};
use polywire_tests::scratch::scratch;
use polywire_tests::skip::{self, Tool};
use serde_json::{Value, json};
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(20);

/// A stock server with one stock client connected to it.
async fn stock_pair(test: &str, options: Value) -> Option<Result<(Driver, Driver), ProcessError>> {
    let package = skip::package(test, &SOCKHOP_184)?;
    Some(
        async {
            let mut server = Driver::start("sockhop184_server.mjs", &package)?;
            let mut client = Driver::start("sockhop184_client.mjs", &package)?;
            let listening = server.run("listen", options.clone()).await?;
            let mut connect = options;
            connect["port"] = listening["port"].clone();
            client.run("connect", connect).await?;
            server.event(|event| event["event"] == "connect", LIMIT).await?;
            Ok((server, client))
        }
        .await,
    )
}

#[tokio::test]
async fn sockhop_21_peer_passes_its_own_tests() {
    if !skip::have("sockhop_21_peer_passes_its_own_tests", &[Tool::Node]) {
        return;
    }
    let mut node = Command::new("node");
    node.arg(place::tests().join("peers/sockhop/selftest.mjs"));
    let mut selftest = Process::start("selftest.mjs", node).unwrap();
    selftest.wait_for_line(|line| line == "self-test passed", Duration::from_secs(120)).await.unwrap();
    assert!(selftest.finish(LIMIT).await.unwrap().success());
}

#[tokio::test]
async fn sockhop_21_peers_reach_binary_mode_with_each_other() {
    if !skip::have("sockhop_21_peers_reach_binary_mode_with_each_other", &[Tool::Node]) {
        return;
    }
    let (mut server, port) = peer::sockhop_21_server(&["--push", "20", "--typed", "5"]).await.unwrap();
    let port = port.to_string();
    let arguments = ["--port", &port, "--count", "40", "--expect-push", "20", "--expect-typed", "5"];
    let mut client = peer::sockhop_21_client(&arguments).unwrap();
    for side in [&mut client, &mut server] {
        let result = side.wait_for_json(|line| line["role"].is_string(), LIMIT).await.unwrap();
        assert_eq!((&result["ok"], &result["transitions_out"]), (&json!(true), &json!(1)), "{result}");
        assert!(side.finish(LIMIT).await.unwrap().success());
    }
}

#[tokio::test]
async fn stock_184_pair_echoes_every_kind_in_both_directions() {
    let pair = stock_pair("stock_184_pair_echoes_every_kind_in_both_directions", json!({})).await;
    let Some(pair) = pair else { return };
    let (mut server, mut client) = pair.unwrap();
    let from_client = client.run("kinds", json!({})).await.unwrap();
    let from_server = server.run("kinds", json!({"to": 0})).await.unwrap();
    for (answers, least) in [(&from_client, 42), (&from_server, 37)] {
        let answers = answers.as_array().unwrap();
        assert_eq!(answers.len(), least);
        for answer in answers {
            // An application cannot answer with null or undefined.
            let told = answer["equal"] == true || (answer["sent"].is_null() && answer["data"] == json!({}));
            assert!(told, "{answer}");
        }
    }
    server.finish().await.unwrap();
    client.finish().await.unwrap();
}

#[tokio::test]
async fn stock_184_pair_keeps_order_in_bulk() {
    let Some(pair) = stock_pair("stock_184_pair_keeps_order_in_bulk", json!({})).await else { return };
    let (mut server, mut client) = pair.unwrap();
    let echoes = client.run("bulk", json!({"count": 2000, "inflight": 64})).await.unwrap();
    assert_eq!(
        (&echoes["right"], &echoes["wrong"], &echoes["disordered"]),
        (&json!(2000), &json!(0), &json!(0))
    );
    let echoes = server.run("bulk", json!({"to": 0, "count": 500})).await.unwrap();
    assert_eq!(
        (&echoes["right"], &echoes["wrong"], &echoes["disordered"]),
        (&json!(500), &json!(0), &json!(0))
    );
    client.run("burst", json!({"count": 5000})).await.unwrap();
    let arrived = server.run("expect", json!({"from": 0, "count": 5000})).await.unwrap();
    assert_eq!(arrived, json!({"count": 5000, "disordered": 0}));
    server.run("burst", json!({"to": 0, "count": 5000})).await.unwrap();
    let arrived = client.run("expect", json!({"count": 5000})).await.unwrap();
    assert_eq!(arrived, json!({"count": 5000, "disordered": 0}));
}

#[tokio::test]
async fn stock_184_pair_streams_requests() {
    let Some(pair) = stock_pair("stock_184_pair_streams_requests", json!({})).await else { return };
    let (mut server, mut client) = pair.unwrap();
    let one = client.run("request", json!({"value": {"json": "question"}})).await.unwrap();
    assert_eq!(one["packets"], json!([{"type": "String", "data": "question"}]));
    let many = server.run("request", json!({"to": 0, "value": {"json": {"stream": 2}}})).await.unwrap();
    let packets = json!([
        {"type": "Object", "data": {"packet": 0}},
        {"type": "Object", "data": {"packet": 1}},
        {"type": "Object", "data": {}},
    ]);
    assert_eq!(many, json!({"packets": packets, "error": null}));
}

#[tokio::test]
async fn stock_184_bare_json_pair_exchanges_values_without_envelope() {
    let test = "stock_184_bare_json_pair_exchanges_values_without_envelope";
    let Some(pair) = stock_pair(test, json!({"peer_type": "json"})).await else { return };
    let (mut server, mut client) = pair.unwrap();
    client.run("send", json!({"value": {"json": {"bare": [1, 2]}}})).await.unwrap();
    let seen = server.event(|event| event["event"] == "receive", LIMIT).await.unwrap();
    assert_eq!((&seen["type"], &seen["data"]), (&json!("Object"), &json!({"bare": [1, 2]})));
    let refused = client.ask("call", json!({"value": {"json": {}}})).await.unwrap();
    assert_eq!(refused.unwrap_err()["code"], "ERR_REMOTE_CALLBACK_TYPE");
}

#[tokio::test]
async fn stock_184_pair_answers_pings() {
    let Some(pair) = stock_pair("stock_184_pair_answers_pings", json!({})).await else { return };
    let (mut server, mut client) = pair.unwrap();
    // Whoever has four unanswered closes: on a slow machine that must not be soon.
    client.run("ping", json!({"ms": 500})).await.unwrap();
    server.run("ping", json!({"ms": 500})).await.unwrap();
    for (side, arguments) in [(&mut client, json!({})), (&mut server, json!({"to": 0}))] {
        let answered =
            async { while side.run("pings", arguments.clone()).await.unwrap()["answered"] == 0 {} };
        tokio::time::timeout(LIMIT, answered).await.expect("a ping is answered");
    }
}

#[tokio::test]
async fn stock_184_pair_talks_over_a_unix_socket() {
    let test = "stock_184_pair_talks_over_a_unix_socket";
    let Some(package) = skip::package(test, &SOCKHOP_184) else { return };
    let path = scratch("theirs.sock");
    let mut server = Driver::start("sockhop184_server.mjs", &package).unwrap();
    let mut client = Driver::start("sockhop184_client.mjs", &package).unwrap();
    server.run("listen", json!({"path": path})).await.unwrap();
    client.run("connect", json!({"path": path})).await.unwrap();
    let answer = client.run("call", json!({"value": {"json": 5}})).await.unwrap();
    assert_eq!(answer, json!({"type": "Number", "data": 5}));
}

#[tokio::test]
async fn stock_184_client_reconnects_after_a_cut() {
    let test = "stock_184_client_reconnects_after_a_cut";
    let Some(package) = skip::package(test, &SOCKHOP_184) else { return };
    let mut server = Driver::start("sockhop184_server.mjs", &package).unwrap();
    let mut client = Driver::start("sockhop184_client.mjs", &package).unwrap();
    let listening = server.run("listen", json!({})).await.unwrap();
    let relay = Relay::start(format!("127.0.0.1:{}", listening["port"]), usize::MAX).await.unwrap();
    relay.slice_writes(1);
    let options =
        json!({"port": relay.address().port(), "auto_reconnect": true, "auto_reconnect_interval": 50});
    client.run("connect", options).await.unwrap();
    client.run("call", json!({"value": {"json": "before"}})).await.unwrap();
    relay.cut();
    client.event(|event| event["event"] == "disconnect", LIMIT).await.unwrap();
    relay.wait_for(1, |_| true, LIMIT).await.unwrap();
    client.event(|event| event["event"] == "connect", LIMIT).await.unwrap();
    client.event(|event| event["event"] == "connect", LIMIT).await.unwrap();
    let answer = client.run("call", json!({"value": {"json": "after"}})).await.unwrap();
    assert_eq!(answer, json!({"type": "String", "data": "after"}));
    let seen = relay.recording(1);
    assert!(seen.bytes(Way::ToServer).starts_with(br#"{"type":"String","data":"after","id":""#));
    assert!(seen.bytes(Way::ToClient).ends_with(b"\"}\n"));
}
