//! One member: straight into the queue of its connection, or, while it is slow, through a bounded line and one task.

use std::collections::VecDeque;
use std::ops::Add;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytestring::ByteString;
use tokio::runtime::Handle as Runtime;
use tokio::task::AbortHandle;

use crate::body::{Body, JsonText};
use crate::caller::Caller;
use crate::envelope::Event;
use crate::session::Close;

use super::config::{HubConfig, Slow};

/// What became of the events for one member: `sent + waiting + superseded + dropped` is all there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubCounts {
    /// Handed to its connection.
    pub sent: u64,
    /// Waiting here now.
    pub waiting: u64,
    /// Replaced by a newer event of the same route and key.
    pub superseded: u64,
    /// Dropped, because a bound was reached or the membership ended.
    pub dropped: u64,
    /// Gap events handed to its connection.
    pub gaps: u64,
}

impl Add for HubCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            sent: self.sent.saturating_add(other.sent),
            waiting: self.waiting.saturating_add(other.waiting),
            superseded: self.superseded.saturating_add(other.superseded),
            dropped: self.dropped.saturating_add(other.dropped),
            gaps: self.gaps.saturating_add(other.gaps),
        }
    }
}

pub(super) struct Subscriber {
    caller: Caller,
    config: Arc<HubConfig>,
    runtime: Runtime,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// The size of the event the pump is handing on; it counts as waiting.
    in_hand: Option<usize>,
    /// Of all that wait.
    bytes: usize,
    /// Dropped after everything in `waiting`.
    missed: u64,
    counts: HubCounts,
    /// There while the member is slow.
    pump: Option<AbortHandle>,
    over: bool,
}

struct Waiting {
    event: Event,
    key: ByteString,
    /// Dropped directly before this one.
    missed: u64,
}

impl Waiting {
    fn size(&self) -> usize {
        size(&self.event, &self.key)
    }
}

fn size(event: &Event, key: &str) -> usize {
    event.route.len().saturating_add(event.body.len()).saturating_add(key.len())
}

impl Subscriber {
    pub(super) fn new(caller: Caller, config: Arc<HubConfig>, runtime: Runtime) -> Self {
        Self { caller, config, runtime, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counts(&self) -> HubCounts {
        let state = self.lock();
        HubCounts { waiting: state.waiting() as u64, ..state.counts }
    }

    pub(super) fn is_over(&self) -> bool {
        self.lock().over || self.caller.has_ended()
    }

    /// Ends the membership: what waits is dropped, and so is the pump.
    pub(super) fn end(&self) {
        self.lock().end();
    }

    /// Hands `event` on, keeps it or drops it. False once the membership is over.
    pub(super) fn offer(self: &Arc<Self>, event: &Event, key: &ByteString) -> bool {
        let mut state = self.lock();
        if state.over {
            return false;
        }
        let sheds = self.caller.sheds_events();
        if !sheds && state.pump.is_none() && self.send_now(&mut state, event) {
            return true;
        }
        if self.caller.has_ended() {
            state.counts.dropped += 1;
            state.end();
            return false;
        }
        if sheds {
            self.shed(&mut state);
        } else {
            self.keep(&mut state, event, key);
        }
        if state.pump.is_none() && !state.waiting.is_empty() {
            state.pump = Some(self.runtime.spawn(Arc::clone(self).pump()).abort_handle());
        }
        !state.over
    }

    fn send_now(&self, state: &mut State, event: &Event) -> bool {
        if let Some(gap) = self.gap(state.missed) {
            if self.caller.send_now(gap).is_err() {
                return false;
            }
            state.missed = 0;
            state.counts.gaps += 1;
        }
        let sent = self.caller.send_now(event.clone()).is_ok();
        state.counts.sent += u64::from(sent);
        sent
    }

    /// Drops an event and all that wait: there is too little memory.
    fn shed(&self, state: &mut State) {
        self.caller.count_withheld(state.waiting.len() as u64 + 1);
        while state.drop_oldest() {}
        state.counts.dropped += 1;
        state.miss(1);
    }

    fn keep(&self, state: &mut State, event: &Event, key: &ByteString) {
        let HubConfig {
            max_subscriber_messages: max_messages, max_subscriber_bytes: max_bytes, slow, ..
        } = *self.config;
        let bytes = size(event, key);
        // A member that waits has few events, at most `max_subscriber_messages`, so they are simply looked through.
        let same = |waiting: &Waiting| waiting.event.route == event.route && waiting.key == *key;
        let older = if slow == Slow::LatestPerKey { state.waiting.iter().position(same) } else { None };
        if let Some(place) = older.and_then(|at| state.waiting.get_mut(at)).filter(|_| bytes <= max_bytes) {
            state.bytes = state.bytes.saturating_sub(place.size()).saturating_add(bytes);
            place.event = event.clone();
            state.counts.superseded += 1;
            while state.bytes > max_bytes && state.drop_oldest() {}
            return;
        }
        let full =
            |state: &State| state.waiting() >= max_messages || state.bytes.saturating_add(bytes) > max_bytes;
        if matches!(slow, Slow::DropOldest | Slow::LatestPerKey) && bytes <= max_bytes {
            while full(state) && state.drop_oldest() {}
        }
        if !full(state) {
            state.bytes = state.bytes.saturating_add(bytes);
            let missed = std::mem::take(&mut state.missed);
            state.waiting.push_back(Waiting { event: event.clone(), key: key.clone(), missed });
            return;
        }
        state.counts.dropped += 1;
        state.missed += 1;
        if slow == Slow::Disconnect {
            let why = if state.waiting() >= max_messages {
                let messages = state.waiting().saturating_add(1);
                format!("{messages} waiting events exceed max_subscriber_messages = {max_messages}")
            } else {
                let bytes = state.bytes.saturating_add(bytes);
                format!("{bytes} bytes of waiting events exceed max_subscriber_bytes = {max_bytes}")
            };
            self.caller.close(Close::Limit(why));
            state.end();
        }
    }

    /// The event that tells of `missed` dropped ones.
    fn gap(&self, missed: u64) -> Option<Event> {
        let route = self.config.gap.as_ref().filter(|_| missed > 0)?;
        let text = format!("{{\"missed\":{missed},\"reason\":\"slow subscriber\"}}");
        Some(Event::new(route.clone(), Body::Json(JsonText::from_validated(text.into()))))
    }

    /// Hands on what waits, in order, until nothing does.
    async fn pump(self: Arc<Self>) {
        while let Some(Waiting { event, missed, .. }) = self.next() {
            if let Some(gap) = self.gap(missed) {
                let sent = self.caller.notify(gap).await.is_ok();
                self.lock().counts.gaps += u64::from(sent);
            }
            let sent = self.caller.notify(event).await.is_ok();
            let mut state = self.lock();
            if state.over {
                return;
            }
            let bytes = state.in_hand.take().unwrap_or_default();
            state.bytes = state.bytes.saturating_sub(bytes);
            if sent {
                state.counts.sent += 1;
            } else {
                state.counts.dropped += 1;
                state.miss(1);
            }
            if self.caller.has_ended() {
                state.end();
            }
        }
    }

    /// What the pump hands on next; without anything the pump is over.
    fn next(&self) -> Option<Waiting> {
        let mut state = self.lock();
        match state.waiting.pop_front() {
            Some(next) => {
                state.in_hand = Some(next.size());
                Some(next)
            }
            None => {
                state.pump = None;
                state.waiting = VecDeque::new();
                None
            }
        }
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.waiting.len().saturating_add(usize::from(self.in_hand.is_some()))
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.waiting.pop_front() else { return false };
        self.bytes = self.bytes.saturating_sub(oldest.size());
        self.counts.dropped += 1;
        self.miss(oldest.missed.saturating_add(1));
        true
    }

    /// Has the next event told that `missed` more are missing in front of it.
    fn miss(&mut self, missed: u64) {
        let next = self.waiting.front_mut().map_or(&mut self.missed, |next| &mut next.missed);
        *next = next.saturating_add(missed);
    }

    fn end(&mut self) {
        self.over = true;
        self.counts.dropped += self.waiting() as u64;
        self.waiting = VecDeque::new();
        self.in_hand = None;
        self.bytes = 0;
        if let Some(pump) = self.pump.take() {
            pump.abort();
        }
    }
}
