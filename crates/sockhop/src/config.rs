//! Every number and choice of this adapter, with unit, default and the reason for the default.

use std::time::Duration;

use polywire_core::LimitError;

use crate::terminator::{MARKED, Mark, Terminator};

/// How a peer is met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Offer the handshake and be content without: a peer that does not answer is served as a 1.x peer.
    #[default]
    Auto,
    /// Require the handshake and binary mode; a peer that does not shake hands, or refuses binary, is left.
    Binary,
    /// Shake hands but refuse binary mode in both directions.
    Json,
    /// No handshake at all, as a 1.x peer or the `compatibility_mode` of a 2.x peer.
    Compat,
}

/// When this side starts to send binary frames, once the peer allowed it.
///
/// The switch is a line without an acknowledgement, and a stock 2.1 peer loses what shares a read with it
/// (observed in `switch-race-210`). So everything is held back around it until the peer has provably read it; see `session`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Switch {
    /// Never: the handshake does not ask for it. Nothing can be lost; typed buffers cannot be sent.
    Never,
    /// When the first typed buffer wants to leave. Until then nothing is held back and nothing can be lost.
    #[default]
    Late,
    /// Right after the handshake.
    Early,
}

/// What a peer puts on its lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerType {
    /// The Sockhop envelope.
    #[default]
    Sockhop,
    /// Bare JSON values without envelope, callbacks and handshake: `peer_type: "json"` of the 1.x library.
    Json,
}

/// What a call of ours goes out as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Calls {
    /// A message with a callback, which every version answers.
    #[default]
    Callback,
    /// The `SockhopRequest` of the 1.x library, for peers that serve `request` events. A 2.x peer does not answer it.
    Request,
}

/// The settings of one end. Sizes, numbers and times that every wire bounds are in the endpoint's [`Limits`](polywire_core::Limits).
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How peers are met; default [`Mode::Auto`], which works with every version.
    pub mode: Mode,
    /// When binary frames are sent; default [`Switch::Late`], because JSON lines are what stock peers read fastest.
    pub switch: Switch,
    /// The end of a line in JSON mode; default `\n` each way, as every stock peer.
    pub terminator: Terminator,
    /// What peers put on their lines; default the envelope.
    pub peer_type: PeerType,
    /// What calls go out as; default callbacks.
    pub calls: Calls,
    /// How long the peer may take to shake hands, and to answer at the switch to binary; default 3 s as in the original, at
    /// most 60 s.
    pub handshake_timeout: Duration,
    /// Time between pings, `None` for none; default 5 s, which finds a dead peer within 20 s. At least 10 ms.
    ///
    /// Four pings in a row without an answer close the connection, and so does the first without one after this side has stood
    /// still for more than three intervals by its clock, which on Linux stands still itself while the machine sleeps. A peer
    /// that began no handshake and has answered no ping may be made by hand and know none: it is closed when it says nothing
    /// at all through four pings behind a call and one was given up waiting for it, or else through 180. One that never says
    /// anything may do so for ever, unless this end offered it a handshake, as a client does, or called it in vain.
    pub ping_interval: Option<Duration>,
    /// A JSON pointer to the member of the data that names the route, such as `/method`; default none: the message type names
    /// it. For stock peers, whose plain objects all have the type `Object`. Where nothing is found the type names the route.
    pub name_from: Option<String>,
    /// Is an answer that is an object with the single member `error` a failure? Default no, because such an object may be what
    /// was asked for. An answer of the type `Error` always is.
    pub errors_in_reply: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            switch: Switch::Late,
            terminator: Terminator::default(),
            peer_type: PeerType::Sockhop,
            calls: Calls::Callback,
            handshake_timeout: Duration::from_secs(3),
            ping_interval: Some(Duration::from_secs(5)),
            name_from: None,
            errors_in_reply: false,
        }
    }
}

impl Config {
    /// The default settings with another mode; [`Mode::Binary`] switches early, for a peer that is there for typed buffers.
    pub fn with_mode(mode: Mode) -> Self {
        let switch = if mode == Mode::Binary { Switch::Early } else { Switch::default() };
        Self { mode, switch, ..Self::default() }
    }

    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`LimitError`] naming the first setting out of range.
    pub fn validate(&self) -> Result<(), LimitError> {
        let refuse = |setting, value: String, rule| Err(LimitError { setting, value, rule });
        for (setting, bytes) in [
            ("terminator.receive", &self.terminator.receive),
            ("terminator.transmit", &self.terminator.transmit),
        ] {
            if bytes.is_empty() || bytes.len() > 16 {
                return refuse(setting, format!("{bytes:?}"), "1 to 16 bytes");
            }
        }
        if Mark::of(&self.terminator.transmit).is_none() {
            let value = format!("{:?}", self.terminator.transmit);
            return refuse("terminator.transmit", value, MARKED);
        }
        let timeout = self.handshake_timeout;
        if timeout.is_zero() || timeout > Duration::from_secs(60) {
            return refuse("handshake_timeout", format!("{timeout:?}"), "more than 0, at most 60 s");
        }
        if let Some(interval) = self.ping_interval
            && !(Duration::from_millis(10)..=Duration::from_secs(3_600)).contains(&interval)
        {
            return refuse("ping_interval", format!("{interval:?}"), "10 ms to 1 h");
        }
        match &self.name_from {
            Some(pointer) if !pointer.starts_with('/') || pointer.len() > 255 => refuse(
                "name_from",
                format!("{pointer:?}"),
                "a JSON pointer such as /method, at most 255 bytes",
            ),
            _ => Ok(()),
        }
    }

    /// Does this end offer and answer handshakes?
    pub(crate) fn shakes_hands(&self) -> bool {
        self.mode != Mode::Compat && self.peer_type == PeerType::Sockhop
    }

    /// Does the handshake ask for the switch of our own direction?
    pub(crate) fn asks_binary(&self) -> bool {
        matches!(self.mode, Mode::Auto | Mode::Binary) && self.switch != Switch::Never
    }

    /// Is the switch of the peer's direction allowed?
    pub(crate) fn allows_binary(&self) -> bool {
        matches!(self.mode, Mode::Auto | Mode::Binary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_in_range_and_refusals_name_setting_value_and_rule() {
        assert_eq!(Config::default().validate(), Ok(()));
        let refused = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert_eq!(
            refused(|config| config.handshake_timeout = Duration::ZERO),
            "handshake_timeout = 0ns is out of range: more than 0, at most 60 s"
        );
        assert!(
            refused(|config| config.terminator = Terminator::both(""))
                .starts_with("terminator.receive = b\"\"")
        );
        assert!(refused(|config| config.terminator = Terminator::both("null")).contains("in strings alone"));
        assert!(refused(|config| config.name_from = Some("method".into())).contains("JSON pointer"));
        assert!(refused(|config| config.ping_interval = Some(Duration::ZERO)).starts_with("ping_interval"));
    }
}
