//! How a client stands: one value that whoever keeps the client up tells, and others ask, wait for or follow.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::credentials::Refusal;
use crate::failure::{Code, Failure};

/// Where a client stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientState {
    /// Dialling or logging in for the first time.
    Connecting,
    /// Connected and logged in.
    Ready,
    /// No connection; it is dialled again, after a pause. Holds why the last attempt failed.
    Waiting(String),
    /// The last login was refused; it is tried again, after a pause.
    Denied(Refusal),
    /// The login was refused as often as `max_refusals` allows.
    Refused(Refusal),
    /// Over. Holds why.
    Closed(String),
}

/// Hears how one connection that is kept up stands. Called in its task: it must not block.
pub trait Follow: Send + Sync + 'static {
    /// It stands so from now on; nothing follows when it is `over`.
    fn stands(&self, state: ClientState, over: bool);
}

/// How a client stands. A clone is the same client's.
///
/// Most clients are only asked, so what it takes to follow one exists from the first that follows it on.
#[derive(Clone)]
pub struct Standing(Arc<Inner>);

struct Inner {
    now: Mutex<Now>,
    changed: Notify,
}

struct Now {
    state: ClientState,
    over: bool,
    /// For those who follow it; gone when it is over, so that they hear that nothing follows.
    tell: Option<watch::Sender<ClientState>>,
}

impl Standing {
    /// A client that has just begun.
    pub fn new() -> Self {
        let now = Now { state: ClientState::Connecting, over: false, tell: None };
        Self(Arc::new(Inner { now: Mutex::new(now), changed: Notify::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        // Nothing panics while it is held, and every state of it is a whole one.
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the client stands now.
    pub fn state(&self) -> ClientState {
        self.lock().state.clone()
    }

    /// Follows where the client stands; the last state is followed by an error.
    pub(super) fn watch(&self) -> watch::Receiver<ClientState> {
        let mut now = self.lock();
        if now.over {
            return watch::channel(now.state.clone()).1;
        }
        let Now { state, tell, .. } = &mut *now;
        tell.get_or_insert_with(|| watch::Sender::new(state.clone())).subscribe()
    }

    /// Waits until the client is connected and logged in.
    pub(super) async fn ready(&self) -> Result<(), Failure> {
        loop {
            // Registered before the state is looked at, so that no change falls between.
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if let Some(known) = self.verdict() {
                return known;
            }
            changed.await;
        }
    }

    /// What [`ready`](Self::ready) says, once it can.
    fn verdict(&self) -> Option<Result<(), Failure>> {
        match &self.lock().state {
            ClientState::Ready => Some(Ok(())),
            ClientState::Refused(refusal) => Some(Err(refusal.clone().into())),
            ClientState::Closed(why) => Some(Err(Failure::new(Code::Unavailable, why.clone()))),
            ClientState::Connecting | ClientState::Waiting(_) | ClientState::Denied(_) => None,
        }
    }
}

impl Follow for Standing {
    fn stands(&self, state: ClientState, over: bool) {
        let mut now = self.lock();
        now.state = state;
        now.over |= over;
        self.0.changed.notify_waiters();
        if let Some(tell) = &now.tell {
            tell.send_replace(now.state.clone());
        }
        if now.over {
            now.tell = None;
        }
    }
}

impl Default for Standing {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Standing").field(&self.state()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_follows_hears_every_state_and_that_nothing_follows_the_last() {
        let standing = Standing::new();
        let mut state = standing.watch();
        let follower = tokio::spawn(async move {
            let ready = state.wait_for(|state| *state == ClientState::Ready).await.is_ok();
            (ready, state.wait_for(|state| *state == ClientState::Connecting).await.is_err())
        });
        tokio::task::yield_now().await;
        standing.stands(ClientState::Ready, false);
        tokio::task::yield_now().await;
        standing.stands(ClientState::Closed("enough".to_owned()), true);
        assert_eq!(follower.await.unwrap(), (true, true));
        let mut late = standing.watch();
        assert_eq!(*late.borrow(), ClientState::Closed("enough".to_owned()));
        assert!(late.changed().await.is_err(), "it is over");
    }

    #[tokio::test]
    async fn ready_waits_through_refusals_that_are_not_the_last() {
        let standing = Standing::new();
        let waiting = tokio::spawn({
            let standing = standing.clone();
            async move { standing.ready().await }
        });
        for state in [ClientState::Waiting("nobody".to_owned()), ClientState::Denied(Refusal::new("who?"))] {
            tokio::task::yield_now().await;
            standing.stands(state, false);
        }
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        standing.stands(ClientState::Refused(Refusal::new("no")), true);
        assert_eq!(waiting.await.unwrap().unwrap_err().code, Code::Unauthenticated);
        assert_eq!(standing.ready().await.unwrap_err().code, Code::Unauthenticated);
    }
}
