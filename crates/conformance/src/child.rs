#![doc = include_str!("../CONTROL.md")]

mod case;
pub mod control;
mod known;
mod mask;
mod ours;
mod outcome;
mod program;
mod report;
mod run;
mod service;
mod stage;
mod step;
mod trace;
mod drive;
mod wire;

pub use case::Case;
pub use known::{KnownFailing, NoSuchCase};
pub use program::{Command, LaunchError};
pub use report::{CaseReport, Report, Verdict};
pub use run::{Find, Plan, cases, run};
pub use wire::Found;
