//! The unusual inputs of the independent suites against our Stonyx ends: the outcome recorded of the library, or one that is listed.
//!
//! What differs stands in `stonyx_unusual.json`, row by row, with what we do and why. A row that differs and is not listed fails;
//! so does a row that is listed and no longer differs, or differs in another way.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::time::Duration;

use polywire_tests::install::WS;
use polywire_tests::{peer, place, skip};
use serde_json::Value;

/// Each suite waits a moment after every row.
const LIMIT: Duration = Duration::from_secs(240);

/// Runs one suite and gives back its rows that differ, and its summary.
async fn run(
    package: &std::path::Path,
    suite: &str,
    role: &str,
    golden: &str,
) -> (BTreeMap<String, Value>, Value) {
    let command = format!("{} {role}", env!("CARGO_BIN_EXE_stonyx-under-test"));
    let golden = place::tests().join("vectors/stonyx").join(golden).display().to_string();
    let mut program = peer::stonyx(suite, package, &["--cmd", &command, "--golden", &golden]).unwrap();
    let mut rows = BTreeMap::new();
    loop {
        let line = program.wait_for_json(|_| true, LIMIT).await.unwrap();
        let Some(id) = line["differs"].as_str() else { return (rows, line) };
        let state = line["state"].as_str().or(line["phase"].as_str()).unwrap();
        let sealed = if line["encrypted"] == true { "sealed" } else { "plain" };
        rows.insert(format!("{id}, {state}, {sealed}"), line["mine"].clone());
    }
}

fn listed(suite: &str) -> BTreeMap<String, (Value, String)> {
    let text = std::fs::read_to_string(place::tests().join("stonyx_unusual.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let rows = all[suite].as_array().unwrap().iter();
    rows.map(|row| {
        let why = row["why"].as_str().unwrap().to_owned();
        assert!(why.len() > 20, "{row} says why");
        (row["row"].as_str().unwrap().to_owned(), (row["ours"].clone(), why))
    })
    .collect()
}

fn assert_listed(rows: &BTreeMap<String, Value>, suite: &str) {
    let listed = listed(suite);
    let mut wrong = Vec::new();
    for (row, ours) in rows {
        match listed.get(row) {
            None => wrong.push(format!("differs and is not listed: {row}: {ours}")),
            Some((known, _)) if known != ours => wrong.push(format!("differs in another way: {row}: {ours}")),
            Some(_) => {}
        }
    }
    wrong.extend(
        listed.keys().filter(|row| !rows.contains_key(*row)).map(|row| format!("no longer differs: {row}")),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn unusual_input_to_our_server_ends_as_recorded_or_as_listed() {
    let Some(package) = skip::package("unusual_input_to_our_server_ends_as_recorded_or_as_listed", &WS)
    else {
        return;
    };
    let (rows, summary) = run(&package, "conform-server.mjs", "server", "malformed-server.json").await;
    assert_eq!((summary["cases"].as_u64(), summary["crashes"].as_u64()), (Some(386), Some(0)), "{summary}");
    assert_listed(&rows, "server");
}

#[tokio::test]
async fn unusual_servers_leave_our_client_as_recorded_or_as_listed() {
    let Some(package) = skip::package("unusual_servers_leave_our_client_as_recorded_or_as_listed", &WS)
    else {
        return;
    };
    let (rows, summary) = run(&package, "conform-client.mjs", "probe", "malformed-client.json").await;
    assert_eq!((summary["cases"].as_u64(), summary["crashes"].as_u64()), (Some(146), Some(0)), "{summary}");
    assert_listed(&rows, "client");
}
