//! Calls: one outcome in time, to the right caller, run once at most, and by nobody who is not let in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use polywire_core::Code;

use super::Found;
use super::sleep::Sleeps;
use crate::history::{End, Record, What};

/// How long after its deadline a call may end.
const LATE: Duration = Duration::from_millis(250);
/// How long before its deadline a call may be given up as late: timers tell milliseconds.
const EARLY: Duration = Duration::from_millis(2);

pub(super) fn check(records: &[Record], sleeps: &Sleeps, found: &mut Found) {
    let mut deadlines = BTreeMap::new();
    let mut ends = BTreeMap::<u64, Vec<(Duration, Option<&End>)>>::new();
    let mut runs = BTreeMap::<u64, u32>::new();
    let mut uninvited = BTreeSet::new();
    let mut joined = BTreeSet::new();
    for Record { at, what } in records {
        match what {
            What::Called { nonce, deadline } => {
                let before = deadlines.insert(*nonce, *deadline);
                assert_eq!(before, None, "the simulation makes call {nonce} once");
            }
            What::Ended { nonce, end } => ends.entry(*nonce).or_default().push((*at, Some(end))),
            What::GivenUp { nonce } => ends.entry(*nonce).or_default().push((*at, None)),
            What::Ran { nonce, peer } => {
                *runs.entry(*nonce).or_default() += 1;
                if let Some(stranger) = peer.filter(|peer| !joined.contains(peer)) {
                    found.add(
                        "INV-10",
                        format!("call {nonce} ran for connection {stranger}, which is not logged in"),
                    );
                }
            }
            What::Uninvited { nonce } => {
                uninvited.insert(*nonce);
            }
            What::Joined { peer } => {
                joined.insert(*peer);
            }
            What::Left { peer } => {
                joined.remove(peer);
            }
            _ => {}
        }
    }
    for (nonce, deadline) in &deadlines {
        match ends.get(nonce).map(Vec::as_slice) {
            None => found.add("INV-1", format!("call {nonce} never ended")),
            Some([(at, end)]) => {
                let late = sleeps.late(*deadline, *at);
                if late > LATE {
                    found.add("INV-1", format!("call {nonce} ended {late:?} after its deadline: {end:?}"));
                }
                ended(*nonce, *deadline, *at, *end, runs.get(nonce).copied(), found);
            }
            Some(more) => found.add("INV-1", format!("call {nonce} ended {} times", more.len())),
        }
    }
    for (nonce, times) in &runs {
        if *times > 1 {
            found.add("INV-3", format!("call {nonce} ran {times} times"));
        }
        if uninvited.contains(nonce) {
            found.add("INV-10", format!("call {nonce} ran, whose caller was not let in"));
        }
    }
}

fn ended(
    nonce: u64,
    deadline: Duration,
    at: Duration,
    end: Option<&End>,
    runs: Option<u32>,
    found: &mut Found,
) {
    let Some(end) = end else { return };
    match end {
        End::Answered(told) if *told != Some(nonce) => {
            found.add("INV-2", format!("call {nonce} was answered with that of {told:?}"));
        }
        End::Failed(_, Some(told)) if *told != nonce => {
            found.add("INV-2", format!("call {nonce} failed with the words of {told}"));
        }
        End::Answered(_) | End::Failed(_, Some(_)) if runs.is_none() => {
            found.add("INV-2", format!("call {nonce} never ran, and was answered: {end:?}"));
        }
        End::NotSent(_) if runs.is_some() => {
            found.add(
                "INV-3",
                format!("call {nonce} ran, and its caller was told that it surely did not: {end:?}"),
            );
        }
        End::NotSent(Code::DeadlineExceeded) | End::Unknown(Code::DeadlineExceeded)
            if at + EARLY < deadline =>
        {
            found.add("INV-1", format!("call {nonce} was late {:?} before its deadline", deadline - at));
        }
        _ => {}
    }
}
