//! `cargo xtask check`: formatting, lints and documentation, as strict as CI.

use std::process::ExitCode;

use crate::steps::{cargo, run_all};

pub(crate) fn run(_: &[String]) -> ExitCode {
    let lints = ["clippy", "--workspace", "--all-targets"];
    let strict = ["--", "-D", "warnings"];
    let mut documentation = cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
    documentation.env("RUSTDOCFLAGS", "-D warnings");
    run_all(vec![
        ("formatting", cargo(&["fmt", "--all", "--check"])),
        ("lints", cargo(&[&lints[..], &["--all-features"], &strict].concat())),
        ("lints without features", cargo(&[&lints[..], &strict].concat())),
        ("documentation", documentation),
    ])
}
