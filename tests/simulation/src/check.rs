//! What must hold of a history. A function of the records alone, so that a wrong history shows that it can fail.

mod calls;
mod dials;
mod events;
mod rest;
mod sleep;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::history::Record;
use sleep::Sleeps;

/// Something that must hold and does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant.
    pub invariant: &'static str,
    /// What happened instead.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.text)
    }
}

/// Everything that is wrong with a history.
pub fn check(records: &[Record]) -> Vec<Violation> {
    let mut found = Found(Vec::new());
    let sleeps = Sleeps::of(records);
    calls::check(records, &sleeps, &mut found);
    events::check(records, &mut found);
    dials::check(records, &mut found);
    rest::check(records, &sleeps, &mut found);
    found.0
}

/// What was found so far.
struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, invariant: &'static str, text: impl Into<String>) {
        self.0.push(Violation { invariant, text: text.into() });
    }
}
