//! A typed value from the JSON of the body, and the way back.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

use crate::body::{Body, JsonText};
use crate::failure::{Code, Failure};
use crate::handler::Incoming;

use super::{BodyRejection, FromIncoming};

/// A value of the program: as an argument it is read from the JSON of the body, as a result it is written.
///
/// A body that is empty or binary is refused, not read as `null`. A value that does not fit is refused with
/// `invalid_argument`, a message that names the bad field, and the detail `{"pointer": …, "reason": …}`.
///
/// ```
/// use polywire_core::{Body, Json, Router};
///
/// #[derive(serde::Deserialize)]
/// struct Signup {
///     user: User,
/// }
/// #[derive(serde::Deserialize)]
/// struct User {
///     age: u8,
/// }
/// async fn sign_up(Json(signup): Json<Signup>) -> Json<u8> {
///     Json(signup.user.age)
/// }
///
/// let router = Router::new().handle("signUp", sign_up).build()?;
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let body = Body::json(&serde_json::json!({"user": {"age": "old"}})).unwrap();
/// let refused = router.request("signUp", body).await.unwrap_err();
/// assert_eq!(refused.message, "at /user/age: invalid type: string \"old\", expected a whole number from 0 to 255");
/// # });
/// # Ok::<(), polywire_core::RegistryError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// Most bytes of a pointer or a reason that are repeated to the peer.
const MAX_TEXT_BYTES: usize = 256;
/// How serde begins where a word stands for a variant that has something in it.
const WORD_ALONE: &str = "invalid type: unit variant, ";

/// Why a body is not the value the handler takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonRejection {
    /// The body is not JSON.
    #[error(transparent)]
    Body(#[from] BodyRejection),
    /// The JSON has another shape.
    #[error("at {}: {reason}", if pointer.is_empty() { "the root" } else { pointer })]
    Shape {
        /// Where, as a JSON pointer (RFC 6901); empty is the whole body. At most 256 bytes and an ellipsis.
        pointer: String,
        /// What is wrong there. At most 256 bytes and an ellipsis.
        reason: String,
    },
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        #[derive(Serialize)]
        struct Detail<'a> {
            pointer: &'a str,
            reason: &'a str,
        }

        let failure = Failure::new(Code::InvalidArgument, rejection.to_string());
        match &rejection {
            JsonRejection::Body(_) => failure,
            JsonRejection::Shape { pointer, reason } => {
                match JsonText::from_value(&Detail { pointer, reason }) {
                    Ok(detail) => failure.with_detail(detail),
                    Err(_) => failure,
                }
            }
        }
    }
}

impl<S, T: DeserializeOwned> FromIncoming<S> for Json<T> {
    type Rejection = JsonRejection;

    fn from_incoming(incoming: Incoming, _state: &S) -> Result<Self, JsonRejection> {
        match &incoming.body {
            Body::Json(text) => parse(text).map(Self),
            other => Err(BodyRejection::new("JSON", other).into()),
        }
    }
}

fn parse<T: DeserializeOwned>(text: &JsonText) -> Result<T, JsonRejection> {
    let mut source = serde_json::Deserializer::from_slice(text.as_bytes());
    let value = serde_path_to_error::deserialize(&mut source).map_err(|error| {
        let mut pointer = pointer(error.path());
        let is_variant = matches!(error.path().iter().next_back(), Some(Segment::Enum { .. }));
        let error = error.into_inner();
        // The pointer says where; line and column of a text that its sender may never have seen as text do not help.
        let place = format!(" at line {} column {}", error.line(), error.column());
        let mut reason = error.to_string();
        reason.truncate(reason.strip_suffix(&place).map_or(reason.len(), str::len));
        // The path goes on to the variant, which is the word itself here and not within it.
        if is_variant && reason.starts_with(WORD_ALONE) {
            pointer.truncate(pointer.rfind('/').unwrap_or(0));
        }
        JsonRejection::Shape { pointer: shorten(pointer), reason: shorten(in_json(&reason)) }
    })?;
    // Where a number of 128 bits is all that is wanted, serde_json stops before a fraction.
    source.end().map_err(|_| JsonRejection::Shape {
        pointer: String::new(),
        reason: "expected a whole number".to_owned(),
    })?;
    Ok(value)
}

/// What serde says, in words of JSON: whoever sent the body knows nothing of the types of this program.
fn in_json(reason: &str) -> String {
    match reason {
        // The text is sound JSON, so what these say of its grammar is about its shape.
        "expected value" => return "expected a word, or an object with one member".to_owned(),
        "invalid number" | "expected `,` or `]`" | "expected `,` or `}`" => {
            return "expected a whole number".to_owned();
        }
        "trailing characters" => return "the array has more elements than are taken".to_owned(),
        _ if reason.starts_with(WORD_ALONE) => {
            return "expected an object with one member, not a word alone".to_owned();
        }
        _ if reason.starts_with("data did not match any variant of untagged enum") => {
            return "it has none of the shapes that are taken here".to_owned();
        }
        _ => {}
    }
    // What the peer sent stands before the last of these; what follows is ours.
    let Some((found, expected)) = reason.rsplit_once(", expected ") else { return reason.to_owned() };
    let kinds = [("map", "object"), ("sequence", "array"), ("floating point", "number")];
    let kind = kinds.iter().find_map(|(serde, json)| {
        let rest = found.strip_prefix("invalid type: ")?.strip_prefix(serde)?;
        Some(format!("invalid type: {json}{rest}"))
    });
    format!("{}, expected {}", kind.as_deref().unwrap_or(found), wanted(expected))
}

/// What serde expects, in words of JSON; words that it has from elsewhere stay.
fn wanted(expected: &str) -> Cow<'_, str> {
    const SHAPES: [(&str, &str); 6] = [
        ("struct ", "an object"),
        ("internally tagged enum ", "an object"),
        ("adjacently tagged enum ", "an object"),
        ("tuple ", "an array"),
        ("unit ", "null"),
        ("variant identifier", "a word"),
    ];
    let whole = |least: i64, most: u64| format!("a whole number from {least} to {most}").into();
    // Only of a tuple is the count told: a struct is taken from an array too, but nobody should have to count its members.
    if let Some((tuple, count)) = expected.rsplit_once(" with ")
        && tuple.starts_with("tuple ")
        && (count.ends_with(" element") || count.ends_with(" elements"))
    {
        return format!("an array of {count}").into();
    }
    if let Some(size) = expected.strip_prefix("a tuple of size ") {
        return format!("an array of {size} elements").into();
    }
    if let Some(kind) = expected.strip_prefix("a nonzero ") {
        return format!("{} other than 0", wanted(kind)).into();
    }
    match expected {
        "u8" => whole(0, u8::MAX.into()),
        "u16" => whole(0, u16::MAX.into()),
        "u32" => whole(0, u32::MAX.into()),
        "u64" | "usize" => whole(0, u64::MAX),
        "i8" => whole(i8::MIN.into(), i8::MAX as u64),
        "i16" => whole(i16::MIN.into(), i16::MAX as u64),
        "i32" => whole(i32::MIN.into(), i32::MAX as u64),
        "i64" | "isize" => whole(i64::MIN, i64::MAX as u64),
        "f32" | "f64" => "a number".into(),
        "a map" => "an object".into(),
        "a sequence" => "an array".into(),
        "unit" => "null".into(),
        "option" => "a value or null".into(),
        _ => match SHAPES.iter().find(|(serde, _)| expected.starts_with(serde)) {
            Some((_, json)) => (*json).into(),
            None => expected.into(),
        },
    }
}

fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            // Serde has buffered the value here, as it does for untagged enums: the way down is not known.
            Segment::Unknown => break,
        }
    }
    pointer
}

/// A peer chooses this text, so what is repeated of it is bounded.
fn shorten(mut text: String) -> String {
    if text.len() > MAX_TEXT_BYTES {
        let end = (0..=MAX_TEXT_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
