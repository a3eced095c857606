//! Events: each row in order and without copies, what is missing was reported as a gap, and what is told after repair is heard.
//!
//! Behind a bridge rows may have holes that nobody reports: it takes what comes and tells nobody what it could not pass on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Found;
use crate::history::{Record, Stream, What};

/// What one hearer has heard of one row.
struct Heard {
    sequence: u64,
    at: Duration,
}

pub(super) fn check(records: &[Record], found: &mut Found) {
    let mut told = BTreeMap::<(Stream, u64), Duration>::new();
    let mut gaps = BTreeMap::<u64, Vec<Duration>>::new();
    let mut heard = BTreeMap::<(u64, Stream), Heard>::new();
    let bridged = records.iter().any(|record| matches!(record.what, What::Route { .. }));
    let mut owed = BTreeSet::new();
    for Record { at, what } in records {
        match what {
            What::Owed { who, stream, sequence } => {
                owed.insert((*who, *stream, *sequence));
            }
            What::Told { stream, sequence } => {
                told.insert((*stream, *sequence), *at);
            }
            // A client that is started again begins anew.
            What::Gap { who } | What::Started { who, .. } => gaps.entry(*who).or_default().push(*at),
            What::Heard { who, stream, sequence } => {
                let last = heard.insert((*who, *stream), Heard { sequence: *sequence, at: *at });
                let Some(last) = last else { continue };
                let row = format!("event {sequence} of row {stream:?} came to {who}");
                if *sequence == last.sequence {
                    found.add("INV-8", format!("{row} twice"));
                } else if *sequence < last.sequence {
                    found.add("INV-8", format!("{row} behind {}", last.sequence));
                } else if *sequence > last.sequence + 1 && !bridged {
                    // Whoever dials knows of the gap: a hearer that is a client, or a client that told.
                    let knows = if *who == 0 { stream.source } else { *who };
                    let since = told.get(&(*stream, last.sequence)).copied().unwrap_or(last.at);
                    let reported = gaps.get(&knows).is_some_and(|gaps| gaps.iter().any(|gap| *gap >= since));
                    if !reported {
                        found
                            .add("INV-8", format!("{row} behind {}, and no gap was reported", last.sequence));
                    }
                }
            }
            _ => {}
        }
    }
    for Record { what, .. } in records {
        if let What::Heard { who, stream, sequence } = what {
            owed.remove(&(*who, *stream, *sequence));
        }
    }
    for (who, stream, sequence) in owed {
        let row = format!("event {sequence} of row {stream:?}");
        found.add("INV-8", format!("{row}, told when everything was good, was not heard by {who}"));
    }
}
