//! Long-polling and the upgrade against a server that answers as it likes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{Body, Client, Close, Count, Credentials, Event, Limits, Meta, Request, Route};
use polywire_socketio::{Config, Transports};
use support::{Asked, Ears, Script, client, client_with, json, soon};

/// An opening packet that offers a WebSocket.
const OPENING: &str =
    r#"0{"sid":"s1","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;

fn over(transports: Transports) -> Config {
    Config { transports, ..Config::default() }
}

async fn emit(client: &Client, name: &'static str) {
    let event = Event { route: Route::from_static(name), body: Body::Empty, meta: Meta::default() };
    client.caller().notify(event).await.unwrap();
}

/// Why the only dial failed.
async fn failure(client: &Client) -> String {
    soon("the failure", client.ready()).await.unwrap_err().message.into_owned()
}

/// Leaves; whatever the client still asks is answered.
async fn leave(mut script: Script, client: Client) {
    let shutdown = tokio::spawn(client.shutdown());
    let mut said = String::new();
    while said != "1" {
        let asked = script.any().await;
        if asked.method == "POST" {
            said.clone_from(&asked.body);
            asked.ok("ok");
        }
    }
    soon("the shutdown", shutdown).await.unwrap();
    script.deserted().await;
}

#[tokio::test]
async fn what_is_said_while_a_post_is_under_way_leaves_together_after_it() {
    let mut script = Script::new().await;
    let (client, _) = client(&script, over(Transports::Polling));
    let get = script.begin(OPENING).await;
    emit(&client, "a").await;
    let post = script.next("POST").await;
    assert_eq!(post.body, "42[\"a\"]");
    for name in ["b", "c", "d"] {
        emit(&client, name).await;
    }
    // The GET moves on while the POST has no answer.
    get.ok("2");
    let get = script.next("GET").await;
    assert!(script.is_silent());
    post.ok("ok");
    assert_eq!(script.next("POST").await.body, "42[\"b\"]\u{1e}42[\"c\"]\u{1e}42[\"d\"]\u{1e}3");
    drop(get);
    drop(client);
    script.deserted().await;
}

#[tokio::test]
async fn h12_nothing_new_is_asked_before_what_came_was_taken() {
    let mut script = Script::new().await;
    let (client, ears) = client(&script, over(Transports::Polling));
    let get = script.begin(OPENING).await;
    let events: Vec<_> = (0..5_000).map(|number| format!("42[\"n\",{number}]")).collect();
    get.ok(&events.join("\u{1e}"));
    for number in 0..5_000 {
        assert_eq!(ears.event().await, ("n".to_owned(), Body::Json(json(&number.to_string()))));
    }
    let _get = script.next("GET").await;
    assert_eq!(client.ledger().get(Count::Events), 5_000);
    leave(script, client).await;
}

#[tokio::test]
async fn cookies_of_the_first_answer_are_in_every_request_that_follows() {
    let mut script = Script::new().await;
    let (client, _) = client(&script, over(Transports::PollingFirst));
    script.next("GET").await.with(
        200,
        "Set-Cookie: node=n7; Path=/; HttpOnly\r\nSet-Cookie: io=x\r\n",
        OPENING,
    );
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let asked = script.any().await;
        assert!(
            asked.headers.to_ascii_lowercase().contains("\r\ncookie: node=n7; io=x\r\n"),
            "{}",
            asked.headers
        );
        seen.push(asked);
    }
    drop(client);
    drop(seen);
    script.deserted().await;
}

#[tokio::test]
async fn a_connection_is_used_again_at_once_and_not_after_a_while() {
    let mut script = Script::new().await;
    let (client, ears) = client(&script, over(Transports::Polling));
    // The server closes after every answer and does not say so before.
    script.next("GET").await.with(200, "Connection: close\r\n", OPENING);
    let mut get = script.grant().await;
    for _ in 0..20 {
        get.with(200, "Connection: close\r\n", "42[\"n\"]");
        ears.event().await;
        get = script.next("GET").await;
    }
    get.ok("1");
    assert_eq!(ears.end().await, Close::Peer);
    drop(client);
    script.deserted().await;
}

#[tokio::test]
async fn dropping_the_client_closes_every_connection() {
    let mut script = Script::new().await;
    let (client, _) = client(&script, over(Transports::PollingFirst));
    let _get = script.next("GET").await.ok(OPENING);
    let mut pending = Vec::new();
    while pending.len() < 3 {
        let asked = script.any().await;
        if asked.path.contains("websocket") {
            // The probe has no answer.
            let mut socket = asked.socket().await;
            assert_eq!(socket.hear().await.as_deref(), Some("2probe"));
            drop(client);
            assert_eq!(socket.hear().await, None);
            break;
        }
        pending.push(asked);
    }
    script.deserted().await;
}

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
        let (script, _client, ears, get) = narrow().await;
        get.bytes(answer);
        let Close::Limit(why) = ears.end().await else { panic!() };
        assert!(
            why.starts_with("frame of ") && why.ends_with(" bytes exceeds max_poll_bytes = 4096"),
            "{why}"
        );
        script.deserted().await;
    }
    // One message of a body that fits.
    let (script, _client, ears, get) = narrow().await;
    get.ok(&format!("42[\"{}\"]", "x".repeat(3_000)));
    assert_eq!(ears.end().await, Close::Limit("frame of 3006 bytes exceeds max_frame_bytes = 2048".into()));
    script.deserted().await;
}

#[tokio::test]
async fn h12_an_answer_that_never_ends_has_its_time() {
    // What hangs before its head is what polling is; a body that was begun must end.
    let (script, _client, ears, get) = narrow().await;
    get.bytes("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n42[");
    assert_eq!(ears.end().await, Close::SlowFrame(Duration::from_millis(200)));
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
        let (script, _client, ears, get) = narrow().await;
        get.with(200, "Content-Type: application/octet-stream\r\n", body);
        assert_eq!(ears.end().await, Close::Protocol(why.into()), "{body:?}");
        script.deserted().await;
    }
    let (script, _client, ears, get) = narrow().await;
    get.bytes(&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n4\xff"[..]);
    assert_eq!(ears.end().await, Close::Protocol("a polling body is not UTF-8".into()));
    script.deserted().await;
}

#[tokio::test]
async fn an_answer_that_is_cut_ends_the_session() {
    let (script, _client, ears, get) = narrow().await;
    get.bytes("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(ears.end().await, Close::Protocol("an empty message".into()));
    script.deserted().await;
    let (script, _client, ears, get) = narrow().await;
    // The connection ends without an answer.
    drop(get);
    assert!(matches!(ears.end().await, Close::Transport(_) | Close::Peer));
    script.deserted().await;
}

/// A session whose WebSocket is being opened: the request for that, and the GET that hangs.
async fn probing(config: Config) -> (Script, Client, Ears, Asked, Asked) {
    let mut script = Script::new().await;
    let (client, ears) = client(&script, config);
    script.next("GET").await.ok(OPENING);
    let (mut socket, mut get, mut granted) = (None, None, false);
    while socket.is_none() || get.is_none() || !granted {
        let asked = script.any().await;
        if asked.path.contains("transport=websocket") {
            assert_eq!(asked.path, "/socket.io/?EIO=4&transport=websocket&sid=s1");
            socket = Some(asked);
        } else if asked.method == "POST" {
            asked.ok("ok");
            granted = true;
        } else {
            get = Some(asked);
        }
    }
    get.unwrap().ok("40{\"sid\":\"S\"}");
    let get = script.next("GET").await;
    (script, client, ears, socket.unwrap(), get)
}

#[tokio::test]
async fn between_the_probe_and_the_upgrade_nothing_new_is_asked() {
    let (mut script, client, ears, socket, get) = probing(over(Transports::PollingFirst)).await;
    let mut socket = socket.socket().await;
    assert_eq!(socket.hear().await.as_deref(), Some("2probe"));
    // Polling goes on until the answer.
    emit(&client, "before").await;
    let post = script.next("POST").await;
    assert_eq!(post.body, "42[\"before\"]");
    get.ok("42[\"one\"]");
    assert_eq!(ears.event().await.0, "one");
    let get = script.next("GET").await;
    socket.say("3probe").await;
    // The answer was heard when what is emitted afterwards is not posted; both ends of that are awaited here.
    get.ok("42[\"two\"]");
    assert_eq!(ears.event().await.0, "two");
    emit(&client, "after").await;
    post.ok("ok");
    let mut late = None;
    let mut heard = Vec::new();
    while heard.len() < 2 {
        tokio::select! {
            said = socket.hear() => heard.push(said.unwrap()),
            // The `3probe` may have been overtaken by the answer to the GET.
            asked = script.any(), if late.is_none() => {
                assert_eq!(asked.method, "GET");
                asked.ok("6");
                late = Some(());
            }
        }
    }
    assert_eq!(heard, ["5", "42[\"after\"]"]);
    socket.say("42[\"three\"]").await;
    assert_eq!(ears.event().await.0, "three");
    drop(client);
    script.deserted().await;
}

#[tokio::test]
async fn the_last_answer_by_polling_is_handed_up_before_the_websocket() {
    let (mut script, client, ears, socket, get) = probing(over(Transports::PollingFirst)).await;
    let mut socket = socket.socket().await;
    assert_eq!(socket.hear().await.as_deref(), Some("2probe"));
    socket.say("3probe").await;
    emit(&client, "waits").await;
    let events: Vec<_> = (0..500).map(|number| format!("42[\"n\",{number}]")).collect();
    get.ok(&events.join("\u{1e}"));
    // The one emit was posted if it came before the `3probe`, and goes over the WebSocket otherwise; never both.
    let mut posts = 0;
    let mut heard = Vec::new();
    while heard.first().is_none_or(|first| first != "5") || posts + heard.len() < 2 {
        tokio::select! {
            said = socket.hear() => heard.push(said.unwrap()),
            asked = script.any() => {
                posts += usize::from(asked.method == "POST");
                asked.ok(if posts > 0 { "ok" } else { "6" });
            }
        }
    }
    socket.say("42[\"n\",500]").await;
    for number in 0..=500 {
        assert_eq!(ears.event().await, ("n".to_owned(), Body::Json(json(&number.to_string()))));
    }
    drop(client);
    script.deserted().await;
}

#[tokio::test]
async fn h12_an_upgrade_that_fails_leaves_polling_as_it_is() {
    for way in ["refused", "wrong answer", "closed", "early packet"] {
        let (mut script, client, ears, asked, get) = probing(over(Transports::PollingFirst)).await;
        if way == "refused" {
            asked.no_socket().await;
        } else {
            let mut socket = asked.socket().await;
            assert_eq!(socket.hear().await.as_deref(), Some("2probe"));
            match way {
                "wrong answer" => socket.say("3").await,
                "early packet" => {
                    socket.say("3probe").await;
                    socket.say("42[\"early\"]").await;
                }
                _ => {}
            }
            if way != "closed" {
                assert_eq!(socket.hear().await, None, "{way}");
            }
        }
        let call = tokio::spawn({
            let caller = client.caller().clone();
            async move { caller.call(Request::new(Route::from_static("echo"), Body::Empty)).await }
        });
        let post = script.next("POST").await;
        assert_eq!(post.body, "420[\"echo\"]", "{way}");
        post.ok("ok");
        get.ok("430[]");
        assert_eq!(soon("the answer", call).await.unwrap().unwrap().body, Body::Empty, "{way}");
        let get = script.next("GET").await;
        get.ok("42[\"still\"]");
        assert_eq!(ears.event().await.0, "still", "{way}");
        let _get = script.next("GET").await;
        leave(script, client).await;
    }
}

#[tokio::test]
async fn h12_an_upgrade_that_is_never_finished_has_its_time_and_polling_goes_on() {
    for words in [None, Some("3probe")] {
        let config = Config { upgrade_timeout: Duration::from_millis(300), ..over(Transports::PollingFirst) };
        let (mut script, client, ears, asked, get) = probing(config).await;
        let mut socket = asked.socket().await;
        assert_eq!(socket.hear().await.as_deref(), Some("2probe"));
        if let Some(words) = words {
            // Polling is to stop, but the GET that hangs is never ended.
            socket.say(words).await;
        }
        assert_eq!(socket.hear().await, None, "the WebSocket is given up");
        emit(&client, "a").await;
        let post = script.next("POST").await;
        assert_eq!(post.body, "42[\"a\"]");
        post.ok("ok");
        get.ok("42[\"still\"]");
        assert_eq!(ears.event().await.0, "still");
        let _get = script.next("GET").await;
        leave(script, client).await;
    }
}

#[tokio::test]
async fn no_upgrade_is_tried_where_it_is_not_wanted_or_not_offered() {
    let without = OPENING.replace("\"websocket\"", "");
    for (transports, opening) in [(Transports::Polling, OPENING), (Transports::PollingFirst, &without)] {
        let mut script = Script::new().await;
        let (client, _) = client(&script, over(transports));
        let _get = script.begin(opening).await;
        leave(script, client).await;
    }
}

#[tokio::test]
async fn polling_is_tried_where_no_websocket_opens() {
    for hangs in [false, true] {
        let mut script = Script::new().await;
        let config =
            Config { websocket_timeout: Duration::from_millis(200), ..over(Transports::WebSocketFirst) };
        let (client, _) = client(&script, config);
        let asked = script.any().await;
        assert_eq!(asked.path, "/socket.io/?EIO=4&transport=websocket");
        let held = if hangs {
            Some(asked.never())
        } else {
            asked.no_socket().await;
            None
        };
        let _get = script.begin(OPENING).await;
        drop(held);
        leave(script, client).await;
    }
    // Neither.
    let mut script = Script::new().await;
    let (client, _) = client(&script, over(Transports::WebSocketFirst));
    script.any().await.no_socket().await;
    script.next("GET").await.with(400, "", "{\"code\":0}");
    let failure = failure(&client).await;
    assert!(
        failure.contains("it does not offer this transport (code 0); and no WebSocket before: "),
        "{failure}"
    );
    script.deserted().await;
}

#[tokio::test]
async fn an_end_by_polling_is_an_end() {
    let mut script = Script::new().await;
    let (client, ears) = client(&script, over(Transports::Polling));
    let get = script.begin(OPENING).await;
    get.ok("42[\"last\"]\u{1e}1");
    assert_eq!(ears.event().await.0, "last");
    assert_eq!(ears.end().await, Close::Peer);
    drop(client);
    script.deserted().await;
}
