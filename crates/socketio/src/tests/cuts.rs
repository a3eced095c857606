//! Recorded WebSockets of Socket.IO, cut at every byte: what comes is the same.

use std::fs;
use std::task::{Context, Poll, Waker};

use polywire_core::{Message, MessageCodec, Transport};
use polywire_net::websocket::{Opening, Settings, WebSocket, accept, connect};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::vectors::{VECTORS, message};
use crate::codec::{Codec, Frame};

/// What one side of a recorded WebSocket said, in order.
type Said = Vec<Message>;

/// What was said this way over each recorded WebSocket.
fn recorded(direction: &str) -> Vec<(String, Said)> {
    let mut all = Vec::new();
    let files = fs::read_dir(format!("{VECTORS}/transcripts")).unwrap();
    for file in files {
        let path = file.unwrap().path();
        let recording: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let entries = recording["entries"].as_array().unwrap();
        for open in entries.iter().filter(|entry| entry["kind"] == "ws-open") {
            let said = entries.iter().filter(|entry| {
                let is_message = entry["kind"] == "ws-text" || entry["kind"] == "ws-binary";
                is_message && entry["dir"] == direction && entry["conn"] == open["conn"]
            });
            let name = format!("{} of {}", open["conn"], path.display());
            all.push((name, said.map(message).collect()));
        }
    }
    assert!(all.len() > 18, "{}", all.len());
    all
}

/// The frame of a message; that of a client is masked.
fn frame(message: &Message, masked: bool) -> Vec<u8> {
    let (first, content) = match message {
        Message::Text(text) => (0x81, text),
        Message::Binary(bytes) => (0x82, bytes),
        other => panic!("{other:?}"),
    };
    let mut frame = vec![first];
    let mark = if masked { 0x80 } else { 0 };
    match (u8::try_from(content.len()), u16::try_from(content.len())) {
        (Ok(short @ 0..126), _) => frame.push(mark | short),
        (_, Ok(middle)) => {
            frame.push(mark | 126);
            frame.extend(middle.to_be_bytes());
        }
        _ => {
            frame.push(mark | 127);
            frame.extend((content.len() as u64).to_be_bytes());
        }
    }
    let mask: &[u8] = if masked { &[7, 1, 200, 33] } else { &[] };
    frame.extend(mask);
    let mask = mask.iter().chain((!masked).then_some(&0)).cycle();
    frame.extend(content.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Our end of a WebSocket, a server's or a client's, and the raw other one.
async fn pair(ours_serves: bool) -> (WebSocket<DuplexStream>, DuplexStream) {
    let (near, mut far) = duplex(1 << 18);
    if ours_serves {
        let request = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        far.write_all(request.as_bytes()).await.unwrap();
        let socket = accept(near, Settings::default(), |_| Ok(())).await.unwrap();
        return (socket, far);
    }
    let opening = Opening { host: "h", path: "/", headers: &[] };
    let (socket, ()) = tokio::join!(connect(near, opening, Settings::default()), async {
        // The other end is a server of ours, whose stream is taken back once it has answered.
        let (inner, mut relay) = duplex(1 << 12);
        let accepting = accept(inner, Settings::default(), |_| Ok(()));
        let relaying = async {
            relay.write_all(&head(&mut far).await).await.unwrap();
            far.write_all(&head(&mut relay).await).await.unwrap();
        };
        tokio::join!(accepting, relaying).0.unwrap();
    });
    (socket.unwrap(), far)
}

async fn head(io: &mut DuplexStream) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.unwrap());
    }
    head
}

/// Writes these pieces, and takes in what comes after each.
async fn come(
    socket: &mut WebSocket<DuplexStream>,
    far: &mut DuplexStream,
    pieces: impl Iterator<Item = &[u8]>,
) -> Vec<Frame> {
    let mut heard = Vec::new();
    for piece in pieces {
        far.write_all(piece).await.unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(frame) = socket.poll_receive(&mut cx, &mut Codec) {
            heard.push(frame.unwrap().unwrap());
        }
    }
    heard
}

/// Where a window of frames is cut: everywhere, but for the middle of what is large.
fn cuts(length: usize) -> impl Iterator<Item = usize> {
    const EDGE: usize = 2_000;
    (1..length).filter(move |cut| *cut < EDGE || *cut + EDGE > length)
}

#[tokio::test]
async fn what_was_recorded_comes_the_same_however_it_is_cut() {
    for direction in ["c2s", "s2c"] {
        let from_client = direction == "c2s";
        for (name, said) in recorded(direction) {
            let (mut socket, mut far) = pair(from_client).await;
            let frames: Vec<_> = said.iter().map(|message| frame(message, from_client)).collect();
            let expected: Vec<_> =
                said.iter().map(|message| Codec.decode(message.clone()).unwrap().unwrap()).collect();
            let run = async {
                // Each frame with the one behind it, in two pieces.
                for (at, frames) in frames.windows(2.min(frames.len())).enumerate() {
                    let window = frames.concat();
                    let expected = &expected[at..at + frames.len()];
                    for cut in cuts(window.len()) {
                        let (one, other) = window.split_at(cut);
                        let heard = come(&mut socket, &mut far, [one, other].into_iter()).await;
                        assert_eq!(heard, expected, "{cut} of frame {at}, {name}");
                    }
                }
                // All of them byte by byte.
                let stream = frames.concat();
                let heard = come(&mut socket, &mut far, stream.chunks(1)).await;
                assert_eq!(heard, expected, "byte by byte, {name}");
            };
            // Without the bound on what a task may do at a time, which would leave frames unread here.
            tokio::task::unconstrained(run).await;
        }
    }
}
