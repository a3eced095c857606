//! Prepares every foreign package the tests use and says what is there: behind `cargo xtask peers`.

use std::process::ExitCode;

use polywire_tests::install::{ALL, prepare};
use polywire_tests::skip::Tool;

fn main() -> ExitCode {
    for tool in [Tool::Node, Tool::Npm, Tool::Python, Tool::Pip] {
        match tool.version() {
            Some(version) => println!("{tool:<8} {version}"),
            None => println!("{tool:<8} is not installed"),
        }
    }
    let mut missing = 0;
    for package in ALL {
        match prepare(&package) {
            Ok(folder) => println!("{package} is in {}", folder.display()),
            Err(error) => {
                println!("{package} is missing: {error}");
                missing += 1;
            }
        }
    }
    if missing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
