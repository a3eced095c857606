//! The suite can fail: the in-memory adapter with one flaw at a time, and the guarantee that finds it. Every guarantee finds one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod flawed;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use polywire_conformance::{Direction, Finding, Setup, Verdict, guarantees, show};

use Direction::{Forward, Swapped};
use flawed::codec::{SPINS, Spinning};
use flawed::{Flaw, Flawed};

fn found(flaw: Flaw, guarantee: &str, direction: Direction) -> Finding {
    shown(Arc::new(Flawed::new(flaw)), guarantee, direction)
}

fn shown(setup: Arc<dyn Setup>, guarantee: &str, direction: Direction) -> Finding {
    show(setup, guarantees().iter().find(|known| known.name == guarantee).unwrap(), direction)
}

/// The flaw, the guarantee that finds it, who calls, and words of what is told.
const FOUND: &[(Flaw, &str, Direction, &str)] = &[
    (Flaw::Twice, "call::every_call_has_one_outcome", Forward, "another number of times: 2 instead of 1"),
    (Flaw::Swapped, "call::no_answer_reaches_another_call", Swapped, "has the answer of another call"),
    (Flaw::Frank, "handler::a_panic_costs_one_message", Forward, "the words of a panic are told"),
    (Flaw::Hasty, "handler::a_handler_that_never_returns_is_ended", Swapped, "never returns ends as Ok"),
    (Flaw::Hasty, "handler::a_name_that_nobody_serves_is_told", Forward, "that nobody serves ends as Ok"),
    (Flaw::Late, "order::messages_arrive_in_the_order_they_were_sent", Swapped, "is another one"),
    (Flaw::Late, "event::events_arrive_once_and_in_order", Forward, "is another one"),
    (
        Flaw::Modest,
        "progress::a_sign_of_progress_keeps_a_call_alive",
        Forward,
        "on a wire that declares none",
    ),
    (Flaw::Rounded, "body::json_arrives_as_it_was_written", Forward, "changed"),
    (Flaw::Filled, "body::empty_null_and_missing_are_told_apart", Forward, "arrives as something else"),
    (Flaw::Modest, "body::bytes_arrive_whole", Forward, "which the wire cannot carry, end as Ok"),
    (Flaw::Hasty, "deadline::a_call_ends_at_its_deadline", Forward, "has ended before its deadline"),
    (Flaw::Swapped, "deadline::a_late_answer_reaches_nobody", Forward, "has another answer"),
    (Flaw::Astray, "deadline::a_call_that_never_left_says_so", Forward, "has ended before its deadline"),
    (Flaw::Swapped, "cancel::a_call_that_is_given_up_is_nobodys", Swapped, "has another answer"),
    (
        Flaw::Modest,
        "cancel::a_call_that_is_given_up_ends_its_handler",
        Forward,
        "on a wire that declares no cancel",
    ),
    (Flaw::Boundless, "cancel::a_call_given_up_in_the_queue_never_leaves", Forward, "has reached a handler"),
    (Flaw::Boundless, "queue::a_full_queue_says_so", Forward, "the limit is not named"),
    (
        Flaw::Boundless,
        "queue::a_call_that_waits_for_room_keeps_its_deadline",
        Forward,
        "until its deadline ends as",
    ),
    (Flaw::Impatient, "queue::a_peer_that_does_not_read_is_left", Forward, "left before write_timeout"),
    (
        Flaw::Unnamed,
        "queue::a_slow_member_is_told_what_it_missed",
        Swapped,
        "another number of events has arrived",
    ),
    (Flaw::Boundless, "queue::calls_owed_are_bounded", Forward, "20 calls are owed"),
    (Flaw::Boundless, "limit::a_body_above_the_limit_is_refused_by_name", Swapped, "ends as answered"),
    (
        Flaw::Boundless,
        "limit::json_beyond_the_bounds_reaches_no_handler",
        Forward,
        "max_json_depth: a call with JSON",
    ),
    (
        Flaw::Modest,
        "limit::a_name_may_be_as_long_as_declared_and_no_longer",
        Forward,
        "a call with a longer name ends as answered",
    ),
    (
        Flaw::Boundless,
        "nuisance::messages_of_no_use_are_bounded",
        Swapped,
        "10 messages of no use were taken",
    ),
    (
        Flaw::Boundless,
        "nuisance::messages_of_no_use_are_bounded_by_the_minute",
        Forward,
        "10 messages of no use were taken",
    ),
    (Flaw::Chatty, "nuisance::signs_of_life_are_bounded", Forward, "40 signs of life at once were taken"),
    (
        Flaw::Chatty,
        "limit::a_message_that_is_begun_has_its_time",
        Forward,
        "was not ended by name of frame_timeout",
    ),
    (
        Flaw::Boundless,
        "limit::a_stranger_says_no_more_than_a_login_takes",
        Forward,
        "are kept until login_timeout",
    ),
    (Flaw::Boundless, "limit::handlers_at_once_are_bounded", Forward, "50 handlers have run at once"),
    (
        Flaw::Hasty,
        "close::calls_in_flight_end_when_the_connection_dies",
        Forward,
        "when the connection died, ends as Ok",
    ),
    (Flaw::Haunted, "close::nothing_leaves_after_the_end", Forward, "a handler has heard of it"),
    (Flaw::Haunted, "close::nothing_is_heard_after_the_end", Swapped, "after the end of its side"),
    (Flaw::Abrupt, "drain::a_drain_lets_calls_in_flight_end", Forward, "does not wait for calls in flight"),
    (Flaw::Abrupt, "drain::a_drain_ends_at_its_timeout", Swapped, "does not wait for calls in flight"),
    (
        Flaw::Unnamed,
        "reconnect::login_gap_and_what_waited_come_in_this_order",
        Forward,
        "hears something else first",
    ),
    (Flaw::Twice, "reconnect::a_call_runs_at_most_once", Forward, "has run 2 times"),
    (Flaw::Open, "login::nothing_is_heard_before_the_login", Forward, "the client is ready"),
    (Flaw::Eager, "login::what_is_said_early_waits_for_the_verdict", Forward, "before the login was judged"),
    (
        Flaw::Stubborn,
        "login::a_refused_login_is_not_hammered",
        Forward,
        "tried 10 times, and max_refusals is 3",
    ),
    (
        Flaw::Boundless,
        "login::a_silent_stranger_is_sent_away",
        Forward,
        "a silent stranger was sent away after",
    ),
    (
        Flaw::Miscounted,
        "ledger::the_books_balance_at_every_moment",
        Forward,
        "1 frames are not accounted for",
    ),
    (Flaw::Talkative, "secret::no_secret_is_seen", Forward, "in the log, behind"),
    (
        Flaw::Fragile,
        "hostile::strangers_cost_their_own_connection_at_most",
        Forward,
        "after nothing: an ordinary call",
    ),
    (
        Flaw::Fragile,
        "hostile::an_opening_may_end_anywhere",
        Forward,
        "after 0 bytes and an end: an ordinary call",
    ),
    (
        Flaw::Fragile,
        "hostile::bytes_amid_a_session_cost_that_connection_at_most",
        Swapped,
        "an ordinary call has a wrong",
    ),
    (
        Flaw::Fragile,
        "hostile::a_client_outlives_a_server_that_is_none",
        Forward,
        "an ordinary call has a wrong answer",
    ),
    // With the roles swapped.
    (Flaw::Chatty, "nuisance::signs_of_life_are_bounded", Swapped, "40 signs of life at once were taken"),
    (
        Flaw::Chatty,
        "limit::a_message_that_is_begun_has_its_time",
        Swapped,
        "was not ended by name of frame_timeout",
    ),
    (Flaw::Twice, "reconnect::a_call_runs_at_most_once", Swapped, "has run 2 times"),
    // In every other case too.
    (Flaw::Talkative, "cancel::a_call_that_is_given_up_is_nobodys", Forward, "in the log, behind"),
    (Flaw::Miscounted, "event::events_arrive_once_and_in_order", Forward, "1 frames are not accounted for"),
];

#[test]
fn every_guarantee_finds_a_flaw() {
    for guarantee in guarantees() {
        let finds = FOUND.iter().any(|(_, name, _, _)| *name == guarantee.name);
        assert!(finds, "no flaw shows that {} can fail", guarantee.name);
    }
}

/// Flaws looked for at once: most of the time each waits for something.
const AT_ONCE: usize = 8;

#[test]
fn every_flaw_is_found_by_its_guarantee_and_told() {
    let mut wrong = Vec::new();
    for some in FOUND.chunks(AT_ONCE) {
        let running = some.iter().map(|(flaw, guarantee, direction, _)| {
            let (flaw, direction) = (*flaw, *direction);
            thread::spawn(move || found(flaw, guarantee, direction))
        });
        let running: Vec<_> = running.collect();
        for (finding, (flaw, guarantee, _, words)) in running.into_iter().zip(some) {
            let Finding { verdict, why, .. } = finding.join().unwrap();
            if verdict != Verdict::Failed || !why.as_ref().is_some_and(|why| why.contains(words)) {
                wrong.push(format!("{flaw:?}, {guarantee}: {verdict}, {why:?}"));
            }
        }
    }
    assert_eq!(wrong, [""; 0], "not found, or told as something else");
}

#[test]
fn what_is_declared_is_what_is_shown() {
    let finding = found(Flaw::Pushing, "event::events_arrive_once_and_in_order", Swapped);
    assert_eq!(finding.verdict, Verdict::Failed, "a wire that pushes and does not declare it is not found");
    // The others are as sound as before.
    let finding = found(Flaw::Pushing, "event::events_arrive_once_and_in_order", Forward);
    assert_eq!((finding.verdict, finding.why), (Verdict::Held, None));
}

#[test]
fn a_codec_with_an_endless_loop_fails_its_own_case_and_hangs_nothing() {
    let started = Instant::now();
    let finding = shown(Arc::new(Spinning), "call::no_answer_reaches_another_call", Forward);
    SPINS.store(false, Ordering::Relaxed);
    assert_eq!((&*finding.adapter, finding.verdict), ("spinning", Verdict::Failed));
    let why = finding.why.unwrap_or_default();
    assert!(why.contains("has kept the thread for"), "it is told as something else: {why}");
    assert!(started.elapsed() < Duration::from_secs(100), "it was noticed too late");
    // The next case is none the worse for it.
    let setup: Arc<dyn Setup> = Arc::new(polywire_conformance::Memory::default());
    let next = show(setup, &guarantees()[0], Forward);
    assert_eq!((next.verdict, next.why), (Verdict::Held, None));
}
