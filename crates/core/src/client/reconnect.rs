//! When and how often a client dials.

use std::time::Duration;

use crate::moment::{Random, random_below};

/// When and how often to dial.
#[derive(Clone, Debug, PartialEq)]
pub struct Reconnect {
    /// Dial again when a connection is lost or could not be made; default true.
    pub enabled: bool,
    /// Longest first pause; doubles with every failure. Default 250 ms.
    pub first_pause: Duration,
    /// Longest pause; default 30 s. Every pause is a random part of it (full jitter).
    pub max_pause: Duration,
    /// A connection that was up this long starts the pauses anew; default 60 s.
    pub settled_after: Duration,
    /// Refused logins in a row after which the client stops; default 3.
    pub max_refusals: u32,
    /// After that many refusals, try once in this time instead of stopping; default none.
    pub refused_pause: Option<Duration>,
    /// Longest time for one dial; default 10 s.
    pub dial_timeout: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            enabled: true,
            first_pause: Duration::from_millis(250),
            max_pause: Duration::from_secs(30),
            settled_after: Duration::from_secs(60),
            max_refusals: 3,
            refused_pause: None,
            dial_timeout: Duration::from_secs(10),
        }
    }
}

impl Reconnect {
    /// One attempt, no other.
    pub fn never() -> Self {
        Self { enabled: false, ..Self::default() }
    }

    pub(super) fn pause(&self, failures: u32, random: &dyn Random) -> Duration {
        let most =
            self.first_pause.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.max_pause);
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(random_below(random, most.saturating_add(1)))
    }
}
