//! Two ends of ours over real sockets.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[allow(unreachable_pub, reason = "elsewhere it is a library's")]
#[path = "../../../tests/support/scratch.rs"]
mod scratch;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_core::{
    Body, CallError, Client, ClientState, Close, Code, Count, Endpoint, Event, Failure, Handler,
    HandlerFuture, Incoming, JsonText, Kind, Limits, Meta, Observe, Peer, Reconnect, Request, Response,
    Route, Server,
};
use polywire_sockhop::{Address, Config, Error, Mode, Switch, TYPE, dial, listen};
use scratch::scratch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener};
use tokio::sync::{Notify, mpsc};

/// Answers `echo` with what it was asked, `fail` with a failure, `wait` when told to; hands events on.
struct Demo {
    events: mpsc::UnboundedSender<(Route, Body)>,
    waiting: mpsc::UnboundedSender<()>,
    go: Arc<Notify>,
}

impl Handler for Demo {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let Incoming { kind, route, body, meta, peer, .. } = incoming;
        if kind == Kind::Event {
            // The test may be over.
            let _ = self.events.send((route, body));
            return Box::pin(async { Ok(Body::Empty.into()) });
        }
        let go = Arc::clone(&self.go);
        let waiting = self.waiting.clone();
        Box::pin(async move {
            match &*route {
                "fail" => Err(Failure::new(Code::NotFound, "nothing here")),
                "wait" => {
                    let released = go.notified();
                    let _ = waiting.send(());
                    released.await;
                    Ok(body.into())
                }
                "ask back" => Ok(peer.call(Request::new(Route::from_static("echo"), body)).await?),
                _ => Ok(Response { body, meta }),
            }
        })
    }
}

struct Ears {
    events: mpsc::UnboundedReceiver<(Route, Body)>,
    waiting: mpsc::UnboundedReceiver<()>,
    go: Arc<Notify>,
}

fn demo(limits: Limits) -> (Endpoint, Ears) {
    let (events, heard) = mpsc::unbounded_channel();
    let (waiting, waits) = mpsc::unbounded_channel();
    let go = Arc::new(Notify::new());
    let mut endpoint = Endpoint::new("sockhop", Demo { events, waiting, go: Arc::clone(&go) });
    endpoint.limits = Arc::new(limits);
    (endpoint, Ears { events: heard, waiting: waits, go })
}

async fn serve(address: impl Into<Address>, config: Config, limits: Limits) -> (Server, Ears) {
    let (endpoint, ears) = demo(limits);
    (listen(address, config, endpoint).await.unwrap(), ears)
}

fn connect(address: impl Into<Address>, config: Config) -> (Client, Ears) {
    let (mut endpoint, ears) = demo(Limits::default());
    endpoint.reconnect.first_pause = Duration::from_millis(1);
    (dial(address, config, endpoint).unwrap(), ears)
}

fn json(text: &str) -> Body {
    Body::Json(JsonText::new(text.to_owned(), &Limits::default().json).unwrap())
}

fn request(route: &str, body: Body) -> Request {
    Request::new(Route::new(route.to_owned()).unwrap(), body)
}

/// Tells why peers leave.
struct Leaving(mpsc::UnboundedSender<Close>);

impl Observe for Leaving {
    fn connected(&self, _: &Peer) {}

    fn disconnected(&self, _: &Peer, reason: &Close) {
        let _ = self.0.send(reason.clone());
    }
}

async fn both_ways(server: &Server, mut there: Ears, client: &Client, mut here: Ears, mode: Mode) {
    client.ready().await.unwrap();
    for body in [json("{\"a\":1}"), json("[]"), json("\"é\\n\""), json("1e400"), Body::null()] {
        let answer = client.caller().call(request("echo", body.clone())).await.unwrap();
        assert_eq!(answer.body, body);
    }
    let typed = client.caller().call(request("Widget", json("{}"))).await.unwrap();
    assert_eq!(typed.meta, Meta::default().with(TYPE, "Widget"));
    let failure = client.caller().call(request("fail", Body::Empty)).await.unwrap_err();
    assert_eq!(failure, CallError::Failure(Failure::new(Code::NotFound, "nothing here")));
    let back = client.caller().call(request("ask back", json("[7]"))).await.unwrap();
    assert_eq!(back.body, json("[7]"));
    let large = Body::binary("Buffer", vec![7; 300_000]);
    assert_eq!(client.caller().call(request("Buffer", large.clone())).await.unwrap().body, large);
    if matches!(mode, Mode::Auto | Mode::Binary) {
        let picture = Body::binary("picture", &b"\x0a\x0a"[..]);
        assert_eq!(client.caller().call(request("picture", picture.clone())).await.unwrap().body, picture);
    }
    client.caller().notify(Event::new(Route::from_static("up"), json("1"))).await.unwrap();
    assert_eq!(there.events.recv().await.unwrap(), (Route::from_static("up"), json("1")));
    assert_eq!(server.audience().broadcast(&Event::new(Route::from_static("down"), json("2"))), 1);
    assert_eq!(here.events.recv().await.unwrap(), (Route::from_static("down"), json("2")));
}

#[tokio::test]
async fn everything_crosses_over_tcp_and_unix_sockets_in_every_mode() {
    for mode in [Mode::Auto, Mode::Binary, Mode::Json, Mode::Compat] {
        for unix in [false, true] {
            let address: Address = if unix { scratch("s").into() } else { "127.0.0.1:0".into() };
            let (server, there) = serve(address, Config::with_mode(mode), Limits::default()).await;
            let dialled: Address =
                if unix { PathBuf::from(server.address()).into() } else { server.address().into() };
            let (client, here) = connect(dialled, Config::with_mode(mode));
            both_ways(&server, there, &client, here, mode).await;
            client.shutdown().await;
            let ledger = Arc::clone(server.ledger());
            server.shutdown().await;
            assert_eq!(ledger.unaccounted_frames(), 0);
        }
    }
}

#[tokio::test]
async fn s14_fifty_thousand_messages_each_way_from_the_first_moment_with_a_switch_in_between() {
    for switch in [Switch::Early, Switch::Late] {
        let config = Config { switch, ..Config::default() };
        let (server, mut there) = serve("127.0.0.1:0", config.clone(), Limits::default()).await;
        let (client, mut here) = connect(server.address(), config);
        let (name, count) = (Route::from_static("n"), 50_000);
        let up = async {
            for number in 0..count {
                let body = if number % 100 == 50 {
                    Body::binary("n", number.to_string())
                } else {
                    json(&number.to_string())
                };
                client.caller().notify(Event::new(name.clone(), body)).await.unwrap();
            }
        };
        let down = async {
            client.ready().await.unwrap();
            let peer = loop {
                match server.peers().pop() {
                    Some(peer) => break peer,
                    None => tokio::task::yield_now().await,
                }
            };
            for number in 0..count {
                peer.notify(Event::new(name.clone(), json(&number.to_string()))).await.unwrap();
            }
        };
        let hear = async |ears: &mut Ears, typed: usize| {
            let (mut plain, mut bytes) = (Vec::new(), Vec::new());
            while plain.len() + bytes.len() < count {
                match ears.events.recv().await.unwrap().1 {
                    Body::Json(text) => plain.push(text.as_str().parse::<usize>().unwrap()),
                    Body::Binary(binary) => {
                        bytes.push(String::from_utf8(binary.bytes.to_vec()).unwrap().parse().unwrap());
                    }
                    Body::Empty => panic!("nothing"),
                }
            }
            assert!(plain.is_sorted() && bytes.is_sorted());
            assert_eq!(bytes.len(), typed);
            let mut all = [plain, bytes].concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..count), "lost or doubled");
        };
        tokio::join!(up, down, hear(&mut there, count / 100), hear(&mut here, 0));
    }
}

#[tokio::test]
async fn a_drain_lets_calls_in_flight_end_and_takes_no_new_ones() {
    let (server, mut there) = serve("127.0.0.1:0", Config::default(), Limits::default()).await;
    let (client, _here) = connect(server.address(), Config::default());
    let caller = client.caller().clone();
    let running = tokio::spawn(async move { caller.call(request("wait", json("1"))).await });
    there.waiting.recv().await.unwrap();
    let ledger = Arc::clone(server.ledger());
    let stopping = tokio::spawn(server.shutdown());
    let mut state = client.watch();
    there.go.notify_waiters();
    assert_eq!(running.await.unwrap().unwrap().body, json("1"));
    stopping.await.unwrap();
    state.wait_for(|state| *state != ClientState::Ready).await.unwrap();
    assert_eq!((ledger.get(Count::Requests), ledger.get(Count::RequestsAnswered)), (1, 1));
}

#[tokio::test]
async fn a_drain_sends_what_was_queued_before() {
    let (server, _there) = serve("127.0.0.1:0", Config::default(), Limits::default()).await;
    let (client, mut here) = connect(server.address(), Config::default());
    client.caller().call(request("echo", json("1"))).await.unwrap();
    for number in 0..500 {
        let event = Event::new(Route::from_static("n"), json(&number.to_string()));
        assert_eq!(server.audience().broadcast(&event), 1);
    }
    server.shutdown().await;
    for number in 0..500 {
        assert_eq!(here.events.recv().await.unwrap().1, json(&number.to_string()));
    }
}

#[tokio::test]
async fn a_client_comes_back_and_shakes_hands_anew() {
    let path = scratch("s");
    let (first, _) = serve(path.clone(), Config::with_mode(Mode::Binary), Limits::default()).await;
    let (client, _here) = connect(path.clone(), Config::with_mode(Mode::Binary));
    client.caller().call(request("echo", json("1"))).await.unwrap();
    let mut state = client.watch();
    first.shutdown().await;
    state.wait_for(|state| *state != ClientState::Ready).await.unwrap();
    let (_second, _) = serve(path, Config::with_mode(Mode::Binary), Limits::default()).await;
    let picture = Body::binary("picture", &b"\x0a"[..]);
    let answer = client.caller().call(request("picture", picture.clone())).await;
    assert_eq!(answer.unwrap().body, picture);
}

#[tokio::test]
async fn s03_a_strict_client_says_what_is_wrong_with_a_peer_that_makes_no_handshake() {
    let (server, _there) = serve("127.0.0.1:0", Config::with_mode(Mode::Compat), Limits::default()).await;
    let config = Config { handshake_timeout: Duration::from_millis(50), ..Config::with_mode(Mode::Binary) };
    let (client, _here) = connect(server.address(), config);
    let mut state = client.watch();
    let waiting = state.wait_for(|state| matches!(state, ClientState::Waiting(_))).await.unwrap().clone();
    let ClientState::Waiting(why) = waiting else { panic!("{waiting:?}") };
    assert!(why.contains("no handshake within handshake_timeout = 50ms"), "{why}");

    let (server, _there) = serve("127.0.0.1:0", Config::with_mode(Mode::Json), Limits::default()).await;
    let (client, _here) = connect(server.address(), Config::with_mode(Mode::Binary));
    let failure = client.ready().await.unwrap_err();
    assert_eq!(failure.code, Code::Unauthenticated);
    assert!(failure.message.contains("refused binary mode"), "{failure}");
}

#[tokio::test]
async fn c08_a_peer_that_stops_reading_costs_its_own_connection_and_no_more() {
    let limits =
        Limits { write_timeout: Duration::from_millis(100), max_queue_messages: 4, ..Limits::default() };
    let config = Config { ping_interval: None, ..Config::default() };
    let (mut endpoint, _there) = demo(limits);
    let (left, mut leaving) = mpsc::unbounded_channel();
    endpoint.observer = Some(Arc::new(Leaving(left)));
    let server = listen("127.0.0.1:0", config.clone(), endpoint).await.unwrap();
    let mut deaf = TcpStream::connect(server.address()).await.unwrap();
    deaf.write_all(b"{\"type\":\"ask back\",\"data\":1,\"id\":\"i\"}\n").await.unwrap();
    deaf.readable().await.unwrap();
    let (client, mut here) = connect(server.address(), config);
    client.caller().call(request("echo", json("1"))).await.unwrap();
    let much = Event::new(Route::from_static("much"), json(&format!("\"{}\"", "x".repeat(1 << 20))));
    while server.audience().broadcast(&much) == 2 {
        here.events.recv().await.unwrap();
    }
    assert!(matches!(leaving.recv().await.unwrap(), Close::SlowConsumer(_)));
    assert_eq!(client.caller().call(request("echo", json("2"))).await.unwrap().body, json("2"));
}

#[tokio::test]
async fn c07_s13_calls_in_flight_end_when_the_peer_is_gone_and_later_ones_are_not_sent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut endpoint, _here) = demo(Limits::default());
    endpoint.reconnect = Reconnect::never();
    let address = listener.local_addr().unwrap().to_string();
    let client = dial(address, Config::default(), endpoint).unwrap();
    let caller = client.caller().clone();
    let running = tokio::spawn(async move { caller.call(request("echo", json("1"))).await });
    let (mut peer, _) = listener.accept().await.unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("\"echo\"") {
        assert!(peer.read_buf(&mut seen).await.unwrap() > 0);
    }
    drop(peer);
    assert!(matches!(running.await.unwrap(), Err(CallError::Unknown(_))));
    assert!(matches!(client.caller().call(request("echo", json("2"))).await, Err(CallError::NotSent(_))));
}

#[tokio::test]
async fn s12_calls_that_are_never_answered_end_at_their_deadline() {
    let (server, _there) = serve("127.0.0.1:0", Config::default(), Limits::default()).await;
    let (client, _here) = connect(server.address(), Config::default());
    // What waits for a connection when its time is up was never sent.
    client.ready().await.unwrap();
    let call = request("wait", json("1")).timeout(Duration::from_millis(30));
    let error = client.caller().call(call).await.unwrap_err();
    assert!(matches!(error, CallError::Unknown(_)) && error.code() == Code::DeadlineExceeded, "{error}");
}

#[tokio::test]
async fn c04_another_protocol_on_the_port_is_closed_with_its_name() {
    let (mut endpoint, _there) = demo(Limits::default());
    let (left, mut leaving) = mpsc::unbounded_channel();
    endpoint.observer = Some(Arc::new(Leaving(left)));
    let server = listen("127.0.0.1:0", Config::default(), endpoint).await.unwrap();
    let mut browser = TcpStream::connect(server.address()).await.unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // Closed with bytes unread, so a reset is as good as an end.
    let _ = browser.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
    let Close::Protocol(why) = leaving.recv().await.unwrap() else { panic!("another reason") };
    assert!(why.contains("HTTP") && why.contains("not this protocol"), "{why}");
}

#[tokio::test]
async fn s06_sixteen_unknown_message_ids_in_a_row_close_the_connection() {
    let (mut endpoint, mut there) = demo(Limits::default());
    let (left, mut leaving) = mpsc::unbounded_channel();
    endpoint.observer = Some(Arc::new(Leaving(left)));
    let server = listen("127.0.0.1:0", Config::default(), endpoint).await.unwrap();
    let mut peer = TcpStream::connect(server.address()).await.unwrap();
    let mut bytes = b"{\"type\":\"SockhopBinaryModeTransition\",\"data\":{}}\n".to_vec();
    for id in (0..=9).chain(16..=20) {
        bytes.extend_from_slice(&[2, 0, 0, 0, id, b'\n', b'x']);
    }
    // Fifteen are forgiven when a good frame follows.
    bytes.extend_from_slice(b"\x06\0\0\0\x0a\0\x01\0\0\x007");
    peer.write_all(&bytes).await.unwrap();
    assert_eq!(there.events.recv().await.unwrap().1, json("7"));
    peer.write_all(&[0, 0, 0, 0, 255].repeat(16)).await.unwrap();
    let Close::Limit(why) = leaving.recv().await.unwrap() else { panic!("another reason") };
    assert!(why.contains("max_bad_messages = 16"), "{why}");
    assert_eq!(server.ledger().get(Count::UnknownKind), 31);
}

#[tokio::test]
async fn s11_a_flood_of_pings_from_a_peer_that_does_not_read_ends_its_connection() {
    let write_timeout = Duration::from_millis(200);
    let limits = Limits { write_timeout, max_control_per_second: 1 << 20, ..Limits::default() };
    let (mut endpoint, _there) = demo(limits);
    let (left, mut leaving) = mpsc::unbounded_channel();
    endpoint.observer = Some(Arc::new(Leaving(left)));
    let server = listen("127.0.0.1:0", Config::default(), endpoint).await.unwrap();
    let mut peer = TcpStream::connect(server.address()).await.unwrap();
    let flood = b"{\"type\":\"SockhopPing\",\"data\":{\"_id\":\"p\"}}\n".repeat(1_000);
    // Nothing is read while nothing can be written, so the flood comes to a stop long before its end.
    while peer.write_all(&flood).await.is_ok() {}
    assert!(matches!(leaving.recv().await.unwrap(), Close::SlowConsumer(_)));
}

#[tokio::test]
async fn s11_a_flood_of_pings_is_closed_at_max_control_per_second() {
    let (mut endpoint, _there) = demo(Limits::default());
    let (left, mut leaving) = mpsc::unbounded_channel();
    endpoint.observer = Some(Arc::new(Leaving(left)));
    let server = listen("127.0.0.1:0", Config::default(), endpoint).await.unwrap();
    let mut peer = TcpStream::connect(server.address()).await.unwrap();
    peer.write_all(&b"{\"type\":\"SockhopPing\",\"data\":{\"_id\":\"p\"}}\n".repeat(10_000)).await.ok();
    let Close::Limit(why) = leaving.recv().await.unwrap() else { panic!("another reason") };
    assert_eq!(why, "101 control frames within a second exceed max_control_per_second = 100");
    assert_eq!(server.ledger().unaccounted_frames(), 0);
}

#[tokio::test]
async fn the_connection_limit_makes_others_wait() {
    let limits = Limits { max_connections: 1, ..Limits::default() };
    let (server, _there) = serve("127.0.0.1:0", Config::default(), limits).await;
    let (first, _ears) = connect(server.address(), Config::default());
    first.caller().call(request("echo", json("1"))).await.unwrap();
    let (second, _ears) = connect(server.address(), Config::default());
    let waiting = second.caller().call(request("echo", json("2")).timeout(Duration::from_millis(50)));
    assert!(waiting.await.is_err());
    first.shutdown().await;
    assert_eq!(second.caller().call(request("echo", json("3"))).await.unwrap().body, json("3"));
}

#[tokio::test]
async fn s16_only_a_dead_socket_of_ours_is_replaced_and_the_file_is_private_and_goes_away() {
    let at = |name: &str| scratch(name);
    let refused = async |path: PathBuf| {
        let (endpoint, _) = demo(Limits::default());
        listen(path, Config::default(), endpoint).await.unwrap_err()
    };

    fs::write(at("file"), "precious").unwrap();
    assert!(matches!(refused(at("file")).await, Error::Path { why: "it is a file, not a socket", .. }));
    assert_eq!(fs::read_to_string(at("file")).unwrap(), "precious");

    drop(UnixListener::bind(at("dead")).unwrap());
    std::os::unix::fs::symlink(at("dead"), at("link")).unwrap();
    assert!(matches!(refused(at("link")).await, Error::Path { why: "it is a link", .. }));

    let alive = UnixListener::bind(at("alive")).unwrap();
    assert!(matches!(refused(at("alive")).await, Error::Path { why: "somebody listens there already", .. }));
    std::os::unix::fs::symlink(at("alive"), at("link to life")).unwrap();
    assert!(matches!(refused(at("link to life")).await, Error::Path { why: "it is a link", .. }));
    assert!(fs::symlink_metadata(at("link to life")).unwrap().is_symlink());
    tokio::net::UnixStream::connect(at("link to life")).await.expect("who listens there is undisturbed");
    drop(alive);

    let long = refused(at(&"x".repeat(200))).await;
    assert!(matches!(long, Error::Listen { .. }), "{long}");
    assert!(matches!(refused(at("no/such/place")).await, Error::Listen { .. }));

    let (server, _) = serve(at("dead"), Config::default(), Limits::default()).await;
    assert_eq!(fs::metadata(at("dead")).unwrap().permissions().mode() & 0o777, 0o600);
    server.shutdown().await;
    assert!(!at("dead").exists());
}

/// Only root can give a socket away, so elsewhere this shows nothing.
#[tokio::test]
async fn s16_a_dead_socket_of_another_user_is_left_alone() {
    let path = scratch("theirs");
    drop(UnixListener::bind(&path).unwrap());
    let (us, other) = (fs::metadata(&path).unwrap().uid(), 1);
    if std::os::unix::fs::lchown(&path, Some(other), None).is_err() {
        assert_ne!(us, 0, "root may give it away");
        return;
    }
    let (endpoint, _) = demo(Limits::default());
    let error = listen(path.clone(), Config::default(), endpoint).await.unwrap_err();
    assert!(matches!(error, Error::Path { why: "it is a socket of another user", .. }), "{error}");
    assert_eq!(fs::symlink_metadata(&path).unwrap().uid(), other, "it is still there");
}

#[tokio::test]
async fn a_wrong_setting_is_refused_before_anything_is_opened() {
    let (endpoint, _) = demo(Limits { max_frame_bytes: 1, ..Limits::default() });
    let error = listen("127.0.0.1:0", Config::default(), endpoint).await.unwrap_err();
    assert!(error.to_string().starts_with("max_frame_bytes = 1 is out of range"), "{error}");
    let (endpoint, _) = demo(Limits::default());
    let config = Config { handshake_timeout: Duration::ZERO, ..Config::default() };
    assert!(dial("127.0.0.1:1", config, endpoint).is_err());
}

#[tokio::test]
async fn peers_keep_the_data_that_handlers_gave_them() {
    let seen: Arc<Mutex<Vec<u32>>> = Arc::default();
    struct Counting(Arc<Mutex<Vec<u32>>>);
    impl Handler for Counting {
        fn call(&self, incoming: Incoming) -> HandlerFuture {
            let count = incoming.peer.data::<u32>().map_or(1, |count| *count + 1);
            incoming.peer.set_data(count);
            self.0.lock().unwrap().push(count);
            Box::pin(async { Ok(Body::Empty.into()) })
        }
    }
    let endpoint = Endpoint::new("sockhop", Counting(Arc::clone(&seen)));
    let server = listen("127.0.0.1:0", Config::default(), endpoint).await.unwrap();
    for _ in 0..2 {
        let (client, _ears) = connect(server.address(), Config::default());
        for _ in 0..2 {
            client.caller().call(request("count", Body::Empty)).await.unwrap();
        }
        client.shutdown().await;
    }
    assert_eq!(*seen.lock().unwrap(), [1, 2, 1, 2]);
}
