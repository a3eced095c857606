//! Pings of our own: when the next one is due, and whether the peer is still there. Pure; `session` asks it.
//!
//! A window of four pings as in the original: when the fourth is due and none of the three before was answered, the peer is
//! dead, so a peer that vanishes is found within four intervals. Source: observed (`json-ping-ignored`).

use std::time::Duration;

use polywire_core::Moment;

/// What a tick asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    /// Send the ping with this number.
    Ping(u64),
    /// None of the last pings was answered.
    Dead,
}

#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    next: Option<Moment>,
    sent: u64,
    /// One bit a ping, the latest lowest: set when it was answered.
    answered: u8,
    ever: bool,
}

/// Pings that may be out unanswered when another is due.
const WINDOW: u64 = 3;

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

    /// Has this peer ever answered a ping?
    pub(crate) fn ever_answered(&self) -> bool {
        self.ever
    }

    /// A ping is due. `strict` when silence means death.
    pub(crate) fn tick(&mut self, now: Moment, interval: Option<Duration>, strict: bool) -> Tick {
        self.next = interval.map(|interval| now + interval);
        if strict && self.sent >= WINDOW && self.answered & 0b111 == 0 {
            return Tick::Dead;
        }
        self.answered <<= 1;
        self.sent = self.sent.saturating_add(1);
        Tick::Ping(self.sent)
    }

    /// The next ping is put off by one interval.
    pub(crate) fn skip(&mut self, now: Moment, interval: Option<Duration>) {
        self.next = interval.map(|interval| now + interval);
    }

    /// The ping with this number was answered; `false` when it is not among the last ones.
    pub(crate) fn pong(&mut self, number: u64) -> bool {
        match self.sent.checked_sub(number) {
            Some(age) if age <= WINDOW && number > 0 => {
                self.answered |= 1 << age;
                self.ever = true;
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

    #[test]
    fn s11_a_peer_that_never_answers_is_dead_at_the_fourth_tick() {
        let mut heartbeat = Heartbeat::default();
        heartbeat.start(at(0), INTERVAL);
        assert_eq!(heartbeat.due(), Some(at(5)));
        for tick in 1..=3 {
            assert_eq!(heartbeat.tick(at(5 * tick), INTERVAL, true), Tick::Ping(tick));
        }
        assert_eq!(heartbeat.tick(at(20), INTERVAL, true), Tick::Dead);
    }

    #[test]
    fn s11_a_late_pong_counts_while_its_ping_is_in_the_window_and_an_unasked_one_never() {
        let mut heartbeat = Heartbeat::default();
        for tick in 1..=3 {
            heartbeat.tick(at(tick), INTERVAL, true);
        }
        assert!(!heartbeat.pong(4) && !heartbeat.pong(0));
        assert!(heartbeat.pong(1));
        assert_eq!(heartbeat.tick(at(4), INTERVAL, true), Tick::Ping(4));
        assert_eq!(heartbeat.tick(at(5), INTERVAL, true), Tick::Dead);
    }

    #[test]
    fn without_strictness_it_goes_on_for_ever() {
        let mut heartbeat = Heartbeat::default();
        for tick in 1..100 {
            assert_eq!(heartbeat.tick(at(tick), INTERVAL, false), Tick::Ping(tick));
        }
        assert!(!heartbeat.ever_answered());
    }
}
