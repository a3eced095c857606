//! The adapter as a value: its options by name, what it can carry, and how it is started.

use std::sync::Arc;

use polywire_core::{
    Adapter, AdapterError, BinaryForm, Body, BoxFuture, Capabilities, Client, Correlation, Credentials,
    Endpoint, Errors, JsonText, Limits, LoginOptions, OptionKind, OptionSpec, Options, Particulars,
    ProgressForm, Route, Server, Target,
};

use crate::client::is_object;
use crate::config::{Arguments, Config, Transports};
use crate::packet::{MAIN, RESERVED};

/// Socket.IO, for whoever picks an adapter by its name.
pub const ADAPTER: SocketIo = SocketIo;

/// The adapter as a value; see [`ADAPTER`].
#[derive(Clone, Copy, Debug)]
pub struct SocketIo;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "auth",
        takes: OptionKind::Secret,
        default: "none",
        about: "the JSON object that the server gets as auth at every connect",
    },
    OptionSpec {
        name: "arguments",
        takes: OptionKind::OneOf(&["one", "list"]),
        default: "one",
        about: "one: a single argument is the body; list: every body is the array of all arguments",
    },
    OptionSpec {
        name: "path",
        takes: OptionKind::Text,
        default: "/socket.io/",
        about: "the path that the server answers under",
    },
    OptionSpec {
        name: "transports",
        takes: OptionKind::OneOf(&TRANSPORTS),
        default: "websocket",
        about: "what carries the connection, in the order in which it is tried; listening takes both unless it is websocket",
    },
    OptionSpec {
        name: "query",
        takes: OptionKind::Text,
        default: "none",
        about: "further parts of the query, in percent form",
    },
    OptionSpec {
        name: "answer_unrouted",
        takes: OptionKind::Flag,
        default: "0",
        about: "answer requests that nothing here handles, which the originals leave without an answer",
    },
    OptionSpec {
        name: "errors_in_reply",
        takes: OptionKind::Flag,
        default: "1",
        about: "an answer with the single member error is a failure",
    },
    OptionSpec {
        name: "redial_when_dismissed",
        takes: OptionKind::Flag,
        default: "0",
        about: "dial again when the server has sent this side away",
    },
    OptionSpec {
        name: "max_attachments",
        takes: OptionKind::Number,
        default: "10",
        about: "most attachments of one message",
    },
    #[cfg(feature = "server")]
    OptionSpec {
        name: "origins",
        takes: OptionKind::Text,
        default: "all",
        about: "listening: the values of Origin that may connect, with commas between them",
    },
    OptionSpec {
        name: "min_heartbeat",
        takes: OptionKind::Duration,
        default: "1s",
        about: "shortest ping interval and timeout that a server may announce",
    },
    #[cfg(feature = "tls")]
    OptionSpec {
        name: "tls",
        takes: OptionKind::Flag,
        default: "0",
        about: "wss: listening needs tls_cert and tls_key",
    },
    #[cfg(all(feature = "tls", feature = "server"))]
    OptionSpec {
        name: "tls_cert",
        takes: OptionKind::Secret,
        default: "none",
        about: "the certificates of this end in PEM",
    },
    #[cfg(all(feature = "tls", feature = "server"))]
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
        about: "the certificates that the server's must be signed with, in PEM",
    },
];

impl Config {
    /// The settings that options ask for, defaults elsewhere; the namespace is not among them.
    ///
    /// # Errors
    /// [`AdapterError`] naming the option that is unknown or has a value that it cannot have.
    pub fn from_options(options: &Options) -> Result<Self, AdapterError> {
        options.check_known("socketio", OPTIONS)?;
        let arguments = match options.text("arguments") {
            None | Some("one") => Arguments::One,
            Some("list") => Arguments::List,
            Some(word) => return Err(AdapterError::option("arguments", word, "one or list")),
        };
        let mut config = Self { arguments, ..Self::default() };
        if let Some(word) = options.text("transports") {
            let found = Transports::NAMES.iter().find(|(name, _)| *name == word);
            let Some((_, transports)) = found else {
                return Err(AdapterError::option("transports", word, TRANSPORTS.join(" or ")));
            };
            config.transports = *transports;
        }
        config.path = options.text("path").map_or(config.path, str::to_owned);
        config.query = options.text("query").map_or(config.query, str::to_owned);
        config.answer_unrouted = options.flag("answer_unrouted")?.unwrap_or(config.answer_unrouted);
        config.errors_in_reply = options.flag("errors_in_reply")?.unwrap_or(config.errors_in_reply);
        config.redial_when_dismissed =
            options.flag("redial_when_dismissed")?.unwrap_or(config.redial_when_dismissed);
        if let Some(number) = options.number("max_attachments")? {
            config.max_attachments = usize::try_from(number).unwrap_or(usize::MAX);
        }
        config.min_heartbeat = options.duration("min_heartbeat")?.unwrap_or(config.min_heartbeat);
        Ok(config)
    }
}

/// The names of all choices.
#[allow(clippy::indexing_slicing, reason = "a constant: an index out of range would not compile")]
const TRANSPORTS: [&str; Transports::NAMES.len()] = {
    let mut names = [""; Transports::NAMES.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = Transports::NAMES[at].0;
        at += 1;
    }
    names
};

/// What the wire can carry with these settings.
pub fn capabilities(config: &Config, limits: &Limits) -> Capabilities {
    let _ = config;
    Capabilities {
        correlation: Correlation::Id,
        max_concurrent_calls: u32::try_from(limits.max_pending).unwrap_or(u32::MAX),
        server_calls: true,
        client_events: true,
        push: true,
        errors: Errors::InBody,
        binary: BinaryForm::Typed,
        progress: ProgressForm::None,
        cancel: false,
        order: true,
        login: true,
        object_arguments: false,
        empty_body: true,
        max_route_bytes: Route::MAX_BYTES,
        max_body_bytes: limits.max_frame_bytes,
    }
}

impl SocketIo {
    fn settings(target: &Target) -> Result<Config, AdapterError> {
        let settings = |text: String| Err(AdapterError::Settings(text));
        if target.unix {
            return settings("socketio has no Unix sockets".to_owned());
        }
        if let Some(user) = &target.user {
            return settings(format!("socketio has no users, but got {user:?}: who dials is said in auth"));
        }
        let namespace = if target.path.is_empty() { MAIN } else { &*target.path };
        Ok(Config { namespace: namespace.to_owned(), ..Config::from_options(&target.options)? })
    }

    /// What every CONNECT carries.
    fn credentials(options: &Options) -> Result<Credentials, AdapterError> {
        let Some(secret) = options.secret("auth") else { return Ok(Credentials::guest()) };
        let wrong = || AdapterError::Settings("auth is not a JSON object".to_owned());
        let text = JsonText::new(secret.expose().to_vec(), &Limits::default().json).map_err(|_| wrong())?;
        if !is_object(&text) {
            return Err(wrong());
        }
        Ok(Credentials { data: Body::Json(text), ..Credentials::guest() })
    }
}

impl Adapter for SocketIo {
    fn name(&self) -> &'static str {
        "socketio"
    }

    fn about(&self) -> &'static str {
        "Socket.IO v5 over WebSocket: events, acknowledgements both ways, attachments, namespaces"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn capabilities(&self, options: &Options) -> Result<Capabilities, AdapterError> {
        Ok(capabilities(&Config::from_options(options)?, &self.limits().with_options(options)?))
    }

    fn particulars(&self, options: &Options) -> Result<Particulars, AdapterError> {
        let silent_unserved = !Config::from_options(options)?.answer_unrouted;
        Ok(Particulars { silent_unserved, ..Particulars::default() })
    }

    fn reserved_routes(&self) -> &'static [&'static str] {
        &RESERVED
    }

    fn listens(&self) -> bool {
        cfg!(feature = "server")
    }

    #[cfg(feature = "server")]
    fn listen(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Server, AdapterError>> {
        Box::pin(async move {
            let endpoint = endpoint.with_limits_of(&target.options)?;
            if target.options.secret("auth").is_some() {
                let why = "auth is what a client shows: who may come in, a server's authenticator decides";
                return Err(AdapterError::Settings(why.to_owned()));
            }
            let dials = ["query", "redial_when_dismissed", "min_heartbeat"];
            if let Some(name) = dials.into_iter().find(|name| target.options.names().any(|it| it == *name)) {
                let why = format!("{name} is an option of the end that dials, and this one listens");
                return Err(AdapterError::Settings(why));
            }
            let origins = target.options.text("origins").map(|list| {
                list.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect()
            });
            let polling = target.options.text("transports").is_none_or(|names| names.contains("polling"));
            let config = crate::server::ServerConfig {
                origins,
                polling,
                ..crate::server::ServerConfig::of_adapter(Self::settings(&target)?)
            };
            #[cfg(feature = "tls")]
            if let Some(tls) = crate::tls::ServerTls::from_options(&target.options)? {
                return Ok(crate::server::listen_tls(target.address, config, tls, endpoint).await?);
            }
            Ok(crate::server::listen(target.address, config, endpoint).await?)
        })
    }

    #[cfg(not(feature = "server"))]
    fn listen(&self, _: Target, _: Endpoint) -> BoxFuture<'static, Result<Server, AdapterError>> {
        let why = "socketio can be dialled; its server is the feature `server`, which is not compiled in";
        Box::pin(async move { Err(AdapterError::Settings(why.to_owned())) })
    }

    fn dial(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Client, AdapterError>> {
        Box::pin(async move {
            let endpoint = endpoint.with_limits_of(&target.options)?;
            if target.options.text("origins").is_some() {
                let why = "origins is an option of the end that listens, and this one dials";
                return Err(AdapterError::Settings(why.to_owned()));
            }
            let config = Self::settings(&target)?;
            let credentials = Arc::new(LoginOptions::new(&target.options, "auth", Self::credentials)?);
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
    use polywire_core::Secret;

    use super::*;

    fn target(path: &str, pairs: &[(&str, &str)]) -> Target {
        let mut target = Target { address: "127.0.0.1:1".into(), path: path.into(), ..Target::default() };
        target.options.extend(pairs.iter().copied());
        target
    }

    #[test]
    fn the_path_of_the_target_is_the_namespace() {
        assert_eq!(SocketIo::settings(&target("", &[])).unwrap().namespace, "/");
        let config = SocketIo::settings(&target("/realtime", &[("arguments", "list")])).unwrap();
        assert_eq!((&*config.namespace, config.arguments), ("/realtime", Arguments::List));
    }

    #[test]
    fn an_option_of_the_other_end_is_refused() {
        fn refused<T>(done: BoxFuture<'static, Result<T, AdapterError>>) -> String {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(done).err().map(|error| error.to_string()).unwrap_or_default()
        }
        let endpoint = || Endpoint::new("socketio", polywire_core::Router::new().build().unwrap());
        #[cfg(feature = "server")]
        for name in ["query", "redial_when_dismissed", "min_heartbeat"] {
            let why = refused(SocketIo.listen(target("", &[(name, "1")]), endpoint()));
            assert_eq!(why, format!("{name} is an option of the end that dials, and this one listens"));
        }
        let why = refused(SocketIo.dial(target("", &[("origins", "x")]), endpoint()));
        assert_eq!(why, "origins is an option of the end that listens, and this one dials");
    }

    #[test]
    fn what_cannot_be_is_told_with_its_name() {
        let told = |pairs: &[(&str, &str)]| match SocketIo::settings(&target("", pairs)) {
            Ok(config) => config.validate().unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(told(&[("arguments", "all")]), "option arguments = \"all\" is not one or list");
        assert_eq!(told(&[("max_attachments", "0")]), "max_attachments = 0 is out of range: 1 to 1000");
        assert!(told(&[("transport", "polling")]).starts_with("socketio has no option \"transport\""));
        let why = told(&[("transports", "polling,polling")]);
        assert!(why.starts_with("option transports = \"polling,polling\" is not websocket"), "{why}");
        let why = "path = x is out of range: a path that begins with / and needs no percent form";
        assert_eq!(told(&[("path", "x")]), why);
    }

    #[test]
    fn every_choice_of_transports_has_its_name() {
        for (name, transports) in Transports::NAMES {
            let config = SocketIo::settings(&target("", &[("transports", name)])).unwrap();
            assert_eq!(config.transports, transports, "{name}");
        }
        assert_eq!(SocketIo::settings(&target("", &[])).unwrap().transports, Transports::WebSocket);
    }

    #[test]
    fn the_auth_payload_is_an_object() {
        for (text, right) in [("{\"a\":1}", true), (" {} ", true), ("[1]", false), ("x", false)] {
            let mut options = Options::new();
            options.set_secret("auth", Secret::from(text));
            assert_eq!(SocketIo::credentials(&options).is_ok(), right, "{text}");
        }
    }
}
