//! We do no harm, on Sockhop: whatever our ends send, stock peers live, hear it whole and in order, and report no error.
//!
//! `POLYWIRE_SOAK_MESSAGES` and `POLYWIRE_SOAK_SEED` say how many messages, and which.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use polywire_core::json::{Members, as_string};
use polywire_core::{Body, Endpoint, JsonLimits, JsonText, Reconnect};
use polywire_sockhop::{Calls, Config, PeerType, Switch, dial, listen};
use polywire_tests::driver::Driver;
use polywire_tests::harm::{Told, Trial, heard};
use polywire_tests::install::SOCKHOP_184;
use polywire_tests::odd::{self, Load, Message, Odd};
use polywire_tests::place;
use polywire_tests::process::ProcessError;
use polywire_tests::skip::{self, Tool};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// How a stock peer hears bytes.
#[derive(Clone, Copy, PartialEq)]
enum Bytes {
    /// As base64 text: 1.8.4 knows no other way in a line.
    Text,
    /// As the object that Node.js makes of a buffer: requests of the 1.x library.
    Numbers,
    /// As a plain buffer: 2.1, in lines.
    Plain,
    /// Under the name of their type: 2.1, in frames.
    Typed,
}

/// One way of talking to a stock peer.
struct Way {
    config: Config,
    /// Values without an envelope: nothing is asked.
    bare: bool,
    events: Bytes,
    calls: Bytes,
    answers: Bytes,
    /// What its driver is told besides.
    how: Value,
}

/// Every way of 1.8.4: callbacks and answers, the requests of its library, and values without an envelope.
fn ways_of_184() -> [Way; 3] {
    let way =
        |config, calls, bare, how| Way { config, bare, events: Bytes::Text, calls, answers: calls, how };
    let library = Config { calls: Calls::Request, ..Config::default() };
    let bare = Config { peer_type: PeerType::Json, ..Config::default() };
    [
        way(Config::default(), Bytes::Text, false, json!({})),
        way(library, Bytes::Numbers, false, json!({ "library": true })),
        way(bare, Bytes::Text, true, json!({ "bare": true })),
    ]
}

/// Every way of 2.1: lines, and frames behind the fence of the switch.
fn ways_of_21() -> [Way; 2] {
    let way = |switch, bytes| Way {
        config: Config { switch, ..Config::default() },
        bare: false,
        events: bytes,
        calls: bytes,
        answers: bytes,
        how: json!({}),
    };
    [way(Switch::Never, Bytes::Plain), way(Switch::Early, Bytes::Typed)]
}

/// A type that an application may use, the protocol's own left out.
fn kind(odd: &mut Odd) -> String {
    let name = odd.name();
    if name == "SockhopPing" { "SockhopPingX".to_owned() } else { name }
}

fn as_heard(name: &str, body: &Body, bytes: Bytes) -> Value {
    let Body::Binary(binary) = body else { return heard(name, body, Some("{}")) };
    let text = match bytes {
        Bytes::Text => json!(BASE64_STANDARD.encode(&binary.bytes)).to_string(),
        Bytes::Numbers => format!("{{\"type\":\"Buffer\",\"data\":{}}}", json!(&binary.bytes[..])),
        Bytes::Plain | Bytes::Typed => return heard(name, body, None),
    };
    json!({ "name": name, "text": text })
}

/// A value for a peer without envelopes.
fn bare(odd: &mut Odd) -> Told {
    let body = loop {
        match odd.body(None) {
            Body::Json(text) if bare_may_go(&text) => break Body::Json(text),
            _ => {}
        }
    };
    let told = heard("", &body, None);
    (Message::new(kind(odd), body, false), told)
}

/// Null, what looks like a message of the protocol, and an object whose constructor is null are refused.
fn bare_may_go(text: &JsonText) -> bool {
    let limits = JsonLimits::default();
    let Ok(mut members) = Members::new(text.as_bytes(), &limits) else {
        return text.as_str().trim() != "null";
    };
    let (mut kind, mut constructor) = (None, None);
    while let Ok(Some((key, place))) = members.next() {
        let value = text.as_bytes().get(place);
        if key.is("type") {
            kind = value.and_then(as_string);
        } else if key.is("constructor") {
            constructor = value;
        }
    }
    kind.is_none_or(|kind| kind != "SockhopPing") && constructor != Some(b"null")
}

/// How the messages of a trial are made.
fn trial(seed: u64, count: usize, way: &Way) -> Trial {
    if way.bare {
        return Trial::one_way(seed, count, bare);
    }
    Trial::new(seed, count, |odd| message(odd, way), |odd| answer(odd, way))
}

/// A call or event.
fn message(odd: &mut Odd, way: &Way) -> Told {
    let asks = odd.once_in(3);
    let bytes = if asks { way.calls } else { way.events };
    let mut name = kind(odd);
    let body = odd.body(Some("Buffer"));
    match &body {
        // Without frames bytes have one type.
        Body::Binary(_) if bytes != Bytes::Typed => name = "Buffer".to_owned(),
        // Text under the type of bytes would arrive as bytes: refused.
        Body::Json(text) if name == "Buffer" && implied(text.as_bytes()) == "String" => {
            name = "String".to_owned();
        }
        // A request of the 1.x library without a type kills it where the data are null: refused.
        _ if name.is_empty() && bytes == Bytes::Numbers => name = "Object".to_owned(),
        _ => {}
    }
    let told = as_heard(&name, &body, bytes);
    (Message::new(name, body, asks), told)
}

/// What the original calls a value of this kind.
fn implied(text: &[u8]) -> &'static str {
    match text.trim_ascii_start().first() {
        Some(b'[') => "Array",
        Some(b'"') => "String",
        Some(b't' | b'f') => "Boolean",
        Some(b'-' | b'0'..=b'9') => "Number",
        _ => "Object",
    }
}

/// An answer.
fn answer(odd: &mut Odd, way: &Way) -> Told {
    if odd.once_in(8) {
        let failure = odd.failure();
        let told = heard("Error", &Body::Json(failure.to_json()), None);
        return (Message::answer(Load::Failure(failure)), told);
    }
    let typed = kind(odd);
    let body = odd.body(Some(&typed));
    let name = match &body {
        Body::Empty => "Object",
        Body::Json(text) => implied(text.as_bytes()),
        Body::Binary(_) if way.answers == Bytes::Typed && !typed.is_empty() => &typed,
        Body::Binary(_) => "Buffer",
    };
    let told = as_heard(name, &body, way.answers);
    (Message::answer(Load::Body(body)), told)
}

/// Pings come often enough to be part of it, and not so often that a busy machine misses four.
fn lively(config: &Config) -> Config {
    Config { ping_interval: Some(Duration::from_secs(1)), ..config.clone() }
}

/// Our server against the client that `driver` is.
async fn serve(seed: u64, count: usize, way: &Way, mut driver: Driver) -> Result<(), ProcessError> {
    let trial = trial(seed, count, way);
    let endpoint = Endpoint::new("sockhop", trial.handler());
    let server = listen("127.0.0.1:0", lively(&way.config), endpoint).await.expect("a free port");
    let mut how = way.how.clone();
    how["port"] = server.address().rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).into();
    driver.run("connect", how).await?;
    driver.run("connected", json!({})).await?;
    let [peer] = &server.peers()[..] else { panic!("one client is connected") };
    trial.run(peer.caller().expect("a connection"), &mut driver).await?;
    driver.finish().await?;
    assert_eq!(server.ledger().unaccounted_frames(), 0);
    Ok(())
}

/// Our client against the server that `driver` is.
async fn call(seed: u64, count: usize, way: &Way, mut driver: Driver) -> Result<(), ProcessError> {
    let trial = trial(seed, count, way);
    let listening = driver.run("listen", way.how.clone()).await?;
    let address = format!("127.0.0.1:{}", listening["port"]);
    let endpoint = Endpoint { reconnect: Reconnect::never(), ..Endpoint::new("sockhop", trial.handler()) };
    let client = dial(address, lively(&way.config), endpoint).expect("good settings");
    driver.run("connected", json!({})).await?;
    trial.run(client.caller(), &mut driver).await?;
    driver.finish().await?;
    assert_eq!(client.ledger().unaccounted_frames(), 0);
    Ok(())
}

#[tokio::test]
async fn no_harm_to_a_stock_184_client() -> Result<(), ProcessError> {
    let test = "no_harm_to_a_stock_184_client";
    let Some(package) = skip::package(test, &SOCKHOP_184) else { return Ok(()) };
    for (seed, count) in odd::rounds(test) {
        for way in ways_of_184() {
            serve(seed, count / 4, &way, Driver::start("harm_sockhop184.mjs", &package)?).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_harm_to_a_stock_184_server() -> Result<(), ProcessError> {
    let test = "no_harm_to_a_stock_184_server";
    let Some(package) = skip::package(test, &SOCKHOP_184) else { return Ok(()) };
    for (seed, count) in odd::rounds(test) {
        for way in ways_of_184() {
            call(seed, count / 4, &way, Driver::start("harm_sockhop184.mjs", &package)?).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_harm_to_a_21_client() -> Result<(), ProcessError> {
    let test = "no_harm_to_a_21_client";
    if !skip::have(test, &[Tool::Node]) {
        return Ok(());
    }
    for (seed, count) in odd::rounds(test) {
        for way in ways_of_21() {
            serve(seed, count / 4, &way, Driver::start("harm_sockhop21.mjs", &place::tests())?).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_harm_to_a_21_server() -> Result<(), ProcessError> {
    let test = "no_harm_to_a_21_server";
    if !skip::have(test, &[Tool::Node]) {
        return Ok(());
    }
    for (seed, count) in odd::rounds(test) {
        for way in ways_of_21() {
            call(seed, count / 4, &way, Driver::start("harm_sockhop21.mjs", &place::tests())?).await?;
        }
    }
    Ok(())
}

/// What a raw server does to the client that `driver` is: the words of the first problem noticed.
async fn raw(driver: Driver, line: &[u8], heard: usize) -> Result<Value, String> {
    raw_to(json!({}), driver, line, heard).await
}

async fn raw_to(mut how: Value, mut driver: Driver, line: &[u8], heard: usize) -> Result<Value, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    how["port"] = listener.local_addr().expect("it listens").port().into();
    let connecting = driver.begin("connect", how).await.map_err(|error| error.to_string())?;
    let (mut stream, _) = listener.accept().await.expect("it connects");
    driver.answer(connecting).await.map_err(|error| error.to_string())?.expect("it connects");
    stream.write_all(line).await.expect("it reads");
    let told = driver.ask("heard", json!({ "count": heard })).await.map_err(|error| error.to_string())?;
    told.map_err(|error| error.to_string())
}

/// The trials can fail: what does harm is noticed.
#[tokio::test]
async fn harm_to_a_stock_184_client_would_be_noticed() -> Result<(), ProcessError> {
    let test = "harm_to_a_stock_184_client_would_be_noticed";
    let Some(package) = skip::package(test, &SOCKHOP_184) else { return Ok(()) };
    let start = || Driver::start("harm_sockhop184.mjs", &package);
    let good = b"{\"type\":\"a\",\"data\":1}\n{\"type\":\"b\",\"data\":2}\n";
    let fine = raw(start()?, good, 2).await.expect("both are heard");
    let other = raw(start()?, b"{\"type\":\"b\",\"data\":2}\n{\"type\":\"a\",\"data\":1}\n", 2)
        .await
        .expect("both are heard");
    assert_eq!((&fine[0], &fine[1]), (&other[1], &other[0]), "an order shows");
    assert_ne!(fine, other);
    let died = raw(start()?, b"null\n", 1).await.expect_err("the line null kills it");
    assert!(died.contains("ended"), "{died}");
    let died = raw(start()?, b"{\"type\":\"a\",\"data\":1,\"callback_id\":\"x\"}\n", 1).await;
    assert!(died.expect_err("an answer nobody asked for kills it").contains("ended"));
    let told = raw(start()?, b"{\"type\":\n\n", 1).await.expect_err("it reports an error");
    assert!(told.contains("ERR_OBJECTBUFFER_BAD_BUFFER_DATA"), "{told}");
    let bare =
        |line| async move { raw_to(json!({ "bare": true }), start().expect("it starts"), line, 1).await };
    assert!(bare(b"{\"type\":\"a\",\"constructor\":1}\n").await.is_ok());
    for line in [&b"null\n"[..], b"{\"type\":\"SockhopRequest\"}\n", b"{\"constructor\":null}\n"] {
        let died = bare(line).await.expect_err("a bare value that kills it");
        assert!(died.contains("ended"), "{died}");
    }
    Ok(())
}
