//! How a call can go wrong: the one list of codes, and the outcomes of a call.

use std::borrow::Cow;
use std::fmt;

use crate::body::JsonText;
use crate::envelope::Response;

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
}

impl Failure {
    /// A failure that it makes no sense to retry.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        let retry = match code {
            Code::Unavailable | Code::ResourceExhausted => Retry::Safe,
            Code::DeadlineExceeded | Code::Internal => Retry::Unknown,
            _ => Retry::Never,
        };
        Self { code, message: message.into(), detail: None, retry }
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

/// How one call ended. Every call ends exactly once.
pub type Outcome = Result<Response, CallError>;
