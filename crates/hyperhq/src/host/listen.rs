//! The host itself: it listens, launches, serves files, and knows which plugin is there.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use polywire_core::{
    Body, Clock, Endpoint, Event, JsonText, Limits, Peer, Random, Request, Route, Secret, Server,
};
use polywire_socketio::{MAIN, ServerConfig, Upper};
use tokio::task::JoinSet;

use super::folders::{Files, Folders};
use super::roster::Roster;
use super::{Farewell, Folder, HostConfig, HostSession, Launch, Plugins, Process};
use crate::plugin::{LEGACY, SHUTDOWN};

/// How long plugins may take to answer the `shutdown` of a host that stops. Proposed by the page of the protocol.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// A host that listens. Dropped, it ends at once, and so do its plugins' connections, which are told nothing.
pub struct Host {
    plugins: Arc<Plugins>,
    roster: Arc<Roster>,
    folders: Arc<Folders>,
    servers: Vec<Server>,
    port: u16,
    max_file_bytes: u64,
    /// How long plugins may take to answer when it stops.
    farewell_timeout: Duration,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

/// Why a host does not listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] polywire_core::LimitError),
    /// The server that carries the packets cannot be started.
    #[error(transparent)]
    Server(#[from] polywire_socketio::Error),
    /// A folder, a program, or one more plugin cannot be had.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Host {
    /// Listens on this machine's loopback, by the rule of ports unless `config` names one, and serves `endpoint`'s handler: its
    /// routes are the methods that plugins ask for data. The limits of `config` replace those of the endpoint. Files are served from the folders of [`Host::serve_files`].
    ///
    /// # Errors
    /// [`HostError`] when a setting is out of range or no port can be had.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing listens.
    pub async fn listen(config: HostConfig, endpoint: Endpoint) -> Result<Self, HostError> {
        Self::listen_around(config, endpoint, |session| session).await
    }

    /// Listens as [`Host::listen`] does; `around` makes of each connection's session the one that is used, such as one that watches
    /// what passes.
    ///
    /// # Errors
    /// [`HostError`] when a setting is out of range or no port can be had.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing listens.
    pub async fn listen_around<U: Upper>(
        config: HostConfig,
        endpoint: Endpoint,
        around: impl Fn(HostSession) -> U + Clone + Send + Sync + 'static,
    ) -> Result<Self, HostError> {
        let (clock, random) =
            (Arc::clone(&endpoint.surroundings.clock), Arc::clone(&endpoint.surroundings.random));
        let (port, max_file_bytes) = (config.port, config.max_file_bytes);
        let farewell_timeout = FAREWELL_TIMEOUT.min(config.limits.drain_timeout);
        let starting = Starting::new(config, endpoint)?;
        let first = match port {
            Some(port) => starting.listen(&format!("127.0.0.1:{port}"), around.clone()).await?,
            None => starting.first_free(super::PORTS.chain([0]), around.clone()).await?,
        };
        let port = starting.told(&first);
        let mut servers = vec![first];
        // Best effort: some machines have no IPv6.
        servers.extend(starting.listen(&format!("[::1]:{port}"), around).await.ok());
        let Starting { plugins, folders, roster, .. } = starting;
        Ok(Self { plugins, roster, folders, servers, port, max_file_bytes, farewell_timeout, clock, random })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The plugins it knows.
    pub fn plugins(&self) -> &Arc<Plugins> {
        &self.plugins
    }

    /// Serves plugin `id` the files in `folder`, which is its own.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn serve_files(&self, id: &str, folder: &Path) -> io::Result<()> {
        self.folders.serve(id, Folder::new(folder, self.max_file_bytes)?);
        Ok(())
    }

    /// Launches a plugin with a fresh challenge, good for one login within `challenge_life`.
    ///
    /// What is known of an earlier launch is forgotten, and its connection closed, once the program has been started.
    ///
    /// # Errors
    /// When the program cannot be started, or there are `max_plugins` others.
    pub fn launch(&self, launch: &Launch) -> io::Result<Process> {
        let before = self.plugins.take(&launch.id);
        let started = self.drawn(&launch.id).and_then(|challenge| launch.start(&challenge));
        match &started {
            Ok(_) => self.close(&launch.id),
            Err(_) => self.plugins.restore(&launch.id, before),
        }
        started
    }

    /// A fresh challenge for plugin `id`, for one that is started by other means.
    ///
    /// What is known of an earlier launch is forgotten, and its connection closed.
    ///
    /// # Errors
    /// When there are `max_plugins` others.
    pub fn challenge(&self, id: &str) -> io::Result<Secret> {
        let challenge = self.drawn(id)?;
        self.close(id);
        Ok(challenge)
    }

    /// Ends plugin `id`, which runs as `process`: asks it for its `shutdown`, waits for the answer or for the end of its connection,
    /// then for the end of its process, each up to `grace`, and kills it then. After that the plugin is forgotten, as by
    /// [`Host::forget`].
    ///
    /// Gives how it took its shutdown, and its exit code, which is `None` when it had to be killed.
    ///
    /// # Errors
    /// Whatever the operating system reports of the process; the plugin is forgotten all the same.
    ///
    /// # Cancel safety
    /// Dropped before it is done, the plugin may have been asked; its process is killed when `process` is dropped.
    pub async fn end(
        &self,
        process: &mut Process,
        id: &str,
        grace: Duration,
    ) -> io::Result<(Farewell, Option<i32>)> {
        let farewell = match self.plugin(id) {
            Some(plugin) => farewell(&plugin, grace).await,
            None => Farewell::Absent,
        };
        let code = process.end(grace).await;
        self.forget(id);
        Ok((farewell, code?))
    }

    /// Plugin `id` is not wanted any more: its connection is closed, and its challenge and token are worth nothing.
    pub fn forget(&self, id: &str) {
        self.plugins.forget(id);
        self.close(id);
    }

    fn close(&self, id: &str) {
        if let Some(there) = self.roster.take(id) {
            there.close();
        }
    }

    fn drawn(&self, id: &str) -> io::Result<Secret> {
        let challenge = self.plugins.launch(id, self.clock.now(), &*self.random);
        let full = || format!("one plugin more exceeds max_plugins = {}", self.plugins.most());
        challenge.ok_or_else(|| io::Error::other(full()))
    }

    /// The plugin, when it is logged in: it takes requests (`initialize`, `execute`, `test`, `shutdown`).
    pub fn plugin(&self, id: &str) -> Option<Peer> {
        self.roster.get(id)
    }

    /// Tells every plugin that has subscribed to it; gives back how many connections had room for it. The others are slow, and
    /// what they miss is counted.
    pub fn broadcast(&self, event: &Event) -> usize {
        self.servers.iter().map(|server| server.audience().broadcast(event)).sum()
    }

    /// Asks every plugin that is there for its `shutdown`, all at once, and waits for the answers or for the ends of their
    /// connections, up to 5 s or `drain_timeout`, whichever is less; one that logs in meanwhile is not asked. Then refuses new plugins, lets requests in flight end for up to
    /// `drain_timeout`, and gives back when every connection is gone.
    ///
    /// A challenge and a token are worth nothing at any other host, so a plugin that is not told would dial in vain. Processes are
    /// ended by [`Host::end`].
    ///
    /// # Cancel safety
    /// Dropped before it is done, the connections end at once.
    pub async fn shutdown(self) {
        let grace = self.farewell_timeout;
        let ask = |plugin: Peer| async move { farewell(&plugin, grace).await };
        let mut asked: JoinSet<_> = self.roster.all().into_iter().map(ask).collect();
        while asked.join_next().await.is_some() {}
        for server in self.servers {
            server.shutdown().await;
        }
    }
}

/// Asks a plugin for its `shutdown`, and waits up to `grace` for the answer or the end of its connection.
async fn farewell(plugin: &Peer, grace: Duration) -> Farewell {
    let nothing = Body::Json(JsonText::from_validated("{}".into()));
    let shutdown = Request::new(Route::from_static(SHUTDOWN), nothing).timeout(grace);
    // Signs of life do not extend it.
    let answer = tokio::time::timeout(grace, plugin.call(shutdown)).await;
    answer.map_or(Farewell::Silent, Farewell::from)
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("port", &self.port)
            .field("plugins", &self.plugins)
            .finish_non_exhaustive()
    }
}

/// Listens at `address` for one plugin alone, by its id, which logs in with its challenge and may have the files in a folder.
///
/// # Errors
/// [`HostError`] when a setting is out of range, or the folder or the address cannot be had.
pub(crate) async fn serve_one(
    address: &str,
    mut config: HostConfig,
    endpoint: Endpoint,
    (id, challenge): (&str, Secret),
    files: Option<&Path>,
) -> Result<Server, HostError> {
    config.limits = (*endpoint.limits).clone();
    let clock = Arc::clone(&endpoint.surroundings.clock);
    let folder = files.map(|files| {
        let wrong =
            |error: io::Error| io::Error::new(error.kind(), format!("files={}: {error}", files.display()));
        Folder::new(files, config.max_file_bytes).map_err(wrong)
    });
    let folder = folder.transpose()?;
    let starting = Starting::new(config, endpoint)?;
    if let Some(folder) = folder {
        starting.folders.serve(id, folder);
    }
    let server = starting.listen(address, |session| session).await?;
    starting.told(&server);
    starting.plugins.admit(id, challenge, clock.now());
    Ok(server)
}

/// A host before it listens.
struct Starting {
    config: Arc<HostConfig>,
    plugins: Arc<Plugins>,
    folders: Arc<Folders>,
    roster: Arc<Roster>,
    /// Known once it listens.
    port: Arc<AtomicU16>,
    endpoint: Endpoint,
}

impl Starting {
    fn new(config: HostConfig, endpoint: Endpoint) -> Result<Self, HostError> {
        config.validate()?;
        let plugins = Arc::new(Plugins::new(&config, Arc::clone(&endpoint.surroundings.clock)));
        let folders = Arc::new(Folders::new(config.max_file_reads));
        let roster = Arc::new(Roster::new(Arc::clone(&plugins), endpoint.observer.clone()));
        let files = Files::new(Arc::clone(&folders), Arc::clone(&endpoint.handler));
        // Who comes later than a challenge lives cannot log in any more.
        let login_timeout = config.challenge_life.min(config.limits.login_timeout);
        let limits = Limits { login_timeout, ..config.limits };
        let endpoint = Endpoint {
            handler: Arc::new(files),
            observer: Some(Arc::clone(&roster) as _),
            limits: Arc::new(limits),
            ..endpoint
        };
        Ok(Self { config: Arc::new(config), plugins, folders, roster, port: Arc::default(), endpoint })
    }

    /// Keeps the port of a server that listens, for those that log in.
    fn told(&self, server: &Server) -> u16 {
        let port = server.address().rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default();
        self.port.store(port, Ordering::Release);
        port
    }

    /// Passes over ports that are in use or not allowed.
    async fn first_free<U: Upper>(
        &self,
        ports: impl IntoIterator<Item = u16>,
        around: impl Fn(HostSession) -> U + Clone + Send + Sync + 'static,
    ) -> Result<Server, HostError> {
        let mut last = HostError::Io(io::ErrorKind::AddrInUse.into());
        for port in ports {
            match self.listen(&format!("127.0.0.1:{port}"), around.clone()).await {
                Ok(server) => return Ok(server),
                Err(polywire_socketio::Error::Listen { address, source }) if is_busy(&source) => {
                    last = polywire_socketio::Error::Listen { address, source }.into();
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(last)
    }

    async fn listen<U: Upper>(
        &self,
        address: &str,
        around: impl Fn(HostSession) -> U + Send + Sync + 'static,
    ) -> Result<Server, polywire_socketio::Error> {
        let server = ServerConfig {
            // No page of a browser, unless it is allowed; and nobody who came by another name.
            origins: Some(self.config.origins.clone()),
            hosts: Some(["127.0.0.1", "localhost", "[::1]"].map(str::to_owned).to_vec()),
            ..ServerConfig::new([MAIN, LEGACY])
        };
        let (config, plugins, port) =
            (Arc::clone(&self.config), Arc::clone(&self.plugins), Arc::clone(&self.port));
        polywire_socketio::listen_with(address, server, self.endpoint.clone(), move |_| {
            let port = port.load(Ordering::Acquire);
            around(HostSession::new(Arc::clone(&config), Arc::clone(&plugins), port))
        })
        .await
    }
}

fn is_busy(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use polywire_core::{Adapter, ClientState, Router, Target};

    use super::super::Line;
    use super::*;

    #[tokio::test]
    async fn a_launch_that_fails_changes_nothing() {
        let endpoint = Endpoint::new("hyperhq", Router::new::<()>().build().unwrap());
        let host =
            Host::listen(HostConfig { port: Some(0), ..HostConfig::default() }, endpoint).await.unwrap();
        let shown = host.challenge("demo").unwrap();
        let challenge = std::str::from_utf8(shown.expose()).unwrap();
        assert!(host.launch(&Launch::new("/no/such/program", "demo", host.port())).is_err());
        assert!(host.launch(&Launch::new("/no/such/program", "other", host.port())).is_err());
        let login = |id| {
            let shown = super::super::plugins::Shown { challenge: Some(challenge), ..Default::default() };
            host.plugins.log_in(id, shown, (1, &Arc::default()), host.clock.now(), &*host.random).map(drop)
        };
        assert_eq!(login("other"), Err("Invalid challenge"));
        assert_eq!(login("demo"), Ok(()));
        host.forget("demo");
        assert_eq!(login("demo"), Err("Invalid challenge"));
    }

    #[tokio::test]
    async fn a_plugin_whose_end_cannot_be_waited_for_is_forgotten_all_the_same() {
        let endpoint = Endpoint::new("hyperhq", Router::new::<()>().build().unwrap());
        let host =
            Host::listen(HostConfig { port: Some(0), ..HostConfig::default() }, endpoint).await.unwrap();
        let mut launch = Launch::new("/bin/sh", "demo", host.port());
        launch.arguments =
            ["-c", "echo $$ $HYPERHQ_AUTH_CHALLENGE; exec sleep 1000"].map(str::to_owned).to_vec();
        let mut process = host.launch(&launch).unwrap();
        let Some(Line::Output(said)) = process.line().await else { panic!("it says its number") };
        let (number, challenge) = said.split_once(' ').unwrap();
        // Somebody else waits for it.
        let number = rustix::process::Pid::from_raw(number.parse().unwrap()).unwrap();
        rustix::process::kill_process(number, rustix::process::Signal::KILL).unwrap();
        rustix::process::waitpid(Some(number), rustix::process::WaitOptions::empty()).unwrap();
        host.end(&mut process, "demo", Duration::from_secs(30)).await.unwrap_err();
        let shown = super::super::plugins::Shown { challenge: Some(challenge), ..Default::default() };
        let login = host.plugins.log_in("demo", shown, (1, &Arc::default()), host.clock.now(), &*host.random);
        assert_eq!(login.map(drop), Err("Invalid challenge"));
    }

    #[tokio::test]
    async fn a_connection_that_its_plugin_has_left_stays_though_its_queue_is_full_and_hears_the_answer() {
        let (say, mut asked) = tokio::sync::mpsc::unbounded_channel();
        let router = Router::new().handle("execute", move || {
            let say = say.clone();
            async move {
                say.send(()).unwrap();
                std::future::pending::<String>().await
            }
        });
        let endpoint = || Endpoint::new("hyperhq", Router::new::<()>().build().unwrap());
        let host =
            Host::listen(HostConfig { port: Some(0), ..HostConfig::default() }, endpoint()).await.unwrap();
        let mut target = Target { address: format!("127.0.0.1:{}", host.port()), ..Target::default() };
        target.options.set("plugin", "demo");
        target.options.set_secret("challenge", host.challenge("demo").unwrap());
        let plugin = Endpoint::new("hyperhq", router.build().unwrap());
        let client = crate::ADAPTER.dial(target, plugin).await.unwrap();
        client.ready().await.unwrap();
        let peer = loop {
            match host.plugin("demo") {
                Some(peer) => break peer,
                None => tokio::task::yield_now().await,
            }
        };
        let there = peer.clone();
        let execute = Request::new(Route::from_static("execute"), Body::Empty);
        let call = tokio::spawn(async move { there.call(execute).await });
        asked.recv().await.unwrap();
        // Nothing leaves the queue before this test waits.
        let event = || Event::new(Route::from_static("gameClosed"), Body::Empty);
        while peer.caller().unwrap().try_notify(event()).is_ok() {}
        assert!(host.plugins.answer("demo", "req-1", Ok(Body::Empty.into())));
        host.plugins.leave("demo", peer.clone());
        let outcome = tokio::time::timeout(Duration::from_secs(30), call).await.unwrap().unwrap();
        assert_eq!(outcome, Ok(Body::Empty.into()));
        assert!(!peer.caller().unwrap().has_ended());
        drop(client);
        host.shutdown().await;
    }

    #[tokio::test]
    async fn a_newer_login_closes_the_older_connection_of_its_plugin() {
        let endpoint = || Endpoint::new("hyperhq", Router::new::<()>().build().unwrap());
        let config = HostConfig { port: Some(0), challenge_reuse_within_life: true, ..HostConfig::default() };
        let host = Host::listen(config, endpoint()).await.unwrap();
        let challenge = host.challenge("demo").unwrap();
        let dial = async || {
            let mut target = Target { address: format!("127.0.0.1:{}", host.port()), ..Target::default() };
            target.options.set("plugin", "demo");
            target.options.set_secret("challenge", challenge.clone());
            let client = crate::ADAPTER.dial(target, endpoint()).await.unwrap();
            client.ready().await.unwrap();
            client
        };
        let older = dial().await;
        let first = loop {
            match host.plugin("demo") {
                Some(peer) => break peer.id(),
                None => tokio::task::yield_now().await,
            }
        };
        let newer = dial().await;
        // The older one may come back, and then it is the newer one's turn: what matters is that one of them is there.
        let mut state = older.watch();
        let closed = state.wait_for(|state| !matches!(state, ClientState::Ready));
        tokio::time::timeout(Duration::from_secs(30), closed).await.unwrap().unwrap();
        assert_ne!(host.plugin("demo").map(|peer| peer.id()), Some(first));
        drop((older, newer));
        host.shutdown().await;
    }
}
