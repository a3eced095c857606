//! What Stonyx knows about one connection: the login, the key switch, names instead of ids, heartbeats.

mod client;
mod server;

pub use client::ClientSession;
pub use server::{CLOSE, Reply, ServerSession};

use polywire_core::{ByteString, Close, Cx, Gate, Random, Route, Session};

use crate::config::Config;
use crate::guard::Recent;
use crate::seal::{Key, Nonce};
use crate::wire::{Writer, camel, kebab};

/// Everything waits behind it until the login is done.
pub(crate) const LOGIN: Gate = Gate(0);

/// The peer closed in order. Without a code that is all there is to say, and the end of its stream says so.
fn on_closed<S: Session>(close: Option<(u16, ByteString)>, cx: &mut Cx<'_, S>) {
    if let Some((code, reason)) = close {
        cx.close(Close::Goodbye { code, reason: reason.to_string() });
    }
}

/// What both roles keep of the frames of one connection.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    seals: bool,
    read: Recent,
    written: Recent,
    /// Frames under the session key, both directions.
    under_key: u64,
}

impl Frames {
    pub(crate) fn new(seals: bool) -> Self {
        Self { seals, ..Self::default() }
    }

    pub(crate) fn writer<'a>(&self, random: &'a dyn Random) -> Writer<'a> {
        Writer { seals: self.seals, random }
    }

    /// Notes a frame that leaves.
    pub(crate) fn wrote(&mut self, nonce: Option<Nonce>) {
        self.under_key = self.under_key.saturating_add(1);
        if let Some(nonce) = nonce {
            self.written.remember(nonce);
        }
    }

    /// Notes a frame that came. `false` when it was here before, or is one of ours.
    pub(crate) fn is_new(&mut self, nonce: Option<Nonce>) -> bool {
        self.under_key = self.under_key.saturating_add(1);
        let Some(nonce) = nonce else { return true };
        if self.read.has(nonce) || self.written.has(nonce) {
            return false;
        }
        self.read.remember(nonce);
        true
    }

    /// The key was changed.
    pub(crate) fn new_key(&mut self) {
        self.under_key = 0;
    }

    /// Why the connection should be replaced by one with a new key, if it should.
    pub(crate) fn worn_out(&self, config: &Config) -> Option<String> {
        let max = config.max_messages_per_key;
        (self.seals && self.under_key >= max)
            .then(|| format!("{max} messages under one key reach max_messages_per_key"))
    }
}

/// The key of the mode after the login.
pub(crate) fn session_mode(seals: bool, key: &[u8; 32]) -> Key {
    if seals { Key::new(key) } else { Key::none() }
}

/// The name on the wire.
pub(crate) fn outgoing(route: &Route, config: &Config) -> Route {
    if !config.kebab_routes {
        return route.clone();
    }
    Route::new(camel(route)).unwrap_or_else(|_| route.clone())
}

/// The route here. A name that has no place as one stays what it is.
pub(crate) fn incoming(name: Route, config: &Config) -> Route {
    if !config.kebab_routes {
        return name;
    }
    Route::new(kebab(&name)).unwrap_or(name)
}
