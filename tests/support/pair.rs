//! Every ordered pair of wires over the bridge, running, and what is expected of it.
//!
//! Nothing here knows a wire. What is expected of a pair comes from what the adapters declare, by way of `polywire_cli::pairs`,
//! which is also what `polywire check --pairs` and the table of the README are made of.

#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use polywire_bridge::Bridge;
use polywire_cli::{Crossing, Way};
use polywire_core::{Body, CallError, Client, Code, EventForm, Kind, Peer};

use crate::bridged::{EVENT, Seen, Upstream, bridge, dial, json, particulars, registry, request, serve};

/// A pair, with everything running.
pub(crate) struct Rig {
    /// Which pair, for messages.
    pub(crate) name: String,
    pub(crate) upstream: Upstream,
    /// The server's view of the bridge.
    pub(crate) peer: Peer,
    pub(crate) bridge: Bridge,
    pub(crate) client: Client,
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
        let (client, heard) = dial(from, bridge.address("in").unwrap()).await;
        let peer = upstream.peers.recv().await.unwrap();
        let mut rig = Self { name: format!("{from} > {to}"), upstream, peer, bridge, client, heard };
        // Once this is through, everything is that was said before: logins and subscriptions.
        rig.ask("ready", json("{}")).await.unwrap();
        assert_eq!(rig.seen().await.1, "ready");
        rig
    }

    /// A call of the client.
    pub(crate) async fn ask(&self, name: &str, body: Body) -> Result<Body, CallError> {
        let response = self.client.caller().call(request(name, body).timeout(Duration::from_secs(10))).await;
        response.map(|response| response.body)
    }

    /// A call of the server.
    pub(crate) async fn ask_back(&self, name: &str, body: Body) -> Result<Body, CallError> {
        let response = self.peer.call(request(name, body).timeout(Duration::from_secs(10))).await;
        response.map(|response| response.body)
    }

    /// What the server is sent next.
    pub(crate) async fn seen(&mut self) -> (Kind, String, Body) {
        next(&mut self.upstream.seen, &self.name).await
    }

    /// Ends at once, whatever still hangs.
    pub(crate) fn end(self) {
        for shutdown in [self.bridge.shutdown_handle(), self.upstream.server.shutdown_handle()] {
            shutdown.stop();
        }
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
