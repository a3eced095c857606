//! The application data inside an envelope: carried, not understood.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::json::{self, JsonError, JsonLimits};

/// What an envelope carries. JSON `null`, no body and empty bytes are three different values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// No body at all.
    #[default]
    Empty,
    /// One JSON value, as its text.
    Json(JsonText),
    /// Bytes with the sender's name for their type. Boxed: the rarer and larger kind, and a body is moved many times.
    Binary(Box<Binary>),
}

impl Body {
    /// A body holding `value` as JSON text.
    ///
    /// # Errors
    /// When the value has no JSON form, for example a map whose keys are not strings.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        JsonText::from_value(value).map(Body::Json)
    }

    /// The JSON literal `null`.
    pub fn null() -> Self {
        Body::Json(JsonText::null())
    }

    /// Bytes with a type name; the empty name is legal.
    pub fn binary(kind: impl Into<ByteString>, bytes: impl Into<Bytes>) -> Self {
        Binary { kind: kind.into(), bytes: bytes.into() }.into()
    }

    /// Length of the data in bytes.
    pub fn len(&self) -> usize {
        match self {
            Body::Empty => 0,
            Body::Json(text) => text.as_bytes().len(),
            Body::Binary(binary) => binary.bytes.len().saturating_add(binary.kind.len()),
        }
    }

    /// Is there no body at all? An empty string of bytes is a body.
    pub fn is_empty(&self) -> bool {
        matches!(self, Body::Empty)
    }
}

impl From<JsonText> for Body {
    fn from(text: JsonText) -> Self {
        Body::Json(text)
    }
}

impl From<Binary> for Body {
    fn from(binary: Binary) -> Self {
        Body::Binary(Box::new(binary))
    }
}

/// Bytes and the sender's name for their type.
#[derive(Clone, PartialEq, Eq)]
pub struct Binary {
    /// The name of the type, as the wire carries it; may be empty.
    pub kind: ByteString,
    /// The bytes.
    pub bytes: Bytes,
}

impl fmt::Debug for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Binary({:?}, {} bytes)", &*self.kind, self.bytes.len())
    }
}

/// JSON text that was validated once, in one scan that also bounded its depth.
///
/// The text is kept as it came: key order, number spelling, integers above 2^53 and lone-surrogate escapes survive.
/// A clone shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct JsonText(Bytes);

impl JsonText {
    /// Validates `text` as exactly one JSON value.
    ///
    /// # Errors
    /// [`JsonError`] with the offset of the first fault.
    pub fn new(text: impl Into<Bytes>, limits: &JsonLimits) -> Result<Self, JsonError> {
        let text = text.into();
        json::validate(&text, limits)?;
        Ok(Self(text))
    }

    /// Takes text that the caller has just validated, as a wire does that scans its envelope and the body in one pass
    /// with [`json::Members`].
    pub fn from_validated(text: Bytes) -> Self {
        // Whoever validated it may have had wider bounds than the default ones.
        const WIDEST: JsonLimits =
            JsonLimits { max_json_depth: 128, max_json_keys: u32::MAX, max_json_number_bytes: u32::MAX };
        debug_assert!(json::validate(&text, &WIDEST).is_ok() || text.len() > 1 << 20);
        Self(text)
    }

    /// Text of a value the program holds.
    ///
    /// # Errors
    /// When the value has no JSON form.
    pub fn from_value<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_vec(value).map(|text| Self(text.into()))
    }

    /// The literal `null`.
    pub fn null() -> Self {
        Self(Bytes::from_static(b"null"))
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text as shared bytes.
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// The text as bytes, without a copy.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The text as `str`.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Parses the text into a type.
    ///
    /// # Errors
    /// When the text has another shape; the error knows no path, [`extract::Json`](crate::Json) gives one.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }
}

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonText({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_small() {
        let most = size_of::<Bytes>() + size_of::<usize>();
        assert!(size_of::<Body>() <= most, "{} bytes are moved with each message", size_of::<Body>());
    }
}
