//! Requests and events of the peer: bounded, answered once, and no handler can hurt its connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_core::{Body, Count, Incoming};
use tokio::time::Instant;

use crate::toy::{Order, Rig, Serve, Setup, json, settle};

#[tokio::test(start_paused = true)]
async fn every_request_is_answered_once_and_slow_ones_hold_up_nobody() {
    let mut rig = Setup::new().start();
    rig.say("? 1 late \"slow\"").await;
    rig.say("? 2 echo [1, 2]").await;
    rig.say("? 3 fail").await;
    assert_eq!(rig.hear().await, "! 2 [1, 2]");
    assert_eq!(rig.hear().await, "x 3 not_found there is no such thing");
    assert_eq!(rig.hear().await, "! 1 \"slow\"");
    assert_eq!((rig.count(Count::RequestsAnswered), rig.count(Count::RequestsFailed)), (2, 1));
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn c15_a_handler_that_panics_answers_internal_and_the_connection_lives() {
    let service = Serve(|incoming: Incoming| {
        assert_ne!(&*incoming.route, "in-call", "on purpose");
        async move {
            match &*incoming.route {
                "at-once" => panic!("on purpose"),
                "later" => {
                    settle().await;
                    panic!("on purpose, later")
                }
                _ => Ok(incoming.body.into()),
            }
        }
    });
    let mut rig = Setup::new().handler(service).start();
    for (id, name) in ["in-call", "at-once", "later"].into_iter().enumerate() {
        rig.say(&format!("? {id} {name}")).await;
        assert_eq!(rig.hear().await, format!("x {id} internal the handler panicked"));
    }
    rig.say(". at-once").await;
    rig.say("? 9 echo 1").await;
    assert_eq!(rig.hear().await, "! 9 1");
    assert_eq!(rig.count(Count::EventsFailed), 1);
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn c16_a_handler_that_never_answers_is_dropped_at_its_deadline() {
    let mut setup = Setup::new();
    setup.limits.handler_timeout = Duration::from_secs(7);
    let mut rig = setup.start();
    let start = Instant::now();
    rig.say("? 1 hang").await;
    assert_eq!(
        rig.hear().await,
        "x 1 deadline_exceeded the handler did not answer by its deadline (handler_timeout = 7s, or less if asked for) \
         and may have acted: send again only what may run twice"
    );
    assert_eq!(start.elapsed().as_secs(), 7);
    rig.say("? 2 echo 1").await;
    assert_eq!(rig.hear().await, "! 2 1");
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_the_peer_shortens_handler_timeout_and_never_stretches_it() {
    let mut setup = Setup::new();
    setup.limits.handler_timeout = Duration::from_secs(7);
    let mut rig = setup.start();
    let start = Instant::now();
    rig.say("? 1@2000 hang").await;
    rig.say("? 2@3600000 hang").await;
    assert!(rig.hear().await.starts_with("x 1 deadline_exceeded"));
    assert_eq!(start.elapsed().as_secs(), 2);
    assert!(rig.hear().await.starts_with("x 2 deadline_exceeded"));
    assert_eq!(start.elapsed().as_secs(), 7);
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn c13_at_max_in_flight_nothing_more_is_decoded_until_an_answer() {
    let mut rig = Setup::new().start();
    for id in 0..1_000 {
        rig.say(&format!("? {id} late {id}")).await;
    }
    settle().await;
    assert_eq!(rig.count(Count::FramesReceived), 256);
    let mut answers = std::collections::BTreeSet::new();
    for _ in 0..1_000 {
        assert!(answers.insert(rig.hear().await), "each is answered once");
    }
    assert_eq!((answers.len(), rig.count(Count::RequestsRefused)), (1_000, 0));
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn c13_at_max_in_flight_bytes_nothing_more_is_decoded_until_an_answer() {
    let mut setup = Setup::new();
    setup.limits.max_in_flight_bytes = 4_000;
    let mut rig = setup.start();
    for id in 0..10 {
        rig.say(&format!("? {id} late \"{}\"", "x".repeat(1_500))).await;
    }
    settle().await;
    assert_eq!(rig.count(Count::FramesReceived), 3, "the third reaches the limit and is taken whole");
    for _ in 0..10 {
        assert!(rig.hear().await.starts_with("! "));
    }
    // One that is larger than the limit is taken as well, alone.
    for id in 10..12 {
        rig.say(&format!("? {id} late \"{}\"", "x".repeat(9_000))).await;
    }
    settle().await;
    assert_eq!(rig.count(Count::FramesReceived), 11);
    assert!(rig.hear().await.starts_with("! 10 "));
    assert!(rig.hear().await.starts_with("! 11 "));
    assert_eq!(rig.count(Count::RequestsRefused), 0);
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn c13_a_body_that_is_a_slice_counts_for_the_read_buffer_that_it_keeps() {
    let mut setup = Setup::new();
    setup.limits.max_in_flight_bytes = 40 << 10;
    let mut rig = setup.start();
    for id in 0..5 {
        rig.say(&format!("? {id} late \"{}\"", "x".repeat(4 << 10))).await;
    }
    settle().await;
    assert_eq!(rig.count(Count::FramesReceived), 3, "three buffers of 16 KiB, whatever of them is used");
    for _ in 0..5 {
        assert!(rig.hear().await.starts_with("! "));
    }
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn c13_while_we_wait_for_an_answer_what_exceeds_max_in_flight_bytes_is_refused_by_name() {
    let mut setup = Setup::new();
    setup.limits.max_in_flight_bytes = 4_000;
    let mut rig = setup.start();
    let call = rig.call("a", "1");
    rig.hear().await;
    for id in 0..4 {
        rig.say(&format!("? {id} hang \"{}\"", "x".repeat(1_498))).await;
    }
    rig.say(". event 1").await;
    let text = "4500 bytes that bodies in hand keep reach max_in_flight_bytes = 4000";
    assert_eq!(rig.hear().await, format!("x 3 resource_exhausted {text}"));
    rig.say("! 1 \"one\"").await;
    assert_eq!(call.await.unwrap().unwrap().body, json("\"one\""));
    assert_eq!((rig.count(Count::RequestsRefused), rig.count(Count::EventsRefused)), (1, 1));
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn c13_two_peers_calling_each_other_at_the_limit_do_not_deadlock() {
    let mut setup = Setup::new();
    setup.limits.max_in_flight = 2;
    let mut rig = setup.start();
    rig.say("? 1 back").await;
    rig.say("? 2 back").await;
    assert_eq!((rig.hear().await, rig.hear().await), ("? 1 question".into(), "? 2 question".into()));
    rig.say("? 3 back").await;
    assert_eq!(rig.hear().await, "x 3 resource_exhausted too many requests at once: max_in_flight = 2");
    rig.say("! 1 \"one\"").await;
    assert_eq!(rig.hear().await, "! 1 \"one\"");
    rig.say("! 2 \"two\"").await;
    assert_eq!(rig.hear().await, "! 2 \"two\"");
    assert_eq!(rig.count(Count::RequestsRefused), 1);
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn c13_events_whose_handlers_wait_count_for_the_limit_too() {
    let mut setup = Setup::new();
    setup.limits.max_in_flight = 4;
    setup.limits.handler_timeout = Duration::from_secs(5);
    let mut rig = setup.start();
    for _ in 0..10 {
        rig.say(". hang").await;
    }
    settle().await;
    assert_eq!(rig.heard.all().len(), 4);
    rig.say("? 1 echo 1").await;
    assert_eq!(rig.hear().await, "! 1 1", "after three rounds of handler_timeout");
    assert_eq!((rig.heard.all().len(), rig.count(Count::EventsRefused)), (11, 0));
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn c13_events_beyond_the_limit_are_dropped_counted_and_told_while_we_wait_for_an_answer() {
    let mut setup = Setup::new();
    setup.limits.max_in_flight = 2;
    let mut rig = setup.start();
    let call = rig.call("a", "1");
    rig.hear().await;
    for number in 0..5 {
        rig.say(&format!(". late {number}")).await;
    }
    rig.say("! 1").await;
    call.await.unwrap().unwrap();
    assert_eq!((rig.heard.all().len(), rig.count(Count::EventsRefused)), (2, 3));
    // Both are over, and the next event is heard behind the gap, which is told once.
    tokio::time::sleep(Duration::from_millis(100)).await;
    rig.say(". late 5").await;
    rig.say(". late 6").await;
    settle().await;
    let gap = r#". polywire.gap {"missed":3,"reason":"more events at once than max_in_flight = 2, max_in_flight_bytes = 33554432 or max_memory_bytes allow"}"#;
    assert_eq!(rig.heard.all(), [". late 0", ". late 1", gap, ". late 5", ". late 6"]);
    assert_eq!((rig.count(Count::Events), rig.count(Count::EventsRefused)), (5, 3));
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn handlers_start_in_the_order_of_the_wire() {
    let mut rig = Setup::new().start();
    let mut expected = Vec::new();
    for number in 0..200 {
        let kind = ["echo", "late", "other"][number % 3];
        rig.say(&format!(". {kind} {number}")).await;
        expected.push(format!(". {kind} {number}"));
    }
    rig.say("? 1 echo").await;
    rig.hear().await;
    expected.push("? echo".into());
    assert_eq!(rig.heard.all(), expected);
    assert_eq!((rig.count(Count::Events), rig.count(Count::EventsRefused)), (200, 0));
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_holds_many_messages_is_one_frame_in_the_books() {
    let mut rig = Setup::new().start();
    rig.say("all ? 1 echo 1 ; ? 2 late 2 ; ! 9 ; what is this ; . echo 3 ; ? 3 echo 4").await;
    let mut answers = [rig.hear().await, rig.hear().await, rig.hear().await];
    answers.sort_unstable();
    assert_eq!(answers, ["! 1 1", "! 2 2", "! 3 4"]);
    assert_eq!((rig.count(Count::FramesReceived), rig.count(Count::FramesDelivered)), (1, 1));
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_a_hundred_thousand_requests_answered_at_once_overflows_nothing() {
    let mut rig = Setup::new().start();
    let many = 100_000;
    let batch: Vec<String> = (0..many).map(|id| format!("? {id} echo")).collect();
    rig.say(&format!("all {}", batch.join(";"))).await;
    for id in 0..many {
        assert_eq!(rig.hear().await, format!("! {id}"));
    }
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn progress_of_a_handler_reaches_the_peer_before_the_answer() {
    let mut rig = Setup::new().start();
    rig.say("? 5 working \"done\"").await;
    for expected in ["~ 5 \"half\"", "~ 5 \"nearly\"", "! 5 \"done\""] {
        assert_eq!(rig.hear().await, expected);
    }
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn progress_after_the_answer_goes_nowhere() {
    let service = Serve(|incoming: Incoming| async move {
        let later = incoming.clone();
        tokio::spawn(async move {
            settle().await;
            later.progress(Body::Empty);
        });
        Ok(incoming.body.into())
    });
    let mut rig = Setup::new().handler(service).start();
    rig.say("? 1 a 1").await;
    assert_eq!(rig.hear().await, "! 1 1");
    settle().await;
    assert!(rig.silent().await);
    rig.hang_up().await;
}

struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A rig whose handlers never return, and how many of them were dropped.
fn waiting() -> (Rig, Arc<AtomicUsize>) {
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dropped);
    let service = Serve(move |_: Incoming| {
        let guard = Guard(Arc::clone(&count));
        async move {
            std::future::pending::<()>().await;
            drop(guard);
            Ok(Body::Empty.into())
        }
    });
    (Setup::new().handler(service).start(), dropped)
}

#[tokio::test(start_paused = true)]
async fn a_request_that_the_peer_cancels_ends_its_handler_alone_and_has_no_answer() {
    let (mut rig, dropped) = waiting();
    for id in 1..=3 {
        rig.say(&format!("? {id} a")).await;
    }
    // The second one of them twice, and one that was never asked.
    for id in [2, 2, 9] {
        rig.say(&format!("- {id}")).await;
    }
    settle().await;
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert_eq!((rig.count(Count::Requests), rig.count(Count::RequestsAbandoned)), (3, 1));
    assert_eq!((rig.count(Count::FramesDelivered), rig.count(Count::FramesUsed)), (4, 2));
    assert!(rig.silent().await);
    let ledger = Arc::clone(&rig.ledger);
    rig.hang_up().await;
    assert_eq!((dropped.load(Ordering::SeqCst), ledger.get(Count::RequestsAbandoned)), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_cancelled_takes_no_place() {
    let mut setup = Setup::new();
    setup.limits.max_in_flight = 2;
    let mut rig = setup.start();
    rig.say("? 1 hang").await;
    rig.say("- 1").await;
    rig.say("? 2 hang").await;
    rig.say("? 3 echo 3").await;
    assert_eq!(rig.hear().await, "! 3 3");
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_no_request_that_was_cancelled() {
    let (mut rig, dropped) = waiting();
    rig.say("? 1 a").await;
    settle().await;
    let start = Instant::now();
    rig.shutdown.drain();
    rig.say("- 1").await;
    assert_eq!(rig.hear().await, "bye");
    assert_eq!((dropped.load(Ordering::SeqCst), start.elapsed()), (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn progress_of_a_request_that_was_cancelled_goes_nowhere() {
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let service = Serve(move |incoming: Incoming| {
        *keep.lock().unwrap() = Some(incoming);
        std::future::pending()
    });
    let mut rig = Setup::new().handler(service).start();
    rig.say("? 1 a").await;
    rig.say("- 1").await;
    settle().await;
    kept.lock().unwrap().take().unwrap().progress(Body::Empty);
    settle().await;
    assert!(rig.silent().await);
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_as_it_is_dropped_costs_no_connection() {
    struct Loud;
    impl Drop for Loud {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }
    let service = Serve(|incoming: Incoming| {
        let loud = (&*incoming.route == "loud").then(|| Loud);
        async move {
            if loud.is_some() {
                std::future::pending::<()>().await;
            }
            Ok(incoming.body.into())
        }
    });
    let mut rig = Setup::new().handler(service).start();
    rig.say("? 1 loud").await;
    rig.say("- 1").await;
    rig.say("? 2 a 2").await;
    assert_eq!(rig.hear().await, "! 2 2");
    rig.say("? 3 loud").await;
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn handlers_are_dropped_when_the_peer_goes_away() {
    let (mut rig, dropped) = waiting();
    for id in 0..20 {
        rig.say(&format!("? {id} a")).await;
    }
    settle().await;
    let ledger = Arc::clone(&rig.ledger);
    rig.hang_up().await;
    assert_eq!(dropped.load(Ordering::SeqCst), 20);
    assert_eq!(ledger.get(Count::RequestsAbandoned), 20);
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_call_the_peer_that_asked_even_one_at_a_time() {
    let mut setup = Setup::new();
    setup.session.order = Order::OneAtATime;
    let mut rig = setup.start();
    rig.say("? 1 back").await;
    rig.say("? 2 back").await;
    for answer in ["\"first\"", "\"second\""] {
        let question = rig.hear().await;
        let id = question.split(' ').nth(1).unwrap();
        rig.say(&format!("! {id} {answer}")).await;
        let answers = rig.hear().await;
        assert!(answers.ends_with(answer), "{answers}");
    }
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_is_told_that_its_peer_is_not_read_while_there_is_enough_to_do() {
    let mut setup = Setup::new();
    (setup.limits.max_in_flight, setup.limits.handler_timeout) = (1, Duration::from_secs(7));
    setup.session.beat = Some(Duration::from_secs(3));
    let mut rig = setup.start();
    rig.say("? 1 hang").await;
    for beat in ["beat unread", "beat unread"] {
        assert_eq!(rig.hear().await, beat);
    }
    assert!(rig.hear().await.starts_with("x 1 deadline_exceeded "));
    assert_eq!(rig.hear().await, "beat");
    rig.hang_up().await;
}
