//! Socket.IO: the processor time of a client that asks and gets its acknowledgements.

use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Instant;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};

use super::{LONGEST, Plan, figure, ourselves, wanted};
use crate::accounting::{cpu_nanos, median};
use crate::contender::Contender;
use crate::report::{Bar, Figure};
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
    let mut runs: Vec<(Vec<f64>, Vec<f64>)> = vec![Default::default(); group.len()];
    for _ in 0..plan.runs {
        for ((contender, calls), (cpu, rate)) in group.iter().zip(&mut runs) {
            eprint!(".");
            let (micros, per_second) = once(contender, *calls)
                .await
                .map_err(|error| format!("{scenario}, {}: {error}", contender.name))?;
            cpu.push(micros);
            rate.push(per_second);
        }
    }
    eprintln!();
    for ((contender, _), (cpu, rate)) in group.iter().zip(&mut runs) {
        figures.push(figure(scenario, contender.name, "client CPU us a call", cpu));
        figures.push(figure(scenario, contender.name, "calls a second", rate));
        medians.push(median(cpu));
    }
    server.abort();
    if let [ours, theirs] = medians[..] {
        let text = "times less client CPU than socket.io-client".to_owned();
        bars.push(Bar {
            scenario: scenario.to_owned(),
            text,
            reached: theirs / ours,
            asked: 4.0,
            at_most: false,
        });
    }
    Ok(())
}

fn contenders(plan: &Plan, address: SocketAddr, calls: u64) -> Result<Vec<(Contender, u64)>, String> {
    let address = address.to_string();
    let in_flight = IN_FLIGHT.to_string();
    let ours = ourselves("polywire", &["drive", &address, &calls.to_string(), &in_flight])?;
    let mut group = vec![(ours, calls)];
    if Plan::has(&plan.socketio_modules) {
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

/// Microseconds of processor time a call, and calls a second, of one process that has made as many calls before.
async fn once(contender: &Contender, calls: u64) -> io::Result<(f64, f64)> {
    let mut client = Client::start(contender)?;
    client.until("READY").await?;
    client.calls().await?;
    let pid = client.child.id().ok_or_else(|| io::Error::other("it has ended"))?;
    let (before, start) = (cpu_nanos(pid)?, Instant::now());
    client.calls().await?;
    let (after, elapsed) = (cpu_nanos(pid)?, start.elapsed());
    client.child.kill().await?;
    let calls = calls as f64;
    Ok(((after - before) as f64 / 1e3 / calls, calls / elapsed.as_secs_f64()))
}
