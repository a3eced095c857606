//! Keeps one connection up: asks for credentials, dials, logs in, stays, and begins again.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::Commands;
use super::dial::{Dial, DialError};
use super::standing::{ClientState, Follow};
use crate::caller::Caller;
use crate::connection::{Connection, Ended, Endpoint, Link, Reach};
use crate::credentials::{CredentialSource, Refusal};
use crate::failure::Code;
use crate::ledger::Count;
use crate::moment::{Moment, sleep_until};
use crate::server::Parts;
use crate::session::{Close, Session};

/// How often deadlines of waiting calls are looked at while there is no connection.
const TICK: Duration = Duration::from_millis(100);

/// Keeps one connection up as `endpoint.reconnect` says, in a task of `tasks`, until `endpoint.shutdown`; `follow` hears how it
/// stands. For a [`Client`](super::Client) of several connections; one of its own makes the same for itself.
///
/// Needs a tokio runtime.
pub fn supervise<D: Dial>(
    dial: D,
    credentials: Arc<dyn CredentialSource>,
    endpoint: Arc<Endpoint>,
    follow: impl Follow,
    tasks: &TaskTracker,
) -> (Caller, Commands<<D::Session as Session>::Command>) {
    let reach = Reach::new(&endpoint, true);
    let (caller, commands) = (reach.caller.clone(), Commands(Arc::clone(&reach.queue)));
    let supervisor = Supervisor { dial, credentials, endpoint, reach, follow };
    tasks.spawn(Box::new(supervisor).run());
    (caller, commands)
}

struct Supervisor<D: Dial, F> {
    dial: D,
    credentials: Arc<dyn CredentialSource>,
    endpoint: Arc<Endpoint>,
    reach: Reach<<D::Session as Session>::Command>,
    follow: F,
}

/// A connection that was dialled.
type Dialled<D> = Pin<Box<Connection<<D as Dial>::Transport, <D as Dial>::Session>>>;

/// How one attempt ended.
struct Attempt {
    why: String,
    refused: Option<Refusal>,
    /// How long the connection was up; `None` when it never was.
    up: Option<Duration>,
    hopeless: bool,
    /// It was up, and this side gave it up.
    given_up: bool,
}

impl Attempt {
    fn failed(why: String, hopeless: bool) -> Self {
        Self { why, refused: None, up: None, hopeless, given_up: false }
    }
}

// The task lives as long as the client and is as large as the largest thing it ever awaits: what is only there between two
// connections has a box of its own.
impl<D: Dial, F: Follow> Supervisor<D, F> {
    async fn run(self: Box<Self>) {
        let reconnect = &self.endpoint.reconnect;
        let (mut attempts, mut failures, mut refusals) = (0_u32, 0_u32, 0_u32);
        let mut lost: Option<(Moment, String)> = None;
        let last = loop {
            attempts = attempts.saturating_add(1);
            let attempt = self.attempt(attempts, lost.as_ref()).await;
            let now = self.endpoint.surroundings.clock.now();
            if self.endpoint.shutdown.is_draining() {
                break ClientState::Closed("shut down".to_owned());
            }
            match attempt.up {
                Some(up) => {
                    attempts = 0;
                    failures = if up >= reconnect.settled_after || attempt.given_up { 0 } else { failures };
                    refusals = 0;
                    lost = Some((now, attempt.why.clone()));
                }
                None => {
                    refusals = if attempt.refused.is_some() { refusals.saturating_add(1) } else { refusals }
                }
            }
            failures = failures.saturating_add(1);
            if let Some(close) = self.reach.queue.take_close() {
                break ClientState::Closed(close.to_string());
            }
            if !reconnect.enabled || attempt.hopeless {
                break match attempt.refused {
                    Some(refusal) => ClientState::Refused(refusal),
                    None => ClientState::Closed(attempt.why),
                };
            }
            let mut pause = reconnect.pause(failures, &*self.endpoint.surroundings.random);
            if attempt.given_up {
                // Nothing is wrong with the peer: the connection is replaced at once, at the pace of `DialRate`.
                pause = Duration::ZERO;
            }
            let state = if refusals >= reconnect.max_refusals {
                let refusal = attempt.refused.unwrap_or_else(|| Refusal::new(attempt.why));
                let Some(slow) = reconnect.refused_pause else {
                    break ClientState::Refused(refusal);
                };
                pause = slow;
                ClientState::Refused(refusal)
            } else {
                tracing::debug!(wire = self.endpoint.wire, why = %attempt.why, ?pause, "no connection");
                attempt.refused.map_or(ClientState::Waiting(attempt.why), ClientState::Denied)
            };
            self.follow.stands(state, false);
            let clock = &self.endpoint.surroundings.clock;
            if Box::pin(self.while_waiting(sleep_until(&**clock, now + pause))).await.is_none() {
                break ClientState::Closed("shut down".to_owned());
            }
        };
        self.end(last);
    }

    /// Nothing will be sent any more: whoever waits is told.
    fn end(&self, last: ClientState) {
        let (code, why) = match &last {
            ClientState::Refused(refusal) => (Code::Unauthenticated, refusal.to_string()),
            ClientState::Closed(why) => (Code::Unavailable, why.clone()),
            _ => (Code::Unavailable, String::new()),
        };
        let (calls, events) = self.reach.queue.end(code, &why);
        self.count_ended(calls, 0);
        self.endpoint.ledger.add(Count::EventsNotSent, events);
        self.follow.stands(last, true);
    }

    /// One attempt: ask for credentials, dial, log in, and stay until the connection ends.
    async fn attempt(&self, number: u32, lost: Option<&(Moment, String)>) -> Attempt {
        let opening = Box::pin(self.while_waiting(async {
            let parts = self.dial_in_time(number, lost.is_some()).await?;
            Ok(self.connect(parts, lost))
        }));
        match opening.await {
            Some(Ok((connection, link))) => self.stay(connection, link).await,
            Some(Err(attempt)) => attempt,
            None => Attempt::failed("shut down".to_owned(), true),
        }
    }

    /// Runs a connection until it ends.
    async fn stay(&self, mut connection: Dialled<D>, mut link: Link<D::Session>) -> Attempt {
        let clock = &self.endpoint.surroundings.clock;
        let mut up_since = None;
        let Ended { reason, .. } = tokio::select! {
            biased;
            ended = &mut connection => ended,
            established = link.established() => {
                drop(link);
                if established {
                    up_since = Some(clock.now());
                    self.follow.stands(ClientState::Ready, false);
                }
                connection.await
            }
        };
        Attempt {
            why: reason.to_string(),
            up: up_since.map(|since| clock.now() - since),
            hopeless: matches!(reason, Close::Local | Close::Shutdown | Close::Dismissed(_)),
            given_up: up_since.is_some() && matches!(reason, Close::GivenUp(_)),
            refused: match reason {
                Close::Refused(refusal) => Some(refusal),
                _ => None,
            },
        }
    }

    /// Dials once, at the pace of the process and within `dial_timeout`.
    async fn dial_in_time(
        &self,
        number: u32,
        again: bool,
    ) -> Result<Parts<D::Session, D::Transport>, Attempt> {
        let clock = &self.endpoint.surroundings.clock;
        if number > 1 || again {
            sleep_until(&**clock, self.endpoint.surroundings.dial_rate.grant(clock.now())).await;
        }
        let limit = clock.now() + self.endpoint.reconnect.dial_timeout;
        tokio::select! {
            biased;
            dialled = self.dial_once(number) => dialled,
            () = sleep_until(&**clock, limit) => {
                let (address, timeout) = (self.dial.address(), self.endpoint.reconnect.dial_timeout);
                let why = format!("cannot connect to {address}: no answer within dial_timeout = {timeout:?}");
                Err(Attempt::failed(why, false))
            }
        }
    }

    /// The connection in one place on the heap.
    fn connect(
        &self,
        parts: Parts<D::Session, D::Transport>,
        lost: Option<&(Moment, String)>,
    ) -> (Dialled<D>, Link<D::Session>) {
        let Parts { transport, codec, session } = parts;
        let (mut connection, link) = Connection::reached(
            transport,
            codec,
            session,
            Arc::clone(&self.endpoint),
            Some(self.dial.address()),
            self.reach.clone(),
        );
        if let Some((since, reason)) = lost.filter(|_| self.dial.hears_events()) {
            connection.announce_gap(*since, reason.clone());
        }
        (Box::pin(connection), link)
    }

    async fn dial_once(&self, number: u32) -> Result<Parts<D::Session, D::Transport>, Attempt> {
        let failed = Attempt::failed;
        let credentials = self
            .credentials
            .credentials(number)
            .await
            .map_err(|failure| failed(failure.to_string(), false))?;
        self.dial
            .dial(credentials)
            .await
            .map_err(|error| failed(error.to_string(), matches!(error, DialError::Settings(_))))
    }

    fn count_ended(&self, not_sent: u64, cancelled: u64) {
        let ledger = &self.endpoint.ledger;
        ledger.add(Count::Calls, not_sent.saturating_add(cancelled));
        ledger.add(Count::CallsNotSent, not_sent);
        ledger.add(Count::CallsCancelled, cancelled);
    }

    /// Awaits `work` while deadlines of waiting calls are kept; `None` when the client is shut down first.
    async fn while_waiting<W: Future>(&self, work: W) -> Option<W::Output> {
        let clock = &self.endpoint.surroundings.clock;
        let mut work = std::pin::pin!(work);
        loop {
            let (not_sent, cancelled) = self.reach.queue.expire(clock.now());
            self.count_ended(not_sent, cancelled);
            let tick = sleep_until(&**clock, clock.now() + TICK);
            tokio::select! {
                biased;
                () = self.endpoint.shutdown.draining() => return None,
                done = &mut work => return Some(done),
                () = tick => {}
            }
        }
    }
}
