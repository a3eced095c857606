//! Runs seeds of the simulation, says which failed, and how each of them is run again.

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use clap::Parser;
use polywire_simulation::sweep::sweep;
use polywire_simulation::{Plan, run};
use polywire_size::Progress;

/// One seed in so many is run twice, to see that its trace is the same.
const TWICE: u64 = 10;

/// Simulated sessions, engine, supervisor and bridge, by seeds.
#[derive(Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Threads to run them on; one for each processor unless said.
    #[arg(long)]
    threads: Option<u64>,
    /// Show the plan of the first seed and everything that happened in it.
    #[arg(long)]
    show: bool,
}

fn main() -> ExitCode {
    let Arguments { seeds, from, threads, show } = Arguments::parse();
    if show {
        let plan = Plan::of(from);
        println!("{plan:#?}");
        run(&plan).records.iter().for_each(|record| println!("{:>12?} {:?}", record.at, record.what));
    }
    let began = Instant::now();
    let threads = threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64));
    let progress = Mutex::new(Progress::new("simulation: seeds", seeds));
    let swept = sweep(from, seeds, threads, TWICE, || {
        progress.lock().expect("nothing panics while it is held").one_more();
    });
    for (seed, faults) in &swept.failed {
        println!("seed {seed} failed:\n  {}", faults.join("\n  "));
        println!("  again: cargo xtask soak simulate --seeds 1 --from {seed} --show");
    }
    let (failed, took) = (swept.failed.len(), began.elapsed().as_secs());
    println!("simulation: {seeds} seeds from {from}, {} records, {took} s, {failed} failed", swept.records);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
