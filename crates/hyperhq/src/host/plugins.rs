//! What a host knows of its plugins, whatever their connections do: challenges, tokens, and who is there.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use polywire_core::{Clock, Moment, Outcome, Peer, Random, Secret};

use super::calls::{Calls, Left};
use super::config::{HostConfig, Reauth};
use super::told::Told;

/// The plugins of one host, shared by all its connections. Bounded by `max_plugins`.
pub struct Plugins {
    known: Mutex<HashMap<String, Known>>,
    config: HostConfig,
    /// Tells when a connection was lost; every other moment is the caller's.
    clock: Arc<dyn Clock>,
    next_connection: AtomicU64,
    next_request: AtomicU64,
    /// How often a session has come, moved or ended.
    moves: AtomicU64,
    told: Told,
}

struct Known {
    challenge: Secret,
    launched: Moment,
    used: bool,
    session: Option<Session>,
    /// What is open on its connections, the one of the session included.
    calls: Vec<Weak<Calls>>,
    left: Left,
}

/// What was known of a plugin before it was launched again.
pub(super) struct Before(Option<Known>);

struct Session {
    token: Secret,
    connection: u64,
    /// When its connection was lost; `None` while it is there.
    lost: Option<Moment>,
}

/// What a plugin shows to log in.
#[derive(Clone, Copy, Default)]
pub(super) struct Shown<'a> {
    pub(super) challenge: Option<&'a str>,
    pub(super) token: Option<&'a str>,
    /// It has logged in on this connection before.
    pub(super) again: bool,
}

impl Plugins {
    /// No plugins yet.
    pub fn new(config: &HostConfig, clock: Arc<dyn Clock>) -> Self {
        Self {
            known: Mutex::default(),
            config: config.clone(),
            clock,
            next_connection: AtomicU64::new(1),
            next_request: AtomicU64::new(1),
            moves: AtomicU64::new(0),
            told: Told::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, for a change that may begin, move or end a session: it counts before anybody else can look.
    fn lock_to_move(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        let known = self.lock();
        self.moves.fetch_add(1, Ordering::Release);
        known
    }

    /// A launch of plugin `id` begins at `now`: its challenge, 32 random bytes in hex, good once. What was known of an earlier
    /// launch is forgotten.
    ///
    /// `None` when there are `max_plugins` others.
    pub fn launch(&self, id: &str, now: Moment, random: &dyn Random) -> Option<Secret> {
        let challenge = drawn(random);
        self.admit(id, challenge.clone(), now).then_some(challenge)
    }

    /// The same with a challenge that was drawn elsewhere. `false` when there are `max_plugins` others.
    pub fn admit(&self, id: &str, challenge: Secret, now: Moment) -> bool {
        let mut known = self.lock_to_move();
        if known.len() >= self.config.max_plugins && !known.contains_key(id) {
            return false;
        }
        let plugin = Known {
            challenge,
            launched: now,
            used: false,
            session: None,
            calls: Vec::new(),
            left: Left::default(),
        };
        known.insert(id.to_owned(), plugin);
        true
    }

    /// How many there can be.
    pub(super) fn most(&self) -> usize {
        self.config.max_plugins
    }

    /// What is known of plugin `id`, to be put back by [`Plugins::restore`].
    pub(super) fn take(&self, id: &str) -> Before {
        Before(self.lock_to_move().remove(id))
    }

    /// Puts back what was taken.
    pub(super) fn restore(&self, id: &str, before: Before) {
        let mut known = self.lock_to_move();
        match before.0 {
            Some(before) => known.insert(id.to_owned(), before),
            None => known.remove(id),
        };
    }

    /// The plugin is not wanted any more: its challenge and token are worth nothing from now on.
    pub fn forget(&self, id: &str) {
        self.lock_to_move().remove(id);
    }

    /// How often a session has come, moved or ended: what [`is_current`](Self::is_current) said after this number was read is
    /// true for as long as the number stays.
    pub(super) fn moves(&self) -> u64 {
        self.moves.load(Ordering::Acquire)
    }

    /// The event that all of them are told.
    pub(super) fn told(&self) -> &Told {
        &self.told
    }

    /// The number of a new connection.
    pub(super) fn connection(&self) -> u64 {
        self.next_connection.fetch_add(1, Ordering::Relaxed)
    }

    /// The number of a new request, never used twice by this host.
    pub(super) fn request(&self) -> u64 {
        self.next_request.fetch_add(1, Ordering::Relaxed)
    }

    /// Judges a login: a new token, or why not. The order of comparisons does not depend on the secrets.
    pub(super) fn log_in(
        &self,
        id: &str,
        shown: Shown<'_>,
        (connection, calls): (u64, &Arc<Calls>),
        now: Moment,
        random: &dyn Random,
    ) -> Result<Secret, &'static str> {
        let mut known = self.lock_to_move();
        let plugin = known.get_mut(id);
        let lives_here =
            |plugin: &Known| plugin.session.as_ref().is_some_and(|session| session.connection == connection);
        let verdict = match (plugin.as_deref(), shown.challenge, shown.token) {
            // What is asked of it goes where it went, so it cannot come back to where it was.
            (Some(plugin), ..) if shown.again && !lives_here(plugin) => {
                Err("The session has moved to another connection")
            }
            (_, None, None) => Err("Missing challenge"),
            (Some(plugin), Some(challenge), token) => {
                self.by_challenge(plugin, challenge, now).or_else(|why| match token {
                    Some(token) => self.by_token(plugin, token, now),
                    None => Err(why),
                })
            }
            (Some(plugin), None, Some(token)) => self.by_token(plugin, token, now),
            (None, Some(_), _) => Err("Invalid challenge"),
            (None, None, Some(_)) => Err("Invalid session token"),
        };
        verdict?;
        let token = drawn(random);
        if let Some(plugin) = plugin {
            plugin.used = true;
            let others = |known: &Weak<Calls>| {
                known.upgrade().filter(|known| !Arc::ptr_eq(known, calls)).is_some_and(|known| {
                    known.tell();
                    !known.is_done()
                })
            };
            plugin.calls.retain(others);
            plugin.calls.push(Arc::downgrade(calls));
            plugin.session = Some(Session { token: token.clone(), connection, lost: None });
        }
        Ok(token)
    }

    fn by_challenge(&self, plugin: &Known, challenge: &str, now: Moment) -> Result<(), &'static str> {
        if !plugin.challenge.matches(challenge.as_bytes()) {
            return Err("Invalid challenge");
        }
        let is_young = now.since(plugin.launched) <= self.config.challenge_life;
        if !plugin.used {
            return if is_young { Ok(()) } else { Err("Challenge expired") };
        }
        let may_return = matches!(self.config.reauth, Reauth::Both | Reauth::Challenge);
        let gone_lately = plugin
            .session
            .as_ref()
            .and_then(|session| session.lost)
            .is_some_and(|lost| self.is_lately(lost, now));
        let again = self.config.challenge_reuse_within_life && is_young;
        if may_return && gone_lately || again { Ok(()) } else { Err("Challenge already used") }
    }

    fn by_token(&self, plugin: &Known, token: &str, now: Moment) -> Result<(), &'static str> {
        let may_return = matches!(self.config.reauth, Reauth::Both | Reauth::Token);
        let right = plugin.session.as_ref().filter(|session| session.token.matches(token.as_bytes()));
        let in_time = right.is_some_and(|session| session.lost.is_none_or(|lost| self.is_lately(lost, now)));
        if may_return && in_time { Ok(()) } else { Err("Invalid session token") }
    }

    fn is_lately(&self, lost: Moment, now: Moment) -> bool {
        now.since(lost) < self.config.reconnect_grace
    }

    /// Is this the token of the session that lives on this connection?
    pub(super) fn is_token_of(&self, id: &str, connection: u64, token: &str) -> bool {
        self.lock().get(id).and_then(|plugin| plugin.session.as_ref()).is_some_and(|session| {
            session.connection == connection && session.token.matches(token.as_bytes())
        })
    }

    /// Does the session of this plugin still live on this connection?
    pub(super) fn is_current(&self, id: &str, connection: u64) -> bool {
        let known = self.lock();
        let session = known.get(id).and_then(|plugin| plugin.session.as_ref());
        session.is_some_and(|session| session.connection == connection)
    }

    /// The session of plugin `id` has moved away from this connection, which stays while something is open there.
    pub(super) fn leave(&self, id: &str, connection: Peer) {
        match self.lock().get_mut(id) {
            Some(plugin) => plugin.left.add(connection),
            None => connection.close(),
        }
    }

    /// The answer of plugin `id` to a request that was not asked on the connection where it came; `false` when it was asked on none.
    pub(super) fn answer(&self, id: &str, request: &str, mut outcome: Outcome) -> bool {
        let known = self.lock();
        let Some(plugin) = known.get(id) else { return false };
        for calls in plugin.calls.iter().filter_map(Weak::upgrade) {
            match calls.answer(request, outcome) {
                Ok(()) => {
                    plugin.left.look();
                    return true;
                }
                Err(back) => outcome = back,
            }
        }
        false
    }

    /// A sign of life of plugin `id`, for what is open on the connections that it has left.
    pub(super) fn live_on(&self, id: &str, here: &Arc<Calls>) {
        let known = self.lock();
        let Some(plugin) = known.get(id) else { return };
        let others = plugin.calls.iter().filter_map(Weak::upgrade).filter(|calls| !Arc::ptr_eq(calls, here));
        if others.filter(|calls| calls.live_on()).count() > 0 {
            plugin.left.look();
        }
    }

    /// The connection is lost: if its plugin's session lives there, the grace begins.
    pub(super) fn lost(&self, id: &str, connection: u64) {
        let now = self.clock.now();
        if let Some(session) = self.lock().get_mut(id).and_then(|plugin| plugin.session.as_mut())
            && session.connection == connection
        {
            session.lost = Some(now);
        }
    }
}

/// 32 random bytes in hex.
fn drawn(random: &dyn Random) -> Secret {
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    Secret::from(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

impl fmt::Debug for Plugins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugins").field("known", &self.lock().len()).finish_non_exhaustive()
    }
}
