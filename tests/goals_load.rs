//! Mixed traffic over every wire and through the bridge, for as long as `cargo xtask soak goals` says: nothing is lost, nothing comes twice.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

#[path = "support/bridged.rs"]
mod bridged;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bridged::{WIRES, bridge, json, onward, registry, target};
use polywire_core::{
    Body, Client, Count, Endpoint, Event, GAP, Handler, HandlerFuture, Identity, Incoming, Kind, Request,
    Response, Route, Server,
};
use polywire_size::{Progress, is_full, size};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// An event that every wire with events takes.
const TOLD: Route = Route::from_static(bridged::EVENT);

/// Echoes and counts; events have to come in order, without holes and copies.
#[derive(Default)]
struct App {
    ran: AtomicU64,
    heard: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

/// The number in a body.
fn number(body: &Body) -> u64 {
    let Body::Json(text) = body else { return u64::MAX };
    text.parse::<serde_json::Value>().ok().and_then(|value| value["n"].as_u64()).unwrap_or(u64::MAX)
}

impl Handler for App {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        if incoming.kind == Kind::Event {
            let (due, came) = (self.heard.fetch_add(1, Ordering::Relaxed), number(&incoming.body));
            if due != came || incoming.route == GAP {
                self.wrong
                    .lock()
                    .unwrap()
                    .push(format!("event {came} of {} in place of {due}", incoming.route));
            }
        } else {
            self.ran.fetch_add(1, Ordering::Relaxed);
        }
        Box::pin(async move { Ok(Response::from(incoming.body)) })
    }
}

/// How long answers took, in tenths of a millisecond.
struct Times(Vec<u64>);

impl Times {
    fn new() -> Self {
        Self(vec![0; 20_001])
    }

    fn add(&mut self, took: Duration) {
        let tenths = usize::try_from(took.as_micros() / 100).unwrap_or(usize::MAX).min(self.0.len() - 1);
        self.0[tenths] += 1;
    }

    /// The time within which so many of a thousand answers came.
    fn within(&self, of_thousand: u64) -> Duration {
        let most = self.0.iter().sum::<u64>() * of_thousand / 1_000;
        let mut seen = 0;
        let tenths = self.0.iter().position(|count| {
            seen += count;
            seen >= most
        });
        Duration::from_micros(tenths.unwrap_or(self.0.len()) as u64 * 100)
    }
}

/// What this process holds: bytes of memory, and descriptors.
fn held() -> (usize, usize) {
    (polywire_tests::memory::held(), std::fs::read_dir("/proc/self/fd").unwrap().count())
}

async fn serve(wire: &str, app: &Arc<App>) -> Server {
    let mut endpoint = Endpoint::new("goal", Arc::clone(app));
    endpoint.authenticator = Some(Arc::new(|_| async { Ok(Identity::guest()) }));
    registry().get(wire).unwrap().listen(target(wire, "127.0.0.1:0", true), endpoint).await.unwrap()
}

async fn dial(wire: &str, address: &str, app: &Arc<App>) -> Client {
    let endpoint = Endpoint::new("goal", Arc::clone(app));
    let client = registry().get(wire).unwrap().dial(target(wire, address, false), endpoint).await.unwrap();
    client.ready().await.unwrap();
    client
}

/// One row of calls, answered each with what it asked.
async fn call(client: Arc<Client>, pace: Duration, until: Instant, times: Arc<Mutex<Times>>) -> u64 {
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = 0;
    while Instant::now() < until {
        ticks.tick().await;
        let since = Instant::now();
        let request = Request::new(Route::from_static("echo"), json(&format!("{{\"n\":{sent}}}")));
        let answer = client.caller().call(request.timeout(Duration::from_secs(10))).await;
        let answer = answer.unwrap_or_else(|error| panic!("call {sent}: {error}"));
        assert_eq!(number(&answer.body), sent);
        times.lock().unwrap().add(since.elapsed());
        sent += 1;
    }
    sent
}

/// Events of a server to its clients.
async fn tell(server: Arc<Server>, pace: Duration, until: Instant) -> u64 {
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = 0;
    while Instant::now() < until {
        ticks.tick().await;
        server.audience().broadcast(&Event::new(TOLD, json(&format!("{{\"n\":{told}}}"))));
        told += 1;
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g05_mixed_traffic_over_every_wire_and_the_bridge_loses_nothing_and_doubles_nothing() {
    // Six rows of calls and four of events, each so many times a second: 5,000 messages together.
    let each = u32::try_from(size(50, 500)).unwrap();
    let (span, pace) = (Duration::from_secs(size(2, 3_600)), Duration::from_secs(1) / each);
    let (upstream, apps) = (Arc::new(App::default()), WIRES.map(|_| Arc::new(App::default())));
    let heard = WIRES.map(|_| Arc::new(App::default()));
    let mut servers = Vec::new();
    let mut clients = Vec::new();
    for (place, wire) in WIRES.into_iter().enumerate() {
        let server = serve(wire, &apps[place]).await;
        clients.push(Arc::new(dial(wire, server.address(), &heard[place]).await));
        servers.push(Arc::new(server));
    }
    let far = serve("stonyx", &upstream).await;
    let between = bridge("sockhop", "stonyx", far.address(), &onward("")).await;
    let through = Arc::new(dial("sockhop", between.address("in").unwrap(), &Arc::new(App::default())).await);
    let times = Arc::new(Mutex::new(Times::new()));
    let (began, until) = (Instant::now(), Instant::now() + span);
    let (mut calls, mut events) = (JoinSet::new(), JoinSet::new());
    for (place, client) in clients.iter().chain([&through]).enumerate() {
        let row = call(Arc::clone(client), pace, until, Arc::clone(&times));
        calls.spawn(async move { (place, row.await) });
    }
    for (place, server) in servers.iter().enumerate().filter(|(place, _)| WIRES[*place] != "hpx") {
        let row = tell(Arc::clone(server), pace, until);
        events.spawn(async move { (place, row.await) });
    }
    let progress = tokio::spawn(async move {
        let mut progress = Progress::new("g05: seconds of mixed load", span.as_secs());
        let mut seconds = interval(Duration::from_secs(1));
        loop {
            seconds.tick().await;
            progress.done(began.elapsed().as_secs());
        }
    });
    // What it holds when everything is warm, and when it ends.
    tokio::time::sleep_until(began + span / 2).await;
    let warm = held();
    let (mut sent, mut told) = (0, 0);
    while let Some(row) = calls.join_next().await {
        let (place, count) = row.unwrap();
        let ran = apps.get(place).unwrap_or(&upstream).ran.load(Ordering::Relaxed);
        assert_eq!(ran, count, "row {place}: what was answered ran once");
        sent += count;
    }
    let end = held();
    progress.abort();
    while let Some(row) = events.join_next().await {
        let (place, count) = row.unwrap();
        let all = async {
            while heard[place].heard.load(Ordering::Relaxed) < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), all).await.expect("every event comes");
        assert_eq!(heard[place].heard.load(Ordering::Relaxed), count, "{}", WIRES[place]);
        told += count;
    }
    for app in heard.iter().chain(&apps) {
        assert_eq!(*app.wrong.lock().unwrap(), Vec::<String>::new());
    }
    for (place, server) in servers.iter().enumerate() {
        let ledger = server.ledger();
        assert_eq!(ledger.unaccounted_frames(), 0, "{}", WIRES[place]);
        assert_eq!(ledger.get(Count::Requests), ledger.get(Count::RequestsAnswered), "{}", WIRES[place]);
    }
    let (rate, late) = ((sent + told) / span.as_secs(), times.lock().unwrap().within(999));
    println!("g05: {sent} calls and {told} events in {span:?}, {rate} a second; p99.9 {late:?}");
    println!(
        "g05: held at half time {} KiB and {} descriptors, in the end {} KiB and {}",
        warm.0 >> 10,
        warm.1,
        end.0 >> 10,
        end.1
    );
    assert_eq!(warm.1, end.1, "descriptors");
    if is_full() {
        assert!(rate >= 4_500, "{rate} messages a second, of 5,000");
        assert!(late <= Duration::from_millis(50), "{late:?}");
        assert!(end.0 <= warm.0 + (1 << 20), "memory grew from {} to {}", warm.0, end.0);
    }
}
