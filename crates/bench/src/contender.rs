//! One server process under measurement.

use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::accounting;

/// How long a server may take to say where it listens.
const START: Duration = Duration::from_secs(20);

/// How to start a server.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    /// What the table calls it.
    pub(crate) name: &'static str,
    /// The program and its arguments; it prints one line that holds its port, and ends when standard input closes or it is
    /// killed.
    pub(crate) command: Vec<String>,
}

/// A server that is running.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    pid: u32,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Contender {
    /// Another role of this same program.
    pub(crate) fn ourselves(name: &'static str, arguments: &[&str]) -> io::Result<Self> {
        let program = std::env::current_exe()?.display().to_string();
        let command = std::iter::once(program).chain(arguments.iter().map(ToString::to_string)).collect();
        Ok(Self { name, command })
    }

    /// Starts it and waits until it says where it listens.
    ///
    /// # Errors
    /// When it cannot be started or says nothing in time.
    pub(crate) async fn start(&self) -> io::Result<Running> {
        self.start_within(START).await
    }

    /// The same, for one that needs longer.
    ///
    /// # Errors
    /// When it cannot be started or says nothing in time.
    pub(crate) async fn start_within(&self, limit: Duration) -> io::Result<Running> {
        let (program, arguments) = self.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("the process ended at once"))?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
        let mut lines = BufReader::new(output).lines();
        let line = tokio::time::timeout(limit, lines.next_line()).await??;
        let line = line.ok_or_else(|| io::Error::other(format!("{} said nothing", self.name)))?;
        let port = port_in(&line)
            .ok_or_else(|| io::Error::other(format!("{} said {line:?}, which holds no port", self.name)))?;
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Running { child, pid, address: SocketAddr::from(([127, 0, 0, 1], port)) })
    }
}

/// The last whole number up to 65535 in a line such as `READY 127.0.0.1:50000` or `{"listening": 7007, "pid": 1}`.
fn port_in(line: &str) -> Option<u16> {
    let after = line.find("listening").map_or(line, |at| &line[at..]);
    let after = after.rsplit_once("127.0.0.1:").map_or(after, |(_, port)| port);
    let digits: String =
        after.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

impl Running {
    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Processor time it has used so far, in nanoseconds.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn cpu_nanos(&self) -> io::Result<u64> {
        accounting::cpu_nanos(self.pid)
    }

    /// Ends it.
    pub(crate) async fn stop(mut self) {
        drop(self.child.stdin.take());
        // Killed when it does not end by itself; the measurement is over either way.
        if tokio::time::timeout(Duration::from_secs(2), self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}
