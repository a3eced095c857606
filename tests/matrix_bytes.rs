//! Bytes over every ordered pair of wires: as they are where both have them, else refused, or as base64 where a route says so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/bridged.rs"]
mod bridged;
#[path = "support/pair.rs"]
mod pair;

use base64::prelude::{BASE64_STANDARD, Engine};
use bridged::{EVENT, capabilities, event, json, pairs, particulars};
use pair::{Rig, crossing};
use polywire_bridge::Problem;
use polywire_cli::Way;
use polywire_core::{BinaryForm, Body, Code, Kind};

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
