//! The sessions of a server: bounded, expiring, shared by any number of connections.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use polywire_core::{Identity, Moment, Random};

/// Digits of a session id: 128 bits in lower-case hex, as the original writes a random UUID.
const ID_DIGITS: usize = 32;

/// A session id.
type Id = [u8; ID_DIGITS];

/// One session. Connections hold the one they used last.
pub(crate) struct Entry {
    id: Id,
    /// The id with its quotes, as envelopes carry it.
    pub(crate) quoted: Bytes,
    /// Whose session it is.
    pub(crate) identity: Arc<Identity>,
    /// The network it was made from, `None` for this machine.
    pub(crate) address: Option<IpAddr>,
    /// Nanoseconds of the moment it was used last.
    used: AtomicU64,
    /// Taken out of the table while a connection held it.
    gone: AtomicBool,
}

impl Entry {
    fn used(&self) -> Moment {
        Moment::from_start(Duration::from_nanos(self.used.load(Ordering::Relaxed)))
    }

    fn touch(&self, now: Moment) {
        let now = u64::try_from(now.since_start().as_nanos()).unwrap_or(u64::MAX);
        self.used.store(now, Ordering::Relaxed);
    }

    fn is(&self, id: &str) -> bool {
        self.id == id.as_bytes()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// What became of a session.
#[derive(Debug)]
pub(crate) enum Found {
    /// It is there; its clock was started anew.
    Live(Arc<Entry>),
    /// It was not used for too long. It stays known as long as there is room.
    Expired(Arc<Entry>),
    /// There is no such session.
    Unknown,
}

/// A limit that stands in the way of a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("every one of the {setting} = {max} sessions is in use")]
pub(crate) struct Full {
    setting: &'static str,
    max: usize,
}

/// Every session of a server.
pub(crate) struct Table {
    entries: Mutex<HashMap<Id, Arc<Entry>>>,
    span: Duration,
    max: usize,
    max_per_subject: usize,
}

impl Table {
    pub(crate) fn new(span: Duration, max: usize, max_per_subject: usize) -> Self {
        Self { entries: Mutex::default(), span, max, max_per_subject }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Arc<Entry>>> {
        // Nothing panics while it is held, and every state of it is a whole one.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks up a session by its id, first the one that the connection used last.
    pub(crate) fn find(&self, id: &str, last: Option<&Arc<Entry>>, now: Moment) -> Found {
        let last = last.filter(|entry| entry.is(id) && !entry.gone.load(Ordering::Relaxed));
        let entry = match last {
            Some(entry) => Arc::clone(entry),
            None => {
                let key = Id::try_from(id.as_bytes()).ok();
                let Some(entry) = key.and_then(|key| self.lock().get(&key).cloned()) else {
                    return Found::Unknown;
                };
                entry
            }
        };
        if self.expired(&entry, now) {
            return Found::Expired(entry);
        }
        entry.touch(now);
        Found::Live(entry)
    }

    fn expired(&self, entry: &Entry, now: Moment) -> bool {
        now.since(entry.used()) >= self.span
    }

    /// Makes a session, for a peer in the network `address`, with an id that nobody can guess.
    ///
    /// # Errors
    /// [`Full`] when a limit is reached by sessions that connections hold; those that none holds make room.
    pub(crate) fn create(
        &self,
        identity: Identity,
        address: Option<IpAddr>,
        random: &dyn Random,
        now: Moment,
    ) -> Result<Arc<Entry>, Full> {
        let mut entries = self.lock();
        if !identity.guest {
            let of_subject =
                |entry: &Entry| !entry.identity.guest && entry.identity.subject == identity.subject;
            let limit = Full { setting: "max_sessions_per_subject", max: self.max_per_subject };
            self.make_room(&mut entries, limit, now, of_subject)?;
        }
        self.make_room(&mut entries, Full { setting: "max_sessions", max: self.max }, now, |_| true)?;
        let (id, quoted) = loop {
            let (id, quoted) = draw(random);
            // Chance that gives a session away twice would be broken; only a seeded test comes here again.
            if !entries.contains_key(&id) {
                break (id, quoted);
            }
        };
        let entry = Arc::new(Entry {
            id,
            quoted,
            identity: Arc::new(identity),
            address,
            used: AtomicU64::new(0),
            gone: AtomicBool::new(false),
        });
        entry.touch(now);
        entries.insert(id, Arc::clone(&entry));
        Ok(entry)
    }

    /// Makes sure that one more session fits under `limit`, counting those that `counts` picks.
    fn make_room(
        &self,
        entries: &mut HashMap<Id, Arc<Entry>>,
        limit: Full,
        now: Moment,
        counts: impl Fn(&Entry) -> bool,
    ) -> Result<(), Full> {
        if entries.len() < limit.max {
            return Ok(());
        }
        let counted = entries.values().filter(|entry| counts(entry));
        if counted.clone().count() < limit.max {
            return Ok(());
        }
        // One reference is the table's own.
        let idle = counted.filter(|entry| Arc::strong_count(entry) == 1 || self.expired(entry, now));
        let oldest = idle.min_by_key(|entry| entry.used()).map(|entry| entry.id).ok_or(limit)?;
        if let Some(entry) = entries.remove(&oldest) {
            entry.gone.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A random id, and the same with its quotes.
fn draw(random: &dyn Random) -> (Id, Bytes) {
    let mut bytes = [0; ID_DIGITS / 2];
    random.fill(&mut bytes);
    let quoted = format!("\"{:032x}\"", u128::from_be_bytes(bytes));
    let mut id = [0; ID_DIGITS];
    for (digit, text) in id.iter_mut().zip(quoted.trim_matches('"').bytes()) {
        *digit = text;
    }
    (id, Bytes::from(quoted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use polywire_core::SeededRandom;

    fn at(seconds: u64) -> Moment {
        Moment::from_start(Duration::from_secs(seconds))
    }

    fn id(entry: &Entry) -> String {
        String::from_utf8(entry.id.to_vec()).unwrap()
    }

    #[test]
    fn a_session_lives_while_it_is_used_and_is_known_as_expired_afterwards() {
        let table = Table::new(Duration::from_secs(60), 10, 10);
        let entry = table.create(Identity::guest(), None, &SeededRandom::new(1), at(0)).unwrap();
        assert_eq!(entry.quoted.len(), 34);
        let id = id(&entry);
        assert!(matches!(table.find(&id, None, at(59)), Found::Live(_)));
        assert!(matches!(table.find(&id, Some(&entry), at(118)), Found::Live(_)));
        assert!(matches!(table.find(&id, Some(&entry), at(178)), Found::Expired(_)));
        assert!(matches!(table.find(&id, None, at(999)), Found::Expired(_)));
        assert!(matches!(table.find(&id.to_uppercase(), None, at(1)), Found::Unknown));
        assert!(matches!(table.find("", None, at(1)), Found::Unknown));
    }

    #[test]
    fn p15_sessions_are_bounded_and_only_unused_ones_make_room() {
        let random = SeededRandom::new(2);
        let table = Table::new(Duration::from_secs(60), 3, 2);
        let user = || Identity::user("alice");
        let first = table.create(user(), None, &random, at(0)).unwrap();
        let second = table.create(user(), None, &random, at(1)).unwrap();
        let full = table.create(user(), None, &random, at(2)).unwrap_err();
        assert_eq!(full.to_string(), "every one of the max_sessions_per_subject = 2 sessions is in use");
        let lost = id(&second);
        drop(second);
        let third = table.create(user(), None, &random, at(2)).unwrap();
        assert!(matches!(table.find(&lost, None, at(2)), Found::Unknown));
        let _guest = table.create(Identity::guest(), None, &random, at(3)).unwrap();
        assert!(table.create(Identity::guest(), None, &random, at(3)).is_err());
        // An expired session makes room although a connection still holds it, and that connection is told.
        let _other = table.create(Identity::guest(), None, &random, at(61)).unwrap();
        assert!(matches!(table.find(&id(&first), Some(&first), at(61)), Found::Unknown));
        assert!(matches!(table.find(&id(&third), Some(&third), at(61)), Found::Live(_)));
    }
}
