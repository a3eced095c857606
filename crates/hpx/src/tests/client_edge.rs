//! What faulty servers sent to the real clients, and what becomes of our calls there.

use super::client_session::{Dialled, dialled, result};
use super::*;

/// How the first call ends: `ok`, a code of its failure, or `pending`; and whether the connection stays.
fn expected(id: &str) -> (&'static str, bool) {
    match id {
        "ok"
        | "extra-keys"
        | "fname-header"
        | "huge-name"
        | "level-0"
        | "level-9"
        | "missing-session"
        | "multi-member"
        | "no-id"
        | "split-1"
        | "split-in-delimiter"
        | "trailing-zeros"
        | "wrong-id"
        | "eof-in-fname-header"
        | "eof-inside-stored"
        | "empty-frame-then-good" => ("ok", true),
        // Python's literals are no JSON: the call is told, and the connection goes on.
        "nan" => ("invalid_argument", true),
        // The broadcast says that the server goes; the reply is still taken, then we leave.
        "broadcast-before" | "merged-broadcast-before" | "merged-broadcast-after" => ("ok", false),
        // Sent once more under a new session.
        "error-root" => ("pending", true),
        "close-no-reply" | "close-mid-frame" | "no-delimiter-then-close" | "silent" | "empty-frame" => {
            ("pending", true)
        }
        // Nothing tells a delimiter in the data from a truncated body until more comes.
        "truncated-gzip" => ("pending", true),
        // Readable, but no answer: the call goes on waiting.
        "missing-data" => ("pending", true),
        _ if id.starts_with("framing:") => ("pending", true),
        "bad-crc" | "bad-deflate" | "bad-json" | "bad-utf8" | "bom" | "garbage" | "list-not-object"
        | "null" | "plain-json" | "scalar" | "trailing-garbage" | "zlib-stream" => ("internal", false),
        other => panic!("no expectation for {other}"),
    }
}

#[test]
fn faulty_answers_end_one_call_at_most_and_are_never_another_calls() {
    let framing = vector("framing.json");
    let mut seen = 0;
    for case in vector("client-edge.json")["cases"].as_array().unwrap() {
        let id = case["id"].as_str().unwrap();
        let stream = id.strip_prefix("framing:").map(|name| {
            let entries = framing["entries"].as_array().unwrap();
            entries.iter().find(|entry| entry["id"] == name).unwrap()["stream_hex"].clone()
        });
        let writes = match (&case["reply_to_first_call_gzip-json"], stream) {
            (_, Some(stream)) => vec![stream],
            (Value::Array(writes), None) => writes.clone(),
            _ => continue,
        };
        seen += 1;
        let Dialled { mut engine, .. } = dialled();
        engine.call(1, "f", "{}");
        for write in writes.iter().map(|write| write.as_str().unwrap()) {
            if write != "close" && !write.starts_with("pause") {
                engine.receive(&unhex(write)).unwrap();
            }
        }
        let (outcome, stays) = expected(id);
        let code = engine.outcomes.first().map(|outcome| match outcome {
            Ok(_) => "ok",
            Err(error) => error.code().as_str(),
        });
        assert_eq!(
            (code.unwrap_or("pending"), engine.closed.is_none()),
            (outcome, stays),
            "{id}: {:?}",
            engine.closed
        );
        if outcome == "ok" && stays {
            engine.call(2, "f", "{}");
            engine.message(&result("f", 2));
            assert_eq!(engine.outcomes.len(), 2, "{id}");
        }
    }
    assert!(seen > 40, "{seen} cases");
}
