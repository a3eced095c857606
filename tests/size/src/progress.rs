//! How far something has come that takes long.
//!
//! It is told only where `POLYWIRE_SOAK` is set, and to the system's standard error: a test that keeps what it prints to itself
//! until it fails tells this at once.

use std::io::{Write, stderr};
use std::time::{Duration, Instant};

use crate::part;

/// How often it is told.
const TOLD: Duration = Duration::from_secs(10);

/// Tells every ten seconds how far something has come, and how far it came in the end.
#[derive(Debug)]
pub struct Progress {
    what: String,
    done: u64,
    of: u64,
    began: Instant,
    told: Instant,
}

impl Progress {
    /// `of` of `what` are to be done.
    #[must_use]
    pub fn new(what: &str, of: u64) -> Self {
        let now = Instant::now();
        Self { what: what.to_owned(), done: 0, of, began: now, told: now }
    }

    /// So many are done by now.
    pub fn done(&mut self, count: u64) {
        self.done = count;
        if self.told.elapsed() >= TOLD {
            self.told = Instant::now();
            self.tell();
        }
    }

    /// One more is done.
    pub fn one_more(&mut self) {
        self.done(self.done + 1);
    }

    fn tell(&self) {
        let Self { what, done, of, began, .. } = self;
        if part() > 0.0 {
            // Nobody may be there to read it.
            let _ = writeln!(stderr(), "{what}: {done} of {of} after {} s", began.elapsed().as_secs());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.tell();
    }
}
