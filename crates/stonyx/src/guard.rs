//! Nonces seen before: a frame that comes twice, one of ours that comes back, a login that was recorded elsewhere.
//!
//! The wire has no protection against any of them; honest peers never repeat a nonce, so remembering some leaves the wire
//! unchanged. Observed: no revision trips over it.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use polywire_core::Moment;

use crate::seal::Nonce;

/// Nonces that one connection remembers of each direction.
const PER_CONNECTION: usize = 256;
/// Nonces of logins that a server remembers.
const LOGINS: usize = 100_000;
/// How long it remembers them.
const LOGINS_FOR: Duration = Duration::from_secs(600);

/// The last nonces of one direction, by their first eight bytes: two that share those by chance are one in 2^56 messages.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    seen: Vec<u64>,
    /// The end of each in `seen`: nearly every nonce is told apart from all others by that alone, in a quarter of the time.
    marks: Vec<u16>,
    next: usize,
}

impl Recent {
    /// Remembers it, in the place of the oldest.
    pub(crate) fn remember(&mut self, nonce: Nonce) {
        let (short, mark) = short(nonce);
        if let (Some(seen), Some(known)) = (self.seen.get_mut(self.next), self.marks.get_mut(self.next)) {
            (*seen, *known) = (short, mark);
        } else {
            self.seen.push(short);
            self.marks.push(mark);
        }
        self.next = (self.next + 1) % PER_CONNECTION;
    }

    /// Is it among the last 256?
    pub(crate) fn has(&self, nonce: Nonce) -> bool {
        let (short, mark) = short(nonce);
        // Without a way out early the whole list is compared several at a time.
        let may_be = self.marks.iter().fold(false, |found, known| found | (*known == mark));
        may_be && self.seen.contains(&short)
    }
}

/// The first eight bytes, and the last two of these.
fn short(nonce: Nonce) -> (u64, u16) {
    let [a, b, c, d, e, f, g, h, ..] = nonce;
    (u64::from_le_bytes([a, b, c, d, e, f, g, h]), u16::from_le_bytes([g, h]))
}

/// The nonces of the logins of every connection of one end, bounded in number and time.
#[derive(Debug, Default)]
pub struct Nonces(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    order: VecDeque<(Moment, Nonce)>,
    seen: HashSet<Nonce>,
}

impl Nonces {
    /// Remembers the nonce of a login for ten minutes; `false` when it is known already. Beyond 100 000 the oldest are
    /// forgotten.
    pub(crate) fn is_new(&self, nonce: Nonce, now: Moment) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((at, oldest)) = known.order.front().copied()
            && at + LOGINS_FOR <= now
        {
            known.order.pop_front();
            known.seen.remove(&oldest);
        }
        let new = known.seen.insert(nonce);
        if new {
            known.order.push_back((now, nonce));
        }
        if known.order.len() > LOGINS
            && let Some((_, oldest)) = known.order.pop_front()
        {
            known.seen.remove(&oldest);
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce(number: u32) -> Nonce {
        let mut nonce = [7; 12];
        nonce[..4].copy_from_slice(&number.to_le_bytes());
        nonce
    }

    #[test]
    fn the_last_256_nonces_are_known() {
        let mut recent = Recent::default();
        for number in 0..300 {
            assert!(!recent.has(nonce(number)));
            recent.remember(nonce(number));
        }
        assert!(!recent.has(nonce(43)) && recent.has(nonce(44)) && recent.has(nonce(299)));
    }

    #[test]
    fn nonces_that_differ_in_a_byte_of_the_first_eight_are_two() {
        let mut recent = Recent::default();
        recent.remember(nonce(1));
        for place in 0..8 {
            let mut other = nonce(1);
            other[place] ^= 1;
            assert!(!recent.has(other), "byte {place}");
            recent.remember(other);
            assert!(recent.has(other) && recent.has(nonce(1)), "byte {place}");
        }
    }

    #[test]
    fn x03_a_login_is_known_for_ten_minutes_among_the_last_hundred_thousand() {
        let logins = Nonces::default();
        let start = Moment::from_start(Duration::from_secs(1));
        assert!(logins.is_new(nonce(0), start) && !logins.is_new(nonce(0), start + LOGINS_FOR / 2));
        assert!(logins.is_new(nonce(0), start + LOGINS_FOR), "ten minutes are over");
        for number in 1..100_000 {
            assert!(logins.is_new(nonce(number), start + LOGINS_FOR));
        }
        assert!(!logins.is_new(nonce(0), start + LOGINS_FOR));
        assert!(logins.is_new(nonce(100_000), start + LOGINS_FOR));
        assert!(logins.is_new(nonce(0), start + LOGINS_FOR), "the oldest was forgotten");
        assert_eq!(logins.0.lock().unwrap().order.len(), LOGINS);
    }
}
