//! What passed through a relay.

use tokio::sync::watch;

use crate::joint::Way;

/// What passed through one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// What passed, in order.
    pub passages: Vec<Passage>,
    /// Bytes that were forwarded and not kept.
    pub left_out: usize,
    /// The client ended its direction.
    pub client_ended: bool,
    /// The server ended its direction.
    pub server_ended: bool,
    /// Both directions are over, by their ends, an error or a cut.
    pub over: bool,
}

/// Bytes that went one way before others went the other way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Its place among the passages of all connections.
    pub turn: usize,
    /// Which way they went.
    pub way: Way,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Recording {
    /// The bytes that went one way.
    pub fn bytes(&self, way: Way) -> Vec<u8> {
        let passages = self.passages.iter().filter(|passage| passage.way == way);
        passages.flat_map(|passage| passage.bytes.iter().copied()).collect()
    }
}

/// What a passage costs besides its bytes.
const PASSAGE_BYTES: usize = size_of::<Passage>();

/// Everything that is kept of all connections.
pub(super) struct Kept {
    connections: Vec<(Recording, watch::Sender<bool>)>,
    room: usize,
    turns: usize,
}

impl Kept {
    /// Keeps so many bytes.
    pub(super) fn new(room: usize) -> Self {
        Self { connections: Vec::new(), room, turns: 0 }
    }

    /// One more connection: its number, and what tells when it is cut.
    pub(super) fn open(&mut self) -> (usize, watch::Receiver<bool>) {
        let (cut, told) = watch::channel(false);
        self.connections.push((Recording::default(), cut));
        (self.connections.len() - 1, told)
    }

    pub(super) fn opened(&self) -> usize {
        self.connections.len()
    }

    pub(super) fn recording(&self, number: usize) -> Option<&Recording> {
        self.connections.get(number).map(|(recording, _)| recording)
    }

    /// Cuts one connection, or all.
    pub(super) fn cut(&self, one: Option<usize>) {
        let chosen =
            self.connections.iter().enumerate().filter(|(number, _)| one.is_none_or(|one| one == *number));
        for (_, (_, cut)) in chosen {
            cut.send_replace(true);
        }
    }

    pub(super) fn end(&mut self, number: usize, way: Way) {
        let Some((recording, _)) = self.connections.get_mut(number) else { return };
        match way {
            Way::ToServer => recording.client_ended = true,
            Way::ToClient => recording.server_ended = true,
        }
    }

    pub(super) fn over(&mut self, number: usize) {
        self.connections.get_mut(number).into_iter().for_each(|(recording, _)| recording.over = true);
    }

    pub(super) fn keep(&mut self, number: usize, way: Way, bytes: &[u8]) {
        let Some((recording, _)) = self.connections.get_mut(number) else { return };
        let goes_on =
            recording.passages.last().is_some_and(|last| last.way == way && last.turn + 1 == self.turns);
        if !goes_on && self.room > PASSAGE_BYTES {
            self.room -= PASSAGE_BYTES;
            recording.passages.push(Passage { turn: self.turns, way, bytes: Vec::new() });
            self.turns += 1;
        } else if !goes_on {
            // Nothing is kept any more: it would stand in a passage from before what is left out here.
            self.room = 0;
        }
        let (now, later) = bytes.split_at(bytes.len().min(self.room));
        match recording.passages.last_mut().filter(|last| last.way == way) {
            Some(last) => {
                self.room -= now.len();
                last.bytes.extend_from_slice(now);
                recording.left_out += later.len();
            }
            None => recording.left_out += bytes.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_kept_by_turns_until_there_is_no_room() {
        let mut kept = Kept::new(2 * PASSAGE_BYTES + 10);
        let ((first, _), (second, _)) = (kept.open(), kept.open());
        kept.keep(first, Way::ToServer, b"abc");
        kept.keep(first, Way::ToServer, b"de");
        kept.keep(second, Way::ToServer, b"xyz");
        kept.keep(first, Way::ToClient, b"no room for a passage");
        kept.keep(second, Way::ToServer, b"123456");
        let seen = kept.recording(first).unwrap();
        let passage = Passage { turn: 0, way: Way::ToServer, bytes: b"abcde".to_vec() };
        assert_eq!((&seen.passages, seen.left_out), (&vec![passage], 21));
        assert_eq!(seen.bytes(Way::ToClient), b"");
        let seen = kept.recording(second).unwrap();
        assert_eq!((seen.bytes(Way::ToServer), seen.left_out), (b"xyz".to_vec(), 6));
        assert_eq!((seen.passages[0].turn, kept.opened()), (1, 2));
    }
}
