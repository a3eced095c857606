//! Two hundred seeds of the simulation; `cargo xtask soak simulate` runs any number.

use polywire_simulation::sweep::sweep;
use polywire_simulation::wires::WIRES;
use polywire_simulation::{Plan, run};

/// Everything that must have happened, or the seeds show less than they say.
const HAPPENED: [&str; 29] = [
    "answered",
    "failed",
    "not sent",
    "unknown",
    "given up",
    "event",
    "event after repair",
    "gap",
    "refused",
    "stranger",
    "served",
    "bridge books",
    "Reset",
    "Blacken",
    "Partition",
    "Refuse",
    "Silence",
    "Quality",
    "CrashServer",
    "DrainServer",
    "StartServer",
    "CrashBridge",
    "DrainBridge",
    "StartBridge",
    "RestartClient",
    "Step",
    "Suspend",
    "Strike",
    "Hesitate",
];

#[test]
fn g13_two_hundred_seeds_break_no_invariant_and_the_same_seed_gives_the_same_trace() {
    let swept = sweep(0, 200, 2, 20, || ());
    assert!(
        swept.failed.is_empty(),
        "again: cargo xtask soak simulate --seeds 1 --from SEED --show\n{:#?}",
        swept.failed
    );
    let direct = WIRES.map(|wire| format!("Direct({wire:?})"));
    let missing = HAPPENED.iter().copied().chain(direct.iter().map(String::as_str));
    let missing = missing.filter(|kind| !swept.happened.contains_key(*kind)).collect::<Vec<_>>();
    assert!(missing.is_empty(), "never happened: {missing:?}\n{:#?}", swept.happened);
    for wire in WIRES {
        for (side, pair) in [("from", format!("Bridged({wire:?}, ")), ("to", format!(", {wire:?})"))] {
            let seen = swept.happened.keys().any(|kind| kind.starts_with("Bridged") && kind.contains(&pair));
            assert!(seen, "no bridge {side} {wire}");
        }
    }
}

#[test]
fn another_seed_gives_another_trace() {
    let traces = [1, 2, 3].map(|seed| run(&Plan::of(seed)).trace);
    assert!(traces[0] != traces[1] && traces[1] != traces[2] && traces[0] != traces[2], "{traces:?}");
}
