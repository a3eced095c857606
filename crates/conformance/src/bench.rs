//! What a case is given: the wire, what it declares, and the way to have both its ends running.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use polywire_core::{
    Adapter, Capabilities, Endpoint, EventForm, Ledger, Limits, Particulars, Reconnect, Route, Secret,
    Shutdown, Surroundings,
};

use crate::app::App;
use crate::case::Broken;
use crate::clock::HandClock;
use crate::door::Door;
use crate::finding::Direction;
use crate::joint::Way;
use crate::recorder::Recorder;
use crate::rig::{End, Guests, Rig};
use crate::setup::{EVENTS, Setup};

/// What the server lets in.
pub(crate) const RIGHT: &str = "conformance-right-c0ffee5eed1dea51";
/// What it does not.
pub(crate) const WRONG: &str = "conformance-wrong-0ddba11ca5cade77";
/// A word of an application, which is none of a log's business either.
pub(crate) const BODY: &str = "conformance-body-feedface8badf00d";
/// What must not be seen.
pub(crate) const SECRETS: &[&str] = &[RIGHT, WRONG, BODY];

/// The wire under test, and the direction it is tested in.
pub(crate) struct Bench<'a> {
    pub(crate) setup: &'a dyn Setup,
    pub(crate) adapter: Box<dyn Adapter>,
    pub(crate) direction: Direction,
    pub(crate) wire: Capabilities,
    pub(crate) particulars: Particulars,
    /// What is logged meanwhile.
    pub(crate) log: Recorder,
}

/// The bounds under which the suite runs: times that are short enough for no heartbeat to be missed meanwhile.
pub(crate) fn limits() -> Limits {
    Limits {
        login_timeout: Duration::from_secs(5),
        frame_timeout: Duration::from_secs(5),
        write_timeout: Duration::from_secs(5),
        call_timeout: Duration::from_secs(10),
        handler_timeout: Duration::from_secs(20),
        drain_timeout: Duration::from_secs(10),
        ..Limits::default()
    }
}

/// What differs between the ends of one case and of another.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The bounds of the side that serves.
    pub(crate) far: Limits,
    /// The bounds of the side that calls.
    pub(crate) near: Limits,
    /// What the client shows.
    pub(crate) secret: &'static str,
    /// What the server lets in.
    pub(crate) lets_in: &'static str,
    pub(crate) reconnect: Reconnect,
    /// The client dials where nobody listens.
    pub(crate) nowhere: bool,
    /// Logins wait here.
    pub(crate) door: Option<Door>,
    /// Nothing goes this way, from the beginning.
    pub(crate) stalled: Option<Way>,
    /// Decides what both ends draw by chance, such as ids of sessions.
    pub(crate) seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        let pause = Duration::from_millis(100);
        Self {
            far: limits(),
            near: limits(),
            secret: RIGHT,
            lets_in: RIGHT,
            reconnect: Reconnect { first_pause: pause, max_pause: pause, ..Reconnect::default() },
            nowhere: false,
            door: None,
            stalled: None,
            seed: 7,
        }
    }
}

impl<'a> Bench<'a> {
    pub(crate) fn new(setup: &'a dyn Setup, direction: Direction, log: Recorder) -> Result<Self, Broken> {
        let adapter = setup.adapter();
        let options = setup.listen(&Secret::from(RIGHT)).options;
        let declared = |error| Broken::new(format!("the adapter cannot say what it can carry: {error}"));
        let wire = adapter.capabilities(&options).map_err(declared)?;
        let particulars = adapter.particulars(&options).map_err(declared)?;
        Ok(Self { setup, adapter, direction, wire, particulars, log })
    }

    /// May the side that calls in this direction do so on this wire?
    pub(crate) fn calls(&self) -> bool {
        self.direction == Direction::Forward || self.wire.server_calls
    }

    /// How many calls the wire has in flight at once, of so many.
    pub(crate) fn at_once(&self, most: usize) -> usize {
        most.min(self.wire.max_concurrent_calls as usize)
    }

    /// Has the wire more calls in flight at once than so many?
    pub(crate) fn has_more_than(&self, most: usize) -> bool {
        self.wire.max_concurrent_calls as usize > most
    }

    /// May it send events?
    pub(crate) fn tells(&self) -> bool {
        match self.direction {
            Direction::Forward => self.wire.client_events,
            Direction::Swapped => self.wire.push,
        }
    }

    /// What a request with `null` arrives as in this direction.
    pub(crate) fn null_request(&self) -> &'static str {
        match self.direction {
            Direction::Forward => self.particulars.null_client_request,
            Direction::Swapped => "null",
        }
    }

    /// The way of what the side that calls sends.
    pub(crate) fn way(&self) -> Way {
        match self.direction {
            Direction::Forward => Way::ToServer,
            Direction::Swapped => Way::ToClient,
        }
    }

    /// The way back.
    pub(crate) fn way_back(&self) -> Way {
        match self.direction {
            Direction::Forward => Way::ToClient,
            Direction::Swapped => Way::ToServer,
        }
    }

    /// The route of an event that arrives in this direction.
    pub(crate) fn event_route(&self) -> Route {
        let [ours, _] = EVENTS;
        let name = match (self.direction, self.particulars.client_events) {
            (Direction::Forward, EventForm::Only(names)) => names.first().copied().unwrap_or(ours),
            _ => ours,
        };
        Route::from_static(name)
    }

    /// Both ends, joined and logged in.
    pub(crate) async fn start(&self) -> Result<Rig, Broken> {
        self.start_with(Plan::default()).await
    }

    /// The same by a plan of one's own.
    pub(crate) async fn start_with(&self, plan: Plan) -> Result<Rig, Broken> {
        let rig = self.dial(plan).await?;
        rig.ready().await?;
        Ok(rig)
    }

    /// Both ends, and a client that has only begun to dial.
    pub(crate) async fn dial(&self, plan: Plan) -> Result<Rig, Broken> {
        let clock = HandClock::new();
        let surroundings = Surroundings { clock: Arc::new(clock.clone()), ..Surroundings::seeded(plan.seed) };
        let turns = Arc::default();
        let [near, far] = [&plan.near, &plan.far].map(|limits| self.end(limits, &turns));
        let (client, server) = match self.direction {
            Direction::Forward => (&near, &far),
            Direction::Swapped => (&far, &near),
        };
        let right = Secret::from(plan.lets_in);
        let mut endpoint = self.endpoint(server, &surroundings);
        let judge = self.setup.authenticator(&right);
        endpoint.authenticator = Some(match &plan.door {
            Some(door) => door.before(judge),
            None => judge,
        });
        let listening = self.adapter.listen(self.setup.listen(&right), endpoint).await;
        let listening = listening.map_err(|error| Broken::new(format!("cannot listen: {error}")))?;
        let joint = self.setup.join(listening.address()).await;
        let joint = joint.map_err(|error| Broken::new(format!("the ends cannot be joined: {error}")))?;
        plan.stalled.into_iter().for_each(|way| joint.stall(way));
        let mut endpoint = self.endpoint(client, &surroundings);
        endpoint.reconnect = plan.reconnect;
        let address = if plan.nowhere { joint.nowhere() } else { joint.address() };
        let target = self.setup.dial(&address, &Secret::from(plan.secret));
        let dialling = self.adapter.dial(target, endpoint).await;
        let dialling = dialling.map_err(|error| Broken::new(format!("cannot dial: {error}")))?;
        Ok(Rig::new(self.direction, clock, joint, listening, dialling, near, far))
    }

    fn end(&self, limits: &Limits, turns: &Arc<AtomicUsize>) -> End {
        End {
            app: App::new(turns),
            ledger: Arc::new(Ledger::new()),
            guests: Arc::new(Guests::default()),
            limits: limits.clone(),
            shutdown: Shutdown::new(),
        }
    }

    fn endpoint(&self, end: &End, surroundings: &Surroundings) -> Endpoint {
        Endpoint {
            observer: Some(Arc::clone(&end.guests) as _),
            limits: Arc::new(end.limits.clone()),
            ledger: Arc::clone(&end.ledger),
            surroundings: surroundings.clone(),
            shutdown: end.shutdown.clone(),
            ..Endpoint::new(self.adapter.name(), end.app.clone())
        }
    }
}
