//! What a handler may return.

use serde::Serialize;

use crate::body::{Binary, Body, JsonText};
use crate::envelope::Response;
use crate::extract::Json;
use crate::failure::{Code, Failure};
use crate::handler::Answer;

/// Something that a handler may return. What it becomes:
///
/// | type | body |
/// |---|---|
/// | `()` | none |
/// | [`Body`], [`JsonText`], [`Binary`], [`Response`] | as it is |
/// | [`Json<T>`] | JSON of the value |
/// | `String`, `&'static str` | a JSON string |
/// | [`Failure`] | the failure |
/// | `Result<T, E>` | that of `T`, or the failure that `E` converts to |
///
/// There is none for `Option`: whether nothing means `null`, no body or `not_found` is for the handler to say.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no answer",
    note = "a value that serialises is returned as `Json(value)`",
    note = "in a `Result`, the error must convert into a `Failure`"
)]
pub trait IntoAnswer {
    /// The answer.
    fn into_answer(self) -> Answer;
}

impl IntoAnswer for () {
    fn into_answer(self) -> Answer {
        Ok(Response::default())
    }
}

impl IntoAnswer for Response {
    fn into_answer(self) -> Answer {
        Ok(self)
    }
}

impl IntoAnswer for Body {
    fn into_answer(self) -> Answer {
        Ok(self.into())
    }
}

impl IntoAnswer for JsonText {
    fn into_answer(self) -> Answer {
        Ok(self.into())
    }
}

impl IntoAnswer for Binary {
    fn into_answer(self) -> Answer {
        Ok(self.into())
    }
}

impl<T: Serialize> IntoAnswer for Json<T> {
    fn into_answer(self) -> Answer {
        json(&self.0)
    }
}

impl IntoAnswer for String {
    fn into_answer(self) -> Answer {
        json(&self)
    }
}

impl IntoAnswer for &'static str {
    fn into_answer(self) -> Answer {
        json(self)
    }
}

impl IntoAnswer for Failure {
    fn into_answer(self) -> Answer {
        Err(self)
    }
}

impl<T: IntoAnswer, E: Into<Failure>> IntoAnswer for Result<T, E> {
    fn into_answer(self) -> Answer {
        self.map_err(Into::into)?.into_answer()
    }
}

fn json<T: Serialize + ?Sized>(value: &T) -> Answer {
    match JsonText::from_value(value) {
        Ok(text) => text.into_answer(),
        Err(error) => {
            tracing::error!(%error, "the value a handler returned has no JSON form");
            Err(Failure::new(Code::Internal, "the answer could not be written as JSON"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn body(value: impl IntoAnswer) -> Body {
        value.into_answer().unwrap().body
    }

    #[test]
    fn each_kind_of_result_becomes_its_body() {
        assert_eq!(body(()), Body::Empty);
        assert_eq!(body(Body::null()), Body::null());
        assert_eq!(body(JsonText::null()), Body::null());
        assert_eq!(body(Json([1, 2])), Body::json(&[1, 2]).unwrap());
        assert_eq!(body(Json(None::<u8>)), Body::null());
        assert_eq!(body("a\"b"), Body::json("a\"b").unwrap());
        assert_eq!(body(String::new()), Body::json("").unwrap());
        let Body::Binary(binary) = Body::binary("png", "bytes") else { panic!("binary is binary") };
        assert_eq!(body(Binary::clone(&binary)), Body::Binary(binary));
        assert_eq!(body(Response::from(Body::null())), Body::null());
    }

    #[test]
    fn a_result_is_its_value_or_the_failure_its_error_converts_to() {
        assert_eq!(body(Ok::<_, Failure>("fine")), Body::json("fine").unwrap());
        let refused = Err::<(), _>(crate::Refusal::new("who are you")).into_answer().unwrap_err();
        assert_eq!((refused.code, &*refused.message), (Code::Unauthenticated, "login refused: who are you"));
        let failure = Failure::new(Code::Unknown, "no");
        assert_eq!(failure.clone().into_answer(), Err(failure));
    }

    #[test]
    fn a_value_without_json_form_is_an_internal_failure_that_says_nothing_of_it() {
        let secret = HashMap::from([(vec![1], "secret")]);
        let failure = Json(secret).into_answer().unwrap_err();
        assert_eq!(failure, Failure::new(Code::Internal, "the answer could not be written as JSON"));
    }
}
