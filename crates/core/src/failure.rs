//! How a call can go wrong: the one list of codes, and the outcomes of a call.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use crate::body::JsonText;
use crate::envelope::Response;
use crate::handler::Kind;
use crate::json::{self, JsonLimits};
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
    /// A failure that it makes no sense to retry.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        let retry = match code {
            Code::Unavailable | Code::ResourceExhausted => Retry::Safe,
            Code::DeadlineExceeded | Code::Internal => Retry::Unknown,
            _ => Retry::Never,
        };
        Self { code, message: message.into(), detail: None, retry, unrouted: false }
    }

    /// Nothing handles such messages on this route. A wire whose originals ignore unknown names tells it from a handler that
    /// found something missing.
    pub fn unrouted(kind: Kind, route: &Route) -> Self {
        let text = format!("nothing here handles {}s on route `{route}`", kind.as_str());
        Self { unrouted: true, ..Self::new(Code::NotFound, text) }
    }

    /// `{"error":{"code","message"}}`, for a wire that tells a failure inside an ordinary answer. Lost: whether it may be sent
    /// again.
    pub fn to_json(&self) -> JsonText {
        let mut text = BytesMut::with_capacity(self.message.len().saturating_add(64));
        text.put_slice(b"{\"error\":{\"code\":\"");
        text.put_slice(self.code.as_str().as_bytes());
        text.put_slice(b"\",\"message\":");
        json::write_string(&mut text, &self.message);
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
        let (mut code, mut message, mut detail) = (None, None, None);
        let mut walk = json::Members::new(error, &limits).ok()?;
        while let Some((key, place)) = walk.next().ok()? {
            let value = error.get(place)?;
            if key.is("code") {
                code = json::as_string(value).and_then(|name| Code::from_name(&name));
            } else if key.is("message") {
                message = json::as_string(value).map(Cow::into_owned);
            } else if key.is("detail") {
                detail = Some(JsonText::from_validated(Bytes::copy_from_slice(value)));
            }
        }
        let failure = Self::new(code.unwrap_or(Code::Unknown), message?);
        Some(match detail {
            Some(detail) => failure.with_detail(detail),
            None => failure,
        })
    }

    /// The same failure with the peer's own words.
    #[must_use]
    pub fn with_detail(mut self, detail: JsonText) -> Self {
        self.detail = Some(detail);
        self
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

    /// A request that left and has no answer, and why.
    pub fn unknown(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self::Unknown(Failure::new(code, message).with_retry(Retry::Unknown))
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
    /// What the caller of a forwarded call is told: the same code and words, and whether it may be sent again.
    fn from(error: CallError) -> Self {
        match error {
            CallError::Failure(failure) => failure,
            CallError::NotSent(failure) => failure.with_retry(Retry::Safe),
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
