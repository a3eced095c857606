//! The application data inside an envelope: carried, not understood.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::json::{self, JsonError, JsonLimits};
use crate::part::Part;

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
        Binary::new(kind, bytes.into()).into()
    }

    /// Length of the data in bytes.
    pub fn len(&self) -> usize {
        match self {
            Body::Empty => 0,
            Body::Json(text) => text.as_bytes().len(),
            Body::Binary(binary) => binary.bytes.len().saturating_add(binary.kind.len()),
        }
    }

    /// How much memory the data keep, in bytes: a slice keeps the whole buffer that it is a part of, anything else its own length.
    /// Limits of memory count this.
    pub fn pins(&self) -> usize {
        match self {
            Body::Empty => 0,
            Body::Json(text) => text.pins(),
            Body::Binary(binary) => binary.pins.max(binary.bytes.len()).saturating_add(binary.kind.len()),
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
#[derive(Clone)]
pub struct Binary {
    /// The name of the type, as the wire carries it; may be empty.
    pub kind: ByteString,
    /// The bytes. Whoever puts others in their place leaves what they count for as it is, unless they are longer.
    pub bytes: Bytes,
    /// Memory that they keep.
    pins: usize,
}

impl Binary {
    /// Bytes, or a part of a frame, with a type name.
    pub fn new(kind: impl Into<ByteString>, bytes: impl Into<Part>) -> Self {
        let Part { bytes, pins } = bytes.into();
        Self { kind: kind.into(), bytes, pins }
    }
}

/// The same bytes of the same type, wherever they lie.
impl PartialEq for Binary {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.bytes == other.bytes
    }
}

impl Eq for Binary {}

impl fmt::Debug for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Binary({:?}, {} bytes)", &*self.kind, self.bytes.len())
    }
}

/// JSON text that was validated once, in one scan that also bounded its depth.
///
/// The text is kept as it came: key order, number spelling, integers above 2^53 and lone-surrogate escapes survive.
/// A clone shares the bytes.
#[derive(Clone)]
pub struct JsonText(Text);

#[derive(Clone)]
enum Text {
    /// It keeps what it is long.
    Own(Bytes),
    /// It keeps more. Boxed: only large texts are.
    Slice(Box<Part>),
}

impl JsonText {
    /// Validates `text` as exactly one JSON value.
    ///
    /// # Errors
    /// [`JsonError`] with the offset of the first fault.
    pub fn new(text: impl Into<Bytes>, limits: &JsonLimits) -> Result<Self, JsonError> {
        let text = text.into();
        json::validate(&text, limits)?;
        Ok(Self(Text::Own(text)))
    }

    /// Takes text that the caller has just validated, as a wire does that scans its envelope and the body in one pass
    /// with [`json::Members`].
    pub fn from_validated(text: Bytes) -> Self {
        Self::from_part(text.into())
    }

    /// The same of a part of a frame.
    pub fn from_part(part: Part) -> Self {
        // Whoever validated it may have had wider bounds than the default ones.
        const WIDEST: JsonLimits =
            JsonLimits { max_json_depth: 128, max_json_keys: u32::MAX, max_json_number_bytes: u32::MAX };
        debug_assert!(json::validate(&part.bytes, &WIDEST).is_ok() || part.bytes.len() > 1 << 20);
        let keeps_more = part.pins > part.bytes.len();
        Self(if keeps_more { Text::Slice(Box::new(part)) } else { Text::Own(part.bytes) })
    }

    /// Text of a value the program holds.
    ///
    /// # Errors
    /// When the value has no JSON form.
    pub fn from_value<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_vec(value).map(|text| Self(Text::Own(text.into())))
    }

    /// The literal `null`.
    pub fn null() -> Self {
        Self(Text::Own(Bytes::from_static(b"null")))
    }

    fn bytes(&self) -> &Bytes {
        match &self.0 {
            Text::Own(bytes) => bytes,
            Text::Slice(part) => &part.bytes,
        }
    }

    /// How much memory the text keeps, in bytes; see [`Body::pins`].
    pub fn pins(&self) -> usize {
        match &self.0 {
            Text::Own(bytes) => bytes.len(),
            Text::Slice(part) => part.pins,
        }
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes()
    }

    /// The text as shared bytes.
    pub fn to_bytes(&self) -> Bytes {
        self.bytes().clone()
    }

    /// The text as bytes, without a copy.
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Text::Own(bytes) => bytes,
            Text::Slice(part) => part.bytes,
        }
    }

    /// The text as `str`.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.bytes()).unwrap_or_default()
    }

    /// Parses the text into a type.
    ///
    /// # Errors
    /// When the text has another shape; the error knows no path, [`extract::Json`](crate::Json) gives one.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.bytes())
    }
}

/// The same text, wherever it lies.
impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for JsonText {}

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonText({} bytes)", self.bytes().len())
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

    #[test]
    fn a_body_counts_for_what_it_keeps() {
        let frame = Bytes::from(format!("\"{}\"", "x".repeat(4 << 10)));
        let slice = || Part::of(&frame, &frame, 16 << 10);
        let text = Body::Json(JsonText::from_part(slice()));
        assert_eq!((text.len(), text.pins()), (frame.len(), 16 << 10));
        let bytes = Body::from(Binary::new("Blob", slice()));
        assert_eq!((bytes.len(), bytes.pins()), (frame.len() + 4, (16 << 10) + 4));
        let own = Body::Json(JsonText::from_validated(frame.clone()));
        assert_eq!((own.pins(), &own), (frame.len(), &text), "the same text, wherever it lies");
        assert_eq!((Body::null().pins(), Body::Empty.pins()), (4, 0));
    }
}
