//! Our plugin, launched by a HyperHQ host on npm `socket.io`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../examples/hyperhq_plugin.rs"]
#[allow(dead_code, reason = "its `main` is a program's")]
mod example;

use std::path::Path;
use std::time::Duration;

use polywire_core::{Body, CallError, Caller, ClientState, Count, Json, Reconnect, Request, Route};
use polywire_hyperhq::{Environment, Plugin};
use polywire_tests::install::SOCKET_IO;
use polywire_tests::process::Process;
use polywire_tests::{peer, skip};
use serde_json::Value;
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(60);

/// One scenario with our plugin.
async fn drive(package: &Path, arguments: &[&str]) {
    drive_with(package, env!("CARGO_BIN_EXE_plugin-under-test"), arguments).await;
}

async fn drive_with(package: &Path, plugin: &str, arguments: &[&str]) {
    let mut all = vec!["--launch", plugin, "--limit-ms", "30000"];
    all.extend_from_slice(arguments);
    let mut host = peer::hyperhq_host(package, &all).unwrap();
    assert_held(&mut host, &all).await;
}

/// What the host, started with these arguments, reports at its end: everything that it checked held.
async fn assert_held(host: &mut Process, arguments: &[&str]) {
    let report = host.wait_for_json(|line| line["peer"] == "node-host", LIMIT).await.unwrap();
    assert_eq!(report["ok"], true, "{arguments:?}: {report:#}");
}

#[tokio::test]
async fn every_scenario_of_the_node_host_holds() {
    let Some(package) = skip::package("every_scenario_of_the_node_host_holds", &SOCKET_IO) else { return };
    for arguments in [
        &["--scenario", "lifecycle", "--count", "50"][..],
        &["--scenario", "lifecycle", "--require-data-token"],
        &["--scenario", "events", "--count", "500"],
        &["--scenario", "timeout-extend", "--request-timeout-ms", "1000"],
        &["--scenario", "timeout-expire", "--request-timeout-ms", "500"],
        &["--scenario", "kick"],
        &["--scenario", "reconnect", "--count", "3"],
        &["--scenario", "reconnect", "--count", "2", "--reauth", "token"],
        &["--scenario", "reconnect", "--count", "2", "--reauth", "challenge"],
    ] {
        drive(&package, arguments).await;
    }
}

/// The official server has `/` always: where the host is in `/plugin`, nobody answers there.
#[tokio::test]
async fn h25_a_host_with_one_namespace_or_both_is_found() {
    let Some(package) = skip::package("h25_a_host_with_one_namespace_or_both_is_found", &SOCKET_IO) else {
        return;
    };
    for namespaces in ["/plugin", "/", "/,/plugin", "/plugin,/"] {
        drive(&package, &["--scenario", "lifecycle", "--namespaces", namespaces]).await;
    }
}

#[tokio::test]
async fn the_plugin_asks_for_data_and_files() {
    let Some(package) = skip::package("the_plugin_asks_for_data_and_files", &SOCKET_IO) else { return };
    let plugin = concat!(env!("CARGO_BIN_EXE_plugin-under-test"), " --ask");
    for arguments in [
        &["--scenario", "data"][..],
        &["--scenario", "data", "--require-data-token", "--file-encoding", "binary"],
        &["--scenario", "data", "--no-aliases"],
    ] {
        drive_with(&package, plugin, arguments).await;
    }
}

#[tokio::test]
async fn a_plugin_that_may_not_come_back_says_so_and_ends() {
    let name = "a_plugin_that_may_not_come_back_says_so_and_ends";
    let Some(package) = skip::package(name, &SOCKET_IO) else { return };
    let plugin = env!("CARGO_BIN_EXE_plugin-under-test");
    let launch = format!("sh -c '{plugin}; echo plugin ended with $? >&2'");
    let arguments = ["--launch", &launch, "--scenario", "reconnect", "--reauth", "none", "--count", "1"];
    let mut host = peer::hyperhq_host(&package, &arguments).unwrap();
    let mut said = Vec::new();
    let note = |line: &str| {
        said.push(line.to_owned());
        line.starts_with("plugin ended with ")
    };
    let end = host.wait_for_error_line(note, LIMIT).await.unwrap();
    assert_eq!(end, "plugin ended with 1", "{said:#?}");
    // The token of before first, then the challenge; the last word of the host is what it says.
    let why = &said[said.len() - 2];
    assert!(why.starts_with("unauthenticated: ") && why.len() > "unauthenticated: ".len(), "{said:#?}");
}

/// What the host tells a plugin that somebody else starts.
async fn environment_of(host: &mut Process) -> Environment {
    let ready = host.wait_for_error_line(|line| line.starts_with("READY "), LIMIT).await.unwrap();
    let ready: Value = serde_json::from_str(&ready["READY ".len()..]).unwrap();
    Environment::from(|name| ready["env"][name].as_str().map(str::to_owned)).unwrap()
}

#[tokio::test]
async fn a_host_restarted_fifty_times_in_mid_traffic_gets_token_then_challenge_and_a_definite_end() {
    let name = "a_host_restarted_fifty_times_in_mid_traffic_gets_token_then_challenge_and_a_definite_end";
    let Some(package) = skip::package(name, &SOCKET_IO) else { return };
    let arguments = ["--scenario", "restarts", "--count", "50", "--limit-ms", "120000"];
    let mut host = peer::hyperhq_host(&package, &arguments).unwrap();
    let pace = Duration::from_millis(20);
    let reconnect = Reconnect { first_pause: pace, max_pause: pace, ..Reconnect::default() };
    let plugin = Plugin::new(environment_of(&mut host).await).reconnect(reconnect);
    let (client, _commands) = plugin.handle("test", || async { Json(true) }).unwrap().dial().unwrap();
    let traffic: JoinSet<_> = (0..8).map(|_| asks_on(client.caller().clone())).collect();
    let ends = tokio::time::timeout(LIMIT * 2, traffic.join_all()).await.expect("it gives up");
    assert!(ends.iter().all(|end| matches!(end, CallError::NotSent(_))), "{ends:?}");
    let end = client.state();
    assert!(
        matches!(&end, ClientState::Refused(refusal) if &*refusal.reason == "Invalid challenge"),
        "{end:?}"
    );
    assert!(client.watch().has_changed().is_err(), "nothing follows: it does not come back");
    assert_held(&mut host, &arguments).await;
    let ledger = client.ledger();
    let ended = [Count::CallsAnswered, Count::CallsUnknown, Count::CallsNotSent];
    assert_eq!(ended.map(|count| ledger.get(count)).iter().sum::<u64>(), ledger.get(Count::Calls));
    assert!(ledger.get(Count::CallsUnknown) >= 50, "one at least was under way at each restart");
    assert_eq!(ledger.unaccounted_frames(), 0);
}

/// Asks again and again until a call fails otherwise than with its connection.
async fn asks_on(host: Caller) -> CallError {
    loop {
        let request = Request::new(Route::from_static("getSystems"), Body::Empty).timeout(LIMIT);
        match host.call(request).await {
            Ok(_) | Err(CallError::Unknown(_)) => {}
            Err(error) => return error,
        }
    }
}

/// Every line counts, the blank ones and the words too.
#[test]
fn the_example_has_forty_lines_at_most() {
    let lines = include_str!("../examples/hyperhq_plugin.rs").lines().count();
    assert!(lines <= 40, "{lines} lines");
}

#[tokio::test]
async fn the_example_answers_asks_hears_its_event_and_tells_of_its_progress() {
    let name = "the_example_answers_asks_hears_its_event_and_tells_of_its_progress";
    let Some(package) = skip::package(name, &SOCKET_IO) else { return };
    let arguments = ["--launch", env!("CARGO_BIN_EXE_example-plugin"), "--scenario", "whole"];
    let mut host = peer::hyperhq_host(&package, &arguments).unwrap();
    let heard = host.wait_for_error_line(|line| line.starts_with("launched: "), LIMIT).await.unwrap();
    assert!(heard.contains(r#""gameId":"game-7""#), "{heard}");
    assert_held(&mut host, &arguments).await;
}

#[tokio::test]
async fn the_example_logs_in_is_tested_and_leaves_when_it_is_sent_away() {
    let name = "the_example_logs_in_is_tested_and_leaves_when_it_is_sent_away";
    let Some(package) = skip::package(name, &SOCKET_IO) else { return };
    let arguments = ["--scenario", "kick"];
    let mut host = peer::hyperhq_host(&package, &arguments).unwrap();
    let plugin = example::plugin(environment_of(&mut host).await).unwrap();
    tokio::time::timeout(LIMIT, plugin.run()).await.expect("it leaves").unwrap();
    assert_held(&mut host, &arguments).await;
}

#[tokio::test]
async fn h23_a_plugin_without_its_environment_ends_with_two() {
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_plugin-under-test"))
        .env_remove("HYPERHQ_PLUGIN_ID")
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(2));
    let said = String::from_utf8(run.stderr).unwrap();
    assert!(said.starts_with("HYPERHQ_PLUGIN_ID is not set"), "{said}");
    assert_eq!(said.lines().count(), 1);
}
