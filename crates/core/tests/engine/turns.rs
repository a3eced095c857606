//! A connection with much to do lets others run in between.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use polywire_core::{Body, Close, Count, Event, Request, Route};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

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

#[tokio::test(start_paused = true)]
async fn a_connection_that_cannot_close_yet_waits_instead_of_spinning() {
    let (near, far) = tokio::io::duplex(64);
    let (mut connection, link, _) = Setup::new().connect(near);
    let mut polls = 0;
    let ended = tokio::spawn(poll_fn(move |cx| {
        polls += 1;
        assert!(polls < 100, "it spins");
        Pin::new(&mut connection).poll(cx)
    }));
    let mut far = BufReader::new(far);
    // A burst that leaves room behind, which is to be given back a second later.
    let calls = ["a", "b", "c", "d", "e", "f"].map(|name| {
        let caller = link.caller().clone();
        tokio::spawn(async move { caller.call(Request::new(Route::from_static(name), Body::Empty)).await })
    });
    let mut line = String::new();
    for _ in &calls {
        line.clear();
        far.read_line(&mut line).await.unwrap();
        let id = line.split(' ').nth(1).unwrap().to_owned();
        far.write_all(format!("! {id} 1\n").as_bytes()).await.unwrap();
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    // From here on the peer does not read.
    link.caller()
        .notify(Event::new(Route::from_static("e"), json(&format!("\"{}\"", "x".repeat(500)))))
        .await
        .unwrap();
    settle().await;
    link.peer().close();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!ended.is_finished(), "what was written may still be read");
    assert_eq!(ended.await.unwrap().reason, Close::Local);
}
