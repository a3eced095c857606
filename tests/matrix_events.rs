//! Events over every ordered pair of wires, of either side: they arrive as what the wires say, or are refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/bridged.rs"]
mod bridged;
#[path = "support/pair.rs"]
mod pair;

use bridged::{EVENT, OTHER, capabilities, event, json, pairs, particulars};
use pair::{BARE, BODIES, Rig, crossing, next, tells_of};
use polywire_bridge::Problem;
use polywire_cli::Way;
use polywire_core::{Body, Code, Count, EventForm, Kind};

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
        for text in BODIES.into_iter().chain(BARE) {
            rig.tell(Way::Events, EVENT, json(text)).await.unwrap();
            let expected = (arrives_as, EVENT.to_owned(), json(text));
            assert_eq!(rig.seen().await, expected, "{from} > {to}: {text}");
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
        if crossing.is_carried() {
            for text in BODIES.into_iter().chain(BARE) {
                rig.tell(Way::EventsBack, OTHER, json(text)).await.unwrap();
                let expected = (Kind::Event, OTHER.to_owned(), json(text));
                assert_eq!(next(&mut rig.heard, &rig.name).await, expected, "{from} > {to}: {text}");
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
