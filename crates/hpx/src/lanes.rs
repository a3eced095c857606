//! The connections of one client, as its callers see them: one call on each, everybody else waits in turn.
//!
//! Only a lane that is logged in takes calls, so a connection that the server leaves without a greeting holds up nobody.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use polywire_core::{
    BoxFuture, Call, CallError, Caller, ClientState, Code, Commands, Due, Endpoint, Event, Follow, Moment,
    Outcome, Request, Standing, sleep_until,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::session::Wake;

/// The lanes of one client.
pub(crate) struct Lanes {
    lanes: Mutex<Vec<Lane>>,
    /// One permit for each lane that is on offer; whoever waits for one is served in turn. Closed when no lane will come back.
    free: Semaphore,
    /// One permit for each call that may be in flight or wait.
    places: Semaphore,
    /// How the client stands: as well as its best lane.
    standing: Standing,
    endpoint: Arc<Endpoint>,
}

struct Lane {
    caller: Caller,
    commands: Commands<Wake>,
    state: ClientState,
    /// It will not come back.
    over: bool,
    /// A permit stands for it: it was logged in when the permit was made.
    offered: bool,
    /// A call uses it.
    busy: bool,
}

impl Lane {
    fn is_ready(&self) -> bool {
        self.state == ClientState::Ready
    }
}

/// The use of one lane by one call.
struct Use<'a> {
    lanes: &'a Lanes,
    lane: usize,
    caller: Caller,
    permit: Option<SemaphorePermit<'a>>,
}

impl Lanes {
    /// Lanes for up to `lanes` connections of `endpoint`, whose limits say how many calls may wait.
    pub(crate) fn new(lanes: usize, endpoint: Arc<Endpoint>) -> Arc<Self> {
        Arc::new(Self {
            lanes: Mutex::new(Vec::with_capacity(lanes)),
            free: Semaphore::new(0),
            places: Semaphore::new(lanes.saturating_add(endpoint.limits.max_queue_messages)),
            standing: Standing::new(),
            endpoint,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Lane>> {
        // Nothing panics while it is held, and every state of it is a whole one.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the client stands.
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// How many lanes there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Adds the lane that `open` makes for its slot.
    pub(crate) fn open(&self, open: impl FnOnce(usize) -> (Caller, Commands<Wake>)) {
        // Held while it is made: a new lane may have something to tell before it stands here.
        let mut lanes = self.lock();
        let (caller, commands) = open(lanes.len());
        let state = ClientState::Connecting;
        lanes.push(Lane { caller, commands, state, over: false, offered: false, busy: false });
    }

    /// Hands the session in a slot a word of another.
    pub(crate) fn tell(&self, slot: usize, wake: Wake) {
        let commands = self.lock().get(slot).map(|lane| lane.commands.clone());
        if let Some(commands) = commands {
            commands.send(wake);
        }
    }

    /// A lane stands differently: it is offered when it is logged in, and the client stands as well as its best lane.
    pub(crate) fn stands(&self, slot: usize, state: ClientState, over: bool) {
        let rank = |state: &ClientState| match state {
            ClientState::Ready => 0,
            ClientState::Connecting => 1,
            ClientState::Waiting(_) => 2,
            ClientState::Denied(_) => 3,
            ClientState::Refused(_) => 4,
            _ => 5,
        };
        let mut lanes = self.lock();
        let Some(lane) = lanes.get_mut(slot) else { return };
        (lane.state, lane.over) = (state, over);
        if !lane.offered && lane.is_ready() {
            lane.offered = true;
            self.free.add_permits(1);
        }
        let over = lanes.iter().all(|lane| lane.over);
        let best = lanes.iter().map(|lane| &lane.state).min_by_key(|state| rank(state)).cloned();
        if let Some(best) = best.filter(|best| over || *best != self.standing.state()) {
            self.standing.stands(best, over);
        }
        if over {
            self.free.close();
        }
    }

    /// The lane that a permit was given for; `None` when it was lost meanwhile, and the permit with it.
    fn take<'a>(&'a self, permit: SemaphorePermit<'a>) -> Option<Use<'a>> {
        let mut lanes = self.lock();
        let free = lanes.iter_mut().enumerate().filter(|(_, lane)| lane.offered && !lane.busy);
        let mut lost = None;
        for (number, lane) in free {
            if lane.is_ready() {
                lane.busy = true;
                return Some(Use {
                    lanes: self,
                    lane: number,
                    caller: lane.caller.clone(),
                    permit: Some(permit),
                });
            }
            lost = Some(lane);
        }
        if let Some(lane) = lost {
            lane.offered = false;
        }
        permit.forget();
        None
    }

    /// Waits for a lane.
    async fn lane(&self, deadline: Moment) -> Result<Use<'_>, CallError> {
        let Endpoint { shutdown, surroundings, .. } = &*self.endpoint;
        loop {
            let permit = match self.free.try_acquire() {
                Ok(permit) => Some(permit),
                Err(_) => tokio::select! {
                    biased;
                    () = shutdown.draining() => None,
                    permit = self.free.acquire() => permit.ok(),
                    () = sleep_until(&*surroundings.clock, deadline) => {
                        let waited = format!("no connection was free ({})", self.words());
                        return Err(CallError::too_late(&waited, self.endpoint.limits.call_timeout));
                    }
                },
            };
            // Once the client drains no call is taken any more; those in flight go on.
            let Some(permit) = permit.filter(|_| !shutdown.is_draining()) else {
                let refused = matches!(self.standing.state(), ClientState::Refused(_));
                let code = if refused { Code::Unauthenticated } else { Code::Unavailable };
                return Err(CallError::not_sent(code, self.words()));
            };
            if let Some(lane) = self.take(permit) {
                return Ok(lane);
            }
        }
    }

    /// How the client stands, for people.
    fn words(&self) -> String {
        match self.standing.state() {
            _ if self.endpoint.shutdown.is_draining() => "shut down".to_owned(),
            ClientState::Ready => "all are in use".to_owned(),
            ClientState::Waiting(why) | ClientState::Closed(why) => why,
            ClientState::Denied(refusal) | ClientState::Refused(refusal) => refusal.to_string(),
            _ => "none is logged in yet".to_owned(),
        }
    }

    async fn call(&self, mut request: Request) -> Outcome {
        let Endpoint { limits, surroundings, .. } = &*self.endpoint;
        let deadline = request.due.moment(surroundings.clock.now(), limits.call_timeout);
        let Ok(_place) = self.places.try_acquire() else {
            let why = format!("queue is full: max_queue_messages = {}", limits.max_queue_messages);
            return Err(CallError::not_sent(Code::ResourceExhausted, why));
        };
        let lane = self.lane(deadline).await?;
        request.due = Due::At(deadline);
        lane.caller.call(request).await
    }
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        let mut lanes = self.lanes.lock();
        let Some(lane) = lanes.get_mut(self.lane) else { return };
        lane.busy = false;
        if !lane.is_ready()
            && let Some(permit) = self.permit.take()
        {
            // It is offered again once it is back.
            lane.offered = false;
            permit.forget();
        }
    }
}

/// How callers reach the lanes.
pub(crate) struct Entry(pub(crate) Arc<Lanes>);

impl Call for Entry {
    fn call(&self, request: Request) -> BoxFuture<'_, Outcome> {
        Box::pin(self.0.call(request))
    }

    fn notify(&self, _event: Event) -> BoxFuture<'_, Result<(), CallError>> {
        let why = "HPX carries no events";
        Box::pin(async move { Err(CallError::not_sent(Code::Unimplemented, why)) })
    }

    fn has_ended(&self) -> bool {
        self.0.free.is_closed() || self.0.endpoint.shutdown.is_draining()
    }
}
