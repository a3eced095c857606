//! Time for what stands below the sessions: the clock that was handed in, also for HTTP.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use polywire_core::{Alarm, Clock, Moment, sleep_until};

/// What `work` gives, unless `limit` has passed before.
pub(super) async fn within<W: Future>(clock: &dyn Clock, limit: Duration, work: W) -> Option<W::Output> {
    let end = clock.now() + limit;
    tokio::select! {
        biased;
        done = work => Some(done),
        () = sleep_until(clock, end) => None,
    }
}

/// An alarm that is set.
pub(super) fn alarm_at(clock: &dyn Clock, at: Moment) -> Box<dyn Alarm> {
    let mut alarm = clock.alarm();
    alarm.set(at);
    alarm
}

/// The clock as hyper wants it.
pub(super) struct HttpTimer {
    clock: Arc<dyn Clock>,
    /// One moment, in the words of both: hyper reckons with instants.
    start: (Moment, Instant),
}

impl HttpTimer {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let start = (clock.now(), Instant::now());
        Self { clock, start }
    }

    fn set(&self, at: Moment) -> Pin<Box<dyn Sleep>> {
        Box::pin(Waiting(Mutex::new(alarm_at(&*self.clock, at))))
    }
}

impl Timer for HttpTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.set(self.clock.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let (moment, instant) = self.start;
        self.set(moment + deadline.saturating_duration_since(instant))
    }

    fn now(&self) -> Instant {
        let (moment, instant) = self.start;
        instant + self.clock.now().since(moment)
    }
}

impl fmt::Debug for HttpTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpTimer")
    }
}

/// One alarm; hyper wants it shared between threads, so there is a lock that nobody else ever holds.
struct Waiting(Mutex<Box<dyn Alarm>>);

impl Future for Waiting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).poll(cx)
    }
}

impl Sleep for Waiting {}

#[cfg(test)]
mod tests {
    use polywire_core::TokioClock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn http_reckons_with_the_clock_that_was_handed_in() {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock);
        let timer = HttpTimer::new(Arc::clone(&clock));
        let (begun, moment) = (Instant::now(), clock.now());
        tokio::time::advance(Duration::from_secs(3_600)).await;
        let now = timer.now();
        assert!(now >= begun + Duration::from_secs(3_599), "an hour has passed on it");
        timer.sleep_until(now + Duration::from_secs(60)).await;
        timer.sleep(Duration::from_secs(60)).await;
        assert_eq!(within(&*clock, Duration::from_secs(60), std::future::pending::<()>()).await, None);
        assert_eq!((clock.now() - moment).as_secs(), 3_600 + 180);
        assert!(begun.elapsed() < Duration::from_secs(60), "and no minute on any other");
        assert_eq!(within(&*clock, Duration::from_secs(60), std::future::ready(1)).await, Some(1));
    }
}
