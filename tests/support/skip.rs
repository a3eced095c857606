//! The one way to leave out a test whose foreign peer is missing on this machine.
//!
//! A skip is printed and written down; `cargo xtask test` lists them all at its end. Where foreign peers are
//! required (`CI=true` or `POLYWIRE_REQUIRE_PEERS=1`) a skip is a failure instead.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::install::{Package, prepare};
use crate::place;

/// A program foreign peers need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Node.js.
    Node,
    /// The package manager of Node.js.
    Npm,
    /// Python 3.
    Python,
    /// The package manager of Python, as a module of it.
    Pip,
}

impl Tool {
    /// The program and arguments that print the version of the tool.
    fn version_command(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Node => ("node", &["--version"]),
            Self::Npm => ("npm", &["--version"]),
            Self::Python => ("python3", &["--version"]),
            Self::Pip => ("python3", &["-m", "pip", "--version"]),
        }
    }

    /// What the tool says about its version; `None` when it cannot be started here.
    pub fn version(self) -> Option<String> {
        let (program, arguments) = self.version_command();
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Whether the tool can be started here.
    pub fn is_installed(self) -> bool {
        self.version().is_some()
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Node => "node",
            Self::Npm => "npm",
            Self::Python => "python3",
            Self::Pip => "pip",
        })
    }
}

/// Whether a missing foreign peer fails the test instead of skipping it.
pub fn peers_are_required() -> bool {
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    is("CI", "true") || is("POLYWIRE_REQUIRE_PEERS", "1")
}

/// Whether every tool is here; if not, the test is recorded as skipped and has to return.
///
/// # Panics
/// When a tool is missing and [`peers_are_required`].
pub fn have(test: &str, tools: &[Tool]) -> bool {
    let Some(missing) = tools.iter().find(|tool| !tool.is_installed()) else { return true };
    record(test, &format!("{missing} is not installed"));
    false
}

/// The folder of a prepared foreign package; `None` when the test is recorded as skipped and has to return.
///
/// # Panics
/// When the package cannot be prepared and [`peers_are_required`].
pub fn package(test: &str, package: &Package) -> Option<PathBuf> {
    prepare(package).map_err(|error| record(test, &error.to_string())).ok()
}

/// Records `test` as skipped because of `reason`.
///
/// # Panics
/// When [`peers_are_required`].
pub fn record(test: &str, reason: &str) {
    let reason = reason.replace(['\n', '\t'], " ");
    eprintln!("SKIPPED {test}: {reason}");
    std::fs::create_dir_all(place::foreign()).expect("the target folder is writable");
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(place::skipped())
        .expect("the record of skipped tests is writable");
    // One write per line: appends of several test programs do not mix.
    log.write_all(format!("{test}\t{reason}\n").as_bytes()).expect("the record of skipped tests is writable");
    assert!(!peers_are_required(), "{test} was skipped where foreign peers are required: {reason}");
}
