//! Rows of hostile networks and goals, each as a run of its own; `cargo xtask soak rows` runs them at their full size.

use std::time::Duration;

use polywire_simulation::client::Habits;
use polywire_simulation::history::{End, What};
use polywire_simulation::pipe::{Direction, Quality};
use polywire_simulation::plan::{Fault, Plan, Shape, Way};
use polywire_simulation::wires::{self, WIRES};
use polywire_simulation::{Report, run};
use polywire_size::{Progress, size};

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Runs a plan that must break nothing.
#[track_caller]
fn holds(plan: &Plan) -> Report {
    let report = run(plan);
    assert!(report.violations.is_empty(), "{:?} seed {}: {:#?}", plan.shape, plan.seed, report.violations);
    report
}

fn count(report: &Report, kind: impl Fn(&What) -> bool) -> u64 {
    report.records.iter().filter(|record| kind(&record.what)).count() as u64
}

fn direct(seed: u64, wire: &'static str) -> Plan {
    Plan { clients: wires::most_clients(wire), ..Plan::calm(seed, Shape::Direct(wire)) }
}

/// Every wire to the next one, so that each is on both sides.
fn bridged() -> impl Iterator<Item = Shape> + Clone {
    WIRES.into_iter().zip(WIRES.into_iter().cycle().skip(1)).map(|(from, to)| Shape::Bridged(from, to))
}

/// The same fault every so often.
fn every(span: Duration, times: u32, faults: &[Fault]) -> Vec<(Duration, Fault)> {
    (1..=times).flat_map(|time| faults.iter().map(move |fault| (span * time, *fault))).collect()
}

/// So many calls of a wire whose answers come around the deadline: each ends once, with its own answer or with none.
fn replies_at_the_deadline(wire: &'static str, replies: u64) {
    let mut progress = Progress::new(&format!("replies of {wire} at the deadline"), replies);
    let (mut answered, mut late) = (0, 0);
    let mut seed = 0;
    while answered + late < replies {
        let habits = Habits {
            pause: 12,
            timeout: (100, 300),
            at_the_last_moment: 1_000,
            ..Plan::calm(0, Shape::Direct(wire)).habits
        };
        let report = holds(&Plan { habits, active: secs(3), ..direct(seed, wire) });
        answered += count(&report, |what| matches!(what, What::Ended { end: End::Answered(_), .. }));
        late += count(&report, |what| matches!(what, What::Ended { end: End::Unknown(_), .. }));
        seed += 1;
        progress.done(answered + late);
    }
    assert!(answered > late / 20 && late > answered / 20, "{wire}: {answered} in time, {late} late");
}

/// Those with ids.
#[test]
fn b04_a_reply_that_comes_at_the_deadline_gives_one_outcome() {
    for wire in WIRES.into_iter().filter(|wire| !matches!(*wire, "hpx" | "stonyx")) {
        replies_at_the_deadline(wire, size(400, 400_000));
    }
}

/// Where only the order tells whose an answer is.
#[test]
fn b04_g04_p13_a_reply_that_comes_at_the_deadline_gives_one_outcome_on_hpx() {
    replies_at_the_deadline("hpx", size(10_000, 10_000_000));
}

/// Where only the name does.
#[test]
fn b04_g04_a_reply_that_comes_at_the_deadline_gives_one_outcome_on_stonyx() {
    replies_at_the_deadline("stonyx", size(10_000, 10_000_000));
}

#[test]
fn b05_a_caller_that_leaves_with_many_calls_in_flight_leaves_nothing_behind() {
    let mut progress = Progress::new("b05: bridges with callers that leave", bridged().count() as u64);
    for shape in bridged() {
        let habits = Habits { pause: 3, timeout: (5_000, 8_000), ..Plan::calm(0, shape).habits };
        let faults = every(millis(900), u32::try_from(size(2, 100)).unwrap(), &[Fault::RestartClient(1)]);
        let active = faults.last().map_or(Duration::ZERO, |(at, _)| *at) + secs(1);
        holds(&Plan { habits, faults, active, ..Plan::calm(5, shape) });
        progress.one_more();
    }
}

#[test]
fn b02_an_upstream_that_flaps_every_second_for_ten_minutes_is_dialled_in_bounds() {
    let times = u32::try_from(size(60, 600)).unwrap();
    let mut progress =
        Progress::new(&format!("b02: bridges whose upstream flaps {times} times"), bridged().count() as u64);
    for shape in bridged() {
        let faults =
            every(secs(1), times, &[Fault::Reset(Way::Bridge), Fault::Refuse(Way::Bridge, millis(500))]);
        let habits = Habits { pause: 2_000, ..Plan::calm(0, shape).habits };
        holds(&Plan { habits, faults, active: secs(1) * (times + 1), ..Plan::calm(2, shape) });
        progress.one_more();
    }
}

#[test]
fn b06_a_server_that_is_killed_again_and_again_runs_no_call_twice() {
    let times = u32::try_from(size(3, 100)).unwrap();
    let mut progress =
        Progress::new(&format!("b06: servers that are killed {times} times"), WIRES.len() as u64);
    for wire in WIRES {
        let mut faults = every(secs(3), times, &[Fault::CrashServer]);
        faults.extend(
            every(secs(3), times, &[Fault::StartServer])
                .into_iter()
                .map(|(at, start)| (at + millis(700), start)),
        );
        faults.sort_by_key(|(at, _)| *at);
        let habits = Habits { pause: 20, ..Plan::calm(0, Shape::Direct(wire)).habits };
        let active = secs(3) * (times + 1);
        holds(&Plan { habits, faults, active, ..direct(6, wire) });
        progress.one_more();
    }
}

#[test]
fn b13_each_side_restarted_twenty_times_gives_one_copy_of_each_event() {
    let times = u32::try_from(size(2, 20)).unwrap();
    let mut progress = Progress::new(
        &format!("b13: bridges restarted {times} times on each side"),
        bridged().count() as u64,
    );
    for shape in bridged() {
        let ends = [
            Fault::DrainServer,
            Fault::StartServer,
            Fault::RestartClient(1),
            Fault::DrainBridge,
            Fault::StartBridge,
        ];
        let faults = every(secs(8), times, &ends);
        let active = faults.last().map_or(Duration::ZERO, |(at, _)| *at) + secs(10);
        holds(&Plan { faults, active, ..Plan::calm(13, shape) });
        progress.one_more();
    }
}

#[test]
fn b16_every_bad_network_is_borne_and_served_again_after_repair() {
    let both =
        |fault: fn(Way) -> Fault| vec![(secs(2), fault(Way::Bridge)), (secs(3), fault(Way::Client(1)))];
    let good = Quality::GOOD;
    let conditions = [
        ("partition", good, both(|way| Fault::Partition(way, None, secs(6)))),
        ("one-way partition", good, both(|way| Fault::Partition(way, Some(Direction::Back), secs(6)))),
        ("half-open", good, both(|way| Fault::Blacken(way, Some(Direction::There)))),
        ("jitter", Quality { delay: millis(100), jitter: millis(800), ..good }, vec![]),
        ("resets", Quality { resets: 10, ..good }, vec![]),
        ("single bytes", Quality { piece: 1, ..good }, vec![]),
        ("8 KiB a second", Quality { rate: 8 << 10, room: 4 << 10, ..good }, vec![]),
    ];
    let seeds = size(1, 100);
    let mut progress = Progress::new("b16: bad networks of each kind", seeds);
    for seed in 0..seeds {
        for (number, (name, quality, faults)) in conditions.iter().enumerate() {
            let shape = bridged().cycle().nth(number + usize::try_from(seed).unwrap()).unwrap();
            let plan =
                Plan { front: *quality, back: *quality, faults: faults.clone(), ..Plan::calm(seed, shape) };
            let report = run(&plan);
            assert!(report.violations.is_empty(), "{name}, {shape:?}: {:#?}", report.violations);
            assert!(count(&report, |what| matches!(what, What::Ran { .. })) > 0, "{name}, {shape:?}");
        }
        progress.one_more();
    }
}

#[test]
fn c07_resets_at_any_moment_end_calls_at_once_and_leave_nothing() {
    let seeds = size(2, 200);
    for wire in WIRES {
        let mut progress = Progress::new(&format!("c07: seeds of resets of {wire}"), seeds);
        for seed in 0..seeds {
            let resets =
                (1..40).map(|time| (millis(time * 97 + seed), Fault::Reset(Way::Client(1)))).collect();
            let habits = Habits { pause: 15, ..Plan::calm(0, Shape::Direct(wire)).habits };
            holds(&Plan { faults: resets, habits, active: secs(5), ..direct(seed, wire) });
            progress.one_more();
        }
    }
}

#[test]
fn c17_g25_a_wall_clock_that_jumps_an_hour_either_way_ends_nothing_early() {
    for wire in WIRES {
        let steps = [3_600, -3_600, -3_600, 3_600].into_iter().enumerate();
        let faults = steps.map(|(index, step)| (secs(20 * (index as u64 + 1)), Fault::Step(step))).collect();
        let habits = Habits {
            routes: &["echo", "slow", "fail"],
            pause: 4_000,
            timeout: (5_000, 6_000),
            ..Plan::calm(0, Shape::Direct(wire)).habits
        };
        let plan = Plan { faults, habits, active: secs(120), clients: 1, ..direct(17, wire) };
        let report = holds(&plan);
        let lost = report.records.iter().find(|record| match &record.what {
            What::Gap { .. } => true,
            What::Left { .. } => record.at < plan.active,
            _ => false,
        });
        assert!(lost.is_none(), "{wire}: {lost:?}");
    }
}

/// How long each wire with a heartbeat takes to find a dead peer, in seconds, and how long after a sleep of its own.
const FOUND: [(&str, u64, u64); 4] =
    [("sockhop", 25, 5), ("stonyx", 40, 40), ("socketio", 45, 0), ("hyperhq", 45, 0)];

#[test]
fn c17_g25_after_an_hour_of_sleep_calls_end_everybody_is_served_and_a_dead_peer_is_found() {
    let seeds = size(4, 200);
    for wire in WIRES {
        let mut progress = Progress::new(&format!("c17: sleeps of {wire}"), seeds);
        for seed in 0..seeds {
            let asleep = Fault::Suspend(secs(3_600));
            let habits =
                Habits { pause: 1_500, timeout: (1_000, 8_000), ..Plan::calm(0, Shape::Direct(wire)).habits };
            let faults = vec![(secs(20) + millis(seed * 31), asleep)];
            holds(&Plan { faults, habits, active: secs(3_680), clients: 1, ..direct(seed, wire) });
            progress.one_more();
        }
    }
    for (wire, _, seconds) in FOUND {
        let woken = secs(3_606);
        let dead = Fault::Blacken(Way::Client(1), None);
        let plan = Plan {
            faults: vec![(secs(5), dead), (secs(6), Fault::Suspend(secs(3_600)))],
            active: woken + secs(100),
            clients: 1,
            habits: Habits { pause: 20_000, ..Plan::calm(0, Shape::Direct(wire)).habits },
            ..direct(17, wire)
        };
        let report = holds(&plan);
        let back = report.records.iter().find(|record| matches!(record.what, What::Gap { who: 1 }));
        let took = back.unwrap_or_else(|| panic!("{wire}: never found")).at.saturating_sub(woken);
        assert!(took <= secs(seconds) + secs(1), "{wire}: {took:?}");
    }
}

#[test]
fn g26_a_peer_that_is_dead_is_found_within_the_times_of_its_wire() {
    for (wire, seconds, _) in FOUND {
        let at = secs(5);
        let plan = Plan {
            faults: vec![(at, Fault::Blacken(Way::Client(1), None))],
            active: secs(100),
            clients: 1,
            habits: Habits { pause: 20_000, ..Plan::calm(0, Shape::Direct(wire)).habits },
            ..direct(26, wire)
        };
        let report = holds(&plan);
        let back = report.records.iter().find(|record| matches!(record.what, What::Gap { who: 1 }));
        let took = back.unwrap_or_else(|| panic!("{wire}: never found")).at - at;
        // The dial comes after that, within its first pause.
        assert!(took <= secs(seconds) + secs(1), "{wire}: {took:?}");
    }
}

/// Nothing of the handshake comes through, and nothing else.
#[test]
fn g26_a_sockhop_server_that_goes_dark_in_the_handshake_is_found_by_pings() {
    let at = millis(210);
    let plan = Plan {
        faults: vec![(at, Fault::Blacken(Way::Client(1), None))],
        front: Quality { delay: millis(100), ..Quality::GOOD },
        active: secs(60),
        clients: 1,
        ..direct(1_536, "sockhop")
    };
    let report = holds(&plan);
    let back = report.records.iter().find(|record| matches!(record.what, What::Gap { who: 1 }));
    let took = back.expect("it is found").at - at;
    // The handshake is given up after 3 s, four pings after 20 more.
    assert!(took <= secs(29), "{took:?}");
}

#[test]
fn inv_12_clients_that_are_cut_at_once_do_not_dial_in_step() {
    for wire in WIRES.into_iter().filter(|wire| wires::most_clients(wire) > 1) {
        let mut faults = Vec::new();
        for client in 1..=3 {
            let way = Way::Client(client);
            faults.extend([(secs(2), Fault::Refuse(way, secs(40))), (secs(2), Fault::Reset(way))]);
        }
        let plan = Plan { faults, active: secs(45), ..direct(12, wire) };
        let report = holds(&plan);
        let mut dials = report.records.iter().filter_map(|record| match record.what {
            What::Dialled { link, .. } if record.at > secs(2) => Some((link, record.at)),
            _ => None,
        });
        let first = dials.next().expect("they dial again").0;
        let (own, others) = dials.partition::<Vec<_>, _>(|(link, _)| *link == first);
        let together = own.iter().filter(|(_, at)| others.iter().any(|(_, other)| other == at)).count();
        assert!(
            together * 4 <= own.len().max(4),
            "{wire}: {together} of {} dials at the same moment",
            own.len()
        );
        assert!(own.len() < 60, "{wire}: {} dials in 40 s", own.len());
    }
}
