//! The books, strangers, drains, and service after repair.

use super::Found;
use crate::history::{Record, What};

pub(super) fn check(records: &[Record], found: &mut Found) {
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
            What::Stranger { lived, limit } if *lived > *limit + GRACE => {
                found.add("INV-10", format!("a stranger lived for {lived:?}, and may for {limit:?}"));
            }
            What::Served { who, answered: false, took } => {
                found.add(
                    "service",
                    format!("client {who} had no answer {took:?} after everything was repaired"),
                );
            }
            What::Drained { who, took, limit } if took > limit => {
                found.add("INV-11", format!("{who} drained for {took:?}, and may for {limit:?}"));
            }
            _ => {}
        }
    }
}

/// What it takes until the end is seen.
const GRACE: std::time::Duration = std::time::Duration::from_millis(500);
