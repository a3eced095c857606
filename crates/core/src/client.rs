//! Dialling: connects, logs in, and connects again when the connection is lost.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::body::{Body, JsonText};
use crate::caller::Caller;
use crate::connection::{Connection, Ended, Endpoint, Link};
use crate::credentials::{CredentialSource, Credentials, Refusal};
use crate::envelope::Event;
use crate::failure::{Code, Failure};
use crate::json;
use crate::ledger::{Count, Ledger};
use crate::moment::{Moment, Random, random_below, sleep_until};
use crate::queue::Queue;
use crate::route::Route;
use crate::server::Parts;
use crate::session::{Close, Session};
use crate::shutdown::Shutdown;
use crate::transport::Transport;

/// The route of the event that a handler gets after a reconnect: `{"since_ms": 1200, "reason": "..."}`. Events may have
/// been missed for that long. A wire on which no events come has none.
pub const GAP: Route = Route::from_static("polywire.gap");

/// How often deadlines of waiting calls are looked at while there is no connection.
const TICK: Duration = Duration::from_millis(100);

/// Opens one connection to the peer.
pub trait Dial: Send + Sync + 'static {
    /// What the wire knows.
    type Session: Session;
    /// What carries its frames.
    type Transport: Transport<<Self::Session as Session>::Codec>;

    /// Dials once, and makes the session that will log in with `credentials`.
    fn dial(
        &self,
        credentials: Credentials,
    ) -> impl Future<Output = Result<Parts<Self::Session, Self::Transport>, DialError>> + Send;

    /// What is dialled, for people.
    fn address(&self) -> String;

    /// May the peer send events, so that the handler is told of a [`GAP`] after a reconnect? True unless implemented.
    fn hears_events(&self) -> bool {
        true
    }
}

/// Why dialling failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Nobody answers there now.
    #[error("cannot connect to {address}: {source}")]
    Unreachable {
        /// What was dialled.
        address: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The peer answered with something that this wire is not.
    #[error("{0}")]
    Protocol(String),
    /// It will never work with these settings.
    #[error("{0}")]
    Settings(String),
}

/// When and how often to dial.
#[derive(Clone, Debug, PartialEq)]
pub struct Reconnect {
    /// Dial again when a connection is lost or could not be made; default true.
    pub enabled: bool,
    /// Longest first pause; doubles with every failure. Default 250 ms.
    pub first_pause: Duration,
    /// Longest pause; default 30 s. Every pause is a random part of it (full jitter).
    pub max_pause: Duration,
    /// A connection that was up this long starts the pauses anew; default 60 s.
    pub settled_after: Duration,
    /// Refused logins in a row after which the client stops; default 3.
    pub max_refusals: u32,
    /// After that many refusals, try once in this time instead of stopping; default none.
    pub refused_pause: Option<Duration>,
    /// Longest time for one dial; default 10 s.
    pub dial_timeout: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            enabled: true,
            first_pause: Duration::from_millis(250),
            max_pause: Duration::from_secs(30),
            settled_after: Duration::from_secs(60),
            max_refusals: 3,
            refused_pause: None,
            dial_timeout: Duration::from_secs(10),
        }
    }
}

impl Reconnect {
    /// One attempt, no other.
    pub fn never() -> Self {
        Self { enabled: false, ..Self::default() }
    }

    fn pause(&self, failures: u32, random: &dyn Random) -> Duration {
        let most =
            self.first_pause.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.max_pause);
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(random_below(random, most.saturating_add(1)))
    }
}

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
    /// The login was refused as often as `max_refusals` allows.
    Refused(Refusal),
    /// Over. Holds why.
    Closed(String),
}

/// A client: a caller whose connection is kept up.
///
/// Calls made while there is no connection wait, within their deadlines; they leave in order after the login.
pub struct Client {
    caller: Caller,
    state: watch::Receiver<ClientState>,
    ledger: Arc<Ledger>,
    shutdown: Shutdown,
    tasks: TaskTracker,
}

impl Client {
    /// Starts dialling with `dial`, as `endpoint.reconnect` says, with credentials asked anew before every attempt. Needs a tokio
    /// runtime.
    pub fn start<D: Dial>(dial: D, credentials: Arc<dyn CredentialSource>, endpoint: Endpoint) -> Self {
        Self::start_with_commands(dial, credentials, endpoint).0
    }

    /// The same, and a way to hand the session inputs that only its adapter knows.
    pub fn start_with_commands<D: Dial>(
        dial: D,
        credentials: Arc<dyn CredentialSource>,
        mut endpoint: Endpoint,
    ) -> (Self, Commands<<D::Session as Session>::Command>) {
        endpoint.shutdown = endpoint.shutdown.child();
        let queue = Arc::new(Queue::new(&endpoint.limits));
        let caller = Caller::over_queue(
            Arc::clone(&queue) as _,
            endpoint.surroundings.clone(),
            endpoint.limits.call_timeout,
        );
        let (tell, state) = watch::channel(ClientState::Connecting);
        let tasks = TaskTracker::new();
        let ledger = Arc::clone(&endpoint.ledger);
        let shutdown = endpoint.shutdown.clone();
        let supervisor = Supervisor {
            dial,
            credentials,
            endpoint: Arc::new(endpoint),
            queue: Arc::clone(&queue),
            state: tell,
        };
        tasks.spawn(supervisor.run());
        tasks.close();
        (Self { caller, state, ledger, shutdown, tasks }, Commands(queue))
    }

    /// A client that is kept up by other means, such as a pool of connections.
    pub fn custom(
        caller: Caller,
        state: watch::Receiver<ClientState>,
        ledger: Arc<Ledger>,
        shutdown: Shutdown,
        tasks: TaskTracker,
    ) -> Self {
        Self { caller, state, ledger, shutdown, tasks }
    }

    /// Calls the peer.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What was counted.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Where the client stands now.
    pub fn state(&self) -> ClientState {
        self.state.borrow().clone()
    }

    /// Follows where the client stands.
    pub fn watch(&self) -> watch::Receiver<ClientState> {
        self.state.clone()
    }

    /// Waits until the client is connected and logged in.
    ///
    /// # Errors
    /// `unauthenticated` when the login was refused for good, `unavailable` when the client is over.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn ready(&self) -> Result<(), Failure> {
        let mut state = self.state.clone();
        loop {
            match &*state.borrow_and_update() {
                ClientState::Ready => return Ok(()),
                ClientState::Refused(refusal) => return Err(refusal.clone().into()),
                ClientState::Closed(why) => return Err(Failure::new(Code::Unavailable, why.clone())),
                ClientState::Connecting | ClientState::Waiting(_) => {}
            }
            if state.changed().await.is_err() {
                return Err(Failure::new(Code::Unavailable, "the client is over"));
            }
        }
    }

    /// Drains calls in flight for up to `drain_timeout`, closes the connection and gives back when it is gone.
    ///
    /// # Cancel safety
    /// Dropped before it is done, the connection ends at once.
    pub async fn shutdown(self) {
        self.shutdown.drain();
        self.tasks.wait().await;
    }
}

impl Drop for Client {
    /// A client that is dropped stops at once.
    fn drop(&mut self) {
        self.shutdown.stop();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// Hands the session of whichever connection is up inputs that only its adapter knows.
pub struct Commands<C>(Arc<Queue<C>>);

impl<C> Commands<C> {
    /// Sends a command; it waits its turn behind what was queued before.
    pub fn send(&self, command: C) {
        self.0.command(command);
    }
}

impl<C> Clone for Commands<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> fmt::Debug for Commands<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Commands")
    }
}

struct Supervisor<D: Dial> {
    dial: D,
    credentials: Arc<dyn CredentialSource>,
    endpoint: Arc<Endpoint>,
    queue: Arc<Queue<<D::Session as Session>::Command>>,
    state: watch::Sender<ClientState>,
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

impl<D: Dial> Supervisor<D> {
    async fn run(self) {
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
                    failures = if up >= self.endpoint.reconnect.settled_after || attempt.given_up {
                        0
                    } else {
                        failures
                    };
                    refusals = 0;
                    lost = Some((now, attempt.why.clone()));
                }
                None => {
                    refusals = if attempt.refused.is_some() { refusals.saturating_add(1) } else { refusals }
                }
            }
            failures = failures.saturating_add(1);
            if let Some(close) = self.queue.take_close() {
                break ClientState::Closed(close.to_string());
            }
            if !self.endpoint.reconnect.enabled || attempt.hopeless {
                break match attempt.refused {
                    Some(refusal) => ClientState::Refused(refusal),
                    None => ClientState::Closed(attempt.why),
                };
            }
            let mut pause = self.endpoint.reconnect.pause(failures, &*self.endpoint.surroundings.random);
            if attempt.given_up {
                // Nothing is wrong with the peer: the connection is replaced at once, at the pace of `DialRate`.
                pause = Duration::ZERO;
            }
            if refusals >= self.endpoint.reconnect.max_refusals {
                let refusal = attempt.refused.unwrap_or_else(|| Refusal::new(attempt.why));
                let Some(slow) = self.endpoint.reconnect.refused_pause else {
                    break ClientState::Refused(refusal);
                };
                self.state.send_replace(ClientState::Refused(refusal));
                pause = slow;
            } else {
                tracing::debug!(wire = self.endpoint.wire, why = %attempt.why, ?pause, "no connection");
                self.state.send_replace(ClientState::Waiting(attempt.why));
            }
            let clock = &self.endpoint.surroundings.clock;
            if self.while_waiting(sleep_until(&**clock, now + pause)).await.is_none() {
                break ClientState::Closed("shut down".to_owned());
            }
        };
        let (code, why) = match &last {
            ClientState::Refused(refusal) => (Code::Unauthenticated, refusal.to_string()),
            ClientState::Closed(why) => (Code::Unavailable, why.clone()),
            _ => (Code::Unavailable, String::new()),
        };
        let (calls, events) = self.queue.end(code, &why);
        self.count_ended(calls, 0);
        self.endpoint.ledger.add(Count::EventsNotSent, events);
        self.state.send_replace(last);
    }

    /// One attempt: ask for credentials, dial, log in, and stay until the connection ends.
    async fn attempt(&self, number: u32, lost: Option<&(Moment, String)>) -> Attempt {
        let failed = Attempt::failed;
        let clock = &self.endpoint.surroundings.clock;
        // Boxed apart from this task, which lives as long as the client and would hold room for the dial and the parts beside the
        // connection.
        let opening = Box::pin(async {
            let parts = self.dial_in_time(number, lost.is_some()).await?;
            Ok(self.connect(parts, lost))
        });
        let (mut connection, mut link) = match self.while_waiting(opening).await {
            Some(Ok(opened)) => opened,
            Some(Err(attempt)) => return attempt,
            None => return failed("shut down".to_owned(), true),
        };
        let mut up_since = None;
        let Ended { reason, .. } = tokio::select! {
            biased;
            ended = &mut connection => ended,
            established = link.established() => {
                if established {
                    up_since = Some(clock.now());
                    self.state.send_replace(ClientState::Ready);
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
        let (mut connection, link) = Connection::over_queue(
            transport,
            codec,
            session,
            Arc::clone(&self.endpoint),
            Some(self.dial.address()),
            Arc::clone(&self.queue),
            true,
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
            let (not_sent, cancelled) = self.queue.expire(clock.now());
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

/// The event that tells of a gap.
pub(crate) fn gap_event(since: Duration, reason: &str) -> Event {
    let mut text = bytes::BytesMut::new();
    text.extend_from_slice(format!("{{\"since_ms\":{},\"reason\":", since.as_millis()).as_bytes());
    json::write_string(&mut text, reason);
    text.extend_from_slice(b"}");
    Event::new(GAP, Body::Json(JsonText::from_validated(text.freeze())))
}
