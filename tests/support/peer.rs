//! The foreign peers of `tests/peers`, started.
//!
//! Their flags are in the README beside them. Results come as one JSON line on standard output.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
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

/// Starts the Sockhop 2.1 test server at the Unix path `path`. Needs `node`.
///
/// # Errors
/// When it cannot be started or does not listen within 20 s.
pub async fn sockhop_21_unix_server(path: &Path, arguments: &[&str]) -> Result<Process, ProcessError> {
    let path = path.display().to_string();
    let arguments: Vec<&str> = ["--path", &path].into_iter().chain(arguments.iter().copied()).collect();
    let mut server = sockhop_21("server.mjs", &arguments)?;
    server.wait_for_error_line(|line| line == format!("READY {path}"), START_LIMIT).await?;
    Ok(server)
}

/// Starts the Sockhop 2.1 test client. Needs `node`.
///
/// # Errors
/// When it cannot be started.
pub fn sockhop_21_client(arguments: &[&str]) -> Result<Process, ProcessError> {
    sockhop_21("client.mjs", arguments)
}

/// Starts a program of the Stonyx peers, which find `ws` in the folder of `package`. Needs `node`.
///
/// # Errors
/// When it cannot be copied there or started.
pub fn stonyx(program: &str, package: &Path, arguments: &[&str]) -> Result<Process, ProcessError> {
    let mut node = Command::new("node");
    node.arg(beside_modules("stonyx", package).join(program)).args(arguments);
    Process::start(program, node)
}

/// Starts the Stonyx test server on a free port and returns that port. Needs `node`.
///
/// # Errors
/// When it cannot be started or does not listen within 20 s.
pub async fn stonyx_server(package: &Path, arguments: &[&str]) -> Result<(Process, u16), ProcessError> {
    let mut server = stonyx("server.mjs", package, arguments)?;
    let listening = server.wait_for_json(|line| line["event"] == "listening", START_LIMIT).await?;
    match listening["port"].as_u64().map(u16::try_from) {
        Some(Ok(port)) => Ok((server, port)),
        _ => Err(server.error("it named no port")),
    }
}

/// Starts the Socket.IO test server, which finds `socket.io` in the folder of `package`, and returns its port. Needs `node`.
///
/// # Errors
/// When it cannot be copied there or started, or does not listen within 20 s.
pub async fn socketio_server(package: &Path, arguments: &[&str]) -> Result<(Process, u16), ProcessError> {
    let mut node = Command::new("node");
    node.arg(beside_modules("socketio", package).join("realtime-server.mjs")).args(arguments);
    let mut server = Process::start("realtime-server.mjs", node)?;
    let ready = server.wait_for_error_line(|line| line.starts_with("READY "), START_LIMIT).await?;
    let port = ready["READY ".len()..]
        .split_once("\"port\":")
        .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    match port {
        Some(port) => Ok((server, port)),
        None => Err(server.error("it named no port")),
    }
}

/// The HyperHQ test plugin, copied to where it finds the client that is in the folder of `package`.
///
/// # Panics
/// When it cannot be copied there.
#[must_use]
pub fn hyperhq_plugin(package: &Path) -> PathBuf {
    beside_modules("hyperhq", package).join("plugin.mjs")
}

/// Starts the HyperHQ test host, which finds `socket.io` in the folder of `package`. Needs `node`.
///
/// # Errors
/// When it cannot be copied there or started.
pub fn hyperhq_host(package: &Path, arguments: &[&str]) -> Result<Process, ProcessError> {
    let mut node = Command::new("node");
    node.arg(beside_modules("hyperhq", package).join("host.mjs")).args(arguments);
    Process::start("host.mjs", node)
}

/// Copies made by this process, so that no two have one name.
static COPIES: AtomicU64 = AtomicU64::new(0);

/// The peers of one wire, copied to where the modules they import are looked for: Node.js searches the folders above a program.
///
/// # Panics
/// When they cannot be copied.
pub fn beside_modules(wire: &str, package: &Path) -> PathBuf {
    let folder = package.join(format!("{wire}-peers"));
    std::fs::create_dir_all(&folder).expect("the target folder can be written to");
    for entry in std::fs::read_dir(place::tests().join("peers").join(wire)).expect("the peers are there") {
        let from = entry.expect("a file of the peers").path();
        let (Some(name), Ok(text)) = (from.file_name(), std::fs::read(&from)) else { continue };
        let to = folder.join(name);
        if std::fs::read(&to).is_ok_and(|there| there == text) {
            continue;
        }
        // Another test may be copying too: whoever is last puts the same file there.
        let number = COPIES.fetch_add(1, Ordering::Relaxed);
        let part = folder.join(format!("{}.{}.{number}", name.display(), std::process::id()));
        std::fs::write(&part, text).expect("the target folder can be written to");
        std::fs::rename(&part, &to).expect("the target folder can be written to");
    }
    folder
}

fn sockhop_21(program: &str, arguments: &[&str]) -> Result<Process, ProcessError> {
    let mut node = Command::new("node");
    node.arg(place::tests().join("peers/sockhop").join(program)).args(arguments);
    Process::start(program, node)
}
