//! What bodies come through as.

use std::time::Duration;

use polywire_core::{BinaryForm, Body, CallError, Code, EmptyReply};

use super::call::{finish, refused};
use super::{Broken, Outcome, holds, json, numbered, same};
use crate::bench::Bench;
use crate::finding::{Direction, Verdict};
use crate::rig::Rig;

/// A name that is a route and the name of a type, because some wires have one for both.
const KIND: &str = "Pose";

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
    if !bench.calls() && !bench.tells() {
        return refused(bench).await;
    }
    let rig = bench.start().await?;
    for text in OBJECTS.into_iter().chain(BARE) {
        if bench.calls() {
            answered(&rig, bench, text).await?;
        }
        if bench.tells() {
            told(&rig, bench, json(text)?, text).await?;
        }
    }
    finish(rig, Verdict::Held).await
}

/// A call with this body arrives and is answered with the same, or is refused where the wire cannot carry it.
async fn answered(rig: &Rig, bench: &Bench<'_>, text: &str) -> Result<(), Broken> {
    let body = json(text)?;
    let outcome = rig.call("echo.json", body.clone()).await?;
    if bench.wire.object_arguments && BARE.contains(&text) {
        return match outcome {
            Err(CallError::NotSent(failure)) => {
                same!(failure.code, Code::InvalidArgument, "{text} is refused with another code");
                Ok(())
            }
            other => Err(Broken::new(format!("{text}, which the wire cannot carry, ends as {other:?}"))),
        };
    }
    let answer = outcome.map_err(|error| Broken::new(format!("a call with {text} ends as {error}")))?;
    holds!(answer.body == body, "{text} comes back changed");
    let heard = rig.far.app.heard();
    holds!(heard.last().is_some_and(|heard| heard.body == body), "{text} arrives changed");
    Ok(())
}

/// An event with this body arrives with the same.
async fn told(rig: &Rig, bench: &Bench<'_>, body: Body, what: &str) -> Result<(), Broken> {
    let before = rig.far.app.heard().len();
    let taken = rig.tell(bench.event_route(), body.clone()).await?;
    holds!(taken.is_ok(), "an event with {what} was not taken: {taken:?}");
    rig.far.app.hear(before + 1).await?;
    let arrived = last(rig)?;
    let is_same = match (&arrived, &body) {
        // The name of the type is a matter of the wire.
        (Body::Binary(arrived), Body::Binary(sent)) => arrived.bytes == sent.bytes,
        _ => arrived == body,
    };
    holds!(is_same, "an event with {what} arrives changed");
    Ok(())
}

/// What a missing body, `null` and an empty object become, in requests, answers and events: themselves, or what is declared.
pub(crate) async fn empty_null_and_missing_are_told_apart(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() && !bench.tells() {
        return refused(bench).await;
    }
    let rig = bench.start().await?;
    let declared = bench.particulars;
    let becomes = |text: Option<&'static str>| text.map_or(Ok(Body::Empty), json);
    let missing = becomes(declared.empty_request)?;
    let null = bench.null_request();
    let mut same_all = !bench.calls() || missing == Body::Empty && null == "null";
    if bench.calls() {
        let outcome = rig.call("fail.unknown.missing", Body::Empty).await?;
        holds!(is_no(&outcome), "a call without a body ends as {outcome:?}");
        same!(last(&rig)?, missing, "a missing body arrives as something else");
        let outcome = rig.call("fail.unknown.null", Body::null()).await?;
        if bench.wire.object_arguments {
            let refused = matches!(outcome, Err(CallError::NotSent(_)));
            holds!(refused, "null, which the wire cannot carry, ends as {outcome:?}");
            same_all = false;
        } else {
            holds!(is_no(&outcome), "a call with null ends as {outcome:?}");
            same!(last(&rig)?, json(null)?, "null arrives as something else");
        }
        let answer = rig.call("echo.object", json("{}")?).await?;
        let answer = answer.map_err(|error| Broken::new(format!("a call with {{}} ends as {error}")))?;
        same!(answer.body, json("{}")?, "an empty object comes back as something else");
        let answer = rig.call("null", numbered(1)).await?;
        let answer = answer.map_err(|error| Broken::new(format!("an answer of null ends as {error}")))?;
        same!(answer.body, json("null")?, "an answer of null arrives as something else");
        same_all &= empty_answer(&rig, declared.empty_reply).await?;
    }
    if bench.tells() {
        let push = bench.direction == Direction::Swapped;
        let missing = if push { becomes(declared.empty_push)? } else { missing };
        same_all &= missing == Body::Empty;
        let bodies = [(Body::Empty, missing), (Body::null(), Body::null()), (json("{}")?, json("{}")?)];
        for (sent, comes) in bodies {
            let before = rig.far.app.heard().len();
            let taken = rig.tell(bench.event_route(), sent.clone()).await?;
            holds!(taken.is_ok(), "an event with {sent:?} was not taken: {taken:?}");
            rig.far.app.hear(before + 1).await?;
            same!(last(&rig)?, comes, "an event with {sent:?} arrives as something else");
        }
    }
    finish(rig, if same_all { Verdict::Held } else { Verdict::Refused }).await
}

/// An answer without a body is what is declared; says whether it is one without a body.
async fn empty_answer(rig: &Rig, declared: EmptyReply) -> Result<bool, Broken> {
    let timeout = Duration::from_secs(2);
    let call = rig.ask_within("empty", numbered(1), timeout).await?;
    rig.far.app.until("the call", |log| log.heard.iter().any(|heard| &*heard.route == "empty")).await?;
    if declared == EmptyReply::Silence {
        rig.still_serves().await?;
        holds!(!call.is_over(), "an answer that the wire has none for has come");
        rig.clock.advance(timeout);
        let outcome = call.outcome().await?;
        let unknown = matches!(outcome, Err(CallError::Unknown(_)));
        holds!(unknown, "an answer that the wire has none for ends as {outcome:?}");
        return Ok(false);
    }
    let answer = call.outcome().await?;
    let answer = answer.map_err(|error| Broken::new(format!("an answer without a body ends as {error}")))?;
    let comes = if let EmptyReply::Value(text) = declared { json(text)? } else { Body::Empty };
    same!(answer.body, comes, "an answer without a body arrives as something else");
    Ok(comes == Body::Empty)
}

/// Did the handler say no, as it was asked to?
fn is_no(outcome: &polywire_core::Outcome) -> bool {
    matches!(outcome, Err(CallError::Failure(_)))
}

/// The body that was heard last.
fn last(rig: &Rig) -> Result<Body, Broken> {
    let heard = rig.far.app.heard().pop();
    heard.map(|heard| heard.body).ok_or_else(|| Broken::new("nothing was heard"))
}

pub(crate) async fn bytes_arrive_whole(bench: &Bench<'_>) -> Outcome {
    if !bench.calls() {
        return refused(bench).await;
    }
    let rig = bench.start().await?;
    if bench.wire.binary == BinaryForm::None {
        match rig.call(KIND, Body::binary(KIND, vec![0, 10, 255])).await? {
            Err(CallError::NotSent(failure)) => {
                same!(failure.code, Code::Unimplemented, "bytes are refused with another code");
            }
            other => {
                return Err(Broken::new(format!("bytes, which the wire cannot carry, end as {other:?}")));
            }
        }
        rig.still_serves().await?;
        same!(rig.far.app.times(KIND), 0, "bytes that were refused have arrived");
        return finish(rig, Verdict::Refused).await;
    }
    for size in [0, 1, 255, (64 << 10) + 1, 1 << 20, 8 << 20] {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(size).collect();
        let outcome = rig.call(KIND, Body::binary(KIND, bytes.clone())).await?;
        let answer =
            outcome.map_err(|error| Broken::new(format!("a call with {size} bytes ends as {error}")))?;
        for (where_to, body) in [("arrive", last(&rig)?), ("come back", answer.body)] {
            let Body::Binary(binary) = &body else {
                return Err(Broken::new(format!("{size} bytes {where_to} as {body:?}")));
            };
            holds!(binary.bytes == bytes, "{size} bytes {where_to} changed");
            let typed = bench.wire.binary == BinaryForm::Typed;
            holds!(
                !typed || *binary.kind == *KIND,
                "the name of their type {where_to}s as {:?}",
                binary.kind
            );
        }
    }
    if bench.tells() {
        for bytes in [vec![], vec![0, 10, 255], vec![7; 1 << 20]] {
            let what = format!("{} bytes", bytes.len());
            told(&rig, bench, Body::binary(bench.event_route().to_string(), bytes), &what).await?;
        }
    }
    finish(rig, Verdict::Held).await
}
