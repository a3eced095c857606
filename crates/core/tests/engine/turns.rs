//! A connection with much to do lets others run in between.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use polywire_core::{Caller, Count, Ledger, Request, Route};

use crate::toy::{Setup, check_books, json, settle};

/// Lets every other task that can run do so once. Tokio's own `yield_now` waits for longer, until it has looked for input.
async fn stand_back() {
    let mut stood_back = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut stood_back, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn c09_a_flood_of_tiny_messages_is_handled_in_turns_of_64() {
    let mut rig = Setup::new().start();
    let (ledger, over) = (Arc::clone(&rig.ledger), Arc::new(AtomicBool::new(false)));
    // The neighbour: it runs whenever the connection lets it, and notes how far that one has come.
    let stop = Arc::clone(&over);
    let neighbour = tokio::spawn(async move {
        let (mut last, mut most, mut turns) = (0, 0, 0);
        while !stop.load(Ordering::Relaxed) {
            let now = ledger.get(Count::FramesReceived);
            most = most.max(now - last);
            turns += u32::from(now > last);
            last = now;
            stand_back().await;
        }
        (most, turns)
    });
    rig.write(&b". e\n".repeat(10_000)).await;
    while rig.count(Count::FramesReceived) < 10_000 {
        tokio::task::yield_now().await;
    }
    over.store(true, Ordering::Relaxed);
    let (most, turns) = neighbour.await.unwrap();
    assert!(most <= 64, "{most} messages in one turn");
    assert!(turns >= 10_000 / 64, "{turns} turns");
    settle().await;
    let ledger = Arc::clone(&rig.ledger);
    rig.hang_up().await;
    check_books(&ledger);
}

/// Makes a call; gives how far `count` was when its caller had the outcome.
fn seen_at_outcome(caller: &Caller, ledger: &Arc<Ledger>, count: Count) -> tokio::task::JoinHandle<u64> {
    let (caller, ledger) = (caller.clone(), Arc::clone(ledger));
    tokio::spawn(async move {
        caller.call(Request::new(Route::from_static("a"), json("1"))).await.unwrap();
        ledger.get(count)
    })
}

#[tokio::test(start_paused = true)]
async fn callers_whose_answers_came_together_run_together() {
    let mut rig = Setup::new().start();
    let calls: Vec<_> =
        (0..300).map(|_| seen_at_outcome(rig.link.caller(), &rig.ledger, Count::CallsAnswered)).collect();
    for _ in &calls {
        rig.hear().await;
    }
    let answers: String = (1..=calls.len()).map(|number| format!("! {number}\n")).collect();
    rig.write(answers.as_bytes()).await;
    for call in calls {
        assert_eq!(call.await.unwrap(), 300, "it ran before all of one read was told");
    }
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_waits_eight_turns_for_others_and_no_longer() {
    let mut rig = Setup::new().start();
    let call = seen_at_outcome(rig.link.caller(), &rig.ledger, Count::FramesReceived);
    rig.hear().await;
    rig.write(format!("! 1\n{}", ". e\n".repeat(10_000)).as_bytes()).await;
    let frames = call.await.unwrap();
    assert!((1..=8 * 64).contains(&frames), "{frames} messages were handled before the caller ran");
    rig.hang_up().await;
}
