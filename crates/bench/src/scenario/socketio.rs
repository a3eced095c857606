//! Socket.IO: the processor time of a client that asks and gets its acknowledgements.

use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Instant;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};

use super::{LONGEST, Plan, ourselves, wanted};
use crate::accounting::{cpu_nanos, own_nanos, repeat_strays};
use crate::contender::Contender;
use crate::report::{Bar, Figure, add};
use crate::{bare, load};

const IN_FLIGHT: u64 = 64;

/// Runs what the plan names.
///
/// # Errors
/// When a contender cannot be started or fails, naming which.
pub(super) async fn run(plan: &Plan, figures: &mut Vec<Figure>, bars: &mut Vec<Bar>) -> Result<(), String> {
    let scenario = "socketio-client";
    if !wanted(plan, scenario) {
        return Ok(());
    }
    eprint!("{scenario} ");
    let failed = |error: io::Error| format!("{scenario}: {error}");
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let server = tokio::spawn(bare::socketio::serve(listener));
    let calls = plan.calls / 4;
    let group = contenders(plan, address, calls)?;
    let mut medians = Vec::new();
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); group.len()];
    for _ in 0..plan.runs {
        for ((contender, calls), runs) in group.iter().zip(&mut runs) {
            runs.push(once(contender, *calls).await?);
        }
    }
    for ((contender, calls), runs) in group.iter().zip(&mut runs) {
        let judged = |run: &Run| [run.client_cpu, run.server_cpu, run.per_second];
        repeat_strays(runs, judged, async || once(contender, *calls).await).await?;
        let mut of = |what, value: fn(&Run) -> f64| {
            add(figures, scenario, contender.name, what, runs.iter().map(value))
        };
        medians.push(of("client CPU us a call", |run| run.client_cpu));
        of("server CPU us a call", |run| run.server_cpu);
        of("calls a second", |run| run.per_second);
        let times = medians[medians.len() - 1] / medians[0];
        add(figures, scenario, contender.name, "client CPU, times the first's", [times]);
    }
    eprintln!();
    server.abort();
    if let [ours, theirs, _] = medians[..] {
        bars.push(Bar::at_least(scenario, "times less client CPU than socket.io-client", theirs / ours, 4.0));
    }
    Ok(())
}

fn contenders(plan: &Plan, address: SocketAddr, calls: u64) -> Result<Vec<(Contender, u64)>, String> {
    let address = address.to_string();
    let in_flight = IN_FLIGHT.to_string();
    let ours = ourselves("polywire", &["drive", &address, &calls.to_string(), &in_flight])?;
    let mut group = vec![(ours, calls)];
    if Plan::has(&plan.socketio_modules, "node") {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/socketio_client.mjs");
        let calls = calls / 4;
        let command = [
            "node",
            script,
            &plan.socketio_modules,
            &address,
            &calls.to_string(),
            &in_flight,
            &load::sockhop::body(100),
        ];
        group.push((
            Contender { name: "npm socket.io-client", command: command.map(str::to_owned).to_vec() },
            calls,
        ));
    }
    let bare = ["drive", &address, &calls.to_string(), &in_flight, "--bare"];
    group.push((ourselves("bare loop", &bare)?, calls));
    Ok(group)
}

/// A client that is running.
struct Client {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Client {
    fn start(contender: &Contender) -> io::Result<Self> {
        let (program, arguments) = contender.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
        Ok(Self { child, lines: BufReader::new(output).lines() })
    }

    async fn until(&mut self, word: &str) -> io::Result<()> {
        let line = tokio::time::timeout(LONGEST, self.lines.next_line()).await??;
        if line.as_deref() == Some(word) {
            return Ok(());
        }
        Err(io::Error::other(format!("it said {line:?} instead of {word}")))
    }

    async fn calls(&mut self) -> io::Result<()> {
        let input = self.child.stdin.as_mut().ok_or_else(|| io::Error::other("no standard input"))?;
        input.write_all(b"go\n").await?;
        input.flush().await?;
        self.until("DONE").await
    }
}

/// One run of one client; the server is this process.
#[derive(Clone, Copy)]
struct Run {
    /// Microseconds of processor time a call.
    client_cpu: f64,
    server_cpu: f64,
    per_second: f64,
}

/// A run of a process that has made as many calls before.
async fn once(contender: &Contender, calls: u64) -> Result<Run, String> {
    eprint!(".");
    let run = async {
        let mut client = Client::start(contender)?;
        client.until("READY").await?;
        client.calls().await?;
        let pid = client.child.id().ok_or_else(|| io::Error::other("it has ended"))?;
        let (before, before_own, start) = (cpu_nanos(pid)?, own_nanos()?, Instant::now());
        client.calls().await?;
        let (after, after_own, elapsed) = (cpu_nanos(pid)?, own_nanos()?, start.elapsed());
        client.child.kill().await?;
        let micros_a_call = |nanos: u64| nanos as f64 / 1e3 / calls as f64;
        Ok(Run {
            client_cpu: micros_a_call(after - before),
            server_cpu: micros_a_call(after_own - before_own),
            per_second: calls as f64 / elapsed.as_secs_f64(),
        })
    };
    run.await.map_err(|error: io::Error| format!("socketio-client, {}: {error}", contender.name))
}
