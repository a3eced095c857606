//! Ends of a connection: every call has its outcome at once, every table is empty, and everybody is told once.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use polywire_core::{
    Body, ByteStream, CallError, Close, Code, Count, Event, Flush, JsonText, Request, Route, Transport,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::toy::{Guests, Login, Order, Setup, ToyCodec, check_books, settle};

#[tokio::test(start_paused = true)]
async fn c07_a_peer_that_goes_away_ends_pending_calls_at_once_in_every_state() {
    // What the peer said before it left, and whether calls of ours had been written by then.
    let states: [(&str, Login, bool); 7] = [
        ("", Login::None, true),
        ("? 1 hang\n? 2 late\n. hang\n", Login::None, true),
        ("? 1 ec", Login::None, true),
        ("mode counted\n\0\0", Login::None, true),
        ("", Login::Ask, false),
        ("logi", Login::Ask, false),
        ("", Login::Offer(polywire_core::Credentials::guest()), false),
    ];
    for (said, login, written) in states {
        let mut setup = Setup::with_login(login.clone());
        setup.session.order = Order::OnePerName;
        let mut rig = setup.start();
        let calls = [rig.call("a", "1"), rig.call("a", "2"), rig.call("b", "3")];
        settle().await;
        rig.write(said.as_bytes()).await;
        settle().await;
        let start = Instant::now();
        let (ledger, peer) = (Arc::clone(&rig.ledger), rig.link.peer().clone());
        assert_eq!(rig.hang_up().await.reason, Close::Peer);
        let mut ends = Vec::new();
        for call in calls {
            ends.push(match call.await.unwrap() {
                Err(CallError::Unknown(failure)) if failure.code == Code::Unavailable => "unknown",
                Err(CallError::NotSent(failure)) if failure.code == Code::Unavailable => "not sent",
                other => panic!("{other:?}"),
            });
        }
        let sent = if written { "unknown" } else { "not sent" };
        assert_eq!(ends, [sent, "not sent", sent], "after {said:?} with {login:?}");
        assert!(start.elapsed() < Duration::from_millis(10), "at once");
        assert!(peer.caller().unwrap().try_notify(event()).is_err());
        check_books(&ledger);
    }
}

fn event() -> Event {
    Event::new(Route::from_static("e"), Body::Empty)
}

#[tokio::test(start_paused = true)]
async fn c07_a_peer_that_leaves_while_it_does_not_read_ends_calls_too() {
    let mut setup = Setup::new();
    setup.pipe = 16;
    let rig = setup.start();
    let call = rig.call("a", "\"longer than the pipe is\"");
    settle().await;
    rig.hang_up().await;
    assert!(matches!(call.await.unwrap(), Err(CallError::Unknown(_))));
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_before_a_half_close_still_leaves() {
    let mut rig = Setup::new().start();
    rig.write(b"? 1 echo 1\n? 2 echo 2\n").await;
    rig.far.shutdown().await.unwrap();
    assert_eq!(rig.hear_all().await, "! 1 1\n! 2 2\n");
    assert_eq!(rig.ended().await.reason, Close::Peer);
}

#[tokio::test(start_paused = true)]
async fn closing_on_our_side_writes_what_is_waiting_and_takes_its_leave() {
    let mut rig = Setup::new().start();
    let call = rig.call("a", "1");
    rig.hear().await;
    rig.say("? 1 echo 1").await;
    rig.hear().await;
    rig.notify("last", "1").await;
    settle().await;
    rig.link.peer().close();
    assert!(matches!(call.await.unwrap(), Err(CallError::Unknown(_))));
    assert_eq!(rig.hear_all().await, ". last 1\nbye\n");
    assert_eq!(rig.ended().await.reason, Close::Local);
}

#[tokio::test(start_paused = true)]
async fn closing_towards_a_peer_that_does_not_read_ends_after_write_timeout() {
    let mut setup = Setup::new();
    setup.pipe = 8;
    let rig = setup.start();
    rig.notify("more", "\"than eight bytes\"").await;
    settle().await;
    let start = Instant::now();
    rig.link.peer().close();
    let Ok(ended) = rig.task.await else { panic!("the connection does not panic") };
    assert_eq!(ended.reason, Close::Local);
    assert_eq!(start.elapsed().as_secs(), 9, "10 s after the write began to stall");
    check_books(&rig.ledger);
}

#[tokio::test(start_paused = true)]
async fn c08_a_close_that_cannot_be_written_waits_without_spinning() {
    let mut setup = Setup::new();
    setup.pipe = 4 << 10;
    setup.limits.write_timeout = Duration::from_secs(5);
    let (near, _far) = tokio::io::duplex(setup.pipe);
    let (mut connection, link, _) = setup.connect(near);
    let mut polls = 0;
    let counted = poll_fn(move |cx| {
        polls += 1;
        assert!(polls < 1_000, "the connection wakes itself for ever");
        std::pin::Pin::new(&mut connection).poll(cx)
    });
    let running = tokio::spawn(counted);
    // A little work, after which memory is to be given back within a second.
    link.caller().notify(event()).await.unwrap();
    settle().await;
    // Before that, a close behind more than the peer reads.
    let long = JsonText::from_validated(format!("\"{}\"", "x".repeat(8 << 10)).into());
    link.caller().notify(Event::new(Route::from_static("e"), long)).await.unwrap();
    settle().await;
    link.peer().close();
    let start = Instant::now();
    assert_eq!(running.await.expect("it does not spin").reason, Close::Local);
    assert!(start.elapsed() > Duration::from_secs(4), "it waits for the peer as long as it may");
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_end_at_their_deadlines_also_while_a_close_is_being_written() {
    let mut setup = Setup::new();
    setup.pipe = 8;
    setup.limits.frame_timeout = Duration::from_secs(5);
    let mut rig = setup.start();
    let start = Instant::now();
    let within =
        |span| Request::new(Route::from_static("a"), Body::Empty).timeout(Duration::from_millis(span));
    rig.notify("full", &format!("\"{}\"", "x".repeat(70 << 10))).await;
    settle().await;
    let waiting = rig.ask(within(6_000));
    rig.write(b"? 1 ec").await;
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    let late = rig.ask(within(2_000));
    settle().await;
    // It comes when the connection has been told of calls that wait once already.
    let last = rig.ask(within(100));
    for (call, due) in [(last, 5_600), (waiting, 6_000), (late, 7_500)] {
        let Err(CallError::NotSent(failure)) = call.await.unwrap() else { panic!("it was not sent") };
        assert_eq!((failure.code, start.elapsed().as_millis() / 100), (Code::DeadlineExceeded, due / 100));
    }
    let Ok(ended) = rig.task.await else { panic!("the connection does not panic") };
    assert_eq!(ended.reason, Close::SlowFrame(Duration::from_secs(5)));
    assert_eq!(start.elapsed().as_secs(), 10, "write_timeout after the writing began to stall");
    check_books(&rig.ledger);
}

#[tokio::test(start_paused = true)]
async fn the_session_closes_with_its_own_reason() {
    let mut rig = Setup::new().start();
    rig.say("mode klingon").await;
    assert_eq!(rig.ended().await.reason, Close::Protocol("no such mode".into()));
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_running_handlers_and_calls_finish_and_refuses_new_ones() {
    let mut rig = Setup::new().start();
    let call = rig.call("a", "1");
    rig.hear().await;
    rig.say("? 1 late \"running\"").await;
    settle().await;
    rig.shutdown.drain();
    settle().await;
    rig.say("? 2 echo 2").await;
    assert_eq!(rig.hear().await, "x 2 unavailable shutting down");
    assert_eq!(rig.hear().await, "! 1 \"running\"");
    assert!(rig.silent().await, "our own call is still out");
    rig.say("! 1 \"answered\"").await;
    call.await.unwrap().unwrap();
    assert_eq!(rig.hear_all().await, "bye\n");
    assert_eq!(rig.ended().await.reason, Close::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_after_drain_timeout_and_an_idle_connection_at_once() {
    let mut rig = Setup::new().start();
    let start = Instant::now();
    let call = rig.ask(Request::new(Route::from_static("a"), Body::Empty).timeout(Duration::from_secs(600)));
    rig.hear().await;
    rig.shutdown.drain();
    assert_eq!(rig.ended().await.reason, Close::Shutdown);
    assert_eq!(start.elapsed().as_secs(), 30);
    assert!(matches!(call.await.unwrap(), Err(CallError::Unknown(_))));

    let start = Instant::now();
    let idle = Setup::new().start();
    idle.shutdown.drain();
    assert_eq!(idle.ended().await.reason, Close::Shutdown);
    assert!(start.elapsed() < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_longer_for_a_peer_that_does_not_read() {
    // Closing when the drain begins, and closed by the drain.
    for closing in [true, false] {
        let mut setup = Setup::new();
        setup.pipe = 64;
        setup.limits.drain_timeout = Duration::from_secs(1);
        let rig = setup.start();
        rig.notify("e", &format!("\"{}\"", "x".repeat(500))).await;
        settle().await;
        if closing {
            rig.link.peer().close();
            settle().await;
        }
        let start = Instant::now();
        rig.shutdown.drain();
        rig.ended().await;
        assert_eq!(start.elapsed().as_millis(), 1_500, "closing: {closing}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hard_stop_ends_at_once_whatever_is_going_on() {
    let mut setup = Setup::new();
    setup.pipe = 64;
    let mut rig = setup.start();
    rig.say("? 1 hang").await;
    rig.notify("e", "\"more than sixty-four bytes, so that some of it is still unwritten\"").await;
    settle().await;
    let start = Instant::now();
    rig.shutdown.drain();
    settle().await;
    rig.shutdown.stop();
    let Ok(ended) = rig.task.await else { panic!("the connection does not panic") };
    assert_eq!(ended.reason, Close::Shutdown);
    assert!(start.elapsed() < Duration::from_millis(10));
    assert_eq!(rig.ledger.get(Count::RequestsAbandoned), 1);
    check_books(&rig.ledger);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_connection_ends_calls_and_closes_the_books() {
    let guests = Arc::new(Guests::default());
    let mut setup = Setup::new();
    setup.session.order = Order::OneAtATime;
    setup.endpoint.observer = Some(Arc::clone(&guests) as _);
    let mut rig = setup.start();
    let (written, held) = (rig.call("a", "1"), rig.call("b", "2"));
    rig.hear().await;
    rig.say("? 1 hang").await;
    settle().await;
    rig.task.abort();
    assert!(matches!(written.await.unwrap(), Err(CallError::Unknown(_))));
    assert!(matches!(held.await.unwrap(), Err(CallError::NotSent(_))));
    settle().await;
    check_books(&rig.ledger);
    assert_eq!(guests.all(), ["+1", "-1 closed by this side"]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_never_polled_leaves_nothing_behind() {
    let (near, _far) = tokio::io::duplex(64);
    let (connection, link, endpoint) = Setup::new().connect(near);
    link.caller().try_notify(event()).unwrap();
    drop(connection);
    assert!(link.caller().try_notify(event()).is_err());
    check_books(&endpoint.ledger);
}

#[tokio::test(start_paused = true)]
async fn the_observer_hears_of_a_peer_once_it_is_logged_in_and_once_it_is_gone() {
    let guests = Arc::new(Guests::default());
    let start = |login| {
        let mut setup = Setup::with_login(login);
        setup.endpoint.observer = Some(Arc::clone(&guests) as _);
        setup.start()
    };
    let mut rig = start(Login::Ask);
    settle().await;
    assert_eq!(guests.all(), [""; 0]);
    rig.say("login ann s3cret").await;
    rig.hear().await;
    assert!(rig.link.established().await && rig.link.established().await, "asked as often as one likes");
    assert_eq!(guests.all(), ["+1"]);
    rig.say("bye").await;
    rig.ended().await;
    let mut refused = start(Login::Ask);
    refused.say("login ann wrong").await;
    assert!(!refused.link.established().await);
    refused.ended().await;
    assert_eq!(guests.all(), ["+1", "-1 the peer closed the connection"]);
}

#[tokio::test]
async fn a_close_with_bytes_unread_loses_no_last_word_to_a_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (io, _) = listener.accept().await.unwrap();
    peer.write_all(&[b'x'; 100 << 10]).await.unwrap();
    io.readable().await.unwrap();
    let mut transport = ByteStream::new(io);
    let mut codec = ToyCodec::new(1 << 20);
    // More than the peer's side has room for, so that a reset would find some of it here.
    let word = "w".repeat(512 << 10);
    transport.send(word.clone().into(), Flush::Coalesce, &mut codec).unwrap();
    poll_fn(|cx| Transport::<ToyCodec>::poll_flush(&mut transport, cx)).await.unwrap();
    poll_fn(|cx| Transport::<ToyCodec>::poll_close(&mut transport, cx)).await.unwrap();
    drop(transport);
    let mut heard = String::new();
    peer.read_to_string(&mut heard).await.expect("an end in order");
    assert_eq!(heard.trim_end(), word);
}
