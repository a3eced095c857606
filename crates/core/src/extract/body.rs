//! The body as it came: any, JSON text, or bytes.

use std::convert::Infallible;

use crate::body::{Binary, Body, JsonText};
use crate::failure::{Code, Failure};
use crate::handler::Incoming;

use super::FromIncoming;

/// A body of another kind than the handler takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this route takes {wanted}, but the message carries {got}")]
pub struct BodyRejection {
    wanted: &'static str,
    got: &'static str,
}

impl BodyRejection {
    pub(super) fn new(wanted: &'static str, got: &Body) -> Self {
        let got = match got {
            Body::Empty => "no body",
            Body::Json(_) => "JSON",
            Body::Binary(_) => "bytes",
        };
        Self { wanted, got }
    }
}

impl From<BodyRejection> for Failure {
    fn from(rejection: BodyRejection) -> Self {
        Failure::new(Code::InvalidArgument, rejection.to_string())
    }
}

impl<S> FromIncoming<S> for Body {
    type Rejection = Infallible;

    fn from_incoming(incoming: Incoming, _state: &S) -> Result<Self, Infallible> {
        Ok(incoming.body)
    }
}

impl<S> FromIncoming<S> for JsonText {
    type Rejection = BodyRejection;

    fn from_incoming(incoming: Incoming, _state: &S) -> Result<Self, BodyRejection> {
        match incoming.body {
            Body::Json(text) => Ok(text),
            other => Err(BodyRejection::new("JSON", &other)),
        }
    }
}

impl<S> FromIncoming<S> for Binary {
    type Rejection = BodyRejection;

    fn from_incoming(incoming: Incoming, _state: &S) -> Result<Self, BodyRejection> {
        match incoming.body {
            Body::Binary(binary) => Ok(*binary),
            other => Err(BodyRejection::new("bytes", &other)),
        }
    }
}
