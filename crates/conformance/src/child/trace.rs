//! What passed between the two ends of a case, for people.

use std::fmt::Write;

use super::mask::Mask;
use crate::joint::Way;
use crate::relay::Relay;

/// What passed, passage by passage; `>` goes to the end that listens.
pub(super) fn trace(relay: &Relay, mask: &Mask) -> String {
    let recordings: Vec<_> = (0..relay.opened()).map(|number| relay.recording(number)).collect();
    let passages = recordings.iter().zip(1..);
    let mut passages: Vec<_> = passages
        .flat_map(|(seen, number)| seen.passages.iter().map(move |passage| (number, passage)))
        .collect();
    passages.sort_unstable_by_key(|(_, passage)| passage.turn);
    let mut text = String::new();
    for (number, passage) in passages {
        let way = if passage.way == Way::ToServer { '>' } else { '<' };
        let (size, shown) = (passage.bytes.len(), mask.shown(&passage.bytes));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "#{number} {way} {size:>6} B  {shown}");
    }
    let left_out: usize = recordings.iter().map(|seen| seen.left_out).sum();
    if left_out > 0 {
        let _ = writeln!(text, "{left_out} bytes more were not kept");
    }
    text
}
