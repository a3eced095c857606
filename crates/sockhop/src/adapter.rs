//! The adapter as a value: its options by name, what it can carry, and the two ways to start it.

use std::path::PathBuf;

use bytes::Bytes;
use polywire_core::{
    Adapter, AdapterError, BinaryForm, BoxFuture, Capabilities, Client, Correlation, EmptyReply, Endpoint,
    Errors, Limits, OptionKind, OptionSpec, Options, Particulars, ProgressForm, Route, Server, Target,
};

use crate::address::Address;
use crate::config::{Calls, Config, Mode, PeerType, Switch};
use crate::terminator::{MARKED, Mark};

/// Sockhop, for whoever picks an adapter by its name.
pub const ADAPTER: Sockhop = Sockhop;

/// The adapter as a value; see [`ADAPTER`].
#[derive(Clone, Copy, Debug)]
pub struct Sockhop;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "mode",
        takes: OptionKind::OneOf(&["auto", "binary", "json", "compat"]),
        default: "auto",
        about: "auto serves every version, binary requires frames, json refuses them, compat makes no handshake",
    },
    OptionSpec {
        name: "switch",
        takes: OptionKind::OneOf(&["never", "late", "early"]),
        default: "late, early with mode=binary",
        about: "when this end begins to send frames: never, for the first typed buffer, or after the handshake",
    },
    OptionSpec {
        name: "terminator",
        takes: OptionKind::Text,
        default: "\\n",
        about: "what ends a line, with the escapes \\n \\r \\t \\0 \\\\ and \\xNN; what is sent needs a character that JSON has nowhere or in strings alone",
    },
    OptionSpec {
        name: "terminator_sent",
        takes: OptionKind::Text,
        default: "that of terminator",
        about: "what ends a line sent, where the directions differ",
    },
    OptionSpec {
        name: "peer_type",
        takes: OptionKind::OneOf(&["sockhop", "json"]),
        default: "sockhop",
        about: "json for peers that put bare JSON values on their lines",
    },
    OptionSpec {
        name: "calls",
        takes: OptionKind::OneOf(&["callback", "request"]),
        default: "callback",
        about: "request for peers that serve the requests of the 1.x library",
    },
    OptionSpec {
        name: "name_from",
        takes: OptionKind::Text,
        default: "none",
        about: "JSON pointer to the member of the data that names the route, such as /method",
    },
    OptionSpec {
        name: "errors_in_reply",
        takes: OptionKind::Flag,
        default: "0",
        about: "is an answer with the single member error a failure?",
    },
    OptionSpec {
        name: "handshake_timeout",
        takes: OptionKind::Duration,
        default: "3s",
        about: "how long the peer may take to shake hands, and to answer at the switch to binary",
    },
    OptionSpec {
        name: "ping_interval",
        takes: OptionKind::Duration,
        default: "5s",
        about: "time between pings, 0s for none",
    },
    #[cfg(feature = "tls")]
    OptionSpec {
        name: "tls",
        takes: OptionKind::Flag,
        default: "0",
        about: "TLS on a TCP address; listening needs tls_cert and tls_key",
    },
    #[cfg(feature = "tls")]
    OptionSpec {
        name: "tls_cert",
        takes: OptionKind::Secret,
        default: "none",
        about: "the certificates of this end in PEM",
    },
    #[cfg(feature = "tls")]
    OptionSpec {
        name: "tls_key",
        takes: OptionKind::Secret,
        default: "none",
        about: "the private key of this end in PEM",
    },
    #[cfg(feature = "tls")]
    OptionSpec {
        name: "tls_ca",
        takes: OptionKind::Secret,
        default: "those of the system",
        about: "the certificates that the peer's must be signed with, in PEM",
    },
];

const RESERVED: &[&str] = &[
    "SockhopHandshake",
    "SockhopBinaryModeTransition",
    "SockhopPing",
    "SockhopPong",
    "SockhopRequest",
    "SockhopResponsePacket",
];

impl Config {
    /// The settings that options ask for, defaults elsewhere.
    ///
    /// # Errors
    /// [`AdapterError`] naming the option that is unknown or has a value that it cannot have.
    pub fn from_options(options: &Options) -> Result<Self, AdapterError> {
        options.check_known("sockhop", OPTIONS)?;
        let mode = choose(options, "mode", &[Mode::Auto, Mode::Binary, Mode::Json, Mode::Compat])?;
        let mut config = Self::with_mode(mode.unwrap_or_default());
        if let Some(switch) = choose(options, "switch", &[Switch::Never, Switch::Late, Switch::Early])? {
            config.switch = switch;
        }
        if let Some(peer_type) = choose(options, "peer_type", &[PeerType::Sockhop, PeerType::Json])? {
            config.peer_type = peer_type;
        }
        if let Some(calls) = choose(options, "calls", &[Calls::Callback, Calls::Request])? {
            config.calls = calls;
        }
        if let Some(both) = terminator(options, "terminator")? {
            config.terminator.receive = both.clone();
            config.terminator.transmit = both;
        }
        let sent = options.text("terminator_sent").map_or("terminator", |_| "terminator_sent");
        if let Some(sent) = terminator(options, "terminator_sent")? {
            config.terminator.transmit = sent;
        }
        if Mark::of(&config.terminator.transmit).is_none() {
            return Err(AdapterError::option(sent, options.text(sent).unwrap_or_default(), MARKED));
        }
        config.name_from = options.text("name_from").map(str::to_owned);
        config.errors_in_reply = options.flag("errors_in_reply")?.unwrap_or(config.errors_in_reply);
        config.handshake_timeout = options.duration("handshake_timeout")?.unwrap_or(config.handshake_timeout);
        if let Some(interval) = options.duration("ping_interval")? {
            config.ping_interval = Some(interval).filter(|interval| !interval.is_zero());
        }
        config.validate().map_err(|wrong| options.out_of_range(wrong))?;
        Ok(config)
    }
}

/// The value whose word an option holds; words and values stand in the same order.
fn choose<T: Copy>(options: &Options, name: &'static str, values: &[T]) -> Result<Option<T>, AdapterError> {
    let Some(word) = options.text(name) else { return Ok(None) };
    let spec = OPTIONS.iter().find(|option| option.name == name);
    let Some(OptionSpec { takes: OptionKind::OneOf(words), .. }) = spec else { return Ok(None) };
    match words.iter().position(|known| *known == word).and_then(|at| values.get(at)) {
        Some(value) => Ok(Some(*value)),
        None => Err(AdapterError::option(name, word, words.join(", "))),
    }
}

fn terminator(options: &Options, name: &'static str) -> Result<Option<Bytes>, AdapterError> {
    let Some(text) = options.text(name) else { return Ok(None) };
    let rule = match unescape(text) {
        None => "text with the escapes \\n \\r \\t \\0 \\\\ and \\xNN",
        Some(bytes) if !(1..=16).contains(&bytes.len()) => "1 to 16 bytes",
        Some(bytes) => return Ok(Some(bytes.into())),
    };
    Err(AdapterError::option(name, text, rule))
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let kind = escape.chars().next()?;
        rest = escape.get(kind.len_utf8()..)?;
        bytes.push(match kind {
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            '0' => 0,
            '\\' => b'\\',
            'x' => {
                let (digits, more) = rest.split_at_checked(2)?;
                rest = more;
                u8::from_str_radix(digits, 16).ok()?
            }
            _ => return None,
        });
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

/// What the wire can carry with these settings, by this end alone: a peer may allow less.
pub fn capabilities(config: &Config, limits: &Limits) -> Capabilities {
    let bare = config.peer_type == PeerType::Json;
    Capabilities {
        correlation: Correlation::Id,
        max_concurrent_calls: if bare { 0 } else { u32::try_from(limits.max_pending).unwrap_or(u32::MAX) },
        server_calls: !bare,
        client_events: true,
        push: true,
        errors: Errors::InBody,
        binary: if bare {
            BinaryForm::None
        } else if config.asks_binary() {
            BinaryForm::Typed
        } else {
            BinaryForm::Plain
        },
        progress: ProgressForm::None,
        cancel: false,
        order: true,
        login: false,
        object_arguments: false,
        empty_body: false,
        max_route_bytes: Route::MAX_BYTES,
        max_body_bytes: limits.max_frame_bytes,
    }
}

impl Sockhop {
    fn settings(target: Target) -> Result<(Address, Config), AdapterError> {
        if let Some(extra) = target.user.or(Some(target.path).filter(|path| !matches!(&**path, "" | "/"))) {
            return Err(AdapterError::Settings(format!(
                "sockhop has no users and no paths, but got {extra:?}"
            )));
        }
        let config = Config::from_options(&target.options)?;
        let address = if target.unix {
            Address::Unix(PathBuf::from(target.address))
        } else {
            Address::Tcp(target.address)
        };
        Ok((address, config))
    }

    /// The TCP address, where TLS can be used; the options of TLS say whether it is. Elsewhere they are refused.
    #[cfg(feature = "tls")]
    fn sealable(address: &Address, options: &Options) -> Result<Option<String>, AdapterError> {
        match address {
            Address::Tcp(address) => Ok(Some(address.clone())),
            Address::Unix(_) if options.flag("tls")?.unwrap_or(false) => {
                Err(AdapterError::Settings("a Unix socket has no TLS".into()))
            }
            Address::Unix(_) => {
                let set = |name: &&str| options.secret(name).is_some();
                match ["tls_cert", "tls_key", "tls_ca"].into_iter().find(set) {
                    None => Ok(None),
                    Some(name) => {
                        Err(AdapterError::Settings(format!("{name} is of no use on a Unix socket")))
                    }
                }
            }
        }
    }
}

impl Adapter for Sockhop {
    fn name(&self) -> &'static str {
        "sockhop"
    }

    fn about(&self) -> &'static str {
        "Node IPC over TCP or Unix sockets: JSON lines or binary frames, callbacks, typed buffers"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn capabilities(&self, options: &Options) -> Result<Capabilities, AdapterError> {
        Ok(capabilities(&Config::from_options(options)?, &self.limits().with_options(options)?))
    }

    fn particulars(&self, _: &Options) -> Result<Particulars, AdapterError> {
        let (empty, empty_reply) = (Some("{}"), EmptyReply::Value("{}"));
        Ok(Particulars { empty_request: empty, empty_push: empty, empty_reply, ..Particulars::default() })
    }

    fn reserved_routes(&self) -> &'static [&'static str] {
        RESERVED
    }

    fn listen(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Server, AdapterError>> {
        Box::pin(async move {
            let endpoint = endpoint.with_limits_of(&target.options)?;
            #[cfg(feature = "tls")]
            let options = target.options.clone();
            let (address, config) = Self::settings(target)?;
            #[cfg(feature = "tls")]
            if let Some(tcp) = Self::sealable(&address, &options)?
                && let Some(tls) = crate::tls::ServerTls::from_options(&options)?
            {
                return Ok(crate::server::listen_tls(tcp, config, tls, endpoint).await?);
            }
            Ok(crate::server::listen(address, config, endpoint).await?)
        })
    }

    fn dial(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Client, AdapterError>> {
        Box::pin(async move {
            let endpoint = endpoint.with_limits_of(&target.options)?;
            #[cfg(feature = "tls")]
            let options = target.options.clone();
            let (address, config) = Self::settings(target)?;
            #[cfg(feature = "tls")]
            if let Some(tcp) = Self::sealable(&address, &options)?
                && let Some(tls) = crate::tls::ClientTls::from_options(&options, &tcp)?
            {
                return Ok(crate::client::dial_tls(tcp, config, tls, endpoint)?);
            }
            Ok(crate::client::dial(address, config, endpoint)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "tls")]
    use polywire_core::Secret;
    use std::time::Duration;

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().copied().collect()
    }

    #[test]
    fn options_become_settings() {
        assert_eq!(Config::from_options(&Options::new()).unwrap(), Config::default());
        let config = Config::from_options(&options(&[
            ("mode", "binary"),
            ("terminator", "null"),
            ("terminator_sent", ";;"),
            ("name_from", "/method"),
            ("ping_interval", "0s"),
            ("handshake_timeout", "250ms"),
            ("calls", "request"),
            ("errors_in_reply", "1"),
        ]))
        .unwrap();
        assert_eq!((config.mode, config.switch), (Mode::Binary, Switch::Early));
        assert_eq!(
            (&config.terminator.receive[..], &config.terminator.transmit[..]),
            (&b"null"[..], &b";;"[..])
        );
        assert_eq!((config.ping_interval, config.handshake_timeout), (None, Duration::from_millis(250)));
        assert_eq!((config.calls, config.errors_in_reply), (Calls::Request, true));
    }

    #[test]
    fn a_wrong_option_is_named_with_its_value_and_its_rule() {
        for (name, value, expected) in [
            ("mode", "fast", "option mode = \"fast\" is not auto, binary, json, compat"),
            (
                "colour",
                "red",
                "sockhop has no option \"colour\"; besides the limits of every wire it has mode, switch,",
            ),
            ("terminator", "\\q", "option terminator = \"\\\\q\" is not text with the escapes"),
            ("terminator", "", "option terminator = \"\" is not 1 to 16 bytes"),
            (
                "terminator",
                "null",
                "option terminator = \"null\" is not text with a character that JSON has nowhere",
            ),
            ("terminator_sent", "}", "option terminator_sent = \"}\" is not text with a character"),
            ("handshake_timeout", "2h", "option handshake_timeout = \"2h\" is not more than 0, at most 60 s"),
        ] {
            let text = Config::from_options(&options(&[(name, value)])).unwrap_err().to_string();
            assert!(text.contains(expected), "{text}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn what_a_unix_socket_would_leave_unused_is_refused() {
        let address = Address::Unix("socket".into());
        for (name, text) in [
            ("tls", "a Unix socket has no TLS"),
            ("tls_cert", "tls_cert is of no use on a Unix socket"),
            ("tls_key", "tls_key is of no use on a Unix socket"),
            ("tls_ca", "tls_ca is of no use on a Unix socket"),
        ] {
            let mut options = Options::new();
            match name {
                "tls" => options.set(name, "1"),
                _ => options.set_secret(name, Secret::from("text")),
            }
            let refused = Sockhop::sealable(&address, &options).unwrap_err();
            assert!(refused.to_string().contains(text), "{refused}");
        }
        for off in [&[][..], &[("tls", "0")]] {
            assert_eq!(Sockhop::sealable(&address, &options(off)).unwrap(), None);
        }
    }

    #[test]
    fn capabilities_follow_the_options() {
        let binary = |pairs: &[(&str, &str)]| ADAPTER.capabilities(&options(pairs)).unwrap().binary;
        assert_eq!(binary(&[]), BinaryForm::Typed);
        assert_eq!(binary(&[("mode", "json")]), BinaryForm::Plain);
        assert_eq!(binary(&[("switch", "never")]), BinaryForm::Plain);
        assert_eq!(binary(&[("peer_type", "json")]), BinaryForm::None);
    }

    #[test]
    fn terminators_are_written_with_escapes() {
        assert_eq!(unescape("\\x1e\\\\é\\0").unwrap(), b"\x1e\\\xc3\xa9\0");
        for wrong in ["\\", "\\x1", "\\xzz", "\\é"] {
            assert_eq!(unescape(wrong), None, "{wrong}");
        }
    }
}
