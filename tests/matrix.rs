//! Every ordered pair of wires over the bridge: what the capabilities say crosses does, and what they say is lost is lost so.
//!
//! Nothing here knows a wire. What is expected of a pair comes from what the adapters declare, by way of `polywire_cli::pairs`,
//! which is also what `polywire check --pairs` and the table of the README are made of.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/bridged.rs"]
mod bridged;

use std::time::{Duration, Instant};

use bridged::{
    EVENT, OTHER, Seen, Upstream, WIRES, capabilities, dial, event, json, onward, pairs, particulars,
    registry, request, serve,
};
use polywire_bridge::{Bridge, Problem};
use polywire_cli::{Crossing, Way};
use polywire_core::{
    BinaryForm, Body, CallError, Client, ClientState, Code, Count, EmptyReply, Errors, EventForm, Kind, Peer,
    ProgressForm, Retry,
};

/// JSON that a careless carrier changes: integers above 2^53, numbers no machine has, their spelling, key order, escapes, lone
/// surrogates, empty things.
const BODIES: [&str; 5] = [
    r#"{"z":9007199254740993,"a":18446744073709551616,"n":-9223372036854775809}"#,
    r#"{"f":[1.0,1e2,-0.0,0.1000,1e400,-1E-400,123456789012345678901234567890.5]}"#,
    r#"{"t":"añ \u00e9 🙂 \ud83d\ude42 \ud800 \u0000 \u2028 \/ \" \\","añ":""}"#,
    r#"{"list":[[],{},"",0,true,false,null,[[["deep"]]]],"empty":{"":""}}"#,
    r#"{}"#,
];

/// What is no object.
const BARE: [&str; 6] = ["0", "-1.50e3", "\"\\ud800 é\"", "true", "[]", "[1, {\"a\":null}]"];

/// A pair, with everything running.
struct Rig {
    /// Which pair, for messages.
    name: String,
    upstream: Upstream,
    /// The server's view of the bridge.
    peer: Peer,
    bridge: Bridge,
    client: Client,
    /// What the client was sent.
    heard: Seen,
}

/// What `polywire check --pairs` says of a pair.
fn crossing(from: &str, to: &str, way: Way) -> Crossing {
    let pairs = polywire_cli::pairs(&registry()).unwrap();
    let pair = pairs.into_iter().find(|pair| (pair.from, pair.to) == (from, to)).unwrap();
    pair.ways.into_iter().find(|(known, _)| *known == way).unwrap().1
}

impl Rig {
    /// A pair with a route for each way that is not impossible; these settings are added to each.
    async fn new(from: &str, to: &str, more: &str) -> Self {
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
        let bridge = bridged::bridge(from, to, upstream.server.address(), &routes).await;
        let (client, heard) = dial(from, bridge.address("in").unwrap()).await;
        let peer = upstream.peers.recv().await.unwrap();
        let mut rig = Self { name: format!("{from} > {to}"), upstream, peer, bridge, client, heard };
        // Once this is through, everything is that was said before: logins and subscriptions.
        rig.ask("ready", json("{}")).await.unwrap();
        assert_eq!(rig.seen().await.1, "ready");
        rig
    }

    /// A call of the client.
    async fn ask(&self, name: &str, body: Body) -> Result<Body, CallError> {
        let response = self.client.caller().call(request(name, body).timeout(Duration::from_secs(10))).await;
        response.map(|response| response.body)
    }

    /// A call of the server.
    async fn ask_back(&self, name: &str, body: Body) -> Result<Body, CallError> {
        let response = self.peer.call(request(name, body).timeout(Duration::from_secs(10))).await;
        response.map(|response| response.body)
    }

    /// What the server is sent next.
    async fn seen(&mut self) -> (Kind, String, Body) {
        next(&mut self.upstream.seen, &self.name).await
    }

    /// Ends at once, whatever still hangs.
    fn end(self) {
        for shutdown in [self.bridge.shutdown_handle(), self.upstream.server.shutdown_handle()] {
            shutdown.stop();
        }
    }
}

async fn next(seen: &mut Seen, name: &str) -> (Kind, String, Body) {
    let seen = tokio::time::timeout(Duration::from_secs(10), seen.recv()).await;
    seen.unwrap_or_else(|_| panic!("{name}: nothing came")).unwrap()
}

/// Does the check say this of calls between the two?
fn tells(from: &str, to: &str, words: &str) -> bool {
    tells_of(from, to, Way::Calls, words)
}

fn tells_of(from: &str, to: &str, way: Way, words: &str) -> bool {
    let Crossing::Carried(aspects) = crossing(from, to, way) else { return false };
    aspects.iter().any(|aspect| format!("{}: {}", aspect.name, aspect.text).starts_with(words))
}

/// The code with which a failure of the far end arrives.
fn code_told(from: &str, to: &str, code: Code) -> Code {
    (particulars(from).code)((particulars(to).code)(code))
}

#[tokio::test]
async fn objects_cross_every_pair_byte_for_byte() {
    for (from, to) in pairs() {
        let mut rig = Rig::new(from, to, "").await;
        for text in BODIES {
            let answer = rig.ask("echo", json(text)).await;
            assert_eq!(answer.as_ref(), Ok(&json(text)), "{from} > {to}: {text}");
            let (kind, name, body) = rig.seen().await;
            assert_eq!((kind, name.as_str()), (Kind::Request, "echo"), "{from} > {to}");
            assert_eq!(body, json(text), "{from} > {to}: {text}");
        }
        rig.end();
    }
}

#[tokio::test]
async fn bare_values_cross_are_wrapped_or_are_refused_before_anything_is_sent() {
    for (from, to) in pairs() {
        let by_name = |wire| capabilities(wire).object_arguments;
        let lost = crossing(from, to, Way::Calls).has(Problem::Arguments);
        assert_eq!(lost, by_name(to), "{from} > {to}");
        let mut rig = Rig::new(from, to, "").await;
        for text in BARE {
            let answer = rig.ask("echo", json(text)).await;
            if by_name(from) || lost {
                let error = answer.unwrap_err();
                assert_eq!(
                    error.code(),
                    code_told(from, from, Code::InvalidArgument),
                    "{from} > {to}: {error}"
                );
            } else {
                assert_eq!(answer, Ok(json(text)), "{from} > {to}");
                assert_eq!(rig.seen().await.2, json(text), "{from} > {to}");
            }
        }
        assert!(rig.upstream.seen.try_recv().is_err(), "{from} > {to}");
        rig.end();
        if lost && !by_name(from) {
            let mut rig = Rig::new(from, to, "wrap = \"value\"").await;
            for text in BARE {
                let wrapped = json(&format!("{{\"value\":{text}}}"));
                assert_eq!(rig.ask("echo", json(text)).await, Ok(wrapped.clone()), "{from} > {to}");
                assert_eq!(rig.seen().await.2, wrapped, "{from} > {to}");
            }
            rig.end();
        }
    }
}

#[tokio::test]
async fn a_failure_crosses_every_pair_with_its_words_and_as_much_of_its_code_as_the_wires_tell() {
    for (from, to) in pairs() {
        let rig = Rig::new(from, to, "").await;
        let lost = crossing(from, to, Way::Calls).has(Problem::Errors);
        let whole = [from, to].into_iter().all(|wire| {
            let keeps = Code::ALL.into_iter().all(|code| (particulars(wire).code)(code) == code);
            keeps && capabilities(wire).errors == Errors::Codes
        });
        assert_eq!(lost, !whole, "{from} > {to}");
        for code in Code::ALL {
            let error = rig.ask(&format!("fail.{}", code.as_str()), json("{}")).await.unwrap_err();
            let CallError::Failure(failure) = &error else { panic!("{from} > {to}: {error}") };
            assert_eq!(failure.code, code_told(from, to, code), "{from} > {to}: {code:?}");
            assert_eq!(failure.message, "not you", "{from} > {to}: {code:?}");
        }
        rig.end();
    }
}

#[tokio::test]
async fn what_nobody_serves_is_not_found_wherever_a_wire_tells_it() {
    for (from, to) in pairs() {
        let rig = Rig::new(from, to, "timeout = \"300ms\"").await;
        let silent = particulars(to).silent_unserved;
        let code = if silent { Code::DeadlineExceeded } else { (particulars(to).code)(Code::NotFound) };
        let error = rig.ask("unserved", json("{}")).await.unwrap_err();
        assert_eq!(error.code(), (particulars(from).code)(code), "{from} > {to}: {error}");
        assert_eq!(silent, tells(from, to, "errors: a name that nobody serves"), "{from} > {to}");
        let silent = particulars(to).silent_refusal;
        assert_eq!(silent, tells(from, to, "errors: a wrong secret"), "{from} > {to}");
        rig.end();
    }
}

#[tokio::test]
async fn what_no_route_takes_is_not_found_on_every_wire() {
    let upstream = serve("sockhop").await;
    for from in WIRES {
        let routes = onward("").replace("\"*\"", "\"known\"");
        let bridge = bridged::bridge(from, "sockhop", upstream.server.address(), &routes).await;
        let (client, _heard) = dial(from, bridge.address("in").unwrap()).await;
        let call = |name| client.caller().call(request(name, json("{}")).timeout(Duration::from_secs(10)));
        assert_eq!(call("known").await.unwrap().body, json("{}"), "{from}");
        let error = call("unknown").await.unwrap_err();
        assert_eq!(error.code(), (particulars(from).code)(Code::NotFound), "{from}: {error}");
        let unrouted = bridge.snapshot().endpoints.iter().map(|end| end.unrouted_requests).sum::<u64>();
        assert_eq!(unrouted, 1, "{from}");
    }
}

#[tokio::test]
async fn an_upstream_that_never_answers_fails_every_call_in_time_and_holds_up_no_other() {
    for (from, to) in pairs() {
        let mut rig = Rig::new(from, to, "timeout = \"300ms\"").await;
        let start = Instant::now();
        let error = rig.ask("hang", json("{}")).await.unwrap_err();
        assert_eq!(error.code(), code_told(from, from, Code::DeadlineExceeded), "{from} > {to}: {error}");
        assert!(error.failure().message.contains("may have acted"), "{from} > {to}: {error}");
        assert!(start.elapsed() < Duration::from_secs(3), "{from} > {to}: {:?}", start.elapsed());
        assert_eq!(rig.seen().await.1, "hang");
        // The client's own deadline, when it is the shorter one.
        let hang = request("hang.too", json("{}")).timeout(Duration::from_millis(150));
        let other = request("fail.unavailable", json("{}"));
        let (_, served) = tokio::join!(rig.client.caller().call(hang), rig.client.caller().call(other));
        assert_eq!(served.unwrap_err().failure().message, "not you", "{from} > {to}");
        assert_eq!(rig.ask("echo", json("{\"n\":1}")).await, Ok(json("{\"n\":1}")), "{from} > {to}");
        rig.end();
    }
}

#[tokio::test]
async fn no_caller_is_told_that_a_call_surely_did_not_run_when_its_upstream_died_over_it() {
    for (from, to) in pairs() {
        let mut rig = Rig::new(from, to, "").await;
        let hang = request("hang", json("{}")).timeout(Duration::from_secs(10));
        let dies = async {
            assert_eq!(next(&mut rig.upstream.seen, &rig.name).await.1, "hang");
            rig.upstream.server.shutdown_handle().stop();
        };
        let (answer, ()) = tokio::join!(rig.client.caller().call(hang), dies);
        let error = answer.unwrap_err();
        assert_eq!(error.failure().retry, Retry::Unknown, "{from} > {to}: {error}");
        assert!(error.failure().message.contains("may have acted"), "{from} > {to}: {error}");
        rig.end();
    }
}

#[tokio::test]
async fn a_call_that_was_never_sent_is_told_as_safe_wherever_the_wire_of_its_caller_carries_that() {
    for (from, to) in pairs() {
        let rig = Rig::new(from, to, "timeout = \"300ms\"").await;
        let mut stands = rig.bridge.watch("out").unwrap();
        rig.upstream.server.shutdown_handle().stop();
        stands.wait_for(|state| *state != ClientState::Ready).await.unwrap();
        let error = rig.ask("echo", json("{}")).await.unwrap_err();
        assert!(error.failure().message.contains("is not connected"), "{from} > {to}: {error}");
        let told = match capabilities(from).errors {
            Errors::InBody => Retry::Safe,
            // A code or a text alone: nothing is promised.
            _ => Retry::Unknown,
        };
        assert_eq!(error.failure().retry, told, "{from} > {to}: {error}");
        rig.end();
    }
}

#[tokio::test]
async fn an_answer_without_a_body_comes_as_that_or_as_a_value_or_not_at_all() {
    for (from, to) in pairs() {
        let rig = Rig::new(from, to, "timeout = \"300ms\"").await;
        let answer = rig.ask("empty", json("{}")).await;
        let lost = match (particulars(to).empty_reply, particulars(from).empty_reply) {
            (EmptyReply::Silence, _) => {
                let error = answer.unwrap_err();
                let code = code_told(from, from, Code::DeadlineExceeded);
                assert_eq!(error.code(), code, "{from} > {to}: {error}");
                true
            }
            (EmptyReply::Value(text), _) => {
                assert_eq!(answer, Ok(json(text)), "{from} > {to}");
                false
            }
            (EmptyReply::Empty, EmptyReply::Value(text)) => {
                assert_eq!(answer, Ok(json(text)), "{from} > {to}");
                true
            }
            (EmptyReply::Empty, EmptyReply::Silence) => {
                assert_eq!(answer, Ok(Body::null()), "{from} > {to}");
                true
            }
            _ => {
                assert_eq!(answer, Ok(Body::Empty), "{from} > {to}");
                false
            }
        };
        assert_eq!(lost, tells(from, to, "reply: a reply without a body"), "{from} > {to}");
        rig.end();
    }
}

#[tokio::test]
async fn a_request_without_a_body_and_one_with_null_come_as_they_are_or_as_the_wires_say() {
    for (from, to) in pairs() {
        let mut rig = Rig::new(from, to, "timeout = \"300ms\"").await;
        let (ours, theirs) = (particulars(from), particulars(to));
        rig.ask("fail.unknown", Body::Empty).await.unwrap_err();
        let came = ours.empty_request.or(theirs.empty_request);
        assert_eq!(rig.seen().await.2, came.map_or(Body::Empty, json), "{from} > {to}");
        let lost = ours.empty_request.is_none() && theirs.empty_request.is_some();
        assert_eq!(lost, tells(from, to, "request: a missing body"), "{from} > {to}");

        let error = rig.ask("fail.unknown", Body::null()).await.unwrap_err();
        let at_bridge = ours.null_client_request;
        let refused = |wire: &str, text: &str| capabilities(wire).object_arguments && text == "null";
        if refused(from, "null") || refused(to, at_bridge) {
            assert_ne!(error.failure().message, "not you", "{from} > {to}");
            assert!(rig.upstream.seen.try_recv().is_err(), "{from} > {to}");
        } else {
            let came = if at_bridge == "null" { theirs.null_client_request } else { at_bridge };
            assert_eq!(rig.seen().await.2, json(came), "{from} > {to}");
        }
        let lost = at_bridge == "null" && theirs.null_client_request != "null";
        assert_eq!(lost, tells(from, to, "request: null becomes"), "{from} > {to}");
        rig.end();
    }
}

#[tokio::test]
async fn events_of_the_client_reach_the_server_or_are_refused() {
    for (from, to) in pairs() {
        let crossing = crossing(from, to, Way::Events);
        let mut rig = Rig::new(from, to, "").await;
        let tell = |name: &'static str, body| rig.client.caller().notify(event(name, body));
        if !capabilities(from).client_events {
            let error = tell(EVENT, json("{}")).await.unwrap_err();
            assert_eq!(error.code(), Code::Unimplemented, "{from} > {to}");
            assert!(!crossing.is_carried());
            rig.end();
            continue;
        }
        let named = particulars(from).client_events;
        if crossing.is_carried() && named != EventForm::Requests {
            tell(OTHER, json("{\"n\":0}")).await.unwrap();
        }
        for n in 1..=3 {
            tell(EVENT, json(&format!("{{\"n\":{n}}}"))).await.unwrap();
        }
        if !crossing.is_carried() {
            if named == EventForm::Requests {
                // They are no events on this wire, so they go the way of requests.
                for n in 1..=3 {
                    let expected = (Kind::Request, EVENT.to_owned(), json(&format!("{{\"n\":{n}}}")));
                    assert_eq!(rig.seen().await, expected, "{from} > {to}");
                }
            }
            // Others are left at the bridge, and the connection is none the worse.
            assert_eq!(rig.ask("echo", json("{}")).await, Ok(json("{}")), "{from} > {to}");
            assert_eq!(rig.seen().await.1, "echo", "{from} > {to}");
            rig.end();
            continue;
        }
        let arrives_as = match particulars(to).client_events {
            EventForm::Requests => Kind::Request,
            _ => Kind::Event,
        };
        assert_eq!(crossing.has(Problem::Events), arrives_as == Kind::Request, "{from} > {to}");
        let takes = |wire| !matches!(particulars(wire).client_events, EventForm::Only(names) if !names.contains(&OTHER));
        if takes(from) && takes(to) && named != EventForm::Requests {
            assert_eq!(rig.seen().await, (arrives_as, OTHER.to_owned(), json("{\"n\":0}")), "{from} > {to}");
        }
        assert_eq!(crossing.has(Problem::EventNames), !takes(to), "{from} > {to}");
        for n in 1..=3 {
            let expected = (arrives_as, EVENT.to_owned(), json(&format!("{{\"n\":{n}}}")));
            assert_eq!(rig.seen().await, expected, "{from} > {to}");
        }
        rig.end();
    }
}

#[tokio::test]
async fn events_of_the_server_reach_the_client_or_are_refused() {
    for (from, to) in pairs() {
        let crossing = crossing(from, to, Way::EventsBack);
        assert_eq!(crossing.is_carried(), capabilities(from).push && capabilities(to).push, "{from} > {to}");
        let mut rig = Rig::new(from, to, "").await;
        for n in 1..=3 {
            let told = rig.peer.notify(event(OTHER, json(&format!("{{\"n\":{n}}}")))).await;
            told.unwrap();
            if crossing.is_carried() {
                let expected = (Kind::Event, OTHER.to_owned(), json(&format!("{{\"n\":{n}}}")));
                assert_eq!(next(&mut rig.heard, &rig.name).await, expected, "{from} > {to}");
            }
        }
        assert_eq!(rig.ask("echo", json("{}")).await, Ok(json("{}")), "{from} > {to}");
        assert!(rig.heard.try_recv().is_err(), "{from} > {to}");
        let refused = if capabilities(to).push { 0 } else { 3 };
        assert_eq!(rig.upstream.server.ledger().get(Count::EventsNotSent), refused, "{from} > {to}");
        rig.end();
    }
}

#[tokio::test]
async fn an_event_without_a_body_comes_as_that_or_as_the_wires_say() {
    for (from, to) in pairs() {
        let mut rig = Rig::new(from, to, "").await;
        let (ours, theirs) = (particulars(from), particulars(to));
        if crossing(from, to, Way::Events).is_carried() {
            rig.client.caller().notify(event(EVENT, Body::Empty)).await.unwrap();
            let came = ours.empty_request.or(theirs.empty_request).map_or(Body::Empty, json);
            assert_eq!(rig.seen().await.2, came, "{from} > {to}");
            let lost = ours.empty_request.is_none() && theirs.empty_request.is_some();
            assert_eq!(lost, tells_of(from, to, Way::Events, "event: a missing body"), "{from} > {to}");
        }
        if crossing(from, to, Way::EventsBack).is_carried() {
            rig.peer.notify(event(OTHER, Body::Empty)).await.unwrap();
            let came = theirs.empty_push.or(ours.empty_push).map_or(Body::Empty, json);
            // Before it comes what a wire without events answers to the first one.
            let heard = loop {
                match next(&mut rig.heard, &rig.name).await {
                    (_, name, body) if name == OTHER => break body,
                    other => assert_eq!(other.1, EVENT, "{from} > {to}"),
                }
            };
            assert_eq!(heard, came, "{from} > {to}");
            let lost = theirs.empty_push.is_none() && ours.empty_push.is_some();
            assert_eq!(lost, tells_of(from, to, Way::EventsBack, "event: a missing body"), "{from} > {to}");
        }
        rig.end();
    }
}

#[tokio::test]
async fn calls_of_the_server_are_answered_by_the_client_or_refused() {
    for (from, to) in pairs() {
        let crossing = crossing(from, to, Way::CallsBack);
        let both = capabilities(from).server_calls && capabilities(to).server_calls;
        assert_eq!(crossing.is_carried(), both, "{from} > {to}");
        let mut rig = Rig::new(from, to, "timeout = \"300ms\"").await;
        if !both {
            let error = rig.ask_back("echo", json("{}")).await.unwrap_err();
            let code = match capabilities(to).server_calls {
                // The bridge has no route for it.
                true => (particulars(to).code)(Code::NotFound),
                false => Code::Unimplemented,
            };
            assert_eq!(error.code(), code, "{from} > {to}: {error}");
            rig.end();
            continue;
        }
        for text in BODIES {
            assert_eq!(rig.ask_back("echo", json(text)).await, Ok(json(text)), "{from} > {to}");
            assert_eq!(next(&mut rig.heard, &rig.name).await.2, json(text), "{from} > {to}");
        }
        for code in Code::ALL {
            let error = rig.ask_back(&format!("fail.{}", code.as_str()), json("{}")).await.unwrap_err();
            assert_eq!(error.code(), code_told(to, from, code), "{from} > {to}: {error}");
            assert!(error.to_string().ends_with("not you"), "{from} > {to}: {error}");
        }
        let error = rig.ask_back("hang", json("{}")).await.unwrap_err();
        assert_eq!(error.code(), code_told(to, to, Code::DeadlineExceeded), "{from} > {to}: {error}");
        rig.end();
    }
}

#[tokio::test]
async fn signs_of_life_stay_on_their_wire_and_the_answer_comes_once() {
    for (from, to) in pairs() {
        let mut rig = Rig::new(from, to, "").await;
        assert_eq!(rig.ask("work", json("{\"n\":1}")).await, Ok(json("{\"n\":1}")), "{from} > {to}");
        assert_eq!(rig.seen().await.1, "work", "{from} > {to}");
        let back = crossing(from, to, Way::CallsBack);
        if back.is_carried() {
            assert_eq!(rig.ask_back("work", json("{\"n\":2}")).await, Ok(json("{\"n\":2}")), "{from} > {to}");
            assert_eq!(next(&mut rig.heard, &rig.name).await.1, "work", "{from} > {to}");
        }
        for (crossing, egress) in [(crossing(from, to, Way::Calls), to), (back, from)] {
            let Crossing::Carried(aspects) = crossing else { continue };
            let told = aspects.iter().any(|aspect| aspect.name == "progress");
            assert_eq!(told, capabilities(egress).progress != ProgressForm::None, "{from} > {to}");
        }
        assert_eq!(rig.ask("echo", json("{}")).await, Ok(json("{}")), "{from} > {to}");
        assert_eq!(rig.seen().await.1, "echo", "{from} > {to}");
        assert!(rig.heard.try_recv().is_err() && rig.upstream.seen.try_recv().is_err(), "{from} > {to}");
        rig.end();
    }
}

/// Bytes of so many sizes, under a name that is a route and the name of a type, because some wires have one for both.
fn buffers() -> impl Iterator<Item = Vec<u8>> {
    [0, 1, 64 << 10, 1 << 20].into_iter().map(|size| (0_u8..=u8::MAX).cycle().take(size).collect())
}

fn has_bytes(wire: &str) -> bool {
    capabilities(wire).binary != BinaryForm::None
}

/// These bytes, and the name of their type where both wires tell it.
fn is_same(body: &Body, bytes: &[u8], kind: &str, from: &str, to: &str) -> bool {
    let Body::Binary(binary) = body else { return false };
    let typed = [from, to].into_iter().all(|wire| capabilities(wire).binary == BinaryForm::Typed);
    binary.bytes == bytes && (*binary.kind == *kind || !typed)
}

#[tokio::test]
async fn bytes_cross_as_they_are_where_both_wires_have_them_and_are_refused_elsewhere() {
    for (from, to) in pairs() {
        let mut rig = Rig::new(from, to, "").await;
        let calls = crossing(from, to, Way::Calls);
        assert_eq!(calls.has(Problem::Binary), has_bytes(from) != has_bytes(to), "{from} > {to}");
        for bytes in buffers() {
            let answer = rig.ask("Pose", Body::binary("Pose", bytes.clone())).await;
            if has_bytes(from) && has_bytes(to) {
                assert!(is_same(&rig.seen().await.2, &bytes, "Pose", from, to), "{from} > {to}");
                assert!(is_same(&answer.unwrap(), &bytes, "Pose", from, to), "{from} > {to}");
            } else {
                let error = answer.unwrap_err();
                let code = if has_bytes(from) {
                    (particulars(from).code)(Code::Unimplemented)
                } else {
                    Code::Unimplemented
                };
                assert_eq!(error.code(), code, "{from} > {to}: {error}");
            }
        }
        assert!(rig.upstream.seen.try_recv().is_err(), "{from} > {to}");
        if has_bytes(from) && has_bytes(to) && crossing(from, to, Way::Events).is_carried() {
            let bytes = vec![0, 10, 255];
            rig.client.caller().notify(event(EVENT, Body::binary(EVENT, bytes.clone()))).await.unwrap();
            let (kind, _, body) = rig.seen().await;
            assert_eq!(kind, Kind::Event);
            assert!(is_same(&body, &bytes, EVENT, from, to), "{from} > {to}: {body:?}");
        }
        rig.end();
    }
}

#[tokio::test]
async fn bytes_cross_as_base64_where_a_wire_has_none_and_become_bytes_again() {
    let buffers: Vec<_> = buffers().map(|bytes| (bytes.clone(), base64(&bytes))).collect();
    for (from, to) in pairs() {
        let mut rig = Rig::new(from, to, "binary = \"base64\"").await;
        // Where nothing is converted, large ones are shown above.
        let most = if has_bytes(from) == has_bytes(to) { 64 << 10 } else { usize::MAX };
        for (bytes, b64) in buffers.iter().filter(|(bytes, _)| bytes.len() <= most) {
            let text = format!("{{\"$bytes\":{{\"type\":\"Pose\",\"b64\":\"{b64}\"}}}}");
            let sent = if has_bytes(from) { Body::binary("Pose", bytes.clone()) } else { json(&text) };
            let answer = rig.ask("Pose", sent).await.unwrap();
            for (end, body) in [(to, rig.seen().await.2), (from, answer)] {
                if has_bytes(end) {
                    assert!(is_same(&body, bytes, "Pose", from, to), "{from} > {to}");
                } else {
                    let Body::Json(text) = &body else { panic!("{from} > {to}: {body:?}") };
                    assert!(text.as_str().ends_with(&format!(",\"b64\":\"{b64}\"}}}}")), "{from} > {to}");
                }
            }
        }
        rig.end();
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits =
            three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}
