//! `cargo xtask conformance`: the shared suite over every adapter, as a matrix, and the table of the README from it.
//!
//! Every test leaves its finding in a folder; a program of the workspace tests gathers them. `cargo xtask test` does the same with the
//! findings of its own run, and only compares.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use crate::steps::{cargo, root, run_all};

/// Where the suite is run: a package and the name of its test.
const SUITES: &[(&str, &str)] = &[
    ("polywire-conformance", "memory"),
    ("polywire-sockhop", "conformance"),
    ("polywire-hpx", "conformance"),
    ("polywire-stonyx", "conformance"),
    ("polywire-socketio", "conformance"),
    ("polywire-hyperhq", "conformance"),
    ("fifth-adapter", "conformance"),
];

pub(crate) fn run(_: &[String]) -> ExitCode {
    let mut arguments = vec!["test", "--all-features", "--no-fail-fast"];
    for (package, test) in SUITES {
        arguments.extend(["--package", package, "--test", test]);
    }
    let mut suite = cargo(&arguments);
    leave(&mut suite);
    let tables = cargo(&["run", "--quiet", "--package", "polywire-tests", "--bin", "pages"]);
    run_all(vec![("suite", suite), ("findings", gather(&[])), ("tables", tables)])
}

/// Has the tests of a command leave their findings, in place of earlier ones.
pub(crate) fn leave(tests: &mut Command) {
    // It is not there before the first run.
    let _ = fs::remove_dir_all(folder());
    tests.env("POLYWIRE_CONFORMANCE", folder());
}

/// The command that compares the findings that were left with those that are kept.
pub(crate) fn check() -> Command {
    gather(&["--check"])
}

fn gather(arguments: &[&str]) -> Command {
    let mut gather = cargo(&["run", "--quiet", "--package", "polywire-tests", "--bin", "findings", "--"]);
    gather.args(arguments).arg(folder());
    gather
}

fn folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    root().join(target).join("conformance")
}
