//! Gathers what the conformance tests have found, prints it, and keeps it in `conformance.ndjson`: behind `cargo xtask conformance`.
//!
//! The table of the README is made of that file. With `--check` nothing is written, and findings that differ from it are a failure.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use polywire_conformance::Report;
use polywire_tests::place;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (check, folder) = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--check", folder] => (true, *folder),
        [folder] if !folder.starts_with('-') => (false, *folder),
        _ => {
            eprintln!("usage: findings [--check] FOLDER");
            return ExitCode::from(2);
        }
    };
    match gather(Path::new(folder), check) {
        Ok(good) if good => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the findings of {folder} cannot be gathered: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything holds and, when that is to be checked, is as it is kept.
fn gather(folder: &Path, check: bool) -> Result<bool, Box<dyn Error>> {
    let found = Report::read(folder)?;
    let kept = place::tests().join("conformance.ndjson");
    if check {
        print!("{}", found.to_text());
        let fresh = fs::read_to_string(&kept)? == found.verdicts().to_ndjson();
        if !fresh {
            println!(
                "tests/conformance.ndjson is stale; `cargo xtask conformance` writes it and the table anew"
            );
        }
        return Ok(fresh && found.is_good());
    }
    print!("{}\n{}", found.to_markdown(), found.to_text());
    fs::write(kept, found.verdicts().to_ndjson())?;
    Ok(found.is_good())
}
