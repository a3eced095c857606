//! The `polywire` command; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    polywire_cli::main().into()
}
