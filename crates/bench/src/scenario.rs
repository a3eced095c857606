//! The scenarios: who is measured under which load, and which bars the figures are held against.

mod hyperhq;
mod socketio;
mod stonyx;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::Args;

use crate::accounting::{median, own_nanos, repeat_strays};
use crate::contender::Contender;
use crate::load::Seen;
use crate::load::sockhop::Mode;
use crate::report::{Bar, Figure, add};
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
    /// Are this file of an original and the program that runs it there? Without them the original is left out, and the figures say so
    /// by its absence.
    fn has(path: &str, program: &str) -> bool {
        let started =
            || Command::new(program).arg("--version").output().is_ok_and(|run| run.status.success());
        let missing = if !Path::new(path).exists() {
            format!("{path} is not there")
        } else if !started() {
            format!("{program} cannot be started")
        } else {
            return true;
        };
        eprintln!("{missing}: that original is left out");
        false
    }
}

/// One run of one contender, or the medians of its runs; each figure is for one unit of its load.
#[derive(Clone, Copy, Debug)]
struct Run {
    server_cpu: f64,
    client_cpu: f64,
    per_second: f64,
    per_read: f64,
}

impl Run {
    /// What a run must not differ in from its fellows.
    fn judged(&self) -> [f64; 3] {
        [self.server_cpu, self.client_cpu, self.per_second]
    }
}

/// A load on one address.
#[derive(Clone, Copy, Debug)]
enum Load {
    Sockhop { mode: Mode, connections: usize },
    SockhopLarge { mebibytes: usize },
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
            Load::SockhopLarge { mebibytes } => {
                let calls = calls / mebibytes as u64;
                let seen = load::sockhop::run(address, Mode::Json, 1, 1, calls, mebibytes << 20).await?;
                Ok(Seen { calls: calls * mebibytes as u64, ..seen })
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

    /// What its figures are for: one, and many.
    fn unit(self) -> (&'static str, &'static str) {
        match self {
            Load::SockhopLarge { .. } => ("MiB", "MiB"),
            Load::StonyxBroadcast { .. } | Load::HyperHqEvents { .. } => ("delivery", "deliveries"),
            _ => ("call", "calls"),
        }
    }

    /// How much is done before anything is measured.
    fn warm_up(self, calls: u64) -> u64 {
        match self {
            Load::SockhopLarge { mebibytes } => mebibytes as u64,
            _ => (calls / 20).max(64),
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
        large_message(&plan, &mut figures, &mut bars).await?;
    }
    if wanted(&plan, "in-process") {
        ours::in_process(plan.runs, &mut figures, &mut bars).await?;
    }
    if plan.only.is_empty() || plan.only.starts_with("idle") {
        memory::measure(&plan.only, plan.runs, &mut figures, &mut bars).await?;
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
    if let Some(command) = npm_sockhop(plan) {
        group.push((Contender { name: "npm sockhop 1.8.4", command }, json, plan.calls / 8));
    }
    let cpu = server_cpu(&compare(&scenario, plan, &group, figures).await?);
    let (least, over) = if connections == 16 { (8.0, 0.25) } else { (4.5, 0.40) };
    bars.push(Bar::at_most(&scenario, "server CPU us a call over the bare loop", cpu[0] - cpu[1], over));
    bars.push(Bar::at_most(&scenario, "server CPU of binary mode against JSON mode", cpu[2] / cpu[0], 1.0));
    if let Some(node) = cpu.get(3) {
        let text = "times less server CPU than npm sockhop";
        bars.push(Bar::at_least(&scenario, text, node / cpu[0], least));
    }
    Ok(())
}

/// One message at a time there and back, each end at two sizes: where work is in proportion, a MiB costs the same at both.
/// The original gets smaller ones, because its work grows with the square of the size.
async fn large_message(plan: &Plan, figures: &mut Vec<Figure>, bars: &mut Vec<Bar>) -> Result<(), String> {
    let scenario = "large-message";
    let of = |mebibytes| Load::SockhopLarge { mebibytes };
    let ours = |name| ourselves(name, &["serve", "sockhop-large"]);
    let mut group =
        vec![(ours("polywire, 64 MiB")?, of(64), 4 * 64), (ours("polywire, 16 MiB")?, of(16), 4 * 64)];
    if let Some(command) = npm_sockhop(plan) {
        let theirs = |name| Contender { name, command: command.clone() };
        group.push((theirs("npm sockhop 1.8.4, 32 MiB"), of(32), 32));
        group.push((theirs("npm sockhop 1.8.4, 8 MiB"), of(8), 32));
    }
    let runs = compare(scenario, plan, &group, figures).await?;
    for (pair, (contender, ..)) in runs.chunks(2).zip(group.iter().step_by(2)) {
        let growth = pair[1].per_second / pair[0].per_second;
        let what = "time a MiB, times that at a quarter of the size";
        add(figures, scenario, contender.name, what, [growth]);
    }
    let growth = runs[1].per_second / runs[0].per_second;
    bars.push(Bar::at_most(scenario, "time a MiB at 64 MiB against 16 MiB", growth, 1.5));
    Ok(())
}

/// The command of the stock server, where it is installed.
fn npm_sockhop(plan: &Plan) -> Option<Vec<String>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/sockhop184.mjs");
    let command = || vec!["node".to_owned(), script.to_owned(), plan.node_modules.clone()];
    Plan::has(&plan.node_modules, "node").then(command)
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
    if Plan::has(&plan.hpx_peer, "python3") {
        let command =
            ["python3", &plan.hpx_peer, "--port", "0", "--seconds", "600"].map(str::to_owned).to_vec();
        group.push((Contender { name: "Python peer", command }, echo, calls / 8));
    }
    let cpu = server_cpu(&compare(&scenario, plan, &group, figures).await?);
    bars.push(Bar::at_most(&scenario, "server CPU against the bare loop", cpu[0] / cpu[1], 1.3));
    // The bar is for small bodies, which we store and the original compresses.
    if let (Some(python), true) = (cpu.get(2), body_bytes <= 1_024) {
        let text = "times less server CPU than the Python peer";
        bars.push(Bar::at_least(&scenario, text, python / cpu[0], 15.0));
    }
    Ok(())
}

async fn bridge(plan: &Plan, figures: &mut Vec<Figure>, bars: &mut Vec<Bar>) -> Result<(), String> {
    let scenario = "bridge";
    let json = Load::Sockhop { mode: Mode::Json, connections: 16 };
    let upstream = ourselves("polywire", &["serve", "sockhop"])?
        .start()
        .await
        .map_err(|error| format!("bridge: {error}"))?;
    let to = upstream.address.to_string();
    let group = [
        // On one thread each, as `polywire run` works: what a call costs depends on it.
        (ourselves("bridge", &["serve", "bridge", "--one-thread", "--upstream", &to])?, json, plan.calls / 4),
        (ourselves("echo server", &["serve", "sockhop", "--one-thread"])?, json, plan.calls / 4),
        (ourselves("bridge, all cores", &["serve", "bridge", "--upstream", &to])?, json, plan.calls / 4),
        (ourselves("echo, all cores", &["serve", "sockhop"])?, json, plan.calls / 4),
    ];
    let cpu = server_cpu(&compare(scenario, plan, &group, figures).await?);
    bars.push(Bar::at_most(scenario, "bridge CPU a call against an echo server", cpu[0] / cpu[1], 2.2));
    let bridged = group[0].0.start().await.map_err(|error| format!("bridge: {error}"))?;
    let calls = 20_000;
    let trip = async |address| {
        load::sockhop::latency(address, calls).await.map_err(|error| format!("bridge: {error}"))
    };
    let once = async || {
        let (through, direct) = (trip(bridged.address).await?, trip(upstream.address).await?);
        Ok::<_, String>([through, direct].map(|trip| trip.as_secs_f64() * 1e6))
    };
    let mut trips = Vec::new();
    for _ in 0..plan.runs {
        trips.push(once().await?);
    }
    repeat_strays(&mut trips, |[through, direct]| [*through, *direct, through - direct], once).await?;
    let what = "p50 us, one in flight";
    add(figures, scenario, "bridge", what, trips.iter().map(|[through, _]| *through));
    add(figures, scenario, "echo server", what, trips.iter().map(|[_, direct]| *direct));
    let mut added = trips.iter().map(|[through, direct]| through - direct).collect::<Vec<_>>();
    let text = "added p50 latency at one in flight, us";
    bars.push(Bar::at_most(scenario, text, median(&mut added), 100.0));
    bridged.stop().await;
    upstream.stop().await;
    Ok(())
}

fn ourselves(name: &'static str, arguments: &[&str]) -> Result<Contender, String> {
    Contender::ourselves(name, arguments).map_err(|error| format!("cannot find this program: {error}"))
}

/// Microseconds of server CPU a unit of the load, of each contender.
fn server_cpu(runs: &[Run]) -> Vec<f64> {
    runs.iter().map(|run| run.server_cpu).collect()
}

/// Runs the contenders of one scenario in turn, and gives back the medians of each.
async fn compare(
    scenario: &str,
    plan: &Plan,
    group: &[(Contender, Load, u64)],
    figures: &mut Vec<Figure>,
) -> Result<Vec<Run>, String> {
    eprint!("{scenario} ");
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); group.len()];
    for _ in 0..plan.runs {
        for ((contender, load, calls), runs) in group.iter().zip(&mut runs) {
            runs.push(once(scenario, contender, *load, *calls).await?);
        }
    }
    let mut medians: Vec<Run> = Vec::new();
    for ((contender, load, calls), runs) in group.iter().zip(&mut runs) {
        let again = async || once(scenario, contender, *load, *calls).await;
        repeat_strays(runs, Run::judged, again).await?;
        let mut of = |what: &str, value: fn(&Run) -> f64| {
            add(figures, scenario, contender.name, what, runs.iter().map(value))
        };
        let (unit, units) = load.unit();
        let middle = Run {
            server_cpu: of(&format!("server CPU us a {unit}"), |run| run.server_cpu),
            client_cpu: of(&format!("client CPU us a {unit}"), |run| run.client_cpu),
            per_second: of(&format!("{units} a second"), |run| run.per_second),
            per_read: of(&format!("{units} a read of the load"), |run| run.per_read),
        };
        let first = medians.first().map_or(middle.server_cpu, |first| first.server_cpu);
        let times = middle.server_cpu / first;
        add(figures, scenario, contender.name, "server CPU, times the first's", [times]);
        medians.push(middle);
    }
    eprintln!();
    Ok(medians)
}

async fn once(scenario: &str, contender: &Contender, load: Load, calls: u64) -> Result<Run, String> {
    eprint!(".");
    let failed = |error: io::Error| format!("{scenario}, {}: {error}", contender.name);
    let running = contender.start().await.map_err(failed)?;
    load.run(running.address, load.warm_up(calls)).await.map_err(failed)?;
    let (before, before_own) = (running.cpu_nanos().map_err(failed)?, own_nanos().map_err(failed)?);
    let seen = load.run(running.address, calls).await.map_err(failed)?;
    let (after, after_own) = (running.cpu_nanos().map_err(failed)?, own_nanos().map_err(failed)?);
    running.stop().await;
    let count = seen.calls as f64;
    Ok(Run {
        server_cpu: (after - before) as f64 / 1e3 / count,
        client_cpu: (after_own - before_own) as f64 / 1e3 / count,
        per_second: count / seen.elapsed.max(Duration::from_nanos(1)).as_secs_f64(),
        per_read: count / seen.reads.max(1) as f64,
    })
}
