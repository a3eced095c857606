//! A history that is right passes, and one that is wrong in one point is refused for that point.

use std::time::Duration;

use polywire_core::Code;

use super::check;
use crate::history::{End, Record, Stream, What};
use crate::plan::Fault;

const ROW: Stream = Stream { source: 0, key: 1 };

/// What happened a second apart.
fn history(whats: &[What]) -> Vec<Record> {
    let at = |index: usize| Duration::from_secs(index as u64);
    whats.iter().enumerate().map(|(index, what)| Record { at: at(index), what: what.clone() }).collect()
}

/// The invariants that this history breaks.
fn broken(whats: &[What]) -> Vec<&'static str> {
    check(&history(whats)).iter().map(|violation| violation.invariant).collect()
}

fn called(nonce: u64) -> What {
    What::Called { nonce, deadline: Duration::from_secs(100) }
}

fn ended(nonce: u64, end: End) -> What {
    What::Ended { nonce, end }
}

fn ran(nonce: u64) -> What {
    What::Ran { nonce, peer: None }
}

fn heard(sequence: u64) -> What {
    What::Heard { who: 1, stream: ROW, sequence }
}

fn told(sequence: u64) -> What {
    What::Told { stream: ROW, sequence }
}

const DIALLED: What = What::Dialled { link: 1, free: 1, most: 40 };

#[test]
fn a_right_history_breaks_nothing() {
    let right = [
        What::Joined { peer: 7 },
        called(1),
        What::Ran { nonce: 1, peer: Some(7) },
        ended(1, End::Answered(Some(1))),
        called(2),
        ended(2, End::NotSent(Code::Unavailable)),
        called(3),
        ran(3),
        ended(3, End::Failed(Code::NotFound, Some(3))),
        called(4),
        What::GivenUp { nonce: 4 },
        told(0),
        heard(0),
        told(1),
        told(2),
        What::Gap { who: 1 },
        heard(2),
        What::Stranger { lived: Duration::from_secs(10), limit: Duration::from_secs(10) },
    ];
    assert_eq!(broken(&right), Vec::<&str>::new());
}

#[test]
fn inv_1_a_call_that_never_ends_or_ends_twice_or_late_or_early_is_found() {
    assert_eq!(broken(&[called(1)]), ["INV-1"]);
    let twice = [called(1), ran(1), ended(1, End::Answered(Some(1))), ended(1, End::Unknown(Code::Internal))];
    assert_eq!(broken(&twice), ["INV-1"]);
    let soon = What::Called { nonce: 1, deadline: Duration::from_millis(700) };
    assert_eq!(broken(&[soon, ended(1, End::Unknown(Code::DeadlineExceeded))]), ["INV-1"]);
    assert_eq!(broken(&[called(1), ended(1, End::Unknown(Code::DeadlineExceeded))]), ["INV-1"]);
}

#[test]
fn inv_1_what_was_due_while_the_machine_slept_is_due_when_it_wakes() {
    let sleep = What::Fault(Fault::Suspend(Duration::from_secs(100)));
    let at = |seconds: u64, what: What| Record { at: Duration::from_millis(seconds * 1_000 + 200), what };
    let late = What::Called { nonce: 1, deadline: Duration::from_secs(20) };
    let end = ended(1, End::Unknown(Code::DeadlineExceeded));
    let asleep = |woken: u64| [at(0, late.clone()), at(10, sleep.clone()), at(woken, end.clone())];
    assert_eq!(check(&asleep(110)), []);
    assert_eq!(check(&asleep(111)).len(), 1);
    let limit = Duration::from_secs(10);
    let stranger = |until: u64, lived: u64| {
        let lived = Duration::from_secs(lived);
        check(&[at(10, sleep.clone()), at(until, What::Stranger { lived, limit })])
    };
    assert_eq!(
        stranger(110, 101),
        [],
        "its time was over while the machine slept, and it was ended on waking"
    );
    assert_eq!(stranger(111, 111).len(), 1, "it was borne for a second more");
}

#[test]
fn inv_2_an_answer_of_another_call_is_found() {
    let swapped = [called(1), ran(1), ended(1, End::Answered(Some(2)))];
    assert_eq!(broken(&swapped), ["INV-2"]);
    let blamed = [called(1), ran(1), ended(1, End::Failed(Code::NotFound, Some(2)))];
    assert_eq!(broken(&blamed), ["INV-2"]);
    assert_eq!(broken(&[called(1), ended(1, End::Answered(Some(1)))]), ["INV-2"], "answered by nobody");
}

#[test]
fn inv_3_a_call_that_runs_twice_or_surely_did_not_and_did_is_found() {
    assert_eq!(broken(&[called(1), ran(1), ran(1), ended(1, End::Answered(Some(1)))]), ["INV-3"]);
    assert_eq!(broken(&[called(1), ran(1), ended(1, End::NotSent(Code::Unavailable))]), ["INV-3"]);
}

#[test]
fn inv_4_books_that_do_not_add_up_are_found() {
    let books = |frames, calls, requests, connections, closed| What::Books {
        who: "x".to_owned(),
        frames,
        calls,
        requests,
        connections,
        closed,
    };
    assert_eq!(broken(&[books(0, 3, 2, 1, false)]), Vec::<&str>::new());
    for wrong in [
        books(1, 0, 0, 0, false),
        books(0, -1, 0, 0, false),
        books(0, 0, -1, 0, false),
        books(0, 0, 0, -1, false),
        books(0, 1, 0, 0, true),
        books(0, 0, 1, 0, true),
        books(0, 0, 0, 1, true),
    ] {
        assert_eq!(broken(&[wrong]), ["INV-4"]);
    }
    let route = |received, ended, closed| What::Route { title: "x".to_owned(), received, ended, closed };
    assert_eq!(broken(&[route(2, 1, false)]), Vec::<&str>::new());
    assert_eq!(broken(&[route(1, 2, false)]), ["INV-4"]);
    assert_eq!(broken(&[route(2, 1, true)]), ["INV-4"]);
    assert_eq!(broken(&[What::Taken { given: 2, taken: 1 }]), ["INV-4"]);
}

#[test]
fn inv_8_events_out_of_order_twice_or_missing_without_a_word_are_found() {
    assert_eq!(broken(&[told(0), told(1), heard(1), heard(0)]), ["INV-8"]);
    assert_eq!(broken(&[told(0), heard(0), heard(0)]), ["INV-8"]);
    assert_eq!(broken(&[told(0), told(1), told(2), heard(0), heard(2)]), ["INV-8"]);
    let owed = What::Owed { who: 1, stream: ROW, sequence: 1 };
    assert_eq!(broken(&[heard(1), owed.clone()]), Vec::<&str>::new());
    assert_eq!(broken(&[heard(0), owed]), ["INV-8"], "nothing is heard after repair");
    let route = What::Route { title: "x".to_owned(), received: 1, ended: 1, closed: false };
    let behind_a_bridge = |whats: [What; 2]| {
        let hole = [told(0), heard(0), told(1), told(2), heard(2)];
        broken(&[std::slice::from_ref(&route), &hole[..], &whats].concat())
    };
    assert_eq!(behind_a_bridge([What::Lost, route.clone()]), Vec::<&str>::new());
    assert_eq!(behind_a_bridge([route.clone(), What::Lost]), ["INV-8"], "it lost nothing by then");
    let early = [What::Lost, route, told(0), heard(0), told(1), told(2), heard(2)];
    assert_eq!(broken(&early), ["INV-8"], "what it lost before says nothing of what is missing after");
    let before = [What::Gap { who: 1 }, told(0), heard(0), told(1), told(2), heard(2)];
    assert_eq!(broken(&before), ["INV-8"], "a gap before what came says nothing of what is missing after it");
}

#[test]
fn inv_10_what_runs_for_somebody_who_is_not_let_in_is_found() {
    let stranger = [called(1), What::Ran { nonce: 1, peer: Some(7) }, ended(1, End::Answered(Some(1)))];
    assert_eq!(broken(&stranger), ["INV-10"]);
    assert_eq!(broken(&[What::Uninvited { nonce: 1 }, ran(1)]), ["INV-10"]);
    let limit = Duration::from_secs(10);
    assert_eq!(broken(&[What::Stranger { lived: Duration::from_secs(11), limit }]), ["INV-10"]);
}

#[test]
fn inv_11_a_drain_that_takes_too_long_is_found() {
    let (took, limit) = (Duration::from_secs(7), Duration::from_secs(6));
    assert_eq!(broken(&[What::Drained { who: "x".to_owned(), took, limit }]), ["INV-11"]);
}

#[test]
fn inv_12_dials_that_come_too_fast_or_after_a_no_are_found() {
    let at_once = |count| vec![Record { at: Duration::ZERO, what: DIALLED }; count];
    assert!(check(&at_once(21)).is_empty());
    assert_eq!(check(&at_once(22)).len(), 1);
    let spread = (0..42).map(|index| Record { at: Duration::from_secs(index), what: DIALLED });
    assert_eq!(check(&spread.collect::<Vec<_>>()).len(), 1, "more than 41 in a minute");
    assert_eq!(broken(&[What::Refused { link: 1 }, DIALLED]), ["INV-12"]);
    let started = What::Started { link: 1, who: 9, hopeless: true };
    let four = [What::Listens, started, DIALLED, DIALLED, DIALLED, DIALLED];
    assert_eq!(broken(&four), ["INV-12"]);
    let crash = What::Fault(Fault::CrashServer);
    let again =
        [&four[..5], &[crash], &[DIALLED, DIALLED], &[What::Listens, DIALLED, DIALLED, DIALLED]].concat();
    assert_eq!(broken(&again), Vec::<&str>::new(), "nobody refused them while nobody was there");
    assert_eq!(broken(&[&again[..], &[DIALLED]].concat()), ["INV-12"], "somebody is there again");
}

#[test]
fn a_client_that_is_not_served_after_repair_is_found() {
    let took = Duration::from_secs(150);
    assert_eq!(broken(&[What::Served { who: 1, answered: false, took }]), ["service"]);
}
