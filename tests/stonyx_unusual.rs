//! The unusual inputs of the independent suites against our Stonyx ends: the outcome recorded of the library, or one that is listed.
//!
//! What differs stands in `stonyx_unusual.json`, row by row, with what we do and why. A row that differs and is not listed fails;
//! so does a row that is listed and no longer differs, or differs in another way.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use polywire_tests::install::WS;
use polywire_tests::{peer, place, skip};
use serde_json::Value;

/// Each suite waits a moment after every row.
const LIMIT: Duration = Duration::from_secs(240);

/// Rows that differ, by name.
type Rows = BTreeMap<String, Value>;

/// One of the two suites.
struct Suite<'a> {
    package: &'a Path,
    program: &'a str,
    role: &'a str,
    golden: &'a str,
}

impl Suite<'_> {
    /// Runs the rows whose id contains `only`, and gives back those that differ, and the summary.
    async fn run(&self, only: &str) -> (Rows, Value) {
        let command = format!("{} {}", env!("CARGO_BIN_EXE_stonyx-under-test"), self.role);
        let golden = place::tests().join("vectors/stonyx").join(self.golden).display().to_string();
        let mut arguments = vec!["--cmd", &command, "--golden", &golden];
        if !only.is_empty() {
            arguments.extend(["--only", only]);
        }
        let mut program = peer::stonyx(self.program, self.package, &arguments).unwrap();
        let mut rows = BTreeMap::new();
        loop {
            let line = program.wait_for_json(|_| true, LIMIT).await.unwrap();
            let Some(id) = line["differs"].as_str() else { return (rows, line) };
            let state = line["state"].as_str().or(line["phase"].as_str()).unwrap();
            let sealed = if line["encrypted"] == true { "sealed" } else { "plain" };
            rows.insert(format!("{id}, {state}, {sealed}"), line["mine"].clone());
        }
    }

    /// Runs every row; the suites judge by what has happened after a moment, so a row that is not as listed is run once more,
    /// alone.
    async fn judge(&self, name: &str, cases: u64) {
        let (mut rows, summary) = self.run("").await;
        assert_eq!(
            (summary["cases"].as_u64(), summary["crashes"].as_u64()),
            (Some(cases), Some(0)),
            "{summary}"
        );
        let id = |row: &str| row.split(", ").next().unwrap().to_owned();
        let late: BTreeSet<String> = wrong(&rows, name).keys().map(|row| id(row)).collect();
        for again in late {
            rows.retain(|row, _| id(row) != again);
            rows.extend(self.run(&again).await.0.into_iter().filter(|(row, _)| id(row) == again));
        }
        let wrong = wrong(&rows, name);
        assert!(wrong.is_empty(), "{wrong:#?}");
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

/// The rows that are not as listed, and how.
fn wrong(rows: &Rows, suite: &str) -> BTreeMap<String, String> {
    let listed = listed(suite);
    let mut wrong = BTreeMap::new();
    for (row, ours) in rows {
        match listed.get(row) {
            None => wrong.insert(row.clone(), format!("differs and is not listed: {ours}")),
            Some((known, _)) if known != ours => {
                wrong.insert(row.clone(), format!("differs in another way: {ours}"))
            }
            Some(_) => None,
        };
    }
    let gone = listed.keys().filter(|row| !rows.contains_key(*row));
    wrong.extend(gone.map(|row| (row.clone(), "no longer differs".to_owned())));
    wrong
}

#[tokio::test]
async fn unusual_input_to_our_server_ends_as_recorded_or_as_listed() {
    let Some(package) = skip::package("unusual_input_to_our_server_ends_as_recorded_or_as_listed", &WS)
    else {
        return;
    };
    let (program, golden) = ("conform-server.mjs", "malformed-server.json");
    Suite { package: &package, program, role: "server", golden }.judge("server", 386).await;
}

#[tokio::test]
async fn unusual_servers_leave_our_client_as_recorded_or_as_listed() {
    let Some(package) = skip::package("unusual_servers_leave_our_client_as_recorded_or_as_listed", &WS)
    else {
        return;
    };
    let (program, golden) = ("conform-client.mjs", "malformed-client.json");
    Suite { package: &package, program, role: "probe", golden }.judge("client", 146).await;
}
