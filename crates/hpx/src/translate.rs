//! Wire messages to envelopes and back: codes, arguments, results. Every loss is named here.
//!
//! What this wire cannot carry, and what happens instead:
//! - a body that is no JSON object cannot be arguments, and an argument cannot be called `fname`: the call is not sent;
//! - bytes have no form: a call is not sent, an answer becomes error 403;
//! - an answer without a body becomes JSON `null`, and `null` is what its caller gets;
//! - events, progress, and calls from the server have no form: refused, or dropped and counted;
//! - a failure keeps its code as far as [`wire_code`] has a number for it; the detail of another wire is dropped;
//! - a missing function and a broken argument are both 403 on the wire, and both come back as `invalid_argument`.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use polywire_core::json;
use polywire_core::{
    Body, CallError, Code, Failure, JsonLimits, JsonText, Outcome, Part, Request, Response, Retry,
};

use crate::wire::{self, FunctionResult};

/// Set on a request whose body is a list of function calls, and whose response is the list of results.
pub(crate) const BATCH: &str = "hpx.batch";

/// Set on a request that is a command to the server: its route is what is sent.
pub(crate) const COMMAND: &str = "hpx.command";

/// The command that asks for the greeting again.
pub(crate) const REQUEST_AUTH: &str = "requestauth";

/// Longest text of a failure on the wire, in bytes.
const MAX_MESSAGE: usize = 512;

/// A failure with a number of this wire, for handlers that want to choose it: `hpx::failure(303, "no such item")`.
///
/// Its code is what a caller of another wire is told.
pub fn failure(code: i64, message: impl Into<Cow<'static, str>>) -> Failure {
    let message = message.into();
    let mut detail = BytesMut::new();
    wire::write_error(&mut detail, code, &message);
    Failure::new(core_code(code), message).with_detail(JsonText::from_validated(detail.freeze()))
}

/// The code for a number of the wire. 403 is never `not_found`, although the original uses it for a missing function too: only
/// its words would tell. Observed: `server-edge-*`, `py-*`.
pub(crate) fn core_code(number: i64) -> Code {
    match number {
        100 => Code::Internal,
        403 | 409 | 410 => Code::InvalidArgument,
        406 | 413 => Code::PermissionDenied,
        407 | 408 | 411 | 412 => Code::Unauthenticated,
        _ => Code::Unknown,
    }
}

/// The code that a failure of this code has after its way over the wire.
pub(crate) fn code_told(code: Code) -> Code {
    core_code(wire_code(&Failure::new(code, "")))
}

/// The number for a failure: the one its detail has when it came over this wire, else the nearest.
pub(crate) fn wire_code(failure: &Failure) -> i64 {
    let own = failure.detail.as_ref().and_then(|detail| number_of(&detail.to_bytes()));
    own.unwrap_or(match failure.code {
        Code::InvalidArgument | Code::NotFound | Code::Unimplemented => 403,
        Code::Unauthenticated => 407,
        Code::PermissionDenied => 406,
        Code::Internal => 100,
        _ => 400,
    })
}

/// The number in an error object; `None` when there is none, or it is no whole number.
fn number_of(error: &Bytes) -> Option<i64> {
    wire::member(error, "msg", &JsonLimits::default())?;
    let code = wire::member(error, "code", &JsonLimits::default())?;
    std::str::from_utf8(&code).ok()?.parse().ok()
}

/// The number of an error as the peer sent it; 0 when it has none that can be read.
pub(crate) fn error_number(error: &Bytes, limits: &JsonLimits) -> i64 {
    let code = wire::member(error, "code", limits).unwrap_or_default();
    std::str::from_utf8(&code).ok().and_then(|code| code.trim_matches('"').parse().ok()).unwrap_or(0)
}

/// The failure that an error of the peer stands for.
pub(crate) fn to_failure(error: &Bytes, limits: &JsonLimits) -> Failure {
    let message = wire::member(error, "msg", limits);
    let message = message.as_deref().and_then(json::as_string).map(Cow::into_owned);
    let message = message.unwrap_or_else(|| "the peer gave no reason".to_owned());
    Failure::new(core_code(error_number(error, limits)), message)
        .with_detail(JsonText::from_validated(error.clone()))
}

/// Appends the error that `failure` is on the wire.
pub(crate) fn write_failure(out: &mut BytesMut, failure: &Failure) {
    let text: String =
        failure.message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE).collect();
    let mut end = text.len().min(MAX_MESSAGE);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    wire::write_error(out, wire_code(failure), text.get(..end).unwrap_or_default());
}

/// Appends the entry that answers one function call.
pub(crate) fn write_result(out: &mut BytesMut, fname: &[u8], result: &Result<Response, Failure>) {
    let binary;
    let body = result.as_ref().map_or(0, |response| response.body.len());
    // The entry's own keys, and what ends the envelope.
    out.reserve(body.saturating_add(fname.len()).saturating_add(96));
    out.extend_from_slice(b"{\"fname\":");
    out.extend_from_slice(fname);
    out.extend_from_slice(b",\"data\":");
    let failure = match result {
        Ok(Response { body: Body::Json(text), .. }) => {
            out.extend_from_slice(text.as_bytes());
            None
        }
        Ok(Response { body: Body::Empty, .. }) => {
            out.extend_from_slice(b"null");
            None
        }
        Ok(Response { body: Body::Binary(_), .. }) => {
            binary = Failure::new(Code::Unimplemented, "the answer is binary, which HPX cannot carry");
            Some(&binary)
        }
        Err(failure) => Some(failure),
    };
    if let Some(failure) = failure {
        out.extend_from_slice(b"null,\"error\":");
        write_failure(out, failure);
    }
    out.extend_from_slice(b"}");
}

/// Why this wire cannot carry a request; `None` when it can.
pub(crate) fn refusal(request: &Request, limits: &JsonLimits) -> Option<Failure> {
    let wrong = |why: &'static str| Some(Failure::new(Code::InvalidArgument, why));
    let text = match &request.body {
        Body::Empty => return None,
        Body::Json(text) => text,
        Body::Binary(_) => {
            return Some(Failure::new(Code::Unimplemented, "HPX cannot carry binary bodies"));
        }
    };
    if request.meta.get(BATCH).is_some() {
        return None;
    }
    if text.as_bytes().trim_ascii_start().first() != Some(&b'{') {
        return wrong("HPX arguments are named: the body must be a JSON object");
    }
    // A name can be spelled with escapes; a text without either holds no such argument.
    let bytes = text.as_bytes();
    let suspicious =
        memchr::memmem::find(bytes, b"fname").is_some() || memchr::memmem::find(bytes, b"\\u").is_some();
    if suspicious && wire::member(&text.to_bytes(), "fname", limits).is_some() {
        return wrong("an HPX argument cannot be called fname: that key names the function");
    }
    None
}

/// Appends what a request asks for: one function call, the list of a batch, or a command.
pub(crate) fn write_request(out: &mut BytesMut, request: &Request) {
    let body = match &request.body {
        Body::Json(text) => text.as_bytes(),
        _ => b"",
    };
    if request.meta.get(COMMAND).is_some() {
        json::write_string(out, &request.route);
    } else if request.meta.get(BATCH).is_some() {
        out.extend_from_slice(body);
    } else {
        out.extend_from_slice(b"[");
        wire::write_call(out, &request.route, body);
        out.extend_from_slice(b"]");
    }
}

/// How one function call ended.
pub(crate) fn outcome(result: &FunctionResult, limits: &JsonLimits) -> Outcome {
    match &result.error {
        Some(error) => Err(CallError::Failure(to_failure(error, limits))),
        None if result.data.is_empty() => Ok(Body::null().into()),
        None => Ok(Body::Json(JsonText::from_part(result.data.clone())).into()),
    }
}

/// The results of `calls` function calls in a list that was validated; `None` when an entry is no object, or when there are
/// more than a call with as many missing arguments as it may have would cause.
pub(crate) fn results(data: &Part, calls: usize, limits: &JsonLimits) -> Option<Vec<FunctionResult>> {
    const SPARE: usize = 256;
    let entries = json::elements(data, calls.saturating_add(SPARE), limits).ok()?;
    entries.into_iter().map(|entry| FunctionResult::read(&data.slice(entry), data.pins(), limits)).collect()
}

/// Which result belongs to which call. `in_order` when the peer is known to keep the order of the request.
///
/// The 2018 server answers what it executed first, in order, then everything it refused (403), and a call with two missing
/// arguments gets two entries. Calls of one name that was refused at least once cannot be told apart then.
/// Read in source: `ClientHandler.advance`; observed: `py-batch-errors`, `post-order`.
pub(crate) fn match_results(
    calls: &[&str],
    results: &[FunctionResult],
    limits: &JsonLimits,
    in_order: bool,
) -> Vec<Option<usize>> {
    let names: Vec<Option<Cow<'_, str>>> =
        results.iter().map(|result| json::as_string(&result.fname)).collect();
    let is = |at: usize, call: &str| names.get(at).is_some_and(|name| name.as_deref() == Some(call));
    let refused = |at: usize| {
        let error = results.get(at).and_then(|result| result.error.as_ref());
        error.is_some_and(|error| error_number(error, limits) == 403)
    };
    let ambiguous = |call: &str| {
        !in_order
            && calls.iter().filter(|other| **other == call).count() > 1
            && (0..results.len()).any(|at| is(at, call) && refused(at))
    };
    let by_place = calls.len() == results.len() && calls.iter().enumerate().all(|(at, call)| is(at, call));
    let mut taken = vec![false; results.len()];
    let mut found: Vec<Option<usize>> = Vec::with_capacity(calls.len());
    for (place, call) in calls.iter().enumerate() {
        let at = if ambiguous(call) {
            None
        } else if by_place {
            Some(place)
        } else {
            // Entries of one name stand in the order of their calls.
            (0..results.len()).find(|at| is(*at, call) && taken.get(*at) == Some(&false))
        };
        if let Some(slot) = at.and_then(|at| taken.get_mut(at)) {
            *slot = true;
        }
        found.push(at);
    }
    found
}

/// A call that surely did not run, because its session was not accepted.
pub(crate) fn not_logged_in(failure: Failure) -> CallError {
    CallError::NotSent(failure.with_retry(Retry::Safe))
}

#[cfg(test)]
mod tests {
    use super::*;
    use polywire_core::{Meta, Route};

    fn limits() -> JsonLimits {
        JsonLimits::default()
    }

    fn request(body: &'static str) -> Request {
        let body =
            if body.is_empty() { Body::Empty } else { Body::Json(JsonText::new(body, &limits()).unwrap()) };
        Request::new(Route::from_static("f"), body)
    }

    fn written(body: &'static str) -> String {
        let mut out = BytesMut::new();
        write_request(&mut out, &request(body));
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn arguments_become_siblings_of_the_name() {
        assert_eq!(written(""), r#"[{"fname":"f"}]"#);
        assert_eq!(written(" { } "), r#"[{"fname":"f"}]"#);
        assert_eq!(written(r#"{"a":[1, 2],"b":{}}"#), r#"[{"fname":"f","a":[1, 2],"b":{}}]"#);
        assert_eq!(written("{ \"a\" : 9007199254740993 }"), "[{\"fname\":\"f\", \"a\" : 9007199254740993 }]");
    }

    #[test]
    fn p09_an_argument_called_fname_is_never_sent() {
        for body in [r#"{"fname":1}"#, r#"{"fn\u0061me":1}"#, r#"{"a":1,"fname":"g"}"#] {
            let failure = refusal(&request(body), &limits()).unwrap();
            assert_eq!(failure.code, Code::InvalidArgument, "{body}");
        }
        assert_eq!(refusal(&request(r#"{"a":{"fname":1},"b":"\u00e9"}"#), &limits()), None);
        assert_eq!(refusal(&request("[1]"), &limits()).unwrap().code, Code::InvalidArgument);
        let binary = Request::new(Route::from_static("f"), Body::binary("", &b"x"[..]));
        assert_eq!(refusal(&binary, &limits()).unwrap().code, Code::Unimplemented);
        let mut batch = request("[1]");
        batch.meta = Meta::default().with(BATCH, "1");
        assert_eq!(refusal(&batch, &limits()), None);
    }

    #[test]
    fn a_number_of_the_wire_survives_both_ways() {
        for number in [100, 102, 303, 403, 404, 408, 413, 751, -5] {
            let failure = failure(number, "why");
            assert_eq!(wire_code(&failure), number);
            let mut out = BytesMut::new();
            write_failure(&mut out, &failure);
            assert_eq!(to_failure(&out.freeze(), &limits()), failure);
        }
    }

    #[test]
    fn every_number_has_its_code_and_every_code_its_number() {
        for (number, code) in [
            (100, Code::Internal),
            (400, Code::Unknown),
            (403, Code::InvalidArgument),
            (404, Code::Unknown),
            (405, Code::Unknown),
            (406, Code::PermissionDenied),
            (407, Code::Unauthenticated),
            (408, Code::Unauthenticated),
            (409, Code::InvalidArgument),
            (410, Code::InvalidArgument),
            (411, Code::Unauthenticated),
            (412, Code::Unauthenticated),
            (413, Code::PermissionDenied),
            (303, Code::Unknown),
        ] {
            let error = Bytes::from(format!("{{\"code\":{number},\"msg\":\"why\"}}"));
            assert_eq!(to_failure(&error, &limits()).code, code, "{number}");
        }
        for (code, number) in [
            (Code::InvalidArgument, 403),
            (Code::NotFound, 403),
            (Code::Unimplemented, 403),
            (Code::Unauthenticated, 407),
            (Code::PermissionDenied, 406),
            (Code::Internal, 100),
            (Code::Unavailable, 400),
            (Code::ResourceExhausted, 400),
            (Code::DeadlineExceeded, 400),
            (Code::Unknown, 400),
        ] {
            let mut out = BytesMut::new();
            write_failure(&mut out, &Failure::new(code, "why"));
            assert_eq!(error_number(&out.freeze(), &limits()), number, "{code:?}");
        }
    }

    #[test]
    fn p11_a_code_as_text_is_kept_as_text() {
        let error = Bytes::from_static(br#"{"code":"E7","msg":"odd"}"#);
        let failure = to_failure(&error, &limits());
        assert_eq!((failure.code, &*failure.message), (Code::Unknown, "odd"));
        assert_eq!(failure.detail.unwrap().as_bytes(), &error[..]);
        assert_eq!(to_failure(&Bytes::from_static(b"7"), &limits()).code, Code::Unknown);
        assert_eq!(
            to_failure(&Bytes::from_static(br#"{"code":"408"}"#), &limits()).code,
            Code::Unauthenticated
        );
    }

    #[test]
    fn a_failure_text_is_short_and_has_no_control_characters() {
        let mut out = BytesMut::new();
        write_failure(&mut out, &Failure::new(Code::Unknown, format!("a\nb{}", "é".repeat(600))));
        let text = String::from_utf8(out.to_vec()).unwrap();
        assert!(text.starts_with(r#"{"code":400,"msg":"a bé"#) && text.len() < 560, "{text}");
    }

    fn entries(data: &'static str) -> Vec<FunctionResult> {
        results(&Bytes::from_static(data.as_bytes()).into(), 8, &limits()).unwrap()
    }

    #[test]
    fn p11_results_find_their_calls_in_both_orders() {
        let refused = r#"[{"fname":"a","data":1},{"fname":"c","data":null,"error":{"code":303,"msg":""}},
            {"fname":"b","data":null,"error":{"code":403,"msg":""}},{"fname":"b","data":null,"error":{"code":403,"msg":""}}]"#;
        let found = match_results(&["b", "a", "c"], &entries(refused), &limits(), false);
        assert_eq!(found, [Some(2), Some(0), Some(1)]);
        let missing = match_results(&["a", "z"], &entries(r#"[{"fname":"a","data":1}]"#), &limits(), false);
        assert_eq!(missing, [Some(0), None]);
        let twice = r#"[{"fname":"a","data":1},{"fname":"a","data":2}]"#;
        assert_eq!(match_results(&["a", "a"], &entries(twice), &limits(), false), [Some(0), Some(1)]);
        let mixed = r#"[{"fname":"a","data":1},{"fname":"a","data":null,"error":{"code":403,"msg":""}}]"#;
        assert_eq!(match_results(&["a", "a"], &entries(mixed), &limits(), false), [None, None]);
        assert_eq!(match_results(&["a", "a"], &entries(mixed), &limits(), true), [Some(0), Some(1)]);
        let extra = r#"[{"fname":"a","data":1},{"fname":"old","data":null,"error":{"code":403,"msg":""}}]"#;
        assert_eq!(match_results(&["a"], &entries(extra), &limits(), false), [Some(0)]);
    }
}
