//! Every malformed input that the real library was fed: here nothing dies, nothing is lost, and what is delivered and answered
//! is what the library delivers and answers, except where [`DIFFERENT`] says otherwise.

use std::collections::BTreeMap;

use polywire_core::Body;
use serde_json::Value as Json;

use super::end::{End, Got, json};
use super::vectors::{bytes_of, is_shortened, load, unhex};
use crate::config::{Config, Mode, Switch};

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

#[test]
fn every_malformed_input_has_its_outcome() {
    let mut different: BTreeMap<_, _> = DIFFERENT.iter().copied().collect();
    let file = load("malformed");
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 138);
    for case in cases {
        let id = case["id"].as_str().unwrap();
        let ours = run(case);
        let theirs = reference(case);
        match different.remove(id) {
            Some(expected) => {
                assert_eq!(ours, expected, "{id}");
                assert_ne!(ours, theirs, "{id} does not differ any more");
            }
            None => assert_eq!(ours, theirs, "{id}"),
        }
    }
    assert!(different.is_empty(), "no such case: {different:?}");
}

/// What is delivered, in order, and then what is written.
fn run(case: &Json) -> Vec<String> {
    let id = case["id"].as_str().unwrap();
    let config = Config { ping_interval: None, ..Config::default() };
    let mut end = match case["state"].as_str().unwrap() {
        "json" => End::client(&Config { mode: Mode::Compat, ..config }),
        "raw" => End::client(&config),
        _ => in_frames(),
    };
    let own = end.text();
    let mut input = match id {
        "json-deep" => {
            format!("{{\"type\":\"Array\",\"data\":{}{}}}\n", "[".repeat(20_000), "]".repeat(20_000))
                .into_bytes()
        }
        "json-10mib-no-term" => vec![b'x'; 10 << 20],
        _ => bytes_of(case.get("input_hex").map(|hex| serde_json::json!({ "hex": hex })).as_ref().unwrap())
            .unwrap(),
    };
    if id.starts_with("hs-response") || id == "hs-answer-before-own" {
        input = with_own_id(input, &own);
    }
    if id == "hs-response-late" {
        end.wait(config_timeout());
    }
    end.feed(&input);
    while !end.replies.is_empty() {
        end.answer(json("\"ack\""));
    }
    let mut outcome: Vec<String> = end.got.iter().filter_map(describe).collect();
    let written = end.written();
    if !written.is_empty() {
        outcome.push(reply(&written));
    }
    outcome
}

fn config_timeout() -> std::time::Duration {
    Config::default().handshake_timeout
}

/// A client that has switched to binary, and whose server has.
fn in_frames() -> End {
    let mut end = End::client(&Config { switch: Switch::Early, ping_interval: None, ..Config::default() });
    let hello = end.text();
    let id = hello.split("\"id\":\"").nth(1).unwrap()[..36].to_owned();
    end.feed(b"{\"type\":\"SockhopHandshake\",\"data\":{\"request_binary_mode\":true},\"id\":\"x\"}\n");
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

/// What the library did, in the same words.
fn reference(case: &Json) -> Vec<String> {
    let results = case["results"].as_array().unwrap();
    let result = results.iter().find(|result| result["victim"] == "client 2.1.0").unwrap_or(&results[0]);
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
