//! Messages to envelopes and back. Every loss of this wire is named here.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bytes::{Bytes, BytesMut};
use polywire_core::{
    Body, ByteString, CallError, Code, Count, Event, Failure, JsonError, JsonLimits, JsonText, Outcome,
    Request, Response, Route, RouteError, json,
};

use crate::wire::{self, Message};

/// Most bytes of a line before its body: `ASK`, an id of 20 digits, a name of 255 bytes and three blanks.
const HEAD: usize = 3 + 20 + Route::MAX_BYTES + 3;

/// Largest body that fits into a line of `max_frame_bytes` behind the longest head.
pub(crate) fn max_body_bytes(max_frame_bytes: usize) -> usize {
    max_frame_bytes.saturating_sub(HEAD)
}

/// Why a name or a body of the peer has no place in an envelope.
pub(crate) enum Unfit {
    Name(RouteError),
    Body(JsonError),
}

impl From<RouteError> for Unfit {
    fn from(error: RouteError) -> Self {
        Unfit::Name(error)
    }
}

impl From<JsonError> for Unfit {
    fn from(error: JsonError) -> Self {
        Unfit::Body(error)
    }
}

impl Unfit {
    /// The reason under which the line is counted.
    pub(crate) fn count(&self) -> Count {
        match self {
            Unfit::Name(_) => Count::BadRoute,
            Unfit::Body(_) => Count::BadBody,
        }
    }

    /// What somebody who asked is told.
    pub(crate) fn failure(&self) -> Failure {
        let why = match self {
            Unfit::Name(error) => error.to_string(),
            Unfit::Body(error) => error.to_string(),
        };
        Failure::new(Code::InvalidArgument, why)
    }
}

/// Nothing is no body; `null` is a body.
fn body(text: ByteString, limits: &JsonLimits) -> Result<Body, JsonError> {
    if text.is_empty() { Ok(Body::Empty) } else { Ok(JsonText::new(text.into_bytes(), limits)?.into()) }
}

pub(crate) fn to_request(name: ByteString, text: ByteString, limits: &JsonLimits) -> Result<Request, Unfit> {
    Ok(Request::new(Route::new(name)?, body(text, limits)?))
}

pub(crate) fn to_event(name: ByteString, text: ByteString, limits: &JsonLimits) -> Result<Event, Unfit> {
    Ok(Event::new(Route::new(name)?, body(text, limits)?))
}

/// An answer that cannot be read is an answer all the same: the peer has acted.
pub(crate) fn to_outcome(text: ByteString, limits: &JsonLimits) -> Outcome {
    let unreadable =
        |error| CallError::unknown(Code::Internal, format!("the answer cannot be read: {error}"));
    body(text, limits).map(Response::from).map_err(unreadable)
}

/// A code that is none of ours stays in the words.
pub(crate) fn to_failure(code: &str, why: String) -> Failure {
    match Code::from_name(code) {
        Some(code) => Failure::new(code, why),
        None => Failure::new(Code::Unknown, format!("{code}: {why}")),
    }
}

// begin losses
/// Why this body cannot leave: bytes have no form here, and a line has an end.
pub(crate) fn unfit_body(body: &Body, max_frame_bytes: usize) -> Option<Failure> {
    let max = max_body_bytes(max_frame_bytes);
    match body {
        Body::Binary(_) => Some(Failure::new(Code::Unimplemented, "parley carries no bytes")),
        Body::Json(text) if text.as_bytes().len() > max => {
            let why = format!("body of {} bytes exceeds the {max} bytes left by max_frame_bytes", body.len());
            Some(Failure::new(Code::ResourceExhausted, why))
        }
        _ => None,
    }
}

/// Why this name cannot leave: it has to be one word.
pub(crate) fn unfit_name(route: &Route) -> Option<Failure> {
    let why = || format!("{route:?} is not one word, as names are in parley");
    (!wire::is_word(route)).then(|| Failure::new(Code::InvalidArgument, why()))
}

/// A failure's code and message cross. Lost: its detail, and the word on retrying.
pub(crate) fn from_failure(id: u64, failure: &Failure) -> Message {
    let code = ByteString::from_static(failure.code.as_str());
    Message::No { id, code, why: failure.message.clone().into_owned() }
}
// end losses

pub(crate) fn from_request(id: u64, request: Request) -> Message {
    Message::Ask { id, name: name(&request.route), body: text(request.body) }
}

pub(crate) fn from_event(event: Event) -> Message {
    Message::Say { name: name(&event.route), body: text(event.body) }
}

pub(crate) fn from_result(id: u64, result: Result<Response, Failure>, max_frame_bytes: usize) -> Message {
    let fit = result.and_then(|response| match unfit_body(&response.body, max_frame_bytes) {
        Some(failure) => Err(failure),
        None => Ok(response.body),
    });
    match fit {
        Ok(body) => Message::Ok { id, body: text(body) },
        Err(failure) => from_failure(id, &failure),
    }
}

fn name(route: &Route) -> ByteString {
    ByteString::from(&**route)
}

/// A body as it stands on a line: white space outside of strings may hold line breaks, and goes.
fn text(body: Body) -> ByteString {
    let Body::Json(text) = body else { return ByteString::new() };
    let text = text.into_bytes();
    ByteString::try_from(if text.contains(&b'\n') { compact(&text) } else { text }).unwrap_or_default()
}

fn compact(text: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(text.len());
    json::write_compact(&mut line, text);
    line.freeze()
}
