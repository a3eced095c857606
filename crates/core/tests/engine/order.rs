//! Order: gates hold back what must wait and nothing else.

use polywire_core::{Body, Request, Route};

use crate::toy::{Login, Order, Setup, settle};

#[tokio::test(start_paused = true)]
async fn before_the_login_everything_waits_and_then_leaves_in_order() {
    let mut rig = Setup::with_login(Login::Offer(polywire_core::Credentials::new("ann", "s3cret"))).start();
    assert_eq!(rig.hear().await, "login ann s3cret");
    let first = rig.call("a", "1");
    settle().await;
    rig.notify("b", "2").await;
    let third = rig.call("c", "3");
    settle().await;
    assert!(rig.silent().await);
    rig.say("welcome ann").await;
    for expected in ["? 1 a 1", ". b 2", "? 2 c 3"] {
        assert_eq!(rig.hear().await, expected);
    }
    rig.say("! 1").await;
    rig.say("! 2").await;
    first.await.unwrap().unwrap();
    third.await.unwrap().unwrap();
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn one_at_a_time_the_next_call_leaves_when_the_one_before_it_ends() {
    let mut setup = Setup::new();
    setup.session.order = Order::OneAtATime;
    let mut rig = setup.start();
    let calls: Vec<_> = ["a", "b", "c", "d"].into_iter().map(|name| rig.call(name, "1")).collect();
    for (id, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        let id = id + 1;
        assert_eq!(rig.hear().await, format!("? {id} {name} 1"));
        assert!(rig.silent().await);
        rig.say(&format!("! {id}")).await;
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_given_up_opens_the_gate_for_the_next() {
    let mut setup = Setup::new();
    setup.session.order = Order::OneAtATime;
    let mut rig = setup.start();
    let short = Request::new(Route::from_static("a"), Body::Empty).timeout(std::time::Duration::from_secs(1));
    let (first, second, third) = (rig.ask(short), rig.call("b", "1"), rig.call("c", "1"));
    assert_eq!(rig.hear().await, "? 1 a");
    assert_eq!(rig.hear().await, "? 2 b 1", "the deadline opened it");
    first.await.unwrap().unwrap_err();
    second.abort();
    assert_eq!(rig.hear().await, "? 3 c 1", "and so did a caller that went away");
    rig.say("! 3").await;
    third.await.unwrap().unwrap();
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_waits_does_not_block_another_and_keeps_its_own_order() {
    let mut setup = Setup::new();
    setup.session.order = Order::OnePerName;
    let mut rig = setup.start();
    let mut calls = Vec::new();
    for (name, body) in [("a", "1"), ("a", "2"), ("b", "3"), ("a", "4"), ("b", "5"), ("c", "6")] {
        calls.push(rig.call(name, body));
        settle().await;
    }
    rig.notify("event", "7").await;
    for expected in ["? 1 a 1", "? 2 b 3", "? 3 c 6", ". event 7"] {
        assert_eq!(rig.hear().await, expected);
    }
    assert!(rig.silent().await);
    for (answer, next) in [("! 2", "? 4 b 5"), ("! 1", "? 5 a 2"), ("! 5", "? 6 a 4")] {
        rig.say(answer).await;
        assert_eq!(rig.hear().await, next);
        assert!(rig.silent().await);
    }
    for id in [3, 4, 6] {
        rig.say(&format!("! {id}")).await;
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_call_never_overtakes_one_of_its_name_that_waits() {
    let mut setup = Setup::new();
    setup.session.order = Order::OnePerName;
    setup.limits.max_pending = 1;
    let mut rig = setup.start();
    let mut calls = vec![rig.call("a", "1")];
    rig.hear().await;
    for (name, body) in [("a", "2"), ("b", "3"), ("a", "4")] {
        calls.push(rig.call(name, body));
        settle().await;
    }
    let mut seen = Vec::new();
    for id in 1..=4 {
        rig.say(&format!("! {id}")).await;
        if id < 4 {
            seen.push(rig.hear().await.split_once(' ').unwrap().1.split_once(' ').unwrap().1.to_owned());
        }
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let of_a: Vec<_> = seen.iter().filter(|line| line.starts_with('a')).collect();
    assert_eq!(of_a, ["a 2", "a 4"], "{seen:?}");
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_held_call_ends_at_its_deadline_though_its_gate_stays_shut() {
    let mut setup = Setup::new();
    setup.session.order = Order::OneAtATime;
    let mut rig = setup.start();
    let first = rig
        .ask(Request::new(Route::from_static("a"), Body::Empty).timeout(std::time::Duration::from_secs(60)));
    rig.hear().await;
    let start = tokio::time::Instant::now();
    let held = rig.call("b", "2").await.unwrap().unwrap_err();
    assert_eq!(
        held.to_string(),
        "not sent: deadline_exceeded: the call waited for its turn until the deadline \
         (call_timeout = 15s, unless the call was given a time of its own); nothing was sent, so it can be sent again"
    );
    assert_eq!(start.elapsed().as_secs(), 15);
    rig.say("! 1").await;
    first.await.unwrap().unwrap();
    settle().await;
    assert!(rig.silent().await);
    rig.hang_up().await;
}
