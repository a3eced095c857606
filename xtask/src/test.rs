//! `cargo xtask test`: every test of the workspace, a short run of every fuzz target, then the list of what was skipped.
//!
//! Further words go to `cargo test` as they are, and then nothing is fuzzed, nor is what the conformance suite found compared with what
//! is kept. Tests write down what they skip in
//! `foreign/skipped.log` of the target folder, a name and a reason per line; where foreign peers are required (`CI=true`) one
//! entry is a failure.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::steps::{cargo, root, run_all};
use crate::{conformance, fuzz};

pub(crate) fn run(arguments: &[String]) -> ExitCode {
    // What an earlier run skipped says nothing about this one. The file is not there after a run without skips.
    let _ = fs::remove_file(skip_log());
    let mut tests = cargo(&["test", "--workspace", "--all-features", "--no-fail-fast"]);
    tests.args(arguments);
    if arguments.is_empty() {
        conformance::leave(&mut tests);
    }
    let mut steps = vec![("tests", tests)];
    if arguments.is_empty() {
        steps.push(("conformance", conformance::check()));
        steps.push(("fuzz", fuzz::short()));
    }
    let passed = run_all(steps) == ExitCode::SUCCESS;
    let skipped = fs::read_to_string(skip_log()).unwrap_or_default();
    print!("{}", report(&skipped));
    let required = std::env::var("CI").is_ok_and(|value| value == "true");
    if required && !skipped.is_empty() {
        eprintln!("failed: foreign peers are required here (CI=true)");
    }
    if holds(passed, &skipped, required) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Is a run good whose steps have passed or not, and whose tests have skipped this?
fn holds(passed: bool, skipped: &str, required: bool) -> bool {
    passed && (skipped.is_empty() || !required)
}

/// Where tests write down what they skip; `tests/support/place.rs` has the same rule.
fn skip_log() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    root().join(target).join("foreign/skipped.log")
}

/// The skipped tests for people, in order of their names.
fn report(log: &str) -> String {
    let mut lines = log
        .lines()
        .map(|line| line.split_once('\t').unwrap_or((line, "no reason given")))
        .collect::<Vec<_>>();
    lines.sort_unstable();
    lines.dedup();
    if lines.is_empty() {
        return "\nno test was skipped\n".to_owned();
    }
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let rows = lines.iter().map(|(name, reason)| format!("  {name:<width$}  {reason}\n")).collect::<String>();
    format!("\n{} skipped:\n{rows}", lines.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_tests_are_listed_by_name_and_reason() {
        assert_eq!(report(""), "\nno test was skipped\n");
        let log = "second\tnpm is not installed\nfirst_one\tnode is not installed\n";
        let expected =
            "\n2 skipped:\n  first_one  node is not installed\n  second     npm is not installed\n";
        assert_eq!(report(log), expected);
    }

    #[test]
    fn a_skipped_test_fails_the_run_only_where_foreign_peers_are_required() {
        let skipped = "one\tnode is not installed\n";
        for (passed, skipped, required, good) in [
            (true, "", false, true),
            (true, "", true, true),
            (true, skipped, false, true),
            (true, skipped, true, false),
            (false, "", false, false),
            (false, skipped, false, false),
            (false, skipped, true, false),
        ] {
            assert_eq!(holds(passed, skipped, required), good, "{passed} {skipped:?} {required}");
        }
    }
}
