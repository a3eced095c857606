//! `polywire-fuzz`: runs the targets, each for a while, and writes down the input that shows a fault.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use polywire_fuzz::driver::{Finding, Until, execute, minimize, run};
use polywire_fuzz::{TARGETS, Target};

const HELP: &str = "polywire-fuzz [--target NAME] [--seconds S | --executions N] [--seed N]
polywire-fuzz --target NAME --minimize FILE

  --target NAME     only this target
  --seconds S       how long each target runs (default 3)
  --executions N    how many inputs each target runs instead
  --seed N          which inputs (default 1): the same number, the same inputs
  --minimize FILE   make the input in FILE shorter as long as it shows a fault
  --list            the names of the targets";

/// What was asked for.
struct Asked {
    target: Option<&'static Target>,
    until: Until,
    seed: u64,
    minimize: Option<PathBuf>,
    list: bool,
}

/// Where the last panic was.
static PANIC: Mutex<String> = Mutex::new(String::new());

fn main() -> ExitCode {
    let asked = match read(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(wrong) => {
            eprintln!("{wrong}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    if asked.list {
        TARGETS.iter().for_each(|target| println!("{}", target.name));
        return ExitCode::SUCCESS;
    }
    // Panics are what is looked for, and handlers that panic are part of the tests: only the last one is of interest.
    std::panic::set_hook(Box::new(|info| {
        if let Ok(mut last) = PANIC.lock() {
            *last = info.location().map(ToString::to_string).unwrap_or_default();
        }
    }));
    match (&asked.minimize, asked.target) {
        (Some(file), Some(target)) => shorten(target, file),
        (Some(_), None) => {
            eprintln!("--minimize needs --target\n\n{HELP}");
            ExitCode::from(2)
        }
        (None, only) => {
            let targets = TARGETS.iter().filter(|target| only.is_none_or(|only| only.name == target.name));
            let found = targets.filter(|target| !hold(target, &asked)).count();
            if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    }
}

fn read(mut words: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut asked = Asked {
        target: None,
        until: Until::Elapsed(Duration::from_secs(3)),
        seed: 1,
        minimize: None,
        list: false,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
        match word.as_str() {
            "--target" => {
                let name = value()?;
                let found = TARGETS.iter().find(|target| target.name == name);
                asked.target = Some(found.ok_or_else(|| format!("there is no target {name}"))?);
            }
            "--seconds" => {
                let text = value()?;
                let seconds =
                    text.parse::<f64>().ok().and_then(|span| Duration::try_from_secs_f64(span).ok());
                asked.until =
                    Until::Elapsed(seconds.ok_or_else(|| format!("{text:?} is no number of seconds"))?);
            }
            "--executions" => asked.until = Until::Executions(number(value()?)?),
            "--seed" => asked.seed = number(value()?)?,
            "--minimize" => asked.minimize = Some(value()?.into()),
            "--list" => asked.list = true,
            _ => return Err(format!("{word} is not understood")),
        }
    }
    Ok(asked)
}

/// Runs one target; whether nothing was found.
fn hold(target: &Target, asked: &Asked) -> bool {
    match run(target, asked.seed, asked.until) {
        Ok(report) => {
            println!(
                "{:<16} {:>10} executions in {:>5.1} s, {:>5} inputs kept, slowest {:?}",
                target.name,
                report.executions,
                report.took.as_secs_f64(),
                report.corpus,
                report.slowest
            );
            true
        }
        Err(finding) => {
            show(target, &finding);
            false
        }
    }
}

fn show(target: &Target, finding: &Finding) {
    eprintln!("{}: after {} executions: {}", target.name, finding.after, finding.what);
    if let Ok(last) = PANIC.lock() {
        eprintln!("at {last}");
    }
    eprintln!("input, {} bytes: {}", finding.input.len(), hex(&finding.input));
    let folder = folder();
    let file = folder.join(format!("{}-{}.bin", target.name, finding.after));
    match std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, &finding.input)) {
        Ok(()) => {
            eprintln!(
                "written to {0}; shorten it with --target {1} --minimize {0}",
                file.display(),
                target.name
            );
        }
        Err(error) => eprintln!("it could not be written to {}: {error}", file.display()),
    }
}

fn shorten(target: &Target, file: &PathBuf) -> ExitCode {
    let input = match std::fs::read(file) {
        Ok(input) => input,
        Err(error) => {
            eprintln!("{} cannot be read: {error}", file.display());
            return ExitCode::from(2);
        }
    };
    if execute(target, &input).is_ok() {
        println!("{} shows no fault", file.display());
        return ExitCode::SUCCESS;
    }
    let input = minimize(target, &input);
    let what = execute(target, &input).err().unwrap_or_default();
    show(target, &Finding { what, input, after: 0 });
    ExitCode::FAILURE
}

/// At most the first 4 KiB.
fn hex(bytes: &[u8]) -> String {
    let shown = bytes.iter().take(4 << 10).map(|byte| format!("{byte:02x}")).collect::<String>();
    if bytes.len() > 4 << 10 { shown + "..." } else { shown }
}

/// Where findings are written: `fuzz` in the target folder.
fn folder() -> PathBuf {
    polywire_tests::place::foreign().with_file_name("fuzz")
}
