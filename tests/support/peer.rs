//! The foreign peers of `tests/peers`, started.
//!
//! Their flags are in the README beside them. Results come as one JSON line on standard output.

use std::time::Duration;

use tokio::process::Command;

use crate::place;
use crate::process::{Process, ProcessError};

/// How long a peer may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Starts the HPX test server on a free port and returns that port. Needs `python3`.
///
/// # Errors
/// When it cannot be started or does not listen within 20 s.
pub async fn hpx_server(arguments: &[&str]) -> Result<(Process, u16), ProcessError> {
    let mut python = Command::new("python3");
    python
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(place::tests().join("peers/hpx/hpx_peer_server.py"))
        .args(arguments);
    let mut server = Process::start("hpx_peer_server.py", python)?;
    let listening = server.wait_for_json(|line| line["listening"].is_u64(), START_LIMIT).await?;
    match listening["listening"].as_u64().map(u16::try_from) {
        Some(Ok(port)) => Ok((server, port)),
        _ => Err(server.error("it named no port")),
    }
}

/// Starts the Sockhop 2.1 test server on a free port and returns that port. Needs `node`.
///
/// # Errors
/// When it cannot be started or does not listen within 20 s.
pub async fn sockhop_21_server(arguments: &[&str]) -> Result<(Process, u16), ProcessError> {
    let mut server = sockhop_21("server.mjs", arguments)?;
    let ready = server.wait_for_error_line(|line| line.starts_with("READY "), START_LIMIT).await?;
    match ready["READY ".len()..].trim().parse() {
        Ok(port) => Ok((server, port)),
        Err(_) => Err(server.error("it named no port")),
    }
}

/// Starts the Sockhop 2.1 test client. Needs `node`.
///
/// # Errors
/// When it cannot be started.
pub fn sockhop_21_client(arguments: &[&str]) -> Result<Process, ProcessError> {
    sockhop_21("client.mjs", arguments)
}

fn sockhop_21(program: &str, arguments: &[&str]) -> Result<Process, ProcessError> {
    let mut node = Command::new("node");
    node.arg(place::tests().join("peers/sockhop").join(program)).args(arguments);
    Process::start(program, node)
}
