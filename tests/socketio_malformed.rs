//! Our Socket.IO server against what is no packet: each case ends its own session, or is served as the table says, and a neighbour
//! goes on.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "support/socketio_heard.rs"]
mod heard;
#[path = "support/socketio_raw.rs"]
mod raw;

use std::time::Duration;

use heard::{Heard, LIMIT, goes_on, join_by_requests, quiet, serve};
use polywire_core::{Close, Count, Limits};
use polywire_socketio::ServerConfig;
use raw::{Raw, masked_frame, until};

/// The library's first ping, which the original sends after one interval; clients that count on silence before it hear one early.
#[tokio::test]
async fn the_first_ping_comes_with_the_session_and_not_after_an_interval() {
    let heard = Heard::default();
    let server = serve(&heard, Limits::default(), quiet()).await;
    let mut raw = Raw::open(server.address()).await;
    assert_eq!(tokio::time::timeout(LIMIT, raw.text()).await.as_deref(), Ok("2"));
    raw.send(&["3", "40"]).await;
    assert!(raw.text().await.starts_with("40{"));
}

/// What the original refuses ends the connection; nothing of it reaches a handler.
#[tokio::test]
async fn h05_h06_packets_that_are_none_end_their_own_connection() {
    let heard = Heard::default();
    let server = serve(&heard, Limits::default(), quiet()).await;
    let mut neighbour = Raw::join(server.address()).await;
    let placeholder = |number: &str| format!("451-[\"a\",{{\"_placeholder\":true,\"num\":{number}}}]");
    let [beyond, fraction, negative] = ["1", "0.5", "-1"].map(placeholder);
    let cases: &[(&[&str], &[&[u8]])] = &[
        // Types, payloads, names, ids.
        (&["49"], &[]),
        (&["4x"], &[]),
        (&["42{}"], &[]),
        (&["42[]"], &[]),
        (&["42"], &[]),
        (&["42[\"a\""], &[]),
        (&["42[\"a\",}"], &[]),
        (&["42[null]"], &[]),
        (&["42[7,1]"], &[]),
        (&["42[\"connect\",1]"], &[]),
        (&["42[\"disconnect\"]"], &[]),
        (&["42-1[\"a\"]"], &[]),
        (&["421.5[\"a\"]"], &[]),
        (&["42abc[\"a\"]"], &[]),
        (&["429007199254740992[\"a\"]"], &[]),
        (&["429223372036854775807[\"a\"]"], &[]),
        (&["43[]"], &[]),
        (&["x"], &[]),
        (&[""], &[]),
        // Attachments: how many, when, and what stands for them.
        (&["4511-[\"a\"]"], &[]),
        (&["4599-[\"a\"]"], &[]),
        (&["451000000000-[\"a\"]"], &[]),
        (&["45-1-[\"a\"]"], &[]),
        (&["451e3-[\"a\"]"], &[]),
        (&["45[\"a\"]"], &[]),
        (&["452-[\"a\"]x", "42[\"a\"]"], &[]),
        (&[], &[b"nobody announced it"]),
        (&[&beyond], &[b"x"]),
        (&[&fraction], &[b"x"]),
        (&[&negative], &[b"x"]),
    ];
    for (texts, attachments) in cases {
        let what = format!("{texts:?} {attachments:?}");
        let mut raw = Raw::join(server.address()).await;
        raw.send(texts).await;
        raw.send_binary(attachments).await;
        assert_eq!(tokio::time::timeout(LIMIT, raw.end()).await, Ok(()), "{what}");
        let end = heard.ended(&what).await;
        assert!(matches!(end, Close::Protocol(_) | Close::Limit(_)), "{what}: {end:?}");
        goes_on(&mut neighbour, &heard, &what).await;
    }
}

#[tokio::test]
async fn h06_attachments_that_come_too_late_end_the_connection() {
    let heard = Heard::default();
    let config = ServerConfig { attachment_timeout: Duration::from_millis(200), ..quiet() };
    let server = serve(&heard, Limits::default(), config).await;
    let mut neighbour = Raw::join(server.address()).await;
    for came in [&[][..], &[&b"x"[..]]] {
        let mut raw = Raw::join(server.address()).await;
        raw.send(&["452-[\"a\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]"]).await;
        raw.send_binary(came).await;
        // The library looks at its own clock, and only when the next one comes.
        let sent = std::time::Instant::now();
        until("that is over", || sent.elapsed() > Duration::from_millis(400)).await;
        raw.send_binary(&[b"y"]).await;
        assert_eq!(tokio::time::timeout(LIMIT, raw.end()).await, Ok(()), "{} came", came.len());
        goes_on(&mut neighbour, &heard, "attachments that come too late").await;
    }
}

#[tokio::test]
async fn h06_attachments_that_never_come_end_the_connection() {
    let heard = Heard::default();
    // Long enough for what comes in time on a busy machine.
    let limit = Duration::from_secs(1);
    let server = serve(&heard, Limits { frame_timeout: limit, ..Limits::default() }, quiet()).await;
    let mut neighbour = Raw::join(server.address()).await;
    for came in [&[][..], &[&b"x"[..]]] {
        let mut raw = Raw::join(server.address()).await;
        raw.send(&["452-[\"a\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]"]).await;
        raw.send_binary(came).await;
        // It does all that a client in good health does.
        raw.send(&["3"]).await;
        assert_eq!(tokio::time::timeout(LIMIT, raw.end()).await, Ok(()), "{} came", came.len());
        goes_on(&mut neighbour, &heard, "attachments that never come").await;
    }
    // All of them in time cost nothing.
    neighbour.send(&["451-[\"a\",{\"_placeholder\":true,\"num\":0}]"]).await;
    neighbour.send_binary(&[b"x"]).await;
    // The time of somebody who begins later passes after theirs would have.
    let mut late = Raw::join(server.address()).await;
    late.send(&["451-[\"a\",{\"_placeholder\":true,\"num\":0}]"]).await;
    assert_eq!(tokio::time::timeout(LIMIT, late.end()).await, Ok(()));
    assert_eq!(heard.take(), ["event a b\"x\""]);
    goes_on(&mut neighbour, &heard, "attachments that came").await;
}

/// The frames of a text in these parts.
fn in_frames(parts: &[&str]) -> Vec<u8> {
    let mut all = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let opcode = u8::from(at == 0);
        let last = if at + 1 == parts.len() { 0x80 } else { 0 };
        all.extend(masked_frame(last | opcode, part.as_bytes()));
    }
    all
}

#[tokio::test]
async fn h06_attachments_announced_in_fragments_that_never_come_end_the_connection() {
    let heard = Heard::default();
    // Long enough for what comes in time on a busy machine.
    let limit = Duration::from_secs(1);
    let server = serve(&heard, Limits { frame_timeout: limit, ..Limits::default() }, quiet()).await;
    let mut neighbour = Raw::join(server.address()).await;
    let rest = "-[\"a\",{\"_placeholder\":true,\"num\":0}]";
    for begin in [&["4", "51"][..], &["", "45", "1"], &["451"], &["4", "", "5", "", "1"]] {
        let frames = in_frames(&[begin, &[rest]].concat());
        let mut raw = Raw::join(server.address()).await;
        assert!(raw.write(&frames).await);
        assert_eq!(tokio::time::timeout(LIMIT, raw.end()).await, Ok(()), "{begin:?}");
        let end = heard.ended("an attachment that never comes").await;
        assert_eq!(end, Close::SlowFrame(limit), "{begin:?}");
        // One that comes costs nothing.
        assert!(neighbour.write(&frames).await);
        neighbour.send_binary(&[b"x"]).await;
        until("it is heard", || !heard.0.lock().unwrap().is_empty()).await;
        assert_eq!(heard.take(), ["event a b\"x\""], "{begin:?}");
        goes_on(&mut neighbour, &heard, "attachments that never come").await;
    }
}

/// A session of requests that has joined the main namespace: what it asks on, and how it is named.
async fn joined_by_requests(address: &str) -> (Raw, String) {
    let mut raw = Raw::dial(address).await;
    let sid = format!("&sid={}", raw.session().await);
    join_by_requests(&mut raw, &sid).await;
    (raw, sid)
}

#[tokio::test]
async fn h06_attachments_that_never_come_end_a_session_of_requests() {
    let heard = Heard::default();
    // Long enough for what comes in time on a busy machine, and for a request behind another.
    let limit = Duration::from_secs(2);
    let server = serve(&heard, Limits { frame_timeout: limit, ..Limits::default() }, quiet()).await;
    let mut neighbour = Raw::join(server.address()).await;
    let announced = "452-[\"a\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]";
    let (mut healthy, name) = joined_by_requests(server.address()).await;
    for came in ["", "\u{1e}beA==", "\u{1e}beA==\u{1e}3"] {
        let (mut raw, sid) = joined_by_requests(server.address()).await;
        assert_eq!(raw.ask(&sid, Some(&format!("{announced}{came}"))).await.0, 200);
        // A request that waits is answered with the end of the session.
        assert_eq!(raw.ask(&sid, None).await, (200, "1".to_owned()), "{came:?}");
        assert_eq!(heard.ended(came).await, Close::SlowFrame(limit), "{came:?}");
        assert_eq!(raw.ask(&sid, Some("beQ==")).await.0, 400, "{came:?}");
        // All of them in time cost nothing, in one request and in several.
        assert_eq!(healthy.ask(&name, Some(&format!("{announced}{came}"))).await.0, 200);
        let rest = if came.is_empty() { "beA==\u{1e}beQ==" } else { "beQ==" };
        assert_eq!(healthy.ask(&name, Some(rest)).await.0, 200);
        until("it is heard", || !heard.0.lock().unwrap().is_empty()).await;
        assert_eq!(heard.take().len(), 1);
        goes_on(&mut neighbour, &heard, "attachments that never come").await;
    }
    // Half a request is a message that was begun, too.
    let (mut raw, sid) = joined_by_requests(server.address()).await;
    let head = format!(
        "POST /socket.io/?EIO=4&transport=polling{sid} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n42[\"n"
    );
    assert!(raw.write(head.as_bytes()).await);
    assert_eq!(heard.ended("half a request").await, Close::SlowFrame(limit));
    assert_eq!(raw.answer().await.0, 400);
    assert_eq!(healthy.ask(&name, Some("42[\"n\"]")).await.0, 200, "it has outlived all of them");
    until("it is heard", || !heard.0.lock().unwrap().is_empty()).await;
    assert_eq!(heard.take(), ["event n"]);
}

#[tokio::test]
async fn h06_an_attachment_announced_before_an_upgrade_comes_after_it_or_ends_the_connection() {
    let heard = Heard::default();
    let limit = Duration::from_secs(2);
    let server = serve(&heard, Limits { frame_timeout: limit, ..Limits::default() }, quiet()).await;
    let mut neighbour = Raw::join(server.address()).await;
    for comes in [true, false] {
        let (mut raw, sid) = joined_by_requests(server.address()).await;
        let mut stream = Raw::dial(server.address()).await;
        assert!(stream.upgrade_of(&sid, "").await.starts_with("HTTP/1.1 101"));
        stream.send(&["2probe"]).await;
        assert_eq!(stream.text().await, "3probe");
        let announced = "451-[\"a\",{\"_placeholder\":true,\"num\":0}]";
        assert_eq!(raw.ask(&sid, Some(announced)).await.0, 200);
        stream.send(&["5"]).await;
        if comes {
            stream.send_binary(&[b"x"]).await;
            until("it is heard", || !heard.0.lock().unwrap().is_empty()).await;
            assert_eq!(heard.take(), ["event a b\"x\""]);
            stream.send(&["421[\"n\"]"]).await;
            assert!(stream.event().await.starts_with("431["));
            assert_eq!(heard.take(), ["request n"]);
            drop(stream);
            assert_eq!(heard.ended("it went by itself").await, Close::Peer);
        } else {
            assert_eq!(tokio::time::timeout(LIMIT, stream.end()).await, Ok(()));
            assert_eq!(heard.ended("an attachment that never comes").await, Close::SlowFrame(limit));
        }
        goes_on(&mut neighbour, &heard, "an attachment around an upgrade").await;
    }
}

/// What the library takes for something it is not, over all that may carry it.
#[tokio::test]
async fn h05_ids_that_nobody_answers_and_a_disconnect_with_more_end_the_session_by_their_name() {
    let heard = Heard::default();
    let server = serve(&heard, Limits::default(), quiet()).await;
    let mut neighbour = Raw::join(server.address()).await;
    let huge = format!("421{}[\"a\",1]", "0".repeat(30));
    let binary = format!("451-1{}[\"a\",1]", "0".repeat(30));
    for (text, name) in [
        (&*huge, "a number of more than 16 digits"),
        (&*binary, "a number of more than 16 digits"),
        ("429007199254740992[\"a\"]", "an id above 2^53 - 1"),
        ("41{}", "a DISCONNECT with a payload"),
        ("411", "a DISCONNECT with a payload"),
        ("41/,{}", "a DISCONNECT with a payload"),
    ] {
        let (begin, rest) = text.split_at(2);
        for frames in [in_frames(&[text]), in_frames(&[begin, rest])] {
            let mut raw = Raw::join(server.address()).await;
            assert!(raw.write(&frames).await, "{text}");
            assert_eq!(raw.close_code().await, Some(1002), "{text}");
            let end = heard.ended(text).await;
            assert!(matches!(&end, Close::Protocol(_)) && end.to_string().ends_with(name), "{text}: {end:?}");
        }
        let (mut raw, sid) = joined_by_requests(server.address()).await;
        assert_eq!(raw.ask(&sid, Some(&format!("3\u{1e}{text}"))).await.0, 400, "{text}");
        let end = heard.ended(text).await;
        assert!(matches!(&end, Close::Protocol(_)) && end.to_string().ends_with(name), "{text}: {end:?}");
        goes_on(&mut neighbour, &heard, text).await;
    }
    // What any client may say.
    let (mut raw, sid) = joined_by_requests(server.address()).await;
    assert_eq!(raw.ask(&sid, Some("429007199254740991[\"a\"]\u{1e}41")).await.0, 200);
    until("it has left", || !heard.1.lock().unwrap().is_empty()).await;
    assert_eq!(heard.take(), ["request a"]);
    assert_eq!(heard.ended("a DISCONNECT").await, Close::Peer);
}

/// What is odd and served: as the original does it, or because the library below does.
#[tokio::test]
async fn h05_h06_h07_what_is_odd_and_served_and_what_becomes_of_it() {
    let heard = Heard::default();
    let server = serve(&heard, Limits::default(), quiet()).await;
    let mut neighbour = Raw::join(server.address()).await;
    let swapped = "452-[\"a\",[{\"_placeholder\":true,\"num\":1},{\"_placeholder\":true,\"num\":0}]]";
    let repeated = "451-[\"a\",[{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":0}]]";
    let cases: &[(&str, &[&[u8]], &str)] = &[
        // A binary packet without attachments is a plain one, as the row says; the original refuses it.
        ("450-[\"a\",1]", &[], "event a 1"),
        // By their numbers, whatever their order; one may stand for several, and one for none, as in the original.
        (
            swapped,
            &[b"x", b"y"],
            "event a [{\"_placeholder\":true,\"num\":1},{\"_placeholder\":true,\"num\":0}]",
        ),
        (repeated, &[b"x"], "event a [{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":0}]"),
        ("451-[\"a\",1]", &[b"x"], "event a 1"),
        // Half a pair is text that some wires cannot hold, and is carried as it is spelled.
        (r#"42["a","\ud800"]"#, &[], r#"event a "\ud800""#),
    ];
    for (text, attachments, wanted) in cases {
        let mut raw = Raw::join(server.address()).await;
        raw.send(&[text]).await;
        raw.send_binary(attachments).await;
        raw.send(&["42[\"n\"]"]).await;
        until(&format!("{text} and another"), || heard.0.lock().unwrap().len() >= 2).await;
        assert_eq!(heard.take(), [*wanted, "event n"], "{text}");
    }
    // What is deeper than any body may be is dropped and counted, alone and around an attachment.
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    let deep = format!("42[\"a\",{open}{close}]");
    let around = format!("451-[\"a\",{open}{{\"_placeholder\":true,\"num\":0}}{close}]");
    let mut raw = Raw::join(server.address()).await;
    raw.send(&[&deep, &around]).await;
    raw.send_binary(&[b"x"]).await;
    raw.send(&["42[\"n\"]"]).await;
    until("it is served", || !heard.0.lock().unwrap().is_empty()).await;
    assert_eq!(heard.take(), ["event n"]);
    until("both are counted", || server.ledger().get(Count::BadBody) == 2).await;
    // A ping of a client, which the original refuses too, counts as its pong in the library.
    let mut raw = Raw::join(server.address()).await;
    raw.send(&["2", "2\u{1}x4", "42[\"n\"]"]).await;
    until("it is served", || !heard.0.lock().unwrap().is_empty()).await;
    assert_eq!(heard.take(), ["event n"]);
    goes_on(&mut neighbour, &heard, "all of that").await;
}

/// Over requests, too: what one body holds is no more than may come in a second.
#[tokio::test]
async fn h10_a_flood_of_pings_or_pongs_in_requests_ends_their_session() {
    let heard = Heard::default();
    let limits = Limits { max_control_per_second: 50, ..Limits::default() };
    let server = serve(&heard, limits, quiet()).await;
    let mut neighbour = Raw::join(server.address()).await;
    let (mut healthy, name) = joined_by_requests(server.address()).await;
    for one in ["2\u{1e}", "3\u{1e}", "2x\u{1e}"] {
        let (mut raw, sid) = joined_by_requests(server.address()).await;
        let flood = format!("{}42[\"n\"]", one.repeat(10_000));
        assert_eq!(raw.ask(&sid, Some(&flood)).await.0, 400, "{one:?}");
        let end = heard.ended(one).await.to_string();
        assert!(
            end.ends_with("more than max_control_per_second = 50 pings and pongs in a second"),
            "{one:?}: {end}"
        );
        goes_on(&mut neighbour, &heard, one).await;
        // The count is one for all requests of a session: sooner or later so many come within a second.
        let (mut raw, sid) = joined_by_requests(server.address()).await;
        let few = format!("{}42[\"n\"]", one.repeat(40));
        let refused = async { while raw.ask(&sid, Some(&few)).await.0 == 200 {} };
        assert_eq!(tokio::time::timeout(LIMIT, refused).await, Ok(()), "{one:?}");
        let end = heard.ended(one).await.to_string();
        assert!(end.contains("max_control_per_second"), "{one:?}: {end}");
        assert!(heard.take().iter().all(|event| event == "event n"));
    }
    assert_eq!(healthy.ask(&name, Some(&format!("{}42[\"n\"]", "3\u{1e}".repeat(40)))).await.0, 200);
    until("as many as are allowed do no harm", || !heard.0.lock().unwrap().is_empty()).await;
    assert_eq!(heard.take(), ["event n"]);
}

/// A packet that only an upgrade has: the library refuses the request alone, and reads nothing of it behind that. A form (JSONP) it
/// takes for no packet.
#[tokio::test]
async fn h04_h12_what_no_request_may_bring_ends_its_session() {
    let heard = Heard::default();
    let server = serve(&heard, Limits::default(), quiet()).await;
    let mut neighbour = Raw::join(server.address()).await;
    let upgrade = "a packet of an upgrade in a request";
    for (packet, name) in [
        ("5", upgrade),
        ("6", upgrade),
        ("2probe", upgrade),
        ("3probe", upgrade),
        ("d=3", "what came is no packet"),
    ] {
        let (mut raw, sid) = joined_by_requests(server.address()).await;
        assert_eq!(raw.ask(&sid, Some(packet)).await.0, 400, "{packet}");
        let end = heard.ended(packet).await.to_string();
        assert!(end.contains(name), "{packet}: {end}");
        assert_eq!(raw.ask(&sid, Some("3")).await.0, 400, "{packet}");
        goes_on(&mut neighbour, &heard, packet).await;
    }
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_told_as_what_it_is() {
    let heard = Heard::default();
    let beat = Duration::from_millis(500);
    let config = ServerConfig { ping_interval: beat, ping_timeout: beat, ..ServerConfig::default() };
    let server = serve(&heard, Limits::default(), config).await;
    let _raw = Raw::join(server.address()).await;
    let end = heard.ended("no pong").await;
    assert_eq!(end, Close::Dead("ping_timeout = 500ms".into()));
    assert_eq!(end.to_string(), "no answer to heartbeats: ping_timeout = 500ms");
}

#[tokio::test]
async fn h12_a_client_that_polls_twice_at_a_time_is_told_as_what_it_is() {
    let heard = Heard::default();
    let server = serve(&heard, Limits::default(), quiet()).await;
    let mut raw = Raw::dial(server.address()).await;
    let sid = format!("&sid={}", raw.session().await);
    join_by_requests(&mut raw, &sid).await;
    let query = format!("EIO=4&transport=polling{sid}");
    let mut other = Raw::dial(server.address()).await;
    raw.begin("GET", &query, "").await;
    other.begin("GET", &query, "").await;
    let end = heard.ended("two polls").await;
    assert!(matches!(end, Close::Protocol(_)), "{end:?}");
    assert!(end.to_string().ends_with("the client polls twice at a time"), "{end}");
}
