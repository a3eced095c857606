//! What the official protocol suites of Engine.IO 4 and Socket.IO 5 check, as our own cases against our server.
//!
//! Two things differ, both the library's: its first ping comes at once and not after one interval, and a poll that its client
//! gave up does not end the session, which [`engine_a_poll_that_is_given_up_costs_nothing`] shows in the place of the official case.
//!
//! The official suites give 200 ms for a pong. Here that is told in the handshake, and where pongs are awaited it is two seconds: a
//! machine that has much to do may need longer than 200 ms to send one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "support/socketio_mirror.rs"]
mod mirror;
#[path = "support/socketio_raw.rs"]
mod raw;

use std::time::Duration;

use mirror::{events, join, polling, serve, serve_quietly, serve_with};
use raw::{Raw, until};
use serde_json::{Value, json};

fn opened(text: &str) -> Value {
    serde_json::from_str(text.strip_prefix('0').unwrap()).unwrap()
}

#[tokio::test]
async fn engine_handshakes_tell_five_things() {
    let server = serve_with(Duration::from_millis(300), Duration::from_millis(200)).await;
    let mut raw = Raw::dial(server.address()).await;
    let (status, text) = raw.ask("", None).await;
    assert_eq!(status, 200);
    let by_request = opened(&text);
    let mut raw = Raw::dial(server.address()).await;
    raw.upgrade("").await;
    let by_stream = opened(&raw.text().await);
    for (open, upgrades) in [(by_request, json!(["websocket"])), (by_stream, json!([]))] {
        assert!(open["sid"].as_str().is_some_and(|sid| !sid.is_empty()), "{open}");
        assert_eq!(open["upgrades"], upgrades);
        assert_eq!((&open["pingInterval"], &open["pingTimeout"]), (&json!(300), &json!(200)));
        assert_eq!(open["maxPayload"], 1_000_000);
        assert_eq!(open.as_object().unwrap().len(), 5, "{open}");
    }
}

#[tokio::test]
async fn engine_handshakes_that_are_wrong_are_refused() {
    let server = serve().await;
    for (method, query) in [
        ("GET", "transport=polling"),
        ("GET", "EIO=abc&transport=polling"),
        ("GET", "EIO=3&transport=polling"),
        ("GET", "EIO=4"),
        ("GET", "EIO=4&transport=abc"),
        ("POST", "EIO=4&transport=polling"),
        ("PUT", "EIO=4&transport=polling"),
        ("GET", "EIO=4&transport=polling&sid=unknown"),
        ("POST", "EIO=4&transport=polling&sid=unknown"),
    ] {
        let (status, _) = Raw::dial(server.address()).await.request(method, query, "").await;
        assert_eq!(status, 400, "{method} {query}");
    }
    for query in [
        "transport=websocket",
        "EIO=abc&transport=websocket",
        "EIO=3&transport=websocket",
        "EIO=4",
        "EIO=4&transport=abc",
        "EIO=4&transport=websocket&sid=unknown",
    ] {
        let head = Raw::dial(server.address()).await.upgrade_with(query, "").await;
        assert!(!head.starts_with("HTTP/1.1 101"), "{query}: {head}");
    }
    assert!(server.peers().is_empty());
}

#[tokio::test]
async fn engine_requests_carry_one_message_or_several() {
    let server = serve().await;
    let (mut raw, query) = polling(&server).await;
    assert_eq!(raw.ask(&query, Some("42[\"message\",1]")).await, (200, "ok".to_owned()));
    assert_eq!(events(&mut raw, &query, 1).await, ["42[\"message-back\",1]"]);
    let several = "42[\"message\",2]\u{1e}42[\"message\",3]\u{1e}451-[\"message\",{\"_placeholder\":true,\"num\":0}]\u{1e}bAQID";
    assert_eq!(raw.ask(&query, Some(several)).await.0, 200);
    let heard = events(&mut raw, &query, 4).await;
    let binary = "451-[\"message-back\",{\"_placeholder\":true,\"num\":0}]";
    assert_eq!(heard, ["42[\"message-back\",2]", "42[\"message-back\",3]", binary, "bAQID"]);
}

#[tokio::test]
async fn engine_an_invalid_request_ends_the_session() {
    let server = serve().await;
    let (mut raw, query) = polling(&server).await;
    assert_eq!(raw.ask(&query, Some("abc")).await.0, 400);
    assert_eq!(Raw::dial(server.address()).await.ask(&query, None).await.0, 400);
    until("no peer", || server.peers().is_empty()).await;
}

#[tokio::test]
async fn engine_an_invalid_message_ends_the_stream() {
    let server = serve().await;
    let mut raw = join(&server).await;
    raw.send(&["abc"]).await;
    raw.end().await;
    until("no peer", || server.peers().is_empty()).await;
}

/// The official suite has the session end with it; the library keeps it, and nothing is lost for the next poll.
#[tokio::test]
async fn engine_a_poll_that_is_given_up_costs_nothing() {
    let server = serve().await;
    let (given_up, query) = polling(&server).await;
    let mut raw = Raw::dial(server.address()).await;
    {
        let mut given_up = given_up;
        given_up.begin("GET", &format!("EIO=4&transport=polling{query}"), "").await;
    }
    assert_eq!(raw.ask(&query, Some("42[\"message\",1]")).await.0, 200);
    assert_eq!(events(&mut raw, &query, 1).await, ["42[\"message-back\",1]"]);
}

#[tokio::test]
async fn engine_two_polls_at_once_end_the_session() {
    let server = serve_quietly().await;
    let (mut one, query) = polling(&server).await;
    let mut other = Raw::dial(server.address()).await;
    let full = format!("EIO=4&transport=polling{query}");
    one.begin("GET", &full, "").await;
    other.begin("GET", &full, "").await;
    // Whichever comes first waits, and ends with the session; the other one is refused.
    let (mut first, mut second) = tokio::join!(one.answer(), other.answer());
    if first.0 != 200 {
        std::mem::swap(&mut first, &mut second);
    }
    assert_eq!(first, (200, "1".to_owned()), "{second:?}");
    assert!(matches!(second.0, 400 | 500), "{second:?}");
    assert_eq!(Raw::dial(server.address()).await.ask(&query, None).await.0, 400);
    until("no peer", || server.peers().is_empty()).await;
}

#[tokio::test]
async fn engine_pings_are_answered_or_the_session_ends() {
    let server = serve().await;
    let mut raw = join(&server).await;
    for _ in 0..3 {
        assert_eq!(raw.text().await, "2");
        raw.send(&["3"]).await;
    }
    // From now on there is no answer.
    raw.end().await;
    until("no peer", || server.peers().is_empty()).await;
    let (mut raw, query) = polling(&server).await;
    for _ in 0..3 {
        assert_eq!(raw.ask(&query, None).await, (200, "2".to_owned()));
        assert_eq!(raw.ask(&query, Some("3")).await.0, 200);
    }
    // The last ping has no answer.
    assert_eq!(raw.ask(&query, None).await, (200, "2".to_owned()));
    until("no peer", || server.peers().is_empty()).await;
    assert_eq!(Raw::dial(server.address()).await.ask(&query, None).await.0, 400);
}

#[tokio::test]
async fn engine_a_client_that_closes_is_gone() {
    let server = serve_quietly().await;
    let mut raw = join(&server).await;
    raw.send(&["1"]).await;
    raw.end().await;
    until("no peer", || server.peers().is_empty()).await;
    // A poll that waits is ended. One that has not come yet, on a stream of its own, finds no session.
    for _ in 0..10 {
        let (mut raw, query) = polling(&server).await;
        let mut waiting = Raw::dial(server.address()).await;
        waiting.begin("GET", &format!("EIO=4&transport=polling{query}"), "").await;
        assert_eq!(raw.ask(&query, Some("1")).await.0, 200);
        let (status, text) = waiting.answer().await;
        assert_eq!(raw.ask(&query, None).await.0, 400);
        until("no peer", || server.peers().is_empty()).await;
        if status != 400 {
            return assert_eq!((status, &*text), (200, "6"));
        }
    }
    panic!("no poll was waiting");
}

#[tokio::test]
async fn engine_an_upgrade_takes_the_session_over() {
    let server = serve_quietly().await;
    let (mut requests, query) = polling(&server).await;
    let mut waiting = Raw::dial(server.address()).await;
    waiting.begin("GET", &format!("EIO=4&transport=polling{query}"), "").await;
    let mut stream = Raw::dial(server.address()).await;
    let head = stream.upgrade_of(&query, "").await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    stream.send(&["2probe"]).await;
    assert_eq!(stream.text().await, "3probe");
    // A poll that waits, and one during the upgrade, is ended with a message that means nothing.
    assert_eq!(waiting.answer().await, (200, "6".to_owned()));
    assert_eq!(requests.ask(&query, None).await, (200, "6".to_owned()));
    stream.send(&["5", "42[\"message\",1]"]).await;
    assert_eq!(stream.event().await, "42[\"message-back\",1]");
    assert_eq!(requests.ask(&query, None).await.0, 400);
    let mut second = Raw::dial(server.address()).await;
    if second.upgrade_of(&query, "").await.starts_with("HTTP/1.1 101") {
        second.end().await;
    }
    stream.send(&["42[\"message\",2]"]).await;
    assert_eq!(stream.event().await, "42[\"message-back\",2]");
}

#[tokio::test]
async fn socket_namespaces_are_joined_with_a_payload_or_without() {
    let server = serve().await;
    for (connect, namespace, shown) in [
        ("40", "", "{}"),
        ("40{\"token\":\"123\"}", "", "{\"token\":\"123\"}"),
        ("40/custom,", "/custom,", "{}"),
        ("40/custom,{\"token\":\"abc\"}", "/custom,", "{\"token\":\"abc\"}"),
    ] {
        let mut raw = Raw::open(server.address()).await;
        raw.send(&[connect]).await;
        let text = raw.event().await;
        let granted = text.strip_prefix(&format!("40{namespace}"));
        let granted: Value = serde_json::from_str(granted.unwrap_or(&text)).unwrap();
        assert!(granted["sid"].as_str().is_some_and(|sid| !sid.is_empty()), "{connect}: {text}");
        // No `pid`, by which a server offers to recover the session.
        assert_eq!(granted.as_object().unwrap().len(), 1, "{connect}: {text}");
        assert_eq!(raw.event().await, format!("42{namespace}[\"auth\",{shown}]"));
    }
    let mut raw = Raw::open(server.address()).await;
    raw.send(&["40/random"]).await;
    assert_eq!(raw.event().await, "44/random,{\"message\":\"Invalid namespace\"}");
}

#[tokio::test]
async fn socket_whoever_joins_nothing_is_closed() {
    let server = serve().await;
    let mut raw = Raw::open(server.address()).await;
    raw.send(&["4abc"]).await;
    raw.end().await;
    let mut raw = Raw::open(server.address()).await;
    loop {
        match raw.frame().await {
            Some((1, text)) if text == b"2" => raw.send(&["3"]).await,
            Some((8, _)) | None => return,
            Some((_, text)) => assert!(!text.starts_with(b"4"), "{text:?}"),
        }
    }
}

#[tokio::test]
async fn socket_leaving_a_namespace_leaves_the_rest() {
    let server = serve().await;
    let mut raw = join(&server).await;
    raw.send(&["40/custom,"]).await;
    while raw.event().await != "42/custom,[\"auth\",{}]" {}
    raw.send(&["41/custom,", "42[\"message\",\"still\"]"]).await;
    assert_eq!(raw.event().await, "42[\"message-back\",\"still\"]");
    raw.send(&["41"]).await;
    until("no peer", || server.peers().is_empty()).await;
    // The stream is still there.
    raw.send(&["40"]).await;
    assert!(raw.event().await.starts_with("40{"));
}

#[tokio::test]
async fn socket_messages_and_acknowledgements_carry_any_arguments() {
    let server = serve().await;
    let mut raw = join(&server).await;
    raw.send(&["42[\"message\",1,\"2\",{\"3\":[true]}]"]).await;
    assert_eq!(raw.event().await, "42[\"message-back\",1,\"2\",{\"3\":[true]}]");
    raw.send(&["42456[\"message-with-ack\",1,\"2\",{\"3\":[false]}]"]).await;
    assert_eq!(raw.event().await, "43456[1,\"2\",{\"3\":[false]}]");
    let places = "{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}";
    for (sent, back) in [
        (format!("452-[\"message\",{places}]"), format!("452-[\"message-back\",{places}]")),
        (format!("452-789[\"message-with-ack\",{places}]"), format!("462-789[{places}]")),
    ] {
        raw.send(&[&sent]).await;
        raw.send_binary(&[&[1, 2, 3], &[4, 5, 6]]).await;
        assert_eq!(raw.event().await, back);
        for bytes in [[1, 2, 3], [4, 5, 6]] {
            loop {
                match raw.frame().await.unwrap() {
                    (2, got) => break assert_eq!(got, bytes),
                    (_, ping) => assert_eq!(ping, b"2"),
                }
            }
        }
    }
}

#[tokio::test]
async fn socket_malformed_packets_end_the_session() {
    let server = serve().await;
    for bad in ["4abc", "42{}", "42abc[\"message-with-ack\",1,\"2\"]"] {
        let mut raw = join(&server).await;
        raw.send(&[bad]).await;
        raw.end().await;
        until("no peer", || server.peers().is_empty()).await;
    }
}
