//! What was asked on one connection and is not answered yet. The plugin may have a newer connection by then, and answer there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use polywire_core::{Body, CallId, Caller, Event, Outcome, Peer, Route};

/// Under this name a session hears, as an event from its own host, that it should look at what is its own: its plugin has moved
/// to a newer connection, or has said something there. It says nothing else, so whoever sends it too does no harm.
pub(crate) const LOOK: Route = Route::from_static("hyperhq.look");

/// The requests that are open on one connection, by their ids. Bounded by `max_pending`.
#[derive(Default)]
pub(super) struct Calls {
    inner: Mutex<Inner>,
    /// Its session should look: its plugin has said something elsewhere, or has gone there.
    news: AtomicBool,
}

#[derive(Default)]
struct Inner {
    open: HashMap<String, CallId>,
    heard: Heard,
}

/// What the plugin has said of them on a newer connection.
#[derive(Default)]
pub(super) struct Heard {
    /// Each of them was open until then.
    pub(super) answers: Vec<(CallId, Outcome)>,
    pub(super) is_alive: bool,
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self, id: String, call: CallId) {
        self.lock().open.insert(id, call);
    }

    /// The request of this id, which is open no more.
    pub(super) fn take(&self, id: &str) -> Option<CallId> {
        self.lock().open.remove(id)
    }

    pub(super) fn give_up(&self, call: CallId) {
        self.lock().open.retain(|_, known| *known != call);
    }

    /// Does nothing wait for an answer, or for its own session to take it?
    pub(super) fn is_done(&self) -> bool {
        let inner = self.lock();
        inner.open.is_empty() && inner.heard.answers.is_empty()
    }

    /// The answer to the request of this id came elsewhere. Gives it back where no such request is open here.
    pub(super) fn answer(&self, id: &str, outcome: Outcome) -> Result<(), Outcome> {
        let mut inner = self.lock();
        let Some(call) = inner.open.remove(id) else { return Err(outcome) };
        inner.heard.answers.push((call, outcome));
        self.tell();
        Ok(())
    }

    /// There was a sign of life elsewhere; `false` where nothing is open that it could be about.
    pub(super) fn live_on(&self) -> bool {
        let mut inner = self.lock();
        inner.heard.is_alive |= !inner.open.is_empty();
        if inner.heard.is_alive {
            self.tell();
        }
        inner.heard.is_alive
    }

    /// Has its session look, whatever it does next.
    pub(super) fn tell(&self) {
        self.news.store(true, Ordering::Release);
    }

    /// Should its session look?
    pub(super) fn has_news(&self) -> bool {
        self.news.load(Ordering::Acquire)
    }

    /// What was heard elsewhere since this was asked last.
    pub(super) fn heard(&self) -> Heard {
        let mut inner = self.lock();
        self.news.store(false, Ordering::Release);
        std::mem::take(&mut inner.heard)
    }
}

/// The connections that a plugin has left and that still wait for answers. Dropped, they are closed.
#[derive(Default)]
pub(super) struct Left(Vec<Peer>);

impl Left {
    /// One more; it closes itself once nothing is open there.
    pub(super) fn add(&mut self, peer: Peer) {
        self.0.retain(|peer| !peer.caller().is_none_or(Caller::has_ended));
        self.0.push(peer);
        self.look();
    }

    /// Has their sessions look at what is their own.
    pub(super) fn look(&self) {
        for caller in self.0.iter().filter_map(Peer::caller) {
            // Where there is no room, its session looks with the next thing that leaves, or when its time comes.
            let _ = caller.try_notify(Event::new(LOOK, Body::Empty));
        }
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        self.0.iter().for_each(Peer::close);
    }
}
