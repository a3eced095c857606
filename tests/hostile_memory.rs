//! What hostile peers can make us keep: one test, nothing beside it.
//!
//! Measured is the growth of this process by many connections, divided by their number: mostly of what is resident, so what is reserved
//! and not touched does not count; for lengths that are announced, of what is reserved. It goes by pages, and memory that was given
//! back before and is used again is not seen. So nothing is given back between the measurements, and what is compared with a limit from
//! above is compared from below too where that can be told.
#![cfg(target_os = "linux")]

use std::any::Any;
use std::fmt::Write as _;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::BytesMut;
use polywire_core::{
    Body, ByteStream, Connection, Endpoint, Event, Handler, HandlerFuture, Incoming, JsonText, Limits,
    Memory, Route, Session, StreamCodec, Transport,
};
use polywire_hpx::{HpxCodec, ServerConfig, ServerSession, Shared, Trust, Wire};
use polywire_net::websocket::{Settings, accept};
use polywire_size::size;
use polywire_sockhop::{Codec, Config, Role};
use polywire_stonyx::Key;
use polywire_tests::bomb::bomb;
use polywire_tests::framed::framed;
use polywire_tests::memory::held;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

/// Connections of each case.
fn connections() -> usize {
    usize::try_from(size(64, 512)).expect("it is a small number")
}

/// Connections of a case that keeps megabytes for each.
const SOME: usize = 64;
/// Connections of a case that computes a lot.
const FEW: usize = 8;
/// What a length that is announced costs at most before as much has come, besides what an idle connection costs.
const MOST_TRUSTED: usize = 64 << 10;
/// The largest buffer that a stream of bytes is read into before much of its frame is there.
const READ_BUFFER: usize = 160 << 10;
/// Bytes on their way between the two ends.
const PIPE: usize = 4 << 10;

/// Bytes of a large answer.
const LARGE: usize = 64 << 10;

/// Echoes; `wait` counts, keeps what it was given and never answers; `large` counts and answers so much, after it has waited.
struct Service(watch::Sender<usize>);

impl Handler for Service {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let waiting = self.0.clone();
        Box::pin(async move {
            if &*incoming.route == "wait" {
                waiting.send_modify(|count| *count += 1);
                std::future::pending::<()>().await;
            }
            if &*incoming.route == "large" {
                tokio::task::yield_now().await;
                waiting.send_modify(|count| *count += 1);
                return Ok(text(LARGE).into());
            }
            Ok(incoming.body.into())
        })
    }
}

/// A JSON text of so many bytes, in memory of its own.
fn text(bytes: usize) -> Body {
    let mut text = String::with_capacity(bytes);
    text.extend(std::iter::once('"').chain(std::iter::repeat_n('x', bytes - 2)).chain(['"']));
    Body::Json(JsonText::from_validated(text.into()))
}

/// An endpoint with these limits. What all cases together keep has none, for they are kept to the end.
fn endpoint(waiting: watch::Sender<usize>) -> Endpoint {
    let mut endpoint = Endpoint::new("memory", Service(waiting));
    endpoint.limits = Arc::new(limits());
    endpoint.surroundings.memory = Arc::new(Memory::new(usize::MAX));
    endpoint
}

/// The most that was resident since the process began.
fn most_held() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

/// The most memory it takes to find out about a bomb, besides what this process holds already.
fn held_by_a_bomb() -> usize {
    let bomb = bomb(128);
    let before = held();
    let mut codec = HpxCodec::new(&Wire::default(), Trust::Known);
    let mut input = BytesMut::new();
    let refused = bomb.chunks(16 << 10).any(|piece| {
        input.extend_from_slice(piece);
        codec.decode(&mut input).is_err()
    });
    assert!(refused, "it is refused");
    println!("p05: a bomb costs {} bytes at most", most_held().saturating_sub(before));
    most_held().saturating_sub(before)
}

/// Bytes of memory that this process may write to, touched or not.
fn reserved() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let size = pages.split(' ').nth(5).and_then(|pages| pages.parse::<usize>().ok());
    size.expect("the sixth number is what may be written") * 4_096
}

/// What each of many WebSockets reserves whose peer has said this. They stay until `kept` is dropped.
async fn reserved_by_a_websocket(said: &[u8], kept: &mut Vec<Box<dyn Any>>) -> usize {
    const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let before = reserved();
    for _ in 0..connections() {
        let (near, mut far) = tokio::io::duplex(PIPE * 4);
        far.write_all(UPGRADE).await.expect("it is read");
        let mut socket = accept(near, Settings::default(), |_| Ok(())).await.expect("a good handshake");
        far.write_all(said).await.expect("it is read");
        let mut cx = Context::from_waker(Waker::noop());
        let heard = socket.poll_receive(&mut cx, &mut polywire_stonyx::Codec::new(&Key::none()));
        assert!(heard.is_pending(), "there is more to come");
        kept.push(Box::new((socket, far)));
    }
    let each = reserved().saturating_sub(before) / connections();
    println!(
        "s05: {} WebSockets whose peers say {} bytes reserve {each} bytes each",
        connections(),
        said.len()
    );
    each
}

/// Small sizes, and times that no peer here runs into however slow this machine is.
fn limits() -> Limits {
    Limits {
        max_frame_bytes: 1 << 20,
        max_queue_bytes: 1 << 20,
        login_timeout: Duration::from_secs(60),
        frame_timeout: Duration::from_secs(600),
        write_timeout: Duration::from_secs(300),
        max_in_flight_bytes: 4 << 20,
        ..Limits::default()
    }
}

/// How much of what a peer says is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    All,
    /// A limit stops it.
    Some,
}

/// What one of many peers costs that say all this, of which so much is taken, after which at least `handlers` of each wait, and go on
/// waiting. They do so until `kept` is dropped: memory given back would be used again, and cost the next ones nothing.
async fn cost<S: Session>(
    peers: usize,
    make: impl Fn() -> (S::Codec, S),
    said: &[u8],
    taken: Taken,
    handlers: usize,
    kept: &mut Vec<Box<dyn Any>>,
) -> usize
where
    S::Codec: StreamCodec,
{
    let (waiting, mut waits) = watch::channel(0);
    let endpoint = endpoint(waiting);
    let said: Arc<[u8]> = said.into();
    let before = held();
    let mut all = Vec::new();
    for _ in 0..peers {
        let (near, far) = tokio::io::duplex(PIPE);
        let (codec, session) = make();
        let (connection, link) =
            Connection::new(ByteStream::new(near), codec, session, endpoint.clone(), None);
        let running = tokio::spawn(connection);
        let (mut hear, mut say) = tokio::io::split(far);
        // Whatever it answers is taken, so that nothing waits for this peer.
        let hearing = tokio::spawn(async move { hear.read_to_end(&mut Vec::new()).await });
        // The pipe is small: when this is over all but its last bytes have been read.
        let said = Arc::clone(&said);
        let mut saying = tokio::spawn(async move { say.write_all(&said).await.map(|()| say) });
        if taken == Taken::All {
            (&mut saying).await.expect("it does not panic").expect("the connection reads");
        }
        all.push((running, hearing, link, saying));
    }
    let all_wait =
        timeout(Duration::from_secs(60), waits.wait_for(|count| *count >= peers * handlers)).await.is_ok();
    assert!(all_wait, "{} handlers wait, and {peers} peers have asked for {handlers} each", *waits.borrow());
    if taken == Taken::Some {
        // Nothing here waits for anything but others of this thread.
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        assert!(all.iter().all(|(.., saying)| !saying.is_finished()), "no limit has stopped a peer");
    }
    let each = held().saturating_sub(before) / peers;
    println!("c22: {peers} peers that say {} bytes cost {each} bytes each", said.len());
    assert!(all.iter().all(|(running, ..)| !running.is_finished()), "a peer below every limit was closed");
    kept.push(Box::new(all));
    each
}

/// What one of many peers costs that takes nothing while so much is sent to it as its queue holds.
async fn cost_of_deaf(config: &Arc<Config>, kept: &mut Vec<Box<dyn Any>>) -> usize {
    let endpoint = endpoint(watch::Sender::default());
    let before = held();
    let mut peers = Vec::new();
    for _ in 0..SOME {
        let (near, far) = tokio::io::duplex(PIPE);
        let session = polywire_sockhop::Session::new(Arc::clone(config), &limits(), Role::Server);
        let codec = Codec::new(config, &limits());
        let (connection, link) =
            Connection::new(ByteStream::new(near), codec, session, endpoint.clone(), None);
        let running = tokio::spawn(connection);
        let mut sent = 0;
        loop {
            if link.caller().try_notify(Event::new(Route::from_static("e"), text(8 << 10))).is_err() {
                break;
            }
            sent += 1;
            tokio::task::yield_now().await;
        }
        assert!((sent + 1) * (8 << 10) >= limits().max_queue_bytes, "{sent} fill a queue");
        peers.push((running, link, far));
    }
    let each = held().saturating_sub(before) / SOME;
    println!("c22: {SOME} peers that do not read cost {each} bytes each");
    assert!(peers.iter().all(|(running, ..)| !running.is_finished()), "a peer that reads nothing was closed");
    kept.push(Box::new(peers));
    each
}

/// What one of many peers costs that asks for as many large answers as it may and reads none, and how many of them are made.
async fn cost_of_deaf_asker(config: &Arc<Config>, kept: &mut Vec<Box<dyn Any>>) -> (usize, usize) {
    let (waiting, made) = watch::channel(0);
    let endpoint = endpoint(waiting);
    let request = |n: usize| format!("{{\"type\":\"large\",\"data\":1,\"id\":\"{n}\"}}\n").into_bytes();
    let requests = (0..limits().max_in_flight).flat_map(request).collect::<Vec<_>>();
    let before = held();
    let mut peers = Vec::new();
    for _ in 0..SOME {
        let (near, mut far) = tokio::io::duplex(PIPE);
        let session = polywire_sockhop::Session::new(Arc::clone(config), &limits(), Role::Server);
        let codec = Codec::new(config, &limits());
        let (connection, link) =
            Connection::new(ByteStream::new(near), codec, session, endpoint.clone(), None);
        let running = tokio::spawn(connection);
        far.write_all(&requests).await.expect("the connection reads");
        peers.push((running, link, far));
    }
    // Nothing here waits for anything but others of this thread.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    let each = held().saturating_sub(before) / SOME;
    println!("c22: {SOME} peers that read no answer cost {each} bytes each");
    assert!(peers.iter().all(|(running, ..)| !running.is_finished()), "a peer that reads nothing was closed");
    kept.push(Box::new(peers));
    let made = *made.borrow() / SOME;
    (each, made)
}

#[tokio::test]
async fn c22_p05_s05_peers_just_below_every_limit_cost_what_the_limits_say() {
    let config = Arc::new(Config::default());
    let sockhop = || {
        let session = polywire_sockhop::Session::new(Arc::clone(&config), &limits(), Role::Server);
        (Codec::new(&config, &limits()), session)
    };
    let wire = Wire { limits: Arc::new(limits()), max_inflated_bytes: 2 << 20, ..Wire::default() };
    let shared =
        Arc::new(Shared::new(ServerConfig { guests: true, wire: wire.clone(), ..ServerConfig::default() }));
    let hpx =
        || (HpxCodec::new(&wire, Trust::Stranger), ServerSession::new(Arc::clone(&shared), None, false));
    let kept = &mut Vec::new();
    // What runtime and allocator need once is not counted.
    reserved_by_a_websocket(&[], kept).await;
    let announced = [&[0x82, 0xff, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0][..], &[b'x'; PIPE]].concat();
    let idle = reserved_by_a_websocket(&announced[..2], kept).await;
    let each = reserved_by_a_websocket(&announced[..14], kept).await;
    // A socket is smaller than what its share of a page is rounded to.
    assert!(
        each <= idle.max(1 << 10) + MOST_TRUSTED,
        "{each} bytes for a message of 16 MiB of which nothing came"
    );
    let begun = reserved_by_a_websocket(&announced, kept).await;
    // What came lies in the pipe and in the message, and either may have doubled.
    assert!(begun <= each + 4 * PIPE, "{begun} bytes for a message of 16 MiB of which 4 KiB came");

    let question = b"{\"type\":\"a\",\"data\":1,\"id\":\"i\"}\n";
    cost(connections(), sockhop, question, Taken::All, 0, kept).await;

    let idle = cost(connections(), sockhop, question, Taken::All, 0, kept).await;
    assert!(idle < 64 << 10, "{idle} bytes for a peer that has asked once");

    let transition = b"{\"type\":\"SockhopBinaryModeTransition\",\"data\":{}}\n";
    let announced = [&transition[..], &(1_u32 << 20).to_le_bytes(), &[13, 1], &[b'x'; 2 * PIPE]].concat();
    let before = reserved();
    let each = cost(connections(), sockhop, &announced, Taken::All, 0, kept).await;
    assert!(each <= idle + MOST_TRUSTED, "{each} bytes for a frame of 1 MiB of which 8 KiB came");
    let each = reserved().saturating_sub(before) / connections();
    println!("s05: of which are reserved {each} bytes each");
    // A read buffer may be made larger than what is missing, and is touched where bytes come to lie alone.
    assert!(each <= idle + READ_BUFFER, "{each} bytes reserved for a frame of 1 MiB of which 8 KiB came");

    let line = [b"{\"type\":\"a\",\"data\":\"".to_vec(), vec![b'x'; 1_000 << 10]].concat();
    let each = cost(connections(), sockhop, &line, Taken::All, 0, kept).await;
    assert!(each < 3 << 20, "{each} bytes for a line of 1 000 KiB that does not end");

    let begun = [b"\x1f\x8b\x08\0\0\0\0\0\0\xff\0\xff\xff\0\0".to_vec(), vec![b'x'; 60 << 10]].concat();
    let each = cost(connections(), hpx, &begun, Taken::All, 0, kept).await;
    assert!(each < 512 << 10, "{each} bytes for 60 KiB of a frame of a stranger");

    // What the limits add up to for one connection, and what is besides: handlers, tables, room that a buffer grows by.
    let limits = limits();
    let besides = idle + (128 << 10);
    // Logged in, and in the middle of a frame that is inflated as it comes.
    let mut digits = 1_u64;
    let mut hex = String::new();
    while hex.len() < 7 << 18 {
        digits = digits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let _ = write!(hex, "{:08x}", digits >> 32);
    }
    let login = framed(br#"{"session":"","name":"n","data":{}}"#);
    let frame = framed(format!("{{\"v\":\"{hex}\"}}").as_bytes());
    assert!(frame.len() < limits.max_frame_bytes && frame.len() > limits.max_frame_bytes / 2);
    let begun = [&login, &frame[..frame.len() - 20]].concat();
    let each = cost(FEW, hpx, &begun, Taken::All, 0, kept).await;
    // The frame so far, in a buffer that doubles, and its text.
    let promised = 2 * limits.max_frame_bytes + wire.max_inflated_bytes + besides;
    assert!(each > hex.len() / 2 && each < promised, "{each} bytes of {promised} for a frame half inflated");

    let request = |n: usize| {
        format!("{{\"type\":\"wait\",\"data\":\"{}\",\"id\":\"{n}\"}}\n", "x".repeat(4 << 10)).into_bytes()
    };
    let requests = (0..limits.max_in_flight).flat_map(request).collect::<Vec<_>>();
    let each = cost(SOME, sockhop, &requests, Taken::All, limits.max_in_flight, kept).await;
    // Each body is a copy, and has a future of this handler with its slot. What of it was free memory before is not seen.
    let promised = limits.max_in_flight * ((4 << 10) + (4 << 10)) + besides;
    assert!(each < promised, "{each} bytes of {promised} for {} requests at once", limits.max_in_flight);

    let request = |n: usize| {
        format!("{{\"type\":\"wait\",\"data\":\"{}\",\"id\":\"{n}\"}}\n", "x".repeat(500 << 10)).into_bytes()
    };
    let count = limits.max_in_flight_bytes / (500 << 10) + 1;
    let requests = (0..count).flat_map(request).collect::<Vec<_>>();
    let each = cost(FEW, sockhop, &requests, Taken::Some, 3, kept).await;
    // Not the many that `max_in_flight` allows: what their bodies keep, each in a buffer that doubles, the last one taken whole.
    let promised = limits.max_in_flight_bytes + 4 * limits.max_frame_bytes + besides;
    assert!(
        each > limits.max_in_flight_bytes / 4 && each < promised,
        "{each} bytes of {promised} for {count} large requests at once"
    );

    let each = cost_of_deaf(&config, kept).await;
    // What waits, and what was encoded of it.
    let promised = limits.max_queue_bytes + (64 << 10) + besides;
    assert!(
        each > limits.max_queue_bytes / 2 && each < promised,
        "{each} bytes of {promised} for a peer that does not read"
    );

    let (each, made) = cost_of_deaf_asker(&config, kept).await;
    let most = limits.max_queue_bytes / LARGE + 1;
    assert!((2..=most).contains(&made), "{made} answers of at most {most} for a peer that reads none");
    let promised = most * LARGE + limits.max_in_flight * (1 << 10) + besides;
    assert!(
        each > made * LARGE / 2 && each < promised,
        "{each} bytes of {promised} for a peer that reads no answer"
    );

    let most = held_by_a_bomb();
    assert!(most <= 80 << 20, "{most} bytes for a bomb");
}
