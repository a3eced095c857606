//! When the answer must be there.

use std::convert::Infallible;

use crate::envelope::Due;
use crate::handler::Incoming;
use crate::moment::Moment;

use super::FromIncomingRef;

/// When the answer must be there; `None` for events and for callers inside this program that set none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub Option<Moment>);

impl Deadline {
    /// The same moment for a call made on behalf of this one, or the default of whoever sends it.
    pub fn due(self) -> Due {
        self.0.map_or(Due::Default, Due::At)
    }
}

impl<S> FromIncomingRef<S> for Deadline {
    type Rejection = Infallible;

    fn from_incoming_ref(incoming: &Incoming, _state: &S) -> Result<Self, Infallible> {
        Ok(Self(incoming.deadline))
    }
}
