//! The clock of one run: tokio's, which is paused, and a wall clock that can be set.

use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use polywire_core::{Alarm, Clock, Moment, TokioClock};

/// When the wall clock of every run begins: a night in September 2020.
const BEGIN: Duration = Duration::from_secs(1_600_000_000);

/// The clock of every program of one run.
#[derive(Debug)]
pub struct SimulatedClock {
    began: Moment,
    /// How far the wall clock was set, forwards and back.
    set: Mutex<(Duration, Duration)>,
}

impl SimulatedClock {
    /// A clock that begins now.
    pub fn new() -> Self {
        Self { began: TokioClock.now(), set: Mutex::default() }
    }

    /// Since the beginning.
    pub fn elapsed(&self) -> Duration {
        TokioClock.now() - self.began
    }

    /// Sets the wall clock forward by this many seconds, or back where negative.
    pub fn step(&self, seconds: i64) {
        let mut set = self.set.lock().expect("not poisoned");
        let span = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { set.1 += span } else { set.0 += span }
    }
}

impl Default for SimulatedClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Moment {
        TokioClock.now()
    }

    fn wall(&self) -> SystemTime {
        let (forward, back) = *self.set.lock().expect("not poisoned");
        UNIX_EPOCH + (BEGIN + self.elapsed() + forward).saturating_sub(back)
    }

    fn alarm(&self) -> Box<dyn Alarm> {
        TokioClock.alarm()
    }
}
