//! What an idle connection costs, each end in a process of its own, after traffic.

use std::io;
use std::time::Duration;

use clap::Args;
use polywire_core::{Adapter, Body, Endpoint, Request, Route};

use crate::accounting::{repeat_strays, resident_bytes};
use crate::contender::Contender;
use crate::ours::{Echo, closed, dial};
use crate::report::{Bar, Figure, add};

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

/// Who is measured: the wire that is dialled, the server, and how many connections.
const CASES: [(&str, &str, u32); 7] = [
    ("sockhop", "sockhop", 1_000),
    ("sockhop", "sockhop", 8_000),
    ("hpx", "hpx", 1_000),
    ("hpx", "hpx", 8_000),
    ("stonyx", "stonyx", 1_000),
    ("socketio", "socketio", 1_000),
    ("socketio", "socketioxide", 1_000),
];

/// Measures both ends of every case whose name contains `only`.
///
/// # Errors
/// When an end cannot be started.
pub(crate) async fn measure(
    only: &str,
    runs: usize,
    figures: &mut Vec<Figure>,
    bars: &mut Vec<Bar>,
) -> Result<(), String> {
    let mut socketio = Vec::new();
    for (wire, serve, connections) in CASES {
        let scenario = format!("idle-{serve}-{connections}");
        if !scenario.contains(only) {
            continue;
        }
        eprint!("{scenario} ");
        let once = async || {
            eprint!(".");
            once(wire, serve, connections).await.map_err(|error| format!("{scenario}: {error}"))
        };
        let mut all = Vec::new();
        for _ in 0..runs {
            all.push(once().await?);
        }
        repeat_strays(&mut all, |run| *run, once).await?;
        eprintln!();
        for (which, end) in ["server", "client"].into_iter().enumerate() {
            let each = all.iter().map(|run| run[which]);
            let each = add(figures, &scenario, end, "KiB resident a connection", each);
            match (wire, end) {
                ("socketio", "server") => socketio.push(each),
                ("socketio", _) => {}
                _ => {
                    let asked = if wire == "stonyx" { 14.0 } else { 6.0 };
                    let text = format!("KiB a connection, {end} end");
                    bars.push(Bar::at_most(&scenario, &text, each, asked));
                }
            }
        }
    }
    if let [ours, bare] = socketio[..] {
        let text = "server memory against bare socketioxide";
        bars.push(Bar::at_most("idle-socketio-1000", text, ours / bare, 1.15));
    }
    Ok(())
}

/// KiB that a connection costs the server, and the client.
async fn once(wire: &str, serve: &str, connections: u32) -> io::Result<[f64; 2]> {
    let server = Contender::ourselves("server", &["serve", serve])?.start().await?;
    let at = server.address.to_string();
    let few = Contender::ourselves("client", &["idle", wire, &at, "1"])?.start().await?;
    tokio::time::sleep(SETTLE).await;
    let before = [resident_bytes(server.pid())?, resident_bytes(few.pid())?];
    few.stop().await;
    let many = Contender::ourselves("client", &["idle", wire, &at, &connections.to_string()])?;
    let many = many.start_within(Duration::from_secs(120)).await?;
    tokio::time::sleep(SETTLE).await;
    let after = [resident_bytes(server.pid())?, resident_bytes(many.pid())?];
    many.stop().await;
    server.stop().await;
    let each = |end: usize| after[end].saturating_sub(before[end]) as f64 / f64::from(connections) / 1_024.0;
    Ok([each(0), each(1)])
}
