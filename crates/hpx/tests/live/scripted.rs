//! Servers of a script, spoken byte for byte, and what our client makes of them.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use polywire_core::ClientState;
use polywire_hpx::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{alice, connect, guest, request, text};

/// Sends one frame.
pub(crate) async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(&frame(text)).await.unwrap();
}

pub(crate) fn frame(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    let mut frame = encoder.finish().unwrap();
    frame.extend_from_slice(b"<EOF>");
    frame
}

/// The text of the next frame.
pub(crate) async fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> String {
    loop {
        if let Some(end) = buffer.windows(5).position(|window| window == b"<EOF>") {
            let mut text = String::new();
            let mut decoder = flate2::read::GzDecoder::new(&buffer[..end]);
            std::io::Read::read_to_string(&mut decoder, &mut text).unwrap();
            buffer.drain(..end + 5);
            return text;
        }
        let read = stream.read_buf(buffer).await.unwrap();
        assert!(read > 0, "the peer closed");
    }
}

/// A server of a script: greets, then answers each message with what `answer` makes of it.
pub(crate) async fn scripted(answer: impl Fn(usize, &str) -> Vec<String> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        for connection in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut buffer = Vec::new();
                send(&mut stream, r#"{"session":"","name":"s","data":{"version":{},"guest_allowed":true}}"#)
                    .await;
                loop {
                    while !buffer.windows(5).any(|window| window == b"<EOF>") {
                        if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let message = receive(&mut stream, &mut buffer).await;
                    for reply in answer(connection, &message) {
                        send(&mut stream, &reply).await;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn p14_an_expired_session_under_four_connections_costs_one_login() {
    let sessions = Arc::new(AtomicUsize::new(0));
    let valid = Arc::clone(&sessions);
    let address = scripted(move |_, message| {
        let current = format!("s{}", valid.load(Ordering::SeqCst));
        if message.contains(r#""data":{"user""#) {
            let fresh = valid.fetch_add(1, Ordering::SeqCst) + 1;
            return vec![format!(r#"{{"session":"s{fresh}","name":"s","data":"Authenticated"}}"#)];
        }
        if !message.contains(&format!(r#""session":"{current}""#)) {
            let error = r#"{"session":"x","name":"s","data":null,"error":{"code":408,"msg":"expired"}}"#;
            return vec![error.to_owned()];
        }
        vec![format!(r#"{{"session":"{current}","name":"s","data":[{{"fname":"f","data":1}}]}}"#)]
    })
    .await;
    let client = Arc::new(connect(&address, alice(), ClientConfig::default()));
    client.ready().await.unwrap();
    assert_eq!(text(client.call(request("f", "{}")).await), "1");
    let mut state = client.core().watch();
    state.wait_for(|state| *state == ClientState::Ready).await.unwrap();
    for expired in 2..6 {
        // Whoever uses the session of before gets 408.
        sessions.fetch_add(100, Ordering::SeqCst);
        let before = sessions.load(Ordering::SeqCst);
        let calls: Vec<_> = (0..4)
            .map(|_| {
                let client = Arc::clone(&client);
                tokio::spawn(async move { client.call(request("f", "{}")).await })
            })
            .collect();
        for call in calls {
            assert_eq!(text(call.await.unwrap()), "1", "round {expired}");
        }
        assert_eq!(sessions.load(Ordering::SeqCst), before + 1, "one login for all");
    }
}

#[tokio::test]
async fn p12_a_broadcast_is_never_taken_for_the_reply() {
    let address = scripted(|_, message| {
        if !message.contains("fname") {
            return vec![r#"{"session":"s1","name":"s","data":"Authenticated"}"#.to_owned()];
        }
        vec![
            r#"{"session":"s1","name":"s","data":1}"#.to_owned(),
            r#"{"session":"s1","name":"s","data":[{"fname":"f","data":"the reply"}]}"#.to_owned(),
        ]
    })
    .await;
    let client = connect(&address, guest(), ClientConfig::default());
    assert_eq!(text(client.call(request("f", "{}")).await), "\"the reply\"");
    assert_eq!(text(client.call(request("f", "{}")).await), "\"the reply\"");
}

#[tokio::test]
async fn a_connection_that_is_never_greeted_holds_up_no_call() {
    // The original leaves connections above `allowed_clients` waiting in its backlog.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = Vec::new();
        send(&mut stream, r#"{"session":"","name":"s","data":{"version":{}}}"#).await;
        receive(&mut stream, &mut buffer).await;
        send(&mut stream, r#"{"session":"s1","name":"s","data":"Authenticated"}"#).await;
        loop {
            receive(&mut stream, &mut buffer).await;
            send(&mut stream, r#"{"session":"s1","name":"s","data":[{"fname":"f","data":1}]}"#).await;
        }
    });
    let client = Arc::new(connect(&address, guest(), ClientConfig::default()));
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move { client.call(request("f", "{}")).await })
        })
        .collect();
    for call in calls {
        assert_eq!(text(call.await.unwrap()), "1");
    }
}
