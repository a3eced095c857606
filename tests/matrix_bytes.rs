//! Bytes over every ordered pair of wires: as they are where both have them, else refused, or as base64 where a route says so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/bridged.rs"]
mod bridged;
#[path = "support/pair.rs"]
mod pair;

use base64::prelude::{BASE64_STANDARD, Engine};
use bridged::{EVENT, TYPE, capabilities, json, pairs, particulars};
use pair::{Rig, along, crossing};
use polywire_bridge::Problem;
use polywire_cli::Way;
use polywire_core::{BinaryForm, Body, Code, EventForm, Kind};

/// Bytes of so many sizes, under a name that is a route and the name of a type, because some wires have one for both.
fn buffers() -> impl Iterator<Item = Vec<u8>> {
    [0, 1, 64 << 10, 1 << 20].into_iter().map(|size| (0_u8..=u8::MAX).cycle().take(size).collect())
}

fn has_bytes(wire: &str) -> bool {
    capabilities(wire).binary != BinaryForm::None
}

fn has_types(wire: &str) -> bool {
    capabilities(wire).binary == BinaryForm::Typed
}

/// The name of the type of these bytes.
fn kind(body: &Body) -> &str {
    match body {
        Body::Binary(binary) => &binary.kind,
        other => panic!("{other:?}"),
    }
}

/// What an event arrives as.
fn heard_as(receiver: &str, way: Way) -> Kind {
    match particulars(receiver).client_events {
        EventForm::Requests if way == Way::Events => Kind::Request,
        _ => Kind::Event,
    }
}

/// These bytes, and the name of their type where both wires tell it.
fn is_same(body: &Body, bytes: &[u8], kind: &str, from: &str, to: &str) -> bool {
    let Body::Binary(binary) = body else { return false };
    let typed = has_types(from) && has_types(to);
    binary.bytes == bytes && (*binary.kind == *kind || !typed)
}

#[tokio::test]
async fn bytes_in_calls_cross_as_they_are_where_both_wires_have_them_and_are_refused_elsewhere() {
    for (from, to) in pairs() {
        let mut rig = Rig::new(from, to, "").await;
        for way in [Way::Calls, Way::CallsBack] {
            let crossing = crossing(from, to, way);
            if !crossing.is_carried() {
                continue;
            }
            let (sender, _) = along(from, to, way);
            assert_eq!(crossing.has(Problem::Binary), has_bytes(from) != has_bytes(to), "{from} > {to}");
            for bytes in buffers() {
                let answer = rig.call(way, "Pose", Body::binary("Pose", bytes.clone())).await;
                if has_bytes(from) && has_bytes(to) {
                    assert!(is_same(&rig.arrived(way).await.2, &bytes, "Pose", from, to), "{from} > {to}");
                    assert!(is_same(&answer.unwrap(), &bytes, "Pose", from, to), "{from} > {to}");
                } else {
                    let error = answer.unwrap_err();
                    let code = if has_bytes(sender) {
                        (particulars(sender).code)(Code::Unimplemented)
                    } else {
                        Code::Unimplemented
                    };
                    assert_eq!(error.code(), code, "{from} > {to}: {error}");
                }
            }
            assert!(rig.receiver(way).1.try_recv().is_err(), "{from} > {to}");
        }
        rig.end();
    }
}

#[tokio::test]
async fn bytes_in_events_cross_as_they_are_where_both_wires_have_them_and_are_refused_elsewhere() {
    for (from, to) in pairs() {
        for way in [Way::Events, Way::EventsBack] {
            let crossing = crossing(from, to, way);
            if !crossing.is_carried() {
                continue;
            }
            // One for each way: where events are requests, their answers come back as events.
            let mut rig = Rig::new(from, to, "").await;
            let (sender, receiver) = along(from, to, way);
            let refused = has_bytes(sender) && !has_bytes(receiver);
            assert_eq!(crossing.has(Problem::Binary), refused, "{from} > {to}");
            for bytes in buffers() {
                let told = rig.tell(way, EVENT, Body::binary(EVENT, bytes.clone())).await;
                assert!(told.is_ok() || !has_bytes(sender), "{from} > {to}: {told:?}");
                if has_bytes(sender) && has_bytes(receiver) {
                    let (kind, name, body) = rig.arrived(way).await;
                    assert_eq!((kind, &*name), (heard_as(receiver, way), EVENT), "{from} > {to}");
                    assert!(is_same(&body, &bytes, EVENT, from, to), "{from} > {to}: {body:?}");
                }
            }
            // What was refused does not come, nor does it hold up what follows.
            rig.tell(way, EVENT, json("{\"n\":1}")).await.unwrap();
            assert_eq!(rig.arrived(way).await.2, json("{\"n\":1}"), "{from} > {to}");
            rig.end();
        }
    }
}

#[tokio::test]
async fn the_name_of_a_type_of_bytes_crosses_or_is_lost_as_the_check_says() {
    let bytes = || Body::binary("Pose", vec![0, 10, 255]);
    for (from, to) in pairs().filter(|(from, to)| has_bytes(from) && has_bytes(to)) {
        for way in Way::ALL {
            let crossing = crossing(from, to, way);
            if !crossing.is_carried() {
                continue;
            }
            let mut rig = Rig::new(from, to, "").await;
            let (sender, receiver) = along(from, to, way);
            let lost = if matches!(way, Way::Calls | Way::CallsBack) {
                rig.call(way, "Pose", bytes()).await.unwrap();
                let there = kind(&rig.arrived(way).await.2) != "Pose";
                let answer = rig.call(way, "typed", bytes()).await.unwrap();
                rig.arrived(way).await;
                // A wire that names no types has none to lose.
                has_types(sender) && there || has_types(receiver) && kind(&answer) != TYPE
            } else {
                rig.tell(way, EVENT, Body::binary(EVENT, vec![0, 10, 255])).await.unwrap();
                has_types(sender) && kind(&rig.arrived(way).await.2) != EVENT
            };
            assert_eq!(crossing.has(Problem::BinaryType), lost, "{from} > {to}, {}", way.as_str());
            rig.end();
        }
    }
}

#[tokio::test]
async fn bytes_cross_as_base64_where_a_wire_has_none_and_become_bytes_again() {
    let buffers: Vec<_> = buffers().map(|bytes| (bytes.clone(), BASE64_STANDARD.encode(&bytes))).collect();
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
