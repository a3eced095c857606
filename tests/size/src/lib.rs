//! How much of something a test does: little in `cargo xtask test`, all of it in `cargo xtask soak`, and how far it has come.

mod cases;
mod progress;

pub use cases::{cases, cases_up_to};
pub use progress::Progress;

/// `small`, or `full` where `POLYWIRE_SOAK` is set, as `cargo xtask soak` does: 1 is all of it, 0.1 a tenth.
///
/// # Panics
/// When `small` is larger than `full`: a limit that is stricter at the full size asks [`is_full`].
#[must_use]
pub fn size(small: u64, full: u64) -> u64 {
    assert!(small <= full, "{small} is not small beside {full}");
    // The least that is done is what the tests do.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let part = (full as f64 * part()) as u64;
    part.max(small)
}

/// Is everything done at its full size, so that figures mean what they say?
#[must_use]
pub fn is_full() -> bool {
    part() >= 1.0
}

/// How much of the full size was asked for; 0 in ordinary tests, which tell nothing of how far they are.
fn part() -> f64 {
    let asked = std::env::var("POLYWIRE_SOAK").ok();
    asked.and_then(|part| part.parse().ok()).unwrap_or(0.0)
}
