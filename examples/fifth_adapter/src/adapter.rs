//! The adapter as a value: what the bridge and the command line meet on.

use polywire_core::{
    Adapter, AdapterError, BinaryForm, BoxFuture, Capabilities, Client, Correlation, Credentials, Endpoint,
    Errors, Identity, Limits, OptionKind, OptionSpec, Options, ProgressForm, Refusal, Route, Secret, Server,
    Target,
};

use crate::config::Config;
use crate::translate;

/// Parley, for whoever picks an adapter by its name.
pub const ADAPTER: Parley = Parley;

/// The adapter as a value; see [`ADAPTER`].
#[derive(Clone, Copy, Debug)]
pub struct Parley;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "password",
        takes: OptionKind::Secret,
        default: "none: a guest",
        about: "the secret of the user in the URL: to log in with when dialling, to let in when listening",
    },
    OptionSpec {
        name: "guests",
        takes: OptionKind::Flag,
        default: "0",
        about: "listening: may somebody log in without a name?",
    },
    OptionSpec {
        name: "max_missed_beats",
        takes: OptionKind::Number,
        default: "3",
        about: "beats of ten seconds that a peer may miss in a row before it is taken for dead",
    },
];

impl Config {
    /// The settings that options ask for, defaults elsewhere.
    ///
    /// # Errors
    /// [`AdapterError`] naming the option that is unknown or has a value that it cannot have.
    pub fn from_options(options: &Options) -> Result<Self, AdapterError> {
        options.check_known("parley", OPTIONS)?;
        let mut config = Self::default();
        config.guests = options.flag("guests")?.unwrap_or(config.guests);
        if let Some(beats) = options.number("max_missed_beats")? {
            config.max_missed_beats = u32::try_from(beats).unwrap_or(u32::MAX);
        }
        config.validate().map_err(crate::error::Error::from)?;
        Ok(config)
    }
}

// begin capabilities
/// What the wire can carry within these limits.
pub fn capabilities(limits: &Limits) -> Capabilities {
    Capabilities {
        correlation: Correlation::Id,
        max_concurrent_calls: u32::try_from(limits.max_pending).unwrap_or(u32::MAX),
        server_calls: true,
        client_events: true,
        push: true,
        errors: Errors::Codes,
        binary: BinaryForm::None,
        progress: ProgressForm::None,
        cancel: true,
        order: true,
        login: true,
        object_arguments: false,
        empty_body: true,
        max_route_bytes: Route::MAX_BYTES,
        max_body_bytes: translate::max_body_bytes(limits.max_frame_bytes),
    }
}
// end capabilities

/// The address, and who the target says logs in there.
fn place(target: Target) -> Result<(String, Option<(String, Secret)>), AdapterError> {
    let wrong = |why: &str| Err(AdapterError::Settings(why.to_owned()));
    if target.unix || !matches!(&*target.path, "" | "/") {
        return wrong("a parley address is host:port and nothing more");
    }
    match (target.user, target.options.secret("password")) {
        (None, None) => Ok((target.address, None)),
        (Some(user), Some(password)) => Ok((target.address, Some((user, password.clone())))),
        _ => wrong("a user and a password go together: parley://user@host:port?password=env:NAME"),
    }
}

// begin adapter
impl Adapter for Parley {
    fn name(&self) -> &'static str {
        "parley"
    }

    fn about(&self) -> &'static str {
        "a toy line protocol with a login, ids, events both ways and signs of life"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn capabilities(&self, options: &Options) -> Result<Capabilities, AdapterError> {
        Config::from_options(options)?;
        Ok(capabilities(&self.limits().with_options(options)?))
    }

    fn listen(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Server, AdapterError>> {
        Box::pin(async move {
            let mut endpoint = endpoint.with_limits_of(&target.options)?;
            let config = Config::from_options(&target.options)?;
            let (address, user) = place(target)?;
            if let Some((user, password)) = user {
                endpoint.authenticator = Some(std::sync::Arc::new(move |shown| {
                    std::future::ready(judge(&user, &password, &shown))
                }));
            }
            Ok(crate::server::listen(&address, config, endpoint).await?)
        })
    }

    fn dial(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Client, AdapterError>> {
        Box::pin(async move {
            let endpoint = endpoint.with_limits_of(&target.options)?;
            let config = Config::from_options(&target.options)?;
            let (address, user) = place(target)?;
            let shown =
                user.map_or_else(Credentials::guest, |(user, password)| Credentials::new(user, password));
            Ok(crate::client::dial(&address, config, shown, endpoint)?)
        })
    }
}
// end adapter

/// Lets in this one user.
fn judge(user: &str, password: &Secret, shown: &Credentials) -> Result<Identity, Refusal> {
    let secret = shown.secret.as_ref().map(Secret::expose).unwrap_or_default();
    let right = password.matches(secret);
    match &shown.subject {
        Some(name) if **name == *user && right => Ok(Identity::user(name.clone())),
        _ => Err(Refusal::new("unknown name or wrong password")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().copied().collect()
    }

    #[test]
    fn a_wrong_option_is_named_with_its_value_and_its_rule() {
        for (name, value, expected) in [
            ("guests", "maybe", "option guests = \"maybe\" is not 1, 0, true, false, on or off"),
            (
                "guest",
                "1",
                "parley has no option \"guest\"; besides the limits of every wire it has password, guests, max_missed_beats",
            ),
            ("max_missed_beats", "1", "option max_missed_beats = \"1\" is not 2 to 60"),
            ("max_missed_beats", "many", "option max_missed_beats = \"many\" is not a whole number"),
        ] {
            let text = ADAPTER.capabilities(&options(&[(name, value)])).unwrap_err().to_string();
            assert_eq!(text, expected);
        }
        for option in OPTIONS.iter().filter(|option| option.name != "password") {
            ADAPTER.capabilities(&options(&[(option.name, option.default)])).unwrap();
        }
    }

    #[test]
    fn a_user_needs_a_password_and_an_address_is_nothing_but_host_and_port() {
        let target = |user: Option<&str>, path: &str| Target {
            user: user.map(str::to_owned),
            path: path.to_owned(),
            ..Target::default()
        };
        assert!(place(target(None, "/")).unwrap().1.is_none());
        assert!(place(target(Some("ann"), "")).unwrap_err().to_string().contains("?password=env:NAME"));
        assert!(place(target(None, "/room")).unwrap_err().to_string().contains("host:port"));
    }
}
