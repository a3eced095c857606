//! We do no harm, on Socket.IO: whatever our ends send, the official server and clients live, hear it whole and in order, and report
//! no error.
//!
//! `POLYWIRE_SOAK_MESSAGES` and `POLYWIRE_SOAK_SEED` say how many messages, and which.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "support/socketio_raw.rs"]
mod raw;

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{Body, Credentials, Endpoint, JsonText, Meta, Reconnect};
use polywire_net::websocket::{Settings, accept};
use polywire_socketio::{Config, RESERVED, SEVERAL, ServerConfig, Transports, dial, listen};
use polywire_tests::driver::Driver;
use polywire_tests::harm::{Told, Trial, heard, hex};
use polywire_tests::install::{PYTHON_SOCKETIO, SOCKET_IO, SOCKET_IO_CLIENT};
use polywire_tests::odd::{self, Load, Message, Odd};
use polywire_tests::process::ProcessError;
use polywire_tests::skip;
use raw::Raw;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};

/// How long our end may take to connect.
const LIMIT: Duration = Duration::from_secs(30);

/// Names that python-socketio takes for its own: the first is its handler of everything, the second it keeps for itself.
const PYTHON: [&str; 2] = ["*", "__disconnect_final"];

/// Either way of a Socket.IO connection with a namespace of its own: one stands in every packet, the main one in none.
const WAYS: [(&str, &str); 2] = [("websocket", "/"), ("polling", "/odd.ones")];

/// A name that an application may use.
fn name(odd: &mut Odd, taken: &[&str]) -> String {
    let name = odd.name();
    if RESERVED.contains(&&*name) || taken.contains(&&*name) { format!("{name}ed") } else { name }
}

/// A body with its facts, and how it is heard under `name`.
fn body(odd: &mut Odd, name: &str) -> (Body, Meta, Value) {
    match odd.below(12) {
        // Several arguments.
        0 => {
            let items: Vec<String> = (0..2 + odd.below(3)).map(|_| odd.json()).collect();
            let text = format!("[{}]", items.join(","));
            let body = Body::Json(JsonText::from_validated(text.into()));
            let told = heard(name, &body, None);
            (body, Meta::default().with(SEVERAL, items.len().to_string()), told)
        }
        // Bytes inside JSON.
        1 => {
            let attachments: Vec<_> = (0..1 + odd.below(3)).map(|_| odd.bytes()).collect();
            let places: Vec<_> = (0..attachments.len())
                .map(|number| format!("{{\"a\":[{{\"_placeholder\":true,\"num\":{number}}}]}}"))
                .collect();
            let text = format!("{{\"many\":[{}]}}", places.join(","));
            let shown: Vec<_> = attachments.iter().map(|bytes| hex(bytes)).collect();
            let told = json!({ "name": name, "text": text, "attachments": shown });
            (
                Body::Json(JsonText::from_validated(text.into())),
                Meta::default().with_attachments(attachments),
                told,
            )
        }
        _ => {
            let kind = if odd.once_in(2) { String::new() } else { odd.name() };
            let body = odd.body(Some(&kind));
            let mut told = heard(name, &body, None);
            if let Body::Binary(binary) = &body
                && !binary.kind.is_empty()
            {
                told["kind"] = json!(&*binary.kind);
            }
            (body, Meta::default(), told)
        }
    }
}

fn message(odd: &mut Odd, taken: &[&str]) -> Told {
    let (name, asks) = (name(odd, taken), odd.once_in(3));
    let (body, meta, told) = body(odd, &name);
    (Message { meta, ..Message::new(name, body, asks) }, told)
}

fn answer(odd: &mut Odd) -> Told {
    if odd.once_in(8) {
        let failure = odd.failure();
        let told = heard("", &Body::Json(failure.to_json()), None);
        return (Message::answer(Load::Failure(failure)), told);
    }
    let (body, meta, told) = body(odd, "");
    (Message { meta, ..Message::answer(Load::Body(body)) }, told)
}

/// The next that python-socketio reads: it leaves out what holds an integer of more than 100 digits.
fn for_python(mut make: impl FnMut() -> Told) -> Told {
    loop {
        let told = make();
        let text = told.1["text"].as_str().unwrap_or_default();
        if text.split(|letter: char| !letter.is_ascii_digit()).all(|digits| digits.len() <= 100) {
            return told;
        }
    }
}

/// Our server against the client that `driver` is.
async fn serve(
    trial: Trial,
    (transport, namespace): (&str, &str),
    mut driver: Driver,
) -> Result<(), ProcessError> {
    let endpoint = Endpoint::new("socketio", trial.handler());
    let config = ServerConfig::new([namespace]);
    let server = listen("127.0.0.1:0", config, endpoint).await.expect("a free port");
    let url = format!("http://{}", server.address());
    driver.run("connect", json!({ "url": url, "namespace": namespace, "transports": [transport] })).await?;
    let [peer] = &server.peers()[..] else { panic!("one client is connected") };
    trial.run(peer.caller().expect("a connection"), &mut driver).await?;
    driver.finish().await?;
    assert_eq!(server.ledger().unaccounted_frames(), 0);
    Ok(())
}

#[tokio::test]
async fn no_harm_to_the_official_server() -> Result<(), ProcessError> {
    let test = "no_harm_to_the_official_server";
    let Some(package) = skip::package(test, &SOCKET_IO) else { return Ok(()) };
    for (seed, count) in odd::rounds(test) {
        for (transport, namespace) in WAYS {
            let transports = if transport == "polling" { Transports::Polling } else { Transports::WebSocket };
            let mut driver = Driver::start("harm_socketio.mjs", &package)?;
            let trial = Trial::new(seed, count / 4, |odd| message(odd, &[]), answer);
            let listening = driver.run("listen", json!({ "namespace": namespace })).await?;
            let address = format!("127.0.0.1:{}", listening["port"]);
            let endpoint =
                Endpoint { reconnect: Reconnect::never(), ..Endpoint::new("socketio", trial.handler()) };
            let config = Config { transports, ..Config::new(namespace) };
            let guest = Arc::new(Credentials::guest());
            let client = dial(&address, config, guest, endpoint).expect("good settings");
            tokio::time::timeout(LIMIT, client.ready()).await.expect("in time").expect("we connect");
            driver.run("connected", json!({})).await?;
            trial.run(client.caller(), &mut driver).await?;
            driver.finish().await?;
            assert_eq!(client.ledger().unaccounted_frames(), 0);
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_harm_to_the_official_client() -> Result<(), ProcessError> {
    let test = "no_harm_to_the_official_client";
    let Some(package) = skip::package(test, &SOCKET_IO_CLIENT) else { return Ok(()) };
    for (seed, count) in odd::rounds(test) {
        for way in WAYS {
            let trial = Trial::new(seed, count / 4, |odd| message(odd, &[]), answer);
            serve(trial, way, Driver::start("harm_socketio.mjs", &package)?).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_harm_to_the_python_client() -> Result<(), ProcessError> {
    let test = "no_harm_to_the_python_client";
    let Some(package) = skip::package(test, &PYTHON_SOCKETIO) else { return Ok(()) };
    for (seed, count) in odd::rounds(test) {
        for way in WAYS {
            let message = |odd: &mut Odd| for_python(|| message(odd, &PYTHON));
            let trial = Trial::new(seed, count / 4, message, |odd| for_python(|| answer(odd)));
            serve(trial, way, Driver::start("harm_socketio.py", &package)?).await?;
        }
    }
    Ok(())
}

/// What was heard of so many messages, or the words of the first problem noticed.
async fn noticed(driver: &mut Driver, heard: usize) -> Result<Value, String> {
    let told = driver.ask("heard", json!({ "count": heard })).await.map_err(|error| error.to_string())?;
    let told = told.map_err(|error| error.to_string())?;
    match driver.run("trouble", json!({})).await.map_err(|error| error.to_string())? {
        Value::Array(trouble) if trouble.is_empty() => Ok(told),
        trouble => Err(trouble.to_string()),
    }
}

/// What a raw client does to the server that `driver` is.
async fn to_server(mut driver: Driver, messages: &[&str], heard: usize) -> Result<Value, String> {
    let listening = driver.run("listen", json!({ "namespace": "/" })).await.expect("it listens");
    let mut raw = Raw::join(&format!("127.0.0.1:{}", listening["port"])).await;
    driver.run("connected", json!({})).await.expect("it has heard of that");
    for message in messages {
        match message.strip_prefix('b') {
            Some(bytes) => raw.send_binary(&[bytes.as_bytes()]).await,
            None => raw.send(&[message]).await,
        }
    }
    noticed(&mut driver, heard).await
}

/// What a raw server does to the client that `driver` is.
async fn to_client(mut driver: Driver, messages: &[&str], heard: usize) -> Result<Value, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it listens"));
    let how = json!({ "url": url, "namespace": "/", "transports": ["websocket"] });
    let connecting = driver.begin("connect", how).await.map_err(|error| error.to_string())?;
    let (mut stream, _) = listener.accept().await.expect("it connects");
    open(&mut stream).await;
    say(
        &mut stream,
        "0{\"sid\":\"a\",\"upgrades\":[],\"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":1000}",
    )
    .await;
    // Its CONNECT has come.
    stream.read_u8().await.expect("it joins");
    say(&mut stream, "40{\"sid\":\"b\"}").await;
    driver.answer(connecting).await.map_err(|error| error.to_string())?.expect("it connects");
    for message in messages {
        say(&mut stream, message).await;
    }
    noticed(&mut driver, heard).await
}

/// Answers the opening handshake of a WebSocket in the words of a server of ours.
async fn open(stream: &mut TcpStream) {
    let (inner, mut relay) = duplex(1 << 14);
    let relaying = async {
        relay.write_all(&head(stream).await).await.expect("there is room");
        stream.write_all(&head(&mut relay).await).await.expect("it reads");
    };
    tokio::join!(accept(inner, Settings::default(), |_| Ok(())), relaying).0.expect("a handshake");
}

async fn head(io: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.expect("a head"));
    }
    head
}

/// One message of a server: text, or bytes where it begins with `b`.
async fn say(stream: &mut TcpStream, message: &str) {
    let (first, content) = match message.strip_prefix('b') {
        Some(bytes) => (0x82, bytes),
        None => (0x81, message),
    };
    let length = u8::try_from(content.len()).expect("it is short");
    assert!(length < 126, "it is short");
    stream.write_all(&[&[first, length], content.as_bytes()].concat()).await.expect("it reads");
}

/// Two events, the same the other way round, and one of them with other words.
const GOOD: [[&str; 2]; 3] =
    [["42[\"a\",1]", "42[\"b\",2]"], ["42[\"b\",2]", "42[\"a\",1]"], ["42[\"a\",1]", "42[\"b\",3]"]];
/// What ends the connection of whoever hears it, or kills the task that does.
const HARM: [&[&str]; 5] =
    [&["4x"], &["42{}"], &["49"], &["bnobody announced it"], &["451-[\"a\"]", "42[\"b\"]"]];

/// What is heard of two events shows their order and their words.
fn shows(heard: &[Value]) {
    let [one, other, changed] = heard else { panic!("{heard:?}") };
    assert_eq!((&one[0], &one[1]), (&other[1], &other[0]), "an order shows");
    assert_eq!(one[0], changed[0]);
    assert_ne!(one[1], changed[1], "a word shows");
}

/// The trials can fail: what does harm is noticed.
#[tokio::test]
async fn harm_to_the_official_server_would_be_noticed() -> Result<(), ProcessError> {
    let test = "harm_to_the_official_server_would_be_noticed";
    let Some(package) = skip::package(test, &SOCKET_IO) else { return Ok(()) };
    let start = || Driver::start("harm_socketio.mjs", &package);
    let mut heard = Vec::new();
    for messages in GOOD {
        heard.push(to_server(start()?, &messages, 2).await.expect("both are heard"));
    }
    shows(&heard);
    for messages in HARM.iter().chain(&[&["41"][..]]) {
        let told = to_server(start()?, messages, 1).await.expect_err("a trouble");
        assert!(told.contains("disconnect: "), "{messages:?}: {told}");
    }
    Ok(())
}

/// The same of a client: `harm` makes it say these words.
async fn harm_would_be_noticed(
    start: impl Fn() -> Result<Driver, ProcessError>,
    harm: &[&[&str]],
    words: &str,
) -> Result<(), ProcessError> {
    let mut heard = Vec::new();
    for messages in GOOD {
        heard.push(to_client(start()?, &messages, 2).await.expect("both are heard"));
    }
    shows(&heard);
    for messages in harm {
        let told = to_client(start()?, messages, 1).await.expect_err("a trouble");
        assert!(told.contains(words), "{messages:?}: {told}");
    }
    let told = to_client(start()?, &["41"], 1).await.expect_err("it was sent away");
    assert!(told.contains("disconnect: "), "{told}");
    // Something else is heard than was meant.
    let other = |odd: &mut Odd| (message(odd, &PYTHON).0, json!({ "name": "another" }));
    let trial = Trial::new(1, 4, other, |odd| for_python(|| answer(odd)));
    let failed = tokio::spawn(serve(trial, WAYS[0], start()?)).await;
    assert!(failed.is_err_and(|failed| failed.is_panic()));
    Ok(())
}

#[tokio::test]
async fn harm_to_the_official_client_would_be_noticed() -> Result<(), ProcessError> {
    let test = "harm_to_the_official_client_would_be_noticed";
    let Some(package) = skip::package(test, &SOCKET_IO_CLIENT) else { return Ok(()) };
    harm_would_be_noticed(|| Driver::start("harm_socketio.mjs", &package), &HARM, "parse error").await
}

#[tokio::test]
async fn harm_to_the_python_client_would_be_noticed() -> Result<(), ProcessError> {
    let test = "harm_to_the_python_client_would_be_noticed";
    let Some(package) = skip::package(test, &PYTHON_SOCKETIO) else { return Ok(()) };
    let start = || Driver::start("harm_socketio.py", &package);
    // Text between attachments, which comes last, it takes.
    harm_would_be_noticed(start, &HARM[..4], "exception was never retrieved").await
}
