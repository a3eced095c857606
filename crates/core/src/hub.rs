//! Fan-out: one event to every member of a group, at the pace of each.

mod config;
mod subscriber;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytestring::ByteString;
use tokio::runtime::Handle as Runtime;

use crate::envelope::Event;
use crate::failure::{Code, Failure};
use crate::limits::LimitError;
use crate::peer::Peer;
use crate::route::Route;

pub use config::{HubConfig, Slow};
pub use subscriber::HubCounts;
use subscriber::Subscriber;

/// Groups of peers, and events for all of a group. A clone is the same hub.
///
/// A peer that takes events as fast as they come costs nothing beyond a place in its groups: an event goes straight into the
/// queue of its connection, sharing the bytes of the body with every other member. When that queue is full, the peer is slow: its
/// events wait here, within the bounds of [`HubConfig`], and one task hands them on until none is left. What then does not fit
/// is decided by [`Slow`], counted, and told to the peer by a gap event in front of the next event it gets. No peer waits for
/// another, and [`publish`](Self::publish) never waits.
///
/// The events of one publisher reach each member in order. A membership ends by [`leave`](Self::leave) or when the caller of the
/// peer [has ended](crate::Caller::has_ended); a hub that is dropped ends them all. So the hub is for the peers of a server: a
/// client that reconnects has a new [`Peer`] in front of the same queue.
///
/// ```
/// use polywire_core::{Body, Event, Failure, Hub, Json, Peer, Route, Router, State};
///
/// async fn watch(State(hub): State<Hub>, peer: Peer, Json(room): Json<String>) -> Result<(), Failure> {
///     hub.join(room, &peer)
/// }
/// async fn say(State(hub): State<Hub>, Json((room, text)): Json<(String, String)>) -> Result<Json<usize>, Failure> {
///     let body = Body::json(&text).map_err(|_| Failure::new(polywire_core::Code::Internal, "no JSON"))?;
///     Ok(Json(hub.publish(&room, &Event::new(Route::from_static("said"), body))))
/// }
///
/// let router = Router::new().handle("watch", watch).handle("say", say).with_state(Hub::default())?;
/// # Ok::<(), polywire_core::RegistryError>(())
/// ```
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    config: Arc<HubConfig>,
    members: Mutex<Members>,
}

/// The members of a group by their number, shared with whoever is publishing to it.
type Group = Arc<BTreeMap<u64, Arc<Subscriber>>>;

#[derive(Default)]
struct Members {
    groups: HashMap<ByteString, Group>,
    subscribers: BTreeMap<u64, Member>,
    /// What those who left had got and missed.
    left: HubCounts,
    /// From this many subscribers on, a new one has those removed whose connection has ended.
    sweep_at: usize,
}

struct Member {
    subscriber: Arc<Subscriber>,
    groups: BTreeSet<ByteString>,
}

/// Fewest subscribers worth a sweep.
const SWEEP_FROM: usize = 64;

impl Hub {
    /// A hub without members.
    ///
    /// # Errors
    /// [`LimitError`] naming the first setting out of range.
    pub fn new(config: HubConfig) -> Result<Self, LimitError> {
        config.validate()?;
        Ok(Self(Arc::new(Inner { config: Arc::new(config), members: Mutex::default() })))
    }

    /// Makes `peer` a member of `group`, from the next event on; a member stays one.
    ///
    /// # Errors
    /// `resource_exhausted` above `max_groups_per_subscriber`, `invalid_argument` for a name of more than 255 bytes,
    /// `unavailable` when the connection has ended, `unimplemented` for a peer inside this program, `internal` outside a tokio
    /// runtime.
    pub fn join(&self, group: impl Into<ByteString>, peer: &Peer) -> Result<(), Failure> {
        let group = group.into();
        if group.len() > Route::MAX_BYTES {
            let why = format!("group name of {} bytes exceeds the 255 bytes a name may have", group.len());
            return Err(Failure::new(Code::InvalidArgument, why));
        }
        let Some(caller) = peer.caller() else {
            return Err(Failure::new(
                Code::Unimplemented,
                "a peer inside this program cannot be sent events",
            ));
        };
        let Ok(runtime) = Runtime::try_current() else {
            return Err(Failure::new(Code::Internal, "a peer joined a hub outside a tokio runtime"));
        };
        let mut members = self.lock();
        members.sweep();
        if caller.has_ended() {
            return Err(Failure::new(Code::Unavailable, "the connection has ended"));
        }
        let member = members.subscribers.entry(peer.id()).or_insert_with(|| Member {
            subscriber: Arc::new(Subscriber::new(caller.clone(), Arc::clone(&self.0.config), runtime)),
            groups: BTreeSet::new(),
        });
        let max = self.0.config.max_groups_per_subscriber;
        if member.groups.len() >= max && !member.groups.contains(&group) {
            let wanted = member.groups.len().saturating_add(1);
            let why = format!("membership in {wanted} groups exceeds max_groups_per_subscriber = {max}");
            return Err(Failure::new(Code::ResourceExhausted, why));
        }
        member.groups.insert(group.clone());
        let subscriber = Arc::clone(&member.subscriber);
        Arc::make_mut(members.groups.entry(group).or_default()).insert(peer.id(), subscriber);
        Ok(())
    }

    /// Ends the membership of `peer` in `group`, if there is one. With its last group, what still waits for it is dropped.
    pub fn leave(&self, group: &str, peer: &Peer) {
        let mut members = self.lock();
        let Some(member) = members.subscribers.get_mut(&peer.id()) else { return };
        member.groups.remove(group);
        if member.groups.is_empty() {
            members.remove(peer.id());
        }
        members.forget(group, peer.id());
    }

    /// Ends every membership of `peer`; what still waits for it is dropped.
    pub fn leave_all(&self, peer: &Peer) {
        self.lock().remove(peer.id());
    }

    /// How many members `group` has. One whose connection has ended counts until the next event.
    pub fn members(&self, group: &str) -> usize {
        self.lock().groups.get(group).map_or(0, |members| members.len())
    }

    /// Sends `event` to every member of `group`, in the order of their connections, and says how many it has.
    pub fn publish(&self, group: &str, event: &Event) -> usize {
        self.fan_out(group, &ByteString::new(), event)
    }

    /// As [`publish`](Self::publish), where only the latest event of this route and `key` matters to a slow member with
    /// [`Slow::LatestPerKey`]. Without a key, the route alone is the key.
    pub fn publish_keyed(&self, group: &str, key: impl Into<ByteString>, event: &Event) -> usize {
        self.fan_out(group, &key.into(), event)
    }

    /// What `peer` has got and missed; `None` when it is no member.
    pub fn counts(&self, peer: &Peer) -> Option<HubCounts> {
        Some(self.lock().subscribers.get(&peer.id())?.subscriber.counts())
    }

    /// What all members together have got and missed, also those who have left.
    pub fn total(&self) -> HubCounts {
        let members = self.lock();
        members.subscribers.values().fold(members.left, |sum, member| sum + member.subscriber.counts())
    }

    fn fan_out(&self, group: &str, key: &ByteString, event: &Event) -> usize {
        // A copy of the pointer, so that joining and leaving go on meanwhile.
        let Some(members) = self.lock().groups.get(group).cloned() else { return 0 };
        let gone: Vec<_> = members.iter().filter(|(_, member)| !member.offer(event, key)).collect();
        let reached = members.len().saturating_sub(gone.len());
        if !gone.is_empty() {
            let mut members = self.lock();
            for (id, subscriber) in gone {
                // The same peer may have joined again.
                if members.subscribers.get(id).is_some_and(|now| Arc::ptr_eq(&now.subscriber, subscriber)) {
                    members.remove(*id);
                }
            }
        }
        reached
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.0.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Members {
    /// Removes a subscriber from everything.
    fn remove(&mut self, id: u64) {
        let Some(Member { subscriber, groups }) = self.subscribers.remove(&id) else { return };
        subscriber.end();
        self.left = self.left + subscriber.counts();
        for group in groups {
            self.forget(&group, id);
        }
    }

    fn forget(&mut self, group: &str, id: u64) {
        let Some(members) = self.groups.get_mut(group) else { return };
        Arc::make_mut(members).remove(&id);
        if members.is_empty() {
            self.groups.remove(group);
        }
    }

    /// Removes those whose connection has ended, once for every doubling, so that a group nobody publishes to stays bounded.
    fn sweep(&mut self) {
        if self.subscribers.len() < self.sweep_at.max(SWEEP_FROM) {
            return;
        }
        let over = |(id, member): (&u64, &Member)| member.subscriber.is_over().then_some(*id);
        let gone: Vec<u64> = self.subscribers.iter().filter_map(over).collect();
        for id in gone {
            self.remove(id);
        }
        self.sweep_at = self.subscribers.len().saturating_mul(2);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let members = self.members.get_mut().unwrap_or_else(PoisonError::into_inner);
        for member in members.subscribers.values() {
            member.subscriber.end();
        }
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self(Arc::new(Inner { config: Arc::default(), members: Mutex::default() }))
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = self.lock();
        f.debug_struct("Hub")
            .field("groups", &members.groups.len())
            .field("subscribers", &members.subscribers.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
