//! What listens: the server at the far end, and the bridge in front of it. Both can be started again.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_bridge::{
    Bridge, Config, Ending, EndpointSnapshot, EndpointState, RouteSnapshot, Snapshot, Source, StartError,
};
use polywire_core::{ClientState, Count, Endpoint, Event, Limits, Peer, Server};

use tokio::time::sleep;

use crate::history::What;
use crate::service::{Judge, Porter, Service};
use crate::wires::{self, MOVED, registry};
use crate::world::Ground;

/// How long servers and bridge drain.
pub const DRAIN: Duration = Duration::from_secs(5);
/// How long after the drain everything is gone, at the latest.
pub const GRACE: Duration = Duration::from_secs(1);

/// How often listening is tried again where the address is still in use, and how long after.
const TRIES: u32 = 100;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// The limits of every program: the defaults, with a shorter drain.
pub fn limits() -> Arc<Limits> {
    Arc::new(Limits { drain_timeout: DRAIN, ..Limits::default() })
}

/// The server at the far end.
pub struct Upstream {
    ground: Arc<Ground>,
    wire: &'static str,
    address: String,
    /// Judges logins; nobody does behind a bridge.
    judge: Option<Judge>,
    running: Mutex<Option<Server>>,
}

impl Upstream {
    /// A server that is not started.
    pub fn new(ground: Arc<Ground>, wire: &'static str, address: &str, judge: Option<Judge>) -> Self {
        Self { ground, wire, address: address.to_owned(), judge, running: Mutex::default() }
    }

    /// Starts it, unless it runs.
    ///
    /// # Panics
    /// When it cannot be started: that is a fault of the simulation.
    pub async fn start(&self) {
        if self.running.lock().expect("not poisoned").is_some() {
            return;
        }
        let history = self.ground.history.clone();
        let mut endpoint = Endpoint::new(self.wire, Service::new(history.clone(), 0));
        endpoint.limits = limits();
        endpoint.surroundings = self.ground.surroundings();
        endpoint.observer = Some(Arc::new(Porter(history)));
        endpoint.authenticator = self.judge.clone().map(|judge| Arc::new(judge) as _);
        self.ground.keep(format!("{} server", self.wire), &endpoint.ledger);
        let target = wires::server(self.wire, &self.address, self.judge.is_none());
        let registry = registry();
        let adapter = registry.get(self.wire).expect("it is there");
        // What was ended a moment ago may still have the address.
        let mut tries = 0;
        let server = loop {
            match adapter.listen(target.clone(), endpoint.clone()).await {
                Ok(server) => break server,
                Err(error) => assert!(tries < TRIES, "{error}"),
            }
            tries += 1;
            sleep(BETWEEN_TRIES).await;
        };
        *self.running.lock().expect("not poisoned") = Some(server);
        self.ground.history.add(What::Listens);
    }

    /// Ends it at once.
    pub fn crash(&self) {
        let server = self.running.lock().expect("not poisoned").take();
        drop(server);
    }

    /// Drains it.
    pub async fn drain(&self) {
        let server = self.running.lock().expect("not poisoned").take();
        let Some(server) = server else { return };
        let since = self.ground.history.now();
        server.shutdown().await;
        let took = self.ground.history.now() - since;
        self.ground.history.add(What::Drained { who: "server".to_owned(), took, limit: DRAIN + GRACE });
    }

    /// Sends an event to every peer; says whether there was a server.
    pub fn broadcast(&self, event: &Event) -> bool {
        let server = self.running.lock().expect("not poisoned");
        server.as_ref().is_some_and(|server| {
            server.audience().broadcast(event);
            true
        })
    }

    /// The peers that are there.
    pub fn peers(&self) -> Vec<Peer> {
        self.running.lock().expect("not poisoned").as_ref().map(Server::peers).unwrap_or_default()
    }
}

/// The bridge between two wires.
pub struct Between {
    ground: Arc<Ground>,
    config: Config,
    running: Mutex<Option<Bridge>>,
    /// What it had lost when its books were read last.
    lost: AtomicU64,
}

/// Messages of a route that have had their end.
fn ended(route: &RouteSnapshot) -> u64 {
    route.endings.iter().map(|(_, count)| count).sum()
}

/// Messages that a bridge could not pass on, and connections that ended, for with them goes what was on its way.
fn lost(snapshot: &Snapshot) -> u64 {
    let good = [Ending::Answered, Ending::Failed, Ending::Delivered];
    let of_route = |route: &RouteSnapshot| {
        let endings = route.endings.iter().filter(|(ending, _)| !good.contains(ending));
        endings.map(|(_, count)| count).sum::<u64>() + route.copies_dropped
    };
    let bad = [Count::Closed, Count::EventsRefused, Count::EventsNotSent];
    let of_endpoint = |endpoint: &EndpointSnapshot| {
        endpoint.ledger.iter().filter(|(count, _)| bad.contains(count)).map(|(_, value)| value).sum::<u64>()
    };
    snapshot.routes.iter().map(of_route).sum::<u64>()
        + snapshot.endpoints.iter().map(of_endpoint).sum::<u64>()
}

impl Between {
    /// A bridge that listens for `from` at `address` and dials `to` at `upstream`; it is not started.
    pub fn new(ground: Arc<Ground>, from: &str, to: &str, address: &str, upstream: &str) -> Self {
        let mut text = format!("[bridge]\ndrain = \"{}s\"\n", DRAIN.as_secs());
        endpoint(&mut text, "in", from, &format!("role = \"server\"\nlisten = \"{address}\""), true);
        endpoint(&mut text, "out", to, &format!("role = \"client\"\naddress = \"{upstream}\""), false);
        text.push_str(
            "[[route]]\nfrom = { endpoint = \"in\", match = \"*\" }\nto = { endpoint = \"out\" }\n",
        );
        if wires::pushes(from) && wires::pushes(to) {
            let _ = write!(
                text,
                "[[route]]\nfrom = {{ endpoint = \"out\", match = \"{MOVED}\", kind = \"event\" }}\nto = {{ endpoint = \"in\" }}\nallow_loop = true\n"
            );
        }
        let mut config = Config::parse(Source::new("simulated.toml", text));
        for (name, wire) in [("in", from), ("out", to)] {
            if let Some((option, secret)) = wires::secret(wire) {
                config.set_secret(name, option, secret);
            }
        }
        Self { ground, config, running: Mutex::default(), lost: AtomicU64::new(0) }
    }

    /// Starts it, unless it runs.
    ///
    /// # Panics
    /// When its file is wrong: that is a fault of the simulation.
    pub async fn start(&self) {
        if self.running.lock().expect("not poisoned").is_some() {
            return;
        }
        let mut tries = 0;
        let bridge = loop {
            match Bridge::start(&self.config, &registry(), self.ground.surroundings()).await {
                Ok(bridge) => break bridge,
                Err(StartError::Check(report)) => panic!("{}", report.to_text()),
                Err(error) => assert!(tries < TRIES, "{error}"),
            }
            tries += 1;
            sleep(BETWEEN_TRIES).await;
        };
        self.lost.store(0, Ordering::Relaxed);
        *self.running.lock().expect("not poisoned") = Some(bridge);
    }

    /// Ends it at once.
    pub fn crash(&self) {
        let bridge = self.running.lock().expect("not poisoned").take();
        self.ground.history.add(What::Lost);
        drop(bridge);
    }

    /// Reads its books while it runs.
    pub fn read(&self) {
        let running = self.running.lock().expect("not poisoned");
        if let Some(bridge) = running.as_ref() {
            self.note(&bridge.snapshot(), false);
        }
    }

    /// Was the end of it that dials refused for good? A plugin is whose connection is lost on its side alone: its challenge was used.
    pub fn is_refused(&self) -> bool {
        let running = self.running.lock().expect("not poisoned");
        let refused = |endpoint: &EndpointSnapshot| {
            matches!(endpoint.state, EndpointState::Client(ClientState::Refused(_)))
        };
        running.as_ref().is_some_and(|bridge| bridge.snapshot().endpoints.iter().any(refused))
    }

    /// Has all that it took an end?
    pub fn is_idle(&self) -> bool {
        let running = self.running.lock().expect("not poisoned");
        let routes = running.as_ref().map_or_else(Vec::new, |bridge| bridge.snapshot().routes);
        routes.iter().all(|route| route.received == ended(route))
    }

    /// Drains it.
    pub async fn drain(&self) {
        let bridge = self.running.lock().expect("not poisoned").take();
        let Some(bridge) = bridge else { return };
        let since = self.ground.history.now();
        bridge.shutdown().await;
        self.ground.history.add(What::Lost);
        let took = self.ground.history.now() - since;
        self.ground.history.add(What::Drained { who: "bridge".to_owned(), took, limit: DRAIN + GRACE });
    }

    /// Ends it in order, and reads its books when nothing can be on its way any more.
    pub async fn finish(&self) {
        let bridge = self.running.lock().expect("not poisoned").take();
        let Some(bridge) = bridge else { return };
        bridge.shutdown_handle().drain();
        sleep(DRAIN + GRACE).await;
        self.note(&bridge.snapshot(), true);
        bridge.shutdown().await;
    }

    fn note(&self, snapshot: &Snapshot, closed: bool) {
        let history = &self.ground.history;
        let lost = lost(snapshot);
        if self.lost.swap(lost, Ordering::Relaxed) != lost {
            history.add(What::Lost);
        }
        for route in &snapshot.routes {
            let (title, received, ended) = (route.title.clone(), route.received, ended(route));
            history.add(What::Route { title, received, ended, closed });
        }
        for endpoint in &snapshot.endpoints {
            history.add(books(
                &endpoint.name,
                &|count| {
                    endpoint.ledger.iter().find(|(known, _)| *known == count).map_or(0, |(_, value)| *value)
                },
                closed,
            ));
        }
        let inside = snapshot.endpoints.iter().find(|endpoint| endpoint.name == "in");
        if let (true, Some(inside), Some(route)) = (closed, inside, snapshot.routes.first()) {
            let handed = [Count::Requests, Count::Events];
            let given = inside.ledger.iter().filter(|(count, _)| handed.contains(count));
            let taken = route.received + inside.unrouted_requests + inside.unrouted_events;
            history.add(What::Taken { given: given.map(|(_, value)| value).sum(), taken });
        }
    }
}

/// The books of an endpoint, by its counts.
pub fn books(who: &str, count: &dyn Fn(Count) -> u64, closed: bool) -> What {
    let sum = |counts: &[Count]| counts.iter().map(|one| count(*one).cast_signed()).sum::<i64>();
    let reasons = Count::ALL.iter().copied().filter(|count| count.is_reason()).collect::<Vec<_>>();
    let calls = [
        Count::CallsAnswered,
        Count::CallsFailed,
        Count::CallsNotSent,
        Count::CallsUnknown,
        Count::CallsCancelled,
    ];
    let requests = [Count::RequestsAnswered, Count::RequestsFailed, Count::RequestsAbandoned];
    What::Books {
        who: who.to_owned(),
        frames: sum(&[Count::FramesReceived])
            - sum(&[Count::FramesDelivered, Count::FramesUsed])
            - sum(&reasons),
        calls: sum(&[Count::Calls]) - sum(&calls),
        requests: sum(&[Count::Requests]) - sum(&requests),
        connections: sum(&[Count::Connections]) - sum(&[Count::Closed]),
        closed,
    }
}

fn endpoint(text: &mut String, name: &str, wire: &str, place: &str, listens: bool) {
    let _ = write!(text, "[endpoint.{name}]\nprotocol = \"{wire}\"\n{place}\n");
    for (option, value) in wires::texts(wire, listens) {
        let quote = if value.parse::<u64>().is_ok() { "" } else { "\"" };
        let _ = writeln!(text, "{option} = {quote}{value}{quote}");
    }
    if let Some((option, _)) = wires::secret(wire) {
        // It is named here and set once the file is read.
        let _ = writeln!(text, "{option} = \"env:NONE\"");
    }
    if wire == "hpx" && listens {
        text.push_str("guests = \"on\"\n");
    }
}
