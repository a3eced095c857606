//! We do no harm, on Socket.IO: whatever our ends send, the official server and clients live, hear it whole and in order, and report
//! no error.
//!
//! `POLYWIRE_SOAK_MESSAGES` and `POLYWIRE_SOAK_SEED` say how many messages, and which.

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{Body, Credentials, Endpoint, JsonText, Meta, Reconnect};
use polywire_socketio::{Config, RESERVED, SEVERAL, ServerConfig, Transports, dial, listen};
use polywire_tests::driver::Driver;
use polywire_tests::harm::{Told, Trial, heard, hex};
use polywire_tests::install::{PYTHON_SOCKETIO, SOCKET_IO, SOCKET_IO_CLIENT};
use polywire_tests::odd::{self, Load, Message, Odd};
use polywire_tests::process::ProcessError;
use polywire_tests::skip;
use serde_json::{Value, json};

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
