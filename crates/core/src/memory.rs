//! The memory that all connections keep together, and what gives way when it becomes too much.
//!
//! A connection reckons what it keeps once a turn and says so in whole units, so traffic of small messages, which never fills one, does not
//! come here at all. Whoever has to give way asks for the step in force, which is one atomic read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use crate::moment::Moment;

/// What is below this is not counted, what is above it is rounded up to a multiple of it.
pub(crate) const UNIT: usize = 64 << 10;
/// The default of `max_memory_bytes`.
const MAX_BYTES: usize = 512 << 20;
/// A step ends so many points below where it began, so that it does not come and go with every message.
const POINTS_BACK: usize = 5;
/// A step that comes and goes is told once in this time.
const QUIET: Duration = Duration::from_secs(10);

/// What is done about the memory that connections keep; each step includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum MemoryStep {
    /// Nothing.
    #[default]
    None,
    /// From 70 %: events that may be dropped are, where the queue of their connection is not small already.
    DropEvents,
    /// From 80 %: connections are turned away.
    RefuseConnections,
    /// From 90 %: no request is begun of a peer whose connection keeps some of it already, nor an event of one.
    RefuseRequests,
    /// From 95 %: the connection that keeps most is closed, and then the next, until there is room.
    CloseLargest,
}

impl MemoryStep {
    /// Every step, in order.
    const ALL: [MemoryStep; 5] = [
        MemoryStep::None,
        MemoryStep::DropEvents,
        MemoryStep::RefuseConnections,
        MemoryStep::RefuseRequests,
        MemoryStep::CloseLargest,
    ];

    /// The name as it stands in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            MemoryStep::None => "none",
            MemoryStep::DropEvents => "drop_events",
            MemoryStep::RefuseConnections => "refuse_connections",
            MemoryStep::RefuseRequests => "refuse_requests",
            MemoryStep::CloseLargest => "close_largest",
        }
    }

    /// The percentage at which it begins.
    const fn percent(self) -> usize {
        match self {
            MemoryStep::None => 0,
            MemoryStep::DropEvents => 70,
            MemoryStep::RefuseConnections => 80,
            MemoryStep::RefuseRequests => 90,
            MemoryStep::CloseLargest => 95,
        }
    }

    /// What it means, for people.
    const fn words(self) -> &'static str {
        match self {
            MemoryStep::None => "nothing is done",
            MemoryStep::DropEvents => "events for slow peers are dropped",
            MemoryStep::RefuseConnections => "connections are turned away",
            MemoryStep::RefuseRequests => "requests of those who keep some of it are refused",
            MemoryStep::CloseLargest => "the connections that keep most are closed",
        }
    }
}

/// A budget for what the connections that share it keep: bodies that handlers were given, what waits to be sent and to be written,
/// and frames that are not whole yet.
///
/// It bounds them together where [`Limits`](crate::Limits) bound each alone. A connection counts from 64 KiB on, in multiples of that,
/// and a body that several have in hand counts for each: whoever tells many peers large events, or takes messages of hundreds of MiB,
/// sets more. Not counted are the lines of a [`Hub`](crate::Hub) and the queue of a client, which outlives its connection: these have bounds
/// of their own. Nor is what handlers and callers hold, nor the one whole frame of at most `max_frame_bytes` that a connection may have
/// decoded when its turn was over, because only its session knows what that keeps.
#[derive(Debug)]
pub struct Memory {
    max: usize,
    /// The place of the step among all, for whoever reads it without the lock, as all who are refused do.
    step: AtomicU8,
    /// How many units are kept, likewise.
    units: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    units: usize,
    peak: usize,
    step: MemoryStep,
    /// Who keeps at least one unit, by how many and by its number.
    holders: BTreeMap<(usize, u64), Waker>,
    /// The one that was told to close and still keeps something.
    chosen: Option<u64>,
    /// For each step when its beginning was told last, and whether that was the last time it began.
    told: [(Option<Moment>, bool); MemoryStep::ALL.len()],
}

impl Memory {
    /// A budget of so many bytes: `max_memory_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self { max: max_bytes, step: AtomicU8::new(0), units: AtomicUsize::new(0), state: Mutex::default() }
    }

    /// The budget of this process, 512 MiB: whoever is given no other shares it.
    pub fn of_process() -> Arc<Self> {
        static PROCESS: LazyLock<Arc<Memory>> = LazyLock::new(Arc::default);
        Arc::clone(&PROCESS)
    }

    /// `max_memory_bytes`.
    pub fn max(&self) -> usize {
        self.max
    }

    /// How many bytes are kept now, rounded up connection by connection.
    pub fn held(&self) -> usize {
        self.units.load(Ordering::Relaxed).saturating_mul(UNIT)
    }

    /// The most that ever was.
    pub fn peak(&self) -> usize {
        self.lock().peak.saturating_mul(UNIT)
    }

    /// What is done about it now.
    pub fn step(&self) -> MemoryStep {
        let place = usize::from(self.step.load(Ordering::Relaxed));
        MemoryStep::ALL.get(place).copied().unwrap_or_default()
    }

    /// Why something is refused at this step, for people.
    pub(crate) fn why(&self) -> String {
        format!(
            "{} bytes that all connections keep are too near to max_memory_bytes = {}",
            self.held(),
            self.max
        )
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The step for so many units, after this one.
    fn step_for(&self, units: usize, after: MemoryStep) -> MemoryStep {
        let held = units.saturating_mul(UNIT);
        let in_force = |step: &&MemoryStep| {
            let back = if **step <= after { POINTS_BACK } else { 0 };
            let percent = step.percent().saturating_sub(back);
            let from =
                (self.max / 100).saturating_mul(percent).saturating_add(self.max % 100 * percent / 100);
            held >= from
        };
        let steps = MemoryStep::ALL.iter().skip(1);
        steps.take_while(in_force).last().copied().unwrap_or_default()
    }

    /// A holder keeps another number of units than before.
    fn change(&self, number: u64, (before, units): (usize, usize), now: Moment, waker: Option<&Waker>) {
        let mut state = self.lock();
        // Dropped without the lock: a task may go with its last waker, and a connection with the task.
        let last = state.holders.remove(&(before, number));
        if let (1.., Some(waker)) = (units, waker) {
            state.holders.insert((units, number), waker.clone());
        } else if state.chosen == Some(number) {
            state.chosen = None;
        }
        state.units = state.units.saturating_sub(before).saturating_add(units);
        state.peak = state.peak.max(state.units);
        let (old, new) = (state.step, self.step_for(state.units, state.step));
        state.step = new;
        // Under the lock, so that what is read is never older than what is known.
        self.units.store(state.units, Ordering::Relaxed);
        let held = state.units.saturating_mul(UNIT);
        let told = if old == new { Vec::new() } else { state.tell(old, new, now) };
        if new < MemoryStep::CloseLargest {
            state.chosen = None;
        }
        let mut chosen = None;
        if new == MemoryStep::CloseLargest
            && state.chosen.is_none()
            && let Some((&(_, largest), waker)) = state.holders.last_key_value()
        {
            chosen = Some(waker.clone());
            state.chosen = Some(largest);
        }
        if old != new {
            self.step.store(new as u8, Ordering::Relaxed);
        }
        drop(state);
        drop(last);
        chosen.into_iter().for_each(Waker::wake);
        let max = self.max;
        for step in told {
            let (percent, words) = (step.percent(), step.words());
            if new >= step {
                tracing::warn!(
                    step = step.as_str(),
                    "{held} bytes that all connections keep reach {percent} % of max_memory_bytes = {max}: {words}"
                );
            } else {
                let percent = percent.saturating_sub(POINTS_BACK);
                tracing::info!(
                    step = step.as_str(),
                    "{held} bytes that all connections keep are below {percent} % of max_memory_bytes = {max}; this is over: {words}"
                );
            }
        }
    }
}

impl State {
    /// The steps whose beginning or end is to be told: a beginning once in a while, an end where its beginning was.
    fn tell(&mut self, old: MemoryStep, new: MemoryStep, now: Moment) -> Vec<MemoryStep> {
        let begins = new > old;
        let between = |step: &MemoryStep| *step > old.min(new) && *step <= old.max(new);
        let mut told = Vec::new();
        for (step, (at, loud)) in MemoryStep::ALL.into_iter().zip(&mut self.told) {
            if !between(&step) {
                continue;
            }
            if begins {
                *loud = at.is_none_or(|at| now.since(at) >= QUIET);
                *at = if *loud { Some(now) } else { *at };
            }
            told.extend(loud.then_some(step));
        }
        if !begins {
            told.reverse();
        }
        told
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(MAX_BYTES)
    }
}

/// What one connection keeps of the budget; given back when it ends, or is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    memory: Arc<Memory>,
    number: u64,
    units: usize,
    /// Of the task that was told last, while anything is kept.
    waker: Option<Waker>,
}

impl Charge {
    /// Nothing yet. No two that share a budget have the same number.
    pub(crate) fn new(memory: Arc<Memory>, number: u64) -> Self {
        Self { memory, number, units: 0, waker: None }
    }

    /// So many bytes are kept now; `waker` is told when it is this one that has to close.
    #[inline]
    pub(crate) fn hold(&mut self, bytes: usize, now: Moment, waker: &Waker) {
        let units = if bytes < UNIT { 0 } else { bytes.div_ceil(UNIT) };
        let moved = || !self.waker.as_ref().is_some_and(|known| known.will_wake(waker));
        if units != self.units || (units > 0 && moved()) {
            let before = std::mem::replace(&mut self.units, units);
            self.waker = (units > 0).then(|| waker.clone());
            self.memory.change(self.number, (before, units), now, Some(waker));
        }
    }

    /// Nothing is kept any more.
    pub(crate) fn release(&mut self) {
        self.waker = None;
        let units = std::mem::take(&mut self.units);
        if units > 0 {
            // No step begins here, so the moment does not matter.
            self.memory.change(self.number, (units, 0), Moment::default(), None);
        }
    }

    /// Is nothing more of this one begun? Whoever keeps nothing goes on: otherwise a few that never read could hold off everybody,
    /// without there ever being so much that one of them is closed.
    #[inline]
    pub(crate) fn refuses(&self) -> bool {
        self.units > 0 && self.memory.step() >= MemoryStep::RefuseRequests
    }

    /// Is it this one that has to close, and why?
    pub(crate) fn must_close(&self) -> Option<String> {
        let chosen = self.units > 0
            && self.memory.step() == MemoryStep::CloseLargest
            && self.memory.lock().chosen == Some(self.number);
        chosen.then(|| {
            let bytes = self.units.saturating_mul(UNIT);
            format!("{}, and this one keeps most, {bytes}", self.memory.why())
        })
    }

    /// Why something is refused, for people.
    pub(crate) fn why(&self) -> String {
        self.memory.why()
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    const MAX: usize = 100 * UNIT;

    fn charges<const N: usize>(memory: &Arc<Memory>) -> [Charge; N] {
        std::array::from_fn(|number| Charge::new(Arc::clone(memory), number as u64))
    }

    fn hold(charge: &mut Charge, units: usize) {
        charge.hold(units * UNIT, Moment::default(), Waker::noop());
    }

    #[test]
    fn c20_the_steps_begin_in_order_and_end_in_reverse_order() {
        let memory = Arc::new(Memory::new(MAX));
        let [mut charge] = charges(&memory);
        let mut walk = |units: &mut dyn Iterator<Item = usize>| {
            let mut turns = Vec::new();
            let mut last = memory.step();
            for units in units {
                hold(&mut charge, units);
                if memory.step() != last {
                    last = memory.step();
                    turns.push((units, last.as_str()));
                }
            }
            turns
        };
        let begun = walk(&mut (0..=100));
        assert_eq!(
            begun,
            [(70, "drop_events"), (80, "refuse_connections"), (90, "refuse_requests"), (95, "close_largest")]
        );
        let ended = walk(&mut (0..100).rev());
        assert_eq!(
            ended,
            [(89, "refuse_requests"), (84, "refuse_connections"), (74, "drop_events"), (64, "none")]
        );
        // A step that has not begun does not begin early, and all at once is in order too.
        assert_eq!(walk(&mut [69, 66, 100, 94, 75, 0].into_iter()).len(), 3);
        assert_eq!((memory.held(), memory.peak()), (0, MAX));
    }

    /// How often the task of a holder was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn c20_the_largest_is_told_to_close_and_then_the_next_until_there_is_room() {
        let memory = Arc::new(Memory::new(MAX));
        let [mut first, mut second, mut third] = charges(&memory);
        let woken = [(); 3].map(|()| Arc::<Woken>::default());
        let wakers = woken.each_ref().map(|woken| Waker::from(Arc::clone(woken)));
        let told = || woken.each_ref().map(|woken| woken.0.load(Ordering::Relaxed));
        let now = Moment::default();
        first.hold(40 * UNIT, now, &wakers[0]);
        second.hold(30 * UNIT, now, &wakers[1]);
        third.hold(24 * UNIT, now, &wakers[2]);
        assert_eq!((told(), first.must_close()), ([0, 0, 0], None), "94 %");
        third.hold(26 * UNIT, now, &wakers[2]);
        let why = "6291456 bytes that all connections keep are too near to max_memory_bytes = 6553600, and this one keeps most, 2621440";
        assert_eq!((told(), first.must_close().as_deref()), ([1, 0, 0], Some(why)));
        third.hold(61 * UNIT, now, &wakers[2]);
        assert_eq!((told(), third.must_close()), ([1, 0, 0], None), "one after the other");
        drop(first);
        assert_eq!(
            (told(), third.must_close().is_some()),
            ([1, 0, 1], true),
            "91 %, and the step ends at 90 %"
        );
        third.hold(20 * UNIT, now, &wakers[2]);
        assert_eq!((told(), third.must_close()), ([1, 0, 1], None), "there is room");
    }

    #[test]
    fn c20_one_that_moved_to_another_task_is_told_there_to_close() {
        let memory = Arc::new(Memory::new(MAX));
        let [mut moved, mut other] = charges(&memory);
        let woken = [(); 2].map(|()| Arc::<Woken>::default());
        let now = Moment::default();
        for woken in &woken {
            moved.hold(60 * UNIT, now, &Waker::from(Arc::clone(woken)));
        }
        hold(&mut other, 40);
        assert_eq!(woken.each_ref().map(|woken| woken.0.load(Ordering::Relaxed)), [0, 1]);
    }

    #[test]
    fn what_is_below_one_unit_is_not_counted_and_more_is_rounded_up() {
        let memory = Arc::new(Memory::new(MAX));
        let [mut one, mut other] = charges(&memory);
        let (now, waker) = (Moment::default(), Waker::noop());
        // Nothing waits for this lock.
        let state = memory.lock();
        for bytes in (0..UNIT).step_by(100) {
            one.hold(bytes, now, waker);
        }
        drop(state);
        assert_eq!(memory.peak(), 0);
        one.hold(UNIT, now, waker);
        other.hold(UNIT + 1, now, waker);
        assert_eq!(memory.held(), 3 * UNIT);
        drop(one);
        assert_eq!((memory.held(), memory.peak()), (2 * UNIT, 3 * UNIT));
    }

    #[test]
    fn a_step_that_comes_and_goes_is_told_once_in_a_while() {
        let mut state = State::default();
        let (none, drop_events) = (MemoryStep::None, MemoryStep::DropEvents);
        let at = |seconds| Moment::from_start(Duration::from_secs(seconds));
        assert_eq!(state.tell(none, drop_events, at(1)), [drop_events]);
        assert_eq!(state.tell(drop_events, none, at(1)), [drop_events]);
        for second in 2..11 {
            assert_eq!(state.tell(none, drop_events, at(second)), []);
            assert_eq!(state.tell(drop_events, none, at(second)), [], "nobody knows that it began");
        }
        assert_eq!(state.tell(none, MemoryStep::RefuseConnections, at(11)).len(), 2);
    }
}
