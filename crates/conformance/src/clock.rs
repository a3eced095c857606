//! Time that a test moves.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use polywire_core::{Alarm, Clock, Moment};

/// A clock that stands still until it is advanced. A clone is the same clock.
#[derive(Clone)]
pub(crate) struct HandClock(Arc<Mutex<Time>>);

struct Time {
    now: Moment,
    wall: SystemTime,
    next: u64,
    /// Whom to wake, by alarm.
    waiting: Vec<(u64, Moment, Waker)>,
}

impl HandClock {
    /// A clock that begins a day after its own beginning, so that earlier moments exist, and shows the time of day.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Time {
            now: Moment::from_start(Duration::from_secs(86_400)),
            wall: SystemTime::now(),
            next: 0,
            waiting: Vec::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Time> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass, and wakes whoever is due.
    pub(crate) fn advance(&self, span: Duration) {
        let mut time = self.lock();
        time.now = time.now + span;
        time.wall += span;
        let now = time.now;
        let due: Vec<_> = time.waiting.extract_if(.., |(_, at, _)| *at <= now).collect();
        drop(time);
        for (_, _, waker) in due {
            waker.wake();
        }
    }
}

impl Clock for HandClock {
    fn now(&self) -> Moment {
        self.lock().now
    }

    fn wall(&self) -> SystemTime {
        self.lock().wall
    }

    fn alarm(&self) -> Box<dyn Alarm> {
        let mut time = self.lock();
        time.next += 1;
        Box::new(HandAlarm { clock: self.clone(), number: time.next, at: None })
    }
}

struct HandAlarm {
    clock: HandClock,
    number: u64,
    at: Option<Moment>,
}

impl HandAlarm {
    fn forget(&self, time: &mut Time) {
        time.waiting.retain(|(number, _, _)| *number != self.number);
    }
}

impl Alarm for HandAlarm {
    fn set(&mut self, at: Moment) {
        self.at = Some(at);
        self.forget(&mut self.clock.lock());
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let mut time = self.clock.lock();
        self.forget(&mut time);
        if at <= time.now {
            return Poll::Ready(());
        }
        time.waiting.push((self.number, at, cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for HandAlarm {
    fn drop(&mut self) {
        self.forget(&mut self.clock.lock());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_goes_off_at_its_moment_and_not_before() {
        let clock = HandClock::new();
        let mut alarm = clock.alarm();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(alarm.poll(&mut cx).is_pending(), "it was never set");
        alarm.set(clock.now() + Duration::from_secs(2));
        clock.advance(Duration::from_millis(1_999));
        assert!(alarm.poll(&mut cx).is_pending());
        clock.advance(Duration::from_millis(1));
        assert!(alarm.poll(&mut cx).is_ready());
        drop(alarm);
        assert!(clock.lock().waiting.is_empty());
    }
}
