//! What bodies come through as.

use polywire_core::{CallError, Code};

use super::call::{finish, refused};
use super::{Broken, Outcome, holds, json, same};
use crate::bench::Bench;
use crate::finding::Verdict;

/// What a careless carrier changes: integers above 2^53, numbers no machine has, their spelling, the order of keys, escapes, lone
/// surrogates, empty things.
const OBJECTS: [&str; 6] = [
    r#"{"z":9007199254740993,"a":18446744073709551616,"n":-9223372036854775809}"#,
    r#"{"f":[1.0,1e2,-0.0,0.1000,1e400,-1E-400,123456789012345678901234567890.5]}"#,
    r#"{"t":"añ \u00e9 🙂 \ud83d\ude42 \ud800 \u0000 \u2028 \/ \" \\","añ":""}"#,
    r#"{"list":[[],{},"",0,true,false,null,[[["deep"]]]],"empty":{"":""}}"#,
    r#"{"__proto__":{"b":1},"b":2,"a":3,"constructor":null}"#,
    r#"{}"#,
];

/// What is no object.
const BARE: [&str; 6] = ["0", "-1.50e3", "\"\\ud800 é\"", "true", "[]", "[1, {\"a\":null}]"];

pub(crate) async fn json_arrives_as_it_was_written(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let rig = bench.start().await?;
    for text in OBJECTS.iter().chain(&BARE) {
        let body = json(*text)?;
        let outcome = rig.call("echo.json", body.clone()).await?;
        if bench.wire.object_arguments && BARE.contains(text) {
            match outcome {
                Err(CallError::NotSent(failure)) => {
                    same!(failure.code, Code::InvalidArgument, "{text} is refused with another code");
                }
                other => {
                    return Err(Broken::new(format!(
                        "{text}, which the wire cannot carry, ends as {other:?}"
                    )));
                }
            }
            continue;
        }
        let answer = outcome.map_err(|error| Broken::new(format!("a call with {text} ends as {error}")))?;
        holds!(answer.body == body, "{text} comes back changed");
        let heard = rig.far.app.heard();
        holds!(heard.last().is_some_and(|heard| heard.body == body), "{text} arrives changed");
    }
    finish(rig, Verdict::Held).await
}
