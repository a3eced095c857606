//! What a plugin keeps from one connection to the next: its token, and the events that it wants to hear.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use polywire_core::Secret;

/// Shared by all connections of one plugin. A clone is the same.
#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// Of the last login.
    token: Option<Secret>,
    events: Vec<String>,
}

impl Kept {
    /// Nothing but the names of events to hear.
    pub fn new(events: impl IntoIterator<Item = String>) -> Self {
        let kept = Self::default();
        kept.want(events);
        kept
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn token(&self) -> Option<Secret> {
        self.lock().token.clone()
    }

    pub(super) fn set_token(&self, token: Option<Secret>) {
        self.lock().token = token;
    }

    /// The names that are wanted, in the order of asking.
    pub(super) fn events(&self) -> Vec<String> {
        self.lock().events.clone()
    }

    pub(super) fn wants(&self, name: &str) -> bool {
        self.lock().events.iter().any(|wanted| wanted == name)
    }

    /// Adds names; gives back those that are new.
    pub(super) fn want(&self, names: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut inner = self.lock();
        let mut new = Vec::new();
        for name in names {
            if !inner.events.contains(&name) {
                inner.events.push(name.clone());
                new.push(name);
            }
        }
        new
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        f.debug_struct("Kept")
            .field("has_token", &inner.token.is_some())
            .field("events", &inner.events)
            .finish()
    }
}
