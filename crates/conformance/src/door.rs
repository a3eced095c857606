//! A judge of logins who takes their time: no verdict is given before the door is opened.

use std::fmt;
use std::sync::Arc;

use polywire_core::{Authenticate, BoxFuture, Credentials, Identity, Refusal};
use tokio::sync::watch;

/// What stands in front of a judge; a clone is the same door.
#[derive(Clone, Debug)]
pub(crate) struct Door(Arc<watch::Sender<State>>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Logins that are or were held up.
    asked: usize,
    verdict: Option<Verdict>,
}

#[derive(Clone, Copy, Debug)]
enum Verdict {
    /// That of the judge behind the door.
    Judged,
    Refused,
}

impl Door {
    /// One that is closed.
    pub(crate) fn closed() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }

    /// Lets the judge decide, now and from now on.
    pub(crate) fn open(&self) {
        self.0.send_modify(|state| state.verdict = Some(Verdict::Judged));
    }

    /// Refuses everybody, now and from now on.
    pub(crate) fn refuse(&self) {
        self.0.send_modify(|state| state.verdict = Some(Verdict::Refused));
    }

    /// How many logins have come to it.
    pub(crate) fn asked(&self) -> usize {
        self.0.borrow().asked
    }

    /// A judge behind this door.
    pub(crate) fn before(&self, judge: Arc<dyn Authenticate>) -> Arc<dyn Authenticate> {
        Arc::new(Held { door: self.clone(), judge })
    }
}

struct Held {
    door: Door,
    judge: Arc<dyn Authenticate>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("door", &self.door).finish_non_exhaustive()
    }
}

impl Authenticate for Held {
    fn authenticate(&self, credentials: Credentials) -> BoxFuture<'static, Result<Identity, Refusal>> {
        self.door.0.send_modify(|state| state.asked += 1);
        let judged = self.judge.authenticate(credentials);
        let door = self.door.clone();
        Box::pin(async move {
            let mut state = door.0.subscribe();
            let decided = state.wait_for(|state| state.verdict.is_some()).await;
            match decided.ok().and_then(|state| state.verdict) {
                Some(Verdict::Judged) => judged.await,
                // The sender lives as long as the door, and this holds it.
                Some(Verdict::Refused) | None => Err(Refusal::new("the door stays closed")),
            }
        })
    }
}
