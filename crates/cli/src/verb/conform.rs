//! `polywire conform`: runs the cases of the conformance suite against a program in any language.

use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::pin;

use crate::exit::{Exit, Fault};
use crate::output::{say, write_out};
use crate::signals;
use crate::target::{Url, nearest};
use crate::verb::Context;
use polywire_conformance::child::{
    Case, CaseReport, Command, Find, Found, KnownFailing, LaunchError, Plan, Report, cases, control,
    run as run_cases,
};

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
The program speaks the control protocol on standard input and output, a line of JSON each; crates/conformance/CONTROL.md is all of it.
It finds its mode in POLYWIRE_MODE and a secret of its own in POLYWIRE_SECRET. It is launched anew for every case.

With --report json there is a line {\"case\",\"mode\",\"verdict\",\"says\",\"why\",\"trace\",\"seconds\"} for each case, and a line with the counts at
the end; verdicts are held, refused, not_shown, failed, known_failure and unexpected_pass.
Ends with 0 when nothing failed that was not known to, and nothing held that was; with 9 otherwise. A signal ends the program and the run:
the cases up to then are reported, and the end is 9, as it is where the rest would have been good.")]
pub(crate) struct Args {
    /// Which end the program is
    #[arg(long, value_enum)]
    mode: Modes,
    /// A list of cases that are known to fail, ID, client:ID or server:ID a line; a listed case that holds is a finding
    #[arg(long, value_name = "FILE")]
    known_failing: Option<PathBuf>,
    /// Show what passed on the wire of a case that failed
    #[arg(long)]
    trace: bool,
    /// A report on standard output, besides the words on standard error
    #[arg(long, value_enum, value_name = "FORM")]
    report: Option<Form>,
    /// Write the report to this file instead
    #[arg(long, short, value_name = "FILE", requires = "report")]
    output: Option<PathBuf>,
    /// Run only this case; can be given several times
    #[arg(long = "case", value_name = "ID")]
    only: Vec<String>,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Which end the program is, or one after the other.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Modes {
    /// It dials
    Client,
    /// It listens
    Server,
    /// First one, then the other
    Both,
}

impl Modes {
    fn all(self) -> &'static [control::Mode] {
        match self {
            Self::Client => &[control::Mode::Client],
            Self::Server => &[control::Mode::Server],
            Self::Both => &[control::Mode::Client, control::Mode::Server],
        }
    }
}

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// A line of JSON for each case, and one with the counts
    Json,
    /// JUnit's XML
    Junit,
}

/// Runs the verb.
///
/// # Errors
/// When the program cannot be tested, or a case is a finding.
pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Fault> {
    let cases = cases().map_err(|error| Fault::new(Exit::Bug, error))?;
    let known_failing = known(args.known_failing.as_ref(), &cases)?;
    check_names(&args.only, &cases)?;
    let find = |url: &str| match Url::parse_foreign(url, &context.adapters) {
        Ok(Url { adapter, target }) => Ok(Found { adapter, target }),
        Err(Fault { what, hint, .. }) => {
            Err(hint.map_or_else(|| what.clone(), |hint| format!("{what} ({hint})")))
        }
    };
    let mut command = args.command.iter().cloned();
    let command = Command { program: command.next().unwrap_or_default(), arguments: command.collect() };
    let mut signal = pin!(signals::first());
    let mut whole = Report::default();
    // What ends the run early; the cases up to then are reported all the same.
    let mut stopped = None;
    for mode in args.mode.all() {
        let plan = Plan {
            command: command.clone(),
            mode: *mode,
            known_failing: known_failing.clone(),
            trace: args.trace,
            only: args.only.clone(),
        };
        say(format_args!("{}, as {mode}", args.command.join(" ")));
        let ran = tokio::select! {
            biased;
            () = &mut signal => {
                say("a signal: the program is ended, and the cases up to here are reported");
                Err(Fault::new(Exit::Findings, "it was stopped before every case was run"))
            }
            ran = run_mode(&plan, &find, &args, &mut whole) => ran,
        };
        if let Err(fault) = ran {
            stopped = Some(fault);
            break;
        }
    }
    if stopped.is_none() || !whole.cases.is_empty() {
        write_report(&whole, &args)?;
        say(whole.summary());
    }
    if let Some(fault) = stopped {
        return Err(fault);
    }
    match whole.findings() {
        0 => Ok(()),
        findings => Err(Fault::new(
            Exit::Findings,
            format_args!("{findings} of {} cases are findings", whole.cases.len()),
        )),
    }
}

/// Runs one mode, tells each case as it ends, and adds it to the whole.
async fn run_mode(plan: &Plan, find: &Find<'_>, args: &Args, whole: &mut Report) -> Result<(), Fault> {
    let lines = args.report == Some(Form::Json) && args.output.is_none();
    let mut gone = None;
    let tell = |case: &CaseReport| {
        // When standard error has gone there is nobody to complain to.
        let _ = io::stderr().write_all(case.to_text().as_bytes());
        if lines && gone.is_none() {
            gone = write_out(format!("{}\n", case.to_json()).as_bytes()).err();
        }
        whole.cases.push(case.clone());
    };
    run_cases(plan, find, tell).await.map_err(|error| launch_fault(&error))?;
    gone.map_or(Ok(()), Err)
}

fn launch_fault(error: &LaunchError) -> Fault {
    let (exit, hint) = match error {
        LaunchError::Cases(_) => return Fault::new(Exit::Bug, error),
        LaunchError::Start { .. } => (Exit::Usage, "what stands after -- is a program and its arguments"),
        LaunchError::Silent(_) => (
            Exit::Outcome,
            "its first line is {\"hello\":1,…}, flushed; crates/conformance/CONTROL.md shows it",
        ),
        _ => {
            (Exit::Protocol, "crates/conformance/CONTROL.md shows every line; logs belong on standard error")
        }
    };
    Fault::new(exit, error).hint(hint)
}

fn known(path: Option<&PathBuf>, cases: &[Case]) -> Result<KnownFailing, Fault> {
    let Some(path) = path else { return Ok(KnownFailing::default()) };
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Fault::usage(format_args!("cannot read {shown}: {error}")))?;
    KnownFailing::parse(&text, cases)
        .map_err(|none| Fault::usage(format_args!("{shown}: {none}")).hint(nearest_case(&none.id, cases)))
}

/// Is every case there that is asked for?
fn check_names(only: &[String], cases: &[Case]) -> Result<(), Fault> {
    match only.iter().find(|id| !cases.iter().any(|case| case.id == **id)) {
        None => Ok(()),
        Some(id) => Err(Fault::usage(format_args!("there is no case {id:?}")).hint(nearest_case(id, cases))),
    }
}

fn nearest_case(id: &str, cases: &[Case]) -> String {
    nearest(id, &cases.iter().map(|case| &*case.id).collect::<Vec<_>>())
}

/// The report, where it is not already on standard output.
fn write_report(report: &Report, args: &Args) -> Result<(), Fault> {
    let Some(form) = args.report else { return Ok(()) };
    let text = match (form, &args.output) {
        (Form::Junit, _) => report.to_junit(),
        (Form::Json, None) => format!("{}\n", report.to_json()),
        (Form::Json, Some(_)) => {
            let lines: String = report.cases.iter().map(|case| format!("{}\n", case.to_json())).collect();
            format!("{lines}{}\n", report.to_json())
        }
    };
    match &args.output {
        None => write_out(text.as_bytes()),
        Some(path) => std::fs::write(path, text)
            .map_err(|error| Fault::usage(format_args!("cannot write {}: {error}", path.display()))),
    }
}
