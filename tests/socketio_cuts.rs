//! Our Socket.IO client while npm `socket.io` kicks it and is started anew in mid-traffic: every call ends once and says how, every
//! event is heard once at most and in order, and each connect shows a token of its own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_core::{
    Body, CallError, Caller, Client, Code, Count, CredentialSource, Endpoint, Event, GAP, Handler,
    HandlerFuture, Incoming, JsonText, Meta, Reconnect, Request, Response, Route,
};
use polywire_socketio::{Config, SEVERAL, Transports, dial};
use polywire_tests::install::SOCKET_IO;
use polywire_tests::process::Process;
use polywire_tests::socketio::{Ears, LIMIT, Tokens, control};
use polywire_tests::{peer, skip};
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// How often a client is kicked, and how often its server is started anew.
const TIMES: usize = 50;
/// Who calls all the time.
const CALLERS: usize = 6;
/// Those of them that are answered at once; the others wait a while for each answer, so that a call is under way at every cut.
const HASTY: usize = 4;
const LATE_MS: u32 = 10;
/// The ways in which the server ends a connection, and its own end.
const CUTS: [&str; 6] = ["namespace", "close", "engine", "abort", "close-packet", "restart"];

/// What the client has heard: the numbers that came back, and how often events may be missing.
#[derive(Clone, Default)]
struct Heard(Arc<(Mutex<Vec<u64>>, AtomicU64)>);

impl Handler for Heard {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let (numbers, gaps) = &*self.0;
        if incoming.route == GAP {
            gaps.fetch_add(1, Ordering::Relaxed);
        } else if let ("said", Body::Json(number)) = (&*incoming.route, &incoming.body) {
            numbers.lock().unwrap().push(number.parse().unwrap());
        }
        Box::pin(std::future::ready(Ok(Response::default())))
    }
}

/// How the calls ended that are made all the time.
#[derive(Default)]
struct Tally {
    is_over: AtomicBool,
    said: AtomicU64,
    answered: AtomicU64,
    /// Those that were under way at a cut, by its kind.
    unknown: [AtomicU64; CUTS.len()],
    /// The kind of the last cut.
    cut: AtomicUsize,
    more: Notify,
}

impl Tally {
    /// Says a number, which the server says back, and asks, without a pause until it is over.
    async fn goes_on(&self, caller: Caller, is_hasty: bool) {
        while !self.is_over.load(Ordering::Relaxed) {
            let number = self.said.fetch_add(1, Ordering::Relaxed);
            let body = Body::Json(JsonText::from_value(&number).unwrap());
            caller.notify(Event::new(Route::from_static("say"), body.clone())).await.unwrap();
            let request = if is_hasty {
                Request::new(Route::from_static("echo"), body.clone())
            } else {
                let arguments = JsonText::from_value(&(LATE_MS, number)).unwrap();
                let meta = Meta::default().with(SEVERAL, "2");
                Request { meta, ..Request::new(Route::from_static("late"), Body::Json(arguments)) }
            };
            match caller.call(request.timeout(LIMIT)).await {
                Ok(answer) => {
                    assert_eq!(answer.body, body);
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    self.more.notify_waiters();
                }
                Err(error) => {
                    assert_cut_off(&error);
                    let cut = self.cut.load(Ordering::Relaxed);
                    self.unknown.get(cut).unwrap().fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Waits for so many answers from now on.
    async fn flows(&self, answers: u64) {
        let wanted = self.answered.load(Ordering::Relaxed) + answers;
        let wait = async {
            loop {
                let more = self.more.notified();
                if self.answered.load(Ordering::Relaxed) >= wanted {
                    return;
                }
                more.await;
            }
        };
        tokio::time::timeout(LIMIT, wait).await.expect("calls are answered");
    }
}

/// It ended with its connection, and not at its own deadline.
fn assert_cut_off(error: &CallError) {
    let is_cut_off = matches!(error, CallError::Unknown(failure) if failure.code == Code::Unavailable);
    assert!(is_cut_off, "{error:?}");
}

/// A client in traffic, and its server.
struct Traffic {
    server: Process,
    port: u16,
    client: Client,
    ears: Ears,
    heard: Heard,
    tokens: Arc<Tokens>,
    tally: Arc<Tally>,
    callers: JoinSet<()>,
    /// How many sessions the server had upgraded when the last connection was cut.
    upgrades: u64,
}

impl Traffic {
    async fn begin(package: &Path, config: Config) -> Self {
        let (server, port) = peer::socketio_server(package, &[]).await.unwrap();
        let (ears, heard, tokens) = (Ears::default(), Heard::default(), Arc::<Tokens>::default());
        let endpoint = Endpoint {
            observer: Some(Arc::new(ears.clone())),
            reconnect: Reconnect {
                first_pause: Duration::from_millis(20),
                max_pause: Duration::from_millis(200),
                ..Reconnect::default()
            },
            ..Endpoint::new("socketio", heard.clone())
        };
        let config = Config { redial_when_dismissed: true, ..config };
        let source = Arc::clone(&tokens) as Arc<dyn CredentialSource>;
        let client = dial(&format!("127.0.0.1:{port}"), config, source, endpoint).unwrap();
        let tally = Arc::<Tally>::default();
        let mut callers = JoinSet::new();
        for number in 0..CALLERS {
            let (caller, tally) = (client.caller().clone(), Arc::clone(&tally));
            callers.spawn(async move { tally.goes_on(caller, number < HASTY).await });
        }
        Self { server, port, client, ears, heard, tokens, tally, callers, upgrades: 0 }
    }

    /// Waits until the server has upgraded this connection, while calls are answered.
    async fn is_upgraded(&self) {
        let upgrades = async || control(self.port, "stats").await["upgrades"].as_u64().unwrap();
        while upgrades().await == self.upgrades {
            self.tally.flows(1).await;
        }
    }

    /// Ends the connection while calls and events are on their way; one of the calls is one that is never answered.
    async fn cut(&mut self, package: &Path, kind: usize) {
        let never = Request::new(Route::from_static("never"), Body::Empty).timeout(LIMIT);
        let caller = self.client.caller().clone();
        let never = tokio::spawn(async move { caller.call(never).await });
        // One of them at least was made behind it, and each caller has one on its way again.
        self.tally.flows(2 * CALLERS as u64).await;
        let ends = self.ears.ends().len();
        self.tally.cut.store(kind, Ordering::Relaxed);
        let how = *CUTS.get(kind).unwrap();
        if how == "restart" {
            self.assert_all_tokens_new().await;
            self.server.kill().await;
            self.ears.ended(ends + 1).await;
            let port = self.port.to_string();
            self.server = peer::socketio_server(package, &["--port", &port]).await.unwrap().0;
            self.upgrades = 0;
        } else {
            control(self.port, &format!("kick?mode={how}")).await;
            self.ears.ended(ends + 1).await;
            self.upgrades = control(self.port, "stats").await["upgrades"].as_u64().unwrap();
        }
        assert_cut_off(&never.await.unwrap().unwrap_err());
    }

    /// Since it was started, the server has seen no token twice and refused none.
    async fn assert_all_tokens_new(&self) {
        let stats = control(self.port, "stats").await;
        assert_eq!((&stats["reusedTokens"], &stats["refused"]), (&json!(0), &json!(0)), "{stats}");
    }

    /// Ends the traffic after so many cuts. Gives how many calls of each kind of cut were under way.
    async fn end(mut self, cuts: u64) -> [u64; CUTS.len()] {
        self.tally.flows(CALLERS as u64).await;
        self.tally.is_over.store(true, Ordering::Relaxed);
        while let Some(caller) = self.callers.join_next().await {
            caller.unwrap();
        }
        self.assert_all_tokens_new().await;
        assert!(self.tokens.0.load(Ordering::Relaxed) > cuts);
        let (said, answered) =
            [&self.tally.said, &self.tally.answered].map(|n| n.load(Ordering::Relaxed)).into();
        let unknown = self.tally.unknown.each_ref().map(|calls| calls.load(Ordering::Relaxed));
        let ledger = Arc::clone(self.client.ledger());
        let ended = [Count::CallsAnswered, Count::CallsUnknown, Count::Calls].map(|count| ledger.get(count));
        let lost = unknown.iter().sum::<u64>();
        assert_eq!(ended, [answered, lost + cuts, said + cuts], "each cut has one that is never answered");
        // Each number comes back before the answer to what was asked behind it. At a cut each caller loses one at most.
        let (numbers, gaps) = &*self.heard.0;
        let numbers = numbers.lock().unwrap().clone();
        assert!(numbers.is_sorted_by(|one, next| one < next), "twice, or out of order");
        let heard = numbers.len() as u64;
        let most = cuts * CALLERS as u64;
        assert!(
            lost <= most && heard <= said && heard + most >= said,
            "{lost} lost, {heard} of {said} heard"
        );
        assert_eq!(gaps.load(Ordering::Relaxed), cuts, "a gap is told after each cut");
        self.client.shutdown().await;
        assert_eq!(ledger.unaccounted_frames(), 0, "{:?}", ledger.snapshot());
        self.server.kill().await;
        unknown
    }
}

#[tokio::test]
async fn fifty_kicks_and_fifty_restarts_in_mid_traffic_lose_nothing_unsaid() {
    let name = "fifty_kicks_and_fifty_restarts_in_mid_traffic_lose_nothing_unsaid";
    let Some(package) = skip::package(name, &SOCKET_IO) else { return };
    let mut traffic = Traffic::begin(&package, Config::new("/realtime")).await;
    for round in 0..TIMES {
        traffic.cut(&package, round % 5).await;
        traffic.cut(&package, 5).await;
    }
    let under_way = traffic.end(2 * TIMES as u64).await;
    assert!(under_way.iter().all(|calls| *calls > 0), "{under_way:?} were under way at {CUTS:?}");
}

#[tokio::test]
async fn kicks_and_restarts_in_mid_traffic_lose_nothing_unsaid_by_polling_and_its_upgrade() {
    let name = "kicks_and_restarts_in_mid_traffic_lose_nothing_unsaid_by_polling_and_its_upgrade";
    let Some(package) = skip::package(name, &SOCKET_IO) else { return };
    for transports in [Transports::Polling, Transports::PollingFirst] {
        let config = Config { transports, ..Config::new("/realtime") };
        let mut traffic = Traffic::begin(&package, config).await;
        // A packet that is written past the queue of a transport that polls is the end of the server.
        let kinds = (0..CUTS.len()).filter(|kind| CUTS.get(*kind) != Some(&"close-packet"));
        for kind in kinds.clone() {
            traffic.cut(&package, kind).await;
        }
        for kind in kinds {
            if transports == Transports::PollingFirst {
                traffic.is_upgraded().await;
            }
            traffic.cut(&package, kind).await;
        }
        let under_way = traffic.end(2 * (CUTS.len() as u64 - 1)).await;
        assert!(under_way.iter().sum::<u64>() > 0, "none was under way over {transports:?}");
    }
}
