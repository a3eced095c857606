//! Who is there: the connection of each plugin, by its id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use polywire_core::{Close, Observe, Peer};

use super::Plugins;

/// Which plugin is there, by its id.
pub(super) struct Roster {
    there: Mutex<HashMap<String, Peer>>,
    plugins: Arc<Plugins>,
    other: Option<Arc<dyn Observe>>,
}

impl Roster {
    /// None of `plugins` is there; `other` hears of everybody too.
    pub(super) fn new(plugins: Arc<Plugins>, other: Option<Arc<dyn Observe>>) -> Self {
        Self { there: Mutex::default(), plugins, other }
    }

    /// The connection of plugin `id`.
    pub(super) fn get(&self, id: &str) -> Option<Peer> {
        self.lock().get(id).cloned()
    }

    /// Whoever is there.
    pub(super) fn all(&self) -> Vec<Peer> {
        self.lock().values().cloned().collect()
    }

    /// The connection of plugin `id`, which is not there any more from now on.
    pub(super) fn take(&self, id: &str) -> Option<Peer> {
        self.lock().remove(id)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Peer>> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observe for Roster {
    fn connected(&self, peer: &Peer) {
        if let Some(identity) = peer.identity() {
            let before = self.lock().insert(identity.subject.to_string(), peer.clone());
            if let Some(before) = before {
                self.plugins.leave(&identity.subject, before);
            }
        }
        if let Some(other) = &self.other {
            other.connected(peer);
        }
    }

    fn disconnected(&self, peer: &Peer, reason: &Close) {
        if let Some(identity) = peer.identity() {
            let mut there = self.lock();
            if there.get(&*identity.subject).is_some_and(|known| known.id() == peer.id()) {
                there.remove(&*identity.subject);
            }
        }
        if let Some(other) = &self.other {
            other.disconnected(peer, reason);
        }
    }

    fn turned_away(&self, reason: &Close) {
        if let Some(other) = &self.other {
            other.turned_away(reason);
        }
    }
}
