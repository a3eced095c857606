//! What our Socket.IO server makes of requests that wait, that never come to their end, and that break a rule half-way.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/socketio_raw.rs"]
mod raw;

use std::sync::Arc;
use std::time::{Duration, Instant};

use polywire_core::{Close, Endpoint, Handler, HandlerFuture, Incoming, Limits, Server};
use polywire_socketio::{ServerConfig, listen};
use polywire_tests::socketio::{Ears, LIMIT};
use raw::{Raw, until};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Notes what it hears; `slow` is done once it is told to be.
#[derive(Clone)]
struct Slow(Ears, Arc<Semaphore>);

impl Handler for Slow {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let (slow, told) = (incoming.route.as_str() == "slow", Arc::clone(&self.1));
        let heard = self.0.call(incoming);
        Box::pin(async move {
            let _told = if slow { told.acquire().await.ok() } else { None };
            heard.await
        })
    }
}

impl Slow {
    fn new() -> Self {
        Self(Ears::default(), Arc::new(Semaphore::new(0)))
    }

    /// A server with two namespaces, whose pings do not come in between.
    async fn serve(&self, limits: Limits) -> Server {
        let endpoint = Endpoint {
            limits: Arc::new(limits),
            observer: Some(Arc::new(self.0.clone())),
            ..Endpoint::new("socketio", self.clone())
        };
        let long = Duration::from_secs(300);
        let config =
            ServerConfig { ping_interval: long, ping_timeout: long, ..ServerConfig::new(["/", "/b"]) };
        listen("127.0.0.1:0", config, endpoint).await.unwrap()
    }

    /// How the one connection ended that did.
    async fn end(&self) -> Close {
        self.0.ended(1).await;
        let ends = self.0.ends();
        assert_eq!(ends.len(), 1, "{ends:?}");
        ends[0].clone()
    }
}

/// One event is handled at a time, and one waits.
fn narrow(frame_timeout: Duration) -> Limits {
    Limits { max_in_flight: 1, max_queue_messages: 1, frame_timeout, ..Limits::default() }
}

/// A session of requests that has joined the main namespace: what it asks on, and how a request names it.
async fn joined(server: &Server) -> (Raw, String) {
    let mut raw = Raw::dial(server.address()).await;
    let sid = format!("&sid={}", raw.session().await);
    let before = server.peers().len();
    assert_eq!(raw.ask(&sid, Some("40")).await.0, 200);
    until("it has joined", || server.peers().len() > before).await;
    (raw, sid)
}

/// A stream on which a request for this session has begun that does not come to its end.
async fn half(server: &Server, sid: &str) -> Raw {
    let mut raw = Raw::dial(server.address()).await;
    let head = format!("POST /socket.io/?EIO=4&transport=polling{sid} HTTP/1.1\r\nHost: localhost\r\n");
    assert!(raw.write(format!("{head}Content-Length: 9\r\n\r\n42[").as_bytes()).await);
    raw
}

/// A stream on which this was asked, whose answer is read later.
async fn begun(server: &Server, sid: &str, body: &str) -> Raw {
    let mut raw = Raw::dial(server.address()).await;
    raw.begin("POST", &format!("EIO=4&transport=polling{sid}"), body).await;
    raw
}

/// Lets the server, which has this thread too, take in all that was written.
async fn settle() {
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn h12_half_a_request_gives_the_place_of_its_session_back_however_that_ends() {
    let limits = Limits {
        max_strangers: 1,
        login_timeout: Duration::from_secs(1),
        frame_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let server = Slow::new().serve(limits).await;
    let mut raw = Raw::dial(server.address()).await;
    let mut sid = format!("&sid={}", raw.session().await);
    for closed in [false, true] {
        let _half = half(&server, &sid).await;
        settle().await;
        assert_eq!(raw.ask("", None).await.0, 503, "the only place is taken");
        if closed {
            assert_eq!(raw.ask(&sid, Some("1")).await.0, 200);
        }
        let another = async {
            loop {
                if let (200, opened) = raw.ask("", None).await {
                    return format!("&sid={}", opened.split('"').nth(3).unwrap());
                }
            }
        };
        sid = timeout(LIMIT, another).await.expect("a place in time");
    }
}

#[tokio::test]
async fn h12_half_a_request_ends_its_session_though_others_come() {
    let limit = Duration::from_secs(1);
    let slow = Slow::new();
    let server = slow.serve(Limits { frame_timeout: limit, ..Limits::default() }).await;
    let (mut raw, sid) = joined(&server).await;
    let mut half = half(&server, &sid).await;
    let others = async {
        while slow.0.ends().is_empty() {
            raw.ask(&sid, Some("42[\"e\"]")).await;
        }
    };
    timeout(LIMIT, others).await.expect("an end in time");
    assert_eq!(slow.end().await, Close::SlowFrame(limit));
    assert_eq!(half.answer().await.0, 400);
}

#[tokio::test]
async fn requests_that_wait_for_room_are_all_answered() {
    let slow = Slow::new();
    let server = slow.serve(narrow(Duration::from_secs(30))).await;
    let (mut raw, sid) = joined(&server).await;
    assert_eq!(raw.ask(&sid, Some(&["42[\"slow\"]"; 4].join("\u{1e}"))).await.0, 200);
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(begun(&server, &sid, "42[\"e\"]").await);
    }
    settle().await;
    slow.1.add_permits(1);
    for raw in &mut waiting {
        assert_eq!(raw.answer().await.0, 200);
        slow.0.next("e").await;
    }
}

#[tokio::test]
async fn h06_an_attachment_that_waits_for_room_is_not_late() {
    let limit = Duration::from_secs(1);
    let slow = Slow::new();
    let server = slow.serve(narrow(limit)).await;
    let (mut raw, sid) = joined(&server).await;
    assert_eq!(raw.ask(&sid, Some("40/b,")).await.0, 200);
    until("both have joined", || server.peers().len() == 2).await;
    let announced = "451-/b,[\"x\",{\"_placeholder\":true,\"num\":0}]";
    let body = [&["42[\"slow\"]"; 4][..], &[announced]].concat().join("\u{1e}");
    assert_eq!(raw.ask(&sid, Some(&body)).await.0, 200);
    let mut waiting = begun(&server, &sid, "beA==").await;
    let begun = Instant::now();
    until("its time would be over", || begun.elapsed() > limit * 2).await;
    assert_eq!(slow.0.ends(), []);
    slow.1.add_permits(1);
    assert_eq!(waiting.answer().await.0, 200);
    assert_eq!(slow.0.next("x").await.2, [1]);
    assert_eq!(slow.0.ends(), []);
    // One that does not come though there is room is.
    assert_eq!(raw.ask(&sid, Some(announced)).await.0, 200);
    slow.0.ended(1).await;
    assert!(slow.0.ends().contains(&Close::SlowFrame(limit)), "{:?}", slow.0.ends());
}

#[tokio::test]
async fn a_request_that_breaks_off_is_no_breach_and_one_whose_chunks_are_none_is() {
    let slow = Slow::new();
    let server = slow.serve(Limits::default()).await;
    let (_raw, sid) = joined(&server).await;
    drop(half(&server, &sid).await);
    assert_eq!(slow.end().await, Close::Peer);
    let slow = Slow::new();
    let server = slow.serve(Limits::default()).await;
    let (mut raw, sid) = joined(&server).await;
    let head = format!("POST /socket.io/?EIO=4&transport=polling{sid} HTTP/1.1\r\nHost: localhost\r\n");
    assert!(raw.write(format!("{head}Transfer-Encoding: chunked\r\n\r\nno number\r\n").as_bytes()).await);
    assert!(matches!(slow.end().await, Close::Protocol(_)), "{:?}", slow.0.ends());
}

/// The library has heard what stands before a breach when that is found, however much of it came at a time.
#[tokio::test]
async fn h05_what_stands_before_a_breach_is_heard_and_nothing_behind_it() {
    for breach in ["41{}", "5", "x", "429007199254740992[\"e\"]"] {
        let slow = Slow::new();
        let server = slow.serve(Limits::default()).await;
        let (mut raw, sid) = joined(&server).await;
        let body = ["42[\"e\",1]", "42[\"e\",2]", breach, "42[\"e\",3]"].join("\u{1e}");
        assert_eq!(raw.ask(&sid, Some(&body)).await.0, 400, "{breach}");
        assert!(matches!(slow.end().await, Close::Protocol(_)), "{breach}");
        let (mut raw, sid) = joined(&server).await;
        assert_eq!(raw.ask(&sid, Some("42[\"e\",4]")).await.0, 200);
        for number in [1, 2, 4] {
            assert_eq!(slow.0.next("e").await.1, json!(number), "{breach}");
        }
    }
}

#[tokio::test]
async fn a_session_has_one_websocket_and_a_second_is_refused() {
    let slow = Slow::new();
    let limit = Duration::from_secs(1);
    let server = slow.serve(Limits { frame_timeout: limit, ..Limits::default() }).await;
    let (mut raw, sid) = joined(&server).await;
    let no_websocket = format!("EIO=4&transport=websocket{sid}");
    assert_eq!(raw.request("GET", &no_websocket, "").await.0, 400, "it asks without the words for it");
    let mut first = Raw::dial(server.address()).await;
    assert!(first.upgrade_of(&sid, "").await.starts_with("HTTP/1.1 101"));
    for probed in [false, true] {
        let mut second = Raw::dial(server.address()).await;
        let head = second.upgrade_of(&sid, "").await;
        assert!(head.starts_with("HTTP/1.1 400"), "{probed}: {head}");
        // Its end is not that of the session.
        drop(second);
        if !probed {
            first.send(&["2probe"]).await;
            assert_eq!(first.text().await, "3probe");
            first.send(&["5", "42[\"e\",1]"]).await;
            slow.0.next("e").await;
        }
    }
    assert_eq!(slow.0.ends(), []);
    assert!(first.write(&[0x81, 0xA0, 0, 0, 0, 0, b'4', b'2']).await);
    assert_eq!(slow.end().await, Close::SlowFrame(limit));
}
