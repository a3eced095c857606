//! WebSocket over an in-memory stream, against raw bytes and against itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/plain.rs"]
mod plain;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use plain::Plain;
use polywire_core::{
    Alarm, Clock, Flush, Message, Moment, Random, SeededRandom, TokioClock, Transport, TransportError,
};
use polywire_net::websocket::{Denial, Opening, Settings, WebSocket, WebSocketError, accept, connect};
use polywire_size::{Progress, size};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

type Socket = WebSocket<DuplexStream>;

async fn receive(socket: &mut Socket) -> Result<Option<Message>, TransportError> {
    poll_fn(|cx| socket.poll_receive(cx, &mut Plain)).await
}

async fn flush(socket: &mut Socket) {
    poll_fn(|cx| Transport::<Plain>::poll_flush(socket, cx)).await.unwrap();
}

async fn close(socket: &mut Socket) {
    poll_fn(|cx| Transport::<Plain>::poll_close(socket, cx)).await.unwrap();
}

fn send(socket: &mut Socket, message: Message) {
    socket.send(message, Flush::Coalesce, &mut Plain).unwrap();
}

const UPGRADE: &[u8] = b"GET /any HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

/// A server of ours, and the raw far end after the handshake.
async fn server(settings: Settings) -> (Socket, DuplexStream) {
    let (near, mut far) = duplex(1 << 20);
    far.write_all(UPGRADE).await.unwrap();
    let socket = accept(near, settings, |_| Ok(())).await.unwrap();
    let answer = head(&mut far).await;
    assert!(answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
    assert!(!answer.to_lowercase().contains("extensions"), "deflate is not accepted: {answer}");
    (socket, far)
}

async fn head(far: &mut DuplexStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(far.read_u8().await.unwrap());
    }
    String::from_utf8(text).unwrap()
}

/// A frame of a client, masked with zeros so that its payload can be read here.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | u8::try_from(short).unwrap()),
        long => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(long).unwrap().to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

#[tokio::test]
async fn both_ends_carry_every_size_both_ways_and_rest_in_between() {
    let (near, far) = duplex(1 << 16);
    let opening = Opening { host: "h", path: "/x?y=1", headers: &[("X-A".into(), "b".into())] };
    let server = accept(near, Settings::default(), |head| {
        assert_eq!((head.path.as_str(), head.header("x-a")), ("/x?y=1", Some("b")));
        Ok(())
    });
    let (client, server) = tokio::join!(connect(far, opening, Settings::default()), server);
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    for size in [0, 1, 125, 126, 4_096, 65_535, 65_536, 300_000] {
        let text = Message::Text(Bytes::from("x".repeat(size)));
        let binary = Message::Binary(Bytes::from(vec![7; size]));
        send(&mut client, text.clone());
        send(&mut client, binary.clone());
        assert!(Transport::<Plain>::unsent(&client) > 2 * size);
        let (_, heard) = tokio::join!(flush(&mut client), async {
            (receive(&mut server).await.unwrap(), receive(&mut server).await.unwrap())
        });
        assert!(heard == (Some(text.clone()), Some(binary)), "{size} bytes");
        assert_eq!(Transport::<Plain>::unsent(&client), 0);
        send(&mut server, text.clone());
        let (_, heard) = tokio::join!(flush(&mut server), receive(&mut client));
        assert!(heard.unwrap() == Some(text), "{size} bytes back");
        Transport::<Plain>::rest(&mut client);
        Transport::<Plain>::rest(&mut server);
    }
    let (_, end) = tokio::join!(close(&mut client), async {
        let end = receive(&mut server).await.unwrap();
        close(&mut server).await;
        end
    });
    assert_eq!(end, Some(Message::Close(Some((1000, "".into())))), "a clean close");
}

#[tokio::test]
async fn a_pong_that_finds_no_room_is_known_as_unsent_and_leaves_later() {
    let (near, mut far) = duplex(1_024);
    far.write_all(UPGRADE).await.unwrap();
    let mut socket = accept(near, Settings::default(), |_| Ok(())).await.unwrap();
    head(&mut far).await;
    // The message fills all the room there is.
    send(&mut socket, Message::Binary(Bytes::from(vec![7; 1_024 - 4])));
    flush(&mut socket).await;
    far.write_all(&frame(0x89, b"!")).await.unwrap();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(socket.poll_receive(&mut cx, &mut Plain).is_pending());
    assert!(Transport::<Plain>::unsent(&socket) > 0, "the pong waits");
    assert!(Transport::<Plain>::poll_flush(&mut socket, &mut cx).is_pending());
    // A rest must not lose it.
    Transport::<Plain>::rest(&mut socket);
    let mut message = vec![0; 1_024];
    far.read_exact(&mut message).await.unwrap();
    flush(&mut socket).await;
    assert_eq!(Transport::<Plain>::unsent(&socket), 0);
    let mut pong = [0; 3];
    far.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"\x8a\x01!");
}

#[tokio::test]
async fn every_cut_of_a_stream_gives_the_same_messages_and_shows_what_is_begun() {
    let mut stream = frame(0x01, b"he");
    stream.extend(frame(0x89, b"!"));
    stream.extend(frame(0x80, b"llo"));
    stream.extend(frame(0x82, &[9; 200]));
    let hello = Message::Text(Bytes::from_static(b"hello"));
    for cut in 1..stream.len() {
        let (mut socket, mut far) = server(Settings::default()).await;
        far.write_all(&stream[..cut]).await.unwrap();
        let mut heard = Vec::new();
        let mut receiving = Box::pin(receive(&mut socket));
        loop {
            tokio::select! {
                biased;
                message = &mut receiving => heard.push(message.unwrap().unwrap()),
                () = tokio::task::yield_now() => break,
            }
            drop(receiving);
            receiving = Box::pin(receive(&mut socket));
        }
        drop(receiving);
        let between = [frame(0x01, b"he").len() + frame(0x89, b"!").len() + frame(0x80, b"llo").len()];
        assert_eq!(Transport::<Plain>::has_partial(&socket), !between.contains(&cut), "{cut}");
        Transport::<Plain>::rest(&mut socket);
        far.write_all(&stream[cut..]).await.unwrap();
        while heard.len() < 2 {
            heard.push(receive(&mut socket).await.unwrap().unwrap());
        }
        assert!(heard == [hello.clone(), Message::Binary(Bytes::from(vec![9; 200]))], "{cut}");
        let mut pong = [0; 3];
        far.read_exact(&mut pong).await.unwrap();
        assert_eq!(&pong, b"\x8a\x01!", "the ping was answered");
    }
}

/// A message in one to four frames with a mask of its own, pings between them, and how it is heard.
fn fragmented(random: &SeededRandom, stream: &mut Vec<u8>) -> Message {
    let draw = |below: u8| {
        let mut byte = [0];
        random.fill(&mut byte);
        byte[0] % below
    };
    let mut payload = vec![b'x'; usize::from(draw(100)) * if draw(16) == 0 { 10 } else { 1 }];
    let text = draw(2) == 0;
    if !text {
        random.fill(&mut payload);
    }
    let parts = 1 + usize::from(draw(4));
    let mut rest = &payload[..];
    for part in 0..parts {
        let take = if part + 1 == parts { rest.len() } else { usize::from(draw(255)).min(rest.len()) };
        let last = if part + 1 == parts { 0x80 } else { 0 };
        let opcode = if part > 0 {
            0
        } else if text {
            1
        } else {
            2
        };
        let mut one = frame(last | opcode, &rest[..take]);
        rest = &rest[take..];
        let mut mask = [0; 4];
        random.fill(&mut mask);
        let head = one.len() - take;
        one[head - 4..head].copy_from_slice(&mask);
        one[head..].iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        stream.extend(one);
        if draw(4) == 0 {
            stream.extend(frame(if draw(2) == 0 { 0x89 } else { 0x8a }, b"beat"));
        }
    }
    if text { Message::Text(payload.into()) } else { Message::Binary(payload.into()) }
}

#[tokio::test]
async fn streams_cut_anywhere_hold_the_messages_that_were_sent() {
    let streams = size(10_000, 1_000_000);
    let mut progress = Progress::new("streams of a WebSocket", streams);
    let random = SeededRandom::new(404);
    let settings = Settings { max_control_per_second: u32::MAX, ..Settings::default() };
    let (mut socket, mut far) = server(settings).await;
    // Without the bound on what a task may do at a time, which would leave messages unread here.
    let run = async {
        for number in 0..streams {
            let mut stream = Vec::new();
            let mut drawn = [0];
            random.fill(&mut drawn);
            let sent: Vec<Message> =
                (0..1 + drawn[0] % 4).map(|_| fragmented(&random, &mut stream)).collect();
            // Byte by byte, and in pieces of any size.
            for bound in [1, 1 + usize::from(drawn[0])] {
                let mut heard = Vec::new();
                let mut rest = &stream[..];
                while !rest.is_empty() {
                    random.fill(&mut drawn);
                    let (piece, more) = rest.split_at((1 + usize::from(drawn[0]) % bound).min(rest.len()));
                    far.write_all(piece).await.unwrap();
                    rest = more;
                    let waker = std::task::Waker::noop();
                    while let Poll::Ready(message) =
                        socket.poll_receive(&mut Context::from_waker(waker), &mut Plain)
                    {
                        match message.unwrap().unwrap() {
                            Message::Ping(_) | Message::Pong(_) => {}
                            message => heard.push(message),
                        }
                    }
                }
                let what = format!("stream {number} in pieces of at most {bound}");
                assert!(heard == sent, "{what}: {} of {}", heard.len(), sent.len());
                assert!(!Transport::<Plain>::has_partial(&socket), "{what}");
            }
            progress.one_more();
        }
    };
    tokio::task::unconstrained(run).await;
}

/// A bare frame without a payload, not the last of its message.
const EMPTY_FRAGMENT: [u8; 6] = [0x00, 0x80, 0, 0, 0, 0];

#[tokio::test]
async fn h08_a_message_in_a_million_fragments_ends_the_connection_early() {
    for one in [&EMPTY_FRAGMENT[..], &[0x00, 0x81, 0, 0, 0, 0, b'x']] {
        let (mut socket, mut far) = server(Settings::default()).await;
        let sending = tokio::spawn(async move {
            let mut sent = 0_u32;
            far.write_all(&frame(0x02, b"")).await.unwrap();
            while sent < 1_000_000 && far.write_all(&one.repeat(1_000)).await.is_ok() {
                sent += 1_000;
            }
            (sent, far)
        });
        let error = receive(&mut socket).await.unwrap_err().to_string();
        assert_eq!(error, "a message in more than max_fragments = 1024 frames");
        drop(socket);
        let (sent, mut far) = sending.await.unwrap();
        // What the stream between them holds, and no more: nobody took the rest.
        assert!(sent < 400_000, "{sent}");
        let mut told = Vec::new();
        far.read_to_end(&mut told).await.unwrap();
        assert_eq!(told, [0x88, 2, 0x03, 0xf0]);
    }
}

#[tokio::test]
async fn h08_as_many_fragments_as_are_allowed_are_one_message() {
    let (mut socket, mut far) = server(Settings { max_fragments: 3, ..Settings::default() }).await;
    let three = [frame(0x01, b"a"), frame(0x89, b""), frame(0x00, b"b"), frame(0x80, b"c")].concat();
    far.write_all(&three.repeat(2)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(receive(&mut socket).await.unwrap(), Some(Message::Text("abc".into())));
    }
    far.write_all(&[frame(0x01, b"a"), frame(0x00, b"b").repeat(2), frame(0x80, b"c")].concat())
        .await
        .unwrap();
    let error = receive(&mut socket).await.unwrap_err().to_string();
    assert_eq!(error, "a message in more than max_fragments = 3 frames");
}

#[tokio::test]
async fn x15_h01_h08_h09_what_breaks_the_protocol_is_told_by_its_code_and_ends_the_connection() {
    let settings = || Settings { max_frame_bytes: 1_000, ..Settings::default() };
    let mut lie = frame(0x82, b"");
    lie[1] = 0xff;
    lie.splice(2..2, [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    let mut fragments = frame(0x02, &[0; 600]);
    fragments.extend(frame(0x80, &[0; 600]));
    let cases: &[(&str, Vec<u8>, u16)] = &[
        ("unmasked", vec![0x81, 0x01, b'x'], 1002),
        ("reserved bit", frame(0xc1, b"x"), 1002),
        ("unknown opcode", frame(0x83, b"x"), 1002),
        ("unknown control", frame(0x8b, b""), 1002),
        ("long ping", frame(0x89, &[0; 126]), 1002),
        ("fragmented ping", frame(0x09, b""), 1002),
        ("continuation of nothing", frame(0x80, b"x"), 1002),
        ("text within a message", [frame(0x01, b"x"), frame(0x81, b"y")].concat(), 1002),
        ("close of one byte", frame(0x88, b"x"), 1002),
        ("close with words that are not UTF-8", frame(0x88, &[0x03, 0xe8, 0xff]), 1007),
        ("no UTF-8", frame(0x81, &[0xff]), 1007),
        ("too large", frame(0x82, &[0; 1_001]), 1009),
        ("fragments too large", fragments, 1009),
        ("a length that lies", lie, 1009),
    ];
    for (name, bytes, code) in cases {
        let (mut socket, mut far) = server(settings()).await;
        far.write_all(bytes).await.unwrap();
        let error = receive(&mut socket).await.expect_err(name);
        if *code == 1009 {
            assert!(error.to_string().contains("exceeds max_frame_bytes = 1000"), "{name}: {error}");
        }
        drop(socket);
        let mut told = Vec::new();
        far.read_to_end(&mut told).await.unwrap();
        assert_eq!(told, [&[0x88, 2][..], &code.to_be_bytes()].concat(), "{name}");
    }
}

#[tokio::test]
async fn x15_h09_a_close_with_a_code_that_no_peer_may_send_is_answered_as_a_breach() {
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999] {
        let (mut socket, mut far) = server(Settings::default()).await;
        far.write_all(&frame(0x88, &code.to_be_bytes())).await.unwrap();
        let heard = receive(&mut socket).await.unwrap();
        assert!(matches!(heard, Some(Message::Close(Some((1002, _))))), "{code}: {heard:?}");
        assert_eq!(receive(&mut socket).await.unwrap(), None);
        drop(socket);
        let mut told = Vec::new();
        far.read_to_end(&mut told).await.unwrap();
        assert_eq!((told[0], &told[2..4]), (0x88, &1002_u16.to_be_bytes()[..]), "{code}");
    }
}

/// After a frame that is too large nothing is in step any more: what follows is dropped unread, so that the peer gets the code.
#[tokio::test]
async fn what_follows_a_frame_that_is_too_large_is_dropped_until_the_peer_hangs_up() {
    let (mut socket, mut far) = server(Settings { max_frame_bytes: 1_000, ..Settings::default() }).await;
    let large = frame(0x82, &[0; 60_000]);
    far.write_all(&large).await.unwrap();
    receive(&mut socket).await.unwrap_err();
    let closing = tokio::spawn(async move { close(&mut socket).await });
    far.write_all(&large).await.unwrap();
    let mut told = [0; 4];
    far.read_exact(&mut told).await.unwrap();
    assert_eq!(told, [0x88, 2, 0x03, 0xf1]);
    drop(far);
    tokio::time::timeout(Duration::from_secs(10), closing).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_limit_before_login_is_lifted_to_that_of_the_settings_and_no_further() {
    let (mut socket, mut far) = server(Settings { max_frame_bytes: 100, ..Settings::default() }).await;
    Transport::<Plain>::set_partial_limit(&mut socket, 10, "max_login_bytes");
    Transport::<Plain>::set_partial_limit(&mut socket, usize::MAX, "max_frame_bytes");
    far.write_all(&[frame(0x82, &[0; 100]), frame(0x82, &[0; 101])].concat()).await.unwrap();
    assert!(receive(&mut socket).await.unwrap().is_some());
    let error = receive(&mut socket).await.unwrap_err().to_string();
    assert_eq!(error, "frame of 101 bytes exceeds max_frame_bytes = 100");
}

#[tokio::test]
async fn a_close_frame_is_answered_with_the_same() {
    for payload in [&b""[..], b"\x03\xe8done", b"\x0f\xa1"] {
        let (mut socket, mut far) = server(Settings::default()).await;
        far.write_all(&frame(0x88, payload)).await.unwrap();
        assert!(matches!(receive(&mut socket).await.unwrap(), Some(Message::Close(_))));
        assert_eq!(receive(&mut socket).await.unwrap(), None);
        drop(socket);
        let mut told = Vec::new();
        far.read_to_end(&mut told).await.unwrap();
        assert_eq!(told[2..], *payload);
    }
}

#[tokio::test]
async fn a_stream_that_ends_without_a_close_frame_is_cut() {
    let (mut socket, far) = server(Settings::default()).await;
    drop(far);
    let error = receive(&mut socket).await.unwrap_err();
    assert_eq!(error.to_string(), "the connection was cut without a close frame");
    let (mut socket, mut far) = server(Settings::default()).await;
    far.write_all(&frame(0x81, b"whole")[..3]).await.unwrap();
    drop(far);
    let error = receive(&mut socket).await.unwrap_err();
    assert_eq!(error.to_string(), "the connection was cut without a close frame");
}

#[tokio::test(start_paused = true)]
async fn x15_h10_more_pings_in_a_second_than_allowed_end_the_connection() {
    let (mut socket, mut far) = server(Settings { max_control_per_second: 3, ..Settings::default() }).await;
    for _ in 0..2 {
        far.write_all(&[frame(0x89, b"").repeat(3), frame(0x81, b"x")].concat()).await.unwrap();
        assert!(receive(&mut socket).await.unwrap().is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    far.write_all(&frame(0x8a, b"").repeat(4)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(receive(&mut socket).await.unwrap(), Some(Message::Pong(Bytes::new())));
    }
    let error = receive(&mut socket).await.unwrap_err();
    assert_eq!(error.to_string(), "more than max_control_per_second = 3 pings and pongs in a second");
}

/// A clock that the test sets.
#[derive(Default)]
struct ByHand(AtomicU64);

impl Clock for ByHand {
    fn now(&self) -> Moment {
        Moment::from_start(Duration::from_secs(self.0.load(Ordering::Relaxed)))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn alarm(&self) -> Box<dyn Alarm> {
        TokioClock.alarm()
    }
}

#[tokio::test(start_paused = true)]
async fn x15_h10_the_second_of_the_pings_is_one_of_the_clock_that_was_handed_in() {
    let clock = Arc::new(ByHand::default());
    let settings =
        Settings { max_control_per_second: 3, clock: Arc::clone(&clock) as _, ..Settings::default() };
    let (mut socket, mut far) = server(settings).await;
    for second in 0..3 {
        clock.0.store(second, Ordering::Relaxed);
        far.write_all(&[frame(0x89, b"").repeat(3), frame(0x81, b"x")].concat()).await.unwrap();
        assert!(receive(&mut socket).await.unwrap().is_some(), "second {second}");
    }
    tokio::time::advance(Duration::from_secs(9)).await;
    far.write_all(&frame(0x89, b"")).await.unwrap();
    let error = receive(&mut socket).await.unwrap_err();
    assert_eq!(error.to_string(), "more than max_control_per_second = 3 pings and pongs in a second");
}

#[tokio::test]
async fn the_close_frame_is_empty_or_has_a_code_and_the_answer_is_awaited() {
    for (code, bytes) in [(None, &[0x88, 0][..]), (Some(1001), &[0x88, 2, 0x03, 0xe9][..])] {
        let (mut socket, mut far) = server(Settings { close_code: code, ..Settings::default() }).await;
        far.write_all(&frame(0x81, b"still on its way")).await.unwrap();
        let mut told = vec![0; bytes.len()];
        let closing = async {
            far.read_exact(&mut told).await.unwrap();
            far.write_all(&frame(0x88, b"")).await.unwrap();
            far.read_to_end(&mut Vec::new()).await.unwrap();
        };
        tokio::join!(close(&mut socket), closing);
        assert_eq!(told, bytes);
    }
}

#[tokio::test]
async fn x15_h01_what_is_no_handshake_gets_an_http_answer() {
    let upgrade = String::from_utf8(UPGRADE.to_vec()).unwrap();
    let cases = [
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), "426 Upgrade Required"),
        (upgrade.replacen("GET", "POST", 1), "405 Method Not Allowed"),
        (upgrade.replace("Version: 13", "Version: 8"), "400 Bad Request"),
        (upgrade.replace("Bub25jZQ==", ""), "400 Bad Request"),
        (upgrade.replace("/any", "/denied"), "403 Forbidden"),
        ("SSH-2.0-x\r\n\r\n".to_owned(), "400 Bad Request"),
        (format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(20_000)), "400 Bad Request"),
        (format!("GET / HTTP/1.1\r\n{}", "X: y\r\n".repeat(10_000)), "400 Bad Request"),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(101)), "400 Bad Request"),
    ];
    for (request, status) in cases {
        let (near, mut far) = duplex(1 << 20);
        far.write_all(request.as_bytes()).await.unwrap();
        let denied = accept(near, Settings::default(), |head| {
            if head.path == "/denied" { Err(Denial::FORBIDDEN) } else { Ok(()) }
        });
        denied.await.expect_err(status);
        let mut answer = String::new();
        far.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
    }
}

#[tokio::test]
async fn a_client_says_what_the_server_answered_instead() {
    let cases = [
        (
            "HTTP/1.1 404 Not Found\r\n\r\n",
            "the server answered 404 \"Not Found\" instead of opening a WebSocket",
        ),
        ("SSH-2.0-x\r\n", "no WebSocket handshake: the peer does not speak HTTP/1.1"),
        (
            "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: no\r\n\r\n",
            "no WebSocket handshake: Sec-WebSocket-Accept does not match the key",
        ),
    ];
    for (answer, text) in cases {
        let (near, mut far) = duplex(1 << 16);
        far.write_all(answer.as_bytes()).await.unwrap();
        let opening = Opening { host: "h", path: "/", headers: &[] };
        let error = connect(near, opening, Settings::default()).await.unwrap_err();
        assert_eq!(error.to_string(), text);
    }
    let (near, _far) = duplex(1 << 16);
    let opening = Opening { host: "h", path: "/\r\nX: y", headers: &[] };
    let error = connect(near, opening, Settings::default()).await.unwrap_err();
    assert!(matches!(error, WebSocketError::Handshake(_)), "{error}");
}

#[tokio::test]
async fn a_rest_loses_nothing_of_what_came_in_one_read() {
    let (mut socket, mut far) = server(Settings::default()).await;
    let both = [frame(0x81, b"one"), frame(0x81, b"two")].concat();
    for _ in 0..2 {
        far.write_all(&both).await.unwrap();
        assert_eq!(receive(&mut socket).await.unwrap(), Some(Message::Text("one".into())));
        Transport::<Plain>::rest(&mut socket);
        assert_eq!(receive(&mut socket).await.unwrap(), Some(Message::Text("two".into())));
        let waits = poll_fn(|cx| Poll::Ready(socket.poll_receive(cx, &mut Plain).is_pending())).await;
        assert!(waits);
        Transport::<Plain>::rest(&mut socket);
    }
}

#[tokio::test]
async fn one_that_heard_only_a_ping_has_something_to_give_back_and_gives_it() {
    let (mut socket, mut far) = server(Settings::default()).await;
    assert!(!Transport::<Plain>::is_roomy(&socket), "it has heard nothing yet");
    far.write_all(&frame(0x89, b"there?")).await.unwrap();
    let nothing = poll_fn(|cx| Poll::Ready(socket.poll_receive(cx, &mut Plain).is_pending())).await;
    assert!(nothing, "a ping is answered here");
    flush(&mut socket).await;
    assert!(Transport::<Plain>::is_roomy(&socket));
    Transport::<Plain>::rest(&mut socket);
    assert!(!Transport::<Plain>::is_roomy(&socket));
    let mut pong = [0; 8];
    far.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"\x8a\x06there?");
}

/// A client of ours, and the raw far end, which has read the request and answers it with these headers besides.
async fn client(more: &str) -> (Result<Socket, WebSocketError>, DuplexStream) {
    let (near, mut far) = duplex(1 << 20);
    let opening = Opening { host: "h", path: "/", headers: &[] };
    let answer = async {
        let request = head(&mut far).await;
        assert!(!request.to_lowercase().contains("extensions"), "compression is not offered: {request}");
        let key = request.split("Sec-WebSocket-Key: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
        );
        far.write_all(answer.as_bytes()).await.unwrap();
    };
    let (client, ()) = tokio::join!(connect(near, opening, Settings::default()), answer);
    (client, far)
}

#[tokio::test]
async fn x15_h11_compression_is_neither_offered_nor_taken() {
    for chosen in ["Sec-WebSocket-Extensions: permessage-deflate\r\n", "Sec-WebSocket-Protocol: x\r\n"] {
        let (client, _far) = client(chosen).await;
        let error = client.unwrap_err().to_string();
        assert_eq!(
            error, "no WebSocket handshake: the server chose an extension or subprotocol nobody offered",
            "{chosen}"
        );
    }
    // A frame that says it is compressed has a reserved bit set.
    let (mut socket, mut far) = server(Settings::default()).await;
    far.write_all(&frame(0xc2, &[0; 20])).await.unwrap();
    receive(&mut socket).await.unwrap_err();
}

#[tokio::test]
async fn h09_what_a_server_breaks_is_told_by_its_code_too() {
    let cases: [(&str, &[u8], u16); 4] = [
        ("masked", &[0x81, 0x81, 0, 0, 0, 0, b'x'], 1002),
        ("reserved bit", &[0xc1, 1, b'x'], 1002),
        ("continuation of nothing", &[0x80, 1, b'x'], 1002),
        ("no UTF-8", &[0x81, 1, 0xff], 1007),
    ];
    for (name, bytes, code) in cases {
        let (client, mut far) = client("").await;
        let mut client = client.unwrap();
        far.write_all(bytes).await.unwrap();
        receive(&mut client).await.expect_err(name);
        drop(client);
        let mut told = Vec::new();
        far.read_to_end(&mut told).await.unwrap();
        let (head, mask, payload) = (&told[..2], &told[2..6], &told[6..]);
        let payload: Vec<u8> = payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
        assert_eq!((head, &payload[..]), (&[0x88, 0x82][..], &code.to_be_bytes()[..]), "{name}");
    }
}
