//! Streams that were recorded between original peers, cut at every byte: what comes is the same.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/plain.rs"]
mod plain;

use std::future::poll_fn;

use plain::Plain;
use polywire_core::Transport;
use polywire_net::websocket::{Opening, Settings, WebSocket, accept, connect};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const RECORDINGS: [&str; 6] = [
    include_str!("../../../tests/vectors/stonyx/transcripts-alpha1-encrypted.json"),
    include_str!("../../../tests/vectors/stonyx/transcripts-alpha1-plain.json"),
    include_str!("../../../tests/vectors/stonyx/transcripts-beta11-encrypted.json"),
    include_str!("../../../tests/vectors/stonyx/transcripts-beta11-plain.json"),
    include_str!("../../../tests/vectors/stonyx/transcripts-beta39-encrypted.json"),
    include_str!("../../../tests/vectors/stonyx/transcripts-beta39-plain.json"),
];

/// The frames of each recorded connection that went this way, behind the head that opened it.
fn streams(direction: &str, head: &str) -> Vec<(String, Vec<u8>)> {
    let mut streams = Vec::new();
    for recording in RECORDINGS {
        let recording: Value = serde_json::from_str(recording).unwrap();
        for transcript in recording["transcripts"].as_array().unwrap() {
            for connection in transcript["connections"].as_array().unwrap() {
                let frames = connection["frames"].as_array().unwrap().iter();
                let hex: String = frames
                    .filter(|frame| frame["dir"] == direction)
                    .map(|frame| frame["wire_hex"].as_str().unwrap())
                    .collect();
                let bytes = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
                let frames = (0..hex.len()).step_by(2).map(bytes).collect();
                streams.push((connection[head].as_str().unwrap().to_owned(), frames));
            }
        }
    }
    streams
}

/// Everything that comes, and how it ends.
async fn hear(mut socket: WebSocket<DuplexStream>) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        match poll_fn(|cx| Transport::<Plain>::poll_receive(&mut socket, cx, &mut Plain)).await {
            Ok(Some(message)) => heard.push(format!("{message:?}")),
            Ok(None) => return heard,
            Err(error) => {
                heard.push(error.to_string());
                return heard;
            }
        }
    }
}

/// Writes both pieces, and lets the other end take in the first one in between.
async fn feed(far: &mut DuplexStream, (first, second): (&[u8], &[u8])) {
    far.write_all(first).await.unwrap();
    tokio::task::yield_now().await;
    far.write_all(second).await.unwrap();
    far.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_clients_wrote_comes_the_same_however_it_is_cut() {
    let mut messages = 0;
    for (head, frames) in streams("c2s", "request_head") {
        let stream = [head.as_bytes(), &frames].concat();
        let come = async |cut| {
            let (near, mut far) = duplex(1 << 16);
            let (heard, ()) = tokio::join!(
                async { hear(accept(near, Settings::default(), |_| Ok(())).await.unwrap()).await },
                feed(&mut far, stream.split_at(cut))
            );
            heard
        };
        let whole = come(0).await;
        // Heads are alike: one is cut.
        let first = if messages == 0 { 1 } else { head.len() };
        messages += whole.len();
        for cut in first..stream.len() {
            assert_eq!(come(cut).await, whole, "{cut} of {head}");
        }
    }
    assert!(messages > 200, "{messages}");
}

#[tokio::test]
async fn what_servers_wrote_comes_the_same_however_it_is_cut() {
    let opening = || Opening { host: "h", path: "/", headers: &[] };
    let mut messages = 0;
    for (head, frames) in streams("s2c", "response_head") {
        let recorded = head.split("Sec-WebSocket-Accept: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let come = async |cut: usize| {
            let (near, mut far) = duplex(1 << 16);
            let (heard, ()) = tokio::join!(
                async { hear(connect(near, opening(), Settings::default()).await.unwrap()).await },
                async {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        request.push(far.read_u8().await.unwrap());
                    }
                    let request = String::from_utf8(request).unwrap();
                    let key =
                        request.split("Sec-WebSocket-Key: ").nth(1).unwrap().split("\r\n").next().unwrap();
                    // Ours is another key than the recorded one.
                    let accepted = tungstenite::handshake::derive_accept_key(key.as_bytes());
                    let stream = [head.replace(recorded, &accepted).as_bytes(), &frames].concat();
                    feed(&mut far, stream.split_at(cut)).await;
                }
            );
            heard
        };
        let whole = come(0).await;
        // Heads are alike: one is cut.
        let first = if messages == 0 { 1 } else { head.len() };
        messages += whole.len();
        for cut in first..head.len() + frames.len() {
            assert_eq!(come(cut).await, whole, "{cut} of {head}");
        }
    }
    assert!(messages > 200, "{messages}");
}
