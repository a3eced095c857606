//! What the connections of one server share: its sessions, its failed logins, the command that was given.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use polywire_core::{FailedLogins, Moment};
use tokio::sync::watch;

use super::super::ServerCommand;
use super::super::table::Table;
use super::batch::ReplyLimit;
use crate::config::ServerConfig;
use crate::wire;

/// What the connections of one server share.
pub struct Shared {
    pub(super) config: ServerConfig,
    pub(super) table: Table,
    /// Failed logins, by name and by address: people choose names and passwords.
    pub(super) failed_names: FailedLogins<String>,
    failed_addresses: FailedLogins<IpAddr>,
    /// Our name as JSON text.
    pub(super) name: Bytes,
    /// The data of the greeting.
    pub(super) greeting: Bytes,
    /// How long a reply may be.
    pub(super) reply_limit: ReplyLimit,
    /// The command that was given, once one was.
    pub(super) command: watch::Sender<Option<ServerCommand>>,
}

impl Shared {
    /// The state of a server with this configuration, which was validated.
    pub fn new(config: ServerConfig) -> Self {
        let version = config.version;
        let greeting = format!(
            "{{\"version\":{{\"core\":{:?},\"db\":{:?},\"torrent\":{:?}}},\"guest_allowed\":{}}}",
            version.core, version.db, version.torrent, config.guests
        );
        Self {
            table: Table::new(config.session_span, config.max_sessions, config.max_sessions_per_subject),
            failed_names: FailedLogins::new(config.max_failed_logins_per_name, config.failed_login_pause),
            failed_addresses: FailedLogins::of_addresses(&config.wire.limits),
            name: wire::quoted(&config.wire.name),
            greeting: Bytes::from(greeting),
            reply_limit: ReplyLimit::of(&config.wire),
            command: watch::Sender::new(None),
            config,
        }
    }

    /// The settings of the server.
    pub(crate) fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// How long this name or address still has to pause.
    pub(super) fn pause(&self, subject: &str, address: Option<IpAddr>, now: Moment) -> Option<Duration> {
        let address = address.and_then(|address| self.failed_addresses.pause(&address, now));
        self.failed_names.pause(subject, now).max(address)
    }

    /// Notes a failed login.
    pub(super) fn failed(&self, subject: &str, address: Option<IpAddr>, now: Moment) {
        self.failed_names.failed(subject, now);
        if let Some(address) = address {
            self.failed_addresses.failed(&address, now);
        }
    }

    /// Follows the commands that peers give.
    pub(crate) fn commands(&self) -> watch::Receiver<Option<ServerCommand>> {
        self.command.subscribe()
    }
}

impl fmt::Debug for Shared {
    /// Sessions are bearer secrets, so none is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}
