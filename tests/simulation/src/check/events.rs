//! Events: each row in order and without copies, what is missing was reported as a gap, and what is told after repair is heard.
//!
//! A bridge takes what comes and tells nobody what it could not pass on, so behind one a hole may be without a report where its books
//! tell that it lost something, or a connection, since.

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
    let mut owed = BTreeSet::new();
    for (place, Record { at, what }) in records.iter().enumerate() {
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
                } else if *sequence > last.sequence + 1 {
                    // Whoever dials knows of the gap: a hearer that is a client, or a client that told. The hearer knows of what
                    // its own side dropped.
                    let since = told.get(&(*stream, last.sequence)).copied().unwrap_or(last.at);
                    let knows = if *who == 0 { [0, stream.source] } else { [*who; 2] };
                    let mut gaps = knows.iter().filter_map(|who| gaps.get(who)).flatten();
                    let reported = gaps.any(|gap| *gap >= since);
                    if !reported && !lost_by_bridge(records, place, since) {
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

/// Do the books of the bridge, when they were read next after this record, tell of something lost since a moment?
fn lost_by_bridge(records: &[Record], place: usize, since: Duration) -> bool {
    let next = records.iter().skip(place).position(|record| matches!(record.what, What::Route { .. }));
    let until = next.map_or(records.len(), |next| place + next);
    records
        .iter()
        .take(until)
        .rev()
        .take_while(|record| record.at >= since)
        .any(|record| record.what == What::Lost)
}
