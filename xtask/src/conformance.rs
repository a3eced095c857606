//! `cargo xtask conformance`: the shared suite over every adapter, as a matrix, and the table of the README from it.
//!
//! Every test leaves its finding in a folder; a program of the workspace tests gathers them. `cargo xtask test` does the same with the
//! findings of its own run, and only compares.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::steps::{self, cargo, root, run_all};

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

/// The longest that all suites may take together, once they are built. On a machine that does other things besides, more is only told.
const LONGEST: Duration = Duration::from_secs(180);

pub(crate) fn run(_: &[String]) -> ExitCode {
    // By itself, so that the time of the suites is their own.
    if !steps::run("build", suites(&["--no-run"])).good {
        return ExitCode::FAILURE;
    }
    let mut suite = suites(&["--no-fail-fast"]);
    leave(&mut suite);
    let started = Instant::now();
    let good = steps::run("suite", suite).good;
    let (in_time, told) = timing(started.elapsed(), std::env::var("CI").is_ok_and(|value| value == "true"));
    let tables = cargo(&["run", "--quiet", "--package", "polywire-tests", "--bin", "pages"]);
    let rest = run_all(vec![("findings", gather(&[])), ("tables", tables)]);
    eprintln!("\n{told}");
    if good && in_time { rest } else { ExitCode::FAILURE }
}

/// Is this in time, and what is told of it? Where the limit binds, being slow is a failure.
fn timing(took: Duration, binds: bool) -> (bool, String) {
    let seconds = format!("{} s of {} s at most", took.as_secs(), LONGEST.as_secs());
    if took <= LONGEST {
        return (true, format!("the suites took {seconds}"));
    }
    let fate = if binds { "failed, because CI=true" } else { "is the machine busy?" };
    (!binds, format!("slow: the suites took {seconds}; {fate}"))
}

/// The command that tests all suites.
fn suites(arguments: &[&str]) -> Command {
    let mut command = cargo(&["test", "--all-features"]);
    for (package, test) in SUITES {
        command.args(["--package", package, "--test", test]);
    }
    command.args(arguments);
    command
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_that_take_too_long_fail_where_the_limit_binds_and_the_seconds_are_told() {
        let told = |seconds, binds| timing(Duration::from_secs(seconds), binds);
        for binds in [false, true] {
            assert_eq!(told(180, binds), (true, "the suites took 180 s of 180 s at most".to_owned()));
        }
        let slow = "slow: the suites took 181 s of 180 s at most; is the machine busy?";
        assert_eq!(told(181, false), (true, slow.to_owned()));
        let failed = "slow: the suites took 181 s of 180 s at most; failed, because CI=true";
        assert_eq!(told(181, true), (false, failed.to_owned()));
    }
}
