//! The two small tables of a session: routes it has seen lately, and the ids of the peer that are in flight.

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
    /// Free places hold [`FREE`].
    marks: Vec<u64>,
    free: Vec<u32>,
    /// How many of them have an id that no binary frame can hold.
    lines_only: usize,
}

impl Running {
    /// Notes a request; false when its id is in flight already.
    pub(crate) fn begin(&mut self, reply: &mut Reply) -> bool {
        if self.marks.contains(&reply.mark) {
            return false;
        }
        match self.free.pop() {
            Some(place) => reply.place = place,
            None => {
                reply.place = u32::try_from(self.marks.len()).unwrap_or(u32::MAX);
                self.marks.push(FREE);
            }
        }
        if let Some(mark) = self.marks.get_mut(reply.place as usize) {
            *mark = reply.mark;
        }
        if !reply.fits_frame() {
            self.lines_only = self.lines_only.saturating_add(1);
        }
        true
    }

    /// Forgets a request that is answered now.
    pub(crate) fn end(&mut self, reply: &Reply) {
        if let Some(mark) = self.marks.get_mut(reply.place as usize)
            && *mark == reply.mark
        {
            *mark = FREE;
            self.free.push(reply.place);
            if !reply.fits_frame() {
                self.lines_only = self.lines_only.saturating_sub(1);
            }
        }
    }

    /// Gives back what a burst left behind.
    pub(crate) fn rest(&mut self) {
        if self.free.len() == self.marks.len() {
            (self.marks, self.free) = (Vec::new(), Vec::new());
        }
    }

    /// Could every answer that is owed travel in a frame?
    pub(crate) fn fits_frames(&self) -> bool {
        self.lines_only == 0
    }
}

/// What an answer of ours carries back: the id of the request, and in which form it came. Equal only to itself as the table gave it
/// out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub(crate) id: Id,
    /// A request of the 1.x library rather than a callback.
    pub(crate) packet: bool,
    /// What the table of running requests knows it by, and its place there.
    mark: u64,
    place: u32,
}

/// No reply is known by it.
const FREE: u64 = 0;

impl Reply {
    pub(crate) fn new(id: Id, packet: bool) -> Self {
        let mark = (id.fingerprint() ^ u64::from(packet)).max(FREE + 1);
        Self { id, packet, mark, place: u32::MAX }
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
        let mut first = reply("\"a\"", false);
        assert!(running.begin(&mut first));
        assert!(!running.begin(&mut reply("\"a\"", false)));
        assert!(running.begin(&mut reply("\"a\"", true)), "a request of 1.x has ids of its own");
        running.end(&first);
        assert!(running.begin(&mut reply("\"a\"", false)));
    }

    #[test]
    fn one_that_was_not_taken_ends_no_other() {
        let mut running = Running::default();
        let (mut first, mut second) = (reply("\"a\"", false), reply("\"a\"", false));
        assert!(running.begin(&mut first) && !running.begin(&mut second));
        running.end(&second);
        assert!(!running.begin(&mut second), "the first is in flight");
    }

    #[test]
    fn counts_what_no_frame_can_hold() {
        let mut running = Running::default();
        let mut line = reply("7", false);
        running.begin(&mut line);
        running.begin(&mut reply("8", true));
        assert!(!running.fits_frames());
        running.end(&line);
        running.end(&line);
        assert!(running.fits_frames());
    }

    #[test]
    fn a_table_at_rest_gives_its_memory_back() {
        let mut running = Running::default();
        let mut replies: Vec<_> = (0..256).map(|number: u32| reply(&number.to_string(), false)).collect();
        for reply in &mut replies {
            assert!(running.begin(reply));
        }
        for reply in replies.iter().rev() {
            running.rest();
            assert!(running.marks.capacity() > 0, "there is one in flight");
            running.end(reply);
        }
        running.rest();
        assert_eq!((running.marks.capacity(), running.free.capacity()), (0, 0));
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
