//! Our Socket.IO server against what is no HTTP head and no frame of a WebSocket, and streams that end within one: each case ends its
//! own connection, and a neighbour goes on.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "support/socketio_heard.rs"]
mod heard;
#[path = "support/socketio_raw.rs"]
mod raw;

use std::time::Duration;

use heard::{Heard, LIMIT, goes_on, join_by_requests, quiet, serve};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use polywire_core::{Close, Endpoint, Limits};
use polywire_socketio::{ServerConfig, mount};
use raw::{Raw, masked_frame, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// One empty frame that is not the last of its message.
const FRAGMENT: [u8; 6] = [0x00, 0x80, 0, 0, 0, 0];

#[tokio::test]
async fn h08_a_message_in_a_million_fragments_ends_its_connection_early() {
    let heard = Heard::default();
    let server = serve(&heard, Limits::default(), quiet()).await;
    let mut neighbour = Raw::join(server.address()).await;
    for fragment in [&FRAGMENT[..], &[0x00, 0x81, 0, 0, 0, 0, b'x']] {
        let mut raw = Raw::join(server.address()).await;
        raw.write(&[0x01, 0x81, 0, 0, 0, 0, b'4']).await;
        let mut sent = 0;
        while sent < 1_000_000 && raw.write(&fragment.repeat(1_000)).await {
            sent += 1_000;
        }
        assert_eq!(tokio::time::timeout(LIMIT, raw.end()).await, Ok(()));
        assert!(sent < 1_000_000, "nobody took the rest");
        let end = heard.ended("fragments").await.to_string();
        assert!(end.ends_with("a message in more than max_fragments = 1024 frames"), "{end}");
        goes_on(&mut neighbour, &heard, "fragments").await;
    }
    // As many as are allowed are one message.
    let mut raw = Raw::join(server.address()).await;
    let event = b"42[\"n\"]";
    let mut message = vec![0x01, 0x81, 0, 0, 0, 0, event[0]];
    message.extend(FRAGMENT.repeat(1_022));
    message.extend([0x80, 0x80 | u8::try_from(event.len() - 1).unwrap(), 0, 0, 0, 0]);
    message.extend(&event[1..]);
    assert!(raw.write(&message).await);
    until("it is heard", || !heard.0.lock().unwrap().is_empty()).await;
    assert_eq!(heard.take(), ["event n"]);
    message.splice(7..7, FRAGMENT);
    assert!(raw.write(&message).await);
    assert_eq!(raw.close_code().await, Some(1008));
    goes_on(&mut neighbour, &heard, "one fragment more").await;
}

#[tokio::test]
async fn h10_floods_of_pings_and_pongs_end_their_own_connection() {
    let heard = Heard::default();
    let limits = Limits { max_control_per_second: 50, ..Limits::default() };
    let server = serve(&heard, limits, quiet()).await;
    let mut neighbour = Raw::join(server.address()).await;
    let floods = [
        ("pings of the WebSocket", vec![0x89, 0x80, 0, 0, 0, 0]),
        ("pongs of the WebSocket", vec![0x8a, 0x81, 0, 0, 0, 0, b'x']),
        ("pings", text_frame("2")),
        ("pongs", text_frame("3")),
        ("packets that say nothing", text_frame("6")),
        ("pongs in two frames", [&[0x01, 0x80, 0, 0, 0, 0][..], &[0x80, 0x81, 0, 0, 0, 0, b'3']].concat()),
    ];
    for (what, one) in floods {
        let mut raw = Raw::join(server.address()).await;
        // Faster than any clock of a test machine: a thousand in one write.
        assert!(raw.write(&one.repeat(1_000)).await);
        assert_eq!(raw.close_code().await, Some(1008), "{what}");
        let end = heard.ended(what).await.to_string();
        assert!(
            end.ends_with("more than max_control_per_second = 50 pings and pongs in a second"),
            "{what}: {end}"
        );
        goes_on(&mut neighbour, &heard, what).await;
        let mut raw = Raw::join(server.address()).await;
        assert!(raw.write(&one.repeat(40)).await);
        raw.send(&["42[\"n\"]"]).await;
        until("as many as are allowed do no harm", || !heard.0.lock().unwrap().is_empty()).await;
        assert_eq!(heard.take(), ["event n"], "{what}");
        drop(raw);
        assert_eq!(heard.ended(what).await, Close::Peer, "{what}: it went by itself");
    }
}

#[tokio::test]
async fn h08_h09_frames_that_break_rfc_6455_end_their_connection_by_its_code() {
    let heard = Heard::default();
    let server = serve(&heard, Limits::default(), quiet()).await;
    let mut neighbour = Raw::join(server.address()).await;
    let bad_close = |code: u16| masked_frame(0x88, &code.to_be_bytes());
    let cases: &[(&str, Vec<u8>, Option<u16>)] = &[
        ("unmasked", vec![0x81, 0x01, b'3'], Some(1002)),
        ("the first reserved bit", masked_frame(0xc1, b"3"), Some(1002)),
        ("the second reserved bit", masked_frame(0xa1, b"3"), Some(1002)),
        ("the third reserved bit", masked_frame(0x91, b"3"), Some(1002)),
        ("a length in two bytes for one", [&[0x81, 0xfe, 0, 1, 0, 0, 0, 0][..], b"3"].concat(), Some(1002)),
        (
            "a length in eight bytes for one",
            [&[0x81, 0xff][..], &[0; 7], &[1, 0, 0, 0, 0], b"3"].concat(),
            Some(1002),
        ),
        ("an unknown opcode", masked_frame(0x83, b"3"), Some(1002)),
        ("an unknown control", masked_frame(0x8b, b""), Some(1002)),
        ("a long ping", masked_frame(0x89, &[0; 126]), Some(1002)),
        ("a fragmented ping", masked_frame(0x09, b""), Some(1002)),
        ("a continuation of nothing", masked_frame(0x80, b"3"), Some(1002)),
        (
            "a text within a message",
            [masked_frame(0x01, b"3"), masked_frame(0x81, b"3")].concat(),
            Some(1002),
        ),
        ("bytes within a message", [masked_frame(0x02, b"3"), masked_frame(0x82, b"3")].concat(), Some(1002)),
        ("a close of one byte", masked_frame(0x88, b"x"), Some(1002)),
        ("a close with code 0", bad_close(0), Some(1002)),
        ("a close with code 999", bad_close(999), Some(1002)),
        ("a close with code 1005", bad_close(1005), Some(1002)),
        ("a close with code 1006", bad_close(1006), Some(1002)),
        ("a close with code 1015", bad_close(1015), Some(1002)),
        ("a close with code 2999", bad_close(2999), Some(1002)),
        ("a close with code 5000", bad_close(5000), Some(1002)),
        ("a close with words that are not UTF-8", masked_frame(0x88, &[0x03, 0xe8, 0xff]), Some(1007)),
        // The library alone looks at texts, and what it closes with has no code.
        ("no UTF-8", masked_frame(0x81, &[b'4', b'2', 0xff]), None),
        ("no UTF-8 in two frames", [masked_frame(0x01, b"42"), masked_frame(0x80, &[0xff])].concat(), None),
    ];
    for (name, bytes, code) in cases {
        let mut raw = Raw::join(server.address()).await;
        assert!(raw.write(bytes).await, "{name}");
        assert_eq!(raw.close_code().await, *code, "{name}");
        let end = heard.ended(name).await;
        assert!(matches!(end, Close::Protocol(_)), "{name}: {end:?}");
        goes_on(&mut neighbour, &heard, name).await;
    }
    // An end in order is none of it, with a code or without, nor is a stream that breaks off.
    for (name, bytes) in [
        ("a close", masked_frame(0x88, b"")),
        ("a close with code 1000", bad_close(1000)),
        ("a close with a code of its own and words", masked_frame(0x88, b"\x0f\xa0bye \xc3\xa4")),
        ("half a message", masked_frame(0x01, b"42")),
        ("half a close", bad_close(1000)[..7].to_vec()),
    ] {
        let mut raw = Raw::join(server.address()).await;
        assert!(raw.write(&bytes).await, "{name}");
        drop(raw);
        assert_eq!(heard.ended(name).await, Close::Peer, "{name}");
        goes_on(&mut neighbour, &heard, name).await;
    }
}

/// A text in a frame of its own; its mask is zero.
fn text_frame(payload: &str) -> Vec<u8> {
    [&[0x81, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0], payload.as_bytes()].concat()
}

/// What comes together with the request for the WebSocket, or before its answer, is held to the same rules as what comes later.
#[tokio::test]
async fn h08_h10_frames_sent_along_with_the_upgrade_are_guarded_as_all_others() {
    let heard = Heard::default();
    // Nothing else ends a session that joins nothing for as long as is waited here.
    let login_timeout = Duration::from_secs(60);
    let limits =
        Limits { max_control_per_second: 50, max_frame_bytes: 1_024, login_timeout, ..Limits::default() };
    let server = serve(&heard, limits, quiet()).await;
    let mut neighbour = Raw::join(server.address()).await;
    let large = [0x81, 0x80 | 126, 0x04, 0x01, 0, 0, 0, 0, b'4', b'2'].to_vec();
    for (what, bytes) in [
        ("pings", [0x89, 0x80, 0, 0, 0, 0].repeat(1_000)),
        ("pongs", text_frame("3").repeat(1_000)),
        ("fragments", [vec![0x01, 0x80, 0, 0, 0, 0], FRAGMENT.repeat(1_100)].concat()),
        ("a message above the limit", large),
    ] {
        let mut raw = Raw::dial(server.address()).await;
        let head = raw.upgrade_along_with(&bytes).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{what}: {head}");
        // The library may end a session that has hardly begun without a word.
        assert_eq!(tokio::time::timeout(LIMIT, raw.end()).await, Ok(()), "{what}");
        goes_on(&mut neighbour, &heard, what).await;
    }
    // What is in order is served, even an opening in one go.
    let opening = [text_frame("0"), text_frame("40"), text_frame("42[\"early\"]")].concat();
    let mut raw = Raw::dial(server.address()).await;
    let head = raw.upgrade_along_with(&opening).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    until("it is heard", || !heard.0.lock().unwrap().is_empty()).await;
    assert_eq!(heard.take(), ["event early"]);
    goes_on(&mut neighbour, &heard, "an opening in one go").await;
}

/// All that is answered to these requests, sent by so many bytes at a time; the last of them ends the stream.
async fn answers(requests: &str, size: usize) -> String {
    let (_server, mount) = mount(quiet(), Endpoint::new("socketio", Heard::default())).unwrap();
    let (near, far) = tokio::io::duplex(size);
    let (stream, door) = mount.guard(far, None).unwrap();
    let http = http1::Builder::new().serve_connection(TokioIo::new(stream), door);
    let (mut read, mut write) = tokio::io::split(near);
    let mut all = String::new();
    let client = async {
        // Nobody takes the rest where the stream ends early.
        let sent = async { _ = write.write_all(requests.as_bytes()).await };
        let (_, got) = tokio::join!(sent, read.read_to_string(&mut all));
        got
    };
    let both = async { tokio::join!(http.with_upgrades(), client) };
    tokio::time::timeout(LIMIT, both).await.expect("an end in time").1.unwrap();
    all
}

#[tokio::test]
async fn what_stands_behind_a_request_for_a_websocket_that_is_refused_is_the_next_request() {
    let request = |method, transport, last, body: &str| {
        format!(
            "{method} /socket.io/?EIO=4&transport={transport}&sid=nobody HTTP/1.1\r\nHost: localhost\r\n\
             Connection: {last}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let (goes_on, ends) =
        (request("GET", "websocket", "keep-alive", ""), request("GET", "websocket", "close", ""));
    let post = |body| request("POST", "polling", "keep-alive", body);
    // HTTP waits for no body that nobody reads: where it has not come with its head, the stream ends behind the answer.
    for (body, size, answered) in [("40", 4 << 10, 3), ("", 4 << 10, 3), ("", 1, 3), ("40", 1, 2)] {
        let all = answers(&[&*goes_on, &post(body), &ends].concat(), size).await;
        let what = format!("a body {body:?}, {size} bytes at a time: {all}");
        assert_eq!(all.matches("HTTP/1.1 ").count(), answered, "{what}");
        assert_eq!(all.matches("HTTP/1.1 400 ").count(), answered, "{what}");
        assert_eq!(all.matches("Session ID unknown").count(), answered, "{what}");
    }
}

#[tokio::test]
async fn a_client_that_closes_in_order_breaks_nothing_even_while_it_probes() {
    let heard = Heard::default();
    let server = serve(&heard, Limits::default(), quiet()).await;
    let mut raw = Raw::dial(server.address()).await;
    let sid = format!("&sid={}", raw.session().await);
    join_by_requests(&mut raw, &sid).await;
    let mut probe = Raw::dial(server.address()).await;
    assert!(probe.upgrade_of(&sid, "").await.starts_with("HTTP/1.1 101"));
    probe.send(&["2probe"]).await;
    assert_eq!(probe.text().await, "3probe");
    assert!(probe.write(&masked_frame(0x88, &1_000_u16.to_be_bytes())).await);
    assert_eq!(heard.ended("a probe that was given up").await, Close::Peer);
}

#[tokio::test]
async fn a_stream_that_this_side_ends_within_a_frame_is_no_breach_of_the_other_namespaces() {
    let heard = Heard::default();
    let server = serve(
        &heard,
        Limits::default(),
        ServerConfig { namespaces: vec!["/".into(), "/custom".into()], ..quiet() },
    )
    .await;
    let mut raw = Raw::join(server.address()).await;
    raw.send(&["40/custom,"]).await;
    until("both have joined", || server.peers().len() == 2).await;
    let bad = text_frame("42/custom,[\"connect\"]");
    let begun = text_frame("42[\"n\"]");
    assert!(raw.write(&[&bad, &begun[..begun.len() - 2]].concat()).await);
    until("both are told", || heard.1.lock().unwrap().len() == 2).await;
    let mut ends = heard.1.lock().unwrap().clone();
    ends.sort_by_key(|end| *end == Close::Peer);
    assert!(matches!(&ends[..], [Close::Protocol(_), Close::Peer]), "{ends:?}");
}

/// The head of a request, without its end.
const HEAD: &str = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\n";

#[tokio::test]
async fn h01_a_head_that_is_too_large_or_never_ends_is_refused() {
    let heard = Heard::default();
    let limits = Limits { login_timeout: Duration::from_millis(500), ..Limits::default() };
    let server = serve(&heard, limits, quiet()).await;
    let large = format!("{HEAD}X: {}", "y".repeat(1 << 20));
    let many = format!("{HEAD}{}\r\n", "X: y\r\n".repeat(10_000));
    let more_than_hundred = format!("{HEAD}{}\r\n", "X: y\r\n".repeat(101));
    for (what, head) in
        [("10 MB", large.repeat(10)), ("10 000 headers", many), ("103 headers", more_than_hundred)]
    {
        let mut raw = Raw::dial(server.address()).await;
        // It may be reset before all of it was taken.
        let whole = raw.write(head.as_bytes()).await;
        let answer = raw.rest().await;
        assert!(answer.starts_with("HTTP/1.1 431 ") || !whole && answer.is_empty(), "{what}: {answer:?}");
    }
    let sixteen = format!("{HEAD}X: {}\r\n", "y".repeat(16 << 10));
    let mut raw = Raw::dial(server.address()).await;
    assert!(raw.write(sixteen.as_bytes()).await);
    let answer = raw.rest().await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "a head of little more than 16 KiB: {answer:?}");
    let fits = format!("{HEAD}X: {}\r\n\r\n", "y".repeat(15 << 10));
    let mut raw = Raw::dial(server.address()).await;
    assert!(raw.write(fits.as_bytes()).await);
    assert_eq!(raw.answer().await.0, 200);
    // One byte now and then does not help: the time for the head is one for all of it.
    let began = tokio::time::Instant::now();
    let mut raw = Raw::dial(server.address()).await;
    assert!(raw.write(format!("{HEAD}X: ").as_bytes()).await);
    let mut now_and_then = tokio::time::interval(Duration::from_millis(50));
    let (mut sent, mut came) = (0, Vec::new());
    loop {
        tokio::select! {
            biased;
            goes_on = raw.more(&mut came) => if !goes_on { break },
            _ = now_and_then.tick() => {}
        }
        assert!(began.elapsed() < Duration::from_secs(5), "it goes on after {sent} bytes");
        if !raw.write(b"y").await {
            break;
        }
        sent += 1;
    }
    let took = began.elapsed();
    // It may be reset while a byte is written.
    came.extend(raw.rest().await.into_bytes());
    assert_eq!(String::from_utf8_lossy(&came), "", "no end of headers");
    assert!(
        sent > 0 && (Duration::from_millis(500)..Duration::from_secs(5)).contains(&took),
        "{sent} in {took:?}"
    );
}
