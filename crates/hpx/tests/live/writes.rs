//! How messages are laid into writes: old peers take one frame from a read, and two small writes cost a round trip.

use polywire_hpx::{ClientConfig, Dialect, HpxClient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::wires::{Wires, endpoint, logged_in, message, serve, settle, wire};
use crate::{Functions, alice, request, text};

#[tokio::test]
async fn every_message_leaves_whole_in_one_write_at_both_ends() {
    for dialect in [Dialect::A, Dialect::Auto, Dialect::B] {
        let wires = Wires::new();
        let server = serve(&wires, dialect, Functions::new()).await;
        let config = ClientConfig { wire: wire(dialect), connections: 1, ..ClientConfig::default() };
        let client =
            HpxClient::connect("memory", alice(), config, endpoint(&wires, Functions::new())).unwrap();
        let noise: String = (0..200_000_u32)
            .map(|n| char::from(b'a' + (n.wrapping_mul(2_654_435_761) >> 27) as u8 % 26))
            .collect();
        for body in [r#"{"value":1}"#.to_owned(), format!("{{\"value\":\"{noise}\"}}")] {
            assert_eq!(text(client.call(request("echo", &body)).await), body);
        }
        client.call(request("fail", "{}")).await.unwrap_err();
        client.batch(vec![request("echo", "{}"), request("nope", "{}")]).await;
        for (end, messages) in [(&wires.client, 5), (&wires.server, 6)] {
            let sizes: Vec<usize> = end.take().iter().map(Vec::len).collect();
            assert_eq!(sizes, vec![1; messages], "{dialect:?}");
        }
        client.shutdown().await;
        server.shutdown().await;
    }
}

#[tokio::test]
async fn replies_share_a_write_unless_the_dialect_forbids_it() {
    for (dialect, writes) in [(Dialect::A, vec![1, 1, 1]), (Dialect::Auto, vec![3])] {
        let wires = Wires::new();
        let _server = serve(&wires, dialect, Functions::new()).await;
        let (mut peer, session) = logged_in(&wires).await;
        peer.write_all(&message(&session, r#"[{"fname":"echo"}]"#).repeat(3)).await.unwrap();
        let mut bytes = Vec::new();
        while memchr::memmem::find_iter(&bytes, b"<EOF>").count() < 3 {
            peer.read_buf(&mut bytes).await.unwrap();
        }
        assert_eq!(wires.server.take().iter().map(Vec::len).collect::<Vec<_>>(), writes, "{dialect:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_shares_no_write_with_the_replies_before_and_after_it() {
    let wires = Wires::new();
    let _server = serve(&wires, Dialect::Auto, Functions::new()).await;
    let (mut peer, session) = logged_in(&wires).await;
    wires.server.shut();
    // What is written here waits until the server may write again.
    for data in
        [r#"[{"fname":"whoami"}]"#, "\"serverquit\"", r#"[{"fname":"echo"}]"#, r#"[{"fname":"echo"}]"#]
    {
        peer.write_all(&message(&session, data)).await.unwrap();
        settle().await;
    }
    wires.server.open();
    settle().await;
    let writes = wires.server.take();
    let told = format!(r#"{{"session":"{session}","name":"polywire","data":1}}"#);
    assert_eq!(writes.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 2], "{writes:?}");
    assert!(writes[0][0].contains("alice") && writes[1][0] == told, "{writes:?}");
}
