//! `polywire serve` on the three WebSocket wires, and clients that we did not write when a signal ends it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Instant;

use polywire_tests::driver::Driver;
use polywire_tests::ends::{LIMIT, WIRES, Wire, event, packages, with_secrets};
use polywire_tests::process::Process;
use serde_json::json;
use tokio::process::Command;

/// A server of ours and a client of somebody else's with a call in flight, which takes that long.
async fn asked(wire: &Wire, ms: u64) -> (Process, Driver, u64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polywire-under-test"));
    with_secrets(&mut command).args(["serve", &wire.listening_url()]);
    let mut server = Process::start("polywire serve", command).unwrap();
    let listening = server.wait_for_json(|line| line["listening"] == wire.name, LIMIT).await.unwrap();
    let port = listening["address"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    let mut client = wire.connect(port).await;
    let call = client.begin("call", json!({"name": "sleep", "data": {"ms": ms}})).await.unwrap();
    // What was sent later and is answered shows that the server has the call in hand.
    client.run("call", json!({"name": "echo", "data": {}})).await.unwrap();
    (server, client, call)
}

#[tokio::test]
async fn a_signal_lets_the_call_in_flight_be_answered_and_closes_cleanly() {
    if !packages("a_signal_lets_the_call_in_flight_be_answered_and_closes_cleanly") {
        return;
    }
    for (wire, signal) in WIRES.into_iter().flat_map(|wire| [(wire, "TERM"), (wire, "INT")]) {
        let (mut server, mut client, call) = asked(&wire, 1_500).await;
        server.signal(signal).await.unwrap();
        server.wait_for_error_line(|line| line.contains("draining"), LIMIT).await.unwrap();
        assert_eq!(client.answer(call).await.unwrap().unwrap(), json!({"ms": 1_500}), "{wire:?}");
        if wire.name != "stonyx" {
            // Not by the packet that sends a client away: one that is to come back reconnects after this alone.
            assert_eq!(event(&mut client, "left").await["reason"], "transport close", "{wire:?}");
        }
        let closed = event(&mut client, "closed").await;
        // The original of Stonyx never gives a code; 1006 would be an end without a closing handshake.
        let code = if wire.name == "stonyx" { 1005 } else { 1000 };
        assert_eq!(closed["code"], code, "{wire:?}: {closed}");
        assert_eq!(server.finish(LIMIT).await.unwrap().code(), Some(0), "{wire:?}");
    }
}

#[tokio::test]
async fn a_second_signal_waits_for_no_call() {
    if !packages("a_second_signal_waits_for_no_call") {
        return;
    }
    for wire in WIRES {
        let (mut server, mut client, call) = asked(&wire, 60_000).await;
        server.signal("TERM").await.unwrap();
        server.wait_for_error_line(|line| line.contains("draining"), LIMIT).await.unwrap();
        let second = Instant::now();
        server.signal("TERM").await.unwrap();
        assert!(client.answer(call).await.unwrap().is_err(), "{wire:?}");
        assert_eq!(server.finish(LIMIT).await.unwrap().code(), Some(0), "{wire:?}");
        assert!(second.elapsed().as_secs() < 10, "{wire:?}: the call takes a minute, a drain 30 s");
    }
}
