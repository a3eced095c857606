//! The `polywire` command for the tests of this package: the very `main` of its binary, built by Cargo along with them.
//!
//! Cargo builds the binaries of a package before its integration tests, but not those of its dependencies.

use std::process::ExitCode;

fn main() -> ExitCode {
    polywire_cli::main().into()
}
