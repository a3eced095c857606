//! The other end of a connection, as a handler sees it.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::body::Body;
use crate::caller::Caller;
use crate::capability::Capabilities;
use crate::credentials::Identity;
use crate::envelope::{Event, Request};
use crate::failure::{CallError, Code, Outcome};
use crate::handler::RunId;
use crate::session::Close;

/// A handle on one peer: call it, tell it something, know who it is, keep data with it, close it.
///
/// A clone is the same peer. It does not keep the connection alive; after the connection has ended calls are `NotSent`.
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

struct Inner {
    id: u64,
    wire: &'static str,
    address: Option<Box<str>>,
    identity: OnceLock<Box<Identity>>,
    found: Mutex<Option<Box<Capabilities>>>,
    data: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
    caller: Option<Caller>,
}

impl Peer {
    pub(crate) fn new(
        id: u64,
        wire: &'static str,
        address: Option<Box<str>>,
        caller: Option<Caller>,
    ) -> Self {
        Self(Arc::new(Inner {
            id,
            wire,
            address,
            identity: OnceLock::new(),
            found: Mutex::new(None),
            data: Mutex::new(None),
            caller,
        }))
    }

    /// A peer inside this program, for calling a router in memory. It cannot be called back.
    pub fn in_memory() -> Self {
        Self::new(0, "memory", None, None)
    }

    /// The number of its connection in this process; 0 inside this program.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The wire it speaks, by its adapter's name.
    pub fn wire(&self) -> &'static str {
        self.0.wire
    }

    /// Its address, where the transport has one.
    pub fn address(&self) -> Option<&str> {
        self.0.address.as_deref()
    }

    /// Who logged in on this connection.
    pub fn identity(&self) -> Option<Identity> {
        self.0.identity.get().map(|identity| Identity::clone(identity))
    }

    pub(crate) fn identify(&self, identity: Identity) {
        // The first login of a connection names it; a wire whose identity changes says so with each message.
        let _ = self.0.identity.set(Box::new(identity));
    }

    /// What this connection can carry, as it was found out with this peer; [`Observe::found`](crate::Observe::found) hears of it.
    ///
    /// `None` until then, and always on a wire where its adapter's declaration holds for every peer.
    pub fn capabilities(&self) -> Option<Capabilities> {
        self.0.found.lock().unwrap_or_else(PoisonError::into_inner).as_deref().copied()
    }

    pub(crate) fn find(&self, capabilities: Capabilities) {
        *self.0.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(capabilities));
    }

    /// Keeps `data` with this peer, in place of what was kept before.
    pub fn set_data<T: Any + Send + Sync>(&self, data: T) {
        *self.0.data.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(data));
    }

    /// The data kept with this peer, if it is of this type.
    pub fn data<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let data = self.0.data.lock().unwrap_or_else(PoisonError::into_inner).clone();
        data.and_then(|data| data.downcast().ok())
    }

    /// The caller of this peer; `None` inside this program.
    pub fn caller(&self) -> Option<&Caller> {
        self.0.caller.as_ref()
    }

    /// Calls the peer and waits for the one outcome.
    ///
    /// # Errors
    /// [`CallError`], which says whether the peer may have acted.
    ///
    /// # Cancel safety
    /// Dropping the future gives the call up; the peer may have acted.
    pub async fn call(&self, request: Request) -> Outcome {
        match &self.0.caller {
            Some(caller) => caller.call(request).await,
            None => Err(nobody()),
        }
    }

    /// Sends the peer an event; waits while its queue is full.
    ///
    /// # Errors
    /// [`CallError::NotSent`] when the connection has ended or the wire cannot carry it.
    ///
    /// # Cancel safety
    /// Dropped while it waits for room, the event is not sent.
    pub async fn notify(&self, event: Event) -> Result<(), CallError> {
        match &self.0.caller {
            Some(caller) => caller.notify(event).await,
            None => Err(nobody()),
        }
    }

    /// Closes the connection once what is waiting has been written.
    pub fn close(&self) {
        if let Some(caller) = &self.0.caller {
            caller.close(Close::Local);
        }
    }

    pub(crate) fn progress(&self, run: RunId, body: Body) {
        if let Some(caller) = &self.0.caller {
            caller.progress(run, body);
        }
    }
}

fn nobody() -> CallError {
    CallError::not_sent(Code::Unimplemented, "a peer inside this program cannot be called back")
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("id", &self.0.id).field("wire", &self.0.wire).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_kept_with_a_peer_are_those_of_every_clone_and_found_by_their_type() {
        let peer = Peer::in_memory();
        assert_eq!(peer.data::<u32>(), None);
        let keep = |peer: Peer| peer.set_data(7_u32);
        keep(peer.clone());
        assert_eq!((peer.data::<u32>().as_deref(), peer.data::<String>()), (Some(&7), None));
        let kept = peer.data::<u32>().unwrap();
        peer.set_data("a name".to_owned());
        assert_eq!((peer.data::<u32>(), peer.data::<String>().unwrap().as_str()), (None, "a name"));
        assert_eq!(*kept, 7, "whoever has it keeps it");
    }
}
