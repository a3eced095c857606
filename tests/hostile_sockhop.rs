//! Rows of hostile input that are Sockhop's own, over real sockets: raw peers against our server and our client.

#[path = "support/leave.rs"]
mod leave;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leave::{LEAVES, leave};
use polywire_core::{
    Body, CallError, Client, Code, Count, Endpoint, Handler, HandlerFuture, Incoming, JsonLimits, JsonText,
    Limits, Reconnect, Request, Response, Route, Server,
};
use polywire_size::{Progress, size};
use polywire_sockhop::{Config, dial, listen};
use polywire_tests::books::check_books;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// How long anything may take that a test waits for.
const LIMIT: Duration = Duration::from_secs(60);

struct Echo;

impl Handler for Echo {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        Box::pin(async { Ok(Response { body: incoming.body, meta: incoming.meta }) })
    }
}

async fn serve() -> Server {
    listen("127.0.0.1:0", Config::default(), Endpoint::new("sockhop", Echo)).await.expect("a free port")
}

fn json(text: &str) -> Body {
    JsonText::new(text.to_owned(), &JsonLimits::default()).expect("it is JSON").into()
}

fn request(route: &'static str, body: impl Into<Body>) -> Request {
    Request::new(Route::from_static(route), body).timeout(LIMIT)
}

/// A peer that is written by hand.
struct Raw {
    stream: TcpStream,
    heard: String,
}

impl Raw {
    fn new(stream: TcpStream) -> Self {
        Self { stream, heard: String::new() }
    }

    async fn says(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.expect("the other end reads");
    }

    /// Everything that was heard, once `what` was heard `times` times and nothing stops in its middle.
    async fn hears(&mut self, what: &str, times: usize) -> &str {
        while self.heard.matches(what).count() < times || !self.heard.ends_with(['\n', '}']) {
            let mut bytes = Vec::with_capacity(16 << 10);
            let read = timeout(LIMIT, self.stream.read_buf(&mut bytes)).await.expect("it is said in time");
            assert!(read.expect("the stream is open") > 0, "no {what}: {}", self.heard);
            self.heard.push_str(&String::from_utf8_lossy(&bytes));
        }
        &self.heard
    }

    /// The text behind the last `key` that was heard.
    fn last(&self, key: &str) -> String {
        let (_, rest) = self.heard.rsplit_once(key).expect("it was heard");
        rest.split('"').next().unwrap_or_default().to_owned()
    }

    async fn answers(&mut self, id: &str, data: &str) {
        self.says(&format!("{{\"type\":\"Object\",\"data\":{data},\"callback_id\":\"{id}\"}}\n")).await;
    }

    /// Shakes hands with a client of ours, and allows binary.
    async fn greets(&mut self) {
        let (_, rest) =
            self.hears("SockhopHandshake", 1).await.split_once("SockhopHandshake").expect("it was heard");
        let id =
            rest.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("it has an id");
        let id = id.to_owned();
        self.says("{\"type\":\"SockhopHandshake\",\"data\":{\"request_binary_mode\":true},\"id\":\"h\"}\n")
            .await;
        self.answers(&id, "{\"allow_binary_mode\":true}").await;
    }

    /// Hears ping number `number` of a fence, and answers it if told so.
    async fn fence(&mut self, number: usize, answers: bool) {
        self.hears("polywire-fence/", number).await;
        let id = self.last("\"_id\":\"");
        if answers {
            self.says(&format!("{{\"type\":\"SockhopPong\",\"data\":{{\"_id\":\"{id}\"}}}}\n")).await;
        }
    }
}

/// How far a server is when it goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Until {
    /// It has said nothing.
    Silent,
    /// In the middle of a line, before the handshake.
    HalfLine,
    /// It has shaken hands.
    Greeted,
    /// In the middle of a line, behind the handshake.
    GreetedHalfLine,
    /// In the middle of a frame.
    HalfFrame,
    /// Our direction is on its way to frames: the first ping of the fence is out.
    Draining,
    /// The second ping and the transition are out.
    Fenced,
    /// The ping in a frame is out.
    Probing,
}

async fn goes(peer: &mut Raw, until: Until) {
    match until {
        Until::Silent => {}
        Until::HalfLine => peer.says("{\"type\":\"half").await,
        _ => peer.greets().await,
    }
    match until {
        Until::Silent | Until::HalfLine | Until::Greeted => {}
        Until::GreetedHalfLine => peer.says("{\"type\":\"half").await,
        Until::HalfFrame => {
            peer.says("{\"type\":\"SockhopBinaryModeTransition\",\"data\":{}}\n\u{5}\0\0").await;
        }
        Until::Draining => peer.fence(1, false).await,
        Until::Fenced => {
            peer.fence(1, true).await;
            peer.hears("SockhopBinaryModeTransition", 1).await;
        }
        Until::Probing => {
            peer.fence(1, true).await;
            peer.fence(2, true).await;
            peer.fence(3, false).await;
        }
    }
}

#[tokio::test]
async fn c07_a_server_of_sockhop_may_go_at_any_moment() {
    let states = [
        Until::Silent,
        Until::HalfLine,
        Until::Greeted,
        Until::GreetedHalfLine,
        Until::HalfFrame,
        Until::Draining,
        Until::Fenced,
        Until::Probing,
    ];
    for until in states {
        for how in LEAVES {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("it is bound").to_string();
            let endpoint = Endpoint::new("sockhop", Echo);
            let ledger = Arc::clone(&endpoint.ledger);
            let client =
                dial(address, Config::default(), Endpoint { reconnect: Reconnect::never(), ..endpoint })
                    .expect("good settings");
            let plain = client.caller().call(request("plain", json("1")));
            let typed = || client.caller().call(request("typed", Body::binary("typed", &b"x"[..])));
            // The fence begins with the first, which its codec holds back; the second waits at its gate.
            let behind = async {
                match until {
                    Until::Draining | Until::Fenced | Until::Probing => Some(tokio::join!(typed(), typed())),
                    _ => None,
                }
            };
            let server = async {
                let (stream, _) = listener.accept().await.expect("the client dials");
                let mut peer = Raw::new(stream);
                peer.hears("\"plain\"", 1).await;
                goes(&mut peer, until).await;
                leave(peer.stream, how).await
            };
            let all = async { tokio::join!(plain, behind, server) };
            let (plain, behind, _kept) = timeout(LIMIT, all).await.expect("calls end at once");
            let plain = plain.expect_err("nobody answered");
            assert!(matches!(plain, CallError::Unknown(_)), "{until:?}, {how:?}: {plain}");
            assert_eq!(plain.code(), Code::Unavailable, "{until:?}, {how:?}: {plain}");
            if let Some((first, second)) = behind {
                assert_eq!(
                    first.expect_err("nobody answered").code(),
                    Code::Unavailable,
                    "{until:?}, {how:?}"
                );
                let second = second.expect_err("nobody answered");
                assert!(matches!(second, CallError::NotSent(_)), "{until:?}, {how:?}: {second}");
            }
            client.shutdown().await;
            check_books(&ledger);
        }
    }
}

/// The id that a server of ours asks with next.
async fn asked(peer: &mut Raw, times: usize) -> String {
    peer.hears("\"id\":\"", times).await;
    peer.last("\"id\":\"")
}

#[tokio::test]
async fn s09_an_answer_that_another_connection_gives_is_nobodys() {
    let server = serve().await;
    let mut raws = Vec::new();
    for number in 1..=2 {
        let mut raw = Raw::new(TcpStream::connect(server.address()).await.expect("the server listens"));
        raw.says("{\"type\":\"echo\",\"data\":\"here\",\"id\":\"i\"}\n").await;
        raw.hears("\"callback_id\":\"i\"", 1).await;
        assert_eq!(server.peers().len(), number);
        raws.push(raw);
    }
    let [mut a, mut b] = <[Raw; 2]>::try_from(raws).ok().expect("two");
    let mut peers = server.peers();
    peers.sort_by_key(polywire_core::Peer::id);
    let peer = peers[0].clone();
    let call = tokio::spawn(async move { peer.call(request("asked", json("1"))).await });
    let id = asked(&mut a, 1).await;
    b.answers(&id, "\"forged\"").await;
    b.says("{\"type\":\"echo\",\"data\":\"still here\",\"id\":\"j\"}\n").await;
    b.hears("\"callback_id\":\"j\"", 1).await;
    assert_eq!(server.ledger().get(Count::OrphanReply), 1);
    assert!(!call.is_finished(), "the call still waits for the peer that was asked");
    // So it is while the other is asked something too.
    let peer = peers[1].clone();
    let other = tokio::spawn(async move { peer.call(request("asked", json("2"))).await });
    let others = asked(&mut b, 1).await;
    assert_ne!(id, others);
    b.answers(&id, "\"forged\"").await;
    b.answers(&others, "\"b\"").await;
    assert_eq!(other.await.expect("no panic").expect("b answers").body, json("\"b\""));
    assert_eq!(server.ledger().get(Count::OrphanReply), 2);
    assert!(!call.is_finished());
    a.answers(&id, "\"a\"").await;
    assert_eq!(call.await.expect("no panic").expect("a answers").body, json("\"a\""));
    assert_eq!(server.ledger().get(Count::CallsAnswered), 2);
}

/// Echoes, but what is asked as `wait` only once the gate was closed for good, which lets everybody through.
#[derive(Clone)]
struct Gate {
    gate: Arc<Semaphore>,
    running: Arc<watch::Sender<u64>>,
    most: Arc<AtomicU64>,
}

impl Handler for Gate {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let Gate { gate, running, most } = self.clone();
        Box::pin(async move {
            if &*incoming.route == "wait" {
                running.send_modify(|running| *running += 1);
                most.fetch_max(*running.borrow(), Ordering::Relaxed);
                gate.acquire().await.expect_err("it gives no permits");
                running.send_modify(|running| *running -= 1);
            }
            Ok(Response { body: incoming.body, meta: incoming.meta })
        })
    }
}

#[tokio::test]
async fn c13_s12_a_peer_that_asks_for_any_number_of_callbacks_has_256_in_flight() {
    let asked = size(1_000, 1_000_000);
    let gate = Gate { gate: Arc::new(Semaphore::new(0)), running: Arc::default(), most: Arc::default() };
    let server = listen("127.0.0.1:0", Config::default(), Endpoint::new("sockhop", gate.clone()));
    let server = server.await.expect("a free port");
    let peer = TcpStream::connect(server.address()).await.expect("the server listens");
    let (reading, mut writing) = peer.into_split();
    let asking = tokio::spawn(async move {
        for number in 0..asked {
            let line = format!("{{\"type\":\"wait\",\"data\":{number},\"id\":\"{number}\"}}\n");
            writing.write_all(line.as_bytes()).await.expect("the server reads on");
        }
        writing
    });
    let mut running = gate.running.subscribe();
    timeout(LIMIT, running.wait_for(|running| *running == 256)).await.expect("256 run").expect("it is kept");
    // Another is served, and nothing more of this one was even decoded.
    let mut other = Raw::new(TcpStream::connect(server.address()).await.expect("the server listens"));
    other.says("{\"type\":\"echo\",\"data\":1,\"id\":\"i\"}\n").await;
    other.hears("\"callback_id\":\"i\"", 1).await;
    assert_eq!(server.ledger().get(Count::FramesReceived), 256 + 1);

    gate.gate.close();
    let mut lines = BufReader::new(reading).lines();
    let mut unanswered = (0..asked).collect::<HashSet<_>>();
    let mut progress = Progress::new("c13: callbacks", asked);
    while !unanswered.is_empty() {
        let line =
            timeout(LIMIT, lines.next_line()).await.expect("an answer in time").expect("an open stream");
        let line = line.expect("more answers");
        let Some((_, id)) = line.split_once("\"callback_id\":\"") else { continue };
        let id = id.trim_end_matches("\"}").parse().expect("an id of ours");
        assert!(unanswered.remove(&id), "{id} was answered twice");
        progress.one_more();
    }
    assert_eq!(gate.most.load(Ordering::Relaxed), 256);
    drop(asking.await.expect("everything was asked"));
}

#[tokio::test]
async fn s12_a_call_that_was_never_answered_has_left_the_table_at_its_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let mut endpoint = Endpoint::new("sockhop", Echo);
    // The table has one place.
    endpoint.limits = Arc::new(Limits { max_pending: 1, ..Limits::default() });
    let client = dial(address, Config::default(), Endpoint { reconnect: Reconnect::never(), ..endpoint })
        .expect("good settings");
    let call = client.caller().call(request("first", json("1")).timeout(Duration::from_secs(1)));
    let accept = async { Raw::new(listener.accept().await.expect("the client dials").0) };
    let (outcome, mut raw) = tokio::join!(call, accept);
    let error = outcome.expect_err("nobody answered");
    assert!(matches!(error, CallError::Unknown(_)) && error.code() == Code::DeadlineExceeded, "{error}");
    raw.hears("\"first\"", 1).await;
    let first = raw.last("\"id\":\"");
    let answering = async {
        raw.hears("\"second\"", 1).await;
        // Late, and nobody's by now.
        raw.answers(&first, "1").await;
        let second = raw.last("\"id\":\"");
        raw.answers(&second, "2").await;
    };
    let (outcome, ()) = tokio::join!(client.caller().call(request("second", json("2"))), answering);
    assert_eq!(outcome.expect("an answer").body, json("2"));
    let ledger = client.ledger();
    assert_eq!((ledger.get(Count::CallsUnknown), ledger.get(Count::OrphanReply)), (1, 1));
}

/// What ends a stock peer, 1.8.4 or 2.1: observed (`malformed`), and read in source where values are bare.
const DEADLY: [&str; 18] = [
    "null",
    r#"{"type":"String","data":"x","callback_id":"nobody"}"#,
    r#"{"type":"String","data":"x","id":"a","callback_id":"nobody"}"#,
    r#"{"type":"SockhopPing","data":null}"#,
    r#"{"type":"SockhopPong","data":null}"#,
    r#"{"type":"SockhopPong"}"#,
    r#"{"type":"SockhopHandshake"}"#,
    r#"{"type":"SockhopHandshake","data":null}"#,
    r#"{"type":"SockhopRequest"}"#,
    r#"{"type":"SockhopRequest","data":null}"#,
    r#"{"type":"SockhopRequest","data":{"data":null}}"#,
    r#"{"type":"SockhopRequest","data":{"uuid":"u1","data":null}}"#,
    r#"{"type":"SockhopResponsePacket"}"#,
    r#"{"type":"SockhopResponsePacket","data":null}"#,
    r#"{"type":"SockhopResponsePacket","data":{"uuid":"u","data":null,"last":true}}"#,
    r#"{"type":"String","data":"x","callback_id":"__proto__"}"#,
    r#"{"type":null,"constructor":null}"#,
    r#"{"constructor":null}"#,
];

/// Says everything deadly, each followed by a question, which is answered.
async fn torments(raw: &mut Raw) {
    for (number, line) in DEADLY.into_iter().enumerate() {
        raw.says(&format!("{line}\n{{\"type\":\"echo\",\"data\":{number},\"id\":\"q{number}\"}}\n")).await;
        raw.hears(&format!("\"data\":{number},\"callback_id\":\"q{number}\""), 1).await;
    }
}

#[tokio::test]
async fn s01_s02_s03_what_kills_a_stock_peer_is_survived_by_our_ends() {
    let server = serve().await;
    let mut raw = Raw::new(TcpStream::connect(server.address()).await.expect("the server listens"));
    torments(&mut raw).await;
    assert_eq!(server.ledger().unaccounted_frames(), 0);
    assert_eq!(server.ledger().get(Count::Closed), 0);

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let endpoint = Endpoint::new("sockhop", Echo);
    let client: Client =
        dial(address, Config::default(), Endpoint { reconnect: Reconnect::never(), ..endpoint })
            .expect("good settings");
    let mut raw = Raw::new(listener.accept().await.expect("the client dials").0);
    torments(&mut raw).await;
    assert_eq!(client.ledger().unaccounted_frames(), 0);
    assert_eq!(client.ledger().get(Count::Closed), 0);
}
