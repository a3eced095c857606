//! Commands run one after another at the top of the workspace, each shown before it starts.

use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};
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

/// Runs every command to its end, also behind one that failed, and says which were good and which failed.
///
/// Their output is not touched: it streams as they write it.
pub(crate) fn run_all(steps: Vec<(&str, Command)>) -> ExitCode {
    let ends = run_each(steps);
    if ends.len() > 1 {
        eprint!("\n{}", summary(&ends));
    }
    if ends.iter().all(|(_, end)| end.good) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_each(steps: Vec<(&str, Command)>) -> Vec<(&str, End)> {
    steps.into_iter().map(|(name, command)| (name, run(name, command))).collect()
}

/// How a command ended, and what it took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) good: bool,
    seconds: u64,
}

/// Runs one command, and says how it ended.
pub(crate) fn run(name: &str, mut command: Command) -> End {
    eprintln!("\n== {name}");
    let started = Instant::now();
    let status = command.status();
    let end =
        End { good: status.as_ref().is_ok_and(ExitStatus::success), seconds: started.elapsed().as_secs() };
    match status {
        Ok(_) if end.good => eprintln!("== {name}: good after {} s", end.seconds),
        Ok(status) => eprintln!("== {name}: failed after {} s ({status})", end.seconds),
        Err(error) => {
            eprintln!("== {name}: {:?} could not be started: {error}", command.get_program());
        }
    }
    end
}

/// A line for each step.
fn summary(ends: &[(&str, End)]) -> String {
    let width = ends.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let line = |(name, end): &(&str, End)| {
        format!("  {name:<width$}  {:<6}  {:>6} s\n", if end.good { "good" } else { "failed" }, end.seconds)
    };
    ends.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    /// This program, which ends well when it lists its tests and badly when a word is not its own.
    fn this(word: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(word).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    #[test]
    fn what_comes_after_a_failure_is_run_too() {
        let nowhere = Command::new("/nowhere/at/all");
        let steps = vec![("bad", this("--nonsense")), ("good", this("--list")), ("none", nowhere)];
        let ends = run_each(steps).into_iter().map(|(name, end)| (name, end.good)).collect::<Vec<_>>();
        assert_eq!(ends, [("bad", false), ("good", true), ("none", false)]);
    }

    #[test]
    fn every_step_has_its_line() {
        let ends =
            [("simulate", End { good: true, seconds: 812 }), ("rows", End { good: false, seconds: 7 })];
        assert_eq!(summary(&ends), "  simulate  good       812 s\n  rows      failed       7 s\n");
    }
}
