//! Clocks that do not run evenly: the wall clock is set, the machine sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use polywire_core::{Alarm, CallError, Clock, Code, Moment, TokioClock};
use tokio::time::Instant;

use crate::toy::{Setup, settle};

/// Tokio's clock, with a wall clock that somebody sets.
#[derive(Debug, Default)]
struct Set {
    wall: AtomicI64,
}

impl Clock for Set {
    fn now(&self) -> Moment {
        TokioClock.now()
    }

    fn wall(&self) -> SystemTime {
        let hours = self.wall.load(Ordering::Relaxed);
        let span = Duration::from_secs(3_600 * hours.unsigned_abs());
        let now = TokioClock.wall();
        if hours < 0 { now - span } else { now + span }
    }

    fn alarm(&self) -> Box<dyn Alarm> {
        TokioClock.alarm()
    }
}

#[tokio::test(start_paused = true)]
async fn c17_no_deadline_moves_when_the_wall_clock_is_set() {
    let clock = Arc::new(Set::default());
    let mut setup = Setup::new();
    setup.endpoint.surroundings.clock = Arc::clone(&clock) as _;
    setup.session.beat = Some(Duration::from_secs(6));
    let mut rig = setup.start();
    let start = Instant::now();
    let call = rig.call("a", "1");
    rig.hear().await;
    for (hours, beat) in [(1, 6), (-1, 12)] {
        clock.wall.store(hours, Ordering::Relaxed);
        assert_eq!((rig.hear().await.as_str(), start.elapsed().as_secs()), ("beat", beat));
        assert!(!call.is_finished());
    }
    let Err(CallError::Unknown(failure)) = call.await.unwrap() else { panic!("it was sent") };
    assert_eq!((failure.code, start.elapsed().as_secs()), (Code::DeadlineExceeded, 15));
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn c17_after_an_hour_of_sleep_what_is_due_happens_once() {
    let mut setup = Setup::new();
    setup.session.beat = Some(Duration::from_secs(30));
    let mut rig = setup.start();
    let call = rig.call("a", "1");
    rig.hear().await;
    tokio::time::advance(Duration::from_secs(3_600)).await;
    settle().await;
    assert_eq!(call.await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(rig.hear().await, "beat");
    assert!(rig.silent().await, "beats that were slept through are not made up for");
    let start = Instant::now();
    assert_eq!(rig.hear().await, "beat");
    assert_eq!(start.elapsed().as_secs(), 29, "a second is not whole: the beats go on from the wake-up");
    rig.say("? 1 echo 1").await;
    assert_eq!(rig.hear().await, "! 1 1");
    rig.hang_up().await;
}
