//! The command line.

use clap::{Parser, Subcommand};

use crate::exit::{Exit, Fault};
use crate::verb::{self, Context};

/// Speak the wires of existing applications, call and serve them, and bridge one to another.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "polywire",
    version,
    after_help = Exit::table(),
    after_long_help = format!("{}\n\n{}", TARGETS, Exit::table()),
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// Say on standard error what happens: -v connections, logins, refusals, limits and calls that fail; -vv what the libraries
    /// below say besides. Without it only what an operator can mend. RUST_LOG overrides it
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

const TARGETS: &str = "\
Targets:
  sockhop://127.0.0.1:50000                 a wire, a host and a port
  sockhop+unix:///run/robot.sock            a socket path; sockhop+unix:run/robot.sock for a relative one
  hpx://user@127.0.0.1:7007?password=env:P  a login; secrets come as env:NAME or file:PATH, never as they are
  stonyx://127.0.0.1:2667?key=env:K         a shared key; encryption=off for a peer that does not seal
  socketio://127.0.0.1:3000/realtime        a namespace; auth=env:A is the JSON object the server gets at every connect
  hyperhq://127.0.0.1:52789?plugin=ID&challenge=env:C
                                            a plugin, and the challenge of its launch

`polywire help call` lists the options of each wire, and the routes of the demo service.
Results are lines of JSON on standard output, words for people stand on standard error.";

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Open every wire on this machine with one service behind them, bridge them, and show that it works
    Demo(verb::demo::Args),
    /// Serve the demo service on every URL named
    Serve(verb::serve::Args),
    /// Make one call and print its answer
    Call(verb::call::Args),
    /// Send one event
    Emit(verb::emit::Args),
    /// Print the events of a peer, across reconnects
    Listen(verb::listen::Args),
    /// Run a bridge file, on one thread unless TOKIO_WORKER_THREADS is set
    Run(verb::run::Args),
    /// Check a bridge file without connecting to anything
    Check(verb::check::Args),
    /// Measure how fast a peer answers
    Bench(verb::bench::Args),
    /// Play the application for somebody who writes a plugin for it
    Fake(verb::fake::Args),
    /// Test an adapter in any language, as a program that speaks a small control protocol
    Conform(verb::conform::Args),
}

impl Cli {
    /// The default log filter that `-v` asks for.
    pub(crate) fn log_filter(&self) -> &'static str {
        match self.verbose {
            0 => "warn",
            // A target begins with the name of its crate.
            1 => "info,polywire=debug",
            _ => "debug",
        }
    }

    /// Is it done on one thread, unless the environment says how many (`TOKIO_WORKER_THREADS`)?
    ///
    /// A bridge is: a call through it is handled twice by each of two connections, and on two processors its memory goes to and fro
    /// between them, which costs a tenth to a half more, and less gets through.
    pub(crate) fn on_one_thread(&self) -> bool {
        matches!(self.verb, Verb::Run(_))
    }

    /// Does what was asked.
    ///
    /// # Errors
    /// What stood in the way.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Fault> {
        match self.verb {
            Verb::Demo(args) => verb::demo::run(args, context).await,
            Verb::Serve(args) => verb::serve::run(args, context).await,
            Verb::Call(args) => verb::call::run(args, context).await,
            Verb::Emit(args) => verb::emit::run(args, context).await,
            Verb::Listen(args) => verb::listen::run(args, context).await,
            Verb::Run(args) => verb::run::run(args, context).await,
            Verb::Check(args) => verb::check::run(&args, context),
            Verb::Bench(args) => verb::bench::run(args, context).await,
            Verb::Fake(args) => verb::fake::run(args).await,
            Verb::Conform(args) => verb::conform::run(args, context).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent_and_its_help_has_every_exit_code() {
        Cli::command().debug_assert();
        let help = Cli::command().render_long_help().to_string();
        for exit in Exit::ALL {
            assert!(help.contains(exit.about()), "{exit:?}");
        }
    }

    #[test]
    fn a_bridge_alone_asks_for_one_thread() {
        let on_one = |words: &str| Cli::parse_from(words.split(' ')).on_one_thread();
        assert!(on_one("polywire run bridge.toml"));
        assert!(!on_one("polywire serve sockhop://127.0.0.1:0"));
    }

    #[test]
    fn each_v_lets_more_be_said() {
        for (line, filter) in
            [("", "warn"), ("-v", "info,polywire=debug"), ("-vv", "debug"), ("-vvv", "debug")]
        {
            let words = ["polywire", "check", "--pairs", line].into_iter().filter(|word| !word.is_empty());
            assert_eq!(Cli::parse_from(words).log_filter(), filter);
        }
    }
}
