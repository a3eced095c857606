//! A connection with much to do lets others run in between.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use polywire_core::{Body, Caller, Close, Count, Event, Incoming, Ledger, Request, Response, Route};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, duplex};
use tokio::runtime::Handle;
use tokio::task::coop::consume_budget;

use crate::toy::{Serve, Setup, check_books, json, settle};

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

/// Sends `messages` copies of `message`; gives how many were handled at most before a neighbour ran, and in how many turns.
async fn flood(setup: Setup, message: &[u8], messages: usize) -> (u64, usize) {
    let mut rig = setup.start();
    let (ledger, over) = (Arc::clone(&rig.ledger), Arc::new(AtomicBool::new(false)));
    // The neighbour: it runs whenever the connection lets it, and notes how far that one has come.
    let stop = Arc::clone(&over);
    let neighbour = tokio::spawn(async move {
        let (mut last, mut most, mut turns) = (0, 0, 0);
        while !stop.load(Ordering::Relaxed) {
            let now = ledger.get(Count::FramesReceived);
            most = most.max(now - last);
            turns += usize::from(now > last);
            last = now;
            stand_back().await;
        }
        (most, turns)
    });
    rig.write(&message.repeat(messages)).await;
    while rig.count(Count::FramesReceived) < messages as u64 {
        tokio::task::yield_now().await;
    }
    over.store(true, Ordering::Relaxed);
    let seen = neighbour.await.unwrap();
    settle().await;
    let ledger = Arc::clone(&rig.ledger);
    rig.hang_up().await;
    check_books(&ledger);
    seen
}

#[tokio::test(start_paused = true)]
async fn c09_a_flood_of_tiny_messages_is_handled_in_turns_of_64() {
    let (most, turns) = flood(Setup::new(), b". e\n", 10_000).await;
    assert!(most <= 64, "{most} messages in one turn");
    assert!(turns >= 10_000 / 64, "{turns} turns");
}

/// How often a task was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_has_handled_all_there_is_comes_back_for_nothing() {
    for (messages, comes_back) in [(63, 0), (64, 0), (65, 1)] {
        let (near, mut far) = duplex(1 << 20);
        let (connection, _link, endpoint) = Setup::new().connect(near);
        let mut connection = pin!(connection);
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        assert!(connection.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        far.write_all(&b". e\n".repeat(messages)).await.unwrap();
        wakes.0.store(0, Ordering::Relaxed);
        assert!(connection.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(endpoint.ledger.get(Count::FramesReceived), messages.min(64) as u64);
        assert_eq!(wakes.0.load(Ordering::Relaxed), comes_back, "{messages} messages");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_for_the_next_turn_is_handled_though_its_peer_has_left() {
    let (near, mut far) = duplex(16 << 10);
    let setup = Setup::new();
    let heard = setup.heard.clone();
    let (connection, link, endpoint) = setup.connect(near);
    let mut connection = pin!(connection);
    let mut cx = Context::from_waker(Waker::noop());
    far.write_all(&b". e\n".repeat(65)).await.unwrap();
    far.shutdown().await.unwrap();
    assert!(connection.as_mut().poll(&mut cx).is_pending());
    assert_eq!(heard.all().len(), 64, "the last one was looked at");
    // So much is to be written that no more is taken until the peer has read some of it.
    let much = Event::new(Route::from_static("much"), json(&format!("\"{}\"", "x".repeat(300 << 10))));
    link.caller().notify(much).await.unwrap();
    assert!(connection.as_mut().poll(&mut cx).is_pending(), "the end is not all that is left");
    assert_eq!(heard.all().len(), 64);
    let read = async {
        let mut text = Vec::new();
        far.read_to_end(&mut text).await.unwrap();
    };
    let ended = tokio::select! {
        ended = connection => ended,
        () = read => panic!("this side is still there"),
    };
    assert_eq!((ended.reason, heard.all().len()), (Close::Peer, 65));
    check_books(&endpoint.ledger);
}

#[tokio::test(start_paused = true)]
async fn handlers_that_wait_are_no_tasks_of_their_own() {
    let mut rig = Setup::new().start();
    settle().await;
    let tasks = Handle::current().metrics().num_alive_tasks();
    rig.write(&b". late 1\n".repeat(100)).await;
    settle().await;
    assert_eq!(rig.heard.all().len(), 100);
    assert_eq!(Handle::current().metrics().num_alive_tasks(), tasks);
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn c09_large_messages_are_handled_in_turns_of_a_mebibyte() {
    let mut setup = Setup::new();
    setup.pipe = 16 << 20;
    let message = format!(". e \"{}\"\n", "x".repeat(300 << 10));
    let (most, turns) = flood(setup, message.as_bytes(), 40).await;
    assert!(most <= 4, "{most} messages of 300 KiB in one turn");
    assert!(turns >= 10, "{turns} turns");
}

#[tokio::test(start_paused = true)]
async fn c09_what_a_turn_has_to_say_leaves_though_its_handlers_used_up_what_tokio_lets_a_task_do() {
    let busy = Serve(|incoming: Incoming| async move {
        for _ in 0..3 {
            consume_budget().await;
        }
        Ok(Response::from(incoming.body))
    });
    let mut rig = Setup::new().handler(busy).start();
    let questions: String = (0..2_000).map(|id| format!("? {id} e {id}\n")).collect();
    rig.write(questions.as_bytes()).await;
    let (mut left, mut most) = (0, 0);
    while left < 2_000 {
        stand_back().await;
        let said = rig.count(Count::FramesSent);
        while let Some(text) = now_or_never(rig.far.fill_buf()) {
            let text = text.unwrap();
            left += text.iter().filter(|byte| **byte == b'\n').count() as u64;
            let length = text.len();
            rig.far.consume(length);
        }
        most = most.max(said - left);
    }
    assert_eq!(most, 0, "answers stayed behind");
    rig.hang_up().await;
}

/// What the future has at once.
fn now_or_never<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
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

/// Says its first line at once and its second when half of what it is sent has left.
struct Halves {
    said: [Option<&'static [u8]>; 2],
    left: usize,
}

impl AsyncRead for Halves {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let next = usize::from(self.left > 0);
        match self.said[next].take() {
            Some(line) => {
                buffer.put_slice(line);
                Poll::Ready(Ok(()))
            }
            None => Poll::Pending,
        }
    }
}

impl AsyncWrite for Halves {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        const HALF: usize = 50 << 10;
        if self.left == HALF && self.said[1].is_some() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let taken = if self.left < HALF { bytes.len().min(HALF - self.left) } else { bytes.len() };
        self.left += taken;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_was_held_up_is_not_overtaken_by_the_next() {
    let polled = Arc::<Mutex<Vec<Body>>>::default();
    let note = Arc::clone(&polled);
    let mut setup = Setup::new().handler(Serve(move |incoming: Incoming| {
        let note = Arc::clone(&note);
        async move {
            note.lock().unwrap().push(incoming.body);
            Ok(Response::from(Body::Empty))
        }
    }));
    setup.limits.max_queue_bytes = 64 << 10;
    let (connection, link, _) = setup.connect(Halves { said: [Some(b". e 1\n"), Some(b". e 2\n")], left: 0 });
    let large = Event::new(Route::from_static("large"), json(&format!("\"{}\"", "x".repeat(100 << 10))));
    link.caller().notify(large).await.unwrap();
    // It goes on for as long as it is let.
    tokio::time::timeout(Duration::from_secs(1), connection).await.unwrap_err();
    assert_eq!(*polled.lock().unwrap(), [json("1"), json("2")]);
}
