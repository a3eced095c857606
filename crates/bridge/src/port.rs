//! Where messages leave the bridge: the connection of a client endpoint, or the peers of a server endpoint.

use std::future::ready;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};

use polywire_core::{
    BoxFuture, Call, CallError, Caller, ClientState, Close, Code, Event, Observe, Outcome, Peer, Request,
};
use tokio::sync::{Mutex, watch};
use tokio::task::unconstrained;

/// Most events that wait for room on one endpoint.
const MAX_WAITING: usize = 1_024;

/// The way out through one endpoint.
pub(crate) struct Port {
    way: Way,
    nobody: Caller,
    /// Whose turn it is among the events that wait for room, so that they leave in the order they came.
    turn: Mutex<()>,
    waiting: AtomicUsize,
}

enum Way {
    /// Empty until the endpoint has been dialled.
    Client(OnceLock<Dialled>),
    Server(Present),
}

struct Dialled {
    caller: Caller,
    state: watch::Receiver<ClientState>,
}

/// The peers that are connected to a server endpoint.
#[derive(Default)]
struct Present {
    peers: RwLock<Vec<Peer>>,
    next: AtomicUsize,
}

/// What became of an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Emitted {
    /// It is queued, for every peer but this many.
    Queued { dropped: u64 },
    /// There was no room for it.
    Overflow,
    /// There was nobody to send it to.
    Nobody,
}

impl Port {
    pub(crate) fn client() -> Self {
        Self::new(Way::Client(OnceLock::new()))
    }

    pub(crate) fn server() -> Self {
        Self::new(Way::Server(Present::default()))
    }

    fn new(way: Way) -> Self {
        Self { way, nobody: Caller::custom(Nobody), turn: Mutex::new(()), waiting: AtomicUsize::new(0) }
    }

    /// The endpoint has been dialled.
    pub(crate) fn dialled(&self, caller: Caller, state: watch::Receiver<ClientState>) {
        if let Way::Client(slot) = &self.way {
            // Set once: an endpoint is dialled once and its supervisor dials again below this.
            let _ = slot.set(Dialled { caller, state });
        }
    }

    /// Why nothing can leave here now, in words for a peer of another endpoint: they name no address, and none of them are the
    /// other side's. `None` while something can.
    pub(crate) fn absent(&self) -> Option<&'static str> {
        let Way::Client(slot) = &self.way else {
            return (self.peers() == 0).then_some("nobody has dialled it");
        };
        match slot.get().map(|dialled| dialled.state.borrow()).as_deref() {
            Some(ClientState::Ready) => None,
            Some(ClientState::Waiting(_)) => Some("it cannot be reached"),
            Some(ClientState::Denied(_) | ClientState::Refused(_)) => {
                Some("it refuses the login of the bridge")
            }
            Some(ClientState::Closed(_)) => Some("it is not dialled any more"),
            _ => Some("it has not answered yet"),
        }
    }

    /// How many peers a server endpoint has now.
    pub(crate) fn peers(&self) -> usize {
        match &self.way {
            Way::Client(_) => 0,
            Way::Server(present) => present.peers.read().unwrap_or_else(PoisonError::into_inner).len(),
        }
    }

    /// The peer of a server endpoint whose turn it is to take a call, never the one it came from. `None` where
    /// [`Port::caller`] takes it.
    pub(crate) fn next(&self, from: &Peer) -> Option<Caller> {
        match &self.way {
            Way::Client(_) => None,
            Way::Server(present) => present.next(from),
        }
    }

    /// Who takes a call that is for no one peer: the connection of a client endpoint. Where there is nobody, it says so to
    /// whoever calls it.
    ///
    /// Borrowed, because everybody's messages would count the uses of one caller.
    pub(crate) fn caller(&self) -> &Caller {
        match &self.way {
            Way::Client(slot) => slot.get().map_or(&self.nobody, |dialled| &dialled.caller),
            Way::Server(_) => &self.nobody,
        }
    }

    /// Sends one event: over the connection, or to every peer but the one it came from.
    pub(crate) async fn emit(&self, event: Event, from: &Peer) -> Emitted {
        match &self.way {
            Way::Client(slot) => match slot.get() {
                Some(dialled) => self.emit_in_turn(dialled, event).await,
                None => Emitted::Nobody,
            },
            Way::Server(present) => present.broadcast(&event, from),
        }
    }

    /// A slow consumer slows its producers down, one that is not there does not: while the connection is up an event waits
    /// for room, in order; otherwise it waits in the queue of the client, or is dropped when that is full.
    async fn emit_in_turn(&self, dialled: &Dialled, event: Event) -> Emitted {
        let Some(_waiting) = Waiting::enter(&self.waiting) else { return Emitted::Overflow };
        // Unconstrained: a task that has used up its budget would not be given its place in the line.
        let queued = unconstrained(async {
            let _turn = self.turn.lock().await;
            dialled.caller.notify(event).await
        });
        // Only for an event that waits.
        let lost = async {
            // An error means that the client is over.
            let _ = dialled.state.clone().wait_for(|state| *state != ClientState::Ready).await;
        };
        tokio::select! {
            biased;
            queued = queued => match queued {
                Ok(()) => Emitted::Queued { dropped: 0 },
                Err(_) => Emitted::Nobody,
            },
            () = lost => Emitted::Overflow,
        }
    }
}

impl Present {
    fn next(&self, from: &Peer) -> Option<Caller> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let start = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(peers.len())?;
        let (before, after) = peers.split_at(start);
        after.iter().chain(before).find(|peer| peer.id() != from.id())?.caller().cloned()
    }

    fn broadcast(&self, event: &Event, from: &Peer) -> Emitted {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let (mut queued, mut dropped) = (0_u64, 0);
        for caller in peers.iter().filter(|peer| peer.id() != from.id()).filter_map(Peer::caller) {
            match caller.try_notify(event.clone()) {
                Ok(()) => queued += 1,
                Err(_) => dropped += 1,
            }
        }
        match (queued, dropped) {
            (0, 0) => Emitted::Nobody,
            (0, _) => Emitted::Overflow,
            _ => Emitted::Queued { dropped },
        }
    }
}

impl Observe for Port {
    fn connected(&self, peer: &Peer) {
        if let Way::Server(present) = &self.way {
            present.peers.write().unwrap_or_else(PoisonError::into_inner).push(peer.clone());
        }
    }

    fn disconnected(&self, peer: &Peer, _reason: &Close) {
        if let Way::Server(present) = &self.way {
            let mut peers = present.peers.write().unwrap_or_else(PoisonError::into_inner);
            peers.retain(|known| known.id() != peer.id());
        }
    }
}

/// Whom a call goes to when nobody is connected.
struct Nobody;

impl Nobody {
    fn error() -> CallError {
        CallError::not_sent(Code::Unavailable, "nobody is connected")
    }
}

impl Call for Nobody {
    fn call(&self, _request: Request) -> BoxFuture<'_, Outcome> {
        Box::pin(ready(Err(Self::error())))
    }

    fn notify(&self, _event: Event) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(ready(Err(Self::error())))
    }
}

/// A place among the events that wait.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < MAX_WAITING).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
