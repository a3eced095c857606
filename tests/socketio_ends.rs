//! How sessions on our Socket.IO server end: clients that do not read, clients that are to leave, and shutdowns.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/socketio_raw.rs"]
mod raw;

use std::time::Duration;

use polywire_core::{Body, Close, Endpoint, Event, Limits, Peer, Route, Server};
use polywire_socketio::{ServerConfig, listen};
use polywire_tests::socketio::{Ears, LIMIT, text};
use raw::{Raw, one_peer, until};
use serde_json::json;
use tokio::time::timeout;

async fn serve(endpoint: Endpoint, config: ServerConfig) -> Server {
    listen("127.0.0.1:0", config, endpoint).await.unwrap()
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cleaned_up_and_the_shutdown_ends() {
    let limits = Limits { write_timeout: Duration::from_millis(500), ..Limits::default() };
    let ears = Ears::default();
    let server = serve(ears.endpoint(limits), ServerConfig::default()).await;
    let _raw = Raw::join(server.address()).await;
    let peer = one_peer(&server).await;
    let body = Body::binary("", vec![7; 1 << 20]);
    let sending = tokio::spawn(async move {
        // Ends when the connection does.
        while peer.notify(Event::new(Route::from_static("much"), body.clone())).await.is_ok() {}
    });
    timeout(LIMIT, sending).await.expect("the connection ends").unwrap();
    until("no peer", || server.peers().is_empty()).await;
    // Whoever notices first: the stream below, or the connection whose queue is held up.
    assert_eq!(ears.ends(), [Close::SlowConsumer(Duration::from_millis(500))]);
    timeout(Duration::from_secs(5), server.shutdown()).await.expect("the shutdown ends");
}

/// A client of a WebSocket reads no more and one of requests asks no more. Whoever reads hears every event in order, while they are
/// there and when they have been sent away.
#[tokio::test]
async fn who_reads_hears_everything_beside_clients_that_do_not() {
    let ears = Ears::default();
    let server = serve_small(&ears, Duration::from_secs(10)).await;
    let _deaf = Raw::join(server.address()).await;
    let mut asks_no_more = Raw::dial(server.address()).await;
    let query = format!("&sid={}", asks_no_more.session().await);
    assert_eq!(asks_no_more.ask(&query, Some("40")).await.0, 200);
    let mut healthy = Raw::join(server.address()).await;
    until("all are there", || server.peers().len() == 3).await;
    let much = "x".repeat(100_000);
    // How many had room for it.
    let mut tell = async |number: usize| {
        let event = Event::new(Route::from_static("much"), Body::Json(text(&json!([number, much]))));
        let told = server.audience().broadcast(&event);
        let heard = healthy.event().await;
        assert!(heard.starts_with(&format!(r#"42["much",[{number},""#)), "{:?}", heard.get(..40));
        told
    };
    let mut numbers = 0..;
    let mut alone = 0;
    while alone < 20 {
        alone += usize::from(tell(numbers.next().unwrap()).await == 1);
    }
    assert_eq!((server.peers().len(), ears.ends()), (3, Vec::new()), "nobody was waited for");
    ears.ended(2).await;
    for end in ears.ends() {
        assert!(matches!(end, Close::SlowConsumer(_)), "{end:?}");
    }
    for number in numbers.take(100) {
        assert_eq!(tell(number).await, 1);
    }
    timeout(Duration::from_secs(5), server.shutdown()).await.expect("the shutdown ends");
}

/// One namespace is busy, and every read of its stream ends within a message. The other is quiet, and not to blame for that.
#[tokio::test]
async fn a_quiet_namespace_is_not_late_with_the_messages_of_a_busy_one() {
    let frame_timeout = Duration::from_millis(500);
    let ears = Ears::default();
    let limits = Limits { frame_timeout, ..Limits::default() };
    let server = serve(ears.endpoint(limits), ServerConfig::new(["/", "/b"])).await;
    let mut raw = Raw::join(server.address()).await;
    raw.send(&["40/b,"]).await;
    until("both are joined", || server.peers().len() == 2).await;
    // In two frames, so that the end of one message and the beginning of the next may come together.
    let begins = [&[0x01, 0x80 | 8, 0, 0, 0, 0], &br#"42["e",1"#[..]].concat();
    let ends = [0x80, 0x80 | 1, 0, 0, 0, 0, b']'];
    let began = std::time::Instant::now();
    assert!(raw.write(&begins).await);
    while began.elapsed() < 4 * frame_timeout {
        assert!(raw.write(&[&ends, &begins[..]].concat()).await);
        ears.next("e").await;
    }
    assert_eq!(ears.ends(), [], "messages come all the time");
    ears.ended(2).await;
    assert_eq!(ears.ends(), vec![Close::SlowFrame(frame_timeout); 2]);
}

/// A server whose pings do not come in between, and that has its smallest queues.
async fn serve_small(ears: &Ears, write_timeout: Duration) -> Server {
    let limits = Limits { write_timeout, max_queue_messages: 16, ..Limits::default() };
    let long = Duration::from_secs(300);
    let config = ServerConfig {
        ping_interval: long,
        ping_timeout: long,
        max_buffered_packets: 256,
        ..ServerConfig::default()
    };
    serve(ears.endpoint(limits), config).await
}

/// Says something to it until nobody has room for more.
async fn fill(peer: &Peer) {
    let much = Event::new(Route::from_static("much"), Body::Json(text(&json!("x".repeat(100_000)))));
    // A fifth of a second in which nothing leaves.
    while let Ok(told) = timeout(Duration::from_millis(200), peer.notify(much.clone())).await {
        told.unwrap();
    }
}

/// The peer is gone, at the latest after `write_timeout`, its end is told once, and nothing of it holds up the shutdown.
async fn is_closed(server: Server, ears: &Ears) {
    until("no peer", || server.peers().is_empty()).await;
    ears.ended(1).await;
    timeout(Duration::from_secs(5), server.shutdown()).await.expect("the shutdown ends");
    assert_eq!(ears.ends(), [Close::Local]);
}

#[tokio::test]
async fn a_client_of_a_websocket_that_reads_nothing_is_closed_when_it_is_to_be() {
    let ears = Ears::default();
    let server = serve_small(&ears, Duration::from_secs(2)).await;
    let _raw = Raw::join(server.address()).await;
    let peer = one_peer(&server).await;
    fill(&peer).await;
    peer.close();
    is_closed(server, &ears).await;
}

/// A session of requests whose queue in the library is full: of answers to what it asked for.
async fn full_session(server: &Server) -> (Raw, String) {
    let mut raw = Raw::dial(server.address()).await;
    let query = format!("&sid={}", raw.session().await);
    assert_eq!(raw.ask(&query, Some("40")).await.0, 200);
    fill(&one_peer(server).await).await;
    let asked = vec!["40/nowhere,"; 300].join("\u{1e}");
    assert_eq!(raw.ask(&query, Some(&asked)).await.0, 200);
    (raw, query)
}

/// What is said to it when it asks again and again, up to the end: it is told to leave, or that it has no session.
async fn told(raw: &mut Raw, query: &str) -> (u16, String) {
    loop {
        let (status, text) = raw.ask(query, None).await;
        if status != 200 || text.split('\u{1e}').any(|packet| packet == "41") {
            return (status, text);
        }
    }
}

#[tokio::test]
async fn a_client_of_requests_that_asks_no_more_is_closed_when_it_is_to_be() {
    let ears = Ears::default();
    // Long enough that filling it is not taken for a client that stalls.
    let server = serve_small(&ears, Duration::from_secs(3)).await;
    let (mut raw, query) = full_session(&server).await;
    one_peer(&server).await.close();
    until("no peer", || server.peers().is_empty()).await;
    // There was no room to tell it; whenever it asks again, it learns that it has no session.
    let (status, text) = told(&mut raw, &query).await;
    assert_eq!(status, 400, "{text}");
    assert_eq!(raw.ask(&query, Some("42[\"n\",1]")).await.0, 400);
    is_closed(server, &ears).await;
}

#[tokio::test]
async fn a_client_of_requests_that_asks_late_is_told_to_leave() {
    let ears = Ears::default();
    let server = serve_small(&ears, Duration::from_secs(60)).await;
    let (mut raw, query) = full_session(&server).await;
    one_peer(&server).await.close();
    let (status, text) = timeout(LIMIT, told(&mut raw, &query)).await.expect("an end in time");
    assert_eq!(status, 200, "{text}");
    is_closed(server, &ears).await;
}

#[tokio::test]
async fn a_shutdown_ends_sessions_without_dismissing_them() {
    let server = serve(Endpoint::new("socketio", Ears::default()), ServerConfig::default()).await;
    let mut raw = Raw::join(server.address()).await;
    one_peer(&server).await;
    let reading = tokio::spawn(async move {
        let mut heard = Vec::new();
        while let Some((opcode, payload)) = raw.frame().await {
            heard.push((opcode, String::from_utf8_lossy(&payload).into_owned()));
        }
        heard
    });
    timeout(Duration::from_secs(5), server.shutdown()).await.expect("the shutdown ends");
    let heard = reading.await.unwrap();
    // A client that is told to leave the namespace would not come back.
    assert!(heard.iter().all(|(_, text)| !text.starts_with("41")), "{heard:?}");
}

/// The same over requests: whoever waits for more is told that the session ends, and not to leave.
#[tokio::test]
async fn a_shutdown_dismisses_no_client_of_requests() {
    let server = serve(Endpoint::new("socketio", Ears::default()), ServerConfig::default()).await;
    let mut raw = Raw::dial(server.address()).await;
    let query = format!("&sid={}", raw.session().await);
    assert_eq!(raw.ask(&query, Some("40")).await.0, 200);
    let mut heard = String::new();
    while !heard.contains("40{") || !heard.split('\u{1e}').any(|packet| packet == "2") {
        heard = [heard, raw.ask(&query, None).await.1].join("\u{1e}");
    }
    one_peer(&server).await;
    raw.begin("GET", &format!("EIO=4&transport=polling{query}"), "").await;
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
    let reading = tokio::spawn(async move { raw.rest().await });
    timeout(Duration::from_secs(5), server.shutdown()).await.expect("the shutdown ends");
    let heard = reading.await.unwrap();
    assert_eq!(heard.rsplit("\r\n\r\n").next(), Some("1"), "{heard:?}");
}

#[tokio::test]
async fn a_server_that_closes_tells_of_every_client_once() {
    const CLIENTS: usize = 5;
    let ears = Ears::default();
    let server = serve(ears.endpoint(Limits::default()), ServerConfig::new(["/", "/other"])).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut raw = Raw::join(server.address()).await;
        raw.send(&["40/other,"]).await;
        clients.push(raw);
    }
    // One by requests too.
    let mut requests = Raw::dial(server.address()).await;
    let sid = requests.session().await;
    assert_eq!(requests.ask(&format!("&sid={sid}"), Some("40")).await.0, 200);
    until("all have joined", || server.peers().len() == 2 * CLIENTS + 1).await;
    timeout(Duration::from_secs(5), server.shutdown()).await.expect("the shutdown ends");
    // By now, and not by and by.
    assert_eq!(ears.ends(), vec![Close::Shutdown; 2 * CLIENTS + 1]);
}
