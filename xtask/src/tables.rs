//! `cargo xtask tables`: writes the blocks of our pages that come from the code: tables, cuts of sources.
//!
//! With `--check` it only compares. The work is done by a program of the workspace tests, which see what the tables tell of.

use std::process::ExitCode;

use crate::steps::{cargo, run_all};

pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let mut pages = cargo(&["run", "--quiet", "--package", "polywire-tests", "--bin", "pages", "--"]);
    pages.args(arguments);
    run_all(vec![("tables", pages)])
}
