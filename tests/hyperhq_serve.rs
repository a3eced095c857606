//! `polywire serve hyperhq://`, and plugins on npm `socket.io-client` and PyPI `python-socketio` that log in at it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::time::Duration;

use polywire_tests::install::{PYTHON_SOCKETIO, SOCKET_IO_CLIENT};
use polywire_tests::plugin_folder::plugin_folder;
use polywire_tests::process::Process;
use polywire_tests::{peer, place, skip};
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(60);
const ID: &str = "peer-plugin";
const CHALLENGE: &str = "c0ffee00c0ffee00c0ffee00c0ffee00";

/// A server of its own for one run of a plugin, because its challenge is good for one login.
async fn served(folder: &Path, scenario: &[&str], mut plugin: Command) {
    let mut serve = Command::new(env!("CARGO_BIN_EXE_polywire-under-test"));
    let files = folder.join("plugin");
    let url = format!("hyperhq://127.0.0.1:0?plugin={ID}&challenge=env:CHALLENGE&files={}", files.display());
    serve.env("CHALLENGE", CHALLENGE).args(["serve", &url]);
    let mut server = Process::start("polywire serve", serve).unwrap();
    let listening = server.wait_for_json(|line| line["address"].is_string(), LIMIT).await.unwrap();
    let port = listening["address"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    plugin
        .env("HYPERHQ_PLUGIN_ID", ID)
        .env("HYPERHQ_SOCKET_PORT", port)
        .env("HYPERHQ_AUTH_CHALLENGE", CHALLENGE)
        .args(scenario);
    let mut plugin = Process::start("the plugin", plugin).unwrap();
    let report = plugin.wait_for_json(|line| line["peer"].is_string(), LIMIT).await.unwrap();
    assert_eq!(report["ok"], true, "{scenario:?}: {report:#}");
}

const SCENARIOS: [&[&str]; 4] = [
    &["--scenario", "auth"],
    &["--scenario", "data", "--count", "100", "--inflight", "8"],
    &["--scenario", "file"],
    &["--scenario", "reconnect", "--reauth", "token", "--count", "2"],
];

#[tokio::test]
async fn a_node_plugin_finds_at_serve_what_it_finds_at_a_host() {
    let name = "a_node_plugin_finds_at_serve_what_it_finds_at_a_host";
    let Some(package) = skip::package(name, &SOCKET_IO_CLIENT) else { return };
    let folder = plugin_folder("serve-node").unwrap();
    for scenario in SCENARIOS {
        let mut node = Command::new("node");
        node.arg(peer::hyperhq_plugin(&package));
        served(&folder, scenario, node).await;
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_python_plugin_finds_at_serve_what_it_finds_at_a_host() {
    let name = "a_python_plugin_finds_at_serve_what_it_finds_at_a_host";
    let Some(package) = skip::package(name, &PYTHON_SOCKETIO) else { return };
    let folder = plugin_folder("serve-python").unwrap();
    for scenario in SCENARIOS {
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", &package).env("PYTHONDONTWRITEBYTECODE", "1");
        python.arg(place::tests().join("peers/hyperhq/plugin.py"));
        served(&folder, scenario, python).await;
    }
    std::fs::remove_dir_all(folder).unwrap();
}
