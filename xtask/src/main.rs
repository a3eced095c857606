//! The chores of the workspace: `cargo xtask` lists them.
//!
//! One verb is one file with a `run`; this file only chooses. Verbs need nothing but `cargo` and what they name.

mod bench;
mod check;
mod conformance;
mod fuzz;
mod peers;
mod shape;
mod soak;
mod steps;
mod tables;
mod test;
mod vectors;

use std::process::ExitCode;

/// One thing that can be asked for.
struct Verb {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> ExitCode,
}

/// Every verb, in the order in which they are listed.
const VERBS: &[Verb] = &[
    Verb {
        name: "test",
        about: "run every test, compare what was found with what is kept, list the foreign peers that were missing",
        run: test::run,
    },
    Verb { name: "check", about: "formatting, lints and documentation, as strict as CI", run: check::run },
    Verb {
        name: "bench",
        about: "measure polywire, the originals and bare loops side by side",
        run: bench::run,
    },
    Verb {
        name: "soak",
        about: "what the tests run small, at its full size; --list says what",
        run: soak::run,
    },
    Verb {
        name: "conformance",
        about: "run the shared suite over every adapter, and write its table",
        run: conformance::run,
    },
    Verb { name: "peers", about: "prepare the foreign packages and say what is there", run: peers::run },
    Verb { name: "fuzz", about: "run the fuzz targets, each for a while", run: fuzz::run },
    Verb { name: "vectors", about: "verify that the recorded bytes are whole", run: vectors::run },
    Verb {
        name: "tables",
        about: "write the tables and cuts of our pages from the code; --check only compares",
        run: tables::run,
    },
    Verb {
        name: "shape",
        about: "show the adapters side by side: file, lines, first sentence",
        run: shape::run,
    },
];

/// What a wrong command line ends with.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(asked) = arguments.next() else {
        list();
        return ExitCode::SUCCESS;
    };
    let rest = arguments.collect::<Vec<_>>();
    match VERBS.iter().find(|verb| verb.name == asked) {
        Some(verb) => (verb.run)(&rest),
        None if matches!(asked.as_str(), "help" | "--help" | "-h") => {
            list();
            ExitCode::SUCCESS
        }
        None => {
            let nearest = VERBS.iter().min_by_key(|verb| distance(verb.name, &asked));
            let hint = nearest.map_or_else(String::new, |verb| format!("; did you mean {}?", verb.name));
            eprintln!("unknown verb {asked:?}{hint}");
            ExitCode::from(USAGE)
        }
    }
}

fn list() {
    println!("cargo xtask <verb>\n");
    for verb in VERBS {
        println!("  {:<11} {}", verb.name, verb.about);
    }
}

/// How many letters must be inserted, removed or replaced to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row = (0..=to.chars().count()).collect::<Vec<_>>();
    for (line, left) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, right) in to.chars().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_single_letter_changes() {
        let pairs =
            [("", "", 0), ("", "abc", 3), ("test", "tset", 2), ("check", "chek", 1), ("shape", "shapes", 1)];
        for (from, to, expected) in pairs {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn every_verb_has_its_own_name() {
        for (index, verb) in VERBS.iter().enumerate() {
            assert!(
                VERBS[..index].iter().all(|other| other.name != verb.name),
                "{} is there twice",
                verb.name
            );
        }
    }
}
