//! Failed logins: who failed too often has to pause.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::limits::Limits;
use crate::moment::Moment;
use crate::pace::Pace;

/// Those whose failures are remembered. For one more, failures that are made good are forgotten, or else those that are soonest.
const MAX_FAILED: usize = 4_096;
/// Longest pause after the last failure, however many there were, unless a single one already costs more.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Counts the failed logins of each of many: of addresses, of names. It remembers 4 096 of them.
///
/// Every server counts those of addresses, for all wires that end a connection over one. A wire that answers a failed login and
/// goes on counts here by itself.
#[derive(Debug)]
pub struct FailedLogins<K> {
    /// What somebody may do whose logins have not failed.
    patience: Pace,
    max_pause: Duration,
    failed: Mutex<HashMap<K, Pace>>,
}

impl<K: Eq + Hash + Clone> FailedLogins<K> {
    /// Of each of them `burst` logins may fail at once, and one in each `interval` after that. Nobody pauses for longer than that
    /// interval, or than a minute where it is shorter.
    pub fn new(burst: u32, interval: Duration) -> Self {
        let patience = Pace::new(interval, 1, burst);
        Self { patience, max_pause: MAX_PAUSE.max(interval), failed: Mutex::default() }
    }

    /// Notes a failed login.
    pub fn failed<Q>(&self, who: &Q, now: Moment)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pace = failed.get(who).copied().unwrap_or(self.patience);
        pace.spend(now);
        pace.forgive_beyond(self.max_pause, now);
        if let Some(known) = failed.get_mut(who) {
            *known = pace;
            return;
        }
        if failed.len() >= MAX_FAILED {
            failed.retain(|_, pace| pace.even() > now);
        }
        if failed.len() >= MAX_FAILED {
            let soonest = failed.iter().min_by_key(|(_, pace)| pace.even()).map(|(who, _)| who.clone());
            soonest.and_then(|who| failed.remove::<Q>(who.borrow()));
        }
        failed.insert(who.to_owned(), pace);
    }

    /// A login succeeded: earlier failures are forgotten.
    pub fn succeeded<Q>(&self, who: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).remove(who);
    }

    /// How long it is until another login may be tried; `None` for at once.
    pub fn pause<Q>(&self, who: &Q, now: Moment) -> Option<Duration>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get(who).and_then(|pace| pace.pause(now))
    }
}

impl FailedLogins<IpAddr> {
    /// Those of addresses, within `max_failed_logins` and `max_failed_logins_per_minute`.
    pub fn of_addresses(limits: &Limits) -> Self {
        let minute = Duration::from_secs(60);
        let interval = minute.checked_div(limits.max_failed_logins_per_minute).unwrap_or(minute);
        Self::new(limits.max_failed_logins, interval)
    }
}

/// The network that an address is counted as; `None` for this machine, whose programs share one address and are not counted.
///
/// An IPv6 address stands for its 64-bit prefix, because one host has that many to choose from.
pub fn network_of(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        ip if ip.is_loopback() => None,
        IpAddr::V6(ip) => Some(Ipv6Addr::from(u128::from(ip) >> 64 << 64).into()),
        ip @ IpAddr::V4(_) => Some(ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_start(Duration::from_secs(seconds))
    }

    fn of(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// As a server counts addresses by default.
    fn counting() -> FailedLogins<IpAddr> {
        FailedLogins::of_addresses(&Limits::default())
    }

    #[test]
    fn an_origin_is_a_host_elsewhere() {
        let of = |text: &str| network_of(of(text)).map(|ip| ip.to_string());
        assert_eq!(of("192.0.2.7").as_deref(), Some("192.0.2.7"));
        assert_eq!(of("::ffff:192.0.2.7").as_deref(), Some("192.0.2.7"));
        assert_eq!(of("2001:db8:1:2:3:4:5:6").as_deref(), Some("2001:db8:1:2::"));
        for near in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(of(near), None, "{near}");
        }
    }

    #[test]
    fn p16_who_fails_too_often_pauses_and_what_is_remembered_is_bounded() {
        let logins = counting();
        let (bad, good) = (of("192.0.2.7"), of("192.0.2.8"));
        for _ in 0..20 {
            assert_eq!(logins.pause(&bad, at(100)), None);
            logins.failed(&bad, at(100));
        }
        assert_eq!(logins.pause(&bad, at(100)), Some(Duration::from_secs(6)));
        assert_eq!(logins.pause(&bad, at(105)), Some(Duration::from_secs(1)));
        assert_eq!(logins.pause(&good, at(100)), None);
        assert_eq!(logins.pause(&bad, at(107)), None, "one try in six seconds");
        logins.failed(&bad, at(107));
        assert_eq!(logins.pause(&bad, at(107)), Some(Duration::from_secs(5)));
        for number in 0..10_000_u32 {
            logins.failed(&IpAddr::from(number.to_be_bytes()), at(107));
        }
        assert_eq!(logins.failed.lock().unwrap().len(), MAX_FAILED);
        assert!(logins.pause(&bad, at(107)).is_some(), "whoever failed most is remembered");
    }

    #[test]
    fn who_failed_thousands_of_logins_may_try_again_after_a_minute() {
        let (logins, guesser) = (counting(), of("192.0.2.7"));
        for _ in 0..5_000 {
            logins.failed(&guesser, at(100));
        }
        assert_eq!(logins.pause(&guesser, at(159)), Some(Duration::from_secs(1)));
        assert_eq!(logins.pause(&guesser, at(160)), None);
        logins.failed(&guesser, at(160));
        assert!(logins.pause(&guesser, at(160)).is_some(), "one try, not a new burst");
    }

    #[test]
    fn failures_that_are_made_good_are_forgotten_before_any_other() {
        let logins = counting();
        for number in 0..4_096_u32 {
            logins.failed(&IpAddr::from(number.to_be_bytes()), at(100));
        }
        logins.failed(&of("192.0.2.7"), at(200));
        assert_eq!(logins.failed.lock().unwrap().len(), 1);
    }

    #[test]
    fn p16_a_name_pauses_for_as_long_as_it_says_until_a_login_succeeds() {
        let logins = FailedLogins::<String>::new(3, Duration::from_secs(300));
        for second in 0..3 {
            assert_eq!(logins.pause("alice", at(second)), None);
            logins.failed("alice", at(second));
        }
        assert_eq!(logins.pause("alice", at(3)), Some(Duration::from_secs(297)));
        assert_eq!(logins.pause("bob", at(3)), None);
        assert_eq!(logins.pause("alice", at(300)), None);
        logins.failed("alice", at(300));
        assert_eq!(logins.pause("alice", at(300)), Some(Duration::from_secs(300)));
        logins.succeeded("alice");
        assert_eq!(logins.pause("alice", at(300)), None);
    }
}
