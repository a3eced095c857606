//! Calls over every ordered pair of wires, and their bodies: what the capabilities say crosses does, and what they say is lost is
//! lost so. Failures, events and bytes are in the other files of this name.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/bridged.rs"]
mod bridged;
#[path = "support/pair.rs"]
mod pair;

use bridged::{capabilities, dial, json, pairs, particulars, request};
use pair::{BARE, BODIES, Rig, along, code_told, crossing, next, tells};
use std::time::Duration;

use polywire_bridge::Problem;
use polywire_cli::{Crossing, Way};
use polywire_core::{Body, Code, Correlation, EmptyReply, Kind, ProgressForm};

/// Calls that are held at once: more than any client here opens connections.
const HELD: usize = 5;

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

/// Of one name and of many, from one client, or from as many as there are calls where one client has not so many at once.
#[tokio::test]
async fn calls_at_once_reach_the_other_side_at_once_or_wait_as_the_check_says() {
    for (from, to) in pairs() {
        let mut rig = Rig::new(from, to, "").await;
        for way in [Way::Calls, Way::CallsBack] {
            let crossing = crossing(from, to, way);
            if !crossing.is_carried() {
                continue;
            }
            let (sender, receiver) = along(from, to, way);
            let mut lost = false;
            for one_name in [true, false] {
                let in_turn = |wire| {
                    let wire = capabilities(wire);
                    wire.max_concurrent_calls == 1 || one_name && wire.correlation == Correlation::Name
                };
                let mut callers = vec![rig.sender(way).clone()];
                let mut clients = Vec::new();
                while in_turn(sender) && callers.len() < HELD {
                    let (client, heard) = dial(from, rig.bridge.address("in").unwrap()).await;
                    callers.push(client.caller().clone());
                    clients.push((client, heard));
                }
                let calls: Vec<_> = (0..HELD)
                    .map(|number| {
                        let name = if one_name { "hold".to_owned() } else { format!("hold.{number}") };
                        let call = request(&name, json("{}")).timeout(Duration::from_secs(10));
                        let caller = callers[number % callers.len()].clone();
                        tokio::spawn(async move { caller.call(call).await })
                    })
                    .collect();
                let waits = in_turn(receiver);
                lost |= waits;
                let name = format!("{from} > {to}, {}, one name: {one_name}", way.as_str());
                let (app, seen) = rig.receiver(way);
                let mut came = 0;
                while came < HELD {
                    // None of them is answered yet. The first comes in any case, and another soon or not at all.
                    let limit = Duration::from_millis(if waits && came > 0 { 200 } else { 10_000 });
                    let Ok(call) = tokio::time::timeout(limit, seen.recv()).await else { break };
                    assert!(call.unwrap().1.starts_with("hold"), "{name}");
                    came += 1;
                }
                assert_eq!(came == HELD, !waits, "{name}: {came} of {HELD} calls came at once");
                assert!(came > 0, "{name}");
                app.let_go(HELD);
                for _ in came..HELD {
                    assert!(next(seen, &name).await.1.starts_with("hold"), "{name}");
                }
                for call in calls {
                    assert_eq!(call.await.unwrap().unwrap().body, json("{}"), "{name}");
                }
            }
            // Whoever has no more at once on its own wire loses nothing by it.
            let [ours, theirs] = [sender, receiver].map(capabilities);
            let has_more = theirs.correlation == Correlation::Name
                || theirs.max_concurrent_calls < ours.max_concurrent_calls;
            assert_eq!(crossing.has(Problem::Concurrency), lost && has_more, "{from} > {to}");
        }
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
