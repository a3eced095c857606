//! Rows of hostile input on the socket of a Stonyx server, spoken by a raw WebSocket.

#[path = "../crates/net/tests/support/plain.rs"]
mod plain;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plain::Plain;
use polywire_core::{
    Close, Credentials, Endpoint, Failure, Flush, Handler, HandlerFuture, Identity, Incoming, Limits,
    Message, Observe, Peer, Refusal, Server, Transport,
};
use polywire_net::websocket::{Opening, Settings, WebSocket, connect};
use polywire_stonyx::{Config, listen};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long anything may take that a test waits for.
const LIMIT: Duration = Duration::from_secs(30);
const LOGIN: &str = r#"{"request":"auth","data":{"authKey":"the shared key of these tests"}}"#;

/// Serves nothing.
struct Nothing;

impl Handler for Nothing {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let failure = Failure::unrouted(incoming.kind, &incoming.route);
        Box::pin(std::future::ready(Err(failure)))
    }
}

/// Tells why connections end, whether or not they were established.
struct Ends(mpsc::UnboundedSender<Close>);

impl Observe for Ends {
    fn connected(&self, _: &Peer) {}

    fn disconnected(&self, _: &Peer, reason: &Close) {
        // The test may be over.
        let _ = self.0.send(reason.clone());
    }

    fn turned_away(&self, reason: &Close) {
        let _ = self.0.send(reason.clone());
    }
}

type Ended = mpsc::UnboundedReceiver<Close>;

/// A server of plain messages, which makes whoever judges wait where `slow`.
async fn serve(limits: Limits, slow: bool) -> (Server, Ended) {
    let (tell, ends) = mpsc::unbounded_channel();
    let mut endpoint = Endpoint::new("stonyx", Nothing);
    endpoint.observer = Some(Arc::new(Ends(tell)));
    endpoint.limits = Arc::new(limits);
    if slow {
        endpoint.authenticator =
            Some(Arc::new(|_: Credentials| std::future::pending::<Result<Identity, Refusal>>()));
    }
    let config = Config { encryption: false, ..Config::new("the shared key of these tests") };
    (listen("127.0.0.1:0", config, endpoint).await.expect("a free port"), ends)
}

type Raw = WebSocket<TcpStream>;

async fn dial(server: &Server) -> Raw {
    let stream = TcpStream::connect(server.address()).await.expect("it listens");
    let opening = Opening { host: "127.0.0.1", path: "/", headers: &[] };
    connect(stream, opening, Settings::default()).await.expect("a good handshake")
}

/// Says these messages; whether they could be written.
async fn say(raw: &mut Raw, text: &str, times: usize) -> bool {
    for _ in 0..times {
        raw.send(Message::Text(Bytes::copy_from_slice(text.as_bytes())), Flush::Coalesce, &mut Plain)
            .expect("it fits");
    }
    let flushed = timeout(LIMIT, poll_fn(|cx| Transport::<Plain>::poll_flush(raw, cx))).await;
    flushed.expect("in time").is_ok()
}

async fn end(ends: &mut Ended) -> Close {
    timeout(LIMIT, ends.recv()).await.expect("the connection ends").expect("the server is there")
}

#[tokio::test]
async fn x06_a_large_login_and_a_slow_judge_end_the_connection() {
    let (server, mut ends) = serve(Limits::default(), false).await;
    let mut raw = dial(&server).await;
    let large = LOGIN.replace("}}", &format!(",\"pad\":\"{}\"}}}}", "x".repeat(5 << 20)));
    // It may be closed before all of it is written.
    say(&mut raw, &large, 1).await;
    let Close::Limit(why) = end(&mut ends).await else { panic!("a limit") };
    assert!(why.contains("max_login_bytes = 65536"), "{why}");

    let limits = Limits { login_timeout: Duration::from_millis(200), ..Limits::default() };
    let (server, mut ends) = serve(limits, true).await;
    let mut raw = dial(&server).await;
    assert!(say(&mut raw, LOGIN, 1).await);
    assert_eq!(end(&mut ends).await, Close::LoginTimeout(Duration::from_millis(200)));
}

#[tokio::test]
async fn x11_a_flood_of_heartbeats_ends_the_connection() {
    let limits = Limits { max_control_per_second: 50, ..Limits::default() };
    let (server, mut ends) = serve(limits, false).await;
    let mut raw = dial(&server).await;
    assert!(say(&mut raw, LOGIN, 1).await);
    let welcome = timeout(LIMIT, poll_fn(|cx| raw.poll_receive(cx, &mut Plain))).await.expect("in time");
    let success = Bytes::from_static(br#"{"request":"auth","response":"success"}"#);
    assert!(welcome.expect("a message") == Some(Message::Text(success)));
    say(&mut raw, r#"{"request":"heartBeat"}"#, 1_000).await;
    let Close::Limit(why) = end(&mut ends).await else { panic!("a limit") };
    assert!(why.contains("max_control_per_second = 50"), "{why}");
}
