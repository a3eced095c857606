//! How much of something a test does: little in `cargo xtask test`, all of it in `cargo xtask soak`, and how far it has come.

use std::time::{Duration, Instant};

/// `small`, or `full` where `POLYWIRE_SOAK` is set, as `cargo xtask soak` does: 1 is all of it, 0.1 a tenth.
pub fn size(small: u64, full: u64) -> u64 {
    // The least that is done is what the tests do.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let part = (full as f64 * part()) as u64;
    part.max(small)
}

/// Is everything done at its full size, so that figures mean what they say?
pub fn is_full() -> bool {
    part() >= 1.0
}

fn part() -> f64 {
    let asked = std::env::var("POLYWIRE_SOAK").ok();
    asked.and_then(|part| part.parse().ok()).unwrap_or(0.0)
}

/// How often is told how far something has come.
const TOLD: Duration = Duration::from_secs(10);

/// Tells on standard error, every ten seconds, how far something has come that takes long.
#[derive(Debug)]
pub struct Progress {
    what: String,
    of: u64,
    began: Instant,
    told: Instant,
}

impl Progress {
    /// `of` of `what` are to be done.
    #[must_use]
    pub fn new(what: &str, of: u64) -> Self {
        let now = Instant::now();
        Self { what: what.to_owned(), of, began: now, told: now }
    }

    /// So many are done.
    pub fn done(&mut self, count: u64) {
        if self.told.elapsed() >= TOLD {
            self.told = Instant::now();
            eprintln!("{}: {count} of {} after {} s", self.what, self.of, self.began.elapsed().as_secs());
        }
    }
}
