//! The settings of one end, with their ranges.

use std::time::Duration;

use polywire_core::{JsonText, LimitError, Route, Secret};

/// Shortest shared key that is taken off loopback, in bytes.
const MIN_KEY_BYTES: usize = 16;
/// The key of the original's configuration when nobody sets one. Read in source: `config/environment.js`.
const PLACEHOLDER: &[u8] = b"AUTH_KEY";

/// How one end behaves, whichever it is.
#[derive(Clone, Debug)]
pub struct Config {
    /// The shared key, as both ends have it in their configuration: UTF-8 text, best 32 random bytes in hex.
    pub key: Secret,
    /// Client: the path to ask the server for, with its query if it has one; default `/`. A server serves every path, as the
    /// original does.
    pub path: String,
    /// Seal every message; default true. Both ends must agree, the wire does not negotiate.
    pub encryption: bool,
    /// Take a key below 16 bytes, or the original's placeholder, off loopback too; default false.
    pub allow_weak_key: bool,
    /// Leave messages unsealed off loopback without TLS too; default false.
    pub allow_plaintext: bool,
    /// Client: time from one answered heartbeat to the next. Server: silence after which it asks for a sign of life. Default
    /// 30 s, 10 ms to 1 h.
    pub heartbeat: Duration,
    /// The answer must be there within this time, or the peer is dead; default 10 s, at most 10 min.
    pub heartbeat_timeout: Duration,
    /// Routes here are `kebab-case`, names on the wire `camelCase`, as the original's handler files and names; default false.
    pub kebab_routes: bool,
    /// Client: how long calls of a name wait for the answer of a call of that name that was given up; default 15 s. After that the
    /// next call of the name has the connection replaced: it and all new ones wait until nothing is in flight, and leave on the next.
    pub owed_for: Duration,
    /// Client: calls of one name go out at once and are matched in order; default false. Safe only where every request is
    /// answered, in order, and no push has the same name.
    pub concurrent_names: bool,
    /// Client: an answer `{"error":…}` is a failure; default false, because the wire has no failures of its own.
    pub errors_in_reply: bool,
    /// Server: what happens to a request whose handler fails; default [`OnFailure::Answer`].
    pub on_failure: OnFailure,
    /// Server: what a handler without anything to say answers; `None`, the default, is no answer at all, as the original does.
    pub empty_reply: Option<JsonText>,
    /// Server: requests that are served before the login, as the original's `skipAuth`; default none.
    pub open_routes: Vec<Route>,
    /// Server: requests of unknown names in one second above which a connection is closed; default 1 000.
    pub max_unknown_names: u32,
    /// Messages under one session key after which the connection is given up for a new one; default and most 2^31.
    pub max_messages_per_key: u64,
}

/// What happens to a request whose handler fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It is answered with `{"error":{"code","message"}}`.
    #[default]
    Answer,
    /// The connection is closed, as the original does.
    Close,
}

impl Config {
    /// The defaults with this shared key.
    pub fn new(key: impl Into<Secret>) -> Self {
        Self {
            key: key.into(),
            path: "/".to_owned(),
            encryption: true,
            allow_weak_key: false,
            allow_plaintext: false,
            heartbeat: Duration::from_secs(30),
            heartbeat_timeout: Duration::from_secs(10),
            kebab_routes: false,
            owed_for: Duration::from_secs(15),
            concurrent_names: false,
            errors_in_reply: false,
            on_failure: OnFailure::Answer,
            empty_reply: None,
            open_routes: Vec::new(),
            max_unknown_names: 1_000,
            max_messages_per_key: 1 << 31,
        }
    }

    /// Checks every setting against its range, and the key against what it has to guard.
    ///
    /// # Errors
    /// [`LimitError`] naming the setting; the key is never shown.
    pub fn validate(&self, loopback: bool, tls: bool) -> Result<(), LimitError> {
        let span = |setting, value: Duration, least: Duration, most: Duration, rule| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(LimitError { setting, value: format!("{value:?}"), rule })
            }
        };
        let (least, hour) = (Duration::from_millis(10), Duration::from_secs(3_600));
        span("heartbeat", self.heartbeat, least, hour, "10 ms to 1 h")?;
        span(
            "heartbeat_timeout",
            self.heartbeat_timeout,
            Duration::from_millis(1),
            hour / 6,
            "1 ms to 10 min",
        )?;
        span("owed_for", self.owed_for, Duration::from_millis(1), hour, "1 ms to 1 h")?;
        if !(1..=1 << 31).contains(&self.max_messages_per_key) {
            let value = self.max_messages_per_key.to_string();
            return Err(LimitError { setting: "max_messages_per_key", value, rule: "1 to 2147483648" });
        }
        let refused = |setting, value: &str, rule| Err(LimitError { setting, value: value.to_owned(), rule });
        if std::str::from_utf8(self.key.expose()).is_err() {
            return refused("key", "(hidden)", "UTF-8 text");
        }
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        if !self.path.starts_with('/') || !self.path.bytes().all(plain) {
            return refused("path", &self.path, "a path that begins with / and needs no percent form");
        }
        let weak = self.key.expose().len() < MIN_KEY_BYTES || self.key.matches(PLACEHOLDER);
        if weak && loopback {
            tracing::warn!(
                "the key is a placeholder or below 16 bytes: whoever hears one login can guess it"
            );
        } else if weak && !self.allow_weak_key {
            let rule = "at least 16 bytes and no placeholder, as it must be where the peer is not on loopback, \
                        unless allow_weak_key is set";
            return refused("key", "(hidden)", rule);
        }
        if !self.encryption && !loopback && !tls && !self.allow_plaintext {
            let rule = "on, as it must be without TLS where the peer is not on loopback, unless allow_plaintext is set";
            return refused("encryption", "off", rule);
        }
        Ok(())
    }
}
