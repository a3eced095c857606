//! One guarantee shown of one adapter, as a test or for a program.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::bench::{Bench, SECRETS};
use crate::case::Broken;
use crate::finding::{Direction, Finding, Verdict};
use crate::guarantee::{Guarantee, guarantees};
use crate::recorder::Recorder;
use crate::report::{FOLDER, Report};
use crate::setup::Setup;
use crate::watchdog::{self, Pulse};

/// The longest that one guarantee may take; nothing comes near it unless it is broken.
const LIMIT: Duration = Duration::from_secs(120);

/// Makes a test of every guarantee, in every direction, of the adapter behind a [`Setup`](crate::Setup): an expression for one, made
/// anew in each test. The tests are named `topic::guarantee::direction`.
#[macro_export]
macro_rules! suite {
    ($setup:expr) => {
        $crate::each_guarantee! { [$crate::tests] ($setup) }
    };
}

/// The tests that [`suite!`] makes.
#[doc(hidden)]
#[macro_export]
macro_rules! tests {
    (($setup:expr) $($topic:ident { $($ways:ident $name:ident: $sentence:literal;)+ })+) => {
        $(mod $topic { $(
            #[doc = $sentence]
            mod $name {
                #[allow(unused_imports, reason = "the setup may be a value of this crate or a path")]
                use super::super::*;
                $crate::directed!($ways ($setup) concat!(stringify!($topic), "::", stringify!($name)));
            }
        )+ })+
    };
}

/// The tests of one guarantee.
#[doc(hidden)]
#[macro_export]
macro_rules! directed {
    (both ($setup:expr) $name:expr) => {
        $crate::directed!(dialled ($setup) $name);
        $crate::directed!(swapped ($setup) $name);
    };
    (swapped ($setup:expr) $name:expr) => {
        #[test]
        fn swapped() {
            $crate::check(::std::sync::Arc::new($setup), $name, $crate::Direction::Swapped);
        }
    };
    (dialled ($setup:expr) $name:expr) => {
        #[test]
        fn forward() {
            $crate::check(::std::sync::Arc::new($setup), $name, $crate::Direction::Forward);
        }
    };
}

/// Shows one guarantee of one adapter; what [`suite!`] makes tests of. The finding is left in the folder that
/// `POLYWIRE_CONFORMANCE` names, if it names one.
///
/// # Panics
/// When the guarantee does not hold, is not known, or the finding cannot be written.
pub fn check(setup: Arc<dyn Setup>, guarantee: &str, direction: Direction) {
    let known = guarantees().iter().find(|known| known.name == guarantee);
    let Some(known) = known else { panic!("there is no guarantee {guarantee:?}") };
    let finding = show(setup, known, direction);
    if let Some(folder) = std::env::var_os(FOLDER)
        && let Err(error) = write(Path::new(&folder), &finding)
    {
        panic!("the finding cannot be written to {}: {error}", Path::new(&folder).display());
    }
    if let Some(why) = finding.why {
        panic!("{}, {direction}: {}\nbut: {why}", finding.adapter, known.sentence);
    }
}

/// Shows every guarantee of one adapter, one after another, and gives the report.
pub fn run(setup: &Arc<dyn Setup>) -> Report {
    let shown = guarantees().iter().flat_map(|guarantee| {
        guarantee.directions.iter().map(|direction| show(Arc::clone(setup), guarantee, *direction))
    });
    Report::new(shown.collect())
}

/// Shows one guarantee of one adapter, and gives the finding. It runs on a thread and a runtime of its own: one thread alone, so that
/// what tasks do is as repeatable as sockets let it be, and so that all that they log is seen. An adapter that never gives that thread
/// back has failed; the thread is left to it.
pub fn show(setup: Arc<dyn Setup>, guarantee: &Guarantee, direction: Direction) -> Finding {
    let guarantee = *guarantee;
    let adapter = setup.adapter().name().to_owned();
    let log = Recorder::new(SECRETS);
    let seen = log.clone();
    let shown = watchdog::watch(guarantee.name, move |pulse| {
        let _recorded = tracing::subscriber::set_default(log.clone());
        once(&*setup, guarantee, direction, log, pulse)
    });
    let (verdict, why) = match (shown, seen.leak()) {
        (Ok(_), Some(before)) => {
            (Verdict::Failed, Some(format!("a secret is to be seen in the log, behind {before:?}")))
        }
        (Ok(verdict), None) => (verdict, None),
        (Err(broken), _) => (Verdict::Failed, Some(broken.to_string())),
    };
    Finding { adapter, guarantee: guarantee.name.to_owned(), direction, verdict, why }
}

/// One guarantee on this thread.
fn once(
    setup: &dyn Setup,
    guarantee: Guarantee,
    direction: Direction,
    log: Recorder,
    pulse: Pulse,
) -> Result<Verdict, Broken> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Broken::new(format!("no runtime: {error}")))?;
    let shown = runtime.block_on(async {
        tokio::spawn(pulse.beat());
        let bench = Bench::new(setup, direction, log)?;
        let late = |_| Broken::new(format!("it did not end within {LIMIT:?}"));
        tokio::time::timeout(LIMIT, (guarantee.show)(&bench)).await.map_err(late)?
    });
    // A task that is stuck in a call of the system is reported by what it did not do.
    runtime.shutdown_background();
    shown
}

/// A file for each finding: tests of many processes write at once.
fn write(folder: &Path, finding: &Finding) -> std::io::Result<()> {
    let Finding { adapter, guarantee, direction, .. } = finding;
    let folder = folder.join(adapter);
    fs::create_dir_all(&folder)?;
    let name = format!("{}.{direction}.ndjson", guarantee.replace("::", "."));
    fs::write(folder.join(name), Report::new(vec![finding.clone()]).to_ndjson())
}
