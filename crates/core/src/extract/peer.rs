//! Who sent the message.

use std::convert::Infallible;

use crate::credentials::Identity;
use crate::failure::{Code, Failure};
use crate::handler::Incoming;
use crate::peer::Peer;

use super::FromIncomingRef;

impl<S> FromIncomingRef<S> for Peer {
    type Rejection = Infallible;

    fn from_incoming_ref(incoming: &Incoming, _state: &S) -> Result<Self, Infallible> {
        Ok(incoming.peer.clone())
    }
}

/// Nobody is logged in, and the handler wants somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this route needs a login")]
pub struct IdentityRejection(());

impl From<IdentityRejection> for Failure {
    fn from(rejection: IdentityRejection) -> Self {
        Failure::new(Code::Unauthenticated, rejection.to_string())
    }
}

/// Whoever asks, guests included; refused with `unauthenticated` where nobody has logged in.
impl<S> FromIncomingRef<S> for Identity {
    type Rejection = IdentityRejection;

    fn from_incoming_ref(incoming: &Incoming, _state: &S) -> Result<Self, IdentityRejection> {
        incoming.identity().ok_or(IdentityRejection(()))
    }
}

/// Whoever asks, if anybody has logged in.
impl<S> FromIncomingRef<S> for Option<Identity> {
    type Rejection = Infallible;

    fn from_incoming_ref(incoming: &Incoming, _state: &S) -> Result<Self, Infallible> {
        Ok(incoming.identity())
    }
}
