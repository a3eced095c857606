//! What the independent client seals: our code opens every message, and none of which one bit was flipped on the way.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../crates/net/tests/support/plain.rs"]
mod plain;

use std::future::poll_fn;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use plain::Plain;
use polywire_core::{
    Endpoint, Flush, Handler, HandlerFuture, Incoming, Message, MessageCodec, Response, Transport,
};
use polywire_net::websocket::{Opening, Settings, WebSocket, accept, connect};
use polywire_stonyx::{Codec, Config, Frame, Key, listen};
use polywire_tests::install::WS;
use polywire_tests::{peer, skip};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(60);
const KEY: &str = "the shared key of these tests";
/// Calls of the client.
const CALLS: usize = 1_000;

type Raw = WebSocket<TcpStream>;

async fn hear(raw: &mut Raw) -> Option<Message> {
    // However the other side goes, it is gone.
    poll_fn(|cx| raw.poll_receive(cx, &mut Plain)).await.ok().flatten()
}

async fn say(raw: &mut Raw, message: Message) {
    raw.send(message, Flush::Coalesce, &mut Plain).unwrap();
    poll_fn(|cx| Transport::<Plain>::poll_flush(raw, cx)).await.unwrap();
}

/// Hands on what two ends say, and keeps the sealed messages of the first and the first one of the second.
async fn hand_on(mut client: Raw, mut server: Raw) -> (Vec<Bytes>, Bytes) {
    let (mut asked, mut welcome) = (Vec::new(), None);
    loop {
        tokio::select! {
            said = hear(&mut client) => match said {
                Some(Message::Binary(sealed)) => {
                    asked.push(sealed.clone());
                    say(&mut server, Message::Binary(sealed)).await;
                }
                _ => return (asked, welcome.expect("it was let in")),
            },
            said = hear(&mut server) => match said {
                Some(Message::Binary(sealed)) => {
                    welcome.get_or_insert_with(|| sealed.clone());
                    say(&mut client, Message::Binary(sealed)).await;
                }
                other => panic!("the server goes first: {other:?}"),
            },
        }
    }
}

/// The text of a sealed message, if it can be opened.
fn open(key: &Key, sealed: impl Into<Bytes>) -> Option<Bytes> {
    match Codec::new(key).decode(Message::Binary(sealed.into())).unwrap() {
        Some(Frame::Read { nonce: Some(_), text }) => Some(text),
        Some(Frame::Shut(_)) => None,
        other => panic!("{other:?}"),
    }
}

fn json(text: &Bytes) -> Value {
    serde_json::from_slice(text).unwrap()
}

/// Says what it was told.
struct Echo;

impl Handler for Echo {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        Box::pin(async move { Ok(Response::from(incoming.body)) })
    }
}

#[tokio::test]
async fn g20_a_thousand_frames_of_the_independent_client_open_and_with_any_bit_flipped_do_not() {
    let name = "g20_a_thousand_frames_of_the_independent_client_open_and_with_any_bit_flipped_do_not";
    let Some(package) = skip::package(name, &WS) else { return };
    let endpoint = Endpoint::new("stonyx", Echo);
    let server = listen("127.0.0.1:0", Config::new(KEY), endpoint).await.unwrap();
    let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, calls) = (between.local_addr().unwrap().port().to_string(), CALLS.to_string());
    let flags = ["--port", &port, "--auth-key", KEY, "--scenarios", "echo,tricky"];
    let flags = [&flags[..], &["--count", &calls, "--pipeline", "64", "--size", "40"]].concat();
    let mut client = peer::stonyx("client.mjs", &package, &flags).unwrap();
    let (stream, _) = between.accept().await.unwrap();
    let theirs = accept(stream, Settings::default(), |_| Ok(())).await.unwrap();
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let opening = Opening { host: "127.0.0.1", path: "/", headers: &[] };
    let ours = connect(stream, opening, Settings::default()).await.unwrap();
    let (asked, welcome) = timeout(LIMIT, hand_on(theirs, ours)).await.unwrap();
    let report = client.wait_for_json(|line| line["role"] == "client", LIMIT).await.unwrap();
    assert_eq!(report["ok"], true, "{report:#}");

    let shared = Key::derive(KEY.as_bytes());
    let welcome = json(&open(&shared, welcome).unwrap());
    let session = BASE64_STANDARD.decode(welcome["sessionKey"].as_str().unwrap()).unwrap();
    let session = Key::new(&session.try_into().unwrap());
    let (login, calls) = asked.split_first().unwrap();
    assert_eq!(json(&open(&shared, login.clone()).unwrap())["data"]["authKey"], KEY);
    assert!(calls.len() >= CALLS, "{}", calls.len());
    for (number, sealed) in calls.iter().enumerate() {
        let told = json(&open(&session, sealed.clone()).unwrap());
        assert_eq!(told["request"], "echo", "{told}");
        if number < CALLS {
            assert_eq!(told["data"]["seq"], number, "{told}");
        }
    }
    for (key, sealed) in [(&shared, login)].into_iter().chain(calls.iter().map(|sealed| (&session, sealed))) {
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open(key, flipped).is_none(), "bit {bit} of {sealed:x?}");
        }
    }
    server.shutdown().await;
}
