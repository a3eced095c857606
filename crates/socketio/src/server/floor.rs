//! What packets of one namespace leave through: the adapter that socketioxide keeps its sockets in.
//!
//! The emit functions of a socket choose the id of a request themselves and take arguments apart to put them together again;
//! through its adapter a packet leaves as it is.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socketioxide::adapter::Emitter;
use socketioxide_core::Sid;
use socketioxide_core::adapter::errors::SocketError;
use socketioxide_core::adapter::{
    BroadcastOptions, CoreAdapter, CoreLocalAdapter, DefinedAdapter, SocketEmitter,
};
use socketioxide_core::packet::Packet;

/// The answers to one request, of which there is one at most.
pub(super) type Answers = <Emitter as SocketEmitter>::AckStream;

/// The adapters of all namespaces, by name.
#[derive(Clone, Default)]
pub(super) struct Floors(Arc<Mutex<HashMap<String, Arc<Floor>>>>);

impl Floors {
    pub(super) fn of(&self, namespace: &str) -> Option<Arc<Floor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(namespace).cloned()
    }
}

/// The sockets of one namespace.
pub(super) struct Floor {
    local: CoreLocalAdapter<Emitter>,
    namespace: String,
    floors: Floors,
}

impl Floor {
    /// Sends an event without an id, or an answer, to one socket that is in the namespace.
    pub(super) fn send(&self, to: Sid, packet: Packet) -> Result<(), SocketError> {
        let sent = self.local.broadcast(packet, BroadcastOptions::new(to));
        sent.map_err(|errors| errors.into_iter().next().unwrap_or(SocketError::Closed))
    }

    /// Sends an event that wants an answer.
    pub(super) fn request(&self, to: Sid, packet: Packet, patience: Duration) -> Answers {
        self.local.broadcast_with_ack(packet, BroadcastOptions::new(to), Some(patience)).0
    }
}

impl CoreAdapter<Emitter> for Floor {
    type Error = Infallible;
    type State = Floors;
    type AckStream = Answers;
    type InitRes = ();

    fn new(floors: &Floors, local: CoreLocalAdapter<Emitter>) -> Self {
        Self { namespace: local.path().to_string(), local, floors: floors.clone() }
    }

    fn init(self: Arc<Self>, on_success: impl FnOnce() + Send + 'static) {
        let floors = self.floors.clone();
        floors.0.lock().unwrap_or_else(PoisonError::into_inner).insert(self.namespace.clone(), self);
        on_success();
    }

    async fn broadcast_with_ack(
        &self,
        packet: Packet,
        opts: BroadcastOptions,
        timeout: Option<Duration>,
    ) -> Result<Answers, Infallible> {
        Ok(self.local.broadcast_with_ack(packet, opts, timeout).0)
    }

    fn get_local(&self) -> &CoreLocalAdapter<Emitter> {
        &self.local
    }
}

impl DefinedAdapter for Floor {}
