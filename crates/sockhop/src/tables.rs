//! The two small tables of a session: routes it has seen lately, and the ids of the peer that are in flight.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use polywire_core::{Route, RouteError};

use crate::id::Id;

/// The last few routes of a peer, so that a message costs no allocation for its name.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    seen: [Option<Route>; 4],
    next: usize,
}

impl Routes {
    /// The route with this name.
    ///
    /// # Errors
    /// When the name is longer than a route may be.
    pub(crate) fn get(&mut self, name: &str) -> Result<Route, RouteError> {
        if let Some(route) = self.seen.iter().flatten().find(|route| route.as_str() == name) {
            return Ok(route.clone());
        }
        let route = Route::new(name)?;
        if let Some(slot) = self.seen.get_mut(self.next) {
            *slot = Some(route.clone());
        }
        self.next = (self.next + 1) % self.seen.len();
        Ok(route)
    }
}

/// The requests of the peer that are being handled, by the fingerprints of their ids. The engine's `max_in_flight` bounds it,
/// and most of the time it holds next to nothing: looking through it costs less than hashing.
#[derive(Debug, Default)]
pub(crate) struct Running {
    ids: Vec<u64>,
    /// How many of them have an id that no binary frame can hold.
    lines_only: usize,
}

impl Running {
    /// Notes a request; false when its id is in flight already.
    pub(crate) fn begin(&mut self, reply: &Reply) -> bool {
        let id = reply.mark;
        if self.ids.contains(&id) {
            return false;
        }
        self.ids.push(id);
        if !reply.fits_frame() {
            self.lines_only = self.lines_only.saturating_add(1);
        }
        true
    }

    /// Forgets a request that is answered now.
    pub(crate) fn end(&mut self, reply: &Reply) {
        let id = reply.mark;
        if let Some(place) = self.ids.iter().rposition(|known| *known == id) {
            self.ids.swap_remove(place);
            if !reply.fits_frame() {
                self.lines_only = self.lines_only.saturating_sub(1);
            }
        }
    }

    /// Gives back what a burst left behind.
    pub(crate) fn rest(&mut self) {
        if self.ids.is_empty() {
            self.ids = Vec::new();
        }
    }

    /// Could every answer that is owed travel in a frame?
    pub(crate) fn fits_frames(&self) -> bool {
        self.lines_only == 0
    }
}

/// What an answer of ours carries back: the id of the request, and in which form it came.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(crate) id: Id,
    /// A request of the 1.x library rather than a callback.
    pub(crate) packet: bool,
    /// What the table of running requests knows it by.
    mark: u64,
}

impl Reply {
    pub(crate) fn new(id: Id, packet: bool) -> Self {
        let mark = id.fingerprint() ^ u64::from(packet);
        Self { id, packet, mark }
    }

    /// An id inside the data of a packet is JSON in both modes.
    pub(crate) fn fits_frame(&self) -> bool {
        self.packet || self.id.fits_frame()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(raw: &str, packet: bool) -> Reply {
        Reply::new(Id::from_json(raw.as_bytes()).unwrap(), packet)
    }

    #[test]
    fn s08_an_id_in_flight_is_taken_once_and_free_again_when_answered() {
        let mut running = Running::default();
        assert!(running.begin(&reply("\"a\"", false)));
        assert!(!running.begin(&reply("\"a\"", false)));
        assert!(running.begin(&reply("\"a\"", true)), "a request of 1.x has ids of its own");
        running.end(&reply("\"a\"", false));
        assert!(running.begin(&reply("\"a\"", false)));
    }

    #[test]
    fn counts_what_no_frame_can_hold() {
        let mut running = Running::default();
        running.begin(&reply("7", false));
        running.begin(&reply("8", true));
        assert!(!running.fits_frames());
        running.end(&reply("7", false));
        running.end(&reply("7", false));
        assert!(running.fits_frames());
    }

    #[test]
    fn a_table_at_rest_gives_its_memory_back() {
        let mut running = Running::default();
        for number in 0..256 {
            running.begin(&reply(&number.to_string(), false));
        }
        for number in 0..256 {
            running.end(&reply(&number.to_string(), false));
        }
        running.rest();
        assert_eq!(running.ids.capacity(), 0);
        assert!(running.fits_frames());
    }

    #[test]
    fn routes_are_shared_while_they_are_remembered() {
        let mut routes = Routes::default();
        for round in 0..3 {
            for name in ["a", "b", "c", "d", "e"] {
                assert_eq!(routes.get(name).unwrap().as_str(), name, "round {round}");
            }
        }
        assert!(routes.get(&"x".repeat(256)).is_err());
    }
}
