//! `cargo xtask bench`: polywire, the originals and bare loops side by side, in one run.
//!
//! Arguments go on to the program of `crates/bench`: `--only sockhop`, `--runs 5`, `--calls 1600000`.

use std::process::ExitCode;

use crate::steps::{cargo, run_all};

pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let mut measure = cargo(&["run", "--quiet", "--release", "--package", "polywire-bench", "--", "run"]);
    measure.args(arguments);
    let peers = cargo(&["run", "--quiet", "--package", "polywire-tests", "--bin", "foreign-peers"]);
    run_all(vec![("foreign peers", peers), ("measurements", measure)])
}
