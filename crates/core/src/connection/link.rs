//! What is held of a connection from outside, and how it ended.

use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::caller::Caller;
use crate::peer::Peer;
use crate::queue::Queue;
use crate::session::{Close, Session};

use super::Endpoint;

/// How callers reach a connection.
pub(crate) struct Reach<C> {
    pub(crate) queue: Arc<Queue<C>>,
    pub(crate) caller: Caller,
    /// What was not sent stays in the queue for the next connection.
    pub(crate) keep: bool,
}

impl<C: Send + 'static> Reach<C> {
    /// An empty queue, and a caller in front of it.
    pub(crate) fn new(endpoint: &Endpoint, keep: bool) -> Self {
        let queue = Arc::new(Queue::new(&endpoint.limits));
        let Endpoint { surroundings, ledger, limits, .. } = endpoint;
        let outlet = Arc::clone(&queue) as _;
        let caller =
            Caller::over_queue(outlet, surroundings.clone(), Arc::clone(ledger), limits.call_timeout);
        Self { queue, caller, keep }
    }
}

impl<C> Clone for Reach<C> {
    fn clone(&self) -> Self {
        Self { queue: Arc::clone(&self.queue), caller: self.caller.clone(), keep: self.keep }
    }
}

/// What is held of a connection besides its future.
pub struct Link<S: Session> {
    pub(super) peer: Peer,
    pub(super) caller: Caller,
    pub(super) queue: Arc<Queue<S::Command>>,
    pub(super) established: oneshot::Receiver<()>,
    pub(super) was_established: Option<bool>,
}

impl<S: Session> Link<S> {
    /// The peer at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Calls the peer.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Hands the session an input that only its adapter knows.
    pub fn command(&self, command: S::Command) {
        self.queue.command(command);
    }

    /// Waits until the connection is established; `false` when it ended before.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn established(&mut self) -> bool {
        if let Some(known) = self.was_established {
            return known;
        }
        let established = (&mut self.established).await.is_ok();
        self.was_established = Some(established);
        established
    }

    /// What tells that the connection is established, alone.
    pub(crate) fn into_established(self) -> oneshot::Receiver<()> {
        self.established
    }
}

impl<S: Session> fmt::Debug for Link<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub reason: Close,
    /// Had it been established before?
    pub established: bool,
}
