//! One seeded simulation of every wire: real codecs, sessions, engine, supervisor and bridge on a simulated network and clock.
//!
//! A seed decides everything: the wire or the two wires with the bridge between them, how good the network is, what goes wrong and
//! when, and what callers do. Nothing runs on a real socket, and tokio's clock is paused, so that a minute takes milliseconds. What
//! happened is a list of plain records; a checker that is a function of that list says which invariant is broken. The same seed gives
//! the same trace.
//!
//! | module | holds |
//! |---|---|
//! | [`plan`] | what a seed stands for |
//! | [`network`], [`pipe`], [`clock`], [`chance`] | the world below the adapters |
//! | [`wires`], [`service`], [`server`], [`client`], [`stranger`] | both ends, as programs write them |
//! | [`nature`] | what goes wrong |
//! | [`history`] | what happened, in records |
//! | [`check`] | what must hold of it |
//! | [`world`] | one run from the first connect to the last drain |
//! | [`sweep`] | many of them |

pub mod chance;
pub mod check;
pub mod client;
pub mod clock;
pub mod history;
pub mod nature;
pub mod network;
pub mod pipe;
pub mod plan;
pub mod server;
pub mod service;
pub mod stranger;
pub mod sweep;
pub mod wires;
pub mod world;

pub use plan::Plan;
pub use world::{Report, run};

/// How much of something is enough here: `small` in tests, `full` where `POLYWIRE_SOAK` is set, as `cargo xtask soak` does: 1 is all of it,
/// 0.1 a tenth, and never less than `small`.
pub fn size(small: u64, full: u64) -> u64 {
    let part = std::env::var("POLYWIRE_SOAK").ok().and_then(|part| part.parse::<f64>().ok()).unwrap_or(0.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let part = (full as f64 * part) as u64;
    part.max(small)
}
