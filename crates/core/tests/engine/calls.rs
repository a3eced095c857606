//! Calls of ours: one outcome each, and it says whether the peer may have acted.

use std::future::ready;
use std::time::Duration;

use bytes::Bytes;
use polywire_core::{
    Body, CallError, Code, Count, Event, Handler, Incoming, JsonText, Limits, Part, Queued, Request,
    Response, Retry, Route,
};
use tokio::io::duplex;
use tokio::time::Instant;

use crate::toy::{Login, Order, Serve, Setup, json, settle};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[track_caller]
fn not_sent(outcome: &Result<Response, CallError>, code: Code) {
    assert!(matches!(outcome, Err(CallError::NotSent(failure)) if failure.code == code), "{outcome:?}");
}

#[track_caller]
fn unknown(outcome: &Result<Response, CallError>, code: Code) {
    assert!(matches!(outcome, Err(CallError::Unknown(failure)) if failure.code == code), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn answers_find_their_calls_in_any_order() {
    let mut rig = Setup::new().start();
    let (first, second) = (rig.call("a", "1"), rig.call("b", "2"));
    assert_eq!((rig.hear().await, rig.hear().await), ("? 1 a 1".into(), "? 2 b 2".into()));
    rig.say("! 2 \"two\"").await;
    rig.say("! 1").await;
    assert_eq!(first.await.unwrap().unwrap().body, Body::Empty, "no body is not null");
    assert_eq!(second.await.unwrap().unwrap().body, json("\"two\""));
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_no_of_the_peer_is_a_failure_with_its_code_and_words() {
    let mut rig = Setup::new().start();
    let call = rig.call("a", "1");
    rig.hear().await;
    rig.say("x 1 permission_denied not for you").await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "permission_denied: not for you");
    assert!(matches!(error, CallError::Failure(_)));
    assert_eq!(rig.count(Count::CallsFailed), 1);
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_its_deadline_and_its_late_answer_reaches_nobody() {
    let mut rig = Setup::new().start();
    let start = Instant::now();
    let late = rig.ask(Request::new(Route::from_static("a"), json("1")).timeout(secs(2)));
    unknown(&late.await.unwrap(), Code::DeadlineExceeded);
    assert!(start.elapsed() >= secs(2) && start.elapsed() < secs(2) + Duration::from_millis(250));
    let next = rig.call("b", "2");
    settle().await;
    rig.say("! 1 \"late\"").await;
    settle().await;
    assert!(!next.is_finished(), "an answer never reaches another call");
    rig.say("! 2 \"mine\"").await;
    assert_eq!(next.await.unwrap().unwrap().body, json("\"mine\""));
    assert_eq!(rig.count(Count::OrphanReply), 1);
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn the_default_deadline_is_call_timeout() {
    let rig = Setup::new().start();
    let start = Instant::now();
    assert_eq!(
        rig.call("a", "1").await.unwrap().unwrap_err().to_string(),
        "outcome unknown: deadline_exceeded: no answer came before the deadline \
         (call_timeout = 15s, unless the call was given a time of its own); the peer may have acted: send again only what may run twice"
    );
    assert_eq!(start.elapsed().as_secs(), Limits::default().call_timeout.as_secs());
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn c14_answers_that_nobody_waits_for_are_counted_and_change_nothing() {
    let mut rig = Setup::new().start();
    let call = rig.call("a", "1");
    rig.hear().await;
    for line in ["! 9 1", "x 9 internal no", "! 1 \"yes\"", "! 1 \"again\"", "~ 1 0"] {
        rig.say(line).await;
    }
    assert_eq!(call.await.unwrap().unwrap().body, json("\"yes\""));
    settle().await;
    assert_eq!(rig.count(Count::OrphanReply), 4);
    rig.hang_up().await;

    // An event has no id, so what answers it guesses the one of the next call, before that has left.
    let mut setup = Setup::with_login(Login::Ask);
    setup.session.order = Order::OneAtATime;
    let mut rig = setup.start();
    rig.say("login ann s3cret").await;
    rig.hear().await;
    rig.notify("news", "1").await;
    assert_eq!(rig.hear().await, ". news 1");
    rig.say("! 1 \"to the event\"").await;
    settle().await;
    assert_eq!(rig.count(Count::OrphanReply), 1);
    let (first, second) = (rig.call("a", "1"), rig.call("b", "2"));
    assert_eq!(rig.hear().await, "? 1 a 1");
    // The second waits for its turn.
    rig.say("! 2 \"too early\"").await;
    settle().await;
    assert_eq!((rig.count(Count::OrphanReply), second.is_finished()), (2, false));
    rig.say("! 1 \"first\"").await;
    assert_eq!(first.await.unwrap().unwrap().body, json("\"first\""));
    assert_eq!(rig.hear().await, "? 2 b 2");
    // A cancel and an event of that number are no answer, whatever they hold.
    for line in ["- 2", ". 2 \"an event\"", "? 2 echo 3", "! two 1"] {
        rig.say(line).await;
    }
    assert_eq!(rig.hear().await, "! 2 3");
    assert!(!second.is_finished());
    rig.say("! 2 \"second\"").await;
    assert_eq!(second.await.unwrap().unwrap().body, json("\"second\""));
    assert_eq!((rig.count(Count::OrphanReply), rig.count(Count::Undecodable)), (2, 1));
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn c14_a_second_answer_to_one_of_the_last_calls_is_a_duplicate_and_to_an_older_one_an_orphan() {
    let mut setup = Setup::new();
    setup.session.careless = true;
    let mut rig = setup.start();
    for number in 1..=65 {
        let call = rig.call("a", "1");
        rig.hear().await;
        rig.say(&format!("! {number} {number}")).await;
        assert_eq!(call.await.unwrap().unwrap().body, json(&number.to_string()));
    }
    for (number, counts) in [(65, (1, 0)), (2, (2, 0)), (1, (2, 1)), (66, (2, 2)), (2, (3, 2))] {
        rig.say(&format!("! {number} \"again\"")).await;
        settle().await;
        assert_eq!((rig.count(Count::DuplicateReply), rig.count(Count::OrphanReply)), counts, "{number}");
    }
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn c14_an_answer_that_a_careless_session_delivers_late_is_an_orphan_in_the_books_too() {
    let mut setup = Setup::new();
    setup.session.careless = true;
    let mut rig = setup.start();
    let call = rig.ask(Request::new(Route::from_static("a"), json("1")).timeout(secs(1)));
    unknown(&call.await.unwrap(), Code::DeadlineExceeded);
    rig.say("! 1 \"late\"").await;
    settle().await;
    assert_eq!((rig.count(Count::OrphanReply), rig.count(Count::FramesDelivered)), (1, 0));
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_of_a_written_call_gives_it_up() {
    let mut rig = Setup::new().start();
    let call = rig.call("a", "1");
    rig.hear().await;
    call.abort();
    settle().await;
    assert_eq!(rig.count(Count::CallsCancelled), 1);
    rig.say("! 1 \"too late\"").await;
    settle().await;
    assert_eq!(rig.count(Count::OrphanReply), 1);
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_of_a_held_call_removes_it_and_frees_its_place() {
    let mut setup = Setup::with_login(Login::Ask);
    setup.limits.max_queue_messages = 2;
    let mut rig = setup.start();
    let (first, second) = (rig.call("a", "1"), rig.call("b", "2"));
    settle().await;
    let third = rig.call("c", "3");
    settle().await;
    first.abort();
    second.abort();
    settle().await;
    rig.say("login ann s3cret").await;
    assert_eq!(rig.hear().await, "welcome ann");
    assert_eq!(rig.hear().await, "? 1 c 3", "what was given up is never written");
    rig.say("! 1").await;
    third.await.unwrap().unwrap();
    assert_eq!(rig.count(Count::CallsCancelled), 2);
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_place_is_free_as_soon_as_a_held_call_is_given_up() {
    let mut setup = Setup::with_login(Login::Ask);
    setup.limits.max_queue_messages = 1;
    setup.limits.login_timeout = secs(60);
    let rig = setup.start();
    let first = rig.call("a", "1");
    settle().await;
    let event = Event::new(Route::from_static("e"), Body::Empty);
    assert_eq!(rig.caller().try_notify(event.clone()).unwrap_err().code(), Code::ResourceExhausted);
    first.abort();
    settle().await;
    rig.caller().try_notify(event).unwrap();
    assert_eq!(rig.count(Count::CallsCancelled), 1);
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_makes_calls_wait_until_their_deadline_and_no_longer() {
    let mut setup = Setup::with_login(Login::Ask);
    setup.limits.max_queue_messages = 2;
    setup.limits.login_timeout = secs(60);
    let mut rig = setup.start();
    let held = [rig.call("a", "1"), rig.call("b", "2")];
    settle().await;
    let full = rig.caller().try_notify(Event::new(Route::from_static("e"), Body::Empty)).unwrap_err();
    assert_eq!(full.to_string(), "not sent: resource_exhausted: queue is full: max_queue_messages = 2");
    let waits = rig.ask(Request::new(Route::from_static("c"), json("3")).timeout(secs(5)));
    let gets_in = rig.ask(Request::new(Route::from_static("d"), json("4")).timeout(secs(20)));
    assert_eq!(
        waits.await.unwrap().unwrap_err().to_string(),
        "not sent: deadline_exceeded: the call waited for room in the queue until the deadline \
         (call_timeout = 15s, unless the call was given a time of its own); nothing was sent, so it can be sent again"
    );
    rig.say("login ann s3cret").await;
    rig.hear().await;
    assert_eq!((rig.hear().await, rig.hear().await), ("? 1 a 1".into(), "? 2 b 2".into()));
    assert_eq!(rig.hear().await, "? 3 d 4", "the one that still waited goes out");
    for (id, call) in (1..).zip(held.into_iter().chain([gets_in])) {
        rig.say(&format!("! {id}")).await;
        call.await.unwrap().unwrap();
    }
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_sent_does_not_wait_for_room() {
    let mut setup = Setup::with_login(Login::Ask);
    setup.limits.max_queue_messages = 1;
    setup.limits.max_frame_bytes = 1_024;
    let rig = setup.start();
    let held = rig.call("a", "1");
    settle().await;
    let before = Instant::now();
    let large = rig.call("large", &format!("\"{}\"", "x".repeat(2_000))).await.unwrap().unwrap_err();
    assert_eq!((before.elapsed(), large.failure().retry), (Duration::ZERO, Retry::Never), "{large}");
    held.abort();
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_in_bytes_too() {
    let mut setup = Setup::with_login(Login::Ask);
    setup.limits.max_queue_bytes = 1_024;
    let rig = setup.start();
    let event = |size| Event::new(Route::from_static("e"), json(&format!("\"{}\"", "x".repeat(size))));
    rig.caller().try_notify(event(1_000)).unwrap();
    let full = rig.caller().try_notify(event(100)).unwrap_err();
    assert_eq!(full.to_string(), "not sent: resource_exhausted: queue is full: max_queue_bytes = 1024");
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn when_the_connection_dies_held_calls_are_not_sent_and_written_ones_unknown() {
    let mut setup = Setup::new();
    setup.session.order = Order::OneAtATime;
    let mut rig = setup.start();
    let (written, held) = (rig.call("a", "1"), rig.call("b", "2"));
    rig.hear().await;
    let caller = rig.caller().clone();
    rig.hang_up().await;
    unknown(&written.await.unwrap(), Code::Unavailable);
    not_sent(&held.await.unwrap(), Code::Unavailable);
    let after = caller.call(Request::new(Route::from_static("c"), Body::Empty)).await;
    not_sent(&after, Code::Unavailable);
    caller.notify(Event::new(Route::from_static("e"), Body::Empty)).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn what_a_stalled_peer_left_unencoded_was_not_sent() {
    let mut setup = Setup::new();
    setup.pipe = 1_024;
    let rig = setup.start();
    let big = format!("\"{}\"", "x".repeat(30 << 10));
    let calls: Vec<_> = (0..6).map(|_| rig.call("a", &big)).collect();
    settle().await;
    rig.hang_up().await;
    let mut kinds = String::new();
    for call in calls {
        kinds.push(match call.await.unwrap() {
            Err(CallError::Unknown(_)) => 'u',
            Err(CallError::NotSent(_)) => 'n',
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(kinds, "uuunnn", "64 KiB are encoded ahead, and the frame that crosses that");
}

#[tokio::test(start_paused = true)]
async fn a_call_the_wire_cannot_hold_is_not_sent_and_the_connection_lives() {
    let mut setup = Setup::new();
    setup.limits.max_frame_bytes = 1_024;
    let mut rig = setup.start();
    let broken = rig.call("two\nlines", "1").await.unwrap();
    not_sent(&broken, Code::InvalidArgument);
    let big = rig.call("big", &format!("\"{}\"", "x".repeat(1_018))).await.unwrap();
    let big = big.unwrap_err();
    let text = "resource_exhausted: frame of 1028 bytes exceeds max_frame_bytes = 1024";
    assert!(big.to_string().ends_with(text), "{big}");
    assert!(matches!(big, CallError::NotSent(failure) if failure.retry == Retry::Never));
    let bytes = rig.ask(Request::new(Route::from_static("a"), Body::binary("png", vec![0])));
    not_sent(&bytes.await.unwrap(), Code::Unimplemented);
    let fine = rig.call("fine", "1");
    assert_eq!(rig.hear().await, "? 3 fine 1");
    rig.say("! 3").await;
    fine.await.unwrap().unwrap();
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn no_body_larger_than_this_side_would_take_is_sent() {
    let large = format!("\"{}\"", "x".repeat(2_000));
    let answer = json(&large);
    let mut setup = Setup::new().handler(Serve(move |_| ready(Ok(Response::from(answer.clone())))));
    setup.limits.max_frame_bytes = 1_024;
    let mut rig = setup.start();
    let call = rig.call("large", &large).await.unwrap().unwrap_err();
    let event = Event::new(Route::from_static("large"), json(&large));
    for error in [call, rig.caller().notify(event).await.unwrap_err()] {
        let told = "not sent: resource_exhausted: message of 2007 bytes exceeds max_frame_bytes = 1024";
        assert_eq!((error.to_string().as_str(), error.failure().retry), (told, Retry::Never));
    }
    rig.say("? 1 echo 1").await;
    let told = "x 1 resource_exhausted answer of 2002 bytes exceeds max_frame_bytes = 1024";
    assert_eq!(rig.hear().await, told);
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn at_max_pending_the_next_call_waits_for_an_answer() {
    let mut setup = Setup::new();
    setup.limits.max_pending = 2;
    let mut rig = setup.start();
    let calls = [rig.call("a", "1"), rig.call("b", "2"), rig.call("c", "3")];
    assert_eq!((rig.hear().await, rig.hear().await), ("? 1 a 1".into(), "? 2 b 2".into()));
    assert!(rig.silent().await);
    rig.say("! 2").await;
    assert_eq!(rig.hear().await, "? 3 c 3");
    rig.say("! 1").await;
    rig.say("! 3").await;
    for call in calls {
        call.await.unwrap().unwrap();
    }
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn progress_extends_its_call_or_every_call_but_none_for_ever() {
    let mut rig = Setup::new().start();
    let start = Instant::now();
    let named = rig.ask(Request::new(Route::from_static("a"), Body::Empty).timeout(secs(10)));
    let other = rig.ask(Request::new(Route::from_static("b"), Body::Empty).timeout(secs(10)));
    settle().await;
    tokio::time::sleep(secs(6)).await;
    rig.say("~ 1 \"still here\"").await;
    unknown(&other.await.unwrap(), Code::DeadlineExceeded);
    assert_eq!(start.elapsed().as_secs(), 10, "progress of one call is none of another");
    let third = rig.ask(Request::new(Route::from_static("c"), Body::Empty).timeout(secs(8)));
    for _ in 0..30 {
        tokio::time::sleep(secs(5)).await;
        rig.say("~ * \"all of you\"").await;
    }
    unknown(&named.await.unwrap(), Code::DeadlineExceeded);
    unknown(&third.await.unwrap(), Code::DeadlineExceeded);
    settle().await;
    assert_eq!(rig.count(Count::CallsUnknown), 3);
    assert!(start.elapsed() >= secs(160));
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn progress_keeps_a_call_for_progress_timeout_at_most() {
    let mut rig = Setup::new().start();
    let start = Instant::now();
    let call = rig.ask(Request::new(Route::from_static("a"), Body::Empty).timeout(secs(10)));
    settle().await;
    while !call.is_finished() {
        rig.say("~ *").await;
        tokio::time::sleep(secs(1)).await;
    }
    assert_eq!(start.elapsed().as_secs(), Limits::default().progress_timeout.as_secs());
    unknown(&call.await.unwrap(), Code::DeadlineExceeded);
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_is_a_handler_that_hands_on_requests_and_events() {
    let mut rig = Setup::new().start();
    let caller = rig.caller().clone();
    let memory = polywire_core::Peer::in_memory;
    let request = Incoming::request(Route::from_static("a"), json("1"), memory());
    let answer = tokio::spawn(Handler::call(&caller, request));
    assert_eq!(rig.hear().await, "? 1 a 1");
    rig.say("! 1 \"one\"").await;
    assert_eq!(answer.await.unwrap().unwrap().body, json("\"one\""));
    let event = Incoming::event(Route::from_static("b"), json("2"), memory());
    assert_eq!(Handler::call(&caller, event).await.unwrap().body, Body::Empty);
    assert_eq!(rig.hear().await, ". b 2");
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_counts_for_what_its_body_and_what_is_beside_it_keep() {
    let (near, _far) = duplex(1_000);
    let (_connection, link, _) = Setup::new().connect(near);
    let frame = Bytes::from(format!("\"{}\"", "x".repeat(4 << 10)));
    let body = Body::Json(JsonText::from_part(Part::of(&frame, &frame, 16 << 10)));
    let mut event = Event::new(Route::from_static("a"), body);
    event.meta =
        event.meta.with_attachments(vec![Bytes::from_static(&[7; 100])]).with("toy.fact", "ten bytes!");
    link.caller().notify(event).await.unwrap();
    assert_eq!(link.caller().queued(), Some(Queued { messages: 1, bytes: 1 + (16 << 10) + 100 + 10 }));
}
