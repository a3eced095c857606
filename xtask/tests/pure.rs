//! The rooms of the adapters between socket and handler are fed by hand: no clock, no socket, no chance, no task of their own.
//! The Socket.IO server sends nothing in the way of its library that keeps the latest alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// The sources of every adapter.
const ADAPTERS: &[&str] = &[
    "crates/sockhop",
    "crates/hpx",
    "crates/stonyx",
    "crates/socketio",
    "crates/hyperhq",
    "examples/fifth_adapter",
];
/// The rooms that are pure, with all that is within them.
const PURE: &[&str] = &["codec", "wire", "session", "translate", "packet", "message"];
/// What reaches into the world.
const WORLDLY: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    ".elapsed()",
    "std::net",
    "tokio::net",
    "tokio::time",
    "tokio::fs",
    "std::fs",
    "rand::",
    "getrandom",
    "thread::",
    "spawn(",
    "spawn_blocking",
    "{net",
    "{time,",
    "{time::",
    "{fs",
];
/// An address is a value, and opens nothing.
const VALUES: &[&str] = &["std::net::IpAddr", "std::net::SocketAddr"];

/// How the library under the Socket.IO server is asked to send an event that a later one may replace.
const REPLACEABLE: &[&str] = &["volatile(", "_volatile", "Volatile"];

/// The lines of `source`, less its tests and comments, in which one of `words` stands.
fn lines_with(source: &str, words: &[&str]) -> Vec<String> {
    let code = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let found = lines.filter(|line| {
        let rest = VALUES.iter().fold((*line).to_owned(), |line, value| line.replace(value, ""));
        words.iter().any(|word| rest.contains(word))
    });
    found.map(|line| line.trim().to_owned()).collect()
}

/// Those that reach into the world.
fn reaches(source: &str) -> Vec<String> {
    lines_with(source, WORLDLY)
}

/// Is the file at `path`, as seen from the sources of its adapter, one of a pure room?
fn is_pure(path: &Path) -> bool {
    let rooms = path.components().map(|part| Path::new(part.as_os_str()).file_stem());
    let mut rooms = rooms.map(|room| room.and_then(OsStr::to_str).unwrap_or_default());
    rooms.clone().all(|room| room != "tests") && rooms.any(|room| PURE.contains(&room))
}

/// Every file below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn the_pure_rooms_of_every_adapter_reach_nothing_of_the_world() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for adapter in ADAPTERS {
        let sources = root.join(adapter).join("src");
        let files = files(&sources);
        let pure = files.iter().filter(|file| is_pure(file.strip_prefix(&sources).unwrap()));
        let pure = pure.collect::<Vec<_>>();
        assert!(!pure.is_empty(), "{adapter} has no pure room");
        for file in pure {
            assert_eq!(reaches(&fs::read_to_string(file).unwrap()), [""; 0], "{}", file.display());
        }
    }
}

#[test]
fn a_room_that_reaches_into_the_world_is_found() {
    for line in [
        "let now = std::time::Instant::now();",
        "let now = SystemTime::now;",
        "let gone = self.began.elapsed();",
        "use std::net::TcpStream;",
        "use std::net::{IpAddr, UdpSocket};",
        "use tokio::net::TcpStream;",
        "tokio::time::sleep(pause).await;",
        "let text = std::fs::read(path)?;",
        "let chance: u64 = rand::random();",
        "getrandom::fill(&mut key)?;",
        "std::thread::sleep(pause);",
        "tokio::spawn(work);",
        "tasks.spawn(work);",
        "let done = tokio::task::spawn_blocking(work);",
        "use tokio::{net::TcpStream, sync::mpsc};",
        "use tokio::{time, sync::mpsc};",
        "use tokio::{time::Instant, sync::mpsc};",
        "use std::{fs, io};",
    ] {
        assert_eq!(reaches(&format!("fn room() {{\n    {line}\n}}\n")), [line]);
    }
    let pure = "use std::net::IpAddr;\n// Instant::now\n/// tokio::time\nfn room(now: Moment) {}\n";
    assert_eq!(reaches(pure), [""; 0]);
    assert_eq!(reaches(&format!("{pure}#[cfg(test)]\nmod tests {{\n    tokio::spawn(work);\n}}\n")), [""; 0]);
}

#[test]
fn what_is_within_a_pure_room_is_pure_and_tests_are_no_room() {
    for (path, pure) in [
        ("wire.rs", true),
        ("session/client/call.rs", true),
        ("host/session.rs", true),
        ("connection.rs", false),
        ("server/session_of_one.rs", false),
        ("tests/session.rs", false),
    ] {
        assert_eq!(is_pure(Path::new(path)), pure, "{path}");
    }
}

#[test]
fn the_socketio_server_sends_nothing_that_a_later_event_may_replace() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for file in files(&root.join("crates/socketio/src/server")) {
        let found = lines_with(&fs::read_to_string(&file).unwrap(), REPLACEABLE);
        assert_eq!(found, [""; 0], "{}", file.display());
    }
    for line in [
        "let _ = socket.volatile().emit(name, &packet);",
        "engine.emit_volatile(text);",
        "options.add_flag(BroadcastFlags::Volatile);",
    ] {
        assert_eq!(lines_with(&format!("{line}\n// {line}\n"), REPLACEABLE), [line]);
    }
}
