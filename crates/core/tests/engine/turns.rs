//! A connection with much to do lets others run in between.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use polywire_core::Count;

use crate::toy::{Setup, check_books, settle};

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
