//! JSON text to messages and back: `{"request":NAME,"data":VALUE}` and `{"request":NAME,"response":VALUE}`.
//!
//! Observed: no white space, `request` first, then `data` or `response`, then `sessionKey`; readers take any order.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use polywire_core::json::{self, Members};
use polywire_core::{Body, JsonFault, JsonLimits, JsonText, Part, Random, Route, copied};
use zeroize::Zeroizing;

use crate::codec::Text;
use crate::seal::{HEAD, KEY, NONCE};

/// The name of the login.
pub(crate) const AUTH: Route = Route::from_static("auth");
/// The name of a heartbeat.
pub(crate) const HEARTBEAT: Route = Route::from_static("heartBeat");

/// JSON that stands here in the source.
pub(crate) fn literal(text: &'static str) -> Body {
    Body::Json(JsonText::from_validated(Bytes::from_static(text.as_bytes())))
}

/// The members of a message that mean something.
pub(crate) struct Message {
    /// `None` where the name is no text, or cannot be a route.
    pub(crate) request: Option<Route>,
    pub(crate) data: Body,
    pub(crate) response: Body,
    /// The session key; an error when it is not the base64 of 32 bytes.
    pub(crate) session_key: Option<Result<Zeroizing<[u8; KEY]>, ()>>,
    /// One of these members is there more than once. The last counts.
    pub(crate) repeats_key: bool,
}

/// What a text is.
#[allow(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
pub(crate) enum Read {
    Message(Message),
    /// JSON, but nothing that could be a message.
    Other,
    /// JSON beyond a limit.
    Limit,
    /// No JSON, or null, which no original survives either.
    Nothing,
}

/// Reads one message, which lies in a buffer of `pins` bytes.
pub(crate) fn read(text: &Bytes, pins: usize, limits: &JsonLimits) -> Read {
    match message(text, pins, limits) {
        Ok(message) => Read::Message(message),
        Err(JsonFault::Expected("an object")) => match json::validate(text, limits) {
            Ok(()) if text.trim_ascii() == b"null" => Read::Nothing,
            Ok(()) => Read::Other,
            Err(error) => fault(error.what),
        },
        Err(what) => fault(what),
    }
}

fn fault(what: JsonFault) -> Read {
    match what {
        JsonFault::TooDeep(_) | JsonFault::TooManyKeys(_) | JsonFault::NumberTooLong(_) => Read::Limit,
        _ => Read::Nothing,
    }
}

fn message(text: &Bytes, pins: usize, limits: &JsonLimits) -> Result<Message, JsonFault> {
    let body = |value| Body::Json(JsonText::from_part(Part::of(text, value, pins)));
    json::check_utf8(text).map_err(|error| error.what)?;
    let mut members = Members::new(text, limits).map_err(|error| error.what)?;
    let mut message = Message {
        request: None,
        data: Body::Empty,
        response: Body::Empty,
        session_key: None,
        repeats_key: false,
    };
    let mut named = false;
    while let Some((key, place)) = members.next().map_err(|error| error.what)? {
        let value = text.get(place).unwrap_or_default();
        message.repeats_key |= if key.is("request") {
            message.request = route(value).filter(|route| !route.is_empty());
            std::mem::replace(&mut named, true)
        } else if key.is("data") {
            std::mem::replace(&mut message.data, body(value)) != Body::Empty
        } else if key.is("response") {
            std::mem::replace(&mut message.response, body(value)) != Body::Empty
        } else if key.is("sessionKey") {
            message.session_key.replace(session_key(value).ok_or(())).is_some()
        } else {
            false
        };
    }
    Ok(message)
}

/// The route that a name is.
fn route(name: &[u8]) -> Option<Route> {
    match name {
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => Route::from_bytes(copied(inner)).ok(),
        _ => Route::new(json::as_string(name)?.into_owned()).ok(),
    }
}

fn session_key(value: &[u8]) -> Option<Zeroizing<[u8; KEY]>> {
    let text = json::as_string(value)?;
    let bytes = Zeroizing::new(STANDARD.decode(text.as_bytes()).ok()?);
    Some(Zeroizing::new(bytes.as_slice().try_into().ok()?))
}

/// The text of one member of an object, and the object without that member.
pub(crate) fn take_text(object: &JsonText, name: &str, limits: &JsonLimits) -> (Option<String>, Body) {
    let (mut found, mut rest) = (None, BytesMut::new());
    let Ok(mut members) = Members::new(object.as_bytes(), limits) else {
        return (None, Body::Json(object.clone()));
    };
    while let Ok(Some((key, place))) = members.next() {
        let value = object.as_bytes().get(place).unwrap_or_default();
        if key.is(name) {
            found = json::as_string(value).map(|text| text.into_owned());
        } else if let Some(key) = key.decode() {
            rest.put_u8(if rest.is_empty() { b'{' } else { b',' });
            json::write_string(&mut rest, &key);
            rest.put_u8(b':');
            rest.put_slice(value);
        }
    }
    if rest.is_empty() {
        return (found, Body::Empty);
    }
    rest.put_u8(b'}');
    (found, Body::Json(JsonText::from_validated(rest.freeze())))
}

/// Writes one message; `seals` leaves room in front for what sealing adds, and draws a nonce.
pub(crate) struct Writer<'a> {
    pub(crate) seals: bool,
    pub(crate) random: &'a dyn Random,
}

impl Writer<'_> {
    /// `{"request":NAME,MEMBER:VALUE}`, without the member where there is no value.
    pub(crate) fn message(&self, route: &Route, member: &str, value: Option<&[u8]>) -> Text {
        let length = value.map_or(0, <[u8]>::len);
        let mut bytes = self.begin(route.len().saturating_add(length).saturating_add(40));
        bytes.put_slice(b"{\"request\":");
        json::write_string(&mut bytes, route);
        if let Some(value) = value {
            bytes.put_slice(b",\"");
            bytes.put_slice(member.as_bytes());
            bytes.put_slice(b"\":");
            bytes.put_slice(value);
        }
        bytes.put_u8(b'}');
        self.end(bytes)
    }

    /// The answer to a login that succeeded.
    pub(crate) fn welcome(&self, session_key: Option<&[u8; KEY]>) -> Text {
        let mut bytes = self.begin(128);
        bytes.put_slice(b"{\"request\":\"auth\",\"response\":\"success\"");
        if let Some(key) = session_key {
            bytes.put_slice(b",\"sessionKey\":\"");
            bytes.put_slice(Zeroizing::new(STANDARD.encode(key)).as_bytes());
            bytes.put_u8(b'"');
        }
        bytes.put_u8(b'}');
        self.end(bytes)
    }

    /// A login: `authKey`, then the further members of `data`.
    pub(crate) fn login(&self, auth_key: &str, data: &Body) -> Text {
        let mut object = BytesMut::from(&b"{\"authKey\":"[..]);
        json::write_string(&mut object, auth_key);
        if let Body::Json(text) = data
            && let Some(members) = text.as_bytes().trim_ascii().strip_prefix(b"{")
            && members.trim_ascii() != b"}"
        {
            object.put_u8(b',');
            object.put_slice(members);
        } else {
            object.put_u8(b'}');
        }
        let text = self.message(&AUTH, "data", Some(&object));
        drop(Zeroizing::new(Vec::from(object)));
        text
    }

    fn begin(&self, capacity: usize) -> BytesMut {
        let head = if self.seals { HEAD } else { 0 };
        let mut bytes = BytesMut::with_capacity(capacity.saturating_add(head));
        bytes.put_bytes(0, head);
        bytes
    }

    fn end(&self, bytes: BytesMut) -> Text {
        let nonce = self.seals.then(|| {
            let mut nonce = [0; NONCE];
            self.random.fill(&mut nonce);
            nonce
        });
        Text { bytes, nonce }
    }
}

/// The name a handler's file gives: every `-x` becomes `X`, other dashes vanish. Observed: `handler-names.json`.
pub(crate) fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for letter in name.chars() {
        if letter == '-' {
            upper = true;
        } else if std::mem::take(&mut upper) {
            out.extend(letter.to_uppercase());
        } else {
            out.push(letter);
        }
    }
    out
}

/// The other way: `validateGame` is `validate-game`.
pub(crate) fn kebab(name: &str) -> String {
    let mut out = String::with_capacity(name.len().saturating_add(4));
    for letter in name.chars() {
        if letter.is_uppercase() {
            out.push('-');
            out.extend(letter.to_lowercase());
        } else {
            out.push(letter);
        }
    }
    out
}
