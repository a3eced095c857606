//! `polywire fake`: plays an application for those who write a plugin and do not have it.
//!
//! | file | holds |
//! |---|---|
//! | `plugin` | what to launch, from the command line and the manifest |
//! | `faults` | the host's session with a tap on it, and what it does wrong on demand |
//! | `transcript` | what passes, as it passes |
//! | `drive` | what is asked of the plugin, and the verdicts |

mod drive;
mod faults;
mod plugin;
mod transcript;

use std::path::PathBuf;
use std::time::Duration;

use polywire_core::{JsonLimits, JsonText};

use crate::exit::Fault;
use crate::verb::duration;

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    application: Application,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Application {
    /// Launch a HyperHQ plugin, log it in, drive it through its methods, and say what held
    Hyperhq(HyperHq),
}

/// What the command line says of a plugin.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
The plugin finds its port, id and challenge in HYPERHQ_SOCKET_PORT, HYPERHQ_PLUGIN_ID and HYPERHQ_AUTH_CHALLENGE. It is asked
initialize, test, execute and shutdown, and finds a small library behind requestData. Ends with 0 when every check held, 9 otherwise.
On Unix, programs that the plugin has started are ended when it ends.

A line of the transcript begins with its second. Behind it stands -> for what the host says and <- for what the plugin says, out and err for
what the plugin prints, and -- for what is worth knowing. Long arguments are cut, except with --json; challenges and tokens are never shown.

With --json every line is an object: {\"at\",\"from\",\"event\",\"argument\"} for a message, {\"at\",\"output\"} or {\"at\",\"error_output\"} for
what the plugin prints, {\"at\",\"note\"}, {\"check\",\"held\",\"words\",\"hint\"} for a verdict, and {\"checks\",\"failed\"} at the end. Times are seconds.")]
struct HyperHq {
    /// The plugin's folder: its plugin.json says who it is and what to start, and its files can be asked for
    #[arg(long, value_name = "DIR")]
    plugin: Option<PathBuf>,
    /// The plugin's id; the manifest's without it, or demo-plugin
    #[arg(long)]
    id: Option<String>,
    /// Longest time for the login, and for each answer; status updates extend it
    #[arg(long, value_parser = duration, default_value = "30s", value_name = "TIME")]
    timeout: Duration,
    /// What `execute` is asked with; an error as its answer is then a failure
    #[arg(long, value_parser = json, value_name = "JSON")]
    execute: Option<JsonText>,
    /// Give files to a plugin that shows no session token too; those on the C# helper show none
    #[arg(long)]
    no_file_token: bool,
    /// Lines of JSON instead of words
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    faults: Faults,
    /// The plugin's program and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// What the host does wrong.
#[derive(Clone, Debug, clap::Args)]
struct Faults {
    /// Say everything this much later: the answer to the login, requests, data
    #[arg(long, value_parser = duration, num_args = 0..=1, require_equals = true, default_missing_value = "3s", value_name = "TIME")]
    late: Option<Duration>,
    /// Never answer the first thing that the plugin asks for, or its first login
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "data", value_name = "WHAT")]
    silent: Option<Silence>,
    /// Say everything twice; the plugin must go on, and is told which requests it answered twice
    #[arg(long)]
    duplicate: bool,
    /// Send broken messages before `execute`; the plugin must pass over them
    #[arg(long)]
    malformed: bool,
    /// Cut the connection once in the middle of `execute`; the plugin must come back and log in again
    #[arg(long)]
    disconnect: bool,
}

/// What is never answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Silence {
    /// The first request for data or a file
    Data,
    /// The first `authenticate`; the plugin must try again
    Login,
}

fn json(text: &str) -> Result<JsonText, String> {
    JsonText::new(text.to_owned(), &JsonLimits::default()).map_err(|error| error.to_string())
}

/// Runs the verb.
///
/// # Errors
/// When the plugin cannot be launched, or a check did not hold.
pub(crate) async fn run(args: Args) -> Result<(), Fault> {
    let Application::Hyperhq(args) = args.application;
    drive::run(args).await
}
