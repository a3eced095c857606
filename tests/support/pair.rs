//! Every ordered pair of wires over the bridge, running, and what is expected of it.
//!
//! Nothing here knows a wire. What is expected of a pair comes from what the adapters declare, by way of `polywire_cli::pairs`,
//! which is also what `polywire check --pairs` and the table of the README are made of.

#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use polywire_bridge::Bridge;
use polywire_cli::{Crossing, Way};
use polywire_core::{Body, CallError, Caller, Client, Code, EventForm, Kind, Peer};

use crate::bridged::{
    App, EVENT, Seen, Upstream, bridge, dial_as, event, json, particulars, registry, request, serve,
};

/// JSON that a careless carrier changes: integers above 2^53, numbers no machine has, their spelling, key order, escapes, lone
/// surrogates, empty things.
pub(crate) const BODIES: [&str; 5] = [
    r#"{"z":9007199254740993,"a":18446744073709551616,"n":-9223372036854775809}"#,
    r#"{"f":[1.0,1e2,-0.0,0.1000,1e400,-1E-400,123456789012345678901234567890.5]}"#,
    r#"{"t":"añ \u00e9 🙂 \ud83d\ude42 \ud800 \u0000 \u2028 \/ \" \\","añ":""}"#,
    r#"{"list":[[],{},"",0,true,false,null,[[["deep"]]]],"empty":{"":""}}"#,
    r#"{}"#,
];

/// What is no object.
pub(crate) const BARE: [&str; 6] = ["0", "-1.50e3", "\"\\ud800 é\"", "true", "[]", "[1, {\"a\":null}]"];

/// A pair, with everything running.
pub(crate) struct Rig {
    /// Which pair, for messages.
    pub(crate) name: String,
    pub(crate) upstream: Upstream,
    /// The server's view of the bridge.
    pub(crate) peer: Peer,
    pub(crate) bridge: Bridge,
    pub(crate) client: Client,
    /// The app behind the client.
    pub(crate) app: App,
    /// What the client was sent.
    pub(crate) heard: Seen,
}

impl Rig {
    /// A pair with a route for each way that is not impossible; these settings are added to each.
    pub(crate) async fn new(from: &str, to: &str, more: &str) -> Self {
        let as_requests = particulars(from).client_events == EventForm::Requests;
        let mut routes = String::new();
        for way in [Way::Events, Way::Calls, Way::CallsBack, Way::EventsBack] {
            if !crossing(from, to, way).is_carried() {
                continue;
            }
            let (matched, there, kind) = match way {
                Way::Events if as_requests => (EVENT, "emit", "request"),
                Way::Events | Way::EventsBack => ("*", "", "event"),
                Way::Calls | Way::CallsBack => ("*", "", "request"),
            };
            let (one, other) = match way {
                Way::Calls | Way::Events => ("in", "out"),
                Way::CallsBack | Way::EventsBack => ("out", "in"),
            };
            let there = if there.is_empty() { String::new() } else { format!(", {there} = \"{EVENT}\"") };
            // What is sent there and sent back by a program is no loop of the bridge's.
            routes.push_str(&format!(
                "[[route]]\nname = \"{}\"\nfrom = {{ endpoint = \"{one}\", match = \"{matched}\", kind = \"{kind}\" }}\n\
                 to = {{ endpoint = \"{other}\"{there} }}\nallow_loop = true\n{more}\n",
                way.as_str()
            ));
        }
        let mut upstream = serve(to).await;
        let bridge = bridge(from, to, upstream.server.address(), &routes).await;
        let (app, heard) = App::new();
        let client = dial_as(app.clone(), from, bridge.address("in").unwrap()).await;
        let peer = upstream.peers.recv().await.unwrap();
        let mut rig = Self { name: format!("{from} > {to}"), upstream, peer, bridge, client, app, heard };
        // Once this is through, everything is that was said before: logins and subscriptions.
        rig.ask("ready", json("{}")).await.unwrap();
        assert_eq!(rig.seen().await.1, "ready");
        rig
    }

    /// A call of the client.
    pub(crate) async fn ask(&self, name: &str, body: Body) -> Result<Body, CallError> {
        self.call(Way::Calls, name, body).await
    }

    /// A call of the server.
    pub(crate) async fn ask_back(&self, name: &str, body: Body) -> Result<Body, CallError> {
        self.call(Way::CallsBack, name, body).await
    }

    /// A call that goes this way.
    pub(crate) async fn call(&self, way: Way, name: &str, body: Body) -> Result<Body, CallError> {
        let response = self.sender(way).call(request(name, body).timeout(Duration::from_secs(10))).await;
        response.map(|response| response.body)
    }

    /// An event that goes this way.
    pub(crate) async fn tell(&self, way: Way, name: &str, body: Body) -> Result<(), CallError> {
        self.sender(way).notify(event(name, body)).await
    }

    /// Whoever sends what goes this way.
    pub(crate) fn sender(&self, way: Way) -> &Caller {
        match way {
            Way::Calls | Way::Events => self.client.caller(),
            Way::CallsBack | Way::EventsBack => self.peer.caller().unwrap(),
        }
    }

    /// The app at the end of this way, and what it was sent.
    pub(crate) fn receiver(&mut self, way: Way) -> (&App, &mut Seen) {
        match way {
            Way::Calls | Way::Events => (&self.upstream.app, &mut self.upstream.seen),
            Way::CallsBack | Way::EventsBack => (&self.app, &mut self.heard),
        }
    }

    /// What comes next this way.
    pub(crate) async fn arrived(&mut self, way: Way) -> (Kind, String, Body) {
        let name = self.name.clone();
        next(self.receiver(way).1, &name).await
    }

    /// What the server is sent next.
    pub(crate) async fn seen(&mut self) -> (Kind, String, Body) {
        self.arrived(Way::Calls).await
    }

    /// Ends at once, whatever still hangs.
    pub(crate) fn end(self) {
        for shutdown in [self.bridge.shutdown_handle(), self.upstream.server.shutdown_handle()] {
            shutdown.stop();
        }
    }
}

/// The wires of a pair as what goes this way meets them: that of the sender, then that of the receiver.
pub(crate) fn along<'a>(from: &'a str, to: &'a str, way: Way) -> (&'a str, &'a str) {
    match way {
        Way::Calls | Way::Events => (from, to),
        Way::CallsBack | Way::EventsBack => (to, from),
    }
}

/// What `polywire check --pairs` says of a pair.
pub(crate) fn crossing(from: &str, to: &str, way: Way) -> Crossing {
    let pairs = polywire_cli::pairs(&registry()).unwrap();
    let pair = pairs.into_iter().find(|pair| (pair.from, pair.to) == (from, to)).unwrap();
    pair.ways.into_iter().find(|(known, _)| *known == way).unwrap().1
}

pub(crate) async fn next(seen: &mut Seen, name: &str) -> (Kind, String, Body) {
    let seen = tokio::time::timeout(Duration::from_secs(10), seen.recv()).await;
    seen.unwrap_or_else(|_| panic!("{name}: nothing came")).unwrap()
}

/// Does the check say this of calls between the two?
pub(crate) fn tells(from: &str, to: &str, words: &str) -> bool {
    tells_of(from, to, Way::Calls, words)
}

pub(crate) fn tells_of(from: &str, to: &str, way: Way, words: &str) -> bool {
    let Crossing::Carried(aspects) = crossing(from, to, way) else { return false };
    aspects.iter().any(|aspect| format!("{}: {}", aspect.name, aspect.text).starts_with(words))
}

/// The code with which a failure of the far end arrives.
pub(crate) fn code_told(from: &str, to: &str, code: Code) -> Code {
    (particulars(from).code)((particulars(to).code)(code))
}
