//! `cargo xtask fuzz`: runs the fuzz targets on the stable toolchain, optimised and with every assertion.
//!
//! Words are handed on: `--target NAME`, `--seconds S`, `--executions N`, `--seed N`, `--minimize FILE`.

use std::process::{Command, ExitCode};

use crate::steps::{cargo, run_all};

pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let mut fuzz = optimised();
    fuzz.args(arguments);
    run_all(vec![("fuzz", fuzz)])
}

/// The targets as they are built for long runs, in which they tell how far they are; words are to be added.
pub(crate) fn optimised() -> Command {
    let mut fuzz = cargo(&["run", "--quiet", "--profile", "fuzz", "--package", "polywire-fuzz", "--"]);
    fuzz.args(["--limit", "1"]).env("POLYWIRE_SOAK", "1");
    fuzz
}

/// A short run of every target as it is built for the tests.
pub(crate) fn short() -> Command {
    cargo(&["run", "--quiet", "--package", "polywire-fuzz", "--", "--seconds", "2"])
}
