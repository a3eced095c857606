//! A plugin as a program writes it: handlers by name, then run.

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use polywire_core::{
    Client, ClientState, Commands, Credentials, Endpoint, Failure, IntoHandler, Limits, Reconnect, Registry,
    RegistryError, Route, RouteError, Router,
};
use polywire_socketio::{Config, Dialler, MAIN};

use super::{Environment, EnvironmentError, Kept, PluginSession, Subscribe};

/// How long a host may take over the login. Read in the plugin guide: a challenge lives 30 s.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// The namespace of older plugins and hosts.
pub(crate) const LEGACY: &str = "/plugin";
/// How long an answer may take. Read in the plugin guide: its samples wait 30 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What suits the flow, at both ends.
pub(crate) fn limits() -> Limits {
    Limits { login_timeout: LOGIN_TIMEOUT, call_timeout: CALL_TIMEOUT, ..Limits::default() }
}

/// A plugin that is being put together.
///
/// Handlers take what extractors give: `Json<T>` for the data of a request, `Peer` to call the host back, `Progress` for a status
/// update. A handler's failure reaches the host as `{"error": "…"}`.
///
/// ```no_run
/// use polywire_core::{Body, Json, Peer, Progress, Request, Route};
/// use polywire_hyperhq::Plugin;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// Plugin::from_environment()?
///     .handle("initialize", || async { "initialized".to_owned() })?
///     .handle("test", || async { Json(true) })?
///     .handle("execute", |peer: Peer, progress: Progress| async move {
///         progress.send(Body::json("asking for the systems").unwrap_or_default());
///         let systems = peer.call(Request::new(Route::from_static("getSystems"), Body::Empty)).await?;
///         Ok::<_, polywire_core::Failure>(systems)
///     })?
///     .on("gameLaunched", |body: Body| async move { println!("launched: {body:?}") })?
///     .run()
///     .await?;
/// # Ok(()) }
/// ```
pub struct Plugin {
    environment: Environment,
    /// `None`: the one that the host has.
    namespace: Option<String>,
    registry: Registry,
    events: Vec<String>,
    limits: Limits,
    reconnect: Reconnect,
}

/// Why a plugin could not be put together, or has ended other than by the host's will.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The environment is none of a plugin: exit code 2.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// A name cannot be a route.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Two handlers have one name.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] polywire_socketio::Error),
    /// The host refused the login; it makes no sense to try again.
    #[error(transparent)]
    Refused(#[from] Failure),
}

impl PluginError {
    /// What a program ends with: 2 where its environment is none of a plugin, else 1.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Environment(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

impl Plugin {
    /// A plugin of the host that started this process.
    ///
    /// # Errors
    /// [`EnvironmentError`] naming the variable that is missing or odd.
    pub fn from_environment() -> Result<Self, EnvironmentError> {
        Environment::read().map(Self::new)
    }

    /// A plugin of the host that this environment tells of.
    pub fn new(environment: Environment) -> Self {
        Self {
            environment,
            namespace: None,
            registry: Router::new(),
            events: Vec::new(),
            limits: limits(),
            reconnect: Reconnect::default(),
        }
    }

    /// Joins this namespace alone. Without it `/` is tried, and `/plugin`, which older hosts have, where the host has no `/` or
    /// says nothing there for 5 s.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Has these limits instead of the defaults, whose `login_timeout` and `call_timeout` are 30 s.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Dials again by this rule when the connection was lost; a refused login is final whatever it says.
    #[must_use]
    pub fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.reconnect = reconnect;
        self
    }

    /// Answers requests of this method.
    ///
    /// # Errors
    /// When there is such a handler already, or the name cannot be a route.
    pub fn handle<A: 'static>(
        mut self,
        method: &str,
        handler: impl IntoHandler<A, ()>,
    ) -> Result<Self, PluginError> {
        self.registry.try_handle(Route::new(method.to_owned())?, handler)?;
        Ok(self)
    }

    /// Hears events of this type, and subscribes to them after every login.
    ///
    /// # Errors
    /// When there is such a handler already, or the name cannot be a route.
    pub fn on<A: 'static>(
        mut self,
        event: &str,
        handler: impl IntoHandler<A, ()>,
    ) -> Result<Self, PluginError> {
        self.registry.try_on(Route::new(event.to_owned())?, handler)?;
        self.events.push(event.to_owned());
        Ok(self)
    }

    /// Dials; gives back at once. The client's caller asks for data by method (`getSystems`) and for files by `requestFile`.
    ///
    /// # Errors
    /// [`PluginError`] when a setting is out of range.
    pub fn dial(self) -> Result<(Client, Commands<Subscribe>), PluginError> {
        let Environment { plugin, port, challenge, .. } = self.environment;
        let endpoint = Endpoint {
            limits: Arc::new(self.limits),
            // A challenge that was refused will not become a better one.
            reconnect: Reconnect { max_refusals: 1, refused_pause: None, ..self.reconnect },
            ..Endpoint::new("hyperhq", self.registry.build()?)
        };
        let credentials = Arc::new(Credentials::new(plugin, challenge));
        let address = format!("127.0.0.1:{port}");
        let dialler = dialler(&address, self.namespace.as_deref(), self.events, &endpoint)?;
        Ok(Client::start_with_commands(dialler, credentials, endpoint))
    }

    /// Dials, and serves until the host asks for a shutdown or sends this plugin away.
    ///
    /// # Errors
    /// [`PluginError`] when the login was refused, or a setting is out of range.
    ///
    /// # Cancel safety
    /// Dropped, the connection ends at once.
    pub async fn run(self) -> Result<(), PluginError> {
        let (client, _commands) = self.dial()?;
        let mut state = client.watch();
        loop {
            match &*state.borrow_and_update() {
                ClientState::Closed(_) => return Ok(()),
                ClientState::Refused(refusal) => return Err(Failure::from(refusal.clone()).into()),
                _ => {}
            }
            if state.changed().await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Dials a host in `namespace`, or in the one that it has; every connection logs in as the plugin that the credentials name, with their secret as its
/// challenge.
pub(crate) fn dialler(
    address: &str,
    namespace: Option<&str>,
    events: Vec<String>,
    endpoint: &Endpoint,
) -> Result<Dialler<impl Fn(&mut Credentials) -> PluginSession + Send + Sync + use<>>, polywire_socketio::Error>
{
    let kept = Kept::new(events);
    let config = Config::new(namespace.unwrap_or(MAIN));
    let dialler = Dialler::new(address, config, endpoint, move |credentials: &mut Credentials| {
        let (id, challenge) = (credentials.subject.take(), credentials.secret.take());
        PluginSession::new(id.unwrap_or_default(), challenge.unwrap_or_else(|| "".into()), kept.clone())
    })?;
    Ok(if namespace.is_none() { dialler.or_in(LEGACY) } else { dialler })
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("environment", &self.environment)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}
