//! Several function calls in one message.

use std::time::Duration;

use bytes::BytesMut;
use polywire_core::{
    Body, CallError, Caller, Code, Due, JsonLimits, JsonText, Meta, Moment, Outcome, Part, Request, Route,
};

use crate::translate::{self, BATCH};
use crate::wire;

/// What a batch has to know of its client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// When the calls were handed over.
    pub(crate) now: Moment,
    /// How long a call may take that does not say.
    pub(crate) timeout: Duration,
    /// Does the server answer in the order of the request?
    pub(crate) in_order: bool,
}

/// Makes the calls in one message; see [`HpxClient::batch`](crate::HpxClient::batch).
pub(crate) async fn batch(caller: &Caller, calls: Vec<Request>, terms: Terms) -> Vec<Outcome> {
    let limits = JsonLimits::default();
    let mut list = BytesMut::from("[");
    let mut sent: Vec<Route> = Vec::new();
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(calls.len());
    // The name and the deadline of the message.
    let mut message: Option<(Route, Moment)> = None;
    for call in calls {
        if let Some(failure) = translate::refusal(&call, &limits) {
            outcomes.push(Some(Err(CallError::refused(failure))));
            continue;
        }
        if !sent.is_empty() {
            list.extend_from_slice(b",");
        }
        let arguments = if let Body::Json(text) = &call.body { text.as_bytes() } else { b"" };
        wire::write_call(&mut list, &call.route, arguments);
        sent.push(call.route.clone());
        outcomes.push(None);
        let own = call.due.moment(terms.now, terms.timeout);
        message = Some(match message {
            Some((first, due)) => (first, due.min(own)),
            None => (call.route, own),
        });
    }
    list.extend_from_slice(b"]");
    let answers = match message {
        Some((route, due)) => {
            let body = Body::Json(JsonText::from_validated(list.freeze()));
            let meta = Meta::default().with(BATCH, "1");
            let message = Request { route, body, due: Due::At(due), meta };
            match caller.call(message).await {
                Ok(response) => told_apart(&sent, &response.body, &limits, terms.in_order),
                Err(error) => vec![Err(error); sent.len()],
            }
        }
        None => Vec::new(),
    };
    let mut answers = answers.into_iter();
    outcomes
        .into_iter()
        .map(|outcome| outcome.or_else(|| answers.next()).unwrap_or_else(|| Err(lost())))
        .collect()
}

/// The outcome of each call in the reply.
fn told_apart(sent: &[Route], reply: &Body, limits: &JsonLimits, in_order: bool) -> Vec<Outcome> {
    let Body::Json(text) = reply else { return Vec::new() };
    let names: Vec<&str> = sent.iter().map(Route::as_str).collect();
    let bytes = text.to_bytes();
    let reply = Part::of(&bytes, &bytes, text.pins());
    let results = translate::results(&reply, names.len(), limits).unwrap_or_default();
    let found = translate::match_results(&names, &results, limits, in_order);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_answer_counts_for_the_buffer_that_the_reply_keeps() {
        let value = "x".repeat(20 << 10);
        let text = bytes::Bytes::from(format!("[{{\"fname\":\"f\",\"data\":\"{value}\"}}]"));
        let reply = Body::Json(JsonText::from_part(Part::of(&text, &text, 64 << 10)));
        let outcomes = told_apart(&[Route::from_static("f")], &reply, &JsonLimits::default(), true);
        let [Ok(response)] = &outcomes[..] else { panic!("{outcomes:?}") };
        assert_eq!((response.body.len(), response.body.pins()), ((20 << 10) + 2, 64 << 10));
    }
}
