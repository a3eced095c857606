//! Who is let in, and how fast: the places of one address, its failed logins, and the pace of accepting.
//!
//! Peers on this machine are bound by none of these: they share one address, and what serves them is theirs.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connection::Endpoint;
use crate::failed_logins::{FailedLogins, network_of};
use crate::ledger::Count;
use crate::limits::Limits;
use crate::memory::MemoryStep;
use crate::moment::{Moment, sleep_until};
use crate::pace::Pace;

/// Lets connections in by the limits of an [`Endpoint`]: `max_connections` and the pace of accepting hold the next one in the
/// backlog of the operating system, `max_connections_per_address`, `max_failed_logins` and `max_memory_bytes` turn it away and count it.
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

    /// One was accepted from `address`: its place, or nothing when that address has as many as it may, or no memory is left for it.
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
            let count = max.saturating_add(1);
            self.refused(
                Count::AcceptsRefused,
                format_args!("connection {count} exceeds max_connections = {max}"),
            );
            return None;
        };
        self.seat(origin(address)).map(|seat| Place { _place: place, _seat: Some(seat) })
    }

    fn seat(&self, origin: Option<IpAddr>) -> Option<Seat> {
        let Endpoint { limits, surroundings, .. } = &self.endpoint;
        if surroundings.memory.step() >= MemoryStep::RefuseConnections {
            self.refused(Count::AcceptsShed, format_args!("{}", surroundings.memory.why()));
            return None;
        }
        if self.crowd.is_paused(origin, surroundings.clock.now()) {
            let max = limits.max_failed_logins;
            self.refused(
                Count::AcceptsRefused,
                format_args!("failed logins of one address exceed max_failed_logins = {max}"),
            );
            return None;
        }
        let seat = self.crowd.enter(origin);
        if seat.is_none() {
            let max = limits.max_connections_per_address;
            let count = max.saturating_add(1);
            self.refused(
                Count::AcceptsRefused,
                format_args!("connection {count} of one address exceeds max_connections_per_address = {max}"),
            );
        }
        seat
    }

    fn refused(&self, count: Count, why: std::fmt::Arguments<'_>) {
        self.endpoint.ledger.add(count, 1);
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
            crowd.logins.failed(origin, now);
        }
    }

    /// Have so many logins of that address failed that none of it is judged now?
    pub fn is_paused(&self, now: Moment) -> bool {
        self._seat.as_ref().is_some_and(|seat| seat.crowd.is_paused(seat.origin, now))
    }
}

/// The network a peer comes from; `None` for one on this machine, and for a transport that has no addresses.
fn origin(address: Option<&str>) -> Option<IpAddr> {
    network_of(address?.parse::<SocketAddr>().ok()?.ip())
}

/// How many connections each origin has, and how fast its logins fail. It holds an entry for those that have a connection, and
/// for a bounded number of those whose logins have failed.
#[derive(Debug)]
pub(crate) struct Crowd {
    max: usize,
    present: Mutex<HashMap<IpAddr, usize>>,
    logins: FailedLogins<IpAddr>,
}

impl Crowd {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            max: limits.max_connections_per_address,
            present: Mutex::default(),
            logins: FailedLogins::of_addresses(limits),
        })
    }

    fn is_paused(&self, origin: Option<IpAddr>, now: Moment) -> bool {
        origin.is_some_and(|origin| self.logins.pause(&origin, now).is_some())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_address_has_no_origin() {
        assert_eq!(origin(Some("192.0.2.7:4000")), Some(IpAddr::from([192, 0, 2, 7])));
        for near in [Some("127.0.0.1:1"), Some("/run/a.sock"), Some(""), None] {
            assert_eq!(origin(near), None, "{near:?}");
        }
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
}
