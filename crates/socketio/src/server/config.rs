//! The settings of a server, with their ranges.

use std::time::Duration;

use polywire_core::LimitError;

use crate::config::{Arguments, Config, MAX_HEARTBEAT};
use crate::packet::MAIN;

/// How a server behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The namespaces that clients may join; default `/` alone. Others are refused with `Invalid namespace`.
    pub namespaces: Vec<String>,
    /// The path that is answered under; default `/socket.io/`. A missing slash at the end is added.
    pub path: String,
    /// How the arguments of a message become one body; default [`Arguments::One`].
    pub arguments: Arguments,
    /// A request that nothing here handles is answered with a failure; default false, as the originals: they do not answer.
    pub answer_unrouted: bool,
    /// An answer `{"error":…}` is a failure; default true.
    pub errors_in_reply: bool,
    /// Most attachments of one message that comes; default 10, 1 to 1 000.
    pub max_attachments: usize,
    /// Longest time for the attachments of one message to come; default 10 s. The library below judges that when the next one
    /// comes. One that never comes is a message that was begun: the connection ends after `frame_timeout`.
    pub attachment_timeout: Duration,
    /// Time between two pings; default 25 s, 100 ms to 5 min.
    pub ping_interval: Duration,
    /// Longest time for the answer to a ping; default 20 s, 100 ms to 5 min.
    pub ping_timeout: Duration,
    /// HTTP long-polling, and the upgrade from it, besides WebSocket; default true.
    pub polling: bool,
    /// Packets of one client that may wait to be written before its queue is held up; default 1 024, 256 to 65 536.
    pub max_buffered_packets: usize,
    /// The values of `Origin` that may connect; `None`, the default, is all. A request without `Origin` is let through, as it
    /// does not come from a page in a browser.
    pub origins: Option<Vec<String>>,
    /// The values of `Host` that may connect, with a port or for all ports without one; `None`, the default, is all.
    pub hosts: Option<Vec<String>>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let Config {
            path,
            arguments,
            answer_unrouted,
            errors_in_reply,
            max_attachments,
            attachment_timeout,
            ..
        } = Config::default();
        Self {
            namespaces: vec![MAIN.to_owned()],
            path,
            arguments,
            answer_unrouted,
            errors_in_reply,
            max_attachments,
            attachment_timeout,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            polling: true,
            max_buffered_packets: 1_024,
            origins: None,
            hosts: None,
        }
    }
}

impl ServerConfig {
    /// The defaults with these namespaces.
    pub fn new<N: Into<String>>(namespaces: impl IntoIterator<Item = N>) -> Self {
        Self { namespaces: namespaces.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// The settings that an adapter's options have made for both roles.
    pub(crate) fn of_adapter(config: Config) -> Self {
        Self {
            namespaces: vec![config.namespace],
            path: config.path,
            arguments: config.arguments,
            answer_unrouted: config.answer_unrouted,
            errors_in_reply: config.errors_in_reply,
            max_attachments: config.max_attachments,
            ..Self::default()
        }
    }

    /// What the sessions of this server go by.
    pub(crate) fn of_sessions(&self) -> Config {
        Config {
            path: self.path.clone(),
            arguments: self.arguments,
            answer_unrouted: self.answer_unrouted,
            errors_in_reply: self.errors_in_reply,
            max_attachments: self.max_attachments,
            attachment_timeout: self.attachment_timeout,
            ..Config::default()
        }
    }

    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`LimitError`] naming the setting.
    pub fn validate(&self) -> Result<(), LimitError> {
        let refuse = |setting, value: &dyn std::fmt::Debug, rule| {
            Err(LimitError { setting, value: format!("{value:?}"), rule })
        };
        let sessions = self.of_sessions();
        sessions.validate()?;
        if self.path.trim_end_matches('/').is_empty() {
            return refuse("path", &self.path, "a path below /");
        }
        if self.namespaces.is_empty() {
            return refuse("namespaces", &self.namespaces, "at least one");
        }
        for namespace in &self.namespaces {
            Config { namespace: namespace.clone(), ..sessions.clone() }.validate()?;
        }
        let least = Duration::from_millis(100);
        for (setting, value) in [("ping_interval", self.ping_interval), ("ping_timeout", self.ping_timeout)] {
            if !(least..=MAX_HEARTBEAT).contains(&value) {
                return refuse(setting, &value, "100 ms to 5 min");
            }
        }
        if !(256..=65_536).contains(&self.max_buffered_packets) {
            return refuse("max_buffered_packets", &self.max_buffered_packets, "256 to 65536");
        }
        Ok(())
    }
}
