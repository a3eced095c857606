//! Every number and choice of this adapter, with its unit, its default and the reason for the default.

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{ByteString, LimitError, Limits};

/// What both ends of the wire need.
#[derive(Clone, Debug, PartialEq)]
pub struct Wire {
    /// Which keys the envelopes have; default [`Dialect::Auto`].
    pub dialect: Dialect,
    /// The name this side puts into its envelopes; default `polywire`. It only shows in logs of the other side.
    pub name: ByteString,
    /// Level for bodies that are deflated, 1 to 9; default 1, because level 6 costs four times the time for a third less
    /// bytes, which pays on slow links only.
    pub compression_level: u32,
    /// Text of at most this many bytes is sent as a stored block instead of being deflated; default 4 KiB, because below it
    /// deflating costs more than everything else a message needs and saves two packets at most.
    pub stored_up_to: usize,
    /// Longest text of one frame after inflating, in bytes; default 64 MiB, at most 1 GiB. Only an absolute bound is safe:
    /// deflate reaches ratios of 1000 to 1. Before the login it is `limits.max_login_bytes`.
    pub max_inflated_bytes: usize,
    /// Most gzip members of one frame; default 16, where real peers send one.
    pub max_members: u32,
    /// Most delimiters that may turn out to be data in one frame; default 8, where chance makes two in 2^80 bytes.
    pub max_false_markers: u32,
    /// Empty frames in a row that close a connection; default 8.
    pub max_empty_frames: u32,
    /// What becomes of `NaN` and `Infinity`, which Python writes and JSON does not know; default [`NonFinite::Refuse`], because
    /// a value should not change unseen.
    pub non_finite: NonFinite,
    /// The limits every wire has. `max_frame_bytes` bounds a frame before it is inflated; `call_timeout` is 10 s here, what
    /// the Python client waits.
    pub limits: Arc<Limits>,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            dialect: Dialect::Auto,
            name: ByteString::from_static("polywire"),
            compression_level: 1,
            stored_up_to: 4 << 10,
            max_inflated_bytes: 64 << 20,
            max_members: 16,
            max_false_markers: 8,
            max_empty_frames: 8,
            non_finite: NonFinite::Refuse,
            limits: Arc::new(Limits { call_timeout: Duration::from_secs(10), ..Limits::default() }),
        }
    }
}

/// Which keys an envelope has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Serving: with or without `__id__`, unknown keys are ignored. Calling: the three keys every server takes.
    #[default]
    Auto,
    /// Exactly `session`, `name`, `data`: servers up to 0.3.0 refuse anything else, and so do we when we serve it. Every frame
    /// leaves in a write of its own, because these peers take one frame from a read.
    A,
    /// With `__id__`, which clients from 2.1.1 on send and must get back. Serving, it is the same as `Auto`.
    B,
}

impl Dialect {
    /// The dialect with this name in a URL: `auto`, `a` or `b`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "a" => Some(Self::A),
            "b" => Some(Self::B),
            _ => None,
        }
    }
}

/// What becomes of the literals `NaN`, `Infinity` and `-Infinity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// The message is refused with the place of the first: a request with error 900, an answer as an `invalid_argument` for
    /// its caller. The connection goes on.
    #[default]
    Refuse,
    /// They are read as `null`, and each message so mended is counted.
    Null,
}

/// Settings of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientConfig {
    /// What both ends need.
    pub wire: Wire,
    /// Connections that share one session, each with one call in flight; default 4, at most 64. More calls wait in a queue.
    pub connections: usize,
    /// May a password leave this machine without TLS? Default `false`: the wire carries it in clear text.
    pub allow_plaintext: bool,
    /// How long a call waits before it is repeated when the server says that it is not ready; default 1 s.
    pub wait_backoff: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            wire: Wire::default(),
            connections: 4,
            allow_plaintext: false,
            wait_backoff: Duration::from_secs(1),
        }
    }
}

/// Settings of a server.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// What both ends need.
    pub wire: Wire,
    /// May somebody log in without a name? Default `false`; the greeting says so.
    pub guests: bool,
    /// May peers that are not on this machine log in with a password although there is no TLS? Default `false`.
    pub allow_plaintext: bool,
    /// A session that is not used for this long expires; default 60 min. The original never expires them.
    pub session_span: Duration,
    /// Most sessions at once; default 1 000. Beyond it the one that is unused for longest, and that no connection holds, goes.
    pub max_sessions: usize,
    /// Most sessions of one name; default 16. Guests have no name, so they share `max_sessions` alone.
    pub max_sessions_per_subject: usize,
    /// Messages a peer may send before it has logged in; default 4.
    pub max_login_messages: u32,
    /// Unknown sessions in a row that close a connection; default 10.
    pub max_unknown_sessions: u32,
    /// Most functions in one message; default 256.
    pub max_batch: usize,
    /// Logins of one name that may fail at once; default 5. After that it may try once in each `failed_login_pause`. Those of one
    /// address are bounded by `limits.max_failed_logins` and `limits.max_failed_logins_per_minute`: it is answered without being
    /// judged then.
    pub max_failed_logins_per_name: u32,
    /// How long a name pauses that failed too often; default 60 s.
    pub failed_login_pause: Duration,
    /// Who may send the commands that end the server, by name; default nobody. The original obeys anyone. What ends is
    /// everything that shares the shutdown of the endpoint, after a second in which peers still get answers.
    pub may_command: Vec<ByteString>,
    /// The versions the greeting tells; default those of the last public server, which clients compare.
    pub version: Version,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            wire: Wire::default(),
            guests: false,
            allow_plaintext: false,
            session_span: Duration::from_secs(3_600),
            max_sessions: 1_000,
            max_sessions_per_subject: 16,
            max_login_messages: 4,
            max_unknown_sessions: 10,
            max_batch: 256,
            max_failed_logins_per_name: 5,
            failed_login_pause: Duration::from_secs(60),
            may_command: Vec::new(),
            version: Version::default(),
        }
    }
}

/// The versions in a greeting, three numbers each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The server.
    pub core: [u32; 3],
    /// Its database.
    pub db: [u32; 3],
    /// Its torrent client.
    pub torrent: [u32; 3],
}

impl Default for Version {
    fn default() -> Self {
        Self { core: [0, 3, 0], db: [0, 2, 0], torrent: [0, 0, 0] }
    }
}

impl Wire {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`LimitError`] naming the first setting out of range.
    pub fn validate(&self) -> Result<(), LimitError> {
        self.limits.validate()?;
        range("max_frame_bytes", self.limits.max_frame_bytes, 1_024, 256 << 20, "1 KiB to 256 MiB")?;
        range("compression_level", self.compression_level as usize, 1, 9, "1 to 9")?;
        range("stored_up_to", self.stored_up_to, 0, 1 << 20, "0 to 1 MiB")?;
        range("max_inflated_bytes", self.max_inflated_bytes, 1_024, 1 << 30, "1 KiB to 1 GiB")?;
        range("max_members", self.max_members as usize, 1, 65_536, "1 to 65536")?;
        range("max_false_markers", self.max_false_markers as usize, 1, 1_024, "1 to 1024")?;
        range("max_empty_frames", self.max_empty_frames as usize, 1, 1_024, "1 to 1024")
    }
}

impl ClientConfig {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`LimitError`] naming the first setting out of range.
    pub fn validate(&self) -> Result<(), LimitError> {
        self.wire.validate()?;
        range("connections", self.connections, 1, 64, "1 to 64")?;
        span("wait_backoff", self.wait_backoff)
    }
}

impl ServerConfig {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`LimitError`] naming the first setting out of range.
    pub fn validate(&self) -> Result<(), LimitError> {
        self.wire.validate()?;
        span("session_span", self.session_span)?;
        span("failed_login_pause", self.failed_login_pause)?;
        range("max_sessions", self.max_sessions, 1, 1 << 20, "1 to 1048576")?;
        range("max_sessions_per_subject", self.max_sessions_per_subject, 1, 1 << 20, "1 to 1048576")?;
        range("max_login_messages", self.max_login_messages as usize, 1, 16, "1 to 16")?;
        range("max_unknown_sessions", self.max_unknown_sessions as usize, 1, 1_024, "1 to 1024")?;
        range("max_batch", self.max_batch, 1, 65_536, "1 to 65536")?;
        let per_name = self.max_failed_logins_per_name as usize;
        range("max_failed_logins_per_name", per_name, 1, 1_024, "1 to 1024")
    }
}

fn range(
    setting: &'static str,
    value: usize,
    least: usize,
    most: usize,
    rule: &'static str,
) -> Result<(), LimitError> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(LimitError { setting, value: value.to_string(), rule })
    }
}

fn span(setting: &'static str, value: Duration) -> Result<(), LimitError> {
    if value.is_zero() {
        Err(LimitError { setting, value: format!("{value:?}"), rule: "more than 0" })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_in_range_and_a_refusal_names_the_setting() {
        assert_eq!(ClientConfig::default().validate(), Ok(()));
        assert_eq!(ServerConfig::default().validate(), Ok(()));
        let wrong = ClientConfig { connections: 65, ..ClientConfig::default() };
        assert_eq!(wrong.validate().unwrap_err().to_string(), "connections = 65 is out of range: 1 to 64");
        let wrong = Wire { compression_level: 0, ..Wire::default() };
        assert!(wrong.validate().is_err());
    }
}
