//! The books, strangers, drains, and service after repair.

use std::time::Duration;

use super::Found;
use super::sleep::Sleeps;
use crate::history::{Record, What};

pub(super) fn check(records: &[Record], sleeps: &Sleeps, found: &mut Found) {
    let late = |at: &Duration, took: &Duration, limit: &Duration| {
        sleeps.late(at.saturating_sub(*took) + *limit, *at)
    };
    for Record { at, what } in records {
        match what {
            What::Books { who, frames, calls, requests, connections, closed } => {
                if *frames != 0 {
                    found.add("INV-4", format!("{who} at {at:?}: {frames} frames are not accounted for"));
                }
                for (name, left) in [("calls", calls), ("requests", requests), ("connections", connections)] {
                    if *left < 0 {
                        found.add(
                            "INV-4",
                            format!("{who} at {at:?}: {} {name} ended that never began", -left),
                        );
                    }
                    if *closed && *left > 0 {
                        found.add("INV-4", format!("{who}: {left} {name} never ended"));
                    }
                }
            }
            What::Route { title, received, ended, closed } => {
                if ended > received {
                    found
                        .add("INV-4", format!("route {title} at {at:?}: {received} received, {ended} ended"));
                }
                if *closed && ended < received {
                    found.add("INV-4", format!("route {title}: {received} received, {ended} ended"));
                }
            }
            What::Taken { given, taken } if given != taken => {
                found.add("INV-4", format!("the bridge was given {given} messages, its routes took {taken}"));
            }
            What::Stranger { lived, limit } if late(at, lived, limit) > GRACE => {
                found.add("INV-10", format!("a stranger lived for {lived:?}, and may for {limit:?}"));
            }
            What::Served { who, answered: false, took } => {
                found.add(
                    "service",
                    format!("client {who} had no answer {took:?} after everything was repaired"),
                );
            }
            What::Drained { who, took, limit } if !late(at, took, limit).is_zero() => {
                found.add("INV-11", format!("{who} drained for {took:?}, and may for {limit:?}"));
            }
            _ => {}
        }
    }
}

/// What it takes until the end is seen.
const GRACE: Duration = Duration::from_millis(500);
