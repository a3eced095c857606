//! `polywire check`: what is wrong with a bridge file and what its routes lose, without connecting to anything.

use std::path::{Path, PathBuf};

use polywire_bridge::{Config, Source, check};

use crate::exit::{Exit, Fault};
use crate::output::write_out;
use crate::pairs::{lines, pairs, pairs_table};
use crate::verb::Context;

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The bridge file
    #[arg(required_unless_present = "pairs")]
    file: Option<PathBuf>,
    /// Instead of a file: what crosses between every two wires, and what is lost
    #[arg(long, conflicts_with_all = ["file", "strict"])]
    pairs: bool,
    /// Take every warning for an error
    #[arg(long)]
    strict: bool,
    /// Print the findings and routes as lines of JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
///
/// # Errors
/// When the file cannot be read, or has errors.
pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Fault> {
    let Some(file) = &args.file else { return tell_pairs(args.json, context) };
    let mut report = check(&read(file)?, &context.adapters);
    if args.strict {
        report = report.strict();
    }
    let mut text = Vec::new();
    if args.json {
        report.write_json(&mut text).map_err(|error| Fault::output(&error))?;
    } else {
        text = report.to_text().into_bytes();
    }
    write_out(&text)?;
    match report.errors() {
        0 => Ok(()),
        errors => {
            let plural = if errors == 1 { "" } else { "s" };
            Err(Fault::new(Exit::Findings, format_args!("{} has {errors} error{plural}", report.file)))
        }
    }
}

/// Prints what crosses between every two wires.
fn tell_pairs(json: bool, context: &Context) -> Result<(), Fault> {
    let pairs = pairs(&context.adapters)?;
    match json {
        true => lines(&pairs).try_for_each(|line| line.print()),
        false => write_out(pairs_table(&pairs).as_bytes()),
    }
}

/// Reads a bridge file.
pub(crate) fn read(file: &Path) -> Result<Config, Fault> {
    Source::read(file).map(Config::parse).map_err(Fault::usage)
}
