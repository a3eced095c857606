//! Both ends of one wire, running.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use polywire_core::{
    Body, Caller, Client, ClientState, Close, Count, Event, Failure, Ledger, Limits, Observe, Outcome, Peer,
    Request, Route, Server, Shutdown,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::app::App;
use crate::case::{Broken, holds, numbered, until, within};
use crate::clock::HandClock;
use crate::finding::Direction;
use crate::joint::Joint;

/// How often time passes while something is waited for: long enough for an answer to come meanwhile.
const PACE: Duration = Duration::from_millis(20);

/// What the two ends have each.
pub(crate) struct End {
    pub(crate) app: App,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) guests: Arc<Guests>,
    pub(crate) limits: Limits,
    pub(crate) shutdown: Shutdown,
}

/// The peers of one end.
#[derive(Debug, Default)]
pub(crate) struct Guests {
    present: watch::Sender<Vec<Peer>>,
    /// How many came.
    came: AtomicUsize,
    /// Why others have gone or were turned away.
    gone: Mutex<Vec<Close>>,
}

impl Guests {
    /// Has somebody gone, or been turned away, for such a reason?
    pub(crate) fn went(&self, why: impl Fn(&Close) -> bool) -> bool {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).iter().any(why)
    }

    /// Why those went who did, for people.
    pub(crate) fn ends(&self) -> String {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let ends: Vec<_> = gone.iter().map(|why| format!("{why}")).collect();
        if ends.is_empty() { "nobody went".to_owned() } else { ends.join("; ") }
    }

    pub(crate) fn came(&self) -> usize {
        self.came.load(Ordering::Relaxed)
    }

    fn goes(&self, reason: &Close) {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).push(reason.clone());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.present.borrow().is_empty()
    }

    /// Waits until somebody is there, and gives whoever came last.
    pub(crate) async fn one(&self) -> Result<Peer, Broken> {
        let mut present = self.present.subscribe();
        let found = within("a peer", present.wait_for(|present| !present.is_empty())).await?;
        let last = found.ok().and_then(|present| present.last().cloned());
        last.ok_or_else(|| Broken::new("nobody is there"))
    }
}

impl Observe for Guests {
    fn connected(&self, peer: &Peer) {
        self.came.fetch_add(1, Ordering::Relaxed);
        self.present.send_modify(|present| present.push(peer.clone()));
    }

    fn disconnected(&self, peer: &Peer, reason: &Close) {
        self.goes(reason);
        self.present.send_modify(|present| present.retain(|other| other.id() != peer.id()));
    }

    fn turned_away(&self, reason: &Close) {
        self.goes(reason);
    }
}

/// Both ends: `near` calls, `far` serves.
pub(crate) struct Rig {
    direction: Direction,
    pub(crate) clock: HandClock,
    pub(crate) joint: Box<dyn Joint>,
    server: Option<Server>,
    client: Option<Client>,
    /// That of the client.
    caller: Caller,
    pub(crate) near: End,
    pub(crate) far: End,
}

impl fmt::Debug for Rig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, client, joint, .. } = self;
        f.debug_struct("Rig")
            .field("server", server)
            .field("client", client)
            .field("joint", joint)
            .finish_non_exhaustive()
    }
}

impl Rig {
    pub(crate) fn new(
        direction: Direction,
        clock: HandClock,
        joint: Box<dyn Joint>,
        server: Server,
        client: Client,
        near: End,
        far: End,
    ) -> Self {
        let caller = client.caller().clone();
        let (server, client) = (Some(server), Some(client));
        Self { direction, clock, joint, server, client, caller, near, far }
    }

    /// What has the side that dialled.
    pub(crate) fn dialling(&self) -> &End {
        match self.direction {
            Direction::Forward => &self.near,
            Direction::Swapped => &self.far,
        }
    }

    /// What has the side that listens.
    pub(crate) fn listening(&self) -> &End {
        match self.direction {
            Direction::Forward => &self.far,
            Direction::Swapped => &self.near,
        }
    }

    /// Waits until the client is logged in and the server knows it.
    pub(crate) async fn ready(&self) -> Result<(), Broken> {
        if let Some(client) = &self.client {
            let ready = within("the client to be ready", client.ready()).await?;
            ready.map_err(|failure| Broken::new(format!("the client cannot log in: {failure}")))?;
        }
        self.listening().guests.one().await?;
        if self.direction == Direction::Swapped {
            // What the client says once it is logged in has reached the server then, such as which events it wants.
            self.exchange(numbered(0)).await?;
        }
        Ok(())
    }

    /// A call of the client with this body, whoever calls in this direction: it goes there, and its answer comes back with the same.
    pub(crate) async fn exchange(&self, body: Body) -> Result<(), Broken> {
        let request = Request::new(named("echo.exchange")?, body.clone());
        let outcome = within("an answer for the client", self.caller.call(request)).await?;
        let answer = outcome.map_err(|error| Broken::new(format!("a call of the client ends as {error}")))?;
        holds!(answer.body == body, "a call of the client has a wrong answer");
        Ok(())
    }

    /// Has the client logged in?
    pub(crate) fn is_ready(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.state() == ClientState::Ready)
    }

    /// Waits for the client to be refused or closed for good, while time passes.
    pub(crate) async fn over(&self) -> Result<Failure, Broken> {
        let Some(client) = &self.client else { return Err(Broken::new("the client was shut down")) };
        match self.passing(Duration::from_millis(100), "the client to be over", client.ready()).await? {
            Ok(()) => Err(Broken::new("the client is ready")),
            Err(failure) => Ok(failure),
        }
    }

    /// Waits for something while time passes, at this pace.
    pub(crate) async fn passing<F: Future>(
        &self,
        step: Duration,
        what: &str,
        work: F,
    ) -> Result<F::Output, Broken> {
        passing(&self.clock, step, what, work).await
    }

    /// Lets time pass until a call of the client is answered, over whichever connection it then has.
    pub(crate) async fn reconnect(&self) -> Result<(), Broken> {
        self.reconnect_at(Duration::from_millis(100)).await
    }

    /// The same at another pace.
    pub(crate) async fn reconnect_at(&self, step: Duration) -> Result<(), Broken> {
        let request = Request::new(named("echo.back")?, numbered(0));
        let back = async {
            loop {
                match self.caller.call(request.clone()).await {
                    Ok(_) => return Ok(()),
                    Err(error) if self.caller.has_ended() => return Err(error),
                    Err(_) => {}
                }
            }
        };
        let back = self.passing(step, "the client to come back", back).await?;
        back.map_err(|error| Broken::new(format!("the client does not come back: {error}")))
    }

    /// Who calls: the client's caller, or that of the peer which the server has now.
    pub(crate) async fn caller(&self) -> Result<Caller, Broken> {
        match self.direction {
            Direction::Forward => Ok(self.caller.clone()),
            Direction::Swapped => {
                let peer = self.near.guests.one().await?;
                peer.caller().cloned().ok_or_else(|| Broken::new("the server's peer has no caller"))
            }
        }
    }

    /// Makes one call and waits for its outcome.
    pub(crate) async fn call(&self, route: &str, body: Body) -> Result<Outcome, Broken> {
        let caller = self.caller().await?;
        let request = Request::new(named(route)?, body);
        within(&format!("the outcome of {route}"), caller.call(request)).await
    }

    /// Makes one call from a task of its own.
    pub(crate) async fn ask(&self, route: &str, body: Body) -> Result<Asked, Broken> {
        self.ask_within(route, body, self.near.limits.call_timeout).await
    }

    /// The same, to end within this time.
    pub(crate) async fn ask_within(
        &self,
        route: &str,
        body: Body,
        timeout: Duration,
    ) -> Result<Asked, Broken> {
        let caller = self.caller().await?;
        let request = Request::new(named(route)?, body).timeout(timeout);
        let task = tokio::spawn(async move { caller.call(request).await });
        // On the one thread there is, the call is handed over before this goes on.
        tokio::task::yield_now().await;
        Ok(Asked { route: route.to_owned(), task })
    }

    /// Sends one event.
    pub(crate) async fn tell(&self, route: Route, body: Body) -> Result<Result<(), String>, Broken> {
        let caller = self.caller().await?;
        let told = within("room for an event", caller.notify(Event::new(route, body))).await?;
        Ok(told.map_err(|error| error.to_string()))
    }

    /// The connection is as good as before: an ordinary call is answered.
    pub(crate) async fn still_serves(&self) -> Result<(), Broken> {
        let outcome = self.call("echo.still", numbered(0)).await?;
        let answer =
            outcome.map_err(|error| Broken::new(format!("the connection is the worse for it: {error}")))?;
        holds!(answer.body == numbered(0), "an ordinary call has a wrong answer");
        Ok(())
    }

    /// Has the side that serves shut down in order, from a task of its own.
    pub(crate) fn drain_far(&mut self) -> JoinHandle<()> {
        // At once: what is called from now on is too late.
        self.far.shutdown.drain();
        let (mut server, mut client) = (None, None);
        match self.direction {
            Direction::Forward => server = self.server.take(),
            Direction::Swapped => client = self.client.take(),
        }
        tokio::spawn(shut_down(client, server))
    }

    /// Ends both sides in order; the books of both must then balance.
    pub(crate) async fn end(self) -> Result<(), Broken> {
        let Self { server, client, near, far, joint, clock, .. } = self;
        for end in [&near, &far] {
            end.app.release();
        }
        joint.let_go();
        // Whoever hangs is waited for until the drain is over.
        let ending = shut_down(client, server);
        passing(&clock, Duration::from_millis(500), "both ends to shut down", ending).await?;
        drop(joint);
        for (end, which) in [(&near, "calls"), (&far, "serves")] {
            until("every connection to be closed", || {
                end.ledger.get(Count::Connections) == end.ledger.get(Count::Closed)
            })
            .await?;
            balance(&end.ledger, which)?;
        }
        Ok(())
    }
}

async fn shut_down(client: Option<Client>, server: Option<Server>) {
    if let Some(client) = client {
        client.shutdown().await;
    }
    if let Some(server) = server {
        server.shutdown().await;
    }
}

/// Waits for something while time passes: this much at every look.
async fn passing<F: Future>(
    clock: &HandClock,
    step: Duration,
    what: &str,
    work: F,
) -> Result<F::Output, Broken> {
    let mut look = tokio::time::interval(PACE);
    // What a busy machine has missed is not made up for at once, when nothing would happen between two steps.
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    within(what, async {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = look.tick() => clock.advance(step),
            }
        }
    })
    .await
}

/// A call that was made.
pub(crate) struct Asked {
    pub(crate) route: String,
    task: JoinHandle<Outcome>,
}

impl Asked {
    /// Has it ended?
    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// How it ended.
    pub(crate) async fn outcome(self) -> Result<Outcome, Broken> {
        let ended = within(&format!("the outcome of {}", self.route), self.task).await?;
        ended.map_err(|error| {
            Broken::new(format!("the call {} panicked or was given up: {error}", self.route))
        })
    }

    /// Gives the call up.
    pub(crate) fn give_up(self) {
        self.task.abort();
    }
}

pub(crate) fn named(route: &str) -> Result<Route, Broken> {
    Route::new(route.to_owned()).map_err(|error| Broken::new(format!("{route:?} is no route: {error}")))
}

/// How a call can end.
pub(crate) const CALL_ENDS: [Count; 5] = [
    Count::CallsAnswered,
    Count::CallsFailed,
    Count::CallsNotSent,
    Count::CallsUnknown,
    Count::CallsCancelled,
];
/// How a request can end.
pub(crate) const REQUEST_ENDS: [Count; 3] =
    [Count::RequestsAnswered, Count::RequestsFailed, Count::RequestsAbandoned];

/// Every frame, every call and every request is accounted for once nothing is running.
pub(crate) fn balance(ledger: &Ledger, which: &str) -> Result<(), Broken> {
    let of = |counts: &[Count]| counts.iter().map(|count| ledger.get(*count)).sum::<u64>();
    let books = format!("in the books of the side that {which}: {:?}", ledger.snapshot());
    let lost = ledger.unaccounted_frames();
    holds!(lost == 0, "{lost} frames are not accounted for {books}");
    holds!(of(&[Count::Calls]) == of(&CALL_ENDS), "calls and their ends do not add up {books}");
    holds!(of(&[Count::Requests]) == of(&REQUEST_ENDS), "requests and their ends do not add up {books}");
    Ok(())
}
