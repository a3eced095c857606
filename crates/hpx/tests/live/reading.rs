//! While a list of functions runs, its connection is not read: whoever sends on waits, and what is kept for it stays small.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use polywire_core::{Body, Incoming, Response};
use polywire_hpx::Dialect;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use crate::wires::{ROOM, Wires, frames, logged_in, message, serve, settle};

/// Most that the server takes of what comes while it does not read: one read, and no more.
const TAKEN: usize = 64 << 10;

#[tokio::test(start_paused = true)]
async fn reading_stops_while_a_slow_list_of_functions_runs() {
    let wires = Wires::new();
    let (started, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let functions = {
        let (started, gate) = (Arc::clone(&started), Arc::clone(&gate));
        polywire_core::Router::new().fallback(move |incoming: Incoming| {
            started.fetch_add(1, Ordering::SeqCst);
            let gate = Arc::clone(&gate);
            async move {
                if &*incoming.route == "slow" {
                    gate.acquire().await.unwrap().forget();
                }
                Response::from(Body::null())
            }
        })
    };
    let _server = serve(&wires, Dialect::Auto, functions.build().unwrap()).await;
    let (peer, session) = logged_in(&wires).await;
    let (mut reader, mut writer) = tokio::io::split(peer);

    let list = r#"[{"fname":"slow"},{"fname":"slow"}]"#;
    writer.write_all(&message(&session, list)).await.unwrap();
    settle().await;
    assert_eq!(started.load(Ordering::SeqCst), 1, "the second of the list waits for the first");

    // More than the stream holds: this is through once the server reads again.
    let more = message(&session, r#"[{"fname":"next"}]"#);
    let count = (ROOM + TAKEN) / more.len() + 1;
    let sending = tokio::spawn(async move { writer.write_all(&more.repeat(count)).await });
    settle().await;
    gate.add_permits(1);
    settle().await;
    assert_eq!(started.load(Ordering::SeqCst), 2, "nothing but the list has been begun");
    assert!(!sending.is_finished(), "who sends on waits");
    assert_eq!(wires.server.take().len(), 0, "the list has one answer, when it is done");

    gate.add_permits(1);
    let mut bytes = Vec::new();
    while memchr::memmem::find_iter(&bytes, b"<EOF>").count() < 1 + count {
        reader.read_buf(&mut bytes).await.unwrap();
    }
    sending.await.unwrap().unwrap();
    let answers = frames(&bytes);
    assert!(answers[0].contains("slow") && answers[1..].iter().all(|answer| answer.contains("next")));
    assert_eq!((answers.len(), started.load(Ordering::SeqCst)), (1 + count, 2 + count));
}
