//! The settings of a host, with their ranges.

use std::time::Duration;

use polywire_core::{LimitError, Limits};

use crate::plugin::limits;

/// How a host behaves. Where the published guide is silent or contradicts itself, the defaults are those under which the plugins
/// known to exist work.
#[derive(Clone, Debug, PartialEq)]
pub struct HostConfig {
    /// Where to listen on this machine; `None`, the default, is the rule of [`PORTS`](super::PORTS), then any. `Some(0)` is any.
    pub port: Option<u16>,
    /// The values of `Origin` that may connect: pages in a browser. Default none.
    pub origins: Vec<String>,
    /// How long a challenge is good for, from the launch; default 30 s, at most 10 min. Whoever has not logged in by then, or
    /// within `limits.login_timeout`, is sent away.
    pub challenge_life: Duration,
    /// How a plugin whose connection was lost may come back; default [`Reauth::Both`].
    pub reauth: Reauth,
    /// How long after a connection is lost its plugin may come back; default 60 s, at most 1 h.
    pub reconnect_grace: Duration,
    /// The same challenge may be shown again while its session lives, within its life, and takes the session over; default
    /// false. A plugin written after the guide's sample needs it; whoever can read the plugin's environment can use it too.
    pub challenge_reuse_within_life: bool,
    /// A request for data without a session token is refused; default false.
    pub require_data_token: bool,
    /// A request for a file without a session token is refused; default true. Plugins on the C# helper send none.
    pub require_file_token: bool,
    /// Answers to requests for data are sent a second time as `data_response`; default true.
    pub aliases: bool,
    /// How the bytes of a file travel; default [`FileEncoding::Base64`].
    pub file_encoding: FileEncoding,
    /// Largest file that is given, in bytes; default 2 MB, at most 16 MiB and `limits.max_frame_bytes`. Python
    /// plugins lose their connection at 4 MiB.
    pub max_file_bytes: u64,
    /// Most files that are read at a time; default 4.
    pub max_file_reads: usize,
    /// Most attempts to log in on one connection; default 3.
    pub max_logins: u32,
    /// How long a refused connection stays open, so that its plugin hears why; default 500 ms, at most 10 s.
    pub refusal_grace: Duration,
    /// Most plugins that are known at a time; default 1 024.
    pub max_plugins: usize,
    /// Most events that one connection may subscribe to; default 1 024.
    pub max_subscriptions: usize,
    /// The limits every wire has. Here `call_timeout` is 30 s, as in the samples of the plugin guide, and `login_timeout` is
    /// 30 s, as long as a challenge lives; `progress_timeout` is how long status updates may keep a request alive.
    /// `max_frame_bytes`, 16 MiB as everywhere, is also what plugins are told as `maxPayload`. Servers on the official package take,
    /// and announce, 1 000 000; but here one bound holds for both directions, and a file of `max_file_bytes` has to pass it.
    pub limits: Limits,
}

/// How a plugin may come back after its connection was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reauth {
    /// By its token or by its challenge.
    #[default]
    Both,
    /// By its token only.
    Token,
    /// By its challenge only.
    Challenge,
    /// Not at all: one login for a launch.
    None,
}

/// How the bytes of a file travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileEncoding {
    /// As base64 text, which every known plugin reads.
    #[default]
    Base64,
    /// As an attachment.
    Binary,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            port: None,
            origins: Vec::new(),
            challenge_life: Duration::from_secs(30),
            reauth: Reauth::Both,
            reconnect_grace: Duration::from_secs(60),
            challenge_reuse_within_life: false,
            require_data_token: false,
            require_file_token: true,
            aliases: true,
            file_encoding: FileEncoding::Base64,
            max_file_bytes: 2_000_000,
            max_file_reads: 4,
            max_logins: 3,
            refusal_grace: Duration::from_millis(500),
            max_plugins: 1_024,
            max_subscriptions: 1_024,
            limits: limits(),
        }
    }
}

impl HostConfig {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`LimitError`] naming the setting.
    pub fn validate(&self) -> Result<(), LimitError> {
        self.limits.validate()?;
        let second = Duration::from_secs(1);
        for (setting, value, most, rule) in [
            ("challenge_life", self.challenge_life, second * 600, "1 ms to 10 min"),
            ("reconnect_grace", self.reconnect_grace, second * 3_600, "1 ms to 1 h"),
            ("refusal_grace", self.refusal_grace, second * 10, "1 ms to 10 s"),
        ] {
            if !(Duration::from_millis(1)..=most).contains(&value) {
                return Err(LimitError { setting, value: format!("{value:?}"), rule });
            }
        }
        if self.max_file_bytes > 16 << 20 {
            let value = self.max_file_bytes.to_string();
            return Err(LimitError { setting: "max_file_bytes", value, rule: "at most 16777216" });
        }
        for (setting, value) in [
            ("max_plugins", self.max_plugins),
            ("max_subscriptions", self.max_subscriptions),
            ("max_file_reads", self.max_file_reads),
        ] {
            if !(1..=65_536).contains(&value) {
                return Err(LimitError { setting, value: value.to_string(), rule: "1 to 65536" });
            }
        }
        if self.max_logins == 0 {
            return Err(LimitError { setting: "max_logins", value: "0".into(), rule: "at least 1" });
        }
        Ok(())
    }
}
