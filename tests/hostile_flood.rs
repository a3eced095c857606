//! A flood of the smallest messages there are, measured as the memory this process holds: one test, nothing beside it.
#![cfg(target_os = "linux")]

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use polywire_core::{Body, Endpoint, Handler, HandlerFuture, Incoming, Request, Route};
use polywire_size::{Progress, size};
use polywire_sockhop::{Config, PeerType, dial, listen};
use polywire_tests::memory::held;

/// Counts what it is told, and echoes what it is asked.
#[derive(Clone, Default)]
struct Service(Arc<AtomicU64>);

impl Handler for Service {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Ok(incoming.body.into()) })
    }
}

/// Messages that are written at once.
const BLOCK: usize = 4_000;

/// The two share one thread. Other wires, and Sockhop in binary mode, end a connection that sends so little: S-06, P-02, H-04, H-10,
///
#[tokio::test]
async fn c09_a_flood_of_one_byte_messages_takes_no_memory_and_leaves_a_neighbour_its_turns() {
    let floods = size(400_000, 20_000_000);
    let blocks = floods / BLOCK as u64;
    let floods = blocks * BLOCK as u64;
    let told = Service::default();
    let bare = Config { peer_type: PeerType::Json, ..Config::default() };
    let flooded = listen("127.0.0.1:0", bare, Endpoint::new("flooded", told.clone())).await.expect("a port");
    let server = listen("127.0.0.1:0", Config::default(), Endpoint::new("quiet", Service::default()));
    let server = server.await.expect("a port");
    let neighbour = dial(server.address(), Config::default(), Endpoint::new("neighbour", Service::default()));
    let neighbour = neighbour.expect("good settings");
    neighbour.ready().await.expect("the server listens");

    let mut stream = TcpStream::connect(flooded.address()).expect("the server listens");
    while flooded.peers().is_empty() {
        tokio::task::yield_now().await;
    }
    let flood = std::thread::spawn(move || {
        let some = b"7\n".repeat(BLOCK);
        for _ in 0..blocks {
            stream.write_all(&some).expect("the server reads");
        }
        stream
    });
    let mut before = None;
    let mut rounds = 0;
    let mut progress = Progress::new("c09: messages of a byte", floods);
    while told.0.load(Ordering::Relaxed) < floods {
        let request = Request::new(Route::from_static("echo"), Body::null()).timeout(Duration::from_secs(60));
        neighbour.caller().call(request).await.expect("the neighbour is served");
        assert_eq!(flooded.peers().len(), 1, "the flood was ended before it was over");
        rounds += 1;
        progress.done(told.0.load(Ordering::Relaxed));
        // What runtime and allocator need once is not counted.
        if told.0.load(Ordering::Relaxed) > floods / 10 {
            before.get_or_insert_with(held);
        }
    }
    drop(flood.join().expect("everything was written"));
    let more = held().saturating_sub(before.expect("it was measured"));
    println!("c09: {floods} messages of a byte, {more} bytes more in the end, {rounds} calls beside them");
    assert!(more < 1 << 20, "{more} bytes more after {floods} messages than after a tenth of them");
    // A connection gives way after 64 messages, the runtime looks for input after 61 turns at the latest, and a call takes some
    // such looks.
    let least = floods / (64 * 61 * 8);
    assert!(rounds >= least, "{rounds} calls of the neighbour, of at least {least}");
}
