//! Signs of life while a request is being worked on.

use std::convert::Infallible;

use crate::body::Body;
use crate::handler::{Incoming, Kind, RunId};
use crate::peer::Peer;

use super::FromIncomingRef;

/// Tells the caller of this request how far it is. A clone reports on the same request.
#[derive(Clone, Debug)]
pub struct Progress {
    peer: Peer,
    run: Option<RunId>,
}

impl Progress {
    /// Reports. Dropped and counted where the wire cannot carry it or the request has ended; events have no progress.
    pub fn send(&self, body: impl Into<Body>) {
        if let Some(run) = self.run {
            self.peer.progress(run, body.into());
        }
    }
}

impl<S> FromIncomingRef<S> for Progress {
    type Rejection = Infallible;

    fn from_incoming_ref(incoming: &Incoming, _state: &S) -> Result<Self, Infallible> {
        let run = (incoming.kind == Kind::Request).then_some(incoming.run);
        Ok(Self { peer: incoming.peer.clone(), run })
    }
}
