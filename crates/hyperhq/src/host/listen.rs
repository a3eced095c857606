//! The host itself: it listens, launches, serves files, and knows which plugin is there.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use polywire_core::{
    Body, Clock, Close, Code, Endpoint, Event, Failure, Handler, HandlerFuture, Incoming, Kind, Limits,
    Observe, Peer, Random, Response, Secret, Server,
};
use polywire_socketio::{MAIN, ServerConfig, Upper};
use tokio::sync::Semaphore;

use super::{Folder, HostConfig, HostSession, Launch, Plugins, Process};
use crate::plugin::FILE;

/// The namespace of older plugins.
const LEGACY: &str = "/plugin";

/// A host that listens. Dropped, it ends at once, and so do its plugins' connections.
pub struct Host {
    plugins: Arc<Plugins>,
    roster: Arc<Roster>,
    folders: Arc<Folders>,
    servers: Vec<Server>,
    port: u16,
    max_file_bytes: u64,
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
        Ok(Self { plugins, roster, folders, servers, port, max_file_bytes, clock, random })
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

    /// Plugin `id` is not wanted any more: its connection is closed, and its challenge and token are worth nothing.
    pub fn forget(&self, id: &str) {
        self.plugins.forget(id);
        self.close(id);
    }

    fn close(&self, id: &str) {
        let there = self.roster.lock().remove(id);
        if let Some(there) = there {
            there.close();
        }
    }

    fn drawn(&self, id: &str) -> io::Result<Secret> {
        let challenge = self.plugins.launch(id, self.clock.now(), &*self.random);
        challenge.ok_or_else(|| io::Error::other("there are as many plugins as max_plugins allows"))
    }

    /// The plugin, when it is logged in: it takes requests (`initialize`, `execute`, `test`, `shutdown`).
    pub fn plugin(&self, id: &str) -> Option<Peer> {
        self.roster.lock().get(id).cloned()
    }

    /// Tells every plugin that has subscribed to it; gives back how many connections had room for it. The others are slow, and
    /// what they miss is counted.
    pub fn broadcast(&self, event: &Event) -> usize {
        self.servers.iter().map(|server| server.audience().broadcast(event)).sum()
    }

    /// Refuses new plugins, lets requests in flight end for up to `drain_timeout`, and gives back when every connection is gone.
    ///
    /// # Cancel safety
    /// Dropped before it is done, the connections end at once.
    pub async fn shutdown(self) {
        for server in self.servers {
            server.shutdown().await;
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("port", &self.port)
            .field("plugins", &self.plugins)
            .finish_non_exhaustive()
    }
}

/// Listens at `address` for plugin `id` alone, which logs in with `challenge`.
///
/// # Errors
/// [`HostError`] when a setting is out of range or the address cannot be had.
pub(crate) async fn serve_one(
    address: &str,
    mut config: HostConfig,
    endpoint: Endpoint,
    id: &str,
    challenge: Secret,
) -> Result<Server, HostError> {
    config.limits = (*endpoint.limits).clone();
    let clock = Arc::clone(&endpoint.surroundings.clock);
    let starting = Starting::new(config, endpoint)?;
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
        let roster = Arc::new(Roster { there: Mutex::default(), other: endpoint.observer.clone() });
        let files = Files { folders: Arc::clone(&folders), other: Arc::clone(&endpoint.handler) };
        // Who comes later than a challenge lives cannot log in any more.
        let login_timeout = config.challenge_life.min(config.limits.login_timeout);
        let limits = Limits { login_timeout, ..config.limits.clone() };
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

/// Which plugin is there, by its id.
struct Roster {
    there: Mutex<HashMap<String, Peer>>,
    other: Option<Arc<dyn Observe>>,
}

impl Roster {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Peer>> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observe for Roster {
    fn connected(&self, peer: &Peer) {
        if let Some(identity) = peer.identity() {
            let before = self.lock().insert(identity.subject.to_string(), peer.clone());
            if let Some(before) = before {
                // Its session has moved: the older connection is nobody's.
                before.close();
            }
        }
        if let Some(other) = &self.other {
            other.connected(peer);
        }
    }

    fn disconnected(&self, peer: &Peer, reason: &Close) {
        if let Some(identity) = peer.identity() {
            let mut there = self.lock();
            if there.get(&*identity.subject).is_some_and(|known| known.id() == peer.id()) {
                there.remove(&*identity.subject);
            }
        }
        if let Some(other) = &self.other {
            other.disconnected(peer, reason);
        }
    }

    fn turned_away(&self, reason: &Close) {
        if let Some(other) = &self.other {
            other.turned_away(reason);
        }
    }
}

/// The folders of plugins, by id.
struct Folders {
    known: Mutex<HashMap<String, Arc<Folder>>>,
    /// Files that may be read at a time.
    reads: Arc<Semaphore>,
}

impl Folders {
    fn new(reads: usize) -> Self {
        Self { known: Mutex::default(), reads: Arc::new(Semaphore::new(reads)) }
    }

    fn serve(&self, id: &str, folder: Folder) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), Arc::new(folder));
    }

    fn of(&self, id: &str) -> Option<Arc<Folder>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Reads a file of plugin `id`, when it is its turn.
    async fn read(&self, id: String, path: String) -> Result<Response, Failure> {
        let unreadable = || refused("File cannot be read");
        let folder = self.of(&id).ok_or_else(unreadable)?;
        let _one_of_few = Arc::clone(&self.reads).acquire_owned().await.map_err(|_| unreadable())?;
        let read = tokio::task::spawn_blocking(move || folder.read(&path)).await;
        match read {
            Ok(Ok(bytes)) => Ok(Response::from(Body::binary("", bytes))),
            Ok(Err(error)) => Err(refused(error.to_string())),
            Err(_) => Err(unreadable()),
        }
    }
}

/// Serves files where a plugin has a folder, and hands on everything else.
struct Files {
    folders: Arc<Folders>,
    other: Arc<dyn Handler>,
}

impl Handler for Files {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        if incoming.kind != Kind::Request || incoming.route != FILE {
            return self.other.call(incoming);
        }
        let identity = incoming.identity().map(|identity| identity.subject.to_string());
        let Some(id) = identity.filter(|id| self.folders.of(id).is_some()) else {
            return self.other.call(incoming);
        };
        let folders = Arc::clone(&self.folders);
        Box::pin(async move {
            let path = match &incoming.body {
                Body::Json(path) => path.parse::<String>().ok(),
                _ => None,
            };
            match path {
                Some(path) => folders.read(id, path).await,
                None => Err(refused("Invalid file path")),
            }
        })
    }
}

fn refused(why: impl Into<String>) -> Failure {
    Failure::new(Code::PermissionDenied, why.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use polywire_core::{Adapter, ClientState, Router, Target};

    use super::*;

    fn starting() -> Starting {
        Starting::new(HostConfig::default(), Endpoint::new("hyperhq", Router::new::<()>().build().unwrap()))
            .unwrap()
    }

    #[tokio::test]
    async fn only_so_many_files_are_read_at_a_time() {
        let config = HostConfig { max_file_reads: 1, ..HostConfig::default() };
        let starting =
            Starting::new(config, Endpoint::new("hyperhq", Router::new::<()>().build().unwrap())).unwrap();
        let place = std::env::temp_dir().join(format!("polywire-reads-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("a"), "a").unwrap();
        starting.folders.serve("demo", Folder::new(&place, 100).unwrap());
        let reading = Arc::clone(&starting.folders.reads).acquire_owned().await.unwrap();
        let read = tokio::spawn({
            let folders = Arc::clone(&starting.folders);
            async move { folders.read("demo".into(), "a".into()).await }
        });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!read.is_finished(), "it waits for its turn");
        drop(reading);
        assert_eq!(read.await.unwrap().unwrap().body, Body::binary("", &b"a"[..]));
        std::fs::remove_dir_all(place).unwrap();
    }

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
            let shown = super::super::plugins::Shown { challenge: Some(challenge), token: None };
            host.plugins.log_in(id, shown, 1, host.clock.now(), &*host.random).map(drop)
        };
        assert_eq!(login("other"), Err("Invalid challenge"));
        assert_eq!(login("demo"), Ok(()));
        host.forget("demo");
        assert_eq!(login("demo"), Err("Invalid challenge"));
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

    #[tokio::test]
    async fn a_busy_port_is_passed_over_and_when_all_are_busy_any_will_do() {
        let starting = starting();
        let busy = starting.first_free([0], |session| session).await.unwrap();
        let taken = starting.told(&busy);
        let other = starting.first_free([taken, 0], |session| session).await.unwrap();
        assert_ne!(starting.told(&other), taken);
        let why = starting.first_free([taken], |session| session).await.unwrap_err().to_string();
        assert!(why.contains(&format!("127.0.0.1:{taken}")), "{why}");
        assert_eq!((super::super::PORTS.count(), *super::super::PORTS.start()), (30, 52_789));
    }
}
