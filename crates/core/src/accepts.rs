//! Who is let in, and how fast: the places of one address, and the pace of accepting.
//!
//! Peers on this machine are bound by neither: they share one address, and what serves them is theirs.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connection::Endpoint;
use crate::ledger::Count;
use crate::moment::{Moment, sleep_until};

/// Lets connections in by the limits of an [`Endpoint`]: `max_connections` and the pace of accepting hold the next one in the
/// backlog of the operating system, `max_connections_per_address` turns it away and counts it.
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
            crowd: Crowd::new(limits.max_connections_per_address),
            pace: Pace::new(limits.max_accepts_per_second, limits.max_accept_burst),
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
            self.next = self.pace.accepted(surroundings.clock.now());
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
        let seat = self.crowd.enter(origin);
        if seat.is_none() {
            let max = self.endpoint.limits.max_connections_per_address;
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

/// How many connections each origin has. It holds an entry only for those that have one.
#[derive(Debug)]
pub(crate) struct Crowd {
    max: usize,
    present: Mutex<HashMap<IpAddr, usize>>,
}

impl Crowd {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, present: Mutex::default() })
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
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Duration,
    burst: Duration,
    /// When the peers accepted so far would have come at an even pace.
    even: Moment,
}

impl Pace {
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1).checked_div(per_second).unwrap_or(Duration::from_secs(1));
        Self { interval, burst: interval.saturating_mul(burst), even: Moment::default() }
    }

    /// One was accepted at `now`; says when the next may be, `None` for at once.
    pub(crate) fn accepted(&mut self, now: Moment) -> Option<Moment> {
        self.even = self.even.max(now) + self.interval;
        let next = now + (self.even - now).saturating_sub(self.burst.saturating_sub(self.interval));
        (self.even - now >= self.burst).then_some(next.max(now + Duration::from_nanos(1)))
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
        let crowd = Crowd::new(2);
        let one = origin(Some("192.0.2.7:1"));
        let seats = [crowd.enter(one), crowd.enter(one)];
        assert!(seats.iter().all(Option::is_some) && crowd.enter(one).is_none());
        assert!(crowd.enter(origin(Some("192.0.2.8:1"))).is_some() && crowd.enter(None).is_some());
        drop(seats);
        assert!(crowd.present.lock().unwrap().is_empty());
    }

    #[test]
    fn c05_a_burst_is_accepted_at_once_and_the_rest_at_an_even_pace() {
        let mut pace = Pace::new(200, 400);
        let start = Moment::from_start(Duration::from_secs(100));
        let mut now = start;
        let mut came = Vec::new();
        for _ in 0..1_000 {
            came.push((now - start).as_millis());
            now = pace.accepted(now).unwrap_or(now);
        }
        assert_eq!((came[0], came[399]), (0, 0));
        assert!(came[401] > 0, "the burst is over");
        assert!((2_990..=3_000).contains(&came[999]), "{}", came[999]);
        let later = now + Duration::from_secs(10);
        assert_eq!(pace.accepted(later), None, "after a quiet time there is a burst again");
    }
}
