//! The one session that the connections of a client share, and who of them logs in.
//!
//! Whichever connection needs a session first becomes the leader and logs in; the others wait for what comes of it. So a session
//! that expires under four connections at once costs one login.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use polywire_core::Refusal;

/// What a waiting connection is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Look again: there is a session, or nobody is getting one.
    Look,
    /// The login was refused.
    Refused(Refusal),
}

/// What a connection that needs a session does.
pub(crate) enum Enter {
    /// It uses this one, JSON text with its quotes.
    Use(Bytes),
    /// It logs in.
    Lead(Lead),
    /// It waits for a [`Wake`].
    Wait,
}

/// Tells the connection in a slot something.
type Tell = Box<dyn Fn(usize, Wake) + Send + Sync>;

/// What the connections of one client share.
#[derive(Default)]
pub struct Pool {
    state: Mutex<State>,
    tell: OnceLock<Tell>,
}

#[derive(Default)]
struct State {
    session: Option<Bytes>,
    led: bool,
    /// Slots that wait; each stands here once.
    waiting: Vec<usize>,
}

impl State {
    fn spend(&mut self, session: &Bytes) {
        self.session.take_if(|known| known == session);
    }
}

impl Pool {
    /// A pool whose connections are reached through `tell`.
    pub fn set_tell(&self, tell: impl Fn(usize, Wake) + Send + Sync + 'static) {
        // A second one would be a mistake of ours; the first keeps working.
        let _ = self.tell.set(Box::new(tell));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and every state of it is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection in `slot` needs a session other than `spent`.
    pub(crate) fn enter(self: &Arc<Self>, slot: usize, spent: Option<&Bytes>) -> Enter {
        let mut state = self.lock();
        if let Some(spent) = spent {
            state.spend(spent);
        }
        if let Some(session) = &state.session {
            return Enter::Use(session.clone());
        }
        if state.led {
            if !state.waiting.contains(&slot) {
                state.waiting.push(slot);
            }
            return Enter::Wait;
        }
        state.led = true;
        Enter::Lead(Lead { pool: Arc::clone(self), over: false })
    }

    /// Nobody who looks from now on is given `session`.
    pub(crate) fn spend(&self, session: &Bytes) {
        self.lock().spend(session);
    }

    /// The server gave out `fresh` unasked in place of `spent`; says which one to use.
    pub(crate) fn adopt(&self, spent: Option<&Bytes>, fresh: Bytes) -> Bytes {
        let mut state = self.lock();
        match &state.session {
            Some(known) if Some(known) != spent => known.clone(),
            // Also while another connection is getting one: until then there is none.
            _ => state.session.insert(fresh).clone(),
        }
    }

    fn end(&self, session: Option<Bytes>, wake: &Wake) {
        let mut state = self.lock();
        state.led = false;
        if session.is_some() {
            state.session = session;
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for slot in waiting {
            if let Some(tell) = self.tell.get() {
                tell(slot, wake.clone());
            }
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}

/// The right to log in for all. Dropped without a result, the next connection that looks takes over.
#[derive(Debug)]
pub(crate) struct Lead {
    pool: Arc<Pool>,
    over: bool,
}

impl Lead {
    /// The login gave this session.
    pub(crate) fn won(mut self, session: Bytes) {
        self.over = true;
        self.pool.end(Some(session), &Wake::Look);
    }

    /// The login was refused.
    pub(crate) fn refused(mut self, refusal: Refusal) {
        self.over = true;
        self.pool.end(None, &Wake::Refused(refusal));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if !self.over {
            self.pool.end(None, &Wake::Look);
        }
    }
}
