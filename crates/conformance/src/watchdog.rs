//! Ends what would never end: a case whose adapter keeps the one thread there is.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::case::Broken;

/// How often a case shows that it lives, and how often that is looked at.
const BEAT: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_millis(250);
/// Looks in a row without a beat after which nobody believes in one any more: 15 s, in which a busy machine runs anything once.
const LOOKS: u32 = 60;

/// The pulse of a case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Beats as long as tasks of this thread get their turns.
    pub(crate) async fn beat(self) {
        let mut beat = tokio::time::interval(BEAT);
        loop {
            beat.tick().await;
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Runs a case on a thread of its own, and gives what it found, or what has become of it. A thread that is stuck is left behind.
pub(crate) fn watch<T: Send + 'static>(
    name: &'static str,
    case: impl FnOnce(Pulse) -> Result<T, Broken> + Send + 'static,
) -> Result<T, Broken> {
    let (tell, told) = mpsc::channel();
    let pulse = Pulse::default();
    let beating = pulse.clone();
    let work = move || {
        // Nobody listens any more when it comes too late.
        let _ = tell.send(case(beating));
    };
    let running = thread::Builder::new().name(name.to_owned()).spawn(work);
    let running = running.map_err(|error| Broken::new(format!("no thread: {error}")))?;
    let (mut known, mut still) = (pulse.count(), 0);
    loop {
        match told.recv_timeout(LOOK) {
            Ok(found) => return found,
            Err(RecvTimeoutError::Disconnected) => {
                let why = running.join().err().map_or_else(String::new, |panic| words(&*panic).to_owned());
                return Err(Broken::new(format!("it has panicked: {why}")));
            }
            Err(RecvTimeoutError::Timeout) => {
                let now = pulse.count();
                still = if now == known { still + 1 } else { 0 };
                known = now;
                if still >= LOOKS {
                    let long = LOOK * LOOKS;
                    return Err(Broken::new(format!(
                        "a task has kept the thread for {long:?} and not given it back"
                    )));
                }
            }
        }
    }
}

/// What somebody panicked with.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_case_finds_is_given_and_a_panic_is_told() {
        assert_eq!(watch("found", |_| Ok(7)), Ok(7));
        let why = watch::<()>("panics", |_| panic!("on purpose")).unwrap_err();
        assert_eq!(why.to_string(), "it has panicked: on purpose");
    }
}
