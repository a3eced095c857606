//! The suite, run against the in-memory adapter.

use polywire_conformance::{Memory, Verdict};

polywire_conformance::suite!(Memory::default());

#[test]
fn the_strongest_wire_refuses_nothing_and_the_report_says_so() {
    let report = polywire_conformance::run(&Memory::default());
    let weak: Vec<_> = report.findings().iter().filter(|finding| finding.verdict != Verdict::Held).collect();
    assert!(weak.is_empty(), "{weak:?}");
    assert!(report.is_good());
    let run = report.findings().len();
    assert_eq!(report.to_text(), format!("memory     {run:>3} run, {run:>3} held,  0 refused,  0 failed\n"));
    let again = polywire_conformance::Report::parse(&report.to_ndjson()).unwrap();
    assert_eq!(again, report);
}
