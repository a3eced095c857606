//! Commands run one after another at the top of the workspace, each shown before it starts.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// The top of the workspace.
pub(crate) fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

/// A `cargo` command at the top of the workspace, by the cargo that runs this program.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(root());
    cargo
}

/// Runs every command to its end, also behind one that failed, and says which failed.
///
/// Their output is not touched: it streams as they write it.
pub(crate) fn run_all(steps: Vec<(&str, Command)>) -> ExitCode {
    let mut failed = Vec::new();
    for (name, command) in steps {
        if !run(name, command) {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("\nfailed: {}", failed.join(", "));
    ExitCode::FAILURE
}

/// Runs one command; whether it succeeded.
pub(crate) fn run(name: &str, mut command: Command) -> bool {
    eprintln!("\n== {name}");
    let started = Instant::now();
    match command.status() {
        Ok(status) if status.success() => {
            eprintln!("== {name}: good after {} s", started.elapsed().as_secs());
            true
        }
        Ok(status) => {
            eprintln!("== {name}: failed ({status})");
            false
        }
        Err(error) => {
            eprintln!("== {name}: {:?} could not be started: {error}", command.get_program());
            false
        }
    }
}
