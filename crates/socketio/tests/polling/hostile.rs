//! What no server should answer.

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{Client, Close, Credentials, Limits};
use polywire_socketio::{Config, Transports};

use crate::support::{Asked, Ears, Script, client, client_with};
use crate::{OPENING, emit, failure, over};

#[tokio::test]
async fn h02_a_server_that_refuses_is_quoted() {
    let cases = [
        (
            r#"{"code":0,"message":"Transport unknown"}"#,
            400,
            "it does not offer this transport (code 0, \"Transport unknown\")",
        ),
        (
            r#"{"code":"3","message":"Bad request"}"#,
            400,
            "it finds the request malformed (code 3, \"Bad request\")",
        ),
        (
            r#"{"code":4,"message":"Forbidden"}"#,
            403,
            "it does not let this client in (code 4, \"Forbidden\")",
        ),
        (r#"{"code":"5"}"#, 400, "it does not speak version 4 of Engine.IO (code 5)"),
        ("", 302, "it redirects, which is not followed"),
        ("<html>", 500, "refuses with HTTP status 500"),
    ];
    for (body, status, words) in cases {
        let mut script = Script::new().await;
        let (client, _) = client(&script, over(Transports::Polling));
        script.next("GET").await.with(status, "", body);
        let failure = failure(&client).await;
        assert!(failure.starts_with(&script.address) && failure.ends_with(words), "{failure}");
        script.deserted().await;
    }
}

#[tokio::test]
async fn h02_an_answer_that_begins_no_session_is_told_as_what_it_is() {
    let html = "Content-Type: text/html\r\n";
    let huge_id =
        format!("0{{\"sid\":\"{}\",\"pingInterval\":25000,\"pingTimeout\":20000}}", "x".repeat(300));
    for body in ["<html>Log in first</html>", "", "4{}", "0{}", "0{\"sid\":\"\"}", "0[", "bAAAA", &huge_id] {
        let mut script = Script::new().await;
        let (client, _) = client(&script, over(Transports::Polling));
        script.next("GET").await.with(200, html, body);
        let failure = failure(&client).await;
        assert!(failure.ends_with("no sound HTTP: text/html, but no session that begins"), "{failure}");
        script.deserted().await;
    }
}

#[tokio::test]
async fn h02_what_is_no_http_ends_the_dial() {
    let head = format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(200));
    let long = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(100_000));
    for answer in [
        "SSH-2.0-x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\n",
        &head,
        &long,
    ] {
        let mut script = Script::new().await;
        let (client, _) = client(&script, over(Transports::Polling));
        let asked = script.next("GET").await;
        asked.bytes(answer);
        if answer == "HTTP/1.1 200 OK\r\n" {
            // It never ends: the dial has its time.
            drop(client);
        } else {
            let failure = failure(&client).await;
            assert!(failure.contains("no sound HTTP") || failure.contains("reset"), "{failure}");
        }
        script.deserted().await;
    }
}

#[tokio::test]
async fn h02_a_session_that_is_refused_later_ends_with_the_reason() {
    for (body, code) in [(r#"{"code":1,"message":"Session ID unknown"}"#, 400), (r#"{"code":"1"}"#, 400)] {
        for method in ["GET", "POST"] {
            let mut script = Script::new().await;
            let (client, ears) = client(&script, over(Transports::Polling));
            let get = script.begin(OPENING).await;
            if method == "GET" {
                get.with(code, "", body);
            } else {
                emit(&client, "a").await;
                script.next("POST").await.with(code, "", body);
            }
            let Close::Transport(why) = ears.end().await else { panic!() };
            assert!(why.contains("it does not know this session, or has forgotten it (code 1"), "{why}");
            assert!(!why.contains("s1"), "an id is nobody's business: {why}");
            script.deserted().await;
        }
    }
}

/// How the session ends, which the server is told.
async fn ended(script: &mut Script, ears: &Ears) -> Close {
    let post = script.next("POST").await;
    assert_eq!(post.body, "1");
    post.ok("ok");
    ears.end().await
}

/// A session with little room: 4 KiB for a body, 2 KiB for a message.
async fn narrow() -> (Script, Client, Ears, Asked) {
    let mut script = Script::new().await;
    let config = Config { max_poll_bytes: 4 << 10, ..over(Transports::Polling) };
    let (client, ears) = client_with(&script, config, Credentials::guest(), |endpoint| {
        endpoint.limits = Arc::new(Limits {
            max_frame_bytes: 2 << 10,
            max_login_bytes: 2 << 10,
            frame_timeout: Duration::from_millis(200),
            write_timeout: Duration::from_millis(200),
            ..Limits::default()
        });
    });
    let get = script.begin(OPENING).await;
    (script, client, ears, get)
}

#[tokio::test]
async fn h12_a_huge_body_is_refused_when_it_is_announced_and_when_it_is_not() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2000\r\n{}", "4".repeat(0x2000)),
        format!("HTTP/1.1 200 OK\r\n\r\n{}", "4".repeat(0x2000)),
    ] {
        let (mut script, _client, ears, get) = narrow().await;
        get.bytes(answer);
        let Close::Limit(why) = ended(&mut script, &ears).await else { panic!() };
        assert!(
            why.starts_with("frame of ") && why.ends_with(" bytes exceeds max_poll_bytes = 4096"),
            "{why}"
        );
        script.deserted().await;
    }
    // One message of a body that fits.
    let (mut script, _client, ears, get) = narrow().await;
    get.ok(&format!("42[\"{}\"]", "x".repeat(3_000)));
    assert_eq!(
        ended(&mut script, &ears).await,
        Close::Limit("frame of 3006 bytes exceeds max_frame_bytes = 2048".into())
    );
    script.deserted().await;
}

#[tokio::test]
async fn h12_an_answer_that_never_ends_has_its_time() {
    // What hangs before its head is what polling is; a body that was begun must end.
    let (mut script, _client, ears, get) = narrow().await;
    get.bytes("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n42[");
    assert_eq!(ended(&mut script, &ears).await, Close::SlowFrame(Duration::from_millis(200)));
    script.deserted().await;
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"] {
        let (mut script, client, ears, _get) = narrow().await;
        emit(&client, "a").await;
        let post = script.next("POST").await;
        let held = if answer.is_empty() {
            Some(post.never())
        } else {
            post.bytes(answer);
            None
        };
        assert_eq!(ears.end().await, Close::SlowConsumer(Duration::from_millis(200)));
        drop(held);
        script.deserted().await;
    }
}

#[tokio::test]
async fn h12_bodies_of_another_kind_end_the_session() {
    for (body, why) in [
        ("", "an empty message"),
        ("42[\"a\"]\u{1e}", "an empty message"),
        ("<html>", "an unknown type of Engine.IO packet"),
        ("b***", "a packet of bytes is not base64"),
    ] {
        let (mut script, _client, ears, get) = narrow().await;
        get.with(200, "Content-Type: application/octet-stream\r\n", body);
        assert_eq!(ended(&mut script, &ears).await, Close::Protocol(why.into()), "{body:?}");
        script.deserted().await;
    }
    let (mut script, _client, ears, get) = narrow().await;
    get.bytes(&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n4\xff"[..]);
    assert_eq!(ended(&mut script, &ears).await, Close::Protocol("a polling body is not UTF-8".into()));
    script.deserted().await;
}

#[tokio::test]
async fn an_answer_that_is_cut_ends_the_session() {
    let (mut script, _client, ears, get) = narrow().await;
    get.bytes("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(ended(&mut script, &ears).await, Close::Protocol("an empty message".into()));
    script.deserted().await;
    let (script, _client, ears, get) = narrow().await;
    // The connection ends without an answer.
    drop(get);
    assert!(matches!(ears.end().await, Close::Transport(_) | Close::Peer));
    script.deserted().await;
}
