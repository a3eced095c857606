//! Several function calls in one message.

use bytes::BytesMut;
use polywire_core::{Body, CallError, Caller, Code, JsonLimits, JsonText, Meta, Outcome, Request, Route};

use crate::translate::{self, BATCH};
use crate::wire;

/// Makes several calls in one message and gives back how each ended, in the order of the calls.
///
/// `caller` is the caller of an HPX client. The server runs the functions in order; one that fails does not keep the others
/// from running. The earliest deadline of the calls is that of the message. The same function twice is fine unless the server
/// is of dialect A and refuses one of the two: then it cannot be told which, and both end as [`CallError::Unknown`].
///
/// # Errors
/// Each call has its own outcome; a call whose arguments the wire cannot carry is `NotSent`, and the others still go.
///
/// # Cancel safety
/// Dropping the future gives all calls up; the server may have acted.
pub async fn batch(caller: &Caller, calls: Vec<Request>) -> Vec<Outcome> {
    let limits = JsonLimits::default();
    let mut list = BytesMut::from("[");
    let mut sent: Vec<Route> = Vec::new();
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(calls.len());
    let mut message = None;
    for call in calls {
        if let Some(failure) = translate::refusal(&call, &limits) {
            outcomes.push(Some(Err(CallError::NotSent(failure))));
            continue;
        }
        if !sent.is_empty() {
            list.extend_from_slice(b",");
        }
        let arguments = if let Body::Json(text) = &call.body { text.as_bytes() } else { b"" };
        wire::write_call(&mut list, &call.route, arguments);
        sent.push(call.route.clone());
        outcomes.push(None);
        message.get_or_insert(call);
    }
    list.extend_from_slice(b"]");
    let answers = match message {
        None => Vec::new(),
        Some(first) => {
            let body = Body::Json(JsonText::from_validated(list.freeze()));
            let meta = Meta::default().with(BATCH, "1");
            let message = Request { route: first.route, body, due: first.due, meta };
            match caller.call(message).await {
                Ok(response) => told_apart(&sent, &response.body, &limits),
                Err(error) => vec![Err(error); sent.len()],
            }
        }
    };
    let mut answers = answers.into_iter();
    outcomes
        .into_iter()
        .map(|outcome| outcome.or_else(|| answers.next()).unwrap_or_else(|| Err(lost())))
        .collect()
}

/// The outcome of each call in the reply.
fn told_apart(sent: &[Route], reply: &Body, limits: &JsonLimits) -> Vec<Outcome> {
    let Body::Json(text) = reply else { return Vec::new() };
    let names: Vec<&str> = sent.iter().map(Route::as_str).collect();
    let results = translate::results(&text.to_bytes(), names.len(), limits).unwrap_or_default();
    let found = translate::match_results(&names, &results, limits, false);
    found
        .into_iter()
        .map(|at| {
            at.and_then(|at| results.get(at))
                .map_or_else(|| Err(lost()), |result| translate::outcome(result, limits))
        })
        .collect()
}

fn lost() -> CallError {
    CallError::unknown(Code::Internal, "the reply does not tell how the call ended")
}
