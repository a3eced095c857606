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
