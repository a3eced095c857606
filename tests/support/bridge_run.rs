//! `polywire run` as a child process, with a relay that records on each side of it.

use std::path::PathBuf;
use std::time::Duration;

use polywire_conformance::Relay;
use polywire_tests::process::Process;
use tokio::process::Command;

/// How long it may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(20);

/// `polywire run` with a relay on both sides.
pub(crate) struct Bridge {
    /// Between the client and the bridge.
    pub(crate) front: Relay,
    /// Between the bridge and the upstream.
    pub(crate) back: Relay,
    /// Killed when dropped.
    _running: Process,
}

impl Bridge {
    /// Runs `file`, in which `UPSTREAM` stands for the port of the upstream; its endpoint `in` listens.
    pub(crate) async fn start(test: &str, file: &str, upstream: u16) -> Self {
        let back = Relay::start(format!("127.0.0.1:{upstream}"), usize::MAX).await.unwrap();
        let text = file.replace("UPSTREAM", &back.address().port().to_string());
        let name = format!("{}-{test}.toml", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_polywire-under-test"));
        command.arg("run").arg(&path).env_remove("RUST_LOG");
        let mut running = Process::start("polywire run", command).unwrap();
        let listening = running.wait_for_json(|line| line["endpoint"] == "in", START_LIMIT).await.unwrap();
        std::fs::remove_file(path).unwrap();
        let front = Relay::start(listening["address"].as_str().unwrap(), usize::MAX).await.unwrap();
        Self { front, back, _running: running }
    }
}
