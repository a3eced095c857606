//! Connection state recovery of our Socket.IO client against npm `socket.io`: what was said while the client was cut off, and what
//! a program hears when the server does not give the session back.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_conformance::Relay;
use polywire_core::{
    Body, Client, Close, Endpoint, Event, GAP, Handler, HandlerFuture, Incoming, Observe, Peer, Reconnect,
    Response, Route,
};
use polywire_socketio::{Config, dial};
use polywire_tests::install::SOCKET_IO;
use polywire_tests::process::Process;
use polywire_tests::socketio::{LIMIT, Tokens, control, text};
use polywire_tests::{peer, skip};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// Something that the program hears: its name and what it says.
type Heard = (String, Value);

/// What the program hears, in order: events, and as `(connected)` what its login says of the session.
#[derive(Clone, Default)]
struct Program(Arc<(Mutex<Vec<Heard>>, Notify)>);

impl Program {
    fn note(&self, what: &str, body: &Body) {
        let value = match body {
            Body::Json(text) => text.parse().unwrap(),
            _ => Value::Null,
        };
        self.0.0.lock().unwrap().push((what.to_owned(), value));
        self.0.1.notify_waiters();
    }

    /// Everything up to the first of these, which is taken away.
    async fn until(&self, last: &str) -> Vec<Heard> {
        let wait = async {
            loop {
                let more = self.0.1.notified();
                {
                    let mut heard = self.0.0.lock().unwrap();
                    if let Some(place) = heard.iter().position(|(what, _)| what == last) {
                        return heard.drain(..=place).collect();
                    }
                }
                more.await;
            }
        };
        tokio::time::timeout(LIMIT, wait)
            .await
            .unwrap_or_else(|_| panic!("no {last:?}: {:?}", self.0.0.lock().unwrap()))
    }
}

impl Handler for Program {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        self.note(incoming.route.as_str(), &incoming.body);
        Box::pin(std::future::ready(Ok(Response::default())))
    }
}

impl Observe for Program {
    fn connected(&self, peer: &Peer) {
        self.note("(connected)", &peer.identity().unwrap().data);
    }

    fn disconnected(&self, _: &Peer, _: &Close) {
        self.note("(lost)", &Body::Empty);
    }
}

/// A server that keeps what is missed, and our client of it, which a relay cuts off.
struct Cut {
    server: Process,
    port: u16,
    relay: Relay,
    client: Client,
    program: Program,
    /// Where nobody answers.
    nowhere: String,
}

async fn keeping(package: &Path) -> (Process, u16) {
    peer::socketio_server(package, &["--recovery-ms", "60000"]).await.unwrap()
}

impl Cut {
    async fn new(package: &Path, config: Config) -> Self {
        let (server, port) = keeping(package).await;
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let relay = Relay::start(format!("127.0.0.1:{port}"), 0).await.unwrap();
        let program = Program::default();
        let endpoint = Endpoint {
            observer: Some(Arc::new(program.clone())),
            reconnect: Reconnect {
                first_pause: Duration::from_millis(10),
                max_pause: Duration::from_millis(50),
                ..Reconnect::default()
            },
            ..Endpoint::new("socketio", program.clone())
        };
        let address = relay.address().to_string();
        let client = dial(&address, config, Arc::new(Tokens::default()), endpoint).unwrap();
        let first = program.until("welcome").await;
        assert_eq!(first[0], ("(connected)".to_owned(), json!({ "recovered": false })));
        Self { server, port, relay, client, program, nowhere: free.to_string() }
    }

    /// The client is cut off, knows it, and cannot come back.
    async fn cut(&self) {
        self.relay.redirect(self.nowhere.clone());
        self.relay.cut();
        self.program.until("(lost)").await;
    }

    /// The server says something to everybody, and to who may come back.
    async fn say(port: u16, number: u64) {
        control(port, &format!("emit?event=news&data={number}")).await;
    }

    async fn end(mut self) {
        let ledger = Arc::clone(self.client.ledger());
        self.client.shutdown().await;
        assert_eq!(ledger.unaccounted_frames(), 0, "{:?}", ledger.snapshot());
        self.server.kill().await;
    }
}

#[tokio::test]
async fn what_was_missed_comes_once_and_in_order_and_is_no_gap() {
    let name = "what_was_missed_comes_once_and_in_order_and_is_no_gap";
    let Some(package) = skip::package(name, &SOCKET_IO) else { return };
    for keep_offset in [false, true] {
        let config = Config { keep_offset, ..Config::new("/realtime") };
        let cut = Cut::new(&package, config).await;
        for round in 0..4 {
            cut.cut().await;
            for number in 0..5 {
                Cut::say(cut.port, round * 10 + number).await;
            }
            cut.relay.redirect(format!("127.0.0.1:{}", cut.port));
            // The server says welcome to every connection, and that comes after what was missed.
            let mut heard = cut.program.until("welcome").await;
            assert_eq!(heard.remove(0), ("(connected)".to_owned(), json!({ "recovered": true })));
            let (_, mut welcome) = heard.pop().unwrap();
            let numbers: Vec<_> = heard
                .into_iter()
                .map(|(what, mut body)| {
                    assert_eq!(what, "news", "{body}");
                    if keep_offset {
                        let offset = body.as_array_mut().unwrap().pop().unwrap();
                        assert!(offset.is_string(), "{offset}");
                        body = body[0].take();
                    }
                    body.as_u64().unwrap()
                })
                .collect();
            assert!(numbers.iter().copied().eq((0..5).map(|number| round * 10 + number)), "{numbers:?}");
            if keep_offset {
                welcome = welcome[0].take();
            }
            assert_eq!(welcome["recovered"], true);
        }
        let stats = control(cut.port, "stats").await;
        assert_eq!(stats["recovered"], 4, "{stats}");
        cut.end().await;
    }
}

#[tokio::test]
async fn a_session_that_is_not_given_back_is_a_gap_and_then_a_new_one() {
    let name = "a_session_that_is_not_given_back_is_a_gap_and_then_a_new_one";
    let Some(package) = skip::package(name, &SOCKET_IO) else { return };
    let cut = Cut::new(&package, Config::new("/realtime")).await;
    Cut::say(cut.port, 1).await;
    cut.program.until("news").await;
    cut.cut().await;
    // Another server in its place knows nothing of the session that is asked for.
    let (mut other, port) = keeping(&package).await;
    Cut::say(port, 2).await;
    cut.relay.redirect(format!("127.0.0.1:{port}"));
    let heard = cut.program.until("welcome").await;
    let names: Vec<_> = heard.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(names, ["(connected)", GAP.as_str(), "welcome"]);
    assert_eq!(heard[0].1, json!({ "recovered": false }));
    assert!(heard[1].1["since_ms"].is_u64(), "{:?}", heard[1]);
    // The new session is kept like the old one.
    let event = Event::new(Route::from_static("say"), Body::Json(text(&json!("here"))));
    cut.client.caller().notify(event).await.unwrap();
    cut.program.until("said").await;
    cut.cut().await;
    Cut::say(port, 3).await;
    cut.relay.redirect(format!("127.0.0.1:{port}"));
    let heard = cut.program.until("welcome").await;
    let names: Vec<_> = heard.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!((names, &heard[1].1), (vec!["(connected)", "news", "welcome"], &json!(3)));
    cut.end().await;
    other.kill().await;
}

#[tokio::test]
async fn more_missed_than_is_taken_is_a_gap_and_no_circle() {
    let name = "more_missed_than_is_taken_is_a_gap_and_no_circle";
    let Some(package) = skip::package(name, &SOCKET_IO) else { return };
    let config = Config { max_early_events: 4, ..Config::new("/realtime") };
    let cut = Cut::new(&package, config).await;
    cut.cut().await;
    for number in 0..5 {
        Cut::say(cut.port, number).await;
    }
    cut.relay.redirect(format!("127.0.0.1:{}", cut.port));
    let heard = cut.program.until("welcome").await;
    let names: Vec<_> = heard.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(names, ["(connected)", GAP.as_str(), "welcome"]);
    assert_eq!(heard[0].1, json!({ "recovered": false }));
    cut.end().await;
}
