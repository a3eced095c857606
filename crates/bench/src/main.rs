//! Side-by-side measurements: polywire, the original peers and bare loops, on the same load, in one run.
//!
//! `run` starts every contender of a scenario in a process of its own, gives each the same load from this process, and reads
//! what the operating system accounted to it. `serve` is such a contender.

mod accounting;
mod bare;
mod bridge;
mod contender;
mod in_process;
mod load;
mod memory;
mod ours;
mod report;
mod scenario;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::Builder;

#[derive(Parser)]
#[command(about, version)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Measure, and print a table on stderr and one JSON line a figure on stdout.
    Run(scenario::Plan),
    /// Be one contender until standard input closes.
    Serve(ours::Serve),
    /// Be one client, making calls for each line on standard input.
    Drive(ours::socketio::Drive),
    /// Open idle connections after some traffic, and hold them until standard input closes.
    Idle(memory::Idle),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let on_one_thread = match &args.verb {
        // One connection gains nothing from a second thread, and the original client has one too.
        Verb::Drive(_) => true,
        Verb::Serve(serve) => serve.one_thread,
        _ => false,
    };
    let mut runtime = if on_one_thread { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    let result = runtime.enable_all().build().map_err(|error| error.to_string()).and_then(|runtime| {
        runtime.block_on(async {
            match args.verb {
                Verb::Run(plan) => scenario::run(plan).await,
                Verb::Serve(serve) => ours::serve(serve).await,
                Verb::Drive(drive) => ours::socketio::drive(drive).await,
                Verb::Idle(idle) => memory::idle(idle).await,
            }
        })
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("polywire-bench: {why}");
            ExitCode::FAILURE
        }
    }
}
