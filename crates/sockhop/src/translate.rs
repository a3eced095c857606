//! Wire messages to envelopes and back. Every choice that loses something is named here.
//!
//! | what | here | lost |
//! |---|---|---|
//! | type of a message | the route of a request or event; of an answer the meta fact `sockhop.type`, when the data do not imply it | |
//! | no type | the type that the data imply | that there was none |
//! | no body, out | `{}` of type `Object`, as the stock server answers nothing | a body that is missing and `{}` are one |
//! | no body of an answer with the fact `sockhop.type`, out | that type and no data: what a function or a symbol is | in a frame or to a 1.x request, that there were none |
//! | no data, in | no body | |
//! | the type `""` of an answer, out | as it is; to a 1.x request what the data imply, as that library reads it | |
//! | null, out | `null` of type `Object` | |
//! | bytes, in | the type is the kind, `Buffer` for a plain buffer | |
//! | bytes of a request or event, out | the route is the type | the kind, where it differs from the route |
//! | bytes of an answer, out | the kind is the type in a frame, `Buffer` in a line | the kind, in a line |
//! | the 1.x form of a buffer, in | bytes | |
//! | a failure | `{"error":{"code","message"}}` of type `Error` | whether it may be sent again |
//! | a bare value, in | its route is the type that it implies | |
//! | a bare value, out | as it is; what its peer would take for a message of the protocol, or die of, is refused | the route |

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use polywire_core::{
    Binary, Body, ByteString, CallError, Code, Failure, JsonLimits, JsonText, Meta, Part, Response, Retry,
    Route, json,
};

use crate::binary::read_base64;
use crate::control::{Control, members};
use crate::wire::{Data, NOTHING, Value};

/// The name of the meta fact that holds a message type which the data do not imply.
pub const TYPE: &str = "sockhop.type";

/// The type and route of a plain buffer.
pub const BUFFER: Route = Route::from_static("Buffer");

const OBJECT: Route = Route::from_static("Object");
const ARRAY: Route = Route::from_static("Array");
const STRING: Route = Route::from_static("String");
const NUMBER: Route = Route::from_static("Number");
const BOOLEAN: Route = Route::from_static("Boolean");
const ERROR: Route = Route::from_static("Error");

/// The type name that the original gives to a value of this kind. Null has none there; here it is an object.
pub(crate) fn implied(text: &[u8]) -> Route {
    match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => ARRAY,
        Some(b'"') => STRING,
        Some(b't' | b'f') => BOOLEAN,
        Some(b'-' | b'0'..=b'9') => NUMBER,
        _ => OBJECT,
    }
}

/// The body in the data of a message of type `kind` that came in `frame`, which lies in a buffer of `pins` bytes.
pub(crate) fn to_body(data: Value<'_>, kind: &str, frame: &Bytes, pins: usize, limits: &JsonLimits) -> Body {
    let part = |part| Part::of(frame, part, pins);
    match data {
        Value::Missing => Body::Empty,
        Value::Bytes(bytes) => Binary::new(name(kind), part(bytes)).into(),
        Value::Line(text) => match buffer(kind, text, limits) {
            Some(bytes) => Body::binary(name(kind), bytes),
            None => Body::Json(JsonText::from_part(part(text))),
        },
        Value::Framed(Cow::Borrowed(text)) => Body::Json(JsonText::from_part(part(text))),
        Value::Framed(Cow::Owned(text)) => Body::Json(JsonText::from_validated(text.into())),
    }
}

/// The body in the data of a 1.x request or answer, which stand inside other data.
pub(crate) fn to_inner_body(text: Option<&[u8]>, kind: &str, limits: &JsonLimits) -> Body {
    match text {
        None => Body::Empty,
        Some(text) => match buffer(kind, text, limits) {
            Some(bytes) => Body::binary(name(kind), bytes),
            None => Body::Json(JsonText::from_validated(Bytes::copy_from_slice(text))),
        },
    }
}

fn name(kind: &str) -> ByteString {
    if kind == &*BUFFER { ByteString::from_static("Buffer") } else { ByteString::from(kind) }
}

/// The bytes of a buffer that came as text: base64 as 2.x writes it, or the list of numbers of 1.x.
fn buffer(kind: &str, text: &[u8], limits: &JsonLimits) -> Option<Bytes> {
    if kind != &*BUFFER {
        return None;
    }
    if let Some(text) = json::as_string(text) {
        return Some(read_base64(&text).into());
    }
    match members(text, ["type", "data"], limits)? {
        [Some(b"\"Buffer\""), Some([b'[', inner @ .., b']'])] => {
            if inner.trim_ascii().is_empty() {
                return Some(Bytes::new());
            }
            let byte = |number: &[u8]| std::str::from_utf8(number.trim_ascii()).ok()?.parse::<u8>().ok();
            inner.split(|byte| *byte == b',').map(byte).collect::<Option<Vec<u8>>>().map(Bytes::from)
        }
        _ => None,
    }
}

/// Bytes as the 1.x library writes them inside a value.
fn numbers(bytes: &[u8]) -> Bytes {
    let mut text = BytesMut::with_capacity(bytes.len().saturating_mul(4).saturating_add(32));
    text.put_slice(b"{\"type\":\"Buffer\",\"data\":[");
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 {
            text.put_u8(b',');
        }
        text.put_slice(byte.to_string().as_bytes());
    }
    text.put_slice(b"]}");
    text.freeze()
}

/// Data of the 1.x library, where everything is JSON.
pub(crate) fn to_text(data: Data) -> Bytes {
    match data {
        Data::Missing => Bytes::from_static(NOTHING),
        Data::Json(text) => text,
        Data::Bytes(bytes) => numbers(&bytes),
    }
}

/// The data that carry the body of a request or event.
pub(crate) fn from_body(body: Body) -> Data {
    match body {
        Body::Empty => Data::Json(Bytes::from_static(NOTHING)),
        Body::Json(text) => Data::Json(text.into_bytes()),
        Body::Binary(binary) => Data::Bytes(binary.bytes),
    }
}

/// Can a request or event of this route carry this body at all?
pub(crate) fn check(route: &Route, body: &Body) -> Result<(), Failure> {
    if Control::named(route).is_some() {
        return Err(Failure::new(
            Code::InvalidArgument,
            format!("{route} is a name that the Sockhop protocol uses itself"),
        ));
    }
    if let Body::Json(text) = body
        && *route == BUFFER
        && implied(text.as_bytes()) == STRING
    {
        return Err(Failure::new(
            Code::InvalidArgument,
            "text under the route Buffer would arrive as bytes; send bytes, or use another route",
        ));
    }
    Ok(())
}

/// Can this value go to a peer of bare values? It looks into a value before it hands it on: for the `type` of the protocol's own
/// messages, whatever they carry, and for the name of the `constructor`. Null has neither, and ends the peer.
///
/// # Source
/// Read in source: `sockhop` 1.8.4 `lib/SockhopClient.js` and `lib/SockhopServer.js`, `_on_recieved_object`.
pub(crate) fn check_bare(text: &JsonText, limits: &JsonLimits) -> Result<(), Failure> {
    let refuse = |why: &'static str| Err(Failure::new(Code::InvalidArgument, why));
    let value = text.as_bytes().trim_ascii();
    if value == b"null" {
        return refuse("null ends a peer of bare JSON values");
    }
    if value.first() != Some(&b'{') {
        return Ok(());
    }
    let Some([kind, constructor]) = members(value, ["type", "constructor"], limits) else {
        let max = limits.max_json_keys;
        let why =
            format!("the object has more members than max_json_keys = {max}, so it cannot be looked through");
        return Err(Failure::new(Code::InvalidArgument, why));
    };
    if kind.and_then(json::as_string).is_some_and(|kind| Control::named(&kind).is_some()) {
        return refuse("the type of the object is a name that the Sockhop protocol uses itself");
    }
    if constructor == Some(b"null") {
        return refuse("an object whose constructor is null ends a peer of bare JSON values");
    }
    Ok(())
}

/// What an answer travels in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Line,
    Frame,
    /// The data of a 1.x answer.
    Packet,
}

/// The type and data of an answer.
pub(crate) fn from_result(result: Result<Response, Failure>, carrier: Carrier) -> (Route, Data) {
    let Response { body, meta } = match result {
        Ok(response) => response,
        Err(failure) => return (ERROR, Data::Json(failure.to_json().into_bytes())),
    };
    let named = |meta: Meta| {
        // A 1.x library asks the data for the name where the type is empty, and null has none.
        let fits = |kind: &str| {
            is_free(kind) && *kind != *BUFFER && !(kind.is_empty() && carrier == Carrier::Packet)
        };
        Route::new(meta.get(TYPE).filter(|kind| fits(kind))?.clone()).ok()
    };
    match body {
        Body::Empty => match named(meta) {
            Some(kind) if carrier == Carrier::Line => (kind, Data::Missing),
            Some(kind) => (kind, from_body(Body::Empty)),
            None => (OBJECT, from_body(Body::Empty)),
        },
        Body::Json(text) => {
            (named(meta).unwrap_or_else(|| implied(text.as_bytes())), Data::Json(text.into_bytes()))
        }
        Body::Binary(binary) => {
            let Binary { kind, bytes, .. } = *binary;
            let named = carrier == Carrier::Frame && !kind.is_empty() && is_free(&kind);
            let kind = if named { Route::new(kind).unwrap_or(BUFFER) } else { BUFFER };
            (kind, Data::Bytes(bytes))
        }
    }
}

/// Does this body of an answer have a type that only a frame can carry?
pub(crate) fn is_typed(body: &Body) -> bool {
    matches!(body, Body::Binary(binary) if !binary.kind.is_empty() && *binary.kind != *BUFFER && is_free(&binary.kind))
}

fn is_free(kind: &str) -> bool {
    kind.len() <= Route::MAX_BYTES && Control::named(kind).is_none()
}

/// How a call of ours ended, by the type and body of its answer.
pub(crate) fn to_outcome(
    kind: &str,
    body: Body,
    errors_in_reply: bool,
    limits: &JsonLimits,
) -> Result<Response, CallError> {
    let text = match &body {
        Body::Json(text) => Some(text),
        Body::Empty | Body::Binary(_) => None,
    };
    let failed = kind == &*ERROR || (errors_in_reply && text.is_some_and(|text| is_error(text, limits)));
    if failed && !matches!(body, Body::Binary(_)) {
        return Err(CallError::Failure(to_failure(text, limits)));
    }
    let mut meta = Meta::default();
    let tells_no_type = match &body {
        Body::Empty => !kind.is_empty(),
        Body::Json(text) => implied(text.as_bytes()).as_str() != kind,
        Body::Binary(_) => false,
    };
    if tells_no_type {
        meta.set(TYPE, kind);
    }
    Ok(Response { body, meta })
}

/// An object whose only member is `error`, and that is not null.
fn is_error(text: &JsonText, limits: &JsonLimits) -> bool {
    let Ok(mut walk) = json::Members::new(text.as_bytes(), limits) else { return false };
    match walk.next() {
        Ok(Some((key, value))) if key.is("error") => {
            text.as_bytes().get(value) != Some(b"null") && matches!(walk.next(), Ok(None))
        }
        _ => false,
    }
}

/// The failure in the data of an answer: what [`Failure::to_json`] writes, `{"error":"text"}`, `{code,message}`, or anything else.
fn to_failure(text: Option<&JsonText>, limits: &JsonLimits) -> Failure {
    const NAMES: [&str; 4] = ["code", "message", "retry", "detail"];
    let string = |value: Option<&[u8]>| Some(json::as_string(value?)?.into_owned());
    let whole = text.map(JsonText::as_bytes).unwrap_or_default();
    let error = members(whole, ["error"], limits).and_then(|[error]| error);
    let (fields, ours) = match error.and_then(|error| members(error, NAMES, limits)) {
        Some(fields) => (fields, true),
        None => (members(whole, NAMES, limits).unwrap_or_default(), false),
    };
    let [code, message, retry, detail] = fields;
    let code = string(code).and_then(|code| Code::from_name(&code)).unwrap_or(Code::Unknown);
    let message = string(message).or_else(|| string(error));
    let message = message.unwrap_or_else(|| "the peer answered with an error".to_owned());
    let failure = Failure::new(code, message);
    let retry = string(retry).filter(|_| ours).and_then(|retry| Retry::from_name(&retry));
    let retry = retry.unwrap_or(failure.retry);
    let failure = failure.with_retry(retry);
    match (detail, text) {
        (Some(detail), _) if ours => {
            failure.with_detail(JsonText::from_validated(Bytes::copy_from_slice(detail)))
        }
        (None, _) if ours => failure,
        (_, Some(text)) => failure.with_detail(text.clone()),
        (_, None) => failure,
    }
}

/// The text at a JSON pointer (RFC 6901) into objects; array elements are not looked into.
pub(crate) fn text_at<'a>(pointer: &str, text: &'a [u8], limits: &JsonLimits) -> Option<Cow<'a, str>> {
    let mut value = text;
    for step in pointer.strip_prefix('/')?.split('/') {
        let step = step.replace("~1", "/").replace("~0", "~");
        let [found] = members(value, [&step], limits)?;
        value = found?;
    }
    json::as_string(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> JsonLimits {
        JsonLimits::default()
    }

    fn body(text: &str) -> Body {
        Body::Json(JsonText::new(text.to_owned(), &limits()).unwrap())
    }

    fn line(kind: &str, text: &'static str) -> Body {
        to_body(Value::Line(text.as_bytes()), kind, &Bytes::from_static(text.as_bytes()), 0, &limits())
    }

    #[test]
    fn buffers_of_every_version_are_bytes_and_anything_else_stays_as_it_is() {
        let bytes = |bytes: &'static [u8]| Body::binary("Buffer", bytes);
        assert_eq!(line("Buffer", "\"AQID\""), bytes(b"\x01\x02\x03"));
        assert_eq!(line("Buffer", r#"{"type":"Buffer","data":[1, 2,255]}"#), bytes(b"\x01\x02\xff"));
        assert_eq!(line("Buffer", r#"{"type":"Buffer","data":[]}"#), bytes(b""));
        for same in ["[1,2,3]", r#"{"type":"Buffer","data":[256]}"#, r#"{"type":"Buffer","data":"x"}"#, "7"] {
            assert_eq!(line("Buffer", same), body(same));
        }
        assert_eq!(line("Other", "\"AQID\""), body("\"AQID\""));
        assert_eq!(
            to_text(Data::Bytes(Bytes::from_static(b"\x01\x02\xff"))),
            r#"{"type":"Buffer","data":[1,2,255]}"#
        );
    }

    #[test]
    fn a_large_body_is_a_slice_and_counts_for_the_read_buffer_that_it_keeps() {
        let pins = 64 << 10;
        for (size, kept) in [(pins / 8 - 1, None), (pins / 8, Some(pins))] {
            let frame = Bytes::from(format!("\"{}\"", "x".repeat(size - 2)));
            let text = to_body(Value::Line(&frame), "String", &frame, pins, &limits());
            let bytes = to_body(Value::Bytes(&frame), "", &frame, pins, &limits());
            assert_eq!([text.pins(), bytes.pins()], [kept.unwrap_or(size); 2], "{size}");
            let (Body::Json(text), Body::Binary(bytes)) = (text, bytes) else { panic!("text and bytes") };
            let places = [text.as_bytes().as_ptr(), bytes.bytes.as_ptr()];
            assert_eq!(places.map(|place| place == frame.as_ptr()), [kept.is_some(); 2], "{size}");
        }
    }

    #[test]
    fn answers_say_their_type_when_the_data_do_not() {
        let json = |text: &'static str| Data::Json(Bytes::from_static(text.as_bytes()));
        for (value, kind) in [
            ("{}", "Object"),
            ("[]", "Array"),
            ("\"\"", "String"),
            ("-1", "Number"),
            ("true", "Boolean"),
            ("null", "Object"),
        ] {
            let (found, data) = from_result(Ok(body(value).into()), Carrier::Line);
            assert_eq!((found.as_str(), data), (kind, json(value)));
        }
        let typed =
            |kind: &'static str| Response { body: body("{}"), meta: Meta::default().with(TYPE, kind) };
        assert_eq!(from_result(Ok(typed("Widget")), Carrier::Frame).0.as_str(), "Widget");
        assert_eq!(from_result(Ok(typed("SockhopPing")), Carrier::Frame).0.as_str(), "Object");
        assert_eq!(from_result(Ok(typed("Buffer")), Carrier::Frame).0.as_str(), "Object");
        assert_eq!(from_result(Ok(Body::Empty.into()), Carrier::Frame), (OBJECT, json("{}")));
        let bytes = |kind: &'static str| Ok(Body::binary(kind, &b"x"[..]).into());
        assert_eq!(from_result(bytes("Image"), Carrier::Frame).0.as_str(), "Image");
        assert_eq!(from_result(bytes("Image"), Carrier::Line).0.as_str(), "Buffer");
        assert_eq!(from_result(bytes(""), Carrier::Frame).0.as_str(), "Buffer");
    }

    #[test]
    fn a_failure_crosses_and_comes_back_the_same() {
        let detail = JsonText::new("{\"n\":1}", &limits()).unwrap();
        for failure in [
            Failure::new(Code::NotFound, "no \"such\" route\n"),
            Failure::new(Code::Unknown, "told").with_detail(detail),
            Failure::new(Code::Unavailable, "nothing was sent").with_retry(Retry::Safe),
        ] {
            let (kind, Data::Json(text)) = from_result(Err(failure.clone()), Carrier::Frame) else {
                panic!("json")
            };
            let back = to_outcome(&kind, Body::Json(JsonText::from_validated(text)), false, &limits());
            assert_eq!(back, Err(CallError::Failure(failure)));
        }
    }

    #[test]
    fn a_reply_is_a_failure_by_its_type_or_when_told_so_by_its_only_member() {
        let outcome = |kind: &str, text: &str, told| to_outcome(kind, body(text), told, &limits());
        let failure = |kind, text, told| match outcome(kind, text, told) {
            Err(CallError::Failure(failure)) => (failure.code, failure.message.into_owned()),
            other => panic!("{other:?}"),
        };
        let stock = (Code::Unknown, "the peer answered with an error".to_owned());
        assert_eq!(failure("Error", "{}", false), stock);
        assert_eq!(
            failure("Error", "{\"message\":\"no\",\"code\":\"ENOENT\"}", false),
            (Code::Unknown, "no".into())
        );
        assert_eq!(failure("Object", "{\"error\":\"no\"}", true), (Code::Unknown, "no".into()));
        for (text, told) in
            [("{\"error\":\"no\"}", false), ("{\"error\":null}", true), ("{\"error\":1,\"a\":2}", true)]
        {
            assert!(outcome("Object", text, told).is_ok(), "{text}");
        }
        assert!(to_outcome("Error", Body::Empty, false, &limits()).is_err());
    }

    #[test]
    fn what_would_arrive_as_something_else_is_refused() {
        assert!(check(&Route::from_static("SockhopPing"), &Body::Empty).is_err());
        assert!(check(&BUFFER, &body(" \"text\"")).is_err());
        assert!(check(&BUFFER, &body("[1]")).is_ok());
        assert!(check(&Route::from_static("Sockhop"), &body("\"x\"")).is_ok());
    }

    #[test]
    fn a_pointer_finds_a_name() {
        let text = br#"{"method":"go","a":{"b/c":{"~":"deep"}},"n":1}"#;
        let at = |pointer| text_at(pointer, text, &limits());
        assert_eq!(at("/method").as_deref(), Some("go"));
        assert_eq!(at("/a/b~1c/~0").as_deref(), Some("deep"));
        assert_eq!(at("/n"), None);
        assert_eq!(at("/missing/more"), None);
    }
}
