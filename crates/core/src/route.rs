//! The name that selects a handler.

use std::borrow::Borrow;
use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use bytestring::ByteString;

/// A name of at most [`Route::MAX_BYTES`] bytes of UTF-8, compared byte for byte; the empty name is legal.
///
/// A clone shares the bytes, so a route costs no allocation when it is handed on.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route(ByteString);

impl Route {
    /// Longest route in bytes.
    pub const MAX_BYTES: usize = 255;

    /// A route with this name.
    ///
    /// # Errors
    /// [`RouteError`] when the name is longer than [`Route::MAX_BYTES`].
    pub fn new(name: impl Into<ByteString>) -> Result<Self, RouteError> {
        let name = name.into();
        if name.len() > Self::MAX_BYTES { Err(RouteError::TooLong(name.len())) } else { Ok(Self(name)) }
    }

    /// A route whose name stands in the program.
    ///
    /// # Panics
    /// When the name is longer than [`Route::MAX_BYTES`]; in a `const` that is a compile error.
    pub const fn from_static(name: &'static str) -> Self {
        assert!(name.len() <= Self::MAX_BYTES, "a route has at most 255 bytes");
        Self(ByteString::from_static(name))
    }

    /// A route from bytes received.
    ///
    /// # Errors
    /// [`RouteError`] when they are too long or not UTF-8.
    pub fn from_bytes(name: Bytes) -> Result<Self, RouteError> {
        if name.len() > Self::MAX_BYTES {
            return Err(RouteError::TooLong(name.len()));
        }
        ByteString::try_from(name).map(Self).map_err(|_| RouteError::NotUtf8)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as shared bytes.
    pub fn to_bytes(&self) -> Bytes {
        self.0.as_bytes().clone()
    }
}

impl Deref for Route {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Route {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Route {
    type Error = RouteError;

    fn try_from(name: &str) -> Result<Self, RouteError> {
        Self::new(name)
    }
}

impl TryFrom<String> for Route {
    type Error = RouteError;

    fn try_from(name: String) -> Result<Self, RouteError> {
        Self::new(name)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_debug())
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Why a name is no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// Longer than [`Route::MAX_BYTES`].
    #[error("route of {0} bytes exceeds the 255 bytes a route may have")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("route is not UTF-8")]
    NotUtf8,
}

impl From<Infallible> for RouteError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
