//! The adapter as a value: its options by name, what it can carry, and how it is started.

use std::path::Path;
use std::sync::Arc;

use polywire_core::{
    Adapter, AdapterError, BinaryForm, BoxFuture, Capabilities, Client, Code, Correlation, Credentials,
    EmptyReply, Endpoint, Errors, EventForm, Limits, LoginOptions, OptionKind, OptionSpec, Options,
    Particulars, ProgressForm, Route, Secret, Server, Target,
};

use crate::host::{HostConfig, HostError, Reauth, serve_one};
use crate::plugin::{RESERVED, TOLD, dialler, limits};

/// HyperHQ, for whoever picks an adapter by its name.
pub const ADAPTER: HyperHq = HyperHq;

/// The adapter as a value; see [`ADAPTER`].
#[derive(Clone, Copy, Debug)]
pub struct HyperHq;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "plugin",
        takes: OptionKind::Text,
        default: "none, needed",
        about: "the id of the plugin to log in as",
    },
    OptionSpec {
        name: "challenge",
        takes: OptionKind::Secret,
        default: "none, needed",
        about: "the challenge of its launch, good for one login within 30 s",
    },
    OptionSpec {
        name: "namespace",
        takes: OptionKind::Text,
        default: "/ or /plugin",
        about: "dialling: the namespace to join; without it the one that the host has",
    },
    OptionSpec {
        name: "events",
        takes: OptionKind::Text,
        default: "none",
        about: "dialling: the events to hear, with commas between them",
    },
    OptionSpec {
        name: "challenge_life",
        takes: OptionKind::Duration,
        default: "30s",
        about: "listening: how long the challenge is good for",
    },
    OptionSpec {
        name: "reauth",
        takes: OptionKind::OneOf(&["both", "token", "challenge", "none"]),
        default: "both",
        about: "listening: how a plugin may come back after its connection was lost",
    },
    OptionSpec {
        name: "require_data_token",
        takes: OptionKind::Flag,
        default: "0",
        about: "listening: refuse requests for data that show no token",
    },
    OptionSpec {
        name: "require_file_token",
        takes: OptionKind::Flag,
        default: "1",
        about: "listening: refuse requests for files that show no token; 0 for plugins on the C# helper",
    },
    OptionSpec {
        name: "files",
        takes: OptionKind::Text,
        default: "none",
        about: "listening: the folder whose files the plugin may ask for",
    },
    OptionSpec {
        name: "aliases",
        takes: OptionKind::Flag,
        default: "1",
        about: "listening: send answers a second time as data_response",
    },
];

/// What the wire can carry.
pub fn capabilities(limits: &Limits) -> Capabilities {
    Capabilities {
        correlation: Correlation::Id,
        max_concurrent_calls: u32::try_from(limits.max_pending).unwrap_or(u32::MAX),
        server_calls: true,
        client_events: true,
        push: true,
        errors: Errors::Text,
        binary: BinaryForm::Plain,
        progress: ProgressForm::Connection,
        cancel: false,
        order: true,
        login: true,
        object_arguments: false,
        empty_body: false,
        max_route_bytes: Route::MAX_BYTES,
        max_body_bytes: limits.max_frame_bytes,
    }
}

/// What a plugin logs in with, and how.
struct Login {
    plugin: String,
    challenge: Secret,
    namespace: Option<String>,
    events: Vec<String>,
}

impl HostConfig {
    /// The settings that options ask for, defaults elsewhere.
    ///
    /// # Errors
    /// [`AdapterError`] naming the option that has a value it cannot have.
    pub fn from_options(options: &Options) -> Result<Self, AdapterError> {
        let mut config = Self::default();
        config.challenge_life = options.duration("challenge_life")?.unwrap_or(config.challenge_life);
        config.require_data_token = options.flag("require_data_token")?.unwrap_or(config.require_data_token);
        config.require_file_token = options.flag("require_file_token")?.unwrap_or(config.require_file_token);
        config.aliases = options.flag("aliases")?.unwrap_or(config.aliases);
        config.reauth = match options.text("reauth") {
            None | Some("both") => Reauth::Both,
            Some("token") => Reauth::Token,
            Some("challenge") => Reauth::Challenge,
            Some("none") => Reauth::None,
            Some(word) => return Err(AdapterError::option("reauth", word, "both, token, challenge or none")),
        };
        Ok(config)
    }
}

fn challenge(options: &Options) -> Result<Secret, AdapterError> {
    options.secret("challenge").cloned().ok_or_else(|| {
        let text = "hyperhq needs the challenge of a launch: challenge=env:NAME or challenge=file:PATH";
        AdapterError::Settings(text.to_owned())
    })
}

impl HyperHq {
    fn login(target: &Target) -> Result<Login, AdapterError> {
        let settings = |text: String| Err(AdapterError::Settings(text));
        target.options.check_known("hyperhq", OPTIONS)?;
        if target.unix {
            return settings("hyperhq has no Unix sockets".to_owned());
        }
        let path = Some(&target.path).filter(|path| !matches!(path.as_str(), "" | "/"));
        if let Some(extra) = target.user.as_ref().or(path) {
            return settings(format!(
                "hyperhq has no users and no paths, but got {extra:?}: see plugin and namespace"
            ));
        }
        let Some(plugin) = target.options.text("plugin").filter(|id| !id.is_empty()) else {
            return settings("hyperhq needs the id of a plugin: plugin=ID".to_owned());
        };
        let events = target.options.text("events").into_iter().flat_map(|names| names.split(','));
        Ok(Login {
            plugin: plugin.to_owned(),
            challenge: challenge(&target.options)?,
            namespace: target.options.text("namespace").map(str::to_owned),
            events: events.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect(),
        })
    }
}

impl From<HostError> for AdapterError {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Setting(error) => error.into(),
            HostError::Server(error) => error.into(),
            HostError::Io(error) => AdapterError::Settings(error.to_string()),
        }
    }
}

impl Adapter for HyperHq {
    fn name(&self) -> &'static str {
        "hyperhq"
    }

    fn about(&self) -> &'static str {
        "the plugin flow of HyperHQ over Socket.IO: requests both ways, status updates, events, files"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn capabilities(&self, options: &Options) -> Result<Capabilities, AdapterError> {
        options.check_known("hyperhq", OPTIONS)?;
        Ok(capabilities(&self.limits().with_options(options)?))
    }

    fn particulars(&self, _: &Options) -> Result<Particulars, AdapterError> {
        let client_events = EventForm::Only(&TOLD);
        Ok(Particulars {
            client_events,
            empty_request: Some("{}"),
            empty_push: Some("null"),
            null_client_request: "{}",
            empty_reply: EmptyReply::Value("null"),
            code: |_| Code::Unknown,
            ..Particulars::default()
        })
    }

    fn limits(&self) -> Limits {
        limits()
    }

    fn reserved_routes(&self) -> &'static [&'static str] {
        &RESERVED
    }

    /// One plugin may log in: the one that is named, with the challenge that is given. It may ask for the files in the folder that
    /// is named. Listens at that one address; a [`Host`](crate::Host) listens on both loopbacks.
    fn listen(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Server, AdapterError>> {
        Box::pin(async move {
            let endpoint = endpoint.with_limits_of(&target.options)?;
            let Login { plugin, challenge, .. } = Self::login(&target)?;
            let config = HostConfig::from_options(&target.options)?;
            let files = target.options.text("files").map(Path::new);
            Ok(serve_one(&target.address, config, endpoint, (&plugin, challenge), files).await?)
        })
    }

    fn dial(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Client, AdapterError>> {
        Box::pin(async move {
            let mut endpoint = endpoint.with_limits_of(&target.options)?;
            let Login { plugin, namespace, events, .. } = Self::login(&target)?;
            // Refused once is the end: the next challenge comes with the next launch. One renewed in its file is what a later
            // connection shows, unless the token of the one before is taken.
            endpoint.reconnect.max_refusals = 1;
            endpoint.reconnect.refused_pause = None;
            let dialler = dialler(&target.address, namespace.as_deref(), events, &endpoint)?;
            let credentials = LoginOptions::new(&target.options, "challenge", move |options| {
                Ok(Credentials::new(plugin.as_str(), challenge(options)?))
            })?;
            Ok(Client::start(dialler, Arc::new(credentials), endpoint))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(pairs: &[(&str, &str)], challenge: bool) -> Target {
        let mut target = Target { address: "127.0.0.1:1".into(), ..Target::default() };
        target.options.extend(pairs.iter().copied());
        if challenge {
            target.options.set_secret("challenge", Secret::from("c0ffee"));
        }
        target
    }

    #[test]
    fn what_is_needed_and_what_cannot_be_is_told() {
        let told = |pairs: &[(&str, &str)], challenge| match HyperHq::login(&target(pairs, challenge)) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        assert_eq!(told(&[("plugin", "demo")], true), "");
        assert_eq!(told(&[], true), "hyperhq needs the id of a plugin: plugin=ID");
        assert!(told(&[("plugin", "demo")], false).starts_with("hyperhq needs the challenge"));
        assert!(
            told(&[("plugin", "demo"), ("token", "x")], true).starts_with("hyperhq has no option \"token\"")
        );
    }

    #[test]
    fn which_requests_must_show_their_token_is_an_option_for_data_and_for_files() {
        let required = |pairs: &[(&str, &str)]| {
            let config = HostConfig::from_options(&target(pairs, false).options).unwrap();
            (config.require_data_token, config.require_file_token)
        };
        assert_eq!(required(&[]), (false, true));
        assert_eq!(required(&[("require_data_token", "1"), ("require_file_token", "0")]), (true, false));
    }

    #[test]
    fn events_are_names_with_commas_between_them() {
        let login = HyperHq::login(&target(&[("plugin", "demo"), ("events", "a, b,,")], true)).unwrap();
        assert_eq!((login.events, login.namespace), (vec!["a".to_owned(), "b".to_owned()], None));
    }
}
