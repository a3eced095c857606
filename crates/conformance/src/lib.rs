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
//! instead that this is refused by name and not lost, and ends as `refused`. So does what a wire has nothing to fail on, such as several
//! calls at once or bytes; so a weaker wire shows as weaker, never as greener.
//!
//! Time is handed in: deadlines, heartbeats, pauses and timeouts of both ends run on a clock that the suite moves. Between the ends
//! stands a [`Relay`] over real sockets of the loopback, which can cut, stall, inject and keep what passes; tests of one's own may have
//! one too. [`Memory`] is the adapter to read first: its frames are envelopes, and on it everything is held that takes no bytes.
//!
//! With `POLYWIRE_CONFORMANCE` naming a folder, every test leaves its [`Finding`] there; [`Report`] reads them, and [`run`] gives the same
//! to a program that wants no tests.
//!
//! An adapter in another language is tested as a program of its own: [`child`].
//!
//! # Decisions, with the road not taken
//! - **Both ends are real, time is not.** Sockets of the loopback and a relay between them, because what is owed is
//!   owed over sockets; a clock that the case moves, because waiting shows nothing. One thread for each case, so that
//!   a log can be read whole and tasks run in one order; one that is never given back fails its case by name, and is
//!   left behind.
//! - **A weaker wire is run through the same cases**: what it declares it cannot do it must refuse. Skipping would
//!   make it look greener.
//! - **The findings are kept in a file** (`tests/conformance.ndjson`), which the table is made of and `cargo xtask
//!   test` compares with what its own run found; running the suite for the table alone would double it.
//! - **The suite is held to its own measure**: `tests/flaws.rs` gives the in-memory adapter one flaw at a time and
//!   names the guarantee that finds it, for every guarantee.
//! - **One relay** serves the suite, the runner of child processes and the tests of the workspace. One for each, with
//!   what each needs, would be the same loop three times.
//!
//! Of the runner of child processes:
//!
//! - **A case knows a client and a server, not which of them is the program.** So one file of cases serves both
//!   modes, and every expectation comes from the declared capabilities and particulars. Cases written for each mode
//!   would drift apart.
//! - **Bodies stand in strings on the control lines.** As JSON inside JSON, any parser on the way would round numbers
//!   and order keys unseen. A language that has only values says so, and is compared by value; its cases on text are
//!   reported as refused, not as held.
//! - **What only the program lacks is `not_shown`, not refused.** Our end has it and would really send; a program
//!   asked for what it says it has not would be judged for a word. A count of its own keeps that from looking like
//!   something that was shown.
//! - **A fresh program for every case.** It costs a start each time; in return no case is judged by what another left
//!   behind.
//! - **The URL of a hello is the program's.** Nothing of this machine is read for it: secrets are made by the runner
//!   and handed over by the environment.

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
mod relay;
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
pub use relay::{Passage, Recording, Relay};
pub use report::Report;
pub use setup::{EVENTS, Setup};
pub use suite::{check, run, show};
