//! Keeps one connection up: asks for credentials, dials, logs in, stays, and begins again.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::Commands;
use super::dial::{Dial, DialError};
use super::standing::{ClientState, Follow};
use crate::caller::Caller;
use crate::connection::{Connection, Ended, Endpoint, Reach};
use crate::credentials::{CredentialSource, Refusal};
use crate::failure::{CallError, Code};
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

/// A connection that was dialled, in one place on the heap.
struct Up<D: Dial> {
    connection: Connection<D::Transport, D::Session>,
    /// Tells once that it is logged in.
    established: Option<oneshot::Receiver<()>>,
    since: Option<Moment>,
}

/// How one attempt ended.
struct Attempt {
    why: String,
    refused: Option<Refusal>,
    /// How long the connection was up; `None` when it never was.
    up: Option<Duration>,
    hopeless: bool,
    /// Events that were dropped and are still to be told; `None` when there was no connection.
    missed: Option<u64>,
    /// It was up, and this side gave it up.
    given_up: bool,
}

impl Attempt {
    fn failed(why: String, hopeless: bool) -> Self {
        Self { why, refused: None, up: None, hopeless, missed: None, given_up: false }
    }
}

/// What the attempts so far have come to.
#[derive(Default)]
struct Course {
    /// Since the last connection that was up.
    attempts: u32,
    failures: u32,
    refusals: u32,
    /// When the last connection was lost, and why.
    lost: Option<(Moment, String)>,
    /// Events that were dropped and that no connection has told of.
    missed: u64,
}

// The task lives as long as the client and is as large as the largest thing it ever awaits: what is only there between two
// connections has a box of its own, and a connection that is up is another.
impl<D: Dial, F: Follow> Supervisor<D, F> {
    async fn run(self: Box<Self>) {
        let mut course = Course::default();
        let last = loop {
            course.attempts = course.attempts.saturating_add(1);
            let attempt = self.attempt(&course).await;
            let until = match self.judge(attempt, &mut course) {
                Ok(until) => until,
                Err(last) => break last,
            };
            let pause = sleep_until(&*self.endpoint.surroundings.clock, until);
            if Box::pin(self.while_waiting(pause)).await.is_none() {
                break ClientState::Closed("shut down".to_owned());
            }
        };
        self.end(last);
    }

    /// When to try again after an attempt, or how the client ends with it.
    fn judge(&self, attempt: Attempt, course: &mut Course) -> Result<Moment, ClientState> {
        let Endpoint { surroundings, reconnect, .. } = &*self.endpoint;
        let now = surroundings.clock.now();
        if self.endpoint.shutdown.is_draining() {
            return Err(ClientState::Closed("shut down".to_owned()));
        }
        course.missed = attempt.missed.unwrap_or(course.missed);
        match attempt.up {
            Some(up) => {
                let settled = up >= reconnect.settled_after || attempt.given_up;
                let failures = if settled { 0 } else { course.failures };
                let lost = Some((now, attempt.why.clone()));
                *course = Course { failures, lost, missed: course.missed, ..Course::default() };
            }
            None => {
                let refused = u32::from(attempt.refused.is_some());
                course.refusals = course.refusals.saturating_add(refused);
            }
        }
        course.failures = course.failures.saturating_add(1);
        if let Some(close) = self.reach.queue.take_close() {
            return Err(ClientState::Closed(close.to_string()));
        }
        if !reconnect.enabled || attempt.hopeless {
            return Err(attempt.refused.map_or(ClientState::Closed(attempt.why), ClientState::Refused));
        }
        let mut pause = reconnect.pause(course.failures, &*surroundings.random);
        if attempt.given_up {
            // Nothing is wrong with the peer: the connection is replaced at once, at the pace of `DialRate`.
            pause = Duration::ZERO;
        }
        let why = attempt.why;
        let state = if course.refusals >= reconnect.max_refusals {
            let refusal = attempt.refused.unwrap_or_else(|| Refusal::new(why.clone()));
            let Some(slow) = reconnect.refused_pause else { return Err(ClientState::Refused(refusal)) };
            pause = slow;
            ClientState::Refused(refusal)
        } else {
            attempt.refused.map_or_else(|| ClientState::Waiting(why.clone()), ClientState::Denied)
        };
        tracing::debug!(wire = self.endpoint.wire, why, ?pause, "no connection");
        self.follow.stands(state, false);
        Ok(now + pause)
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
    async fn attempt(&self, course: &Course) -> Attempt {
        let opened = Box::pin(self.while_waiting(async {
            let parts = self.dial_in_time(course).await?;
            Ok(self.connect(parts, course))
        }));
        let opened = opened.await.unwrap_or_else(|| Err(Attempt::failed("shut down".to_owned(), true)));
        let mut up = match opened {
            Ok(up) => up,
            Err(attempt) => return attempt,
        };
        poll_fn(|cx| self.stay(&mut up, cx)).await
    }

    /// Runs a connection until it ends.
    fn stay(&self, up: &mut Up<D>, cx: &mut Context<'_>) -> Poll<Attempt> {
        let clock = &self.endpoint.surroundings.clock;
        if let Poll::Ready(Ended { reason, established }) = Pin::new(&mut up.connection).poll(cx) {
            // It may have come up and ended at once.
            let now = clock.now();
            return Poll::Ready(Attempt {
                why: reason.to_string(),
                up: established.then(|| now - up.since.unwrap_or(now)),
                missed: Some(up.connection.missed),
                hopeless: matches!(reason, Close::Local | Close::Shutdown | Close::Dismissed(_)),
                given_up: established && matches!(reason, Close::GivenUp(_)),
                refused: match reason {
                    Close::Refused(refusal) => Some(refusal),
                    _ => None,
                },
            });
        }
        if let Some(established) = &mut up.established
            && let Poll::Ready(established) = Pin::new(established).poll(cx)
        {
            up.established = None;
            if established.is_ok() {
                up.since = Some(clock.now());
                self.follow.stands(ClientState::Ready, false);
            }
        }
        Poll::Pending
    }

    /// Dials once, at the pace of the process and within `dial_timeout`.
    async fn dial_in_time(&self, course: &Course) -> Result<Parts<D::Session, D::Transport>, Attempt> {
        let clock = &self.endpoint.surroundings.clock;
        if course.attempts > 1 || course.lost.is_some() {
            sleep_until(&**clock, self.endpoint.surroundings.dial_rate.grant(clock.now())).await;
        }
        let limit = clock.now() + self.endpoint.reconnect.dial_timeout;
        tokio::select! {
            biased;
            dialled = self.dial_once(course.attempts) => dialled,
            () = sleep_until(&**clock, limit) => {
                let (address, timeout) = (self.dial.address(), self.endpoint.reconnect.dial_timeout);
                let why = format!("cannot connect to {address}: no answer within dial_timeout = {timeout:?}");
                Err(Attempt::failed(why, false))
            }
        }
    }

    fn connect(&self, parts: Parts<D::Session, D::Transport>, course: &Course) -> Box<Up<D>> {
        let Parts { transport, codec, session } = parts;
        let (mut connection, link) = Connection::reached(
            transport,
            codec,
            session,
            Arc::clone(&self.endpoint),
            Some(self.dial.address()),
            self.reach.clone(),
        );
        connection.missed = course.missed;
        if let Some((since, reason)) = course.lost.as_ref().filter(|_| self.dial.hears_events()) {
            connection.announce_gap(*since, reason.clone());
        }
        Box::new(Up { connection, established: Some(link.into_established()), since: None })
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
        ledger.add_all(&[
            (Count::Calls, not_sent.saturating_add(cancelled)),
            (Count::CallsNotSent, not_sent),
            (Count::CallsCancelled, cancelled),
        ]);
    }

    /// Awaits `work` while deadlines of waiting calls are kept; `None` when the client is shut down first.
    async fn while_waiting<W: Future>(&self, work: W) -> Option<W::Output> {
        let clock = &self.endpoint.surroundings.clock;
        let why = CallError::too_late("the call waited for a connection", self.endpoint.limits.call_timeout);
        let mut work = std::pin::pin!(work);
        loop {
            let (not_sent, cancelled) = self.reach.queue.expire(clock.now(), &why);
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
