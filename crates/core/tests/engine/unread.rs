//! Peers that leave while this side takes no frames: noticed at once, and what they had said before is not lost.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use polywire_core::{Body, Close, Code, Count, Handler, Response};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

use crate::toy::{Login, Serve, Setup, check_books, settle};

#[tokio::test(start_paused = true)]
async fn c07_a_peer_that_leaves_while_it_is_judged_is_noticed_at_once() {
    let mut rig = Setup::with_login(Login::Ask).start();
    let call = rig.call("a", "1");
    rig.say("login ann s3cret").await;
    settle().await;
    let start = Instant::now();
    assert_eq!(rig.hang_up().await.reason, Close::Peer);
    assert!(start.elapsed() < Duration::from_millis(10), "{:?}", start.elapsed());
    assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unavailable);
}

/// A handler that never answers, and how many of its futures are there.
fn never() -> (impl Handler, Arc<()>) {
    let running = Arc::new(());
    let counted = Arc::clone(&running);
    let handler = Serve(move |_| {
        let here = Arc::clone(&counted);
        async move {
            let () = std::future::pending().await;
            drop(here);
            Ok(Response::from(Body::Empty))
        }
    });
    (handler, running)
}

#[tokio::test(start_paused = true)]
async fn c07_a_peer_that_leaves_while_its_session_takes_no_frames_loses_its_handlers_at_once() {
    // With what it has said too early.
    for early in ["", "? 2 echo 2\n", "? 2 ec"] {
        let (handler, running) = never();
        let mut rig = Setup::new().handler(handler).start();
        rig.say("only ? 1 hang").await;
        rig.write(early.as_bytes()).await;
        settle().await;
        // This one, the handler's own, and the one of its future.
        assert_eq!(Arc::strong_count(&running), 3);
        let (ledger, start) = (Arc::clone(&rig.ledger), Instant::now());
        assert_eq!(rig.hang_up().await.reason, Close::Peer, "{early:?}");
        assert!(start.elapsed() < Duration::from_millis(10), "{early:?}: {:?}", start.elapsed());
        assert_eq!(ledger.get(Count::RequestsAbandoned), 1);
        assert_eq!(Arc::strong_count(&running), 1, "handler and future are gone");
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_no_frame_is_taken_is_read_later_and_only_a_little_of_it() {
    let mut setup = Setup::new();
    setup.pipe = 64 << 10;
    let mut rig = setup.start();
    rig.say("only ? 1 late 1").await;
    settle().await;
    let long = "x".repeat(100);
    let mut early = String::new();
    for id in 2..600 {
        early.push_str(&format!("? {id} echo \"{long}\"\n"));
    }
    rig.write(early.as_bytes()).await;
    settle().await;
    // What was taken ahead leaves the pipe; the rest of the room in it is still used up.
    let room = tokio::time::timeout(Duration::from_millis(1), rig.far.write_all(&[b' '; 40 << 10])).await;
    assert!(room.is_err(), "more than a read buffer was read ahead");
    assert_eq!(rig.heard.all().len(), 1);
    for id in 1..600 {
        assert!(rig.hear().await.starts_with(&format!("! {id} ")));
    }
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn c07_events_that_wait_at_max_in_flight_are_served_though_their_peer_has_left() {
    let mut setup = Setup::new();
    setup.limits.max_in_flight = 1;
    let mut rig = setup.start();
    rig.write(b". late 1\n. late 2\n. late 3\n").await;
    settle().await;
    assert_eq!(rig.heard.all(), [". late 1"]);
    let heard = rig.heard.clone();
    assert_eq!(rig.hang_up().await.reason, Close::Peer);
    assert_eq!(heard.all(), [". late 1", ". late 2", ". late 3"]);
}

#[tokio::test(start_paused = true)]
async fn c07_a_peer_that_leaves_at_max_in_flight_loses_its_handlers_at_once() {
    let (handler, running) = never();
    let mut setup = Setup::new().handler(handler);
    setup.limits.max_in_flight = 2;
    let mut rig = setup.start();
    rig.write(b"? 1 hang\n? 2 hang\n").await;
    settle().await;
    assert_eq!(Arc::strong_count(&running), 4);
    let start = Instant::now();
    assert_eq!(rig.hang_up().await.reason, Close::Peer);
    assert!(start.elapsed() < Duration::from_millis(10), "{:?}", start.elapsed());
    assert_eq!(Arc::strong_count(&running), 1);
}

/// Gives what its peer said, then the reset with which that peer left, then nothing more.
struct Reset(VecDeque<Option<&'static [u8]>>);

impl AsyncRead for Reset {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.0.pop_front() {
            Some(Some(said)) => buffer.put_slice(said),
            Some(None) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            None => {}
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Reset {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn c07_events_that_wait_at_max_in_flight_are_served_though_their_peer_has_reset_the_connection() {
    let mut setup = Setup::new();
    setup.limits.max_in_flight = 1;
    let heard = setup.heard.clone();
    let said = Reset([Some(&b". late 1\n. late 2\n. late 3\n"[..]), None].into());
    let (connection, _link, endpoint) = setup.connect(said);
    let ended = tokio::time::timeout(Duration::from_secs(100), connection).await.expect("it ends");
    assert_eq!(ended.reason, Close::Peer);
    assert_eq!(heard.all(), [". late 1", ". late 2", ". late 3"]);
    check_books(&endpoint.ledger);
}
