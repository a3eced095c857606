//! What becomes of a body between two wires: nothing, wherever both can carry it.
//!
//! JSON text crosses byte for byte. Bytes onto a wire without bytes are refused, or with `binary = "base64"` travel as
//! `{"$bytes":{"type":"T","b64":"…"}}` and become bytes again where the next wire has them; an object of the user with the one
//! member `$bytes` travels as `$$bytes` then, and so on, so that both survive the way there and back. Sizes are checked before
//! anything is encoded.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::{Bytes, BytesMut};
use polywire_core::{
    Binary, BinaryForm, Body, ByteString, Capabilities, Code, Failure, JsonLimits, JsonText, Retry, json,
};

/// What the wrapper around base64 adds to it, besides the name of the type.
const WRAPPER_BYTES: usize = 64;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What one route does to bodies, there and back.
#[derive(Clone, Debug)]
pub(crate) struct Conversion {
    there: Bytewise,
    back: Bytewise,
    max_there: usize,
    max_back: usize,
    objects_only: bool,
    /// An answer without a body goes back as `null`.
    null_for_nothing: bool,
    /// `{"member":`, to put in front of a body that is no object.
    wrap: Option<Bytes>,
}

/// What becomes of bytes in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bytewise {
    /// They stay what they are.
    Pass,
    /// The wire they go to has none, and nobody asked for text instead.
    Refuse,
    /// They become text.
    Encode,
    /// Text that was bytes becomes bytes again.
    Decode,
}

impl Bytewise {
    fn between(from: BinaryForm, to: BinaryForm, base64: bool) -> Self {
        match (from == BinaryForm::None, to == BinaryForm::None) {
            (true, true) => Bytewise::Pass,
            (false, true) if base64 => Bytewise::Encode,
            (false, true) => Bytewise::Refuse,
            (true, false) if base64 => Bytewise::Decode,
            _ => Bytewise::Pass,
        }
    }
}

impl Conversion {
    /// The conversion between two wires. `wrap` is the member that a body which is no object travels as.
    pub(crate) fn new(
        ingress: &Capabilities,
        egress: &Capabilities,
        base64: bool,
        wrap: Option<&str>,
    ) -> Self {
        let wrap = wrap.map(|member| {
            let mut text = BytesMut::from("{");
            json::write_string(&mut text, member);
            text.extend_from_slice(b":");
            text.freeze()
        });
        Self {
            there: Bytewise::between(ingress.binary, egress.binary, base64),
            back: Bytewise::between(egress.binary, ingress.binary, base64),
            max_there: egress.max_body_bytes,
            max_back: ingress.max_body_bytes,
            objects_only: egress.object_arguments,
            null_for_nothing: false,
            wrap,
        }
    }

    /// The same with `null` going back where an answer has no body, if so.
    pub(crate) fn with_null_for_nothing(mut self, so: bool) -> Self {
        self.null_for_nothing = so;
        self
    }

    /// Is there a wrapper for bodies that are no objects?
    pub(crate) fn wraps(&self) -> bool {
        self.wrap.is_some()
    }

    /// Do bytes become text where they have to?
    pub(crate) fn encodes(&self) -> bool {
        self.there == Bytewise::Encode || self.back == Bytewise::Encode
    }

    /// The body as it goes on.
    ///
    /// # Errors
    /// A failure that names the setting in the way; nothing was sent then.
    pub(crate) fn there(&self, body: Body) -> Result<Body, Failure> {
        if self.there == Bytewise::Pass && !self.objects_only && self.wrap.is_none() {
            return check_size(body.len(), self.max_there).map(|()| body);
        }
        let is_object = match &body {
            Body::Empty => true,
            Body::Json(text) => first_byte(text.as_bytes()) == Some(b'{'),
            Body::Binary(_) => false,
        };
        if self.objects_only && self.wrap.is_none() && !is_object && matches!(body, Body::Json(_)) {
            return Err(Failure::new(
                Code::InvalidArgument,
                "the wire this goes to takes objects only; set wrap = \"value\" on the route of the bridge",
            ));
        }
        let body = convert(self.there, body, self.max_there)?;
        match (&self.wrap, body) {
            (Some(wrap), Body::Json(text)) if !is_object => {
                check_size(
                    text.as_bytes().len().saturating_add(wrap.len()).saturating_add(1),
                    self.max_there,
                )?;
                let text = [&wrap[..], text.as_bytes(), b"}"].concat();
                match JsonText::new(text, &JsonLimits::default()) {
                    Ok(text) => Ok(Body::Json(text)),
                    Err(error) => Err(Failure::new(Code::InvalidArgument, format!("wrapped body: {error}"))),
                }
            }
            (_, body) => Ok(body),
        }
    }

    /// The body of an answer as it goes back.
    ///
    /// # Errors
    /// A failure that names the setting in the way; the call itself has been answered.
    pub(crate) fn back(&self, body: Body) -> Result<Body, Failure> {
        match body {
            Body::Empty if self.null_for_nothing => Ok(Body::null()),
            body => convert(self.back, body, self.max_back),
        }
    }
}

fn convert(bytewise: Bytewise, body: Body, max: usize) -> Result<Body, Failure> {
    match (bytewise, body) {
        (Bytewise::Refuse, Body::Binary(_)) => Err(Failure::new(
            Code::Unimplemented,
            "the wire this goes to has no bytes; set binary = \"base64\" on the route of the bridge",
        )),
        (Bytewise::Encode, Body::Binary(binary)) => encode(&binary, max),
        (Bytewise::Encode, Body::Json(text)) => {
            let text = escape(text);
            check_size(text.as_bytes().len(), max)?;
            Ok(Body::Json(text))
        }
        (Bytewise::Decode, Body::Json(text)) => {
            let body = decode(text)?;
            check_size(body.len(), max)?;
            Ok(body)
        }
        (_, body) => {
            check_size(body.len(), max)?;
            Ok(body)
        }
    }
}

fn check_size(bytes: usize, max: usize) -> Result<(), Failure> {
    if bytes <= max {
        return Ok(());
    }
    let text = format!("body of {bytes} bytes exceeds max_body_bytes = {max} of the wire it goes to");
    Err(Failure::new(Code::ResourceExhausted, text).with_retry(Retry::Never))
}

fn encode(binary: &Binary, max: usize) -> Result<Body, Failure> {
    let Binary { kind, bytes, .. } = binary;
    let encoded = bytes.len().div_ceil(3).saturating_mul(4);
    let size = encoded.saturating_add(WRAPPER_BYTES).saturating_add(kind.len());
    if size > max {
        let text = format!(
            "{} bytes become {size} as base64, which exceeds max_body_bytes = {max} of the wire they go to",
            bytes.len()
        );
        return Err(Failure::new(Code::ResourceExhausted, text).with_retry(Retry::Never));
    }
    let mut text = BytesMut::with_capacity(size);
    text.extend_from_slice(b"{\"$bytes\":{\"type\":");
    json::write_string(&mut text, kind);
    text.extend_from_slice(b",\"b64\":\"");
    let start = text.len();
    text.resize(start.saturating_add(encoded), 0);
    let room = text.get_mut(start..).unwrap_or_default();
    let written = BASE64.encode_slice(bytes, room).map_err(|_| Failure::new(Code::Internal, "base64"))?;
    text.truncate(start.saturating_add(written));
    text.extend_from_slice(b"\"}}");
    Ok(Body::Json(JsonText::from_validated(text.freeze())))
}

/// An object of the user that looks like bytes gets one more `$`.
fn escape(text: JsonText) -> JsonText {
    match marked(text.as_bytes()) {
        Some(Marked { dollars, value }) => remark(dollars.saturating_add(1), value),
        None => text,
    }
}

fn decode(text: JsonText) -> Result<Body, Failure> {
    match marked(text.as_bytes()) {
        Some(Marked { dollars: 1, value }) => match unwrap(value) {
            Some((kind, Some(bytes))) => Ok(Body::binary(kind, bytes)),
            Some((_, None)) => Err(Failure::new(Code::InvalidArgument, "the text in $bytes is no base64")),
            None => Ok(Body::Json(text)),
        },
        Some(Marked { dollars, value }) => Ok(Body::Json(remark(dollars.saturating_sub(1), value))),
        None => Ok(Body::Json(text)),
    }
}

/// An object whose one member is called `$bytes`, with one `$` or more.
struct Marked<'a> {
    dollars: usize,
    value: &'a [u8],
}

fn marked(text: &[u8]) -> Option<Marked<'_>> {
    // Nearly every body is told apart by its first three characters.
    let mut significant = text.iter().filter(|byte| !byte.is_ascii_whitespace());
    if significant.next() != Some(&b'{') || significant.next() != Some(&b'"') {
        return None;
    }
    if !matches!(significant.next(), Some(b'$' | b'\\')) {
        return None;
    }
    let limits = JsonLimits::default();
    let mut members = json::Members::new(text, &limits).ok()?;
    let (key, value) = members.next().ok()??;
    let name = key.decode()?;
    let dollars = name.strip_suffix("bytes")?;
    if dollars.is_empty() || dollars.bytes().any(|byte| byte != b'$') || members.next().ok()?.is_some() {
        return None;
    }
    Some(Marked { dollars: dollars.len(), value: text.get(value)? })
}

fn remark(dollars: usize, value: &[u8]) -> JsonText {
    let mut text = BytesMut::with_capacity(value.len().saturating_add(dollars).saturating_add(16));
    text.extend_from_slice(b"{\"");
    text.resize(text.len().saturating_add(dollars), b'$');
    text.extend_from_slice(b"bytes\":");
    text.extend_from_slice(value);
    text.extend_from_slice(b"}");
    JsonText::from_validated(text.freeze())
}

/// Type and bytes of a wrapper; `None` when it is another object, no bytes when they are no base64.
fn unwrap(value: &[u8]) -> Option<(ByteString, Option<Vec<u8>>)> {
    let limits = JsonLimits::default();
    let mut members = json::Members::new(value, &limits).ok()?;
    let (mut kind, mut bytes) = (None, None);
    while let Some((key, at)) = members.next().ok()? {
        let text = json::as_string(value.get(at)?)?;
        match key.decode()?.as_ref() {
            "type" => kind = Some(ByteString::from(text.into_owned())),
            "b64" => bytes = Some(BASE64.decode(text.as_bytes()).ok()),
            _ => return None,
        }
    }
    Some((kind?, bytes?))
}

fn first_byte(text: &[u8]) -> Option<u8> {
    text.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use polywire_core::{Correlation, Errors, ProgressForm};
    use polywire_size::cases;
    use proptest::prelude::*;

    fn wire(binary: BinaryForm) -> Capabilities {
        Capabilities {
            correlation: Correlation::Id,
            max_concurrent_calls: 1,
            server_calls: true,
            client_events: true,
            push: true,
            errors: Errors::Codes,
            binary,
            progress: ProgressForm::None,
            cancel: false,
            order: true,
            login: false,
            object_arguments: false,
            empty_body: true,
            max_route_bytes: 255,
            max_body_bytes: 1_000,
        }
    }

    fn json(text: &str) -> Body {
        Body::Json(JsonText::new(text.to_owned(), &JsonLimits::default()).unwrap())
    }

    fn onto_json() -> Conversion {
        Conversion::new(&wire(BinaryForm::Typed), &wire(BinaryForm::None), true, None)
    }

    #[test]
    fn json_between_wires_that_are_alike_is_never_looked_at() {
        for form in [BinaryForm::None, BinaryForm::Typed] {
            let alike = Conversion::new(&wire(form), &wire(form), true, None);
            let body = json(r#" {"$bytes": {"type":"T","b64":"AQ=="} } "#);
            assert_eq!(alike.there(body.clone()), Ok(body.clone()));
            assert_eq!(alike.back(body.clone()), Ok(body));
        }
    }

    #[test]
    fn text_that_only_looks_like_bytes_stays_text_and_spoilt_base64_is_told() {
        let conversion = onto_json();
        for text in [
            r#"{"$bytes":{"type":"T"}}"#,
            r#"{"$bytes":{"type":1,"b64":"AQ=="}}"#,
            r#"{"$bytes":{"type":"T","b64":"AQ==","more":1}}"#,
            r#"{"$bytes":{"type":"T","b64":"AQ=="},"more":1}"#,
            r#"{"bytes":1}"#,
            r#"{"$byte":1}"#,
            r#""$bytes""#,
        ] {
            assert_eq!(conversion.back(json(text)), Ok(json(text)), "{text}");
        }
        let spoilt = conversion.back(json(r#"{"$bytes":{"type":"T","b64":"A*=="}}"#)).unwrap_err();
        assert_eq!(spoilt.code, Code::InvalidArgument);
        let escaped = conversion.there(json(r#"{"\u0024bytes" : 1}"#));
        assert_eq!(escaped, Ok(json(r#"{"$$bytes":1}"#)));
    }

    #[test]
    fn b09_sizes_are_checked_before_anything_is_encoded() {
        let conversion = onto_json();
        let largest = (1_000 - WRAPPER_BYTES - 1) / 4 * 3;
        assert!(conversion.there(Body::binary("T", vec![0; largest])).is_ok());
        let failure = conversion.there(Body::binary("T", vec![0; largest + 1])).unwrap_err();
        assert_eq!((failure.code, failure.retry), (Code::ResourceExhausted, Retry::Never));
        assert!(failure.message.contains("max_body_bytes = 1000"), "{}", failure.message);
    }

    proptest! {
        #![proptest_config(cases::<256>())]

        #[test]
        fn any_body_survives_the_way_there_and_back(
            kind in "[a-z$\"\\\\]{0,5}",
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
            dollars in "\\${0,3}",
            value in "[0-9]{1,3}",
        ) {
            let bodies = [
                Body::Empty,
                Body::null(),
                Body::binary(kind, bytes),
                json(&format!("{{\"{dollars}bytes\":0.{value}}}")),
                json(&format!("[{{\"{dollars}bytes\":{{}}}}]")),
            ];
            for body in bodies {
                let crossing = onto_json().there(body.clone()).unwrap();
                prop_assert!(!matches!(crossing, Body::Binary(_)));
                prop_assert_eq!(onto_json().back(crossing).unwrap(), body);
            }
        }
    }
}
