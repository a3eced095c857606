//! What hostile peers can make us keep, measured as the memory this process holds: one test, nothing beside it.
#![cfg(target_os = "linux")]

use std::any::Any;
use std::sync::Arc;
use std::task::{Context, Waker};

use polywire_core::{
    ByteStream, Connection, Endpoint, Handler, HandlerFuture, Incoming, Limits, Session, StreamCodec,
    Transport,
};
use polywire_hpx::{HpxCodec, ServerConfig, ServerSession, Shared, Trust, Wire};
use polywire_net::websocket::{Settings, accept};
use polywire_sockhop::{Codec, Config, Role};
use polywire_stonyx::Key;
use polywire_tests::size::size;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Connections of each case.
fn connections() -> usize {
    usize::try_from(size(64, 512)).expect("it is a small number")
}

/// Bytes on their way between the two ends.
const PIPE: usize = 4 << 10;

struct Echo;

impl Handler for Echo {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        Box::pin(async move { Ok(incoming.body.into()) })
    }
}

/// Bytes of memory this process holds now.
fn held() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let resident = pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    resident.expect("the second number is what is resident") * 4_096
}

/// Bytes of memory this process has asked for, touched or not.
fn reserved() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let size = pages.split(' ').next().and_then(|pages| pages.parse::<usize>().ok());
    size.expect("the first number is what is reserved") * 4_096
}

/// What each of many WebSockets reserves whose peer has announced a message of 16 MiB and sent 4 KiB of it.
async fn reserved_by_a_websocket() -> usize {
    const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let before = reserved();
    let mut kept = Vec::new();
    for _ in 0..connections() {
        let (near, mut far) = tokio::io::duplex(PIPE * 4);
        far.write_all(UPGRADE).await.expect("it is read");
        let mut socket = accept(near, Settings::default(), |_| Ok(())).await.expect("a good handshake");
        far.write_all(&[0x82, 0xff, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]).await.expect("it is read");
        far.write_all(&[b'x'; PIPE]).await.expect("it is read");
        let mut cx = Context::from_waker(Waker::noop());
        let heard = socket.poll_receive(&mut cx, &mut polywire_stonyx::Codec::new(&Key::none()));
        assert!(heard.is_pending(), "there is more to come");
        kept.push((socket, far));
    }
    reserved().saturating_sub(before) / connections()
}

fn limits() -> Limits {
    Limits { max_frame_bytes: 1 << 20, ..Limits::default() }
}

/// What one of many peers costs that have said all this and go on waiting. They do so until `kept` is dropped: memory given
/// back would be used again, and cost the next ones nothing.
async fn cost<S: Session>(
    make: impl Fn() -> (S::Codec, S),
    said: &[u8],
    kept: &mut Vec<Box<dyn Any>>,
) -> usize
where
    S::Codec: StreamCodec,
{
    let mut endpoint = Endpoint::new("memory", Echo);
    endpoint.limits = Arc::new(limits());
    let before = held();
    let mut peers = Vec::new();
    for _ in 0..connections() {
        let (near, far) = tokio::io::duplex(PIPE);
        let (codec, session) = make();
        let (connection, link) =
            Connection::new(ByteStream::new(near), codec, session, endpoint.clone(), None);
        let running = tokio::spawn(connection);
        let (mut hear, mut say) = tokio::io::split(far);
        // Whatever it answers is taken, so that nothing waits for this peer.
        let hearing = tokio::spawn(async move { hear.read_to_end(&mut Vec::new()).await });
        // The pipe is small: when this is over all but its last bytes have been read.
        say.write_all(said).await.expect("the connection reads");
        peers.push((running, hearing, link, say));
    }
    let each = held().saturating_sub(before) / connections();
    assert!(peers.iter().all(|(running, ..)| !running.is_finished()), "a peer below every limit was closed");
    kept.push(Box::new(peers));
    each
}

#[tokio::test]
async fn c22_s05_peers_just_below_every_limit_cost_what_the_limits_say() {
    let config = Arc::new(Config::default());
    let sockhop = || {
        let session = polywire_sockhop::Session::new(Arc::clone(&config), &limits(), Role::Server);
        (Codec::new(&config, &limits()), session)
    };
    let wire = Wire { limits: Arc::new(limits()), ..Wire::default() };
    let shared =
        Arc::new(Shared::new(ServerConfig { guests: true, wire: wire.clone(), ..ServerConfig::default() }));
    let hpx =
        || (HpxCodec::new(&wire, Trust::Stranger), ServerSession::new(Arc::clone(&shared), None, false));
    // What the runtime needs once is not counted.
    reserved_by_a_websocket().await;
    let each = reserved_by_a_websocket().await;
    assert!(each < 256 << 10, "{each} bytes reserved for a message of 16 MiB of which 4 KiB came");

    let kept = &mut Vec::new();
    let question = b"{\"type\":\"a\",\"data\":1,\"id\":\"i\"}\n";
    // What runtime and allocator need once is not counted.
    cost(sockhop, question, kept).await;

    let idle = cost(sockhop, question, kept).await;
    assert!(idle < 64 << 10, "{idle} bytes for a peer that has asked once");

    let transition = b"{\"type\":\"SockhopBinaryModeTransition\",\"data\":{}}\n";
    let announced = [&transition[..], &(1_u32 << 20).to_le_bytes(), &[13, 1], &[b'x'; 2 * PIPE]].concat();
    let each = cost(sockhop, &announced, kept).await;
    assert!(each < 128 << 10, "{each} bytes for a frame of 1 MiB of which 8 KiB came");

    let line = [b"{\"type\":\"a\",\"data\":\"".to_vec(), vec![b'x'; 1_000 << 10]].concat();
    let each = cost(sockhop, &line, kept).await;
    assert!(each < 3 << 20, "{each} bytes for a line of 1 000 KiB that does not end");

    let begun = [b"\x1f\x8b\x08\0\0\0\0\0\0\xff\0\xff\xff\0\0".to_vec(), vec![b'x'; 60 << 10]].concat();
    let each = cost(hpx, &begun, kept).await;
    assert!(each < 512 << 10, "{each} bytes for 60 KiB of a frame of a stranger");
}
