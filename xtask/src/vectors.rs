//! `cargo xtask vectors`: verifies that the recorded bytes are whole.
//!
//! The checks are tests, so that they also run with all others.

use std::process::ExitCode;

use crate::steps::{cargo, run_all};

pub(crate) fn run(_: &[String]) -> ExitCode {
    run_all(vec![("vectors", cargo(&["test", "--package", "polywire-tests", "--test", "vectors"]))])
}
