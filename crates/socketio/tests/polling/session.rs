//! What a session over HTTP is made of.

use polywire_core::{Body, Close, Count};
use polywire_socketio::Transports;

use crate::support::{Script, client, json};
use crate::{OPENING, emit, leave, over};

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
async fn an_answer_cut_into_chunks_at_every_byte_brings_the_same() {
    let mut script = Script::new().await;
    let (client, ears) = client(&script, over(Transports::Polling));
    let mut get = script.begin(OPENING).await;
    let body = [
        "42[\"text\",\"€🎮\"]",
        "451-[\"bytes\",{\"_placeholder\":true,\"num\":0}]",
        "bAP8=",
        "42[\"last\"]",
    ]
    .join("\u{1e}");
    for cut in 1..body.len() {
        let (first, second) = body.as_bytes().split_at(cut);
        let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in [first, second, b""] {
            answer.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            answer.extend([chunk, b"\r\n"].concat());
        }
        get.bytes(answer);
        assert_eq!(ears.event().await, ("text".to_owned(), Body::Json(json("\"€🎮\""))), "{cut}");
        assert_eq!(ears.event().await, ("bytes".to_owned(), Body::binary("", vec![0, 255])), "{cut}");
        assert_eq!(ears.event().await, ("last".to_owned(), Body::Empty), "{cut}");
        get = script.next("GET").await;
    }
    drop(get);
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
async fn a_server_that_ends_every_connection_is_served_too() {
    let mut script = Script::new().await;
    let (client, ears) = client(&script, over(Transports::Polling));
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
    script.next("GET").await.ok(OPENING);
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

#[tokio::test]
async fn two_connections_are_all_that_a_busy_session_needs() {
    let mut script = Script::new().await;
    let (client, ears) = client(&script, over(Transports::Polling));
    let mut get = script.begin(OPENING).await;
    for _ in 0..50 {
        get.ok("42[\"n\"]");
        ears.event().await;
        get = script.next("GET").await;
        emit(&client, "a").await;
        script.next("POST").await.ok("ok");
    }
    assert_eq!(script.accepted(), 2);
    leave(script, client).await;
}
