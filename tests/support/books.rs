//! The books of an endpoint that is at rest.

use polywire_core::{Count, Ledger};

/// Every connection, request and call has ended, and every frame has been accounted for.
///
/// # Panics
/// When one has not, with all that was counted.
#[track_caller]
pub fn check_books(ledger: &Ledger) {
    let of = |counts: &[Count]| counts.iter().map(|count| ledger.get(*count)).sum::<u64>();
    let books = format!("{:?}", ledger.snapshot());
    assert_eq!(ledger.unaccounted_frames(), 0, "{books}");
    assert_eq!(of(&[Count::Connections]), of(&[Count::Closed]), "{books}");
    let ended = [Count::RequestsAnswered, Count::RequestsFailed, Count::RequestsAbandoned];
    assert_eq!(of(&[Count::Requests]), of(&ended), "{books}");
    let ended = [
        Count::CallsAnswered,
        Count::CallsFailed,
        Count::CallsNotSent,
        Count::CallsUnknown,
        Count::CallsCancelled,
    ];
    assert_eq!(of(&[Count::Calls]), of(&ended), "{books}");
}
