//! The `polywire` command: a thin layer over the adapters, with one contract for people and for scripts.
//!
//! Results are NDJSON on standard output, words for people stand on standard error, and how it went is the exit code
//! ([`Exit`]). Everything a verb does is done through [`polywire_core::Adapter`], so a new wire is one line in `registry.rs`, and
//! for a wire from elsewhere a command of one's own is one line too: [`run`].
//!
//! This library is what the binary is made of; [`service`] is of use to tests elsewhere.

mod args;
mod body;
mod connect;
mod exit;
mod help;
mod histogram;
mod output;
mod pairs;
mod registry;
mod secret;
pub mod service;
mod signals;
mod tables;
mod target;
mod terminal;
mod verb;

use std::ffi::OsString;
use std::io::{self, IsTerminal};

use clap::FromArgMatches;
use clap::error::ErrorKind;
use polywire_bridge::Registry;
use tokio::runtime::{Builder, Runtime};

pub use exit::Exit;
pub use pairs::{Crossing, Pair, Way, pairs, pairs_table};
pub use registry::adapters;
pub use tables::{exit_codes, protocols, verbs};

use args::Cli;
use exit::Fault;
use output::say;
use verb::Context;

/// Runs the command line of this process with every adapter of this workspace, and gives back how it went.
pub fn main() -> Exit {
    run(adapters(), std::env::args_os())
}

/// Runs a command line with these adapters; its first word is the program's name. Starts a runtime of its own.
///
/// A command that speaks one more wire is this, where `polywire_sockhop` stands for the adapter from elsewhere:
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     let adapters = polywire_cli::adapters().with(polywire_sockhop::ADAPTER);
///     polywire_cli::run(adapters, std::env::args_os()).into()
/// }
/// ```
pub fn run(adapters: Registry, words: impl IntoIterator<Item = OsString>) -> Exit {
    let read = help::command(&adapters).try_get_matches_from(words);
    let cli = match read.and_then(|read| Cli::from_arg_matches(&read)) {
        Ok(cli) => cli,
        Err(error) => {
            // There is nowhere left to complain when standard error is gone.
            let _ = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if asked { Exit::Ok } else { Exit::Usage };
        }
    };
    log_to_stderr(cli.log_filter());
    let on_one_thread = cli.on_one_thread() && std::env::var_os("TOKIO_WORKER_THREADS").is_none();
    let runtime = match runtime(on_one_thread) {
        Ok(runtime) => runtime,
        Err(error) => return report(&Fault::new(Exit::Bug, format_args!("cannot start: {error}"))),
    };
    // In a task of its own, so that a panic becomes an exit code.
    let ended = runtime.block_on(runtime.spawn(async move { cli.run(&Context { adapters }).await }));
    runtime.shutdown_background();
    match ended {
        Ok(Ok(())) => Exit::Ok,
        Ok(Err(fault)) => report(&fault),
        Err(_) => {
            let what = "stopped because of a fault of its own";
            report(
                &Fault::new(Exit::Bug, what)
                    .hint("please report it, with what was asked and the lines above"),
            )
        }
    }
}

/// A runtime of this thread alone, or of one thread for each processor unless the environment says how many.
fn runtime(on_one_thread: bool) -> io::Result<Runtime> {
    let mut builder = if on_one_thread { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.enable_all().build()
}

fn report(fault: &Fault) -> Exit {
    if fault.exit != Exit::Ok {
        match &fault.hint {
            Some(hint) => say(format_args!("{fault}\n  {hint}")),
            None => say(fault),
        }
    }
    fault.exit
}

fn log_to_stderr(filter: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(filter));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    // A program that runs a command line may log in a way of its own.
    let _ = log.try_init();
}

#[cfg(test)]
mod tests {
    use tokio::runtime::RuntimeFlavor;

    use super::runtime;

    #[test]
    fn one_thread_is_this_one_and_otherwise_there_are_many() {
        let flavor = |on_one_thread| runtime(on_one_thread).unwrap().handle().runtime_flavor();
        assert_eq!([true, false].map(flavor), [RuntimeFlavor::CurrentThread, RuntimeFlavor::MultiThread]);
    }
}
