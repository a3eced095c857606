//! `polywire conform` with our own adapters in the program: every case holds on every wire, from both ends, and what a wire has not
//! is shown to be refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_conform-under-test");

/// Which cases did not hold, by mode and verdict; none of them is a finding.
async fn found(wire: &str) -> BTreeMap<(String, String), Vec<String>> {
    let run = Command::new(env!("CARGO_BIN_EXE_polywire-under-test"))
        .args(["conform", "--mode", "both", "--trace", "--report", "json", "--", PROGRAM, wire])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let run = tokio::time::timeout(Duration::from_secs(400), run).await.expect("it ends").unwrap();
    let (output, errors) = (String::from_utf8(run.stdout).unwrap(), String::from_utf8(run.stderr).unwrap());
    assert_eq!(run.status.code(), Some(0), "{wire}:\n{errors}");
    let mut found = BTreeMap::<_, Vec<String>>::new();
    let mut cases = 0;
    for line in output.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let Some(case) = line["case"].as_str() else { continue };
        cases += 1;
        match line["verdict"].as_str().unwrap() {
            "held" => {}
            verdict @ ("refused" | "not_shown") => {
                let mode = line["mode"].as_str().unwrap().to_owned();
                found.entry((mode, verdict.to_owned())).or_default().push(case.to_owned());
            }
            other => panic!("{wire}: {case}: {other}"),
        }
    }
    assert_eq!(cases, 2 * polywire_conformance::child::cases().unwrap().len());
    found
}

/// These are refused, that is not shown where there is no login, and all the others hold, from both ends.
async fn shows(wire: &str, refused: &[&str], not_shown: &[&str]) {
    let found = found(wire).await;
    for mode in ["client", "server"] {
        let with =
            |verdict: &str| found.get(&(mode.to_owned(), verdict.to_owned())).cloned().unwrap_or_default();
        assert_eq!(with("refused"), refused, "{wire} as {mode}");
        assert_eq!(with("not_shown"), not_shown, "{wire} as {mode}");
    }
}

#[tokio::test]
async fn every_case_is_shown_on_sockhop() {
    shows("sockhop", &[], &["login.other_secret"]).await;
}

#[tokio::test]
async fn every_case_is_shown_on_hpx() {
    let without = [
        "body.bare",
        "body.null",
        "body.bytes",
        "body.bytes_megabyte",
        "event.from_client",
        "event.from_server",
        "event.bodies",
        "event.beside_calls",
        "back.answer",
        "back.many",
        "back.failure",
        "back.both_ways",
        "cut.events",
    ];
    shows("hpx", &without, &[]).await;
}

#[tokio::test]
async fn every_case_is_shown_on_stonyx() {
    let without = [
        "call.unserved",
        "body.bytes",
        "body.bytes_megabyte",
        "back.answer",
        "back.many",
        "back.failure",
        "back.both_ways",
    ];
    shows("stonyx", &without, &[]).await;
}

#[tokio::test]
async fn every_case_is_shown_on_socketio() {
    shows("socketio", &["call.unserved"], &["login.other_secret"]).await;
}

#[tokio::test]
async fn every_case_is_shown_on_hyperhq() {
    shows("hyperhq", &[], &[]).await;
}
