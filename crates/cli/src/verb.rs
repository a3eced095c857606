//! The verbs, one file each.

pub(crate) mod bench;
pub(crate) mod call;
pub(crate) mod check;
pub(crate) mod conform;
pub(crate) mod demo;
pub(crate) mod emit;
pub(crate) mod fake;
pub(crate) mod listen;
pub(crate) mod run;
pub(crate) mod serve;

use std::time::Duration;

use polywire_bridge::Registry;
use polywire_core::Route;

use crate::exit::Fault;

/// What every verb is given.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The wires there are.
    pub(crate) adapters: Registry,
}

/// A route from the command line.
pub(crate) fn route(name: String) -> Result<Route, Fault> {
    Route::new(name).map_err(Fault::usage)
}

/// A time from the command line, for clap.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    polywire_core::parse_duration(text)
        .ok_or_else(|| "a time has a unit, such as 250ms, 5s, 2min or 1h".to_owned())
}
