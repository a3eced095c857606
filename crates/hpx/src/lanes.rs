//! The connections of one client, as its callers see them: one call on each, everybody else waits in turn.
//!
//! Only a lane that is logged in takes calls, so a connection that the server leaves without a greeting holds up nobody.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use polywire_core::{
    BoxFuture, Call, CallError, Caller, Client, ClientState, Code, Due, Event, Moment, Outcome, Request,
    Surroundings, sleep_until,
};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

/// The lanes of one client.
pub(crate) struct Lanes {
    lanes: Mutex<Vec<Lane>>,
    /// One permit for each lane that is on offer; whoever waits for one is served in turn. Closed when no lane will come back.
    free: Semaphore,
    /// One permit for each call that may be in flight or wait.
    places: Semaphore,
    max_waiting: usize,
    state: watch::Sender<ClientState>,
    surroundings: Surroundings,
    timeout: Duration,
}

struct Lane {
    caller: Caller,
    state: watch::Receiver<ClientState>,
    /// A permit stands for it: it was logged in when the permit was made.
    offered: bool,
    /// A call uses it.
    busy: bool,
}

impl Lane {
    fn is_ready(&self) -> bool {
        *self.state.borrow() == ClientState::Ready
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
    /// Lanes for up to `lanes` connections; `max_waiting` calls may wait, and a call ends after `timeout` unless it says otherwise.
    pub(crate) fn new(
        lanes: usize,
        max_waiting: usize,
        timeout: Duration,
        surroundings: Surroundings,
    ) -> (Arc<Self>, watch::Receiver<ClientState>) {
        let (state, watching) = watch::channel(ClientState::Connecting);
        let lanes = Self {
            lanes: Mutex::default(),
            free: Semaphore::new(0),
            places: Semaphore::new(lanes.saturating_add(max_waiting)),
            max_waiting,
            state,
            surroundings,
            timeout,
        };
        (Arc::new(lanes), watching)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Lane>> {
        // Nothing panics while it is held, and every state of it is a whole one.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the lane of `client`.
    pub(crate) fn open(&self, client: &Client) {
        let lane =
            Lane { caller: client.caller().clone(), state: client.watch(), offered: false, busy: false };
        self.lock().push(lane);
    }

    /// A lane changed: it is offered when it is logged in, and the client stands as well as its best lane.
    pub(crate) fn update(&self) {
        let rank = |state: &ClientState| match state {
            ClientState::Ready => 0,
            ClientState::Connecting => 1,
            ClientState::Waiting(_) => 2,
            ClientState::Refused(_) => 3,
            _ => 4,
        };
        let mut lanes = self.lock();
        for lane in lanes.iter_mut().filter(|lane| !lane.offered && lane.is_ready()) {
            lane.offered = true;
            self.free.add_permits(1);
        }
        if let Some(best) = lanes.iter().map(|lane| lane.state.borrow().clone()).min_by_key(rank) {
            self.state.send_if_modified(|state| {
                let changed = *state != best;
                *state = best;
                changed
            });
        }
        if lanes.iter().all(|lane| lane.state.has_changed().is_err()) {
            self.free.close();
        }
    }

    /// No call is taken any more; those in flight go on.
    pub(crate) fn close(&self) {
        self.free.close();
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
        let clock = &self.surroundings.clock;
        loop {
            let permit = match self.free.try_acquire() {
                Ok(permit) => Ok(permit),
                Err(_) => tokio::select! {
                    biased;
                    permit = self.free.acquire() => permit,
                    () = sleep_until(&**clock, deadline) => {
                        let text = format!("no connection was free before the deadline; {}", self.standing());
                        return Err(CallError::not_sent(Code::DeadlineExceeded, text));
                    }
                },
            };
            let Ok(permit) = permit else {
                let refused = matches!(*self.state.borrow(), ClientState::Refused(_));
                let code = if refused { Code::Unauthenticated } else { Code::Unavailable };
                return Err(CallError::not_sent(code, self.standing()));
            };
            if let Some(lane) = self.take(permit) {
                return Ok(lane);
            }
        }
    }

    /// How the client stands, for people.
    fn standing(&self) -> String {
        match &*self.state.borrow() {
            ClientState::Ready => "all are in use".to_owned(),
            ClientState::Waiting(why) | ClientState::Closed(why) => why.clone(),
            ClientState::Refused(refusal) => refusal.to_string(),
            _ => "none is logged in yet".to_owned(),
        }
    }

    async fn call(&self, mut request: Request) -> Outcome {
        let deadline = request.due.moment(self.surroundings.clock.now(), self.timeout);
        let Ok(_place) = self.places.try_acquire() else {
            let why = format!("queue is full: max_queue_messages = {}", self.max_waiting);
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
        self.0.free.is_closed()
    }
}
