//! The bytes of a file in a host's answer, in any of the three forms in which hosts send them.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use polywire_core::{Body, JsonText, json};

use crate::message::member;

/// Padding may be missing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes: an attachment as it is, base64 text, or a Node.js buffer that went through JSON.
pub(super) fn bytes_of(data: Body) -> Option<Bytes> {
    match data {
        Body::Binary(binary) => Some(binary.bytes),
        Body::Json(text) => match json::as_string(text.as_bytes()) {
            Some(base64) => BASE64.decode(&*base64).ok().map(Bytes::from),
            None => buffer(&text),
        },
        Body::Empty => None,
    }
}

/// `{"type":"Buffer","data":[1,2,3]}`.
fn buffer(text: &JsonText) -> Option<Bytes> {
    let text = text.to_bytes();
    member(&text, "type").filter(|kind| kind.as_bytes() == b"\"Buffer\"")?;
    member(&text, "data")?.parse::<Vec<u8>>().ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use polywire_core::JsonLimits;

    use super::*;

    #[test]
    fn every_form_gives_the_same_bytes() {
        let json = |text: &str| Body::Json(JsonText::new(text.to_owned(), &JsonLimits::default()).unwrap());
        for same in
            [json("\"AAEC/w==\""), json("\"AAEC/w\""), json(r#"{"type":"Buffer","data":[0,1,2,255]}"#)]
        {
            assert_eq!(bytes_of(same).as_deref(), Some(&[0, 1, 2, 255][..]));
        }
        assert_eq!(bytes_of(Body::binary("", vec![1])).as_deref(), Some(&[1][..]));
        assert_eq!(bytes_of(json("\"\"")).as_deref(), Some(&[][..]));
        for wrong in
            ["\"A\"", "\"AA EC\"", "null", "7", r#"{"type":"Buffer","data":[256]}"#, r#"{"data":[1]}"#, "[1]"]
        {
            assert_eq!(bytes_of(json(wrong)), None, "{wrong}");
        }
    }
}
