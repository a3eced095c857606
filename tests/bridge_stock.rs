//! `polywire run` between unmodified peers: a stock Sockhop client onto the Python HPX peer, and a stock HPX client onto a
//! stock Sockhop server.
//!
//! A relay on each side of the bridge records what passes. Calls and answers have to be the same bytes on both sides,
//! and the values those the stock peer gives when it is called without a bridge.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/bodies.rs"]
mod bodies;
#[path = "support/bridge_run.rs"]
mod bridge_run;

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use bodies::Bodies;
use bridge_run::Bridge;
use polywire_tests::driver::Driver;
use polywire_tests::install::{HPX_PY_100, SOCKHOP_184};
use polywire_tests::peer;
use polywire_tests::skip::{self, Tool};
use serde_json::{Value, json};

/// Calls of each direction.
const CALLS: u64 = 1_000;
/// The upstream is killed 20 times in each direction, four times behind each of five bridges: a bridge waits up to twice
/// as long after each loss until a connection has held for a minute.
const BRIDGES: usize = 5;
const KILLS: usize = 4;
/// Calls that are open at the same time.
const OPEN: usize = 16;
/// HPX clients that call at once: a stock one makes one call at a time.
const HPX_CLIENTS: usize = 10;
/// The deadline of every call over the bridge; the bridge files say the same.
const DEADLINE: Duration = Duration::from_secs(8);
/// How long anything may take that a test waits for.
const LIMIT: Duration = Duration::from_secs(60);

const SOCKHOP_TO_HPX: &str = r#"
    [endpoint.in]
    protocol = "sockhop"
    role = "server"
    listen = "127.0.0.1:0"

    [endpoint.out]
    protocol = "hpx"
    role = "client"
    address = "127.0.0.1:UPSTREAM"

    [[route]]
    from = { endpoint = "in", match = "Object", kind = "request" }
    to = { endpoint = "out", call = "echo" }
    timeout = "8s"

    [[route]]
    from = { endpoint = "in", match = "Widget", kind = "request" }
    to = { endpoint = "out", call = "sleep" }
    timeout = "8s"
"#;

const HPX_TO_SOCKHOP: &str = r#"
    [endpoint.in]
    protocol = "hpx"
    role = "server"
    listen = "127.0.0.1:0"
    guests = true

    [endpoint.out]
    protocol = "sockhop"
    role = "client"
    address = "127.0.0.1:UPSTREAM"

    [[route]]
    from = { endpoint = "in", match = "echo" }
    to = { endpoint = "out", call = "Object" }
    timeout = "8s"
"#;

const HPX_TO_HPX: &str = r#"
    [endpoint.in]
    protocol = "hpx"
    role = "server"
    listen = "127.0.0.1:0"
    guests = true

    [endpoint.out]
    protocol = "hpx"
    role = "client"
    address = "127.0.0.1:UPSTREAM"

    [[route]]
    from = { endpoint = "in", match = "echo" }
    to = { endpoint = "out" }
    timeout = "8s"
"#;

/// A stock Sockhop client, connected.
async fn sockhop_client(package: &Path, port: u16) -> Driver {
    let mut client = Driver::start("sockhop184_client.mjs", package).unwrap();
    client.run("connect", json!({"port": port})).await.unwrap();
    client
}

/// A stock Sockhop server that answers as told, and its port.
async fn sockhop_server(package: &Path, answer: &str) -> (Driver, u16) {
    let mut server = Driver::start("sockhop184_server.mjs", package).unwrap();
    let listening = server.run("listen", json!({"answer": answer})).await.unwrap();
    (server, u16::try_from(listening["port"].as_u64().unwrap()).unwrap())
}

/// A stock HPX client, logged in as a guest.
async fn hpx_client(package: &Path, port: u16) -> Driver {
    let mut client = Driver::start("hpx_py_client.py", package).unwrap();
    client.run("open", json!({"port": port})).await.unwrap();
    client.run("login", json!({})).await.unwrap();
    client
}

async fn hpx_clients(package: &Path, port: u16) -> Vec<Driver> {
    let mut clients = Vec::new();
    for _ in 0..HPX_CLIENTS {
        clients.push(hpx_client(package, port).await);
    }
    clients
}

/// A value with integers no double holds, text of many scripts and objects in objects.
fn value(number: u64) -> Value {
    let above = (1_u64 << 53) + 1 + 2 * number;
    json!({
        "number": number,
        "above": above,
        "far above": u64::MAX - number,
        "below": -i64::try_from(above).unwrap(),
        "text": format!("grüß 你好 \u{1f680} \u{2028} \"q\" \\ \n\t\u{0} {number}"),
        "ключ": {"列": [null, true, 1.5, {"deep": {"deeper": [above, {}, [], ""]}}]},
    })
}

/// What the stock clients are asked to send.
fn as_sockhop(number: u64) -> Value {
    json!({"value": {"json": {"value": value(number)}}})
}

fn as_hpx(number: u64) -> Value {
    json!({"calls": [{"fname": "echo", "value": value(number)}]})
}

/// The result a stock client reports for a call, without its envelope.
fn of_sockhop(mut answer: Value) -> Value {
    assert_eq!(answer["type"], "Object", "{answer}");
    answer["data"].take()
}

fn of_hpx(mut reply: Value) -> Value {
    assert_eq!(reply["data"][0].get("error"), None, "{reply}");
    reply["data"][0]["data"].take()
}

/// Makes the calls, each client its part of them and [`OPEN`] at a time; the results are in the order of the calls.
async fn results(clients: Vec<Driver>, make: fn(u64) -> Value, result: fn(Value) -> Value) -> Vec<Value> {
    let (each, mut parts) = (CALLS / clients.len() as u64, Vec::new());
    for (part, mut client) in (0..).zip(clients) {
        parts.push(tokio::spawn(async move {
            let (mut results, mut open) = (Vec::new(), VecDeque::new());
            for number in part * each..(part + 1) * each {
                if open.len() == OPEN {
                    results.push(result(client.answer(open.pop_front().unwrap()).await.unwrap().unwrap()));
                }
                open.push_back(client.begin("call", make(number)).await.unwrap());
            }
            for id in open {
                results.push(result(client.answer(id).await.unwrap().unwrap()));
            }
            client.finish().await.unwrap();
            results
        }));
    }
    let mut results = Vec::new();
    for part in parts {
        results.append(&mut part.await.unwrap());
    }
    results
}

/// The value as JavaScript holds it: every number a double.
fn as_javascript(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64().unwrap()),
        Value::Array(items) => items.into_iter().map(as_javascript).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, as_javascript(value))).collect()
        }
        other => other,
    }
}

/// Every number was asked and answered, and each text is the same on both sides.
fn assert_same_bytes(front: &Bodies, back: &Bodies) {
    for (front, back) in [(&front.asked, &back.asked), (&front.answered, &back.answered)] {
        assert!(front.keys().copied().eq(0..CALLS), "{} of {CALLS}", front.len());
        assert_eq!(front.len(), back.len());
        front.iter().for_each(|(number, text)| assert_eq!(back.get(number), Some(text), "number {number}"));
    }
}

fn assert_same_values(bridged: Vec<Value>, direct: Vec<Value>) {
    assert_eq!((bridged.len() as u64, direct.len() as u64), (CALLS, CALLS));
    for (bridged, direct) in bridged.into_iter().zip(direct) {
        assert_eq!(as_javascript(bridged), as_javascript(direct));
    }
}

#[tokio::test]
async fn a_stock_sockhop_client_calls_a_python_hpx_peer_as_if_it_were_called_directly() {
    let test = "a_stock_sockhop_client_calls_a_python_hpx_peer_as_if_it_were_called_directly";
    let Some(sockhop) = skip::package(test, &SOCKHOP_184) else { return };
    let Some(hpx) = skip::package(test, &HPX_PY_100) else { return };
    let (_server, port) = peer::hpx_server(&[]).await.unwrap();
    let bridge = Bridge::start(test, SOCKHOP_TO_HPX, port).await;

    let client = sockhop_client(&sockhop, bridge.front.address().port()).await;
    let bridged = results(vec![client], as_sockhop, of_sockhop).await;
    let direct = results(hpx_clients(&hpx, port).await, as_hpx, of_hpx).await;

    assert_same_values(bridged, direct);
    assert_same_bytes(&Bodies::of_sockhop(&bridge.front), &Bodies::of_hpx(&bridge.back));
}

#[tokio::test]
async fn a_stock_hpx_client_calls_a_stock_sockhop_server_as_if_it_were_called_directly() {
    let test = "a_stock_hpx_client_calls_a_stock_sockhop_server_as_if_it_were_called_directly";
    let Some(sockhop) = skip::package(test, &SOCKHOP_184) else { return };
    let Some(hpx) = skip::package(test, &HPX_PY_100) else { return };
    let (_server, port) = sockhop_server(&sockhop, "echo").await;
    let bridge = Bridge::start(test, HPX_TO_SOCKHOP, port).await;

    let clients = hpx_clients(&hpx, bridge.front.address().port()).await;
    let bridged = results(clients, as_hpx, of_hpx).await;
    let direct = results(vec![sockhop_client(&sockhop, port).await], as_sockhop, of_sockhop).await;

    // What the server holds are doubles, and both clients are told how it spells them.
    assert_eq!(bridged.len() as u64, CALLS);
    assert_eq!(bridged, direct);
    let (front, back) = (Bodies::of_hpx(&bridge.front), Bodies::of_sockhop(&bridge.back));
    assert_same_bytes(&front, &back);
    assert!(front.asked[&500].contains("9007199254741993"), "the Python client spells integers in full");
}

#[tokio::test]
async fn a_stock_hpx_client_calls_a_python_hpx_peer_and_every_integer_survives() {
    let test = "a_stock_hpx_client_calls_a_python_hpx_peer_and_every_integer_survives";
    let Some(hpx) = skip::package(test, &HPX_PY_100) else { return };
    let (_server, port) = peer::hpx_server(&[]).await.unwrap();
    let bridge = Bridge::start(test, HPX_TO_HPX, port).await;

    let clients = hpx_clients(&hpx, bridge.front.address().port()).await;
    let bridged = results(clients, as_hpx, of_hpx).await;
    let direct = results(hpx_clients(&hpx, port).await, as_hpx, of_hpx).await;

    assert_eq!(bridged, (0..CALLS).map(value).collect::<Vec<_>>());
    assert_eq!(bridged, direct);
    assert_same_bytes(&Bodies::of_hpx(&bridge.front), &Bodies::of_hpx(&bridge.back));
}

#[tokio::test]
async fn calls_end_within_their_deadline_each_time_the_hpx_upstream_is_killed() {
    let test = "calls_end_within_their_deadline_each_time_the_hpx_upstream_is_killed";
    let Some(sockhop) = skip::package(test, &SOCKHOP_184) else { return };
    if !skip::have(test, &[Tool::Python]) {
        return;
    }
    for _ in 0..BRIDGES {
        let (mut server, port) = peer::hpx_server(&[]).await.unwrap();
        let bridge = Bridge::start(test, SOCKHOP_TO_HPX, port).await;
        let mut client = sockhop_client(&sockhop, bridge.front.address().port()).await;
        for _ in 0..KILLS {
            let asked = Instant::now();
            let mut calls = Vec::new();
            for _ in 0..3 {
                calls
                    .push(client.begin("call", json!({"value": {"widget": {"seconds": 30}}})).await.unwrap());
            }
            for _ in &calls {
                server.wait_for_json(|line| line["sleeping"] == 30, LIMIT).await.unwrap();
            }
            let (next, port) = peer::hpx_server(&[]).await.unwrap();
            bridge.back.redirect(format!("127.0.0.1:{port}"));
            server.kill().await;
            for call in calls {
                let answer = client.answer(call).await.unwrap().unwrap();
                let (kind, error) = (&answer["type"], &answer["data"]["error"]);
                assert_eq!((kind, &error["code"]), (&json!("Error"), &json!("unavailable")), "{answer}");
                assert!(error["message"].as_str().unwrap().contains("connection was lost"), "{answer}");
            }
            assert!(asked.elapsed() < DEADLINE, "{:?}", asked.elapsed());
            server = next;
        }
        let answer = client.run("call", as_sockhop(1)).await.unwrap();
        assert_eq!(as_javascript(of_sockhop(answer)), as_javascript(value(1)));
        client.finish().await.unwrap();
    }
}

#[tokio::test]
async fn calls_end_within_their_deadline_each_time_the_sockhop_upstream_is_killed() {
    let test = "calls_end_within_their_deadline_each_time_the_sockhop_upstream_is_killed";
    let Some(sockhop) = skip::package(test, &SOCKHOP_184) else { return };
    let Some(hpx) = skip::package(test, &HPX_PY_100) else { return };
    for _ in 0..BRIDGES {
        let (mut server, port) = sockhop_server(&sockhop, "none").await;
        let bridge = Bridge::start(test, HPX_TO_SOCKHOP, port).await;
        let mut client = hpx_client(&hpx, bridge.front.address().port()).await;
        for kill in 1..=KILLS {
            let asked = Instant::now();
            let call = client.begin("call", as_hpx(1)).await.unwrap();
            server.event(|event| event["data"]["value"]["number"] == 1, LIMIT).await.unwrap();
            // The one that comes after the last is not killed and answers.
            let (next, port) = sockhop_server(&sockhop, if kill == KILLS { "echo" } else { "none" }).await;
            bridge.back.redirect(format!("127.0.0.1:{port}"));
            server.kill().await;
            let reply = client.answer(call).await.unwrap().unwrap();
            assert!(asked.elapsed() < DEADLINE, "{:?}", asked.elapsed());
            let error = &reply["data"][0]["error"];
            assert_eq!(error["code"], 400, "{reply}");
            assert!(error["msg"].as_str().unwrap().contains("connection was lost"), "{reply}");
            server = next;
        }
        let reply = client.run("call", as_hpx(1)).await.unwrap();
        assert_eq!(as_javascript(of_hpx(reply)), json!({"value": as_javascript(value(1))}));
        client.finish().await.unwrap();
    }
}
