//! `cargo xtask soak`: what the tests run small, at its full size. Each part ends by itself and says what it ran and for how long.
//!
//! `cargo xtask soak` runs every part, `cargo xtask soak PART` one of them; words behind its name are handed on to it. `--list` says
//! what there is. Tests take their size from the variable `POLYWIRE_SOAK`, where 1 is all of it and 0.1 a tenth; `simulate` and `fuzz`
//! take theirs from their words, and the variable only makes them tell how far they are.

use std::process::{Command, ExitCode};

use crate::steps::{cargo, run_all};

/// Optimised, with every assertion.
const PROFILE: &[&str] = &["--profile", "fuzz"];

/// One thing that is run at its full size.
struct Part {
    name: &'static str,
    about: &'static str,
    command: fn(&[String]) -> Command,
}

/// Every part, in the order in which they run.
const PARTS: &[Part] = &[
    Part {
        name: "simulate",
        about: "10,000 seeds of the simulation, every tenth twice; --seeds N, --from N, --threads N, --show (G-13)",
        command: simulate,
    },
    Part {
        name: "rows",
        about: "ten million replies at the deadline on HPX and on Stonyx, 100 kills, 600 flaps, 100 bad networks of each kind, 200 sleeps of an hour (B-02, B-04 to B-06, B-13, B-16, C-07, C-17, G-04, G-25)",
        command: rows,
    },
    Part {
        name: "hostile",
        about: "10,000 connects over sockets as fast as they go, 512 peers below every limit, a million callbacks, 20 million messages of a byte; bombs, bytes one by one and keys that collide, with their time (C-05, C-09, C-11, C-13, C-22, P-05, P-06, S-12)",
        command: hostile,
    },
    Part {
        name: "goals",
        about: "100 kills of each server, 100 drains and second signals, storms, floods and slow peers by the thousand, 10,000 idle \
                connections and wrong logins, an hour of mixed load (G-03, G-05, G-07 to G-10, G-16, G-27, X-16)",
        command: goals,
    },
    Part {
        name: "properties",
        about: "a million cases of each property, split invariance among them, and ten million bodies of HPX (G-02, P-18)",
        command: properties,
    },
    Part {
        name: "fuzz",
        about: "every fuzz target for 10 minutes; --seconds S, --target NAME (G-01)",
        command: fuzz,
    },
];

pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let Some((asked, words)) = arguments.split_first() else {
        return run_all(PARTS.iter().map(|part| (part.name, (part.command)(&[]))).collect());
    };
    if asked == "--list" {
        list();
        return ExitCode::SUCCESS;
    }
    match PARTS.iter().find(|part| part.name == asked) {
        Some(part) => run_all(vec![(part.name, (part.command)(words))]),
        None => {
            eprintln!("there is no part {asked:?}; `cargo xtask soak --list` says what there is");
            ExitCode::from(crate::USAGE)
        }
    }
}

fn list() {
    println!(
        "cargo xtask soak [part]; POLYWIRE_SOAK=0.1 is a tenth of every part but simulate and fuzz, which take --seeds and --seconds\n"
    );
    for part in PARTS {
        println!("  {:<10} {}", part.name, part.about);
    }
}

fn simulate(words: &[String]) -> Command {
    full(&[&["run", "--quiet", "--package", "polywire-simulation"], PROFILE, &["--"]].concat(), words)
}

/// Tests at their full size, all of them also when one fails.
fn tests(targets: &[&str], words: &[String]) -> Command {
    full(&[&["test", "--no-fail-fast"], PROFILE, targets].concat(), words)
}

/// A command of cargo at full size, unless the environment says otherwise; it tells how far it is.
fn full(arguments: &[&str], words: &[String]) -> Command {
    let mut command = cargo(arguments);
    if std::env::var_os("POLYWIRE_SOAK").is_none() {
        command.env("POLYWIRE_SOAK", "1");
    }
    command.args(words);
    command
}

fn rows(words: &[String]) -> Command {
    tests(&["--package", "polywire-simulation", "--test", "rows", "--", "--nocapture"], words)
}

fn hostile(words: &[String]) -> Command {
    let targets = ["hostile_wires", "hostile_memory", "hostile_cost", "hostile_flood", "hostile_sockhop"];
    let targets = targets.into_iter().flat_map(|target| ["--test", target]);
    let rows = ["--", "--nocapture", "c05", "c09", "c11", "c13", "c22", "p05", "p06"];
    tests(&["--package", "polywire-tests"].into_iter().chain(targets).chain(rows).collect::<Vec<_>>(), words)
}

fn goals(words: &[String]) -> Command {
    let targets = ["--test", "goals_kill", "--test", "goals_many", "--test", "goals_load"];
    let mut goals = tests(&[&["--package", "polywire-tests"], &targets[..], &["--"]].concat(), &[]);
    // One at a time: what one costs would show in the figures of another.
    goals.args(["--test-threads", "1", "--nocapture"]).args(words);
    goals
}

fn properties(words: &[String]) -> Command {
    let packages = [
        "polywire-core",
        "polywire-net",
        "polywire-sockhop",
        "polywire-hpx",
        "polywire-socketio",
        "polywire-bridge",
    ];
    let mut targets = vec!["--all-features", "--lib", "--test", "engine", "--test", "websocket"];
    packages.iter().for_each(|package| targets.extend(["--package", package]));
    // What they print is kept: some panic on purpose, a thousand times.
    targets.push("--");
    tests(&targets, words)
}

fn fuzz(words: &[String]) -> Command {
    let mut fuzz = crate::fuzz::optimised();
    if !words.iter().any(|word| word == "--seconds" || word == "--executions") {
        fuzz.args(["--seconds", "600"]);
    }
    fuzz.args(words);
    fuzz
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_its_own_name_and_takes_words() {
        for (index, part) in PARTS.iter().enumerate() {
            assert!(
                PARTS[..index].iter().all(|other| other.name != part.name),
                "{} is there twice",
                part.name
            );
            let command = (part.command)(&["a word".to_owned()]);
            assert_eq!(
                command.get_args().last().and_then(|word| word.to_str()),
                Some("a word"),
                "{}",
                part.name
            );
        }
    }

    #[test]
    fn fuzzing_takes_ten_minutes_unless_it_is_told_otherwise() {
        let words = |asked: &[&str]| {
            let asked = asked.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
            fuzz(&asked).get_args().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert!(words(&[]).ends_with(&["--seconds".to_owned(), "600".to_owned()]));
        assert_eq!(words(&["--seconds", "5"]).iter().filter(|word| *word == "--seconds").count(), 1);
    }
}
