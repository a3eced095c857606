//! What every adapter owes its users, stated once and shown of any adapter, in Rust or not.
//!
//! An adapter in Rust says in a [`Setup`] how its two ends are made. [`suite!`] then makes a named test of every [`Guarantee`], for the
//! side that dials and for the side that listens:
//!
//! ```
//! use polywire_conformance::{Memory, Setup};
//! use polywire_core::{Adapter, Secret, Target};
//!
//! #[derive(Debug)]
//! struct Mine;
//!
//! impl Setup for Mine {
//!     fn adapter(&self) -> Box<dyn Adapter> {
//! #       /* as short as it gets:
//!         Box::new(mine::ADAPTER)
//! #       */ Box::new(Memory::default())
//!     }
//!     fn listen(&self, _: &Secret) -> Target {
//!         Target { address: "127.0.0.1:0".into(), ..Target::default() }
//!     }
//!     fn dial(&self, address: &str, _: &Secret) -> Target {
//!         Target { address: address.into(), ..Target::default() }
//!     }
//! }
//!
//! polywire_conformance::suite!(Mine);
//! ```
//!
//! A guarantee is never skipped. Where the declared [`Capabilities`](polywire_core::Capabilities) switch off what it needs, it shows
//! instead that this is refused by name and not lost, and ends as `refused`; so a weaker wire shows as weaker, never as greener.
//!
//! Time is handed in: deadlines, heartbeats, pauses and timeouts of both ends run on a clock that the suite moves. Between the ends
//! stands a relay of the suite's own, over real sockets of the loopback, which can cut, stall and count. [`Memory`] is the adapter to
//! read first: its frames are envelopes, and on it everything is held.
//!
//! With `POLYWIRE_CONFORMANCE` naming a folder, every test leaves its [`Finding`] there; [`Report`] reads them, and [`run`] gives the same
//! to a program that wants no tests.
//!
//! An adapter in another language is tested as a program of its own: [`child`].

mod app;
mod bench;
mod case;
pub mod child;
mod clock;
mod door;
mod finding;
mod guarantee;
mod joint;
mod memory;
mod recorder;
mod report;
mod rig;
mod setup;
mod suite;
mod watchdog;

pub use case::Broken;
pub use finding::{Direction, Finding, Verdict};
pub use guarantee::{Guarantee, guarantees};
pub use joint::{Joint, Stranger, Way};
pub use memory::Memory;
pub use report::Report;
pub use setup::{EVENTS, Setup};
pub use suite::{check, run, show};
