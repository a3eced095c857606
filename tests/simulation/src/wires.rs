//! The five wires, each with the options that both ends need, and what of a run each can carry.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use polywire_bridge::Registry;
use polywire_core::{Endpoint, Options, Router, Secret, Server, Surroundings, Target};
use tokio::runtime::{Builder, Runtime};

use crate::clock::SimulatedClock;
use crate::history::History;
use crate::network::{Pace, SimulatedNetwork};

/// Every wire.
pub const WIRES: [&str; 5] = ["sockhop", "hpx", "stonyx", "socketio", "hyperhq"];
/// The event of servers.
pub const MOVED: &str = "moved";
/// The shared key of one wire and the challenge of another.
const KEY: &str = "the shared key of the simulation";
/// Connections of one HPX client.
pub const LANES: u32 = 2;

/// Every adapter.
pub fn registry() -> Registry {
    let registry = Registry::new().with(polywire_sockhop::ADAPTER).with(polywire_hpx::ADAPTER);
    registry.with(polywire_stonyx::ADAPTER).with(polywire_socketio::ADAPTER).with(polywire_hyperhq::ADAPTER)
}

/// Has the wire a login that the authenticator of the simulation judges?
pub fn judges(wire: &str) -> bool {
    matches!(wire, "hpx" | "stonyx" | "socketio")
}

/// Do servers send events?
pub fn pushes(wire: &str) -> bool {
    wire != "hpx"
}

/// Do clients send events that arrive as events?
pub fn tells(wire: &str) -> bool {
    matches!(wire, "sockhop" | "socketio")
}

/// Do servers call their clients?
pub fn calls_back(wire: &str) -> bool {
    matches!(wire, "sockhop" | "socketio" | "hyperhq")
}

/// Is the order in which a server's connections end of one seed? The library under Socket.IO keeps them in a map without one.
pub fn is_ordered(wire: &str) -> bool {
    !matches!(wire, "socketio" | "hyperhq")
}

/// How many clients a server has: a HyperHQ server of the adapter has one plugin.
pub fn most_clients(wire: &str) -> u64 {
    if wire == "hyperhq" { 1 } else { 3 }
}

/// The connections one client keeps.
pub fn connections(wire: &str) -> u32 {
    if wire == "hpx" { LANES } else { 1 }
}

/// How fast a client of this wire dials at most. An HPX client gives a connection up for each call that is given up.
pub fn pace(wire: &str) -> Pace {
    let most = if wire == "hpx" { 600 } else { 40 };
    Pace { free: connections(wire), most }
}

/// How long somebody who does not log in lives at most; `None` where there is no login.
pub fn stranger_limit(wire: &str) -> Option<Duration> {
    let seconds = match wire {
        "sockhop" => return None,
        // A host gives its plugin as long as its challenge lives.
        "hyperhq" => 30,
        _ => 10,
    };
    Some(Duration::from_secs(seconds))
}

/// Options that both ends of a bridge file and a program have; secrets apart.
pub fn texts(wire: &str, listens: bool) -> &'static [(&'static str, &'static str)] {
    match (wire, listens) {
        ("hpx", false) => &[("connections", "2")],
        ("sockhop" | "stonyx", _) => &[("errors_in_reply", "on")],
        ("socketio", false) => &[("redial_when_dismissed", "on")],
        ("hyperhq", true) => &[("plugin", "demo")],
        ("hyperhq", false) => &[("plugin", "demo"), ("events", MOVED)],
        _ => &[],
    }
}

/// The option of a wire that is a secret of both ends.
pub fn secret(wire: &str) -> Option<(&'static str, Secret)> {
    let name = match wire {
        "stonyx" => "key",
        "hyperhq" => "challenge",
        _ => return None,
    };
    Some((name, Secret::from(KEY)))
}

fn options(wire: &str, listens: bool) -> Options {
    let mut options = texts(wire, listens).iter().copied().collect::<Options>();
    if let Some((name, value)) = secret(wire) {
        options.set_secret(name, value);
    }
    options
}

/// Where a server listens; `guests` lets in whoever does not log in, where the wire can tell.
pub fn server(wire: &str, address: &str, guests: bool) -> Target {
    let mut target =
        Target { address: address.to_owned(), options: options(wire, true), ..Target::default() };
    if wire == "hpx" && guests {
        target.options.set("guests", "on");
    }
    target
}

/// What `subject` dials, or one with a wrong secret when it is `hopeless`; nobody when it has no name.
pub fn client(wire: &str, address: &str, subject: Option<&str>, hopeless: bool) -> Target {
    let mut target =
        Target { address: address.to_owned(), options: options(wire, false), ..Target::default() };
    let said = |subject: &str| Secret::from(format!("{{\"user\":\"{subject}\"}}"));
    match (wire, subject) {
        ("hpx", Some(subject)) => {
            target.user = Some(subject.to_owned());
            target.options.set_secret("password", Secret::from("of the simulation"));
        }
        ("stonyx", Some(subject)) => target.options.set_secret("auth_data", said(subject)),
        ("socketio", Some(subject)) => target.options.set_secret("auth", said(subject)),
        ("hyperhq", _) if hopeless => target.options.set_secret("challenge", Secret::from("another")),
        _ => {}
    }
    target
}

/// Has the key of Stonyx derived once in this process. It takes a thread and many milliseconds, and a run must wait for neither.
pub fn derive_key() {
    static KEPT: OnceLock<(Runtime, Server)> = OnceLock::new();
    KEPT.get_or_init(|| {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime can be had");
        let server = runtime.block_on(async {
            let history = History::new(Arc::new(SimulatedClock::new()), true);
            let mut endpoint =
                Endpoint::new("stonyx", Router::new().build().expect("no route is no duplicate"));
            let network = Arc::new(SimulatedNetwork::new(0, history)) as _;
            endpoint.surroundings = Surroundings { network: Some(network), ..Surroundings::seeded(0) };
            let registry = registry();
            let adapter = registry.get("stonyx").expect("it is there");
            adapter
                .listen(server("stonyx", "127.0.0.1:1", true), endpoint)
                .await
                .expect("nobody listens there")
        });
        (runtime, server)
    });
}
