//! The `polywire` command with one more wire: `serve`, `call`, `listen`, `run`, `check` and the others, as they are.
//!
//! `cargo run -p fifth-adapter --example command -- serve parley://127.0.0.1:4000`, and in another terminal
//! `cargo run -p fifth-adapter --example command -- call parley://127.0.0.1:4000 echo '{"n":1}'`.

use std::process::ExitCode;

fn main() -> ExitCode {
    polywire_cli::run(polywire_cli::adapters().with(fifth_adapter::ADAPTER), std::env::args_os()).into()
}
