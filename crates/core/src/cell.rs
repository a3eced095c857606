//! Where one call meets its one outcome: a cell that the caller waits at and the connection fills.
//!
//! Each cell has two ends, and each end is a value that is used up. A caller that has its outcome and is left alone gives the cell
//! back to its thread for the next call, so a cell is used again only when nobody is left who could fill it: no outcome can
//! come late to another call.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::failure::{CallError, Code, Outcome};

/// Most cells a thread keeps between two uses.
const KEPT: usize = 1_024;

thread_local! {
    static SPARE: RefCell<Vec<Arc<Cell>>> = const { RefCell::new(Vec::new()) };
}

#[derive(Default)]
struct Cell(Mutex<State>);

#[derive(Default)]
enum State {
    /// Nobody has come yet.
    #[default]
    Fresh,
    /// The caller waits.
    Waiting(Waker),
    /// The outcome is there.
    Told(Outcome),
    /// The caller does not wait any more.
    Left,
}

impl Cell {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and every state of it is a whole one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The two ends of a cell.
pub(crate) fn cell() -> (Owed, Awaited) {
    let cell = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    (Owed(Some(Arc::clone(&cell))), Awaited(Some(cell)))
}

/// The end of whoever owes the outcome. Dropped, it says that none will come.
pub(crate) struct Owed(Option<Arc<Cell>>);

impl Owed {
    /// Has the caller gone? Its end is then no more, so this asks without a lock.
    pub(crate) fn is_left(&self) -> bool {
        self.0.as_ref().is_none_or(|cell| Arc::strong_count(cell) == 1)
    }

    /// Tells the outcome and wakes the caller; says whether there still was one.
    pub(crate) fn tell(self, outcome: Outcome) -> bool {
        let (told, waker) = self.put(outcome);
        if let Some(waker) = waker {
            waker.wake();
        }
        told
    }

    /// Tells the outcome, and leaves it to whoever calls this to wake the caller.
    pub(crate) fn put(mut self, outcome: Outcome) -> (bool, Option<Waker>) {
        // Given up before the caller is woken, which then is the last one and gives the cell back.
        self.0.take().map_or((false, None), |cell| fill(&cell, outcome))
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if let Some(cell) = self.0.take() {
            let error = CallError::unknown(Code::Internal, "the connection ended without a word");
            if let (_, Some(waker)) = fill(&cell, Err(error)) {
                drop(cell);
                waker.wake();
            }
        }
    }
}

fn fill(cell: &Cell, outcome: Outcome) -> (bool, Option<Waker>) {
    let mut state = cell.lock();
    if let State::Left = *state {
        return (false, None);
    }
    match std::mem::replace(&mut *state, State::Told(outcome)) {
        State::Waiting(waker) => (true, Some(waker)),
        _ => (true, None),
    }
}

/// The end of the caller.
pub(crate) struct Awaited(Option<Arc<Cell>>);

impl Awaited {
    /// The outcome, once it was told; asked again after that, it is pending for ever.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Outcome> {
        let Some(cell) = &self.0 else { return Poll::Pending };
        let mut state = cell.lock();
        match std::mem::take(&mut *state) {
            State::Told(outcome) => {
                drop(state);
                self.give_back();
                Poll::Ready(outcome)
            }
            State::Waiting(known) if known.will_wake(cx.waker()) => {
                *state = State::Waiting(known);
                Poll::Pending
            }
            former => {
                *state = State::Waiting(cx.waker().clone());
                // Outside the lock: a waker may bring code of its own.
                drop(state);
                drop(former);
                Poll::Pending
            }
        }
    }

    /// The caller goes without having had the outcome; says whether it was still owed one.
    pub(crate) fn leave(&mut self) -> bool {
        let Some(cell) = self.0.take() else { return false };
        // Dropped after the lock, as above.
        let former = std::mem::replace(&mut *cell.lock(), State::Left);
        !matches!(former, State::Told(_))
    }

    /// The outcome was taken, so the state is that of a fresh cell.
    fn give_back(&mut self) {
        let Some(cell) = self.0.take() else { return };
        if Arc::strong_count(&cell) == 1 {
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < KEPT {
                    spare.push(cell);
                }
            });
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Body;

    fn answer(number: u32) -> Outcome {
        Ok(Body::json(&number).unwrap().into())
    }

    fn poll(awaited: &mut Awaited) -> Poll<Outcome> {
        awaited.poll(&Context::from_waker(Waker::noop()))
    }

    fn place(awaited: &Awaited) -> *const Cell {
        awaited.0.as_ref().map_or(std::ptr::null(), Arc::as_ptr)
    }

    #[test]
    fn an_outcome_is_had_once() {
        let (owed, mut awaited) = cell();
        assert!(!owed.is_left());
        assert!(poll(&mut awaited).is_pending());
        assert!(owed.tell(answer(1)));
        assert_eq!(poll(&mut awaited), Poll::Ready(answer(1)));
        assert!(poll(&mut awaited).is_pending());
    }

    #[test]
    fn an_end_that_is_dropped_is_known_at_the_other() {
        let (owed, awaited) = cell();
        drop(awaited);
        assert!(owed.is_left());
        assert!(!owed.tell(answer(1)));
        let (owed, mut awaited) = cell();
        drop(owed);
        let Poll::Ready(Err(CallError::Unknown(failure))) = poll(&mut awaited) else { panic!("unknown") };
        assert_eq!(failure.code, Code::Internal);
    }

    #[test]
    fn a_cell_is_used_again_once_both_ends_are_done_with_it() {
        let (owed, mut awaited) = cell();
        let first = place(&awaited);
        assert!(poll(&mut awaited).is_pending());
        owed.tell(answer(1));
        assert!(poll(&mut awaited).is_ready());
        let (owed, mut awaited) = cell();
        assert_eq!(place(&awaited), first);
        assert!(!owed.is_left() && poll(&mut awaited).is_pending(), "it begins like a fresh one");
    }

    #[test]
    fn a_cell_that_is_used_again_never_gets_a_late_outcome() {
        let (late, given_up) = cell();
        drop(given_up);
        let (owed, mut awaited) = cell();
        assert!(!late.tell(answer(1)), "its caller has gone");
        assert!(poll(&mut awaited).is_pending());
        owed.tell(answer(2));
        assert_eq!(poll(&mut awaited), Poll::Ready(answer(2)));
    }

    #[test]
    fn a_thread_keeps_a_bounded_number_of_cells() {
        let mut calls: Vec<_> = (0..2 * KEPT).map(|_| cell()).collect();
        for (owed, awaited) in &mut calls {
            std::mem::replace(owed, Owed(None)).tell(answer(1));
            assert!(poll(awaited).is_ready());
        }
        assert_eq!(SPARE.with_borrow(Vec::len), KEPT);
    }
}
