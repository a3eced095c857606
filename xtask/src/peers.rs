//! `cargo xtask peers`: prepares the foreign packages and says what is there.
//!
//! The work is done by a program of the workspace tests, which own the list of packages.

use std::process::ExitCode;

use crate::steps::{cargo, run_all};

pub(crate) fn run(_: &[String]) -> ExitCode {
    run_all(vec![(
        "foreign peers",
        cargo(&["run", "--quiet", "--package", "polywire-tests", "--bin", "foreign-peers"]),
    )])
}
