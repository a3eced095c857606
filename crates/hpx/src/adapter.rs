//! The adapter as a value: what the bridge and the command line meet on.

use std::sync::Arc;

use polywire_core::{
    Adapter, AdapterError, BinaryForm, BoxFuture, ByteString, Capabilities, Client, Correlation, Credentials,
    EmptyReply, Endpoint, Errors, Limits, LoginOptions, OptionKind, OptionSpec, Options, Particulars,
    ProgressForm, Route, Secret, Server, Target,
};

use crate::client::HpxClient;
use crate::config::{ClientConfig, Dialect, NonFinite, ServerConfig, Wire};
use crate::server::HpxServer;
use crate::session::ServerCommand;
use crate::translate::{REQUEST_AUTH, code_told};
use crate::users::Users;

/// HPX, for whoever picks an adapter by its name.
pub const ADAPTER: Hpx = Hpx;

/// The adapter as a value; see [`ADAPTER`].
#[derive(Clone, Copy, Debug)]
pub struct Hpx;

/// Default port. Read in source: `common/config.py`, setting `server.port`.
const PORT: u16 = 7007;

/// The option that lets numbers through that JSON does not know.
const LENIENT: &str = "lenient_python";

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "password",
        takes: OptionKind::Secret,
        default: "none: a guest",
        about: "the password of the user in the URL: to log in with when dialling, to let in when listening",
    },
    OptionSpec {
        name: "dialect",
        takes: OptionKind::OneOf(&["auto", "a", "b"]),
        default: "auto",
        about: "keys of the envelopes: a has exactly three, b adds __id__",
    },
    OptionSpec {
        name: "connections",
        takes: OptionKind::Number,
        default: "4",
        about: "connections of a client that share one session, one call in flight on each",
    },
    OptionSpec {
        name: "guests",
        takes: OptionKind::Flag,
        default: "0",
        about: "listening: may somebody log in without a name?",
    },
    OptionSpec {
        name: LENIENT,
        takes: OptionKind::Flag,
        default: "0",
        about: "are Python's NaN and Infinity read as null? Otherwise their messages are refused",
    },
    OptionSpec {
        name: "max_inflated_bytes",
        takes: OptionKind::Size,
        default: "64MiB",
        about: "longest text of one message after inflating; max_frame_bytes bounds it before",
    },
    OptionSpec {
        name: "may_command",
        takes: OptionKind::Text,
        default: "nobody",
        about: "listening: the users who may end the program with serverquit or serverrestart, with commas between",
    },
    OptionSpec {
        name: "allow_plaintext",
        takes: OptionKind::Flag,
        default: "0",
        about: "may a password cross the network in clear text?",
    },
    #[cfg(feature = "tls")]
    OptionSpec {
        name: "tls",
        takes: OptionKind::Flag,
        default: "0",
        about: "TLS from the first byte; listening needs tls_cert and tls_key",
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
        about: "the certificates that the server's must be signed with, in PEM",
    },
];

/// What the wire can carry. One connection has one call in flight, whatever the dialect.
fn capabilities(wire: &Wire) -> Capabilities {
    Capabilities {
        correlation: Correlation::Order,
        max_concurrent_calls: 1,
        server_calls: false,
        client_events: false,
        push: false,
        errors: Errors::Codes,
        binary: BinaryForm::None,
        progress: ProgressForm::None,
        cancel: false,
        order: true,
        login: true,
        object_arguments: true,
        empty_body: false,
        max_route_bytes: Route::MAX_BYTES,
        // Before deflating; what the text may be after inflating is `max_inflated_bytes`.
        max_body_bytes: wire.limits.max_frame_bytes.min(wire.max_inflated_bytes),
    }
}

fn wire(options: &Options, limits: Arc<Limits>) -> Result<Wire, AdapterError> {
    options.check_known("hpx", OPTIONS)?;
    let mut wire = Wire { limits, ..Wire::default() };
    if let Some(bytes) = options.size("max_inflated_bytes")? {
        wire.max_inflated_bytes = bytes;
    }
    if let Some(name) = options.text("dialect") {
        wire.dialect =
            Dialect::from_name(name).ok_or_else(|| AdapterError::option("dialect", name, "auto, a or b"))?;
    }
    if options.flag(LENIENT)?.unwrap_or(false) {
        wire.non_finite = NonFinite::Null;
    }
    wire.validate().map_err(|wrong| options.out_of_range(wrong))?;
    Ok(wire)
}

fn client(options: &Options, limits: Arc<Limits>) -> Result<ClientConfig, AdapterError> {
    let mut config = ClientConfig {
        wire: wire(options, limits)?,
        allow_plaintext: options.flag("allow_plaintext")?.unwrap_or(false),
        ..ClientConfig::default()
    };
    if let Some(connections) = options.number("connections")? {
        config.connections = usize::try_from(connections).unwrap_or(usize::MAX);
    }
    config.validate().map_err(|wrong| options.out_of_range(wrong))?;
    Ok(config)
}

/// The address with the default port, when it names none.
fn address(target: &Target) -> Result<String, AdapterError> {
    if target.unix || !target.path.trim_matches('/').is_empty() {
        return Err(AdapterError::Settings("an hpx address is host:port and nothing more".to_owned()));
    }
    let bare = target.address.rsplit(']').next().is_some_and(|end| !end.contains(':'));
    Ok(if bare { format!("{}:{PORT}", target.address) } else { target.address.clone() })
}

fn user(name: Option<&str>, options: &Options) -> Result<Option<(String, Secret)>, AdapterError> {
    match (name, options.secret("password")) {
        (Some(name), Some(password)) => Ok(Some((name.to_owned(), password.clone()))),
        (None, None) => Ok(None),
        (Some(_), None) => {
            Err(AdapterError::Settings("a user needs password=env:NAME or password=file:PATH".to_owned()))
        }
        (None, Some(_)) => Err(AdapterError::Settings("a password needs a user: hpx://user@host".to_owned())),
    }
}

/// The names in a list with commas between.
fn names(list: &str) -> Vec<ByteString> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(ByteString::from).collect()
}

impl Hpx {
    /// The limits where no endpoint has others.
    fn limits_of(self, options: &Options) -> Result<Arc<Limits>, AdapterError> {
        Ok(Arc::new(self.limits().with_options(options)?))
    }
}

impl Adapter for Hpx {
    fn name(&self) -> &'static str {
        "hpx"
    }

    fn about(&self) -> &'static str {
        "HappyPanda X: function calls in gzip'd JSON over TCP, with logins, sessions and batches"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn capabilities(&self, options: &Options) -> Result<Capabilities, AdapterError> {
        let config = client(options, self.limits_of(options)?)?;
        Ok(capabilities(&config.wire))
    }

    fn limits(&self) -> Limits {
        Limits::clone(&Wire::default().limits)
    }

    fn particulars(&self, options: &Options) -> Result<Particulars, AdapterError> {
        let (empty_request, empty_reply) = (Some("{}"), EmptyReply::Value("null"));
        let lenient = wire(options, self.limits_of(options)?)?.non_finite == NonFinite::Null;
        let alters = lenient.then_some("NaN and Infinity are read as null");
        Ok(Particulars { empty_request, empty_reply, alters, code: code_told, ..Particulars::default() })
    }

    fn reserved_routes(&self) -> &'static [&'static str] {
        const { &[ServerCommand::Quit.as_str(), ServerCommand::Restart.as_str(), REQUEST_AUTH] }
    }

    fn listen(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Server, AdapterError>> {
        Box::pin(async move {
            let mut endpoint = endpoint.with_limits_of(&target.options)?;
            let options = &target.options;
            let wire = wire(options, Arc::clone(&endpoint.limits))?;
            if let Some((name, password)) = user(target.user.as_deref(), options)? {
                endpoint.authenticator = Some(Arc::new(Users::new().with(name, &password)));
            }
            let config = ServerConfig {
                wire,
                guests: options.flag("guests")?.unwrap_or(false),
                may_command: names(options.text("may_command").unwrap_or_default()),
                allow_plaintext: options.flag("allow_plaintext")?.unwrap_or(false),
                ..ServerConfig::default()
            };
            let address = address(&target)?;
            #[cfg(feature = "tls")]
            if let Some(tls) = crate::tls::ServerTls::from_options(options)? {
                return Ok(HpxServer::bind_tls(&address, config, tls, endpoint).await?.into_core());
            }
            Ok(HpxServer::bind(&address, config, endpoint).await?.into_core())
        })
    }

    fn dial(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Client, AdapterError>> {
        Box::pin(async move {
            let endpoint = endpoint.with_limits_of(&target.options)?;
            let options = &target.options;
            let config = client(options, Arc::clone(&endpoint.limits))?;
            let address = address(&target)?;
            let name = target.user.clone();
            let credentials = Arc::new(LoginOptions::new(options, "password", move |options| {
                Ok(match user(name.as_deref(), options)? {
                    Some((name, password)) => Credentials::new(name, password),
                    None => Credentials::guest(),
                })
            })?);
            #[cfg(feature = "tls")]
            if let Some(tls) = crate::tls::ClientTls::from_options(options, &address)? {
                let client = HpxClient::connect_tls(&address, credentials, config, tls, endpoint)?;
                return Ok(client.into_core());
            }
            Ok(HpxClient::connect(&address, credentials, config, endpoint)?.into_core())
        })
    }
}

#[cfg(test)]
mod tests {
    use polywire_core::Router;

    use super::*;

    fn target(address: &str, user: Option<&str>) -> Target {
        Target { address: address.to_owned(), user: user.map(str::to_owned), ..Target::default() }
    }

    #[test]
    fn an_address_without_a_port_gets_the_default_one() {
        for (given, wanted) in [
            ("localhost", "localhost:7007"),
            ("127.0.0.1:9", "127.0.0.1:9"),
            ("[::1]", "[::1]:7007"),
            ("[::1]:9", "[::1]:9"),
        ] {
            assert_eq!(address(&target(given, None)).unwrap(), wanted);
        }
        assert!(address(&Target { unix: true, ..target("/tmp/x", None) }).is_err());
    }

    #[test]
    fn a_setting_out_of_range_is_told_as_the_option_that_it_is() {
        let wrong = ClientConfig { connections: 65, ..ClientConfig::default() }.validate().unwrap_err();
        let error = AdapterError::from(crate::Error::from(wrong));
        assert_eq!(error.to_string(), "option connections = \"65\" is not 1 to 64");
    }

    #[test]
    fn a_user_needs_a_password_and_an_unknown_option_is_refused() {
        let wire = |options: &Options| wire(options, Arc::default());
        let told = |options: &Options| ADAPTER.particulars(options).unwrap().alters;
        assert_eq!(user(None, &Options::new()).unwrap().map(|(name, _)| name), None);
        assert!(user(Some("alice"), &Options::new()).is_err());
        let mut options = Options::new();
        options.set("dialect", "b");
        assert_eq!(wire(&options).unwrap().dialect, Dialect::B);
        assert_eq!(ADAPTER.capabilities(&options).unwrap().correlation, Correlation::Order);
        assert_eq!((wire(&options).unwrap().non_finite, told(&options)), (NonFinite::Refuse, None));
        options.set("lenient_python", "1");
        assert_eq!(wire(&options).unwrap().non_finite, NonFinite::Null);
        assert_eq!(told(&options), Some("NaN and Infinity are read as null"));
        options.set("dialect", "c");
        assert_eq!(wire(&options).unwrap_err().to_string(), "option dialect = \"c\" is not auto, a or b");
        let mut options = Options::new();
        options.set("conections", "4");
        assert!(ADAPTER.capabilities(&options).is_err());
        assert!(ADAPTER.reserved_routes().contains(&"serverquit"));
    }

    #[tokio::test]
    async fn a_limit_that_hpx_does_not_take_is_refused_as_it_was_written_wherever_it_stands() {
        let endpoint = || Endpoint::new("hpx", Router::new().build().unwrap());
        for (name, value, expected) in [
            ("max_inflated_bytes", "2GiB", "option max_inflated_bytes = \"2GiB\" is not 1 KiB to 1 GiB"),
            ("max_frame_bytes", "512MiB", "option max_frame_bytes = \"512MiB\" is not 1 KiB to 256 MiB"),
        ] {
            let mut wrong = target("127.0.0.1:0", None);
            wrong.options.set(name, value);
            assert_eq!(ADAPTER.capabilities(&wrong.options).unwrap_err().to_string(), expected);
            assert_eq!(ADAPTER.particulars(&wrong.options).unwrap_err().to_string(), expected);
            assert_eq!(ADAPTER.listen(wrong.clone(), endpoint()).await.unwrap_err().to_string(), expected);
            assert_eq!(ADAPTER.dial(wrong, endpoint()).await.unwrap_err().to_string(), expected);
        }
        let limits = Limits { max_frame_bytes: 512 << 20, ..Limits::default() };
        let set = Endpoint { limits: Arc::new(limits), ..endpoint() };
        let refused = ADAPTER.listen(target("127.0.0.1:0", None), set).await.unwrap_err();
        let expected = "option max_frame_bytes = \"536870912\" is not 1 KiB to 256 MiB";
        assert_eq!(refused.to_string(), expected);
    }
}
