//! Rows of hostile input that are the same on every wire, over real sockets: against the servers that read bare TCP, and where it is of
//! interest against those that read HTTP.

#[path = "support/bridged.rs"]
mod bridged;
#[path = "support/leave.rs"]
mod leave;

use std::sync::Arc;
use std::time::Duration;

use bridged::{registry, target};
use leave::{LEAVES, leave};
use polywire_core::{
    Body, CallError, Close, Code, Count, Credentials, Endpoint, Failure, Handler, HandlerFuture, Identity,
    Incoming, JsonLimits, JsonText, Limits, Observe, Peer, Reconnect, Refusal, Request, Route, Server,
};
use polywire_hpx::{ClientConfig, HpxClient, HpxServer, ServerConfig, Wire};
use polywire_size::{Progress, size};
use polywire_sockhop::{Config, dial, listen};
use polywire_tests::books::check_books;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

/// How long anything may take that a test waits for.
const LIMIT: Duration = Duration::from_secs(60);

/// Echoes; `wait` never answers, `ask` asks its peer back.
struct Service {
    running: Arc<Notify>,
}

impl Handler for Service {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let running = Arc::clone(&self.running);
        Box::pin(async move {
            match incoming.route.as_str() {
                "wait" => {
                    running.notify_one();
                    std::future::pending().await
                }
                "ask" => {
                    running.notify_one();
                    let request = Request::new(Route::from_static("asked"), incoming.body);
                    Ok(incoming.peer.call(request).await.map_err(Failure::from)?)
                }
                _ => Ok(incoming.body.into()),
            }
        })
    }
}

/// Tells why connections end, whether or not they were established.
struct Ends(mpsc::UnboundedSender<Close>);

impl Observe for Ends {
    fn connected(&self, _: &Peer) {}

    fn disconnected(&self, _: &Peer, reason: &Close) {
        // The test may be over.
        let _ = self.0.send(reason.clone());
    }

    fn turned_away(&self, reason: &Close) {
        let _ = self.0.send(reason.clone());
    }
}

/// A server of one wire under test.
struct Rig {
    server: Server,
    ends: mpsc::UnboundedReceiver<Close>,
    running: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Sockhop,
    Hpx,
}

const WIRES: [On; 2] = [On::Sockhop, On::Hpx];

async fn serve(on: On, limits: Limits) -> Rig {
    let (tell, ends) = mpsc::unbounded_channel();
    let running = Arc::new(Notify::new());
    let mut endpoint = Endpoint::new("hostile", Service { running: Arc::clone(&running) });
    endpoint.observer = Some(Arc::new(Ends(tell)));
    endpoint.limits = Arc::new(limits.clone());
    let judging = Arc::clone(&running);
    endpoint.authenticator = Some(Arc::new(move |credentials: Credentials| {
        let judging = Arc::clone(&judging);
        async move {
            if credentials.subject.as_deref() == Some("slow") {
                judging.notify_one();
                std::future::pending::<()>().await;
            }
            let guest = credentials.subject.is_none();
            if guest { Err(Refusal::new("no guests")) } else { Ok(Identity::user("user")) }
        }
    }));
    let server = match on {
        On::Sockhop => listen("127.0.0.1:0", Config::default(), endpoint).await.expect("a free port"),
        On::Hpx => {
            let wire = Wire { limits: Arc::new(limits), ..Wire::default() };
            let config = ServerConfig { guests: true, wire, ..ServerConfig::default() };
            HpxServer::bind("127.0.0.1:0", config, endpoint).await.expect("a free port").into_core()
        }
    };
    Rig { server, ends, running }
}

impl Rig {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.server.address()).await.expect("the server listens")
    }

    /// Why the next connection ends.
    async fn end(&mut self) -> Close {
        timeout(LIMIT, self.ends.recv()).await.expect("a connection ends").expect("the server is there")
    }

    /// Nothing is left of any connection.
    #[track_caller]
    fn check_books(&self) {
        check_books(self.server.ledger());
        assert!(self.server.peers().is_empty());
    }
}

/// One frame of HPX around `text`: a stored block needs no compressor.
fn framed(text: &str) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1];
    let length = u16::try_from(text.len()).expect("a short text");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&(!length).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(text.as_bytes());
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&crc.amount().to_le_bytes());
    out.extend_from_slice(b"<EOF>");
    out
}

fn hpx(session: &str, data: &str) -> Vec<u8> {
    framed(&format!("{{\"session\":\"{session}\",\"name\":\"x\",\"data\":{data}}}"))
}

/// The text of the next frame of HPX.
async fn next_frame(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"<EOF>") {
        let byte = timeout(LIMIT, stream.read_u8()).await.expect("a frame comes").expect("the server writes");
        bytes.push(byte);
    }
    let mut text = String::new();
    let mut body = flate2::read::GzDecoder::new(&bytes[..bytes.len() - 5]);
    std::io::Read::read_to_string(&mut body, &mut text).expect("a frame is gzip");
    text
}

/// Logs a guest in and gives its session.
async fn log_in(stream: &mut TcpStream) -> String {
    next_frame(stream).await;
    stream.write_all(&hpx("", "{}")).await.expect("the server reads");
    let welcome = next_frame(stream).await;
    let message = serde_json::from_str::<serde_json::Value>(&welcome).expect("a reply is JSON");
    message["session"].as_str().expect("a session is text").to_owned()
}

#[tokio::test]
async fn c04_every_other_protocol_is_named_on_ports_of_bare_tcp() {
    let line: &[u8] = b"{\"type\":\"Object\",\"data\":{}}\n";
    let others: [(&[u8], &str); 6] = [
        (b"GET / HTTP/1.1\r\n", "HTTP"),
        (b"PRI * HTTP/2.0\r\n", "HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", "TLS"),
        (b"SSH-2.0-OpenSSH_9", "SSH"),
        (line, "Sockhop"),
        (&hpx("", "{}"), "HPX"),
    ];
    for on in WIRES {
        let mut rig = serve(on, Limits::default()).await;
        for (hello, name) in others {
            if format!("{on:?}").to_uppercase() == name.to_uppercase() {
                continue;
            }
            let mut stream = rig.connect().await;
            stream.write_all(&hello[..hello.len().min(16)]).await.expect("the first bytes are taken");
            let Close::Protocol(why) = rig.end().await else { panic!("{on:?}: {name} is no protocol here") };
            assert!(why.contains(name) && why.contains("not this protocol"), "{on:?}: {why}");
            // Closed with bytes unread, so a reset is as good as an end. An HPX server has greeted before.
            let _ =
                timeout(LIMIT, stream.read_to_end(&mut Vec::new())).await.expect("the connection is closed");
        }
        rig.check_books();
    }
}

/// There is no connection of the wire yet that could end by name: what is no HTTP is answered by whoever reads the HTTP.
#[tokio::test]
async fn c04_ports_of_http_send_another_protocol_away_at_once_without_a_name() {
    let hpx = hpx("", "{}");
    let others: [(&[u8], &str); 5] = [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
        (b"{\"type\":\"Object\",\"data\":{}}\n", "Sockhop"),
        (&hpx, "HPX"),
    ];
    for wire in ["stonyx", "socketio", "hyperhq"] {
        let (tell, mut ends) = mpsc::unbounded_channel();
        let mut endpoint = Endpoint::new("hostile", Service { running: Arc::default() });
        endpoint.observer = Some(Arc::new(Ends(tell)));
        endpoint.limits = Arc::new(Limits { login_timeout: LIMIT, ..Limits::default() });
        let registry = registry();
        let adapter = registry.get(wire).expect("it is known");
        let server = adapter.listen(target(wire, "127.0.0.1:0", true), endpoint).await.expect("a free port");
        for (hello, name) in others {
            let mut stream = TcpStream::connect(server.address()).await.expect("the server listens");
            stream.write_all(hello).await.expect("the first bytes are taken");
            let mut answer = Vec::new();
            // Before the login's time is up. Closed with bytes unread, so a reset is as good as an end.
            let _ =
                timeout(LIMIT / 2, stream.read_to_end(&mut answer)).await.expect("the connection is closed");
            let refused = answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 Bad Request\r\n");
            assert!(refused, "{wire}: {name}: {}", String::from_utf8_lossy(&answer));
        }
        assert!(ends.try_recv().is_err() && server.peers().is_empty(), "{wire}");
        check_books(server.ledger());
    }
}

#[tokio::test]
async fn c05_a_burst_of_connects_hurts_nobody_and_leaves_nothing() {
    for on in WIRES {
        let rig = serve(on, Limits { max_strangers: 64, ..Limits::default() }).await;
        let rounds = size(20, 200);
        let burst = async {
            let mut progress = Progress::new(&format!("c05: bursts of 50 connects on {on:?}"), rounds);
            for _ in 0..rounds {
                let dials =
                    (0..50).map(|_| tokio::spawn(TcpStream::connect(rig.server.address().to_owned())));
                for dial in dials.collect::<Vec<_>>() {
                    drop(dial.await.expect("dialling does not panic"));
                }
                progress.one_more();
            }
        };
        let mut steady = rig.connect().await;
        let (request, answer) = match on {
            On::Sockhop => {
                let line = b"{\"type\":\"echo\",\"data\":\"here\",\"id\":\"i\"}\n".to_vec();
                (line, &b"{\"type\":\"String\",\"data\":\"here\",\"callback_id\":\"i\"}\n"[..])
            }
            On::Hpx => {
                (hpx(&log_in(&mut steady).await, "[{\"fname\":\"echo\",\"v\":\"here\"}]"), &b"<EOF>"[..])
            }
        };
        let served = async {
            for _ in 0..200 {
                steady.write_all(&request).await.expect("the server reads");
                let mut seen = Vec::new();
                while !seen.ends_with(answer) {
                    assert!(steady.read_buf(&mut seen).await.expect("the server answers") > 0);
                }
            }
        };
        timeout(LIMIT, async { tokio::join!(burst, served) }).await.expect("calls go on during the burst");
        drop(steady);
        let all_gone = async {
            let ledger = rig.server.ledger();
            while [Count::Connections, Count::Closed].iter().any(|count| ledger.get(*count) <= rounds * 50) {
                tokio::task::yield_now().await;
            }
        };
        timeout(LIMIT, all_gone).await.unwrap_or_else(|_| panic!("{:?}", rig.server.ledger().snapshot()));
        rig.check_books();
    }
}

#[tokio::test]
async fn c07_a_peer_of_sockhop_may_go_at_any_moment() {
    let greet = "{\"type\":\"SockhopHandshake\",\"data\":{\"request_binary_mode\":true},\"id\":\"h\"}\n";
    let transit = "{\"type\":\"SockhopBinaryModeTransition\",\"data\":{}}\n";
    let wait = "{\"type\":\"wait\",\"data\":1,\"id\":\"w\"}\n";
    let ask = "{\"type\":\"ask\",\"data\":1,\"id\":\"a\"}\n";
    // What the peer has said, and whether a handler runs then.
    let states: [(String, bool); 8] = [
        (String::new(), false),
        ("{\"type\":\"half".to_owned(), false),
        (greet.to_owned(), false),
        (format!("{greet}{transit}"), false),
        (format!("{greet}{transit}\u{5}\0\0"), false),
        (wait.to_owned(), true),
        (format!("{greet}{wait}{{\"type"), true),
        (format!("{greet}{ask}"), true),
    ];
    let mut rig = serve(On::Sockhop, Limits::default()).await;
    for (said, runs) in &states {
        for how in LEAVES {
            let mut stream = rig.connect().await;
            stream.write_all(said.as_bytes()).await.expect("the server reads");
            if *runs {
                timeout(LIMIT, rig.running.notified()).await.expect("the handler runs");
            }
            let _kept = leave(stream, how).await;
            let reason = rig.end().await;
            // It may be noticed first when an answer is written.
            assert!(matches!(reason, Close::Peer | Close::Transport(_)), "{said:?}, {how:?}: {reason:?}");
            rig.check_books();
        }
    }
}

#[tokio::test]
async fn c07_a_peer_of_hpx_may_go_at_any_moment() {
    let slow = hpx("", "{\"user\":\"slow\",\"password\":\"p\"}");
    // Nothing here ends by a timeout: those are far longer than this test waits.
    let hour = Duration::from_secs(3_600);
    let limits =
        Limits { login_timeout: Duration::from_secs(60), handler_timeout: hour, ..Limits::default() };
    let mut rig = serve(On::Hpx, limits).await;
    for how in LEAVES {
        for state in 0..6 {
            let mut stream = rig.connect().await;
            // A peer that is gone before it was greeted may never have been there.
            stream.readable().await.expect("the server greets");
            match state {
                0 => {}
                1 => drop(next_frame(&mut stream).await),
                2 => stream.write_all(&slow[..20]).await.expect("the server reads"),
                3 => {
                    stream.write_all(&slow).await.expect("the server reads");
                    timeout(LIMIT, rig.running.notified()).await.expect("the login is judged");
                }
                4 => drop(log_in(&mut stream).await),
                _ => {
                    let session = log_in(&mut stream).await;
                    let call = hpx(&session, "[{\"fname\":\"wait\"},{\"fname\":\"echo\"}]");
                    stream.write_all(&call).await.expect("the server reads");
                    timeout(LIMIT, rig.running.notified()).await.expect("the function runs");
                }
            }
            let _kept = leave(stream, how).await;
            let reason = rig.end().await;
            assert!(
                matches!(reason, Close::Peer | Close::Transport(_)),
                "state {state}, {how:?}: {reason:?}"
            );
            rig.check_books();
        }
    }
}

#[tokio::test]
async fn c07_a_server_of_hpx_may_go_at_any_moment() {
    let text = JsonText::new("{}", &JsonLimits::default()).expect("an object is JSON");
    let greeting = hpx("", "{\"version\":{\"core\":[0,3,0]},\"guest_allowed\":true}");
    let welcome = hpx("s1", "\"Authenticated\"");
    let answer = hpx("s1", "[{\"fname\":\"echo\",\"data\":1}]");
    // What it writes, and in answer to how many frames, before it goes; whether the call had been sent by then.
    let states: [(Vec<&[u8]>, bool); 6] = [
        (vec![], false),
        (vec![&greeting[..20]], false),
        (vec![&greeting], false),
        (vec![&greeting, &welcome[..9]], false),
        (vec![&greeting, &welcome], true),
        (vec![&greeting, &welcome, &answer[..30]], true),
    ];
    for (number, (writes, sent)) in states.into_iter().enumerate() {
        for how in LEAVES {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("it is bound").to_string();
            let mut endpoint = Endpoint::new("hpx", Service { running: Arc::default() });
            endpoint.reconnect = Reconnect::never();
            let ledger = Arc::clone(&endpoint.ledger);
            let config = ClientConfig { connections: 1, ..ClientConfig::default() };
            let guest = Arc::new(Credentials::guest());
            let client = HpxClient::connect(&address, guest, config, endpoint);
            let client = client.expect("the settings are in range");
            let request = Request::new(Route::from_static("echo"), text.clone()).timeout(LIMIT);
            let serve = async {
                let (mut stream, _) = listener.accept().await.expect("the client dials");
                for (turn, bytes) in writes.iter().enumerate() {
                    if turn > 0 {
                        next_frame(&mut stream).await;
                    }
                    stream.write_all(bytes).await.expect("the client reads");
                }
                if sent && writes.len() == 2 {
                    next_frame(&mut stream).await;
                }
                leave(stream, how).await
            };
            let (outcome, _kept) = tokio::join!(timeout(LIMIT, client.call(request)), serve);
            let error = outcome.expect("it ends at once").expect_err("nobody answered");
            assert_eq!(error.code(), Code::Unavailable, "state {number}, {how:?}: {error}");
            assert_eq!(matches!(error, CallError::Unknown(_)), sent, "state {number}, {how:?}: {error}");
            client.shutdown().await;
            assert_eq!(ledger.unaccounted_frames(), 0);
            assert_eq!(ledger.get(Count::Connections), ledger.get(Count::Closed));
        }
    }
}

#[tokio::test]
async fn c08_a_peer_of_hpx_that_reads_nothing_costs_its_own_connection_and_no_more() {
    let limits = Limits { write_timeout: Duration::from_millis(200), ..Limits::default() };
    let mut rig = serve(On::Hpx, limits).await;
    let socket = TcpSocket::new_v4().expect("there are sockets");
    // Little room, so that it is full soon.
    socket.set_recv_buffer_size(4 << 10).expect("a buffer may be small");
    let address = rig.server.address().parse().expect("an address");
    let mut deaf = socket.connect(address).await.expect("the server listens");
    let session = log_in(&mut deaf).await;
    let (mut from_deaf, mut to_server) = deaf.into_split();
    // Short enough to be answered as it is; what is compressed would take long to fill a buffer.
    let call = hpx(&session, &format!("[{{\"fname\":\"echo\",\"v\":\"{}\"}}]", "x".repeat(3_900)));
    let flood = tokio::spawn(async move { while to_server.write_all(&call).await.is_ok() {} });
    assert!(matches!(rig.end().await, Close::SlowConsumer(_)));
    timeout(LIMIT, flood).await.expect("the flood is over").expect("it does not panic");
    let mut other = rig.connect().await;
    let session = log_in(&mut other).await;
    other.write_all(&hpx(&session, "[{\"fname\":\"echo\",\"v\":1}]")).await.expect("the server reads");
    assert!(next_frame(&mut other).await.contains("\"v\":1"));
    drop(other);
    rig.end().await;
    rig.check_books();
    // The peer's end is kept open until here: it stopped reading, it did not leave.
    drop(timeout(LIMIT, from_deaf.read(&mut [0; 1])).await);
}

#[tokio::test]
async fn c18_a_name_that_leads_nowhere_is_unavailable_and_another_address_is_tried() {
    // `localhost` has two addresses where there is IPv6; the server listens at one of them.
    let rig = serve(On::Sockhop, Limits::default()).await;
    let port = rig.server.address().rsplit(':').next().expect("host:port").to_owned();
    let endpoint = || Endpoint {
        reconnect: Reconnect::never(),
        ..Endpoint::new("sockhop", Service { running: Arc::default() })
    };
    let text = JsonText::new("1", &JsonLimits::default()).expect("1 is JSON");
    let request = Request::new(Route::from_static("echo"), text.clone()).timeout(LIMIT);
    let client = dial(format!("localhost:{port}"), Config::default(), endpoint());
    let client = client.expect("the settings are in range");
    let answer = client.caller().call(request.clone()).await.expect("one of the addresses answers");
    assert_eq!(answer.body, Body::Json(text));
    let nowhere = dial("nowhere.invalid:1", Config::default(), endpoint());
    let nowhere = nowhere.expect("the settings are in range");
    let error = nowhere.caller().call(request).await.expect_err("the name does not exist");
    assert_eq!(error.code(), Code::Unavailable, "{error}");
}
