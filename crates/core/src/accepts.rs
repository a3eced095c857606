//! Who is let in, and how fast: the places of one address, its failed logins, and the pace of accepting.
//!
//! Peers on this machine are bound by neither: they share one address, and what serves them is theirs.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connection::Endpoint;
use crate::ledger::Count;
use crate::limits::Limits;
use crate::moment::{Moment, sleep_until};

/// Lets connections in by the limits of an [`Endpoint`]: `max_connections` and the pace of accepting hold the next one in the
/// backlog of the operating system, `max_connections_per_address` and `max_failed_logins` turn it away and count it.
///
/// [`Server`](crate::Server) has one; a [`Listener`](crate::Listener) that accepts streams below it brings its own.
#[derive(Debug)]
pub struct Admission {
    endpoint: Endpoint,
    places: Arc<Semaphore>,
    crowd: Arc<Crowd>,
    pace: Pace,
    /// When the pace lets the next one in.
    next: Option<Moment>,
}

impl Admission {
    /// Nobody is in yet.
    pub fn new(endpoint: Endpoint) -> Self {
        let limits = &endpoint.limits;
        Self {
            places: Arc::new(Semaphore::new(limits.max_connections)),
            crowd: Crowd::new(limits),
            pace: Pace::new(Duration::from_secs(1), limits.max_accepts_per_second, limits.max_accept_burst),
            next: None,
            endpoint,
        }
    }

    /// Waits until one more may be accepted.
    ///
    /// # Cancel safety
    /// Dropped before its end, nothing has changed.
    pub async fn ready(&mut self) -> Place {
        // A semaphore that is never closed has a permit one day.
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { std::future::pending().await };
        if let Some(next) = self.next {
            sleep_until(&*self.endpoint.surroundings.clock, next).await;
            self.next = None;
        }
        Place { _place: place, _seat: None }
    }

    /// One was accepted from `address`: its place, or nothing when that address has as many as it may.
    pub fn admit(&mut self, place: Place, address: Option<&str>) -> Option<Place> {
        let Endpoint { ledger, surroundings, .. } = &self.endpoint;
        let origin = origin(address);
        if origin.is_some() {
            self.next = self.pace.spend(surroundings.clock.now());
            ledger.add(Count::AcceptsPaused, u64::from(self.next.is_some()));
        }
        self.seat(origin).map(|seat| Place { _seat: Some(seat), ..place })
    }

    /// One more from `address`, at once: its place, or nothing when there is none. For what is begun on a stream that is in
    /// already, and cannot wait outside.
    pub fn enter(&self, address: Option<&str>) -> Option<Place> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let max = self.endpoint.limits.max_connections;
            self.refused(format_args!(
                "connection {} exceeds max_connections = {max}",
                max.saturating_add(1)
            ));
            return None;
        };
        self.seat(origin(address)).map(|seat| Place { _place: place, _seat: Some(seat) })
    }

    fn seat(&self, origin: Option<IpAddr>) -> Option<Seat> {
        let Endpoint { limits, surroundings, .. } = &self.endpoint;
        if self.crowd.is_paused(origin, surroundings.clock.now()) {
            let max = limits.max_failed_logins;
            self.refused(format_args!("failed logins of one address exceed max_failed_logins = {max}"));
            return None;
        }
        let seat = self.crowd.enter(origin);
        if seat.is_none() {
            let max = limits.max_connections_per_address;
            let count = max.saturating_add(1);
            self.refused(format_args!(
                "connection {count} of one address exceeds max_connections_per_address = {max}"
            ));
        }
        seat
    }

    fn refused(&self, why: std::fmt::Arguments<'_>) {
        self.endpoint.ledger.add(Count::AcceptsRefused, 1);
        tracing::debug!(wire = self.endpoint.wire, "{why}");
    }
}

/// The place of one connection among those that are let in, given back when dropped.
#[derive(Debug)]
pub struct Place {
    _place: OwnedSemaphorePermit,
    _seat: Option<Seat>,
}

impl Place {
    /// The login of whoever has this place has failed.
    pub fn login_failed(&self, now: Moment) {
        if let Some(Seat { crowd, origin: Some(origin) }) = &self._seat {
            crowd.failed(*origin, now);
        }
    }

    /// Have so many logins of that address failed that none of it is judged now?
    pub fn is_paused(&self, now: Moment) -> bool {
        self._seat.as_ref().is_some_and(|seat| seat.crowd.is_paused(seat.origin, now))
    }
}

/// The network a peer comes from; `None` for one on this machine, and for a transport that has no addresses.
///
/// An IPv6 address stands for its 64-bit prefix, because one host has that many to choose from.
pub(crate) fn origin(address: Option<&str>) -> Option<IpAddr> {
    let ip = address?.parse::<SocketAddr>().ok()?.ip().to_canonical();
    match ip {
        ip if ip.is_loopback() => None,
        IpAddr::V6(ip) => Some(Ipv6Addr::from(u128::from(ip) >> 64 << 64).into()),
        ip @ IpAddr::V4(_) => Some(ip),
    }
}

/// Origins whose failed logins are remembered. For one more, those whose failures are made good are forgotten, or else the one
/// whose are soonest.
const MAX_FAILED: usize = 4_096;
/// Longest time for which an origin is kept out after its last failed login, however many have failed.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// How many connections each origin has, and how fast its logins fail. It holds an entry for those that have a connection, and
/// for at most [`MAX_FAILED`] whose logins have failed.
#[derive(Debug)]
pub(crate) struct Crowd {
    max: usize,
    present: Mutex<HashMap<IpAddr, usize>>,
    /// What an origin may do whose logins have not failed.
    patience: Pace,
    failed: Mutex<HashMap<IpAddr, Pace>>,
}

impl Crowd {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let minute = Duration::from_secs(60);
        Arc::new(Self {
            max: limits.max_connections_per_address,
            present: Mutex::default(),
            patience: Pace::new(minute, limits.max_failed_logins_per_minute, limits.max_failed_logins),
            failed: Mutex::default(),
        })
    }

    fn failed(&self, origin: IpAddr, now: Moment) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() >= MAX_FAILED && !failed.contains_key(&origin) {
            failed.retain(|_, pace| pace.even > now);
        }
        if failed.len() >= MAX_FAILED && !failed.contains_key(&origin) {
            let soonest = failed.iter().min_by_key(|(_, pace)| pace.even).map(|(origin, _)| *origin);
            soonest.and_then(|origin| failed.remove(&origin));
        }
        let pace = failed.entry(origin).or_insert(self.patience);
        pace.spend(now);
        pace.forgive_beyond(MAX_PAUSE, now);
    }

    fn is_paused(&self, origin: Option<IpAddr>, now: Moment) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        origin.and_then(|origin| failed.get(&origin)).is_some_and(|pace| pace.is_used_up(now))
    }

    /// A place for one more connection of `origin`; `None` when it has as many as it may.
    pub(crate) fn enter(self: &Arc<Self>, origin: Option<IpAddr>) -> Option<Seat> {
        if let Some(origin) = origin {
            let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
            let count = present.entry(origin).or_default();
            if *count >= self.max {
                return None;
            }
            *count += 1;
        }
        Some(Seat { crowd: Arc::clone(self), origin })
    }
}

/// One connection's place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    crowd: Arc<Crowd>,
    origin: Option<IpAddr>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(origin) = self.origin else { return };
        let mut present = self.crowd.present.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = present.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                present.remove(&origin);
            }
        }
    }
}

/// An even pace with a burst at its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    interval: Duration,
    burst: Duration,
    /// When what was spent so far would have been at an even pace.
    even: Moment,
}

impl Pace {
    /// `count` in each `span` in the long run.
    pub(crate) fn new(span: Duration, count: u32, burst: u32) -> Self {
        let interval = span.checked_div(count).unwrap_or(span);
        Self { interval, burst: interval.saturating_mul(burst), even: Moment::default() }
    }

    /// One more is spent at `now`; says when the next may be, `None` for at once.
    pub(crate) fn spend(&mut self, now: Moment) -> Option<Moment> {
        self.even = self.even.max(now) + self.interval;
        let next = now + (self.even - now).saturating_sub(self.burst.saturating_sub(self.interval));
        (self.even - now >= self.burst).then_some(next.max(now + Duration::from_nanos(1)))
    }

    /// Nobody waits longer than `pause` for the next one.
    fn forgive_beyond(&mut self, pause: Duration, now: Moment) {
        self.even = self.even.min(now + self.burst.saturating_sub(self.interval) + pause);
    }

    /// Is there nothing left of the burst, not even one?
    fn is_used_up(&self, now: Moment) -> bool {
        self.even - now > self.burst.saturating_sub(self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_host_elsewhere() {
        let of = |text: &str| origin(Some(text)).map(|ip| ip.to_string());
        assert_eq!(of("192.0.2.7:4000").as_deref(), Some("192.0.2.7"));
        assert_eq!(of("[::ffff:192.0.2.7]:4000").as_deref(), Some("192.0.2.7"));
        assert_eq!(of("[2001:db8:1:2:3:4:5:6]:1").as_deref(), Some("2001:db8:1:2::"));
        for near in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "/run/a.sock", ""] {
            assert_eq!(of(near), None, "{near}");
        }
        assert_eq!(origin(None), None);
    }

    #[test]
    fn a_seat_given_back_leaves_nothing() {
        let crowd = Crowd::new(&Limits { max_connections_per_address: 2, ..Limits::default() });
        let one = origin(Some("192.0.2.7:1"));
        let seats = [crowd.enter(one), crowd.enter(one)];
        assert!(seats.iter().all(Option::is_some) && crowd.enter(one).is_none());
        assert!(crowd.enter(origin(Some("192.0.2.8:1"))).is_some() && crowd.enter(None).is_some());
        drop(seats);
        assert!(crowd.present.lock().unwrap().is_empty());
    }

    #[test]
    fn an_address_pauses_after_too_many_failed_logins_and_what_is_remembered_is_bounded() {
        let crowd = Crowd::new(&Limits::default());
        let origin = |text: &str| origin(Some(text)).unwrap();
        let (bad, good) = (origin("192.0.2.7:1"), origin("192.0.2.8:1"));
        let at = |seconds| Moment::from_start(Duration::from_secs(seconds));
        for _ in 0..20 {
            assert!(!crowd.is_paused(Some(bad), at(100)));
            crowd.failed(bad, at(100));
        }
        assert!(crowd.is_paused(Some(bad), at(100)) && crowd.is_paused(Some(bad), at(105)));
        assert!(!crowd.is_paused(Some(good), at(100)) && !crowd.is_paused(None, at(100)));
        assert!(!crowd.is_paused(Some(bad), at(107)), "one try in six seconds");
        crowd.failed(bad, at(107));
        assert!(crowd.is_paused(Some(bad), at(107)));
        for number in 0..10_000_u32 {
            crowd.failed(IpAddr::from(number.to_be_bytes()), at(107));
        }
        assert_eq!(crowd.failed.lock().unwrap().len(), MAX_FAILED);
        assert!(crowd.is_paused(Some(bad), at(107)), "whoever failed most is remembered");
    }

    #[test]
    fn an_address_that_failed_thousands_of_logins_is_let_in_again_after_a_minute() {
        let crowd = Crowd::new(&Limits::default());
        let guesser = origin(Some("192.0.2.7:1"));
        let at = |seconds| Moment::from_start(Duration::from_secs(seconds));
        for _ in 0..5_000 {
            crowd.failed(guesser.unwrap(), at(100));
        }
        assert!(crowd.is_paused(guesser, at(159)));
        assert!(!crowd.is_paused(guesser, at(160)));
        crowd.failed(guesser.unwrap(), at(160));
        assert!(crowd.is_paused(guesser, at(160)), "one try, not a new burst");
    }

    #[test]
    fn failures_that_are_made_good_are_forgotten_before_any_other() {
        let crowd = Crowd::new(&Limits::default());
        for number in 0..4_096_u32 {
            crowd.failed(IpAddr::from(number.to_be_bytes()), Moment::from_start(Duration::from_secs(100)));
        }
        crowd.failed(IpAddr::from([192, 0, 2, 7]), Moment::from_start(Duration::from_secs(200)));
        assert_eq!(crowd.failed.lock().unwrap().len(), 1);
    }

    #[test]
    fn c05_a_burst_is_accepted_at_once_and_the_rest_at_an_even_pace() {
        let mut pace = Pace::new(Duration::from_secs(1), 200, 400);
        let start = Moment::from_start(Duration::from_secs(100));
        let mut now = start;
        let mut came = Vec::new();
        for _ in 0..1_000 {
            came.push((now - start).as_millis());
            now = pace.spend(now).unwrap_or(now);
        }
        assert_eq!((came[0], came[399]), (0, 0));
        assert!(came[401] > 0, "the burst is over");
        assert!((2_990..=3_000).contains(&came[999]), "{}", came[999]);
        let later = now + Duration::from_secs(10);
        assert_eq!(pace.spend(later), None, "after a quiet time there is a burst again");
    }
}
