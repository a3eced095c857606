//! Both ends of one wire, running.

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{
    Body, Caller, Client, Close, Count, Event, Ledger, Limits, Observe, Outcome, Peer, Request, Route,
    Server, Shutdown,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::app::App;
use crate::case::{Broken, holds, numbered, until, within};
use crate::clock::HandClock;
use crate::finding::Direction;
use crate::joint::Joint;

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
}

impl Guests {
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
        self.present.send_modify(|present| present.push(peer.clone()));
    }

    fn disconnected(&self, peer: &Peer, _: &Close) {
        self.present.send_modify(|present| present.retain(|other| other.id() != peer.id()));
    }
}

/// Both ends: `near` calls, `far` serves.
pub(crate) struct Rig {
    direction: Direction,
    pub(crate) clock: HandClock,
    pub(crate) joint: Box<dyn Joint>,
    pub(crate) server: Server,
    pub(crate) client: Client,
    pub(crate) near: End,
    pub(crate) far: End,
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
        Self { direction, clock, joint, server, client, near, far }
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
        let ready = within("the client to be ready", self.client.ready()).await?;
        ready.map_err(|failure| Broken::new(format!("the client cannot log in: {failure}")))?;
        self.listening().guests.one().await?;
        self.settled().await
    }

    /// What the client says once it is logged in has reached the server, such as which events it wants.
    async fn settled(&self) -> Result<(), Broken> {
        if self.direction == Direction::Swapped {
            let request = Request::new(named("echo.ready")?, numbered(0));
            let outcome = within("the first answer", self.client.caller().call(request)).await?;
            outcome.map_err(|error| Broken::new(format!("the first call of the client ends as {error}")))?;
        }
        Ok(())
    }

    /// Lets time pass until a call of the client is answered, over whichever connection it then has.
    pub(crate) async fn reconnect(&self) -> Result<(), Broken> {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        let request = Request::new(named("echo.back")?, numbered(0));
        let back = async {
            loop {
                let call = self.client.caller().call(request.clone());
                tokio::pin!(call);
                loop {
                    tokio::select! {
                        biased;
                        outcome = &mut call => match outcome {
                            Ok(_) => return Ok(()),
                            Err(error) if self.client.caller().has_ended() => return Err(error),
                            Err(_) => break,
                        },
                        _ = look.tick() => self.clock.advance(Duration::from_millis(100)),
                    }
                }
            }
        };
        let back = within("the client to come back", back).await?;
        back.map_err(|error| Broken::new(format!("the client does not come back: {error}")))
    }

    /// Who calls: the client's caller, or that of the peer which the server has now.
    pub(crate) async fn caller(&self) -> Result<Caller, Broken> {
        match self.direction {
            Direction::Forward => Ok(self.client.caller().clone()),
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

    /// Ends both sides in order; the books of both must then balance.
    pub(crate) async fn end(self) -> Result<(), Broken> {
        let Self { server, client, near, far, joint, clock, .. } = self;
        for end in [&near, &far] {
            end.app.release();
        }
        let ending = async {
            client.shutdown().await;
            server.shutdown().await;
        };
        // Whoever hangs is waited for until the drain is over.
        let mut look = tokio::time::interval(Duration::from_millis(50));
        let ended = async {
            tokio::pin!(ending);
            loop {
                tokio::select! {
                    biased;
                    () = &mut ending => return,
                    _ = look.tick() => clock.advance(Duration::from_secs(1)),
                }
            }
        };
        within("both ends to shut down", ended).await?;
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

/// Every frame, every call and every request is accounted for once nothing is running.
pub(crate) fn balance(ledger: &Ledger, which: &str) -> Result<(), Broken> {
    let of = |counts: &[Count]| counts.iter().map(|count| ledger.get(*count)).sum::<u64>();
    let books = format!("in the books of the side that {which}: {:?}", ledger.snapshot());
    let lost = ledger.unaccounted_frames();
    holds!(lost == 0, "{lost} frames are not accounted for {books}");
    let ends = [
        Count::CallsAnswered,
        Count::CallsFailed,
        Count::CallsNotSent,
        Count::CallsUnknown,
        Count::CallsCancelled,
    ];
    holds!(of(&[Count::Calls]) == of(&ends), "calls and their ends do not add up {books}");
    let ends = [Count::RequestsAnswered, Count::RequestsFailed, Count::RequestsAbandoned];
    holds!(of(&[Count::Requests]) == of(&ends), "requests and their ends do not add up {books}");
    Ok(())
}
