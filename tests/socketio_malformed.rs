//! Our Socket.IO server against what is no HTTP head, no frame and no packet: each case ends its own connection, or is served as the
//! table says, and a neighbour goes on.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "support/socketio_raw.rs"]
mod raw;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use polywire_core::{
    Body, Close, Count, Endpoint, Handler, HandlerFuture, Incoming, Kind, Limits, Observe, Peer, Response,
    Server,
};
use polywire_socketio::{ServerConfig, listen, mount};
use raw::{Raw, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What the handler heard, `event a [..]` or `request a [..]`, and why connections ended.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>, Arc<Mutex<Vec<Close>>>);

impl Heard {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Why the one connection ended that did.
    async fn ended(&self, what: &str) -> Close {
        until(&format!("{what}: told"), || !self.1.lock().unwrap().is_empty()).await;
        let mut ends = std::mem::take(&mut *self.1.lock().unwrap());
        assert_eq!(ends.len(), 1, "{what}: {ends:?}");
        ends.remove(0)
    }
}

impl Observe for Heard {
    fn connected(&self, _: &Peer) {}

    fn disconnected(&self, _: &Peer, reason: &Close) {
        self.1.lock().unwrap().push(reason.clone());
    }
}

impl Handler for Heard {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let kind = if incoming.kind == Kind::Request { "request" } else { "event" };
        let body = match &incoming.body {
            Body::Json(text) => text.as_str().to_owned(),
            Body::Binary(binary) => format!("{:?}", binary.bytes),
            Body::Empty => String::new(),
        };
        self.0.lock().unwrap().push(format!("{kind} {} {body}", incoming.route.as_str()).trim().to_owned());
        Box::pin(std::future::ready(Ok(Response::default())))
    }
}

/// How long anything may take that a test waits for.
const LIMIT: Duration = Duration::from_secs(30);

async fn serve(heard: &Heard, limits: Limits, config: ServerConfig) -> Server {
    let endpoint = Endpoint {
        limits: Arc::new(limits),
        observer: Some(Arc::new(heard.clone())),
        ..Endpoint::new("socketio", heard.clone())
    };
    listen("127.0.0.1:0", config, endpoint).await.unwrap()
}

/// A server whose pings do not come in between.
fn quiet() -> ServerConfig {
    let long = Duration::from_secs(300);
    ServerConfig { ping_interval: long, ping_timeout: long, ..ServerConfig::default() }
}

/// Still served after all that, and nothing of it was heard.
async fn goes_on(neighbour: &mut Raw, heard: &Heard, what: &str) {
    neighbour.send(&["421[\"n\",7]"]).await;
    assert!(neighbour.event().await.starts_with("431["), "{what}");
    assert_eq!(heard.take(), ["request n 7"], "{what}");
}

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

/// A frame with this first byte; its mask is zero.
fn masked_frame(first: u8, content: &[u8]) -> Vec<u8> {
    let head = match u8::try_from(content.len()) {
        Ok(short @ 0..126) => vec![first, 0x80 | short, 0, 0, 0, 0],
        _ => {
            let length = u16::try_from(content.len()).unwrap().to_be_bytes();
            [&[first, 0x80 | 126][..], &length, &[0; 4]].concat()
        }
    };
    [&head[..], content].concat()
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

/// Asks until there is nothing left to be taken: the next poll waits.
async fn join_by_requests(raw: &mut Raw, sid: &str) {
    assert_eq!(raw.ask(sid, Some("40")).await.0, 200);
    let (mut pinged, mut joined) = (false, false);
    while !pinged || !joined {
        let came = raw.ask(sid, None).await.1;
        pinged |= came.split('\u{1e}').any(|packet| packet == "2");
        joined |= came.contains("40{");
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
