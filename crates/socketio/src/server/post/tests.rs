//! Bodies in chunks of every size, whole and not.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::task::Waker;

use polywire_core::TokioClock;

use super::*;

/// The time for the rest of a request.
const LIMIT: Duration = Duration::from_secs(30);

/// A body in these chunks, which may come to no end.
struct Chunks(VecDeque<Bytes>, bool);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.pop_front() {
            Some(chunk) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            None if self.1 => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

struct Session(Arc<Gate>, Arc<Mutex<Flood>>);

impl Session {
    fn new() -> Self {
        Self(Arc::default(), Arc::new(Mutex::new(Flood::new(3))))
    }

    fn post(&self, text: &str, size: usize, ends: bool) -> Post<Chunks> {
        let chunks = text.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
        let judge = Judge::new(Arc::clone(&self.0), Arc::clone(&self.1), (LIMIT, Arc::new(TokioClock)));
        Post::new(Chunks(chunks, ends), Some(judge))
    }

    /// Whether something is waited for once all of it has been read.
    fn reads(&self, text: &str, size: usize) -> bool {
        let mut post = self.post(text, size, true);
        assert_eq!(passed(&mut post), Poll::Ready(Ok(text.to_owned())), "{size} of {text:?}");
        drop(post);
        self.0.has_begun()
    }
}

/// What passes, or why nothing more does; pending where the rest is waited for.
fn passed(post: &mut Post<Chunks>) -> Poll<Result<String, String>> {
    let mut all = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match Pin::new(&mut *post).poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => all.extend(frame.into_data().unwrap()),
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error.to_string())),
            Poll::Ready(None) => return Poll::Ready(Ok(String::from_utf8(all).unwrap())),
            Poll::Pending => return Poll::Pending,
        }
    }
}

/// What becomes of a request that this side refuses.
fn refused() -> Poll<Result<String, String>> {
    Poll::Ready(Err("a request that breaks a rule".to_owned()))
}

#[test]
fn h06_what_requests_announce_is_waited_for_until_it_has_come_wherever_they_are_cut() {
    for size in 1..20 {
        let session = Session::new();
        for (text, waits) in [
            ("42[\"451-\"]\u{1e}40\u{1e}450-[\"a\"]", false),
            ("3\u{1e}452-[\"a\"]", true),
            ("b", true),
            ("beA==", false),
            ("461-/n,7[]\u{1e}beA==", false),
            // Nobody announced it: the library refuses it.
            ("beA==", false),
            ("4512-[\"b\",\"b\"]\u{1e}", true),
            (&["b"; 11].join("\u{1e}"), true),
            ("b\u{1e}42[\"a\"]", false),
            ("", false),
        ] {
            assert_eq!(session.reads(text, size), waits, "{size} of {text:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn h12_the_rest_of_a_request_is_waited_for_so_long_and_no_longer() {
    let session = Session::new();
    let (mut half, mut other) = (session.post("42[\"a", 2, false), session.post("451-[", 9, false));
    assert_eq!(passed(&mut half), Poll::Pending);
    tokio::time::advance(LIMIT / 2).await;
    assert_eq!(passed(&mut other), Poll::Pending);
    assert!(!session.reads("42[]", 9), "what was announced was not whole");
    tokio::time::advance(LIMIT / 2).await;
    assert_eq!(passed(&mut other), Poll::Pending);
    assert_eq!((passed(&mut half), session.0.verdict()), (refused(), Some(Verdict::Slow(LIMIT))));
    tokio::time::advance(LIMIT / 2).await;
    assert_eq!(passed(&mut other), refused());
}

#[tokio::test]
async fn a_request_brings_nothing_to_a_session_that_this_side_has_ended() {
    let session = Session::new();
    let (mut half, mut whole) = (session.post("42[\"a", 2, false), session.post("42[]", 2, true));
    assert_eq!(passed(&mut half), Poll::Pending);
    session.0.cut();
    for post in [&mut half, &mut whole] {
        assert_eq!(passed(post), Poll::Ready(Err("the session has ended".to_owned())));
    }
}

#[test]
fn a_request_that_nobody_reads_says_nothing_of_the_stream() {
    let session = Session::new();
    let unread = session.post("42[]", 9, true);
    session.0.set_begun(true, false);
    drop(unread);
    assert!(session.0.has_begun());
}

#[test]
fn a_client_is_waited_for_while_there_is_room_alone() {
    let session = Session::new();
    assert!(session.reads("451-[]", 9));
    session.0.fill();
    assert!(!session.0.has_begun());
    session.0.fill();
    session.0.clear();
    assert!(!session.reads("42[]", 9));
    session.0.clear();
    assert!(session.0.has_begun());
}

/// The only request of a session passes or fails, in chunks of every size.
fn judged(text: &str, verdict: Option<Verdict>) {
    for size in 1..20 {
        let session = Session::new();
        let read = passed(&mut session.post(text, size, true));
        let ends = if verdict.is_some() { refused() } else { Poll::Ready(Ok(text.to_owned())) };
        assert_eq!((read, session.0.verdict()), (ends, verdict), "{size} of {text:?}");
    }
}

#[test]
fn h05_packets_of_an_upgrade_and_disconnects_with_more_fail_wherever_they_are_cut() {
    for (text, breach) in [
        ("3\u{1e}6", Some("a packet of an upgrade in a request")),
        ("2probe", Some("a packet of an upgrade in a request")),
        ("40\u{1e}41{}", Some("a DISCONNECT with a payload")),
        ("42[\"41{}\"]\u{1e}41", None),
    ] {
        judged(text, breach.map(Verdict::Breach));
    }
}

#[test]
fn h10_more_pings_in_a_second_than_allowed_fail_wherever_they_are_cut() {
    judged("2\u{1e}3\u{1e}42[]\u{1e}2\u{1e}40", None);
    judged("2\u{1e}3\u{1e}42[]\u{1e}2x\u{1e}3", Some(Verdict::Flood(3)));
    let session = Session::new();
    for few in ["2\u{1e}2", "3"] {
        session.reads(few, 9);
    }
    assert!(matches!(passed(&mut session.post("2", 9, true)), Poll::Ready(Err(_))), "over requests");
}
