//! Arguments to bodies and back.
//!
//! | arguments | body |
//! |---|---|
//! | none | empty |
//! | one, without bytes | that JSON value |
//! | one attachment alone | bytes without a type name |
//! | `{"type":"T","data":<attachment>}` | bytes of type `T` |
//! | several | their JSON array, with the fact [`SEVERAL`] |
//! | attachments anywhere else | the JSON with `{"_placeholder":true,"num":0}` in their places, the bytes beside it in the [`Meta`] |
//!
//! Lost on the way back: the name of a type on an attachment alone is the empty one.

use bytes::{BufMut, Bytes, BytesMut};
use polywire_core::json::{self, Members};
use polywire_core::{Body, ByteString, Code, Failure, JsonLimits, JsonText, Meta, Part, Route};

use crate::args::Args;
use crate::config::Arguments;
use crate::placeholder::places;

/// The fact that a body, a JSON array, stands for several arguments; set it to send them so.
pub const SEVERAL: &str = "socketio.arguments";

/// The body in the arguments from element `from` on, 0 or 1; their text lies in a buffer of `pins` bytes.
pub(crate) fn body_of(
    args: Args,
    from: usize,
    pins: usize,
    form: Arguments,
    limits: &JsonLimits,
) -> (Body, Meta) {
    let count = args.len().saturating_sub(from);
    let list = form == Arguments::List;
    let single = args.place(from).filter(|_| count == 1);
    let first = args.place(from);
    let (text, attachments) = args.into_parts();
    let json = match (single, first) {
        (Some(place), _) if !list => {
            if let Some(body) = bytes_alone(&text, place.clone(), &attachments, limits) {
                return (body, Meta::default());
            }
            Part::of(&text, text.get(place).unwrap_or_default(), pins)
        }
        (_, None) if !list => return (Body::Empty, Meta::default()),
        _ if from == 0 => Part::of(&text, &text, pins),
        (_, None) => Bytes::from_static(b"[]").into(),
        (_, Some(place)) => {
            let mut rest = BytesMut::with_capacity(text.len());
            rest.put_u8(b'[');
            rest.put_slice(text.get(place.start..).unwrap_or_default());
            rest.freeze().into()
        }
    };
    let mut meta = Meta::default();
    if count > 1 && !list {
        meta.set(SEVERAL, ByteString::from(count.to_string()));
    }
    (Body::Json(JsonText::from_part(json)), meta.with_attachments(attachments))
}

/// The body of one argument that is an attachment, or an attachment with the name of its type.
fn bytes_alone(
    text: &Bytes,
    place: std::ops::Range<usize>,
    attachments: &[Bytes],
    limits: &JsonLimits,
) -> Option<Body> {
    let [bytes] = attachments else { return None };
    let argument = text.get(place)?;
    let found = places(argument, limits);
    let [only] = &found[..] else { return None };
    if only.at == (0..argument.len()) {
        return Some(Body::binary("", bytes.clone()));
    }
    let (mut kind, mut data, mut others) = (None, false, false);
    let mut walk = Members::new(argument, limits).ok()?;
    while let Some((key, place)) = walk.next().ok()? {
        if key.is("type") && kind.is_none() {
            kind = Some(json::as_string(argument.get(place)?)?.into_owned());
        } else if key.is("data") && place == only.at {
            data = true;
        } else {
            others = true;
        }
    }
    let kind = kind.filter(|_| data && !others)?;
    Some(Body::binary(kind, bytes.clone()))
}

/// Can this body be sent with these facts?
///
/// # Errors
/// [`Failure`] naming what the wire cannot hold.
pub(crate) fn check(body: &Body, meta: &Meta, form: Arguments, limits: &JsonLimits) -> Result<(), Failure> {
    let refuse = |why: String| Err(Failure::new(Code::InvalidArgument, why));
    if let Body::Json(value) = body
        && stands_for_several(meta, form)
        && inside(value).is_none()
    {
        return refuse("a body that stands for several arguments is a JSON array".to_owned());
    }
    let count = meta.attachments().len();
    if count == 0 {
        return Ok(());
    }
    // In order, because a server on socketioxide hands attachments out as their places occur.
    let in_order = match body {
        Body::Json(value) => {
            let mut found = places(value.as_bytes(), limits);
            found.sort_by_key(|place| place.at.start);
            found.iter().map(|place| place.number).eq((0..count).map(Some))
        }
        Body::Empty | Body::Binary(_) => false,
    };
    if in_order {
        return Ok(());
    }
    refuse(format!("{count} attachments need as many placeholders in the JSON, numbered in order from 0"))
}

fn stands_for_several(meta: &Meta, form: Arguments) -> bool {
    form == Arguments::List || meta.get(SEVERAL).is_some()
}

/// What is between the brackets of an array.
fn inside(value: &JsonText) -> Option<&[u8]> {
    value.as_bytes().trim_ascii().strip_prefix(b"[")?.strip_suffix(b"]")
}

/// The arguments that carry `body`, behind the name of an event where there is one; it has passed [`check`].
pub(crate) fn args_of(name: Option<&Route>, body: Body, meta: &Meta, form: Arguments) -> Args {
    let mut text = BytesMut::with_capacity(body.len() + 64);
    text.put_u8(b'[');
    if let Some(name) = name {
        json::write_string(&mut text, name);
    }
    let mut attachments = Vec::new();
    match body {
        Body::Empty => {}
        Body::Json(value) => {
            let several = inside(&value).filter(|_| stands_for_several(meta, form));
            let arguments = several.unwrap_or(value.as_bytes());
            comma(&mut text, !arguments.trim_ascii().is_empty());
            text.put_slice(arguments);
            attachments = meta.attachments().to_vec();
        }
        Body::Binary(binary) => {
            comma(&mut text, true);
            let typed = !binary.kind.is_empty();
            if typed {
                text.put_slice(b"{\"type\":");
                json::write_string(&mut text, &binary.kind);
                text.put_slice(b",\"data\":");
            }
            text.put_slice(b"{\"_placeholder\":true,\"num\":0}");
            if typed {
                text.put_u8(b'}');
            }
            attachments.push(binary.bytes);
        }
    }
    text.put_u8(b']');
    Args::written(text.freeze(), attachments)
}

fn comma(text: &mut BytesMut, wanted: bool) {
    if wanted && text.len() > 1 {
        text.put_u8(b',');
    }
}
