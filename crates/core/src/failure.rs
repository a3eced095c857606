//! How a call can go wrong: the one list of codes, and the outcomes of a call.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use crate::body::JsonText;
use crate::envelope::Response;
use crate::handler::Kind;
use crate::json::{self, JsonError, JsonLimits};
use crate::route::Route;

/// The one list of failure codes, those of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The request cannot be read or breaks a rule of the callee.
    InvalidArgument,
    /// No such route, or no such thing.
    NotFound,
    /// Nobody is logged in, or the login has run out.
    Unauthenticated,
    /// Logged in, but not allowed.
    PermissionDenied,
    /// The deadline passed.
    DeadlineExceeded,
    /// The callee cannot be reached now.
    Unavailable,
    /// A limit was reached.
    ResourceExhausted,
    /// The caller gave the call up.
    Cancelled,
    /// The wire or the callee cannot do this.
    Unimplemented,
    /// A fault in the program that answered.
    Internal,
    /// The application said no, in its own words.
    Unknown,
}

impl Code {
    /// Every code, in the order of declaration.
    pub const ALL: [Code; 11] = [
        Code::InvalidArgument,
        Code::NotFound,
        Code::Unauthenticated,
        Code::PermissionDenied,
        Code::DeadlineExceeded,
        Code::Unavailable,
        Code::ResourceExhausted,
        Code::Cancelled,
        Code::Unimplemented,
        Code::Internal,
        Code::Unknown,
    ];

    /// The name as it stands on wires and in output, such as `not_found`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Code::InvalidArgument => "invalid_argument",
            Code::NotFound => "not_found",
            Code::Unauthenticated => "unauthenticated",
            Code::PermissionDenied => "permission_denied",
            Code::DeadlineExceeded => "deadline_exceeded",
            Code::Unavailable => "unavailable",
            Code::ResourceExhausted => "resource_exhausted",
            Code::Cancelled => "cancelled",
            Code::Unimplemented => "unimplemented",
            Code::Internal => "internal",
            Code::Unknown => "unknown",
        }
    }

    /// The code with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// May the same request be sent again?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// It would fail again.
    Never,
    /// It surely did not run.
    Safe,
    /// It may have run.
    Unknown,
}

impl Retry {
    /// The name as it stands on wires and in output, such as `safe`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Retry::Never => "never",
            Retry::Safe => "safe",
            Retry::Unknown => "unknown",
        }
    }

    /// The word with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Retry::Never, Retry::Safe, Retry::Unknown].into_iter().find(|retry| retry.as_str() == name)
    }

    /// What a code says of it by itself: never that it is safe. A code is also what a peer answers that did half of the work, and
    /// some wires carry no more than that, so only who knows says [`Retry::Safe`].
    const fn of(code: Code) -> Self {
        match code {
            Code::Unavailable
            | Code::ResourceExhausted
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::Unknown => Retry::Unknown,
            Code::InvalidArgument
            | Code::NotFound
            | Code::Unauthenticated
            | Code::PermissionDenied
            | Code::Cancelled
            | Code::Unimplemented => Retry::Never,
        }
    }
}

/// A definite no: what a handler returns instead of a body, and what a peer answered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    /// What kind of no.
    pub code: Code,
    /// One sentence for a person.
    pub message: Cow<'static, str>,
    /// The peer's own words for it, as its wire carried them.
    pub detail: Option<JsonText>,
    /// May the request be sent again?
    pub retry: Retry,
    /// Was there nothing that handles the route? Tells an unknown name from something a handler did not find.
    pub unrouted: bool,
}

impl Failure {
    /// A failure that says of retrying what its code does: [`Retry::Never`] where the same request would fail again, else
    /// [`Retry::Unknown`]. Who knows that the request did not run says so: `.with_retry(Retry::Safe)`.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), detail: None, retry: Retry::of(code), unrouted: false }
    }

    /// Nothing handles such messages on this route. A wire whose originals ignore unknown names tells it from a handler that
    /// found something missing.
    pub fn unrouted(kind: Kind, route: &Route) -> Self {
        let text = format!("nothing here handles {}s on route `{route}`", kind.as_str());
        Self { unrouted: true, ..Self::new(Code::NotFound, text) }
    }

    /// `{"error":{"code","message"}}`, for a wire that tells a failure inside an ordinary answer. Besides them stand `retry`
    /// where it is another word than the code says by itself, and `detail` where there is one.
    pub fn to_json(&self) -> JsonText {
        let mut text = BytesMut::with_capacity(self.message.len().saturating_add(64));
        text.put_slice(b"{\"error\":{\"code\":\"");
        text.put_slice(self.code.as_str().as_bytes());
        text.put_slice(b"\",\"message\":");
        json::write_string(&mut text, &self.message);
        if self.retry != Retry::of(self.code) {
            text.put_slice(b",\"retry\":\"");
            text.put_slice(self.retry.as_str().as_bytes());
            text.put_slice(b"\"");
        }
        if let Some(detail) = &self.detail {
            text.put_slice(b",\"detail\":");
            text.put_slice(detail.as_bytes());
        }
        text.put_slice(b"}}");
        JsonText::from_validated(text.freeze())
    }

    /// The failure in an answer: an object whose only member is `error`, holding either what [`Failure::to_json`] writes or a
    /// text; anything else is no failure.
    pub fn from_json(text: &JsonText) -> Option<Self> {
        let limits = JsonLimits::default();
        let mut walk = json::Members::new(text.as_bytes(), &limits).ok()?;
        let (key, place) = walk.next().ok()??;
        if !key.is("error") || walk.next().ok()?.is_some() {
            return None;
        }
        let error = text.as_bytes().get(place)?;
        if let Some(message) = json::as_string(error) {
            return Some(Self::new(Code::Unknown, message.into_owned()));
        }
        let (mut code, mut message, mut retry, mut detail) = (None, None, None, None);
        let mut walk = json::Members::new(error, &limits).ok()?;
        while let Some((key, place)) = walk.next().ok()? {
            let value = error.get(place)?;
            if key.is("code") {
                code = json::as_string(value).and_then(|name| Code::from_name(&name));
            } else if key.is("message") {
                message = json::as_string(value).map(Cow::into_owned);
            } else if key.is("retry") {
                retry = json::as_string(value).and_then(|name| Retry::from_name(&name));
            } else if key.is("detail") {
                detail = Some(JsonText::from_validated(Bytes::copy_from_slice(value)));
            }
        }
        let failure = Self::new(code.unwrap_or(Code::Unknown), message?);
        Some(Self { retry: retry.unwrap_or(failure.retry), detail, ..failure })
    }

    /// The same failure with the peer's own words.
    #[must_use]
    pub fn with_detail(mut self, detail: JsonText) -> Self {
        self.detail = Some(detail);
        self
    }

    /// The same failure of a request that surely did not run.
    fn not_run(self) -> Self {
        match self.retry {
            Retry::Unknown => self.with_retry(Retry::Safe),
            Retry::Safe | Retry::Never => self,
        }
    }

    /// The same failure with another word on retrying.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }
}

/// Why a call has no response. Says whether the peer may have acted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CallError {
    /// The peer answered, and the answer was no.
    #[error("{0}")]
    Failure(Failure),
    /// The request never left: the peer surely has not acted.
    #[error("not sent: {0}")]
    NotSent(Failure),
    /// The request left and no answer came: the peer may have acted.
    #[error("outcome unknown: {0}")]
    Unknown(Failure),
}

impl CallError {
    /// A request that never left, and why.
    pub fn not_sent(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self::NotSent(Failure::new(code, message).with_retry(Retry::Safe))
    }

    /// A request that the wire or this side refuses to send, in the words of `failure`: nobody can know less of it than that it
    /// did not run.
    pub fn refused(failure: Failure) -> Self {
        Self::NotSent(failure.not_run())
    }

    /// A request that left and has no answer, and why.
    pub fn unknown(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self::Unknown(Failure::new(code, message).with_retry(Retry::Unknown))
    }

    /// A request whose answer came and is beyond the limits on JSON, so that nobody looks into it.
    pub fn unread(error: &JsonError) -> Self {
        Self::unknown(Code::ResourceExhausted, format!("the answer came and is not read: {error}"))
    }

    /// A call that waited for something until its deadline: `waited` says for what, `call_timeout` is that of its
    /// [`Limits`](crate::Limits).
    pub fn too_late(waited: &str, call_timeout: Duration) -> Self {
        let why =
            format!("{waited} until {}; nothing was sent, so it can be sent again", deadline(call_timeout));
        Self::not_sent(Code::DeadlineExceeded, why)
    }

    /// A call that was sent and not answered before its deadline.
    pub(crate) fn unanswered(call_timeout: Duration) -> Self {
        let why = format!(
            "no answer came before {}; the peer may have acted: send again only what may run twice",
            deadline(call_timeout)
        );
        Self::unknown(Code::DeadlineExceeded, why)
    }

    /// The code inside.
    pub fn code(&self) -> Code {
        self.failure().code
    }

    /// The failure inside.
    pub fn failure(&self) -> &Failure {
        match self {
            Self::Failure(failure) | Self::NotSent(failure) | Self::Unknown(failure) => failure,
        }
    }
}

impl From<CallError> for Failure {
    /// What the caller of a forwarded call is told: the same code and words, and whether it may be sent again. That speaks of
    /// the call: a handler that did something else before it says so, by [`Failure::with_retry`].
    fn from(error: CallError) -> Self {
        match error {
            CallError::Failure(failure) => failure,
            CallError::NotSent(failure) => failure.not_run(),
            CallError::Unknown(failure) => failure.with_retry(Retry::Unknown),
        }
    }
}

/// The deadline of a call in words: which setting it comes from, and what goes before that.
fn deadline(call_timeout: Duration) -> String {
    format!("the deadline (call_timeout = {call_timeout:?}, unless the call was given a time of its own)")
}

/// How one call ended. Every call ends exactly once.
pub type Outcome = Result<Response, CallError>;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Failure {
        Failure::from_json(&JsonText::new(text, &JsonLimits::default()).unwrap()).unwrap()
    }

    #[test]
    fn a_failure_crosses_a_wire_with_its_word_on_retrying() {
        for code in Code::ALL {
            for retry in [Retry::Never, Retry::Safe, Retry::Unknown] {
                let failure = Failure::new(code, "a \"b\"").with_retry(retry);
                assert_eq!(Failure::from_json(&failure.to_json()), Some(failure));
            }
        }
        let plain = Failure::new(Code::NotFound, "no");
        assert_eq!(plain.to_json().as_str(), r#"{"error":{"code":"not_found","message":"no"}}"#);
        let safe = Failure::new(Code::Unavailable, "no").with_retry(Retry::Safe);
        assert_eq!(
            safe.to_json().as_str(),
            r#"{"error":{"code":"unavailable","message":"no","retry":"safe"}}"#
        );
    }

    #[test]
    fn only_what_a_peer_calls_safe_is_safe() {
        for code in Code::ALL {
            assert_ne!(Failure::new(code, "").retry, Retry::Safe, "{code}");
        }
        for (text, retry) in [
            (r#"{"error":"no"}"#, Retry::Unknown),
            (r#"{"error":{"code":"unavailable","message":"no"}}"#, Retry::Unknown),
            (r#"{"error":{"code":"unavailable","message":"no","retry":"safe"}}"#, Retry::Safe),
            (r#"{"error":{"code":"unavailable","message":"no","retry":"SAFE"}}"#, Retry::Unknown),
            (r#"{"error":{"code":"resource_exhausted","message":"no","retry":true}}"#, Retry::Unknown),
            (r#"{"error":{"code":"of its own","message":"no"}}"#, Retry::Unknown),
            (r#"{"error":{"retry":"unknown","code":"not_found","message":"no"}}"#, Retry::Unknown),
        ] {
            assert_eq!(read(text).retry, retry, "{text}");
        }
    }

    #[test]
    fn a_handler_that_hands_an_error_on_tells_whether_the_call_may_have_run() {
        let told = |error| Failure::from(error).retry;
        assert_eq!(told(CallError::unknown(Code::Unavailable, "lost")), Retry::Unknown);
        assert_eq!(told(CallError::not_sent(Code::DeadlineExceeded, "late")), Retry::Safe);
        assert_eq!(told(CallError::refused(Failure::new(Code::ResourceExhausted, "large"))), Retry::Safe);
        assert_eq!(told(CallError::refused(Failure::new(Code::Unimplemented, "bytes"))), Retry::Never);
        assert_eq!(told(CallError::Failure(Failure::new(Code::Unavailable, "no"))), Retry::Unknown);
    }
}
