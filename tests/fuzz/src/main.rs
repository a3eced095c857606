//! `polywire-fuzz`: runs the targets, each for a while, and writes down the input that shows a fault.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use polywire_fuzz::driver::{Finding, Plan, Until, execute, minimize, run};
use polywire_fuzz::{TARGETS, Target};

const HELP: &str = "polywire-fuzz [--target NAME] [--seconds S | --executions N] [--seed N]
polywire-fuzz --target NAME --minimize FILE

  --target NAME     only this target
  --seconds S       how long each target runs (default 3)
  --executions N    how many inputs each target runs instead
  --limit S         longest one execution may take (default 10; 1 with optimisation)
  --seed N          which inputs (default 1): the same number, the same inputs
  --minimize FILE   make the input in FILE shorter as long as it shows a fault
  --write-seeds DIR write the inputs that fuzzing begins with, a folder for each target
  --list            the names of the targets";

/// What was asked for.
struct Asked {
    target: Option<&'static Target>,
    plan: Plan,
    minimize: Option<PathBuf>,
    write_seeds: Option<PathBuf>,
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
    if let Some(folder) = &asked.write_seeds {
        return match write_seeds(folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("the seeds cannot be written to {}: {error}", folder.display());
                ExitCode::FAILURE
            }
        };
    }
    // Panics are what is looked for, and handlers that panic are part of the tests: only the last one is of interest.
    std::panic::set_hook(Box::new(|info| {
        if let Ok(mut last) = PANIC.lock() {
            *last = info.location().map(ToString::to_string).unwrap_or_default();
        }
    }));
    match (&asked.minimize, asked.target) {
        (Some(file), Some(target)) => shorten(target, file, asked.plan.limit),
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
        plan: Plan { seed: 1, until: Until::Elapsed(Duration::from_secs(3)), limit: Duration::from_secs(10) },
        minimize: None,
        write_seeds: None,
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
            "--seconds" => asked.plan.until = Until::Elapsed(seconds(&value()?)?),
            "--limit" => asked.plan.limit = seconds(&value()?)?,
            "--executions" => asked.plan.until = Until::Executions(number(value()?)?),
            "--seed" => asked.plan.seed = number(value()?)?,
            "--minimize" => asked.minimize = Some(value()?.into()),
            "--write-seeds" => asked.write_seeds = Some(value()?.into()),
            "--list" => asked.list = true,
            _ => return Err(format!("{word} is not understood")),
        }
    }
    Ok(asked)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().and_then(|span| Duration::try_from_secs_f64(span).ok());
    seconds.ok_or_else(|| format!("{text:?} is no number of seconds"))
}

/// Runs one target; whether nothing was found.
fn hold(target: &Target, asked: &Asked) -> bool {
    match run(target, asked.plan) {
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
    match fs::create_dir_all(&folder).and_then(|()| fs::write(&file, &finding.input)) {
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

fn shorten(target: &Target, file: &Path, limit: Duration) -> ExitCode {
    let input = match fs::read(file) {
        Ok(input) => input,
        Err(error) => {
            eprintln!("{} cannot be read: {error}", file.display());
            return ExitCode::from(2);
        }
    };
    if execute(target, &input, limit).is_ok() {
        println!("{} shows no fault", file.display());
        return ExitCode::SUCCESS;
    }
    let input = minimize(target, &input, limit);
    let what = execute(target, &input, limit).err().unwrap_or_default();
    show(target, &Finding { what, input, after: 0 });
    ExitCode::FAILURE
}

fn write_seeds(folder: &Path) -> io::Result<()> {
    for target in TARGETS {
        let folder = folder.join(target.name);
        fs::create_dir_all(&folder)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(folder.join(format!("{number:05}")), seed)?;
        }
    }
    Ok(())
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
