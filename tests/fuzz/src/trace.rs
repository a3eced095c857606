//! What an execution did that none before it did: such an input is worth mutating further.
//!
//! A stand-in for the coverage that cargo-fuzz measures. Targets mark what they see (the kind of a frame, the reason of a
//! close, which action followed which); an input whose marks hold a new one goes into the corpus.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};

const MARKS: usize = 1 << 16;

struct Trace {
    seen: Vec<bool>,
    fresh: bool,
}

thread_local! {
    static TRACE: RefCell<Trace> = RefCell::new(Trace { seen: vec![false; MARKS], fresh: false });
}

/// Something happened that is told from other things by its hash.
pub fn mark(what: impl Hash) {
    let slot = usize::from((hash(what) & 0xffff) as u16) % MARKS;
    TRACE.with_borrow_mut(|trace| {
        let slot = &mut trace.seen[slot];
        trace.fresh |= !*slot;
        *slot = true;
    });
}

/// A number for something, the same in every run.
pub fn hash(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// Has anything been marked for the first time since this was asked last?
pub fn take_fresh() -> bool {
    TRACE.with_borrow_mut(|trace| std::mem::take(&mut trace.fresh))
}

/// The size of a number in powers of two: more would make everything new.
pub fn size(number: usize) -> u32 {
    usize::BITS - number.leading_zeros()
}
