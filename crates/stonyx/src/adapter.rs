//! The adapter as a value: its options by name, what it can carry, and the two ways to start it.

use std::sync::Arc;

use polywire_core::{
    Adapter, AdapterError, BinaryForm, Body, BoxFuture, Capabilities, Client, Correlation, Credentials,
    EmptyReply, Endpoint, Errors, EventForm, JsonText, Limits, LoginOptions, OptionKind, OptionSpec, Options,
    Particulars, ProgressForm, Route, Secret, Server, Target,
};

use crate::config::{Config, OnFailure};

/// Stonyx, for whoever picks an adapter by its name.
pub const ADAPTER: Stonyx = Stonyx;

/// The adapter as a value; see [`ADAPTER`].
#[derive(Clone, Copy, Debug)]
pub struct Stonyx;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "key",
        takes: OptionKind::Secret,
        default: "none, needed",
        about: "the shared key of both ends",
    },
    OptionSpec {
        name: "encryption",
        takes: OptionKind::OneOf(&["on", "off"]),
        default: "on",
        about: "off leaves messages unsealed, which is refused off loopback without TLS",
    },
    OptionSpec {
        name: "auth_data",
        takes: OptionKind::Secret,
        default: "none",
        about: "dialling: a JSON object whose members the login carries beside the key",
    },
    OptionSpec {
        name: "heartbeat",
        takes: OptionKind::Duration,
        default: "30s",
        about: "time between heartbeats",
    },
    OptionSpec {
        name: "heartbeat_timeout",
        takes: OptionKind::Duration,
        default: "10s",
        about: "time within which a heartbeat must be answered",
    },
    OptionSpec {
        name: "kebab_routes",
        takes: OptionKind::Flag,
        default: "0",
        about: "routes here are kebab-case, names on the wire camelCase",
    },
    OptionSpec {
        name: "concurrent_names",
        takes: OptionKind::Flag,
        default: "0",
        about: "dialling: calls of one name go out at once and are matched in order",
    },
    OptionSpec {
        name: "errors_in_reply",
        takes: OptionKind::Flag,
        default: "0",
        about: "dialling: an answer with the single member error is a failure",
    },
    OptionSpec {
        name: "owed_for",
        takes: OptionKind::Duration,
        default: "15s",
        about: "dialling: how long calls of a name wait for the answer of one that was given up",
    },
    OptionSpec {
        name: "max_messages_per_key",
        takes: OptionKind::Number,
        default: "2147483648",
        about: "messages under one session key after which the connection is replaced",
    },
    OptionSpec {
        name: "max_unknown_names",
        takes: OptionKind::Number,
        default: "1000",
        about: "listening: requests of unknown names in one second above which a connection is closed",
    },
    OptionSpec {
        name: "on_failure",
        takes: OptionKind::OneOf(&["answer", "close"]),
        default: "answer",
        about: "listening: a failed request is answered with an error object, or closes as the original does",
    },
    OptionSpec {
        name: "empty_reply",
        takes: OptionKind::Text,
        default: "none",
        about: "listening: the JSON that answers a request whose handler has nothing to say",
    },
    OptionSpec {
        name: "open_routes",
        takes: OptionKind::Text,
        default: "none",
        about: "listening: names that are served before the login too, with commas between them",
    },
    OptionSpec {
        name: "allow_weak_key",
        takes: OptionKind::Flag,
        default: "0",
        about: "take a short key or the placeholder off loopback",
    },
    OptionSpec {
        name: "allow_plaintext",
        takes: OptionKind::Flag,
        default: "0",
        about: "leave messages unsealed off loopback without TLS",
    },
    #[cfg(feature = "tls")]
    OptionSpec {
        name: "tls",
        takes: OptionKind::Flag,
        default: "0",
        about: "wss: listening needs tls_cert and tls_key",
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

const RESERVED: &[&str] = &["auth", "heartBeat"];

impl Config {
    /// The settings that options ask for, defaults elsewhere.
    ///
    /// # Errors
    /// [`AdapterError`] naming the option that is unknown or has a value that it cannot have.
    pub fn from_options(options: &Options) -> Result<Self, AdapterError> {
        options.check_known("stonyx", OPTIONS)?;
        let mut config = Self::new(options.secret("key").cloned().unwrap_or_else(|| Secret::from("")));
        config.encryption = match options.text("encryption") {
            None | Some("on") => true,
            Some("off") => false,
            // The original takes every other word for off, which nobody who wrote "yes" meant.
            Some(word) => return Err(AdapterError::option("encryption", word, "on or off")),
        };
        config.on_failure = match options.text("on_failure") {
            None | Some("answer") => OnFailure::Answer,
            Some("close") => OnFailure::Close,
            Some(word) => return Err(AdapterError::option("on_failure", word, "answer or close")),
        };
        if let Some(text) = options.text("empty_reply") {
            let json = JsonText::new(text.to_owned(), &Limits::default().json);
            config.empty_reply = Some(
                json.map_err(|error| AdapterError::option("empty_reply", text, format!("JSON: {error}")))?,
            );
        }
        for name in options.text("open_routes").into_iter().flat_map(|names| names.split(',')) {
            let route = Route::new(name.trim().to_owned());
            let route =
                route.map_err(|error| AdapterError::option("open_routes", name, error.to_string()))?;
            config.open_routes.push(route);
        }
        config.heartbeat = options.duration("heartbeat")?.unwrap_or(config.heartbeat);
        config.heartbeat_timeout = options.duration("heartbeat_timeout")?.unwrap_or(config.heartbeat_timeout);
        config.owed_for = options.duration("owed_for")?.unwrap_or(config.owed_for);
        config.max_messages_per_key =
            options.number("max_messages_per_key")?.unwrap_or(config.max_messages_per_key);
        if let Some(names) = options.number("max_unknown_names")? {
            config.max_unknown_names = u32::try_from(names).map_err(|_| {
                AdapterError::option("max_unknown_names", names.to_string(), "at most 4294967295")
            })?;
        }
        let flag = |name| Ok::<_, AdapterError>(options.flag(name)?.unwrap_or(false));
        config.kebab_routes = flag("kebab_routes")?;
        config.concurrent_names = flag("concurrent_names")?;
        config.errors_in_reply = flag("errors_in_reply")?;
        config.allow_weak_key = flag("allow_weak_key")?;
        config.allow_plaintext = flag("allow_plaintext")?;
        Ok(config)
    }
}

/// What the wire can carry with these settings.
pub fn capabilities(config: &Config, limits: &Limits) -> Capabilities {
    Capabilities {
        correlation: Correlation::Name,
        // One for each name; how many names there are is the application's business.
        max_concurrent_calls: u32::try_from(limits.max_pending).unwrap_or(u32::MAX),
        server_calls: false,
        client_events: true,
        push: true,
        errors: Errors::InBody,
        binary: BinaryForm::None,
        progress: ProgressForm::None,
        cancel: false,
        order: true,
        login: true,
        object_arguments: false,
        empty_body: config.empty_reply.is_none(),
        max_route_bytes: Route::MAX_BYTES,
        max_body_bytes: limits.max_frame_bytes,
    }
}

impl Stonyx {
    fn settings(target: &Target) -> Result<Config, AdapterError> {
        let settings = |text: String| Err(AdapterError::Settings(text));
        if target.unix {
            return settings("stonyx has no Unix sockets".to_owned());
        }
        if let Some(user) = &target.user {
            return settings(format!("stonyx has no users, but got {user:?}"));
        }
        if target.options.secret("key").is_none() {
            return settings("stonyx needs its shared key: key=env:NAME or key=file:PATH".to_owned());
        }
        let path = if target.path.is_empty() { "/".to_owned() } else { percent_encoded(&target.path) };
        Ok(Config { path, ..Config::from_options(&target.options)? })
    }

    /// What the login carries beside the key.
    fn credentials(options: &Options) -> Result<Credentials, AdapterError> {
        let Some(secret) = options.secret("auth_data") else { return Ok(Credentials::guest()) };
        let wrong = || AdapterError::Settings("auth_data is not a JSON object".to_owned());
        let text = JsonText::new(secret.expose().to_vec(), &Limits::default().json).map_err(|_| wrong())?;
        if !text.as_bytes().trim_ascii().starts_with(b"{") {
            return Err(wrong());
        }
        Ok(Credentials { data: Body::Json(text), ..Credentials::guest() })
    }
}

/// A path, which comes without its percent forms, as a request line takes it. A `?` stays and begins the query: in a URL of ours
/// it is written `%3F`.
fn percent_encoded(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_graphic() && !b"\"#%<>\\^`{|}".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

impl Adapter for Stonyx {
    fn name(&self) -> &'static str {
        "stonyx"
    }

    fn about(&self) -> &'static str {
        "JSON over WebSocket sealed with AES-256-GCM: requests by name, pushes, one shared key"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn capabilities(&self, options: &Options) -> Result<Capabilities, AdapterError> {
        Ok(capabilities(&Config::from_options(options)?, &self.limits().with_options(options)?))
    }

    fn particulars(&self, options: &Options) -> Result<Particulars, AdapterError> {
        let empty_reply = match Config::from_options(options)?.empty_reply {
            None => EmptyReply::Silence,
            Some(_) => EmptyReply::Value("what the setting empty_reply says"),
        };
        // A client has one kind of message; whether it awaits an answer cannot be seen on the wire.
        let client_events = EventForm::Requests;
        Ok(Particulars {
            client_events,
            empty_reply,
            silent_unserved: true,
            // Who cannot read a frame closes, and says nothing to whoever sent it.
            silent_refusal: true,
            ..Particulars::default()
        })
    }

    fn reserved_routes(&self) -> &'static [&'static str] {
        RESERVED
    }

    fn listen(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Server, AdapterError>> {
        Box::pin(async move {
            let endpoint = endpoint.with_limits_of(&target.options)?;
            if !matches!(&*target.path, "" | "/") {
                let why = format!("a server of stonyx serves every path: leave {:?} out", target.path);
                return Err(AdapterError::Settings(why));
            }
            let config = Self::settings(&target)?;
            #[cfg(feature = "tls")]
            if let Some(tls) = crate::tls::ServerTls::from_options(&target.options)? {
                return Ok(crate::server::listen_tls(&target.address, config, tls, endpoint).await?);
            }
            Ok(crate::server::listen(&target.address, config, endpoint).await?)
        })
    }

    fn dial(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Client, AdapterError>> {
        Box::pin(async move {
            let endpoint = endpoint.with_limits_of(&target.options)?;
            let config = Self::settings(&target)?;
            let credentials = Arc::new(LoginOptions::new(&target.options, "auth_data", Self::credentials)?);
            #[cfg(feature = "tls")]
            if let Some(tls) = crate::tls::ClientTls::from_options(&target.options, &target.address)? {
                let address = &target.address;
                return Ok(crate::client::dial_tls(address, config, credentials, tls, endpoint)?);
            }
            Ok(crate::client::dial(&target.address, config, credentials, endpoint)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().copied().collect()
    }

    #[test]
    fn x17_a_word_for_encryption_that_is_neither_on_nor_off_is_an_error() {
        for word in ["yes", "true", "1", "TRUE", ""] {
            let error = Config::from_options(&options(&[("encryption", word)])).unwrap_err().to_string();
            assert_eq!(error, format!("option encryption = {word:?} is not on or off"));
        }
        assert!(!Config::from_options(&options(&[("encryption", "off")])).unwrap().encryption);
    }

    #[test]
    fn bounds_are_options_too() {
        let set = [("owed_for", "3s"), ("max_messages_per_key", "1000"), ("max_unknown_names", "5")];
        let config = Config::from_options(&options(&set)).unwrap();
        assert_eq!(config.owed_for, std::time::Duration::from_secs(3));
        assert_eq!((config.max_messages_per_key, config.max_unknown_names), (1_000, 5));
        let error = Config::from_options(&options(&[("max_unknown_names", "5000000000")])).unwrap_err();
        assert_eq!(error.to_string(), "option max_unknown_names = \"5000000000\" is not at most 4294967295");
    }

    #[test]
    fn every_flag_is_off_until_its_option_is_set() {
        let flags = |config: &Config| {
            [
                ("kebab_routes", config.kebab_routes),
                ("concurrent_names", config.concurrent_names),
                ("errors_in_reply", config.errors_in_reply),
                ("allow_weak_key", config.allow_weak_key),
                ("allow_plaintext", config.allow_plaintext),
            ]
        };
        for (name, is_on) in flags(&Config::new("")) {
            assert!(!is_on, "{name}");
            let config = Config::from_options(&options(&[(name, "1")])).unwrap();
            assert_eq!(flags(&config).map(|(other, is_on)| (other == name) == is_on), [true; 5], "{name}");
        }
    }

    #[test]
    fn x13_a_weak_key_and_plain_text_are_refused_off_loopback() {
        for key in ["", "AUTH_KEY", "fifteen bytes.."] {
            let config = Config::new(key);
            config.validate(true, false).unwrap();
            let error =
                AdapterError::from(Error::from(config.validate(false, true).unwrap_err())).to_string();
            assert!(error.starts_with("option key = \"(hidden)\" is not at least 16 bytes"), "{error}");
            Config { allow_weak_key: true, ..config }.validate(false, false).unwrap();
        }
        let plain = Config { encryption: false, ..Config::new("a key of sixteen bytes") };
        plain.validate(true, false).unwrap();
        plain.validate(false, true).unwrap();
        let error = AdapterError::from(Error::from(plain.validate(false, false).unwrap_err())).to_string();
        assert!(error.starts_with("option encryption = \"off\" is not on, as it must be"), "{error}");
        Config { allow_plaintext: true, ..plain }.validate(false, false).unwrap();
    }

    #[test]
    fn what_the_login_carries_must_be_an_object() {
        for (text, right) in [("{\"a\":1}", true), ("[1]", false), ("x", false)] {
            let mut options = Options::new();
            options.set_secret("auth_data", Secret::from(text));
            assert_eq!(Stonyx::credentials(&options).is_ok(), right, "{text}");
        }
    }
}
