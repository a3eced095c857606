//! What the programs of `tests/peers/sockhop` send, made here again: `payload` and `bytesOf` of their `common.mjs`.

use polywire_core::Body;
use serde_json::{Value, json};

use crate::ends;

/// How a message of one kind arrives: its type and its value.
pub(crate) fn payload(kind: &str, number: usize, size: usize) -> (&'static str, Body) {
    let pad = "x".repeat(size);
    let (route, value): (&'static str, Value) = match kind {
        "object" => ("Object", json!({ "seq": number, "pad": pad })),
        "string" => ("String", json!(format!("text {number} {pad}"))),
        "number" => ("Number", json!(f64::from(u32::try_from(number).expect("a small number")) + 0.25)),
        "boolean" => ("Boolean", json!(true)),
        "array" => ("Array", json!([number, pad, null, false, { "deep": [number] }])),
        "widget" => ("Widget", json!({ "n": number })),
        "unicode" => {
            let text = "gr\u{fc}\u{df} \u{4f60}\u{597d} \u{1f680} \u{2028} \"q\" \\ \n\t";
            ("Object", json!({ "seq": number, "text": text }))
        }
        "buffer" => return ("Buffer", Body::binary("Buffer", bytes(size.max(1), number))),
        _ => panic!("no payload is called {kind}"),
    };
    (route, ends::json(&value))
}

/// The typed buffer with this number.
pub(crate) fn typed(number: usize) -> (&'static str, Body) {
    let kind = ["Typed0", "Typed1", "Typed2"][number % 3];
    (kind, Body::binary(kind, bytes(64, number)))
}

/// The message `{"burst": number}`.
pub(crate) fn burst(number: usize) -> (&'static str, Body) {
    ("Object", ends::json(&json!({ "burst": number })))
}

/// Bytes that depend on nothing but their number and length.
fn bytes(length: usize, seed: usize) -> Vec<u8> {
    let mut state = (seed + 1) * 40_503;
    let mut next = || {
        state = (state * 75 + 74) % 65_537;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// Are these events exactly those, none lost, none doubled, in order, each with its type and value?
#[track_caller]
pub(crate) fn assert_events(
    found: &[(String, Body)],
    expected: impl IntoIterator<Item = (&'static str, Body)>,
) {
    let mut count = 0;
    for (number, (route, body)) in expected.into_iter().enumerate() {
        let Some(event) = found.get(number) else { panic!("{number} events came, and no more") };
        assert_eq!(event.0, route, "number {number}");
        ends::assert_same(&event.1, &body, number);
        count += 1;
    }
    assert_eq!(found.len(), count, "more came than was sent");
}
