//! Goals for many peers at once, over sockets; `cargo xtask soak goals` runs them at their full size.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use polywire_core::{
    Body, Client, Close, Code, Count, Endpoint, Event, Handler, HandlerFuture, Identity, Incoming, JsonText,
    Kind, Limits, Observe, Peer, Request, Response, Route, Server, Surroundings,
};
use polywire_hpx::{HpxServer, ServerConfig, Wire};
use polywire_size::{Progress, size};
use polywire_sockhop::{Config, dial, listen};
use polywire_tests::framed::framed;
use polywire_tests::process::Process;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// How long anything may take that a test waits for and that no goal bounds.
const LIMIT: Duration = Duration::from_secs(120);

/// Echoes, and counts the events it is given.
#[derive(Clone, Default)]
struct Echo(Arc<AtomicU64>);

impl Handler for Echo {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        if incoming.kind == Kind::Event {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        Box::pin(async move { Ok(Response::from(incoming.body)) })
    }
}

/// Tells why connections end.
struct Ends(mpsc::UnboundedSender<Close>);

impl Observe for Ends {
    fn connected(&self, _: &Peer) {}

    fn disconnected(&self, _: &Peer, reason: &Close) {
        // The test may be over.
        let _ = self.0.send(reason.clone());
    }
}

fn json(text: String) -> Body {
    Body::Json(JsonText::from_validated(text.into()))
}

fn ask(limit: Duration) -> Request {
    Request::new(Route::from_static("echo"), json("{}".to_owned())).timeout(limit)
}

async fn listen_at(address: &str) -> Server {
    let served = async {
        loop {
            // What ended a moment ago may still have the address.
            if let Ok(server) =
                listen(address, Config::default(), Endpoint::new("goal", Echo::default())).await
            {
                return server;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, served).await.expect("the address is free")
}

/// A client of Sockhop in these surroundings.
fn client(address: &str, surroundings: &Surroundings, heard: &Echo) -> Client {
    let mut endpoint = Endpoint::new("goal", heard.clone());
    endpoint.surroundings = surroundings.clone();
    dial(address.to_owned(), Config::default(), endpoint).unwrap()
}

/// Each of them is answered within the time.
async fn all_answered(clients: &[Client], limit: Duration) {
    let mut calls = JoinSet::new();
    for client in clients {
        let caller = client.caller().clone();
        calls.spawn(async move { caller.call(ask(limit)).await.map(drop) });
    }
    while let Some(answered) = calls.join_next().await {
        answered.unwrap().expect("it is answered in time");
    }
}

/// As [`all_answered`], where a connection may still be the one that was lost: then it is asked again.
async fn all_back(clients: &[Client], limit: Duration) {
    let mut calls = JoinSet::new();
    for client in clients {
        let caller = client.caller().clone();
        calls.spawn(timeout(limit, async move {
            while let Err(error) = caller.call(ask(limit)).await {
                assert_eq!(error.code(), Code::Unavailable, "{error}");
            }
        }));
    }
    while let Some(back) = calls.join_next().await {
        back.unwrap().expect("it is back in time");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g07_clients_that_are_cut_at_once_are_back_within_a_minute_at_the_pace_of_their_programs() {
    let (programs, each) = (10, size(3, 100));
    let server = listen_at("127.0.0.1:0").await;
    let address = server.address().to_owned();
    let mut clients = Vec::new();
    for _ in 0..programs {
        let surroundings = Surroundings::real();
        clients.extend((0..each).map(|_| client(&address, &surroundings, &Echo::default())));
    }
    all_back(&clients, LIMIT).await;
    drop(server);
    let server = listen_at(&address).await;
    let cut = Instant::now();
    let ledger = Arc::clone(server.ledger());
    let back = tokio::spawn(async move {
        all_back(&clients, Duration::from_secs(60)).await;
        clients
    });
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    let mut before = 0;
    let mut progress = Progress::new("g07: clients that are back", programs * each);
    while !back.is_finished() {
        seconds.tick().await;
        let now = ledger.get(Count::Connections);
        progress.done(now);
        // Ten a second of each program, and ten at once after a quiet time; a tick may come late. At the small size there are fewer
        // clients than that.
        let most = programs * (10 + 10) * 2;
        assert!(now - before <= most, "{} dials in a second", now - before);
        before = now;
    }
    let clients = back.await.unwrap();
    println!("g07: {} clients back after {:?}", clients.len(), cut.elapsed());
    assert_eq!(ledger.get(Count::Connections), clients.len() as u64, "nobody dialled twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g08_one_of_a_thousand_that_stops_reading_is_closed_and_the_others_hear_everything() {
    let members = size(20, 1_000);
    let limits = Limits { write_timeout: Duration::from_millis(size(500, 10_000)), ..Limits::default() };
    let blocked_for = limits.write_timeout;
    let (tell, mut ends) = mpsc::unbounded_channel();
    let mut endpoint = Endpoint::new("goal", Echo::default());
    endpoint.observer = Some(Arc::new(Ends(tell)));
    endpoint.limits = Arc::new(limits);
    let server = listen("127.0.0.1:0", Config::default(), endpoint).await.unwrap();
    let heard = Echo::default();
    let surroundings = Surroundings::real();
    let clients = (0..members).map(|_| client(server.address(), &surroundings, &heard)).collect::<Vec<_>>();
    all_back(&clients, LIMIT).await;
    let socket = TcpSocket::new_v4().unwrap();
    // Little room, so that it is full soon.
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let mut deaf = socket.connect(server.address().parse().unwrap()).await.unwrap();
    // It asks for more than any buffer of the system holds.
    let question = format!("{{\"type\":\"echo\",\"data\":\"{}\",\"id\":\"i\"}}\n", "x".repeat(1 << 20));
    let asking = tokio::spawn(async move {
        while deaf.write_all(question.as_bytes()).await.is_ok() {}
        deaf
    });
    while server.peers().len() as u64 <= members {
        tokio::task::yield_now().await;
    }
    let event = Event::new(Route::from_static("tick"), json(format!("\"{}\"", "x".repeat(1 << 10))));
    let (mut told, mut took) = (0_u64, None);
    let began = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let mut progress = Progress::new("g08: seconds within which the deaf one is closed", LIMIT.as_secs());
    // Until the deaf one is gone, and once more for those who are left.
    while took.is_none() {
        pace.tick().await;
        progress.done(began.elapsed().as_secs());
        server.audience().broadcast(&event);
        told += 1;
        if let Ok(reason) = ends.try_recv() {
            assert!(matches!(reason, Close::SlowConsumer(_)), "{reason:?}");
            took = Some(began.elapsed());
        }
        assert!(began.elapsed() < LIMIT, "it is never closed");
    }
    let all = async {
        while heard.0.load(Ordering::Relaxed) < told * members {
            tokio::task::yield_now().await;
        }
    };
    let all = timeout(LIMIT, all).await;
    println!(
        "g08: {members} members, {told} events, the deaf one closed after {took:?}, blocked for {blocked_for:?}"
    );
    assert!(all.is_ok(), "{} of {}", heard.0.load(Ordering::Relaxed), told * members);
    assert!(ends.try_recv().is_err(), "nobody else was closed");
    drop(asking.await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g09_slow_senders_are_gone_in_time_and_everybody_else_is_served() {
    let (attackers, normal) = (size(40, 2_000), size(5, 50));
    let login_timeout = Duration::from_millis(size(1_000, 10_000));
    // By default 256 strangers are let in at once, and the others wait in the backlog.
    let limits = Limits { login_timeout, max_strangers: 4_096, ..Limits::default() };
    let mut endpoint = Endpoint::new("goal", Echo::default());
    endpoint.limits = Arc::new(limits.clone());
    endpoint.authenticator = Some(Arc::new(|_| async { Ok(Identity::guest()) }));
    let config = ServerConfig {
        guests: true,
        wire: Wire { limits: Arc::new(limits), ..Wire::default() },
        ..ServerConfig::default()
    };
    let server = HpxServer::bind("127.0.0.1:0", config, endpoint).await.unwrap().into_core();
    let address = server.address().to_owned();
    let mut slow = JoinSet::new();
    for _ in 0..attackers {
        let address = address.clone();
        slow.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let since = Instant::now();
            let (mut reading, mut writing) = stream.split();
            let gone = async { while reading.read(&mut [0; 512]).await.is_ok_and(|read| read > 0) {} };
            let dribble = async {
                let mut pace = tokio::time::interval(login_timeout / 2);
                while writing.write_all(&[0x1f]).await.is_ok() {
                    pace.tick().await;
                }
            };
            tokio::select! { () = gone => {}, () = dribble => {} }
            since.elapsed()
        });
    }
    let mut clients = Vec::new();
    for _ in 0..normal {
        let endpoint = Endpoint::new("goal", Echo::default());
        let adapters = polywire_cli::adapters();
        let target = polywire_core::Target { address: address.clone(), ..Default::default() };
        clients.push(adapters.get("hpx").unwrap().dial(target, endpoint).await.unwrap());
    }
    let mut calls = 0;
    let mut longest = Duration::ZERO;
    let mut progress = Progress::new("g09: slow senders that are gone", attackers);
    while !slow.is_empty() {
        all_answered(&clients, LIMIT).await;
        calls += clients.len();
        while let Some(lived) = slow.try_join_next() {
            longest = longest.max(lived.unwrap());
            progress.one_more();
        }
    }
    println!(
        "g09: {attackers} slow senders, the last gone after {longest:?}; {calls} calls beside them, all answered"
    );
    assert!(longest <= login_timeout + Duration::from_secs(5), "{longest:?}");
}

/// `polywire serve` of these URLs under a limit of descriptors, and where the first of them listens.
async fn serve(descriptors: u32, urls: &[&str]) -> (Process, Vec<String>) {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {descriptors}; exec \"$0\" serve \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_polywire-under-test")]).args(urls);
    command.env("POLYWIRE_GOAL_KEY", "a key that only this test has").env_remove("RUST_LOG");
    let mut process = Process::start("polywire serve", command).unwrap();
    let mut addresses = Vec::new();
    for _ in urls {
        let line = process.wait_for_json(|line| line["listening"].is_string(), LIMIT).await.unwrap();
        addresses.push(line["address"].as_str().unwrap().to_owned());
    }
    (process, addresses)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_flood_of_connects_at_the_limit_of_descriptors_hurts_nobody_who_is_there() {
    let (mut process, addresses) = serve(64, &["sockhop://127.0.0.1:0"]).await;
    let address = addresses[0].clone();
    let steady = [client(&address, &Surroundings::real(), &Echo::default())];
    all_answered(&steady, LIMIT).await;
    let flood = Duration::from_millis(size(1_000, 30_000));
    let began = Instant::now();
    let until = began + flood;
    let mut progress = Progress::new("g10: seconds of flood", flood.as_secs());
    let flooding = tokio::spawn(async move {
        let mut connects = 0_u64;
        while Instant::now() < until {
            // More than it has descriptors for, held until all of them are there.
            let dials = (0..200).map(|_| tokio::spawn(TcpStream::connect(address.clone())));
            let mut held = Vec::new();
            for dial in dials.collect::<Vec<_>>() {
                held.extend(timeout(Duration::from_secs(1), dial).await.into_iter().flatten().flatten());
            }
            connects += held.len() as u64;
        }
        connects
    });
    let mut calls = 0;
    while !flooding.is_finished() {
        all_answered(&steady, LIMIT).await;
        calls += 1;
        progress.done(began.elapsed().as_secs());
    }
    let connects = flooding.await.unwrap();
    let newcomer = [client(&addresses[0], &Surroundings::real(), &Echo::default())];
    let since = Instant::now();
    all_answered(&newcomer, Duration::from_secs(5)).await;
    println!(
        "g10: {connects} connects in {flood:?}, {calls} calls beside them, a newcomer served after {:?}",
        since.elapsed()
    );
    process.kill().await;
}

/// Bytes that the process holds, and the time it has had of the processor.
fn usage(process: &Process) -> (u64, Duration) {
    let id = process.id().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace().collect::<Vec<_>>();
    let ticks: u64 = [11, 12].iter().map(|place| fields[*place].parse::<u64>().unwrap()).sum();
    (kilobytes << 10, Duration::from_millis(ticks * 10))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g27_ten_thousand_idle_connections_fit_into_400_mib() {
    let (process, addresses) = serve(20_000, &["sockhop://127.0.0.1:0"]).await;
    let peers = size(100, 10_000);
    let before = usage(&process).0;
    let mut kept = Vec::new();
    let mut progress = Progress::new("g27: idle connections", peers);
    for _ in 0..peers {
        let mut stream = TcpStream::connect(&addresses[0]).await.unwrap();
        stream.write_all(b"{\"type\":\"echo\",\"data\":1,\"id\":\"i\"}\n").await.unwrap();
        assert!(timeout(LIMIT, stream.read(&mut [0; 512])).await.unwrap().unwrap() > 0);
        kept.push(stream);
        progress.one_more();
    }
    let cost = usage(&process).0 - before;
    println!("g27: {peers} idle connections cost {} KiB, {} B each", cost >> 10, cost / peers);
    assert!(cost <= (400 << 20) * peers / 10_000 + (8 << 20), "{cost}");
}

/// HPX says so in a second frame behind its greeting, Stonyx closes the WebSocket behind its handshake.
fn is_refused(said: &[u8]) -> bool {
    let frames = said.windows(5).filter(|end| end == b"<EOF>").count();
    let handshake = said.windows(4).position(|end| end == b"\r\n\r\n");
    frames == 2 || handshake.is_some_and(|end| said.len() > end + 4)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g27_x16_ten_thousand_wrong_logins_cost_a_twentieth_of_a_core_over_ten_minutes() {
    let logins = size(100, 10_000);
    let hpx =
        framed("{\"name\":\"x\",\"session\":\"\",\"data\":{\"user\":\"tester\",\"password\":\"wrong\"}}");
    let upgrade = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    // A sealed login under another key is 64 bytes that nobody can open.
    let stonyx = [upgrade.as_bytes(), &[0x82, 0x80 | 64, 0, 0, 0, 0], &[7; 64]].concat();
    let urls = [
        "hpx://tester@127.0.0.1:0?password=env:POLYWIRE_GOAL_KEY",
        "stonyx://127.0.0.1:0?key=env:POLYWIRE_GOAL_KEY",
    ];
    for (place, login) in [(0, hpx), (1, stonyx)] {
        let (process, addresses) = serve(20_000, &urls[place..=place]).await;
        let before = usage(&process).1;
        let mut progress = Progress::new("g27: wrong logins", logins);
        for _ in 0..logins {
            let mut stream = TcpStream::connect(&addresses[0]).await.unwrap();
            stream.write_all(&login).await.unwrap();
            let refused = async {
                let mut said = Vec::new();
                while stream.read_buf(&mut said).await.is_ok_and(|read| read > 0) && !is_refused(&said) {}
            };
            timeout(LIMIT, refused).await.expect("it is refused");
            progress.one_more();
        }
        let cost = usage(&process).1 - before;
        println!(
            "g27: {logins} wrong logins at {} cost {cost:?} of a processor",
            urls[place].split(':').next().unwrap()
        );
        assert!(cost.as_millis() <= u128::from(30_000 * logins / 10_000 + 500), "{cost:?}");
    }
}
