//! The state and counters of a running bridge at one moment.

use polywire_core::{ClientState, Count, MemoryStep};

use crate::counts::Ending;

/// A running bridge at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// Every endpoint: clients first, then servers, each sorted by name.
    pub endpoints: Vec<EndpointSnapshot>,
    /// Every route, in file order.
    pub routes: Vec<RouteSnapshot>,
    /// What the connections of all endpoints keep together.
    pub memory: MemorySnapshot,
}

/// The memory budget at one moment; see [`polywire_core::Memory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemorySnapshot {
    /// Bytes that are kept.
    pub held: usize,
    /// The most that ever were.
    pub peak: usize,
    /// `max_memory_bytes`.
    pub max: usize,
    /// What is done about it.
    pub step: MemoryStep,
}

/// One endpoint at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointSnapshot {
    /// Its name in the file.
    pub name: String,
    /// The name of its adapter.
    pub protocol: &'static str,
    /// Must it be up for the bridge to be ready?
    pub required: bool,
    /// Where it stands.
    pub state: EndpointState,
    /// Requests that no route took; they were answered `not_found`.
    pub unrouted_requests: u64,
    /// Events that no route took.
    pub unrouted_events: u64,
    /// What its connections have counted; see [`polywire_core::Ledger`].
    pub ledger: Vec<(Count, u64)>,
}

/// Where an endpoint stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointState {
    /// It dials.
    Client(ClientState),
    /// It listens.
    Server {
        /// What peers dial.
        address: String,
        /// How many are connected and, where the wire has a login, logged in.
        peers: usize,
    },
}

/// One route at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RouteSnapshot {
    /// Its name, or what it matches.
    pub title: String,
    /// Messages it took.
    pub received: u64,
    /// How they ended, as far as they have; endings that never happened are left out.
    pub endings: Vec<(Ending, u64)>,
    /// Copies of broadcast events that single peers had no room for.
    pub copies_dropped: u64,
}

impl RouteSnapshot {
    /// How many messages ended this way.
    pub fn count(&self, ending: Ending) -> u64 {
        self.endings.iter().find(|(known, _)| *known == ending).map_or(0, |(_, count)| *count)
    }

    /// Messages on their way: received, and not ended.
    pub fn running(&self) -> u64 {
        let ended: u64 = self.endings.iter().map(|(_, count)| count).sum();
        self.received.saturating_sub(ended)
    }
}
