//! A program that dials: it calls, tells, gives up, and may be started again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_core::{Caller, Client, ClientState, Due, Endpoint, Event, Request, Route};
use tokio::time::{sleep, timeout};

use crate::chance::Chance;
use crate::history::{End, Stream, What};
use crate::server::{DRAIN, GRACE, limits};
use crate::service::{Service, call_body, event_body};
use crate::wires::{self, registry};
use crate::world::Ground;

/// Every route of the service.
pub const ROUTES: &[&str] = &["echo", "echo", "echo", "slow", "slow", "fail", "hang", "panic"];

/// What callers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habits {
    /// What is called, one as often as it stands here.
    pub routes: &'static [&'static str],
    /// Longest time between two calls, in milliseconds.
    pub pause: u64,
    /// Calls of a thousand that are given up.
    pub given_up: u64,
    /// Longest body, in bytes.
    pub padding: u64,
    /// Shortest and longest time a call has, in milliseconds.
    pub timeout: (u64, u64),
    /// Calls of a thousand whose answer comes within a millisecond of the deadline.
    pub at_the_last_moment: u64,
}

/// A program that dials.
pub struct Program {
    ground: Arc<Ground>,
    /// From 1; 0 is the server.
    pub number: u64,
    /// The way it dials.
    pub link: usize,
    wire: &'static str,
    address: String,
    subject: Option<String>,
    /// It will never be let in.
    pub hopeless: bool,
    running: Mutex<Option<Client>>,
    /// How often it was started.
    lives: AtomicU64,
}

impl Program {
    /// A program that is not started. One that is `hopeless` will never be let in.
    pub fn new(
        ground: Arc<Ground>,
        number: u64,
        (link, address): (usize, &str),
        wire: &'static str,
        subject: Option<String>,
        hopeless: bool,
    ) -> Self {
        let address = address.to_owned();
        let (running, lives) = (Mutex::default(), AtomicU64::new(0));
        Self { ground, number, link, wire, address, subject, hopeless, running, lives }
    }

    /// Starts it, in place of what runs of it.
    ///
    /// # Panics
    /// When its options are wrong: that is a fault of the simulation.
    pub async fn start(&self) {
        self.crash();
        let history = &self.ground.history;
        let mut endpoint = Endpoint::new(self.wire, Service::new(history.clone(), self.number));
        endpoint.limits = limits();
        endpoint.surroundings = self.ground.surroundings();
        self.ground.keep(format!("{} client {}", self.wire, self.number), &endpoint.ledger);
        let target = wires::client(self.wire, &self.address, self.subject.as_deref(), self.hopeless);
        self.lives.fetch_add(1, Ordering::Relaxed);
        history.add(What::Started { link: self.link, who: self.number, hopeless: self.hopeless });
        let registry = registry();
        let adapter = registry.get(self.wire).expect("it is there");
        let client = adapter.dial(target, endpoint).await.expect("its options are right");
        let (mut state, history, link) = (client.watch(), history.clone(), self.link);
        self.ground.tasks.spawn(async move {
            while state.changed().await.is_ok() {
                if matches!(*state.borrow(), ClientState::Refused(_)) {
                    history.add(What::Refused { link });
                }
            }
        });
        *self.running.lock().expect("not poisoned") = Some(client);
    }

    /// Ends it at once.
    pub fn crash(&self) {
        let client = self.running.lock().expect("not poisoned").take();
        drop(client);
    }

    /// Drains it.
    pub async fn drain(&self) {
        let client = self.running.lock().expect("not poisoned").take();
        let Some(client) = client else { return };
        let since = self.ground.history.now();
        client.shutdown().await;
        let took = self.ground.history.now() - since;
        let who = format!("client {}", self.number);
        self.ground.history.add(What::Drained { who, took, limit: DRAIN + GRACE });
    }

    /// Its way of calling, while it runs.
    fn caller(&self) -> Option<Caller> {
        self.running.lock().expect("not poisoned").as_ref().map(|client| client.caller().clone())
    }

    /// Has it stopped for good?
    pub fn is_over(&self) -> bool {
        let running = self.running.lock().expect("not poisoned");
        running
            .as_ref()
            .is_none_or(|client| matches!(client.state(), ClientState::Refused(_) | ClientState::Closed(_)))
    }

    /// Makes calls until `until`.
    pub async fn call(self: Arc<Self>, habits: Habits, until: Duration) {
        let chance = Chance::new(self.ground.seed, 100 + self.number);
        while self.ground.history.now() < until {
            sleep(chance.millis(1..habits.pause.max(2))).await;
            self.call_once(&chance, &habits);
        }
    }

    /// Makes a call, if it runs.
    pub fn call_once(&self, chance: &Chance, habits: &Habits) {
        let Some(caller) = self.caller() else { return };
        let call = drawn(&self.ground, chance, habits);
        if self.hopeless {
            self.ground.history.add(What::Uninvited { nonce: call.nonce });
        }
        self.ground.calls.spawn(Arc::clone(&self.ground).make(caller, call));
    }

    /// Tells the server events until `until`, numbered anew in each of its lives.
    pub async fn tell(self: Arc<Self>, until: Duration) {
        let chance = Chance::new(self.ground.seed, 200 + self.number);
        let (mut life, mut sequence) = (0, 0);
        while self.ground.history.now() < until {
            sleep(chance.millis(20..600)).await;
            let Some(caller) = self.caller() else { continue };
            let now = self.lives.load(Ordering::Relaxed);
            if std::mem::replace(&mut life, now) != now {
                sequence = 0;
            }
            let stream = Stream { source: self.number, key: life };
            if note(&caller, stream, sequence).await {
                self.ground.history.add(What::Told { stream, sequence });
                sequence += 1;
            }
        }
    }

    /// Tells the server one event; says whether it was taken.
    pub async fn tell_one(&self, stream: Stream, sequence: u64) -> bool {
        match self.caller() {
            Some(caller) => note(&caller, stream, sequence).await,
            None => false,
        }
    }

    /// Asks until it is answered or all `is_over`, and writes down how long that took; says whether it was answered.
    pub async fn probe(&self, patience: Duration, is_over: impl Fn() -> bool) -> bool {
        let since = self.ground.history.now();
        let chance = Chance::new(self.ground.seed, 300 + self.number);
        let took = || self.ground.history.now() - since;
        let mut answered = false;
        while !answered && took() < patience {
            let Some(caller) = self.caller() else { break };
            let call = PlannedCall::new(&self.ground, "echo", Duration::from_secs(5));
            answered = matches!(self.ground.make_one(caller, call).await, Some(End::Answered(_)));
            if !answered && is_over() {
                return false;
            }
            sleep(chance.millis(50..500)).await;
        }
        self.ground.history.add(What::Served { who: self.number, answered, took: took() });
        answered
    }
}

/// Tells one event; says whether it was taken.
async fn note(caller: &Caller, stream: Stream, sequence: u64) -> bool {
    let event = Event::new(Route::from_static("noted"), event_body(stream, sequence));
    matches!(timeout(Duration::from_secs(2), caller.notify(event)).await, Ok(Ok(())))
}

/// One call before it is made.
pub struct PlannedCall {
    nonce: u64,
    route: &'static str,
    wait: Duration,
    padding: usize,
    timeout: Duration,
    given_up: Option<Duration>,
}

impl PlannedCall {
    /// A small call.
    pub fn new(ground: &Ground, route: &'static str, timeout: Duration) -> Self {
        Self { nonce: ground.nonce(), route, wait: Duration::ZERO, padding: 0, timeout, given_up: None }
    }
}

/// A call by chance.
pub fn drawn(ground: &Ground, chance: &Chance, habits: &Habits) -> PlannedCall {
    let route = *chance.pick(habits.routes);
    let timeout = chance.millis(habits.timeout.0..habits.timeout.1 + 1);
    let mut call = PlannedCall::new(ground, route, timeout);
    call.wait = chance.millis(1..2_000);
    if chance.happens(habits.at_the_last_moment) {
        // Late or in time by as little as the network makes of it.
        call.route = "slow";
        call.wait = (timeout + Duration::from_millis(1)).saturating_sub(chance.millis(0..6));
    }
    if chance.happens(200) {
        call.padding = usize::try_from(chance.below(habits.padding)).unwrap_or_default();
    }
    call.given_up = chance.happens(habits.given_up).then(|| chance.millis(0..1_500));
    call
}

impl Ground {
    /// Makes one call, and writes down its end or that it was given up.
    pub async fn make(self: Arc<Self>, caller: Caller, call: PlannedCall) {
        self.make_one(caller, call).await;
    }

    async fn make_one(&self, caller: Caller, call: PlannedCall) -> Option<End> {
        let PlannedCall { nonce, route, wait, padding, timeout: limit, given_up } = call;
        let body = call_body(nonce, wait, padding);
        let mut request = Request::new(Route::from_static(route), body);
        request.due = Due::In(limit);
        self.history.add(What::Called { nonce, deadline: self.history.now() + limit });
        let outcome = match given_up {
            Some(patience) => timeout(patience, caller.call(request)).await.ok(),
            None => Some(caller.call(request).await),
        };
        let end = outcome.as_ref().map(End::from);
        self.history.add(match &end {
            Some(end) => What::Ended { nonce, end: end.clone() },
            None => What::GivenUp { nonce },
        });
        end
    }
}
