//! The scenarios: who is measured under which load, and which bars the figures are held against.

mod hyperhq;
mod socketio;
mod stonyx;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use crate::accounting::{median, own_nanos, repeat_strays};
use crate::contender::Contender;
use crate::load::Seen;
use crate::load::sockhop::Mode;
use crate::report::{Bar, Figure};
use crate::{load, memory, ours, report};

/// A load that takes longer than this has stalled.
const LONGEST: Duration = Duration::from_secs(120);

/// What to measure.
#[derive(Args, Debug)]
pub(crate) struct Plan {
    /// Only scenarios whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Runs of each contender.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Calls of one run, for the fastest contenders; slower ones get a fraction of it.
    #[arg(long, default_value_t = 1_600_000)]
    calls: u64,
    /// The folder that holds `node_modules` with sockhop 1.8.4; by default where `cargo xtask peers` puts it.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/foreign/npm-sockhop-1.8.4"))]
    node_modules: String,
    /// The folder that holds `node_modules` with ws; by default where `cargo xtask peers` puts it.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/foreign/npm-ws-8.19.0"))]
    ws_modules: String,
    /// The folder that holds `node_modules` with socket.io-client; by default where `cargo xtask peers` puts it.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/foreign/npm-socket.io-client-4.8.4"))]
    socketio_modules: String,
    /// The folder that holds `node_modules` with socket.io; by default where `cargo xtask peers` puts it.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/foreign/npm-socket.io-4.8.4"))]
    socketio_server_modules: String,
    /// The Python HPX peer.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/peers/hpx/hpx_peer_server.py"))]
    hpx_peer: String,
}

impl Plan {
    /// Is this there? Without it the original is left out, and the figures say so by its absence.
    fn has(path: &str) -> bool {
        let there = std::path::Path::new(path).exists();
        if !there {
            eprintln!("{path} is not there: that original is left out");
        }
        there
    }
}

/// One run of one contender.
#[derive(Clone, Copy, Debug)]
struct Run {
    cpu_micros_per_call: f64,
    client_cpu_micros_per_call: f64,
    calls_per_second: f64,
    calls_per_read: f64,
}

/// A load on one address.
#[derive(Clone, Copy, Debug)]
enum Load {
    Sockhop { mode: Mode, connections: usize },
    Hpx { connections: usize, body_bytes: usize },
    Stonyx { connections: usize, body_bytes: usize },
    StonyxBroadcast { members: usize },
    HyperHqData { plugins: usize },
    HyperHqEvents { members: usize },
}

impl Load {
    async fn run(self, address: SocketAddr, calls: u64) -> io::Result<Seen> {
        tokio::time::timeout(LONGEST, self.run_on(address, calls)).await?
    }

    async fn run_on(self, address: SocketAddr, calls: u64) -> io::Result<Seen> {
        match self {
            Load::Sockhop { mode, connections } => {
                load::sockhop::run(address, mode, connections, 64, calls / connections as u64, 100).await
            }
            Load::Hpx { connections, body_bytes } => {
                load::hpx::run(address, connections, calls / connections as u64, body_bytes).await
            }
            Load::Stonyx { connections, body_bytes } => {
                load::stonyx::run(address, connections, 64, calls / connections as u64, body_bytes).await
            }
            Load::HyperHqData { plugins } => {
                load::hyperhq::data(address, plugins, 64, calls / plugins as u64).await
            }
            Load::HyperHqEvents { members } => {
                load::hyperhq::broadcast(address, members, calls / members as u64).await
            }
            Load::StonyxBroadcast { members } => {
                load::stonyx::broadcast(address, members, calls / members as u64, 100).await
            }
        }
    }
}

/// Measures what the plan names and prints it.
///
/// # Errors
/// When a contender cannot be started or a load fails, naming which.
pub(crate) async fn run(plan: Plan) -> Result<(), String> {
    let (mut figures, mut bars) = (Vec::new(), Vec::new());
    for connections in [16, 1] {
        sockhop(&plan, connections, &mut figures, &mut bars).await?;
    }
    for (connections, body_bytes) in [(16, 100), (1, 100), (16, 64 << 10), (1, 64 << 10)] {
        hpx(&plan, connections, body_bytes, &mut figures, &mut bars).await?;
    }
    stonyx::run(&plan, &mut figures, &mut bars).await?;
    socketio::run(&plan, &mut figures, &mut bars).await?;
    hyperhq::run(&plan, &mut figures, &mut bars).await?;
    if wanted(&plan, "typed-buffers") {
        ours::typed_buffers(plan.runs, &mut figures, &mut bars)
            .await
            .map_err(|error| format!("typed-buffers: {error}"))?;
    }
    if wanted(&plan, "bridge") {
        bridge(&plan, &mut figures, &mut bars).await?;
    }
    if wanted(&plan, "large-message") {
        ours::large_messages(&mut figures, &mut bars)
            .await
            .map_err(|error| format!("large-message: {error}"))?;
    }
    if wanted(&plan, "in-process") {
        ours::in_process(plan.runs, &mut figures, &mut bars).await?;
    }
    if plan.only.is_empty() || plan.only.starts_with("idle") {
        memory::measure(&plan.only, &mut figures, &mut bars).await?;
    }
    report::print(&figures, &bars);
    Ok(())
}

fn wanted(plan: &Plan, scenario: &str) -> bool {
    scenario.contains(&plan.only)
}

async fn sockhop(
    plan: &Plan,
    connections: usize,
    figures: &mut Vec<Figure>,
    bars: &mut Vec<Bar>,
) -> Result<(), String> {
    let scenario = format!("sockhop-{connections}");
    if !wanted(plan, &scenario) {
        return Ok(());
    }
    let json = Load::Sockhop { mode: Mode::Json, connections };
    let binary = Load::Sockhop { mode: Mode::Binary, connections };
    let mut group = vec![
        (ourselves("polywire", &["serve", "sockhop"])?, json, plan.calls),
        (ourselves("bare loop", &["serve", "sockhop-bare"])?, json, plan.calls),
        (ourselves("polywire binary", &["serve", "sockhop"])?, binary, plan.calls),
    ];
    if Plan::has(&plan.node_modules) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/sockhop184.mjs");
        let command = vec!["node".to_owned(), script.to_owned(), plan.node_modules.clone()];
        group.push((Contender { name: "npm sockhop 1.8.4", command }, json, plan.calls / 8));
    }
    let medians = compare(&scenario, plan, &group, figures).await?;
    let (least, over) = if connections == 16 { (8.0, 0.25) } else { (4.5, 0.40) };
    let bar = |text: &str, reached, asked, at_most| Bar {
        scenario: scenario.clone(),
        text: text.to_owned(),
        reached,
        asked,
        at_most,
    };
    bars.push(bar("server CPU us a call over the bare loop", medians[0] - medians[1], over, true));
    bars.push(bar("binary mode CPU against JSON mode", medians[2] / medians[0], 1.0, true));
    if let Some(node) = medians.get(3) {
        bars.push(bar("times less server CPU than npm sockhop", node / medians[0], least, false));
    }
    Ok(())
}

async fn hpx(
    plan: &Plan,
    connections: usize,
    body_bytes: usize,
    figures: &mut Vec<Figure>,
    bars: &mut Vec<Bar>,
) -> Result<(), String> {
    let scenario = format!("hpx-{connections}-{body_bytes}");
    if !wanted(plan, &scenario) {
        return Ok(());
    }
    let echo = Load::Hpx { connections, body_bytes };
    let calls = if body_bytes > 1_024 { plan.calls / 64 } else { plan.calls / 8 };
    let mut group = vec![
        (ourselves("polywire", &["serve", "hpx"])?, echo, calls),
        (ourselves("bare loop", &["serve", "hpx-bare"])?, echo, calls),
    ];
    if body_bytes <= 1_024 && Plan::has(&plan.hpx_peer) {
        let command =
            ["python3", &plan.hpx_peer, "--port", "0", "--seconds", "600"].map(str::to_owned).to_vec();
        group.push((Contender { name: "Python peer", command }, echo, calls / 8));
    }
    let medians = compare(&scenario, plan, &group, figures).await?;
    let bar = |text: &str, reached, asked, at_most| Bar {
        scenario: scenario.clone(),
        text: text.to_owned(),
        reached,
        asked,
        at_most,
    };
    bars.push(bar("server CPU against the bare loop", medians[0] / medians[1], 1.3, true));
    if let Some(python) = medians.get(2) {
        bars.push(bar("times less server CPU than the Python peer", python / medians[0], 15.0, false));
    }
    Ok(())
}

async fn bridge(plan: &Plan, figures: &mut Vec<Figure>, bars: &mut Vec<Bar>) -> Result<(), String> {
    let scenario = "bridge".to_owned();
    let json = Load::Sockhop { mode: Mode::Json, connections: 16 };
    let upstream = ourselves("polywire", &["serve", "sockhop"])?
        .start()
        .await
        .map_err(|error| format!("bridge: {error}"))?;
    let to = upstream.address.to_string();
    let group = [
        (ourselves("bridge", &["serve", "bridge", "--upstream", &to])?, json, plan.calls / 4),
        (ourselves("echo server", &["serve", "sockhop"])?, json, plan.calls / 4),
    ];
    let medians = compare(&scenario, plan, &group, figures).await?;
    bars.push(Bar {
        scenario: scenario.clone(),
        text: "bridge CPU a call against an echo server".to_owned(),
        reached: medians[0] / medians[1],
        asked: 2.2,
        at_most: true,
    });
    let bridged = group[0].0.start().await.map_err(|error| format!("bridge: {error}"))?;
    let calls = 20_000;
    let trip = async |address| {
        load::sockhop::latency(address, calls).await.map_err(|error| format!("bridge: {error}"))
    };
    let once = async || {
        let (through, direct) = (trip(bridged.address).await?, trip(upstream.address).await?);
        Ok::<_, String>((through.as_secs_f64() - direct.as_secs_f64()) * 1e6)
    };
    let mut added = Vec::new();
    for _ in 0..plan.runs {
        added.push(once().await?);
    }
    repeat_strays(&mut added, |added| *added, once).await?;
    figures.push(figure(&scenario, "bridge", "added p50 latency, us", &mut added));
    bars.push(Bar {
        scenario,
        text: "added p50 latency at one in flight, us".to_owned(),
        reached: median(&mut added),
        asked: 100.0,
        at_most: true,
    });
    bridged.stop().await;
    upstream.stop().await;
    Ok(())
}

fn ourselves(name: &'static str, arguments: &[&str]) -> Result<Contender, String> {
    Contender::ourselves(name, arguments).map_err(|error| format!("cannot find this program: {error}"))
}

/// Runs the contenders of one scenario in turn, and gives back the median CPU microseconds a call of each.
async fn compare(
    scenario: &str,
    plan: &Plan,
    group: &[(Contender, Load, u64)],
    figures: &mut Vec<Figure>,
) -> Result<Vec<f64>, String> {
    eprint!("{scenario} ");
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); group.len()];
    for _ in 0..plan.runs {
        for ((contender, load, calls), runs) in group.iter().zip(&mut runs) {
            runs.push(once(scenario, contender, *load, *calls).await?);
        }
    }
    let mut medians = Vec::new();
    for ((contender, load, calls), runs) in group.iter().zip(&mut runs) {
        let again = async || once(scenario, contender, *load, *calls).await;
        repeat_strays(runs, |run| run.cpu_micros_per_call, again).await?;
        let mut of = |what, value: fn(&Run) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(value).collect();
            figures.push(figure(scenario, contender.name, what, &mut values));
            median(&mut values)
        };
        medians.push(of("server CPU us a call", |run| run.cpu_micros_per_call));
        of("client CPU us a call", |run| run.client_cpu_micros_per_call);
        of("calls a second", |run| run.calls_per_second);
        of("answers a read at the load", |run| run.calls_per_read);
        if let [first, .., last] = medians[..] {
            figures.push(figure(
                scenario,
                contender.name,
                "times the first's server CPU",
                &mut [last / first],
            ));
        }
    }
    eprintln!();
    Ok(medians)
}

/// The median and spread of some values.
pub(crate) fn figure(
    scenario: &str,
    contender: &'static str,
    what: &'static str,
    values: &mut [f64],
) -> Figure {
    let middle = median(values);
    let spread = (values.first().copied().unwrap_or(0.0), values.last().copied().unwrap_or(0.0));
    Figure { scenario: scenario.to_owned(), contender, what, median: middle, spread }
}

async fn once(scenario: &str, contender: &Contender, load: Load, calls: u64) -> Result<Run, String> {
    eprint!(".");
    let failed = |error: io::Error| format!("{scenario}, {}: {error}", contender.name);
    let running = contender.start().await.map_err(failed)?;
    load.run(running.address, (calls / 20).max(64)).await.map_err(failed)?;
    let (before, before_own) = (running.cpu_nanos().map_err(failed)?, own_nanos().map_err(failed)?);
    let seen = load.run(running.address, calls).await.map_err(failed)?;
    let (after, after_own) = (running.cpu_nanos().map_err(failed)?, own_nanos().map_err(failed)?);
    running.stop().await;
    let count = seen.calls as f64;
    Ok(Run {
        cpu_micros_per_call: (after - before) as f64 / 1e3 / count,
        client_cpu_micros_per_call: (after_own - before_own) as f64 / 1e3 / count,
        calls_per_second: count / seen.elapsed.max(Duration::from_nanos(1)).as_secs_f64(),
        calls_per_read: count / seen.reads.max(1) as f64,
    })
}
