//! What connections have in common, and who hears of them.

use std::fmt;
use std::sync::Arc;

use crate::adapter::Adapter;
use crate::client::Reconnect;
use crate::credentials::Authenticate;
use crate::handler::Handler;
use crate::ledger::Ledger;
use crate::limits::Limits;
use crate::moment::Surroundings;
use crate::peer::Peer;
use crate::session::Close;
use crate::shutdown::Shutdown;

/// What connections of one endpoint share.
#[derive(Clone)]
pub struct Endpoint {
    /// The adapter's name.
    pub wire: &'static str,
    /// Serves what peers send.
    pub handler: Arc<dyn Handler>,
    /// Judges what peers show to log in; without one every login is refused.
    pub authenticator: Option<Arc<dyn Authenticate>>,
    /// Hears of peers that come and go.
    pub observer: Option<Arc<dyn Observe>>,
    /// The bounds.
    pub limits: Arc<Limits>,
    /// When and how often to dial; only clients look at it.
    pub reconnect: Reconnect,
    /// Where everything is counted.
    pub ledger: Arc<Ledger>,
    /// Time, chance and memory.
    pub surroundings: Surroundings,
    /// When to end.
    pub shutdown: Shutdown,
}

impl Endpoint {
    /// An endpoint with default limits and real surroundings.
    pub fn new(wire: &'static str, handler: impl Handler) -> Self {
        Self {
            wire,
            handler: Arc::new(handler),
            authenticator: None,
            observer: None,
            limits: Arc::new(Limits::default()),
            reconnect: Reconnect::default(),
            ledger: Arc::new(Ledger::new()),
            surroundings: Surroundings::real(),
            shutdown: Shutdown::new(),
        }
    }

    /// An endpoint on the wire of this adapter, with the limits that suit it and real surroundings.
    pub fn on(adapter: &dyn Adapter, handler: impl Handler) -> Self {
        Self { limits: Arc::new(adapter.limits()), ..Self::new(adapter.name(), handler) }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("wire", &self.wire).finish_non_exhaustive()
    }
}

/// Hears of peers that come and go. Called in the connection's task: it must not block.
pub trait Observe: Send + Sync + 'static {
    /// The peer is there and, where the wire has a login, logged in.
    fn connected(&self, peer: &Peer);

    /// What the connection can carry is known, as [`Peer::capabilities`] tells it: only on a wire where peers differ in that, and
    /// perhaps some time after the peer is there. Ignored unless implemented.
    fn found(&self, peer: &Peer) {
        let _ = peer;
    }

    /// A peer that was reported as connected is gone.
    fn disconnected(&self, peer: &Peer, reason: &Close);

    /// A connection ended before it was established, so its peer was never reported: a refused login, a stranger that speaks
    /// another protocol. Ignored unless implemented.
    fn turned_away(&self, reason: &Close) {
        let _ = reason;
    }
}
