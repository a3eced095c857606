//! What our Socket.IO server makes of requests that are cut, too large, given up or never finished.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "support/socketio_mirror.rs"]
mod mirror;
#[path = "support/socketio_raw.rs"]
mod raw;

use std::time::Instant;

use mirror::{events, polling, serve, serve_quietly};
use polywire_tests::vectors;
use raw::{Raw, until};

/// A POST whose body comes in these chunks.
fn chunked(query: &str, chunks: &[&[u8]]) -> Vec<u8> {
    let head = format!("POST /socket.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: localhost\r\n");
    let mut request = [head.as_bytes(), b"Transfer-Encoding: chunked\r\n\r\n"].concat();
    for chunk in chunks {
        request.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        request.extend([*chunk, b"\r\n"].concat());
    }
    request.extend(b"0\r\n\r\n");
    request
}

/// Lets the server, which has this thread too, take in all that was written, and see what was closed.
async fn settle() {
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn engine_a_body_cut_into_chunks_at_every_byte_brings_the_same() {
    let server = serve().await;
    let (mut raw, query) = polling(&server).await;
    let mut poll = Raw::dial(server.address()).await;
    let messages = ["42[\"message\",\"€🎮\"]", "42[\"message\",[1,{\"a\":null}]]"];
    let body = messages.join("\u{1e}");
    let expected = messages.map(|message| message.replace("message", "message-back"));
    let cuts = (1..body.len()).map(|cut| {
        let (first, second) = body.as_bytes().split_at(cut);
        vec![first, second]
    });
    for pieces in cuts.chain([body.as_bytes().chunks(1).collect()]) {
        raw.write(&chunked(&query, &pieces)).await;
        assert_eq!(raw.answer().await, (200, "ok".to_owned()), "{pieces:?}");
        assert_eq!(events(&mut poll, &query, 2).await, expected, "{pieces:?}");
    }
}

/// What the official client posted in a recorded session, in a namespace of ours.
fn recorded_bodies() -> Vec<String> {
    let recording = vectors::load("socketio/transcripts/basic-polling.json");
    let posted = recording["entries"].as_array().unwrap().iter().filter(|entry| entry["method"] == "POST");
    posted.map(|entry| entry["body"].as_str().unwrap().replace("/realtime,", "/custom,")).collect()
}

/// Posts a body in two pieces, the first of which the server takes in before the second is written.
async fn post_cut(raw: &mut Raw, query: &str, body: &str, cut: usize) {
    let length = body.len();
    let head = format!(
        "POST /socket.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
    );
    let (one, other) = body.as_bytes().split_at(cut);
    assert!(raw.write(&[head.as_bytes(), one].concat()).await);
    settle().await;
    assert!(raw.write(other).await);
    assert_eq!(raw.answer().await, (200, "ok".to_owned()), "{cut} of {body}");
}

#[tokio::test]
async fn engine_a_recorded_body_cut_at_every_byte_brings_the_same() {
    let server = serve_quietly().await;
    let bodies = recorded_bodies();
    let [connect, echo, attachment, burst] = &bodies[..] else { panic!("{bodies:?}") };
    let joins = async |cut| {
        let mut raw = Raw::dial(server.address()).await;
        let query = format!("&sid={}", raw.session().await);
        post_cut(&mut raw, &query, connect, cut).await;
        let heard = events(&mut raw, &query, 2).await;
        assert!(heard[0].starts_with("40/custom,{\"sid\":"), "{cut}: {heard:?}");
        assert_eq!(heard[1..], ["42/custom,[\"auth\",{\"token\":\"tok-1\"}]"], "{cut}");
        (raw, query)
    };
    for cut in 1..connect.len() {
        joins(cut).await;
    }
    let (mut raw, query) = joins(0).await;
    let answer = ["461-/custom,0[{\"_placeholder\":true,\"num\":0}]", attachment];
    for cut in 0..echo.len() {
        post_cut(&mut raw, &query, echo, cut).await;
        post_cut(&mut raw, &query, attachment, cut.min(attachment.len() - 1)).await;
        assert_eq!(events(&mut raw, &query, 2).await, answer, "{cut} of {echo}");
    }
    for cut in 0..burst.len() {
        post_cut(&mut raw, &query, burst, cut).await;
        let back = events(&mut raw, &query, 1).await;
        assert_eq!(back, ["42/custom,[\"message-back\",200]"], "{cut} of {burst}");
    }
}

#[tokio::test]
async fn h12_a_body_over_the_limit_ends_the_session_announced_or_not() {
    let server = serve().await;
    let large = format!("42[\"message\",\"{}\"]", "x".repeat(1_000_000));
    for announced in [true, false] {
        let (mut raw, query) = polling(&server).await;
        let status = if announced {
            raw.ask(&query, Some(&large)).await.0
        } else {
            let pieces: Vec<_> = large.as_bytes().chunks(100_000).collect();
            raw.write(&chunked(&query, &pieces)).await;
            raw.answer().await.0
        };
        assert!(matches!(status, 400 | 413), "{announced}: {status}");
        assert_eq!(Raw::dial(server.address()).await.ask(&query, None).await.0, 400, "{announced}");
        until("no peer", || server.peers().is_empty()).await;
        let (mut other, query) = polling(&server).await;
        assert_eq!(other.ask(&query, Some("42[\"echo\",1]")).await.0, 200, "others are served");
        assert_eq!(other.ask(&query, Some("1")).await.0, 200);
        until("it has gone too", || server.peers().is_empty()).await;
    }
}

#[tokio::test]
async fn h12_a_poll_that_its_client_gives_up_loses_nothing() {
    let server = serve().await;
    let (mut raw, query) = polling(&server).await;
    let full = format!("EIO=4&transport=polling{query}");
    let mut seen = Vec::new();
    for number in 0..10 {
        let mut given_up = Raw::dial(server.address()).await;
        given_up.begin("GET", &full, "").await;
        settle().await;
        drop(given_up);
        settle().await;
        assert_eq!(raw.ask(&query, Some(&format!("42[\"message\",{number}]"))).await.0, 200);
        let mut poll = Raw::dial(server.address()).await;
        seen.extend(events(&mut poll, &query, 1).await);
    }
    let expected: Vec<_> = (0..10).map(|number| format!("42[\"message-back\",{number}]")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn h12_an_upgrade_that_is_never_finished_has_its_time_and_ends_the_session() {
    let server = serve().await;
    for probes in [true, false] {
        let (_requests, query) = polling(&server).await;
        let begun = Instant::now();
        let mut stream = Raw::dial(server.address()).await;
        let head = stream.upgrade_of(&query, "").await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        if probes {
            stream.send(&["2probe"]).await;
            assert_eq!(stream.text().await, "3probe");
        }
        stream.end().await;
        let took = begun.elapsed().as_millis();
        assert!((900..10_000).contains(&took), "login_timeout is a second: {took} ms");
        until("no peer", || server.peers().is_empty()).await;
    }
}

/// Programs show `socket.id` to others, and whoever names a session in a request speaks for it.
#[tokio::test]
async fn the_id_of_a_client_leads_to_no_session() {
    let server = serve().await;
    let mut raw = Raw::dial(server.address()).await;
    let name = raw.session().await;
    let query = format!("&sid={name}");
    assert_eq!(raw.ask(&query, Some("40")).await.0, 200);
    let joined = events(&mut raw, &query, 1).await.remove(0);
    let joined: serde_json::Value = serde_json::from_str(joined.strip_prefix("40").unwrap()).unwrap();
    let id = joined["sid"].as_str().unwrap().to_owned();
    assert_ne!(id, name);
    assert_ne!(raw.session().await, name, "a name is drawn for each session");
    // Nor in the place that the library looks at first.
    let as_another = [format!("&sid={id}"), format!("&sid={id}&sid={name}x"), format!("&sid=x&sid={id}")];
    for another in &as_another {
        refused(&server, another).await;
    }
    assert_eq!(raw.ask(&query, Some("42[\"message\",1]")).await.0, 200);
    assert_eq!(events(&mut raw, &query, 1).await, ["42[\"message-back\",1]"]);

    // A session that began as a WebSocket is spoken for by nobody but its stream.
    let mut stream = Raw::dial(server.address()).await;
    stream.upgrade("").await;
    let opened = stream.text().await;
    let opened: serde_json::Value = serde_json::from_str(opened.strip_prefix('0').unwrap()).unwrap();
    refused(&server, &format!("&sid={}", opened["sid"].as_str().unwrap())).await;
    stream.send(&["40"]).await;
    assert!(stream.event().await.starts_with("40{"));
}

/// A name that no event may have: the server ends the connection.
const NO_EVENT: &str = "42[\"connect\"]";

#[tokio::test]
async fn what_was_said_right_before_an_end_is_there_for_a_client_between_two_requests() {
    let server = serve_quietly().await;
    let (mut raw, query) = polling(&server).await;
    assert_eq!(raw.ask(&query, Some("42[\"message\",1]")).await.0, 200);
    settle().await;
    assert_eq!(raw.ask(&query, Some(NO_EVENT)).await.0, 200);
    settle().await;
    assert_eq!(raw.ask(&query, None).await, (200, "42[\"message-back\",1]".to_owned()));
    until("no peer", || server.peers().is_empty()).await;
    assert_eq!(raw.ask(&query, None).await.0, 400, "it has ended");
}

#[tokio::test]
async fn a_namespace_that_this_side_ends_takes_the_others_of_its_session_with_it() {
    // No pong is missed here: nothing but the end itself can take them.
    let server = serve_quietly().await;
    let (mut raw, query) = polling(&server).await;
    assert_eq!(raw.ask(&query, Some("40/custom,")).await.0, 200);
    events(&mut raw, &query, 2).await;
    until("both have joined", || server.peers().len() == 2).await;
    assert_eq!(raw.ask(&query, Some("42/custom,[\"connect\"]")).await.0, 200);
    until("both have gone", || server.peers().is_empty()).await;
    assert_eq!(raw.ask(&query, None).await.0, 400);
}

/// A query may name its transport twice, and the first counts for the library: so it has to for the guards of the stream.
#[tokio::test]
async fn a_stream_is_guarded_as_what_its_request_became_however_that_is_spelled() {
    let server = serve().await;
    for query in
        ["transport=websocket&transport=polling", "transport=websocket=", "transport=websocket=polling"]
    {
        let mut stream = Raw::dial(server.address()).await;
        let head = stream.upgrade_with(&format!("EIO=4&{query}"), "").await;
        assert!(head.starts_with("HTTP/1.1 101"), "{query}: {head}");
        stream.send(&["40", NO_EVENT]).await;
        assert_eq!(stream.close_code().await, Some(1000), "{query}: the server ends it");
        until("no peer", || server.peers().is_empty()).await;
    }
    let mut raw = Raw::dial(server.address()).await;
    let (status, opened) = raw.ask("&transport=websocket", None).await;
    assert_eq!(status, 200, "{opened}");
    let opened: serde_json::Value = serde_json::from_str(opened.strip_prefix('0').unwrap()).unwrap();
    let query = format!("&sid={}&transport=websocket", opened["sid"].as_str().unwrap());
    assert_eq!(raw.ask(&query, Some("40")).await, (200, "ok".to_owned()));
    assert!(events(&mut raw, &query, 1).await[0].starts_with("40{"));
}

#[tokio::test]
async fn a_stream_whose_upgrade_was_refused_does_not_end_with_the_session_it_named() {
    let server = serve().await;
    let (_requests, query) = polling(&server).await;
    let upgrade = format!("EIO=4&transport=websocket{query}");
    let mut other = Raw::dial(server.address()).await;
    // There is no key.
    assert_eq!(other.request("GET", &upgrade, "").await.0, 400);
    let mut stream = Raw::dial(server.address()).await;
    let head = stream.upgrade_with(&upgrade, "").await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    stream.send(&["2probe", "5"]).await;
    assert_eq!(stream.text().await, "3probe");
    stream.send(&["42[\"message\",1]"]).await;
    assert_eq!(stream.event().await, "42[\"message-back\",1]");
    stream.send(&[NO_EVENT]).await;
    assert_eq!(stream.close_code().await, Some(1000));
    other.session().await;
}

/// No request of this query is served.
async fn refused(server: &polywire_core::Server, query: &str) {
    for body in [None, Some("42[\"message\",\"forged\"]"), Some("1")] {
        let (status, text) = Raw::dial(server.address()).await.ask(query, body).await;
        assert_eq!((status, text.contains("\"code\"")), (400, true), "{query} {body:?}: {text}");
    }
    let mut stream = Raw::dial(server.address()).await;
    let head = stream.upgrade_of(query, "").await;
    assert!(head.starts_with("HTTP/1.1 400"), "{query}: {head}");
}
