//! The tables of the README, written from the code so that they cannot drift: `cargo xtask tables`.

use std::fmt::Write;

use clap::CommandFactory;
use polywire_bridge::Registry;
use polywire_core::{AdapterError, BinaryForm, Capabilities, Correlation, Errors, Options, ProgressForm};

use crate::args::Cli;
use crate::exit::Exit;

/// What each wire carries with its default options, as a Markdown table.
///
/// # Errors
/// None of an adapter whose default options are right.
pub fn protocols(adapters: &Registry) -> Result<String, AdapterError> {
    let mut header = "| |".to_owned();
    let mut rule = "|---|".to_owned();
    let mut roles = "| ends |".to_owned();
    let mut columns = Vec::new();
    for name in adapters.names() {
        let Some(adapter) = adapters.get(name) else { continue };
        columns.push(adapter.capabilities(&Options::new())?);
        // Writing to a string cannot fail.
        let _ = write!(header, " {name} |");
        rule.push_str("---|");
        roles.push_str(if adapter.listens() { " listens, dials |" } else { " dials |" });
    }
    let mut table = format!("{header}\n{rule}\n{roles}\n");
    for (title, cell) in ROWS {
        let _ = write!(table, "| {title} |");
        for capabilities in &columns {
            let _ = write!(table, " {} |", cell(capabilities));
        }
        table.push('\n');
    }
    Ok(table)
}

type Cell = fn(&Capabilities) -> String;

const ROWS: [(&str, Cell); 13] = [
    ("a response finds its request by", |wire| match wire.correlation {
        Correlation::Id => "id".to_owned(),
        Correlation::Name => "name".to_owned(),
        _ => "order".to_owned(),
    }),
    ("calls at once per connection", |wire| wire.max_concurrent_calls.to_string()),
    ("calls from the listening side", |wire| yes(wire.server_calls)),
    ("events from the dialling side", |wire| yes(wire.client_events)),
    ("events from the listening side", |wire| yes(wire.push)),
    ("failures travel as", |wire| match wire.errors {
        Errors::InBody => "an answer, by convention".to_owned(),
        Errors::Text => "text".to_owned(),
        _ => "code and text".to_owned(),
    }),
    ("bytes", |wire| match wire.binary {
        BinaryForm::None => "no".to_owned(),
        BinaryForm::Plain => "without a type".to_owned(),
        _ => "with a type".to_owned(),
    }),
    ("progress of a call", |wire| match wire.progress {
        ProgressForm::None => "no".to_owned(),
        ProgressForm::Connection => "of the connection".to_owned(),
        _ => "yes".to_owned(),
    }),
    ("a call can be cancelled", |wire| yes(wire.cancel)),
    ("login", |wire| yes(wire.login)),
    ("arguments by name only", |wire| yes(wire.object_arguments)),
    ("longest route", |wire| format!("{} bytes", wire.max_route_bytes)),
    ("largest body", |wire| format!("{} MiB", wire.max_body_bytes >> 20)),
];

fn yes(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

/// The verbs of the command line, as a Markdown table.
pub fn verbs() -> String {
    let mut table = "| verb | does |\n|---|---|\n".to_owned();
    for verb in Cli::command().get_subcommands() {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(table, "| `{}` | {about} |", verb.get_name());
    }
    table
}

/// The exit codes, as a Markdown table.
pub fn exit_codes() -> String {
    let mut table = "| code | means |\n|---|---|\n".to_owned();
    for exit in Exit::ALL {
        let _ = writeln!(table, "| {} | {} |", *exit as u8, exit.about());
    }
    table
}
