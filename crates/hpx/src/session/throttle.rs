//! Failed logins: who failed too often has to pause.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use polywire_core::{ByteString, Moment};

/// Names and addresses remembered at once; the one that failed longest ago is forgotten first.
const MAX_KEYS: usize = 4_096;

/// Who failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Subject(ByteString),
    Address(IpAddr),
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Moment,
}

/// The failed logins of one server, by name and by address.
#[derive(Debug)]
pub(crate) struct Throttle {
    failures: Mutex<HashMap<Key, Failures>>,
    per_subject: u32,
    per_address: u32,
    pause: Duration,
}

impl Throttle {
    pub(crate) fn new(per_subject: u32, per_address: u32, pause: Duration) -> Self {
        Self { failures: Mutex::default(), per_subject, per_address, pause }
    }

    fn keys(subject: &str, address: Option<IpAddr>) -> impl Iterator<Item = Key> {
        let address = address.map(Key::Address);
        std::iter::once(Key::Subject(ByteString::from(subject))).chain(address)
    }

    fn max(&self, key: &Key) -> u32 {
        match key {
            Key::Subject(_) => self.per_subject,
            Key::Address(_) => self.per_address,
        }
    }

    /// How long this name or address still has to pause.
    pub(crate) fn pause(&self, subject: &str, address: Option<IpAddr>, now: Moment) -> Option<Duration> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        Self::keys(subject, address)
            .filter_map(|key| {
                let known = failures.get(&key)?;
                let until = known.last + self.pause;
                (known.count >= self.max(&key) && until > now).then(|| until.since(now))
            })
            .max()
    }

    /// Notes a failed login.
    pub(crate) fn failed(&self, subject: &str, address: Option<IpAddr>, now: Moment) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for key in Self::keys(subject, address) {
            if failures.len() >= MAX_KEYS && !failures.contains_key(&key) {
                let oldest = failures.iter().min_by_key(|(_, known)| known.last).map(|(key, _)| key.clone());
                oldest.and_then(|key| failures.remove(&key));
            }
            let over = self.pause;
            let known = failures.entry(key).or_insert(Failures { count: 0, last: now });
            // Whoever has paused starts anew.
            known.count = if now.since(known.last) >= over { 1 } else { known.count.saturating_add(1) };
            known.last = now;
        }
    }

    /// A login succeeded: earlier failures of the name are forgotten, those of the address are not.
    pub(crate) fn succeeded(&self, subject: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&Key::Subject(ByteString::from(subject)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn p16_a_name_and_an_address_pause_after_too_many_failures() {
        let throttle = Throttle::new(3, 5, Duration::from_secs(60));
        let address = Some(IpAddr::from([10, 0, 0, 1]));
        for second in 0..3 {
            assert_eq!(throttle.pause("alice", address, at(second)), None);
            throttle.failed("alice", address, at(second));
        }
        assert_eq!(throttle.pause("alice", None, at(2)), Some(Duration::from_secs(60)));
        assert_eq!(throttle.pause("bob", address, at(2)), None);
        throttle.failed("bob", address, at(3));
        throttle.failed("bob", address, at(4));
        assert_eq!(throttle.pause("carol", address, at(4)), Some(Duration::from_secs(60)));
        assert_eq!(throttle.pause("carol", None, at(4)), None);
        assert_eq!(throttle.pause("alice", None, at(62)), None);
        throttle.failed("alice", None, at(62));
        assert_eq!(throttle.pause("alice", None, at(62)), None, "whoever has paused may try again");
        throttle.succeeded("bob");
        throttle.failed("bob", None, at(5));
        assert_eq!(throttle.pause("bob", None, at(5)), None);
    }

    #[test]
    fn p16_what_is_remembered_is_bounded() {
        let throttle = Throttle::new(1, 1, Duration::from_secs(60));
        for number in 0..10_000_u64 {
            throttle.failed(&format!("user{number}"), None, at(number));
        }
        assert_eq!(throttle.failures.lock().unwrap().len(), MAX_KEYS);
        assert!(throttle.pause("user9999", None, at(9_999)).is_some());
    }
}
