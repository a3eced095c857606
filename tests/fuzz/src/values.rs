//! Bodies, routes and answers for the sessions under test, chosen by an input.

use bytes::Bytes;
use polywire_core::{Body, Code, Failure, JsonText, Limits, Meta, Response, Route};

use crate::choices::Choices;

/// JSON of one kind or another; of a piece of the input when that is JSON.
pub fn json(choices: &mut Choices<'_>) -> JsonText {
    const TEXTS: [&str; 13] = [
        "null",
        "{}",
        "[]",
        "0",
        "\"AQID\"",
        "{\"error\":{\"code\":\"not_found\"}}",
        "\"a<EOF>b\"",
        "{\"method\":\"m\",\"fname\":1}",
        "[ 1,\n\t2 ]",
        "\"\\ud800\"",
        "{\"type\":\"SockhopRequest\"}",
        "{\"data\":null,\"type\":\"SockhopPong\"}",
        "{\"constructor\":null}",
    ];
    match choices.byte() {
        0xff => {
            let text = JsonText::new(choices.piece().to_vec(), &Limits::default().json);
            text.unwrap_or_else(|_| JsonText::null())
        }
        which => {
            let text = TEXTS[usize::from(which) % TEXTS.len()];
            JsonText::from_validated(Bytes::from_static(text.as_bytes()))
        }
    }
}

/// Any body.
pub fn body(choices: &mut Choices<'_>) -> Body {
    match choices.byte() % 4 {
        0 => Body::Empty,
        1 | 2 => json(choices).into(),
        _ => Body::binary(text(choices), choices.piece().to_vec()),
    }
}

/// Any route: names that mean something to a wire, and any other.
pub fn route(choices: &mut Choices<'_>) -> Route {
    const NAMES: [&str; 10] = [
        "Object",
        "Buffer",
        "String",
        "",
        "Widget",
        "SockhopPing",
        "SockhopHandshake",
        "Error",
        "serverquit",
        "a\"<EOF>\\",
    ];
    match choices.byte() {
        0xff => Route::new(text(choices)).unwrap_or(Route::from_static("long")),
        which => Route::from_static(NAMES[usize::from(which) % NAMES.len()]),
    }
}

/// Any answer of a handler; `fact` is the name of a fact it may have.
pub fn result(choices: &mut Choices<'_>, fact: &'static str) -> Result<Response, Failure> {
    if choices.flag() {
        let failure = Failure::new(choices.one_of(&Code::ALL), text(choices));
        return Err(if choices.flag() { failure.with_detail(json(choices)) } else { failure });
    }
    let meta = match choices.byte() {
        0 => Meta::default().with(fact, text(choices)),
        _ => Meta::default(),
    };
    Ok(Response { body: body(choices), meta })
}

fn text(choices: &mut Choices<'_>) -> String {
    String::from_utf8_lossy(choices.piece()).into_owned()
}
