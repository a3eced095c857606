//! Hostile rows over every wire, seen from the log: a line in ten seconds at most is for the operator, and no name breaks a line.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/bridged.rs"]
mod bridged;

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridged::{WIRES, registry};
use polywire_core::layer::Trace;
use polywire_core::{
    Body, Credentials, Endpoint, Identity, Options, Refusal, Response, Router, Secret, Surroundings, Target,
};
use polywire_tests::framed::framed;
use polywire_tests::log::Log;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long anything may take that this test waits for.
const LIMIT: Duration = Duration::from_secs(30);
/// Connections of each kind of peer.
const PEERS: usize = 20;

fn endpoint(wire: &'static str) -> Endpoint {
    let router = Router::new()
        .handle("echo", async |body: Body| Response::from(body))
        .handle("panic", async |_: Body| -> Response { panic!("a handler panics") })
        .layer(Trace::new(&Surroundings::real()))
        .build()
        .unwrap();
    let judge = |credentials: Credentials| async move {
        let guest = credentials.subject.is_none();
        if guest { Ok(Identity::guest()) } else { Err(Refusal::new("wrong")) }
    };
    Endpoint { authenticator: Some(Arc::new(judge)), ..Endpoint::new(wire, router) }
}

fn target(wire: &str) -> Target {
    let mut options = Options::new();
    match wire {
        "hpx" => options.set("guests", "1"),
        "stonyx" => options.set_secret("key", Secret::from("a shared key that is long enough")),
        "hyperhq" => {
            options.set_secret("challenge", Secret::from("a challenge that nobody guesses"));
            options.set("plugin", "demo");
        }
        _ => {}
    }
    Target { address: "127.0.0.1:0".to_owned(), options, ..Target::default() }
}

/// Says all this and hears what comes, until the server closes or has nothing more to say.
async fn say(address: &str, parts: &[Vec<u8>]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    for part in parts {
        if stream.write_all(part).await.is_err() {
            return;
        }
    }
    // It may be closed before everything was said.
    let _ = stream.shutdown().await;
    let _ = timeout(LIMIT, stream.read_to_end(&mut Vec::new())).await.expect("the server closes");
}

/// The text of the next frame of HPX.
async fn next_frame(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"<EOF>") {
        bytes.push(timeout(LIMIT, stream.read_u8()).await.expect("a frame comes").unwrap());
    }
    let mut text = String::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    text
}

/// A message of a WebSocket, masked with nothing.
fn message(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap();
    [&[0x80 | kind, 0x80 | length, 0, 0, 0, 0], bytes].concat()
}

/// What makes no sense, said by somebody who has come in as far as one can without a secret.
fn junk(wire: &str) -> Vec<Vec<u8>> {
    let upgrade = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .into_bytes()
    };
    match wire {
        "sockhop" => {
            (0..40).map(|n| [&b"null\n"[..], b"{\"type\":1}\n", b"\xff\n"][n % 3].to_vec()).collect()
        }
        "hpx" => {
            let wrong =
                "{\"session\":\"\",\"name\":\"n\",\"data\":{\"user\":\"ann\",\"password\":\"wrong\"}}";
            vec![framed(wrong), framed("[1]"), b"no gzip<EOF>".to_vec(), framed("{"), b"<EOF>".to_vec()]
        }
        "stonyx" => vec![upgrade("/"), message(2, &[7; 40]), message(1, b"null")],
        _ => vec![
            upgrade("/socket.io/?EIO=4&transport=websocket"),
            message(1, b"40"),
            message(1, b"42[1,2]"),
            message(1, b"nothing"),
        ],
    }
}

/// Names that are none, or that somebody hopes will be taken for something else.
fn names() -> Vec<String> {
    let long = "n".repeat(1 << 20);
    [
        "",
        "a\nb",
        "\u{202e}txt.exe",
        "\u{1b}[31m",
        "\r\n2026-01-01T00:00:00Z  WARN all is lost",
        "__proto__",
        &long,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Asks for each of the names, twice for what panics, on one connection; each is refused and the connection goes on.
async fn ask(wire: &str, address: &str) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let panics = vec!["panic".to_owned(); PEERS];
    let asked = names().into_iter().chain(panics).enumerate();
    if wire == "sockhop" {
        let (hear, mut say) = stream.split();
        let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(hear));
        for (number, name) in asked.chain([(99, "echo".to_owned())]) {
            let line = json!({ "type": name, "data": 1, "id": number.to_string() });
            say.write_all(format!("{line}\n").as_bytes()).await.unwrap();
            let answer = timeout(LIMIT, lines.next_line()).await.expect("an answer").unwrap().unwrap();
            assert_eq!(answer.contains("\"error\""), number != 99, "{answer}");
        }
    } else {
        next_frame(&mut stream).await;
        stream.write_all(&framed(r#"{"session":"","name":"n","data":{}}"#)).await.unwrap();
        let welcome: serde_json::Value = serde_json::from_str(&next_frame(&mut stream).await).unwrap();
        for (number, name) in asked.chain([(99, "echo".to_owned())]) {
            let call = json!({ "session": welcome["session"], "name": "n", "data": [{ "fname": name }] });
            stream.write_all(&framed(call.to_string())).await.unwrap();
            let answer = next_frame(&mut stream).await;
            assert_eq!(answer.contains("\"error\""), number != 99, "{answer}");
        }
    }
}

#[tokio::test]
async fn c12_hostile_rows_cost_the_log_a_line_at_most_on_every_wire_and_no_name_breaks_one() {
    let log = Log::default();
    let writer = log.clone();
    let told = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::DEBUG);
    told.with_writer(move || writer.clone()).init();
    let others: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"\0\0\0\0",
    ];
    for wire in WIRES {
        let began = Instant::now();
        let server = registry().get(wire).unwrap().listen(target(wire), endpoint(wire)).await.unwrap();
        let address = server.address();
        for _ in 0..PEERS {
            // C-04, C-07, and what the wire itself has: C-10, C-12, C-15, S-01, P-02, P-05, P-16, X-02, X-06, H-05.
            for other in others {
                say(address, &[other.to_vec()]).await;
            }
            let gone = TcpStream::connect(address).await.unwrap();
            gone.set_zero_linger().unwrap();
            drop(gone);
            say(address, &junk(wire)).await;
        }
        if matches!(wire, "sockhop" | "hpx") {
            ask(wire, address).await;
        }
        server.shutdown().await;
        let told = log.take();
        let most = 1 + began.elapsed().as_secs() / 10;
        let loud = told.lines().filter(|line| !line.contains(" DEBUG ")).collect::<Vec<_>>();
        assert!(loud.len() as u64 <= most, "{wire}: {} lines, {:?}", loud.len(), &loud[..loud.len().min(5)]);
        // The log is there, and each of its lines is one: a name is escaped and never ends it.
        assert!(told.lines().count() > PEERS, "{wire}: {}", told.lines().count());
        let whole =
            |line: &str| line.starts_with("20") && !line.chars().any(|c| c.is_control() || c == '\u{202e}');
        if let Some(line) = told.lines().find(|line| !whole(line)) {
            panic!("{wire}: {line:?}");
        }
        if let Some(line) = told.lines().find(|line| line.len() > 2_000) {
            panic!("{wire}: a line of {} bytes", line.len());
        }
    }
}
