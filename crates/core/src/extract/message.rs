//! The message itself, its route and its metadata.

use std::convert::Infallible;

use crate::envelope::Meta;
use crate::handler::Incoming;
use crate::route::Route;

use super::{FromIncoming, FromIncomingRef};

impl<S> FromIncomingRef<S> for Route {
    type Rejection = Infallible;

    fn from_incoming_ref(incoming: &Incoming, _state: &S) -> Result<Self, Infallible> {
        Ok(incoming.route.clone())
    }
}

impl<S> FromIncomingRef<S> for Meta {
    type Rejection = Infallible;

    fn from_incoming_ref(incoming: &Incoming, _state: &S) -> Result<Self, Infallible> {
        Ok(incoming.meta.clone())
    }
}

impl<S> FromIncoming<S> for Incoming {
    type Rejection = Infallible;

    fn from_incoming(incoming: Incoming, _state: &S) -> Result<Self, Infallible> {
        Ok(incoming)
    }
}
