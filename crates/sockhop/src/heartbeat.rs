//! Pings of our own: when the next one is due, and whether the peer is still there. Pure; `session` asks it.
//!
//! A window of four pings as in the original: when the fourth is due and none of the three before was answered, the peer is
//! dead, so a peer that vanishes is found within four intervals. Source: observed (`json-ping-ignored`). Every stock peer
//! answers pings; one made by hand may not, and is judged by its silence instead. After this side has stood still for more than
//! three intervals nothing is known of the peer, and the next ping alone decides.

use std::time::Duration;

use polywire_core::{CallId, Moment};

/// What a tick asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    /// Send the ping with this number.
    Ping(u64),
    /// The peer is dead: it answers pings, and none of the last four.
    Unanswered,
    /// The peer is dead: it answers pings, and not the first after this side stood still.
    Gone,
    /// The peer is dead: it has met this many pings with silence, counting the one that is due.
    Silent(u32),
}

#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    next: Option<Moment>,
    sent: u64,
    /// One bit a ping, the latest lowest: set when it was answered.
    answered: u8,
    /// The last ping was the first after this side stood still.
    stalled: bool,
    /// The peer has answered a ping, or has done what only a peer does that answers them.
    knows_pings: bool,
    /// The peer has spoken, or was asked to: a long silence means death.
    owes_words: bool,
    /// Pings since the peer last said anything, was sent the first call after that, or was not read.
    quiet: u32,
    /// The first call that was sent since the peer said anything.
    asked: Option<CallId>,
    /// That call or a later one was given up.
    in_vain: bool,
}

/// Pings that may be out unanswered when another is due.
const WINDOW: u32 = 3;
/// The same for a peer that may know no pings and have little to say: with the one that is due, a quarter of an hour at the
/// default interval.
const PATIENCE: u32 = 179;

impl Heartbeat {
    /// Begins, unless it runs already.
    pub(crate) fn start(&mut self, now: Moment, interval: Option<Duration>) {
        if self.next.is_none() {
            self.next = interval.map(|interval| now + interval);
        }
    }

    /// When [`Heartbeat::tick`] is due.
    pub(crate) fn due(&self) -> Option<Moment> {
        self.next
    }

    /// The peer answers pings, as everybody does who shakes hands.
    pub(crate) fn expect_pongs(&mut self) {
        self.knows_pings = true;
    }

    /// The peer was asked for something that most peers answer.
    pub(crate) fn expect_words(&mut self) {
        self.owes_words = true;
    }

    /// The peer said something.
    pub(crate) fn heard(&mut self) {
        self.owes_words = true;
        self.quiet = 0;
        self.asked = None;
        self.in_vain = false;
    }

    /// A call was sent.
    pub(crate) fn asked(&mut self, call: CallId) {
        if self.asked.is_none() {
            self.asked = Some(call);
            // What it may have kept silent before is not held against it.
            self.quiet = 0;
        }
    }

    /// Nobody waits for the answer to this call any more.
    pub(crate) fn given_up(&mut self, call: CallId) {
        self.in_vain |= self.asked.is_some_and(|first| call >= first);
    }

    /// A ping is due. Silence counts only while the peer is read.
    pub(crate) fn tick(&mut self, now: Moment, interval: Option<Duration>, is_reading: bool) -> Tick {
        let late = self.next.map_or(Duration::ZERO, |due| now.since(due));
        self.next = interval.map(|interval| now + interval);
        let stalled = std::mem::replace(
            &mut self.stalled,
            interval.is_some_and(|interval| late > interval.saturating_mul(WINDOW)),
        );
        if !is_reading {
            self.quiet = 0;
        } else if self.knows_pings {
            match self.answered & 0b111 {
                0 if stalled => return Tick::Gone,
                0 if self.sent >= u64::from(WINDOW) => return Tick::Unanswered,
                _ => {}
            }
        } else if self.quiet >= self.patience() {
            return Tick::Silent(self.quiet.saturating_add(1));
        }
        self.answered = if self.stalled { 0 } else { self.answered << 1 };
        self.quiet = self.quiet.saturating_add(1);
        self.sent = self.sent.saturating_add(1);
        Tick::Ping(self.sent)
    }

    /// Pings that a peer which may not know them may meet with silence when another is due.
    fn patience(&self) -> u32 {
        match (self.in_vain, self.owes_words) {
            (true, _) => WINDOW,
            (false, true) => PATIENCE,
            (false, false) => u32::MAX,
        }
    }

    /// The next ping is put off by one interval.
    pub(crate) fn skip(&mut self, now: Moment, interval: Option<Duration>) {
        self.next = interval.map(|interval| now + interval);
    }

    /// The ping with this number was answered; `false` when it is not among the last ones.
    pub(crate) fn pong(&mut self, number: u64) -> bool {
        match self.sent.checked_sub(number) {
            Some(age) if age <= u64::from(WINDOW) && number > 0 => {
                self.answered |= 1 << age;
                self.knows_pings = true;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Option<Duration> = Some(Duration::from_secs(5));

    fn at(second: u64) -> Moment {
        Moment::from_start(Duration::from_secs(second))
    }

    fn known() -> Heartbeat {
        let mut heartbeat = Heartbeat::default();
        heartbeat.expect_pongs();
        heartbeat
    }

    #[test]
    fn s11_a_peer_that_never_answers_is_dead_at_the_fourth_tick() {
        let mut heartbeat = known();
        heartbeat.start(at(0), INTERVAL);
        assert_eq!(heartbeat.due(), Some(at(5)));
        for tick in 1..=3 {
            assert_eq!(heartbeat.tick(at(5 * tick), INTERVAL, true), Tick::Ping(tick));
        }
        assert_eq!(heartbeat.tick(at(20), INTERVAL, true), Tick::Unanswered);
    }

    #[test]
    fn s11_a_late_pong_counts_while_its_ping_is_in_the_window_and_an_unasked_one_never() {
        let mut heartbeat = known();
        for tick in 1..=3 {
            heartbeat.tick(at(tick), INTERVAL, true);
        }
        assert!(!heartbeat.pong(4) && !heartbeat.pong(0));
        assert!(heartbeat.pong(1));
        assert_eq!(heartbeat.tick(at(4), INTERVAL, true), Tick::Ping(4));
        assert_eq!(heartbeat.tick(at(5), INTERVAL, true), Tick::Unanswered);
    }

    #[test]
    fn s11_a_peer_that_may_know_no_pings_is_dead_when_it_owes_words_and_says_none() {
        let pings = |heartbeat: &mut Heartbeat| {
            (1..10_000).find(|tick| heartbeat.tick(at(0), INTERVAL, true) == Tick::Silent(*tick))
        };
        assert_eq!(pings(&mut Heartbeat::default()), None, "it owes nothing");
        let mut heartbeat = Heartbeat::default();
        heartbeat.heard();
        assert_eq!(pings(&mut heartbeat), Some(180));
        // A call that was answered, or followed by anything else, is no reason.
        heartbeat.asked(CallId(1));
        heartbeat.heard();
        heartbeat.given_up(CallId(1));
        assert_eq!(pings(&mut heartbeat), Some(180));
        heartbeat.heard();
        heartbeat.asked(CallId(2));
        heartbeat.asked(CallId(3));
        heartbeat.given_up(CallId(3));
        assert_eq!(pings(&mut heartbeat), Some(4));
        // What it says while it is not read waits.
        assert_eq!(heartbeat.tick(at(0), INTERVAL, false), Tick::Ping(heartbeat.sent));
        assert_eq!(heartbeat.tick(at(0), INTERVAL, true), Tick::Ping(heartbeat.sent));
    }

    #[test]
    fn s11_a_silence_from_before_a_call_is_not_held_against_a_peer_that_may_know_no_pings() {
        let mut heartbeat = Heartbeat::default();
        let pings = |heartbeat: &mut Heartbeat, count: u64| {
            (1..=count).all(|_| heartbeat.tick(at(0), INTERVAL, true) == Tick::Ping(heartbeat.sent))
        };
        heartbeat.heard();
        assert!(pings(&mut heartbeat, 50));
        heartbeat.asked(CallId(1));
        assert!(pings(&mut heartbeat, 2));
        // A later call puts nothing off.
        heartbeat.asked(CallId(2));
        heartbeat.given_up(CallId(2));
        assert!(pings(&mut heartbeat, 1));
        assert_eq!(heartbeat.tick(at(0), INTERVAL, true), Tick::Silent(4));
        // Nor does a call that nobody gives up, for ever.
        heartbeat.heard();
        assert!(pings(&mut heartbeat, 50));
        heartbeat.asked(CallId(3));
        assert!(pings(&mut heartbeat, 100));
        heartbeat.asked(CallId(4));
        assert!(pings(&mut heartbeat, 79));
        assert_eq!(heartbeat.tick(at(0), INTERVAL, true), Tick::Silent(180));
    }
}
