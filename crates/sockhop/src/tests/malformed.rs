//! Every malformed input that the real library was fed: here nothing dies, nothing is lost, and what is delivered and answered
//! is what the library delivers and answers, except where [`DIFFERENT`] says otherwise.

use std::collections::BTreeMap;

use polywire_core::{Body, Count};
use serde_json::Value as Json;

use super::end::{End, Got, json};
use super::vectors::{bytes_of, is_shortened, load, unhex};
use crate::config::{Config, Mode, Switch};
use crate::session::Role;

const ANSWER: &str = r#"> {"type":"Object","data":{"allow_binary_mode":true},"callback_id":"00000000-0000-4000-8000-000000000000"}\n"#;
const PONG: &str =
    r#"> {"type":"SockhopPong","data":{"_id":null,"_created":null,"_returned":"DATE","_finished":null}}\n"#;
const FRAMED_PONG: &str =
    r#"> d\0\0\0\n\u{b}SockhopPongT\0\0\0{"_id":null,"_created":null,"_returned":"DATE","_finished":null}"#;

/// Where we mean to differ from the library, and what happens here instead.
const DIFFERENT: &[(&str, &[&str])] = &[
    // The library dies.
    ("json-null", &[]),
    ("json-cb-unknown", &[]),
    ("json-cb-and-id", &[]),
    ("json-ping-null", &[PONG]),
    ("json-pong-null-pinging", &[]),
    ("hs-nodata", &[]),
    ("hs-null", &[]),
    ("hs-response-twice", &[ANSWER]),
    ("bin-10-ping-null", &[FRAMED_PONG]),
    ("bin-12-unknown", &[]),
    ("bin-12-cb-0", &[]),
    ("bin-15-unknown", &[]),
    // The library delivers undefined.
    ("json-number", &[]),
    ("json-string", &[]),
    ("json-true", &[]),
    ("json-array", &[]),
    ("json-empty-object", &[]),
    ("json-no-type", &["receive Number 1"]),
    ("json-type-number", &[]),
    ("json-type-null", &[]),
    ("bin-bad-utf8-type", &[]),
    // Deeper than max_json_depth.
    ("json-deep", &[]),
    // Numbers keep their spelling.
    ("json-big-number", &["receive Array [1e400,-1e400,123456789012345678901234567890]"]),
    // The 1.x form of a buffer is bytes, and 1.x requests are understood.
    ("json-buf-1x", &["receive Buffer bytes 010203"]),
    ("json-request-nodata", &[]),
    ("json-response-unknown", &[]),
    // Pings are off in these tests; a test of their own has them.
    ("json-ping-ignored", &[]),
    // A member that is missing is false, and a handshake without id has no answer.
    (
        "hs-empty",
        &[
            r#"> {"type":"Object","data":{"allow_binary_mode":false},"callback_id":"00000000-0000-4000-8000-000000000000"}\n"#,
        ],
    ),
    ("hs-noid", &[]),
    // We switch when a typed buffer wants to leave, not at once.
    ("hs-response-only", &[]),
    ("hs-response-truthy", &[ANSWER]),
    ("hs-answer-before-own", &[ANSWER]),
    // The library loses what shares a read with the transition.
    ("transition-glued-10", &["receive String \"glued\""]),
    ("transition-glued-13", &["receive Blob bytes 676c756564"]),
    // The library hangs.
    ("transition-then-json", &["receive String \"json after transition\""]),
    ("bin-json-line", &["receive String \"x\""]),
    ("bin-huge-len", &["closed: frame of 4294967295 bytes exceeds max_frame_bytes = 16777216"]),
    ("bin-huge-len-unknown-id", &["closed: frame of 2147483647 bytes exceeds max_frame_bytes = 16777216"]),
    ("bin-newlines", &["closed: frame of 168430090 bytes exceeds max_frame_bytes = 16777216"]),
    // Odd ids come back byte for byte.
    (
        "bin-11-cb-badutf8",
        &[
            "ask String \"x\"",
            "> 4\\0\\0\\0\\u{c}\\u{6}String\\u{5}\\0\\0\\0\"ack\"\u{fffd}zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
        ],
    ),
];

/// What is counted, and of which inputs; of all others nothing is.
const COUNTED: &[(&[Count], &[&str])] = &[
    (
        &[Count::Undecodable],
        &[
            "json-bad",
            "json-empty-line",
            "json-bom",
            "json-raw-control",
            "json-deep",
            "json-bad-then-good",
            "json-binary-bytes",
            "bin-zero-known",
            "bin-zero-13",
            "bin-type-len-over",
            "bin-data-len-over",
            "bin-data-len-huge",
            "bin-no-datalen",
            "bin-bad-json",
            "bin-empty-json",
        ],
    ),
    (
        &[Count::Unexpected],
        &[
            "json-null",
            "json-number",
            "json-string",
            "json-true",
            "json-array",
            "json-empty-object",
            "json-hs-compat",
            "json-request-nodata",
            "hs-nodata",
            "hs-null",
            "bin-transition",
        ],
    ),
    (&[Count::BadRoute], &["json-type-number", "json-type-null", "bin-bad-utf8-type"]),
    (&[Count::Mended], &["json-dup-keys", "json-bad-utf8", "json-bad-utf8-type", "bin-bad-utf8-json"]),
    (
        &[Count::OrphanReply],
        &[
            "json-cb-unknown",
            "json-cb-tostring",
            "json-cb-and-id",
            "json-response-unknown",
            "hs-response-twice",
            "hs-response-late",
            "bin-12-unknown",
            "bin-12-cb-0",
            "bin-15-unknown",
        ],
    ),
    (
        &[Count::Control],
        &[
            "json-ping",
            "json-ping-empty",
            "json-ping-nodata",
            "json-ping-null",
            "json-ping-extra",
            "json-ping-id",
            "bin-13-ping",
            "bin-11-ping",
            "bin-10-ping",
            "bin-10-ping-null",
        ],
    ),
    (
        &[Count::Control, Count::Unexpected],
        &["json-pong-unasked", "json-pong-null", "json-pong-null-pinging"],
    ),
    (
        &[Count::UnknownKind],
        &["bin-id-0", "bin-id-1", "bin-id-9", "bin-id-16", "bin-id-255", "bin-zero-unknown"],
    ),
    (&[Count::UnknownKind, Count::UnknownKind], &["bin-zeros"]),
];

/// Half of a handshake that is right so far: it changes what is awaited, and nothing else.
const QUIET: [&str; 3] = ["hs-noid", "hs-response-only", "hs-answer-before-own"];

#[test]
fn every_malformed_input_has_its_outcome() {
    let file = load("malformed");
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 138);
    for role in [Role::Client, Role::Server] {
        let mut different: BTreeMap<_, _> = DIFFERENT.iter().copied().collect();
        let each = COUNTED.iter().flat_map(|(counts, ids)| ids.iter().map(|id| (*id, *counts)));
        let mut counted: BTreeMap<_, _> = each.collect();
        for case in cases {
            let id = case["id"].as_str().unwrap();
            let Outcome { ours, counts } = run(case, role);
            let theirs = reference(case, role);
            match different.remove(id) {
                Some(expected) => {
                    assert_eq!(ours, expected, "{id}, {role:?}");
                    assert_ne!(ours, theirs, "{id} does not differ any more");
                }
                None => assert_eq!(ours, theirs, "{id}, {role:?}"),
            }
            let expected = counted.remove(id).unwrap_or_default();
            assert_eq!(counts, expected, "{id}, {role:?}: what is ignored is counted, and nothing else");
        }
        assert!(different.is_empty() && counted.is_empty(), "no such case: {different:?} {counted:?}");
    }
}

/// What came of a case.
struct Outcome {
    /// What is delivered, in order, and then what is written.
    ours: Vec<String>,
    counts: Vec<Count>,
}

fn run(case: &Json, role: Role) -> Outcome {
    let id = case["id"].as_str().unwrap();
    let config = Config { ping_interval: None, ..Config::default() };
    let mut end = match case["state"].as_str().unwrap() {
        "json" => End::new(&Config { mode: Mode::Compat, ..config }, role),
        "raw" => End::new(&config, role),
        _ => in_frames(role),
    };
    let answers_ours = id.starts_with("hs-response") || id == "hs-answer-before-own";
    if answers_ours && role == Role::Server {
        // Ours waits for theirs.
        end.feed(b"{\"type\":\"SockhopHandshake\",\"data\":{\"request_binary_mode\":true}}\n");
    }
    let own = end.text();
    end.take();
    let mut input = match id {
        "json-deep" => {
            format!("{{\"type\":\"Array\",\"data\":{}{}}}\n", "[".repeat(20_000), "]".repeat(20_000))
                .into_bytes()
        }
        "json-10mib-no-term" => vec![b'x'; 10 << 20],
        _ => bytes_of(case.get("input_hex").map(|hex| serde_json::json!({ "hex": hex })).as_ref().unwrap())
            .unwrap(),
    };
    if answers_ours {
        input = with_own_id(input, &own);
    }
    if id == "hs-response-late" {
        end.wait(config_timeout());
        end.take();
    }
    end.feed(&input);
    while !end.replies.is_empty() {
        end.answer(json("\"ack\""));
    }
    let quiet = role == Role::Client && QUIET.contains(&id);
    assert_eq!(end.unaccounted, usize::from(quiet), "{id}, {role:?}: a frame left no trace");
    let mut ours: Vec<String> = end.got.iter().filter_map(describe).collect();
    let mut written = end.written();
    if role == Role::Server && !answers_ours && written.starts_with(b"{\"type\":\"SockhopHandshake\"") {
        // Ours, which waited for theirs, and goes first.
        let length = written.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        written.drain(..length);
    }
    if !written.is_empty() {
        ours.push(reply(&written));
    }
    let counts =
        end.got.iter().filter_map(|got| if let Got::Count(count) = got { Some(*count) } else { None });
    Outcome { ours, counts: counts.collect() }
}

fn config_timeout() -> std::time::Duration {
    Config::default().handshake_timeout
}

/// An end that has switched to binary, and whose peer has.
fn in_frames(role: Role) -> End {
    let config = Config { switch: Switch::Early, ping_interval: None, ..Config::default() };
    let mut end = End::new(&config, role);
    end.feed(b"{\"type\":\"SockhopHandshake\",\"data\":{\"request_binary_mode\":true},\"id\":\"x\"}\n");
    let hello = end.text();
    let id = hello.split("\"id\":\"").nth(1).unwrap()[..36].to_owned();
    let answer =
        format!("{{\"type\":\"Object\",\"data\":{{\"allow_binary_mode\":true}},\"callback_id\":\"{id}\"}}\n");
    end.feed(answer.as_bytes());
    for _ in 0..3 {
        end.wait(std::time::Duration::from_millis(5));
        let text = end.text();
        let ping = text.split("\"_id\":\"").nth(1).unwrap().split('"').next().unwrap();
        end.feed(format!("{{\"type\":\"SockhopPong\",\"data\":{{\"_id\":\"{ping}\"}}}}\n").as_bytes());
    }
    end.feed(b"{\"type\":\"SockhopBinaryModeTransition\",\"data\":{}}\n");
    end.written();
    end.take();
    end
}

/// Inputs that answer the victim's handshake hold the id that it had in the recording.
fn with_own_id(input: Vec<u8>, own: &str) -> Vec<u8> {
    let text = String::from_utf8(input).unwrap();
    let id = &own.split("\"id\":\"").nth(1).unwrap()[..36];
    let mut parts = text.split("\"callback_id\":\"");
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        out.push_str("\"callback_id\":\"");
        out.push_str(id);
        out.push_str(&part[36..]);
    }
    out.into_bytes()
}

fn describe(got: &Got) -> Option<String> {
    match got {
        Got::Event(event) => Some(format!("receive {} {}", event.route.as_str(), data(&event.body))),
        Got::Request(request) => Some(format!("ask {} {}", request.route.as_str(), data(&request.body))),
        Got::Closed(reason) => Some(format!("closed: {reason}")),
        Got::Count(_) | Got::Established => None,
        Got::Response(..) | Got::Progress(..) => panic!("{got:?}"),
    }
}

fn data(body: &Body) -> String {
    match body {
        Body::Empty => "undefined".into(),
        Body::Json(text) => match text.parse::<Json>() {
            Ok(value) => value.to_string(),
            Err(_) if text.as_str() == "\"\\ud800\"" => "(shortened)".into(),
            Err(_) => text.as_str().into(),
        },
        Body::Binary(binary) => {
            let hex: String = binary.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("bytes {hex}")
        }
    }
}

/// Bytes written, for the eye, without the time.
fn reply(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    if let Some(at) = text.find("\"_returned\":\"2") {
        text.replace_range(at + 13..at + 37, "DATE");
    }
    format!("> {}", text.escape_debug()).replace("\\\"", "\"")
}

/// What the library did in that role, in the same words.
fn reference(case: &Json, role: Role) -> Vec<String> {
    let victim = if role == Role::Client { "client 2.1.0" } else { "server 2.1.0" };
    let results = case["results"].as_array().unwrap();
    let result = results.iter().find(|result| result["victim"] == victim).unwrap();
    let mut outcome = Vec::new();
    for event in result["events"].as_array().unwrap() {
        let what = event["ev"].as_str().unwrap();
        if !what.starts_with("receive") {
            continue;
        }
        let kind = event["type"].as_str().map_or_else(|| event["type"].to_string(), str::to_owned);
        let verb = if event["callback"] == true { "ask" } else { "receive" };
        let data = match (event["buffer_hex"].as_str(), &event["data"]) {
            (Some(hex), _) => format!("bytes {hex}"),
            (None, data) if data == "(undefined)" => "undefined".into(),
            (None, data) if is_shortened(data) => "(shortened)".into(),
            (None, data) => data.to_string(),
        };
        outcome.push(format!("{verb} {kind} {data}"));
    }
    let replies: Vec<Vec<u8>> = result["replies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reply| unhex(reply["hex"].as_str().unwrap()))
        .collect();
    if !replies.is_empty() {
        outcome.push(reply(&replies.concat()));
    }
    if result["process"] != "alive" {
        outcome.push("dies".into());
    }
    outcome
}
