//! What an idle connection costs, each end in a process of its own, after traffic.

use std::time::Duration;

use clap::Args;
use polywire_core::{Adapter, Body, Endpoint, Request, Route};

use crate::accounting::resident_bytes;
use crate::contender::Contender;
use crate::ours::{Echo, closed, dial};
use crate::report::{Bar, Figure};
use crate::scenario::figure;

/// How long both ends are left alone before their memory is read.
const SETTLE: Duration = Duration::from_secs(2);

/// The dialling end.
#[derive(Args, Debug)]
pub(crate) struct Idle {
    /// The wire.
    wire: String,
    /// What to dial.
    address: String,
    /// How many connections.
    connections: usize,
}

/// Opens the connections, makes one call on each, and holds them until standard input closes.
///
/// # Errors
/// When a connection or a call fails.
pub(crate) async fn idle(idle: Idle) -> Result<(), String> {
    let adapter: &dyn Adapter = match &*idle.wire {
        "hpx" => &polywire_hpx::ADAPTER,
        "stonyx" => &polywire_stonyx::ADAPTER,
        "socketio" => &polywire_socketio::ADAPTER,
        _ => &polywire_sockhop::ADAPTER,
    };
    let endpoint = Endpoint::new(adapter.name(), Echo);
    let mut clients = Vec::new();
    for _ in 0..idle.connections {
        let client = dial(adapter, &idle.address, endpoint.clone()).await?;
        let body = Body::json(&serde_json::json!({ "value": "x".repeat(1_000) }))
            .map_err(|error| error.to_string())?;
        for _ in 0..4 {
            client
                .caller()
                .call(Request::new(Route::from_static("echo"), body.clone()))
                .await
                .map_err(|error| error.to_string())?;
        }
        clients.push(client);
    }
    println!("READY 127.0.0.1:1");
    closed().await;
    // The process ends with its connections: nothing here is measured any more.
    clients.clear();
    Ok(())
}

/// Measures both ends of both wires at 1 000 and 8 000 connections.
///
/// # Errors
/// When an end cannot be started.
pub(crate) async fn measure(
    only: &str,
    figures: &mut Vec<Figure>,
    bars: &mut Vec<Bar>,
) -> Result<(), String> {
    let counts = [
        ("sockhop", "sockhop", 1_000_u32),
        ("sockhop", "sockhop", 8_000),
        ("hpx", "hpx", 1_000),
        ("hpx", "hpx", 8_000),
        ("stonyx", "stonyx", 1_000),
        ("socketio", "socketio", 1_000),
        ("socketio", "socketioxide", 1_000),
    ];
    let mut socketio = Vec::new();
    for (wire, serve, connections) in counts {
        let scenario = format!("idle-{serve}-{connections}");
        if !scenario.contains(only) {
            continue;
        }
        eprint!("{scenario} ");
        let text = |error: std::io::Error| format!("{scenario}: {error}");
        let server =
            Contender::ourselves("server", &["serve", serve]).map_err(text)?.start().await.map_err(text)?;
        let at = server.address.to_string();
        let few = Contender::ourselves("client", &["idle", wire, &at, "1"])
            .map_err(text)?
            .start()
            .await
            .map_err(text)?;
        tokio::time::sleep(SETTLE).await;
        let before = (resident_bytes(server.pid()).map_err(text)?, resident_bytes(few.pid()).map_err(text)?);
        few.stop().await;
        let count = connections.to_string();
        let many = Contender::ourselves("client", &["idle", wire, &at, &count]).map_err(text)?;
        let many = many.start_within(Duration::from_secs(120)).await.map_err(text)?;
        tokio::time::sleep(SETTLE).await;
        let after = (resident_bytes(server.pid()).map_err(text)?, resident_bytes(many.pid()).map_err(text)?);
        many.stop().await;
        server.stop().await;
        for (end, before, after) in [("server", before.0, after.0), ("client", before.1, after.1)] {
            let each = after.saturating_sub(before) as f64 / f64::from(connections) / 1_024.0;
            figures.push(figure(&scenario, end, "KiB resident a connection", &mut [each]));
            if wire == "socketio" {
                if end == "server" {
                    socketio.push(each);
                }
                continue;
            }
            let text = format!("KiB a connection, {end} end");
            bars.push(Bar {
                scenario: scenario.clone(),
                text,
                reached: each,
                asked: if wire == "stonyx" { 14.0 } else { 6.0 },
                at_most: true,
            });
        }
        eprintln!();
    }
    if let [ours, bare] = socketio[..] {
        bars.push(Bar {
            scenario: "idle-socketio-1000".to_owned(),
            text: "server memory against bare socketioxide".to_owned(),
            reached: ours / bare,
            asked: 1.15,
            at_most: true,
        });
    }
    Ok(())
}
