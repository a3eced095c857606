//! The relay: one that lies would make every other test lie.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use polywire_conformance::{Relay, Way};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LIMIT: Duration = Duration::from_secs(10);
const KEPT: usize = 1 << 20;

/// A listener on a free port, and its address.
async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[tokio::test]
async fn both_directions_are_kept_and_their_ends_passed_on() {
    let (listener, upstream) = listener().await;
    let relay = Relay::start(upstream, KEPT).await.unwrap();
    let mut client = TcpStream::connect(relay.address()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut read = Vec::new();
    server.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"question");
    server.write_all(b"answer").await.unwrap();
    drop(server);
    read.clear();
    client.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"answer");
    let seen = relay.wait_for(0, |recording| recording.over, LIMIT).await.unwrap();
    assert_eq!(seen.bytes(Way::ToServer), b"question");
    assert_eq!(seen.bytes(Way::ToClient), b"answer");
    assert!(seen.client_ended && seen.server_ended);
}

#[tokio::test]
async fn one_connection_is_cut_and_the_other_left() {
    let (listener, upstream) = listener().await;
    let relay = Relay::start(upstream, KEPT).await.unwrap();
    let mut clients = Vec::new();
    let mut servers = Vec::new();
    for number in 0..2 {
        clients.push(TcpStream::connect(relay.address()).await.unwrap());
        servers.push(listener.accept().await.unwrap().0);
        relay.wait_for(number, |_| true, LIMIT).await.unwrap();
    }
    relay.cut_one(0);
    // A cut is an end or a reset, never data.
    assert!(matches!(servers[0].read(&mut [0]).await, Ok(0) | Err(_)));
    assert!(matches!(clients[0].read(&mut [0]).await, Ok(0) | Err(_)));
    clients[1].write_all(b"x").await.unwrap();
    assert_eq!(servers[1].read_u8().await.unwrap(), b'x');
    assert!(relay.recording(0).over && !relay.recording(1).over);
}

#[tokio::test]
async fn connections_to_come_are_redirected_and_those_that_are_left() {
    let ((first, upstream), (second, other)) = (listener().await, listener().await);
    let relay = Relay::start(upstream, KEPT).await.unwrap();
    let mut before = TcpStream::connect(relay.address()).await.unwrap();
    let (mut server, _) = first.accept().await.unwrap();
    relay.redirect(other);
    let mut after = TcpStream::connect(relay.address()).await.unwrap();
    let (mut replacement, _) = second.accept().await.unwrap();
    before.write_all(b"1").await.unwrap();
    after.write_all(b"2").await.unwrap();
    assert_eq!((server.read_u8().await.unwrap(), replacement.read_u8().await.unwrap()), (b'1', b'2'));
}

#[tokio::test]
async fn sliced_writes_lose_no_byte() {
    let (listener, upstream) = listener().await;
    let relay = Relay::start(upstream, KEPT).await.unwrap();
    relay.slice_writes(1);
    let mut client = TcpStream::connect(relay.address()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let sent = (0..=255).cycle().take(4000).collect::<Vec<u8>>();
    client.write_all(&sent).await.unwrap();
    let mut read = vec![0; sent.len()];
    let mut reads = 0;
    let mut at = 0;
    while at < read.len() {
        at += server.read(&mut read[at..]).await.unwrap();
        reads += 1;
    }
    assert_eq!(read, sent);
    assert!(reads > 1, "everything came in one read");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_in_vain_is_told_what_was_seen() {
    let (_listener, upstream) = listener().await;
    let relay = Relay::start(upstream, KEPT).await.unwrap();
    let error = relay.wait_for(0, |_| true, LIMIT).await.unwrap_err();
    assert_eq!(error.to_string(), "connection 0 was not opened within 10s");
}

#[tokio::test]
async fn an_impostor_says_its_words_and_leaves_or_stays_until_everybody_is_honest_again() {
    let (listener, server) = listener().await;
    let relay = Relay::start(server, KEPT).await.unwrap();
    for leaves in [true, false] {
        relay.impersonate(b"hello", leaves);
        let mut client = TcpStream::connect(relay.address()).await.unwrap();
        client.write_all(b"who?").await.unwrap();
        let mut said = [0; 5];
        client.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"hello");
        if leaves {
            assert_eq!(client.read(&mut said).await.unwrap(), 0);
        } else {
            client.shutdown().await.unwrap();
            relay.wait_for(1, |seen| seen.over, LIMIT).await.unwrap();
        }
    }
    assert_eq!(relay.recording(0).bytes(Way::ToClient), b"hello");
    relay.be_honest();
    let _client = TcpStream::connect(relay.address()).await.unwrap();
    listener.accept().await.unwrap();
}

#[tokio::test]
async fn what_is_stalled_goes_on_and_what_is_injected_comes_from_the_other_end() {
    let (listener, server) = listener().await;
    let relay = Relay::start(server, KEPT).await.unwrap();
    let mut client = TcpStream::connect(relay.address()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    relay.stall(Way::ToServer);
    client.write_all(b"held").await.unwrap();
    // The other way is open meanwhile, and what comes over it says that the first had its time.
    server.write_all(b"free").await.unwrap();
    let mut came = [0; 4];
    client.read_exact(&mut came).await.unwrap();
    assert_eq!(&came, b"free");
    assert_eq!(server.try_read(&mut came).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    relay.let_go();
    server.read_exact(&mut came).await.unwrap();
    assert_eq!(&came, b"held");
    relay.inject(Way::ToClient, b"fake");
    client.read_exact(&mut came).await.unwrap();
    assert_eq!(&came, b"fake");
}
