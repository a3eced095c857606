//! The suite, run against the in-memory adapter.

use std::sync::Arc;

use polywire_conformance::{Memory, Setup, Verdict};

polywire_conformance::suite!(Memory::default());

/// What cannot be shown of a wire without bytes, in every direction.
const BYTES: [&str; 6] = [
    "limit::a_message_that_is_begun_has_its_time",
    "limit::a_message_that_is_begun_has_its_time",
    "nuisance::signs_of_life_are_bounded",
    "nuisance::signs_of_life_are_bounded",
    "login::what_is_said_early_waits_for_the_verdict",
    "hostile::an_opening_may_end_anywhere",
];

#[test]
fn the_strongest_wire_refuses_only_what_takes_bytes_and_the_report_says_so() {
    let setup: Arc<dyn Setup> = Arc::new(Memory::default());
    let report = polywire_conformance::run(&setup);
    let weak: Vec<_> = report.findings().iter().filter(|finding| finding.verdict != Verdict::Held).collect();
    assert!(weak.iter().all(|finding| finding.verdict == Verdict::Refused), "{weak:?}");
    assert_eq!(weak.iter().map(|finding| &*finding.guarantee).collect::<Vec<_>>(), BYTES);
    assert!(report.is_good());
    let run = report.findings().len();
    let refused = BYTES.len();
    let held = run - refused;
    let text = format!("memory     {run:>3} run, {held:>3} held, {refused:>2} refused,  0 failed\n");
    assert_eq!(report.to_text(), text);
    let again = polywire_conformance::Report::parse(&report.to_ndjson()).unwrap();
    assert_eq!(again, report);
}
