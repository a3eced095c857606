//! Dialling: a few connections that share one session, one call in flight on each, and a queue in front.
//!
//! The first connection logs in; the others are dialled once it has, and show its session. Each is kept up by core's supervisor
//! on its own, so a connection that was given up is replaced while the others go on.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use polywire_core::{
    Body, ByteStream, CallError, Caller, Client, ClientState, Commands, CredentialSource, Credentials, Dial,
    DialError, Endpoint, Failure, Outcome, Parts, Request, Route, Shutdown, Surroundings,
};
use polywire_net::{Socket, Stream};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::batch::{Terms, batch};
use crate::codec::{HpxCodec, Trust};
use crate::config::{ClientConfig, Dialect};
use crate::error::Error;
use crate::lanes::{Entry, Lanes};
use crate::session::pool::Pool;
use crate::session::{ClientSession, ServerCommand, Wake};
use crate::translate::{COMMAND, REQUEST_AUTH};

/// An HPX client.
pub struct HpxClient {
    client: Client,
    config: Arc<ClientConfig>,
    surroundings: Surroundings,
}

impl HpxClient {
    /// Starts dialling `address`, such as `127.0.0.1:7007`, and keeps the connections up as `endpoint.reconnect` says.
    /// Gives back at once; [`HpxClient::ready`] waits.
    ///
    /// The limits of `config` replace those of the endpoint. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`Error`] when a setting is out of range.
    pub fn connect(
        address: &str,
        credentials: Arc<dyn CredentialSource>,
        config: ClientConfig,
        endpoint: Endpoint,
    ) -> Result<Self, Error> {
        let way = Way {
            address: address.to_owned(),
            #[cfg(feature = "tls")]
            tls: None,
        };
        Self::over(way, credentials, config, endpoint)
    }

    /// The same with TLS, so that a password may leave this machine.
    ///
    /// # Errors
    /// [`Error`] when a setting is out of range.
    #[cfg(feature = "tls")]
    pub fn connect_tls(
        address: &str,
        credentials: Arc<dyn CredentialSource>,
        config: ClientConfig,
        tls: crate::tls::ClientTls,
        endpoint: Endpoint,
    ) -> Result<Self, Error> {
        let way = Way { address: address.to_owned(), tls: Some(tls) };
        Self::over(way, credentials, config, endpoint)
    }

    fn over(
        way: Way,
        credentials: Arc<dyn CredentialSource>,
        config: ClientConfig,
        mut endpoint: Endpoint,
    ) -> Result<Self, Error> {
        config.validate()?;
        endpoint.limits = Arc::new(config.wire.limits.clone());
        endpoint.shutdown = endpoint.shutdown.child();
        let limits = &config.wire.limits;
        let (lanes, state) = Lanes::new(
            config.connections,
            limits.max_queue_messages,
            limits.call_timeout,
            endpoint.surroundings.clone(),
        );
        let tasks = TaskTracker::new();
        let (ledger, shutdown) = (Arc::clone(&endpoint.ledger), endpoint.shutdown.clone());
        let (config, surroundings) = (Arc::new(config), endpoint.surroundings.clone());
        let opener = Opener {
            way,
            config: Arc::clone(&config),
            pool: Arc::new(Pool::default()),
            credentials,
            endpoint,
            lanes: Arc::clone(&lanes),
            tasks: tasks.clone(),
        };
        tasks.spawn(opener.run());
        tasks.close();
        let caller = Caller::custom(Entry(lanes));
        let client = Client::custom(caller, state, ledger, shutdown, tasks);
        Ok(Self { client, config, surroundings })
    }

    /// The client as every adapter has it: caller, state, counts.
    pub fn core(&self) -> &Client {
        &self.client
    }

    /// The same, kept.
    pub fn into_core(self) -> Client {
        self.client
    }

    /// Waits until one connection is logged in; see [`Client::ready`].
    ///
    /// # Errors
    /// `unauthenticated` when the login was refused for good, `unavailable` when the client is over.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn ready(&self) -> Result<(), Failure> {
        self.client.ready().await
    }

    /// Calls the server.
    pub fn caller(&self) -> &Caller {
        self.client.caller()
    }

    /// Makes one call and waits for its one outcome.
    ///
    /// # Errors
    /// [`CallError`], which says whether the server may have acted.
    ///
    /// # Cancel safety
    /// Dropping the future gives the call up; the server may have acted, and the connection is replaced.
    pub async fn call(&self, request: Request) -> Outcome {
        self.caller().call(request).await
    }

    /// Makes several calls in one message and gives back how each ended, in the order of the calls.
    ///
    /// The server runs the functions in order; one that fails does not keep the others from running. The earliest deadline of
    /// the calls is that of the message. The same function twice is fine unless the server refuses one of the two and this
    /// client is not of dialect B: then it cannot be told which, and both end as [`CallError::Unknown`].
    ///
    /// # Errors
    /// Each call has its own outcome; a call whose arguments the wire cannot carry is `NotSent`, and the others still go.
    ///
    /// # Cancel safety
    /// As for [`HpxClient::call`], for all of the calls.
    pub async fn batch(&self, calls: Vec<Request>) -> Vec<Outcome> {
        let wire = &self.config.wire;
        let terms = Terms {
            now: self.surroundings.clock.now(),
            timeout: wire.limits.call_timeout,
            in_order: wire.dialect == Dialect::B,
        };
        batch(self.caller(), calls, terms).await
    }

    /// Commands the server to end, or to end and start again; only for a user who may. Gives back once the server has told so.
    /// The connections are lost then, and this client dials again.
    ///
    /// # Errors
    /// [`CallError`]: a failure when the server refuses, `Unknown` when it goes without a word.
    ///
    /// # Cancel safety
    /// As for [`HpxClient::call`].
    pub async fn command(&self, command: ServerCommand) -> Result<(), CallError> {
        self.ask(command.as_str()).await.map(drop)
    }

    /// Asks for the greeting again: the versions of the server and whether it lets guests in, as JSON.
    ///
    /// # Errors
    /// As for [`HpxClient::call`].
    ///
    /// # Cancel safety
    /// As for [`HpxClient::call`].
    pub async fn request_auth(&self) -> Outcome {
        self.ask(REQUEST_AUTH).await
    }

    async fn ask(&self, command: &'static str) -> Outcome {
        let mut request = Request::new(Route::from_static(command), Body::Empty);
        request.meta.set(COMMAND, "1");
        self.call(request).await
    }

    /// Drains calls in flight, closes every connection and gives back when they are gone.
    ///
    /// # Cancel safety
    /// Dropped before it is done, every connection ends at once.
    pub async fn shutdown(self) {
        self.client.shutdown().await;
    }
}

impl fmt::Debug for HpxClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HpxClient").field("state", &self.client.state()).finish_non_exhaustive()
    }
}

/// Opens the lanes of one client, one connection each.
struct Opener {
    way: Way,
    config: Arc<ClientConfig>,
    pool: Arc<Pool>,
    credentials: Arc<dyn CredentialSource>,
    endpoint: Endpoint,
    lanes: Arc<Lanes>,
    tasks: TaskTracker,
}

impl Opener {
    /// Opens the first lane, and the others once it is logged in.
    async fn run(self) {
        let commands: Arc<Mutex<Vec<Commands<Wake>>>> = Arc::default();
        let reach = Arc::clone(&commands);
        self.pool.set_tell(move |slot, wake| {
            if let Some(commands) = reach.lock().unwrap_or_else(PoisonError::into_inner).get(slot) {
                commands.send(wake);
            }
        });
        for slot in 0..self.config.connections {
            let dialler = Dialler {
                way: self.way.clone(),
                config: Arc::clone(&self.config),
                pool: Arc::clone(&self.pool),
                slot,
                surroundings: self.endpoint.surroundings.clone(),
            };
            let (client, commander) =
                Client::start_with_commands(dialler, Arc::clone(&self.credentials), self.endpoint.clone());
            commands.lock().unwrap_or_else(PoisonError::into_inner).push(commander);
            self.lanes.open(&client);
            let (tell, ready) = oneshot::channel();
            self.tasks.spawn(follow(Arc::clone(&self.lanes), client, tell, self.endpoint.shutdown.clone()));
            if slot > 0 {
                continue;
            }
            tokio::select! {
                biased;
                () = self.endpoint.shutdown.draining() => return,
                ready = ready => if ready.is_err() { return },
            }
        }
    }
}

/// Tells how one lane stands, and `ready` when it is logged in for the first time, until the client is shut down; then closes it.
///
/// Nobody else watches the lane: those who watch one state hear of it in an order that is left to chance.
async fn follow(lanes: Arc<Lanes>, client: Client, ready: oneshot::Sender<()>, shutdown: Shutdown) {
    let (mut state, mut ready) = (client.watch(), Some(ready));
    loop {
        lanes.update();
        if client.state() == ClientState::Ready {
            // Nobody waits for more than the first.
            ready.take().into_iter().for_each(|ready| _ = ready.send(()));
        }
        tokio::select! {
            biased;
            () = shutdown.draining() => {
                lanes.close();
                client.shutdown().await;
                break;
            }
            changed = state.changed() => if changed.is_err() { break },
        }
    }
    lanes.update();
}

/// Where the server is and how its bytes are protected.
#[derive(Clone)]
struct Way {
    address: String,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::ClientTls>,
}

impl Way {
    /// Will nobody else be able to read the bytes?
    fn is_secure(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    async fn seal(&self, stream: Socket) -> std::io::Result<Stream> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.connect(stream).await;
        }
        std::future::ready(Ok(Box::new(stream) as Stream)).await
    }
}

/// Dials one connection.
struct Dialler {
    way: Way,
    config: Arc<ClientConfig>,
    pool: Arc<Pool>,
    slot: usize,
    surroundings: Surroundings,
}

impl Dial for Dialler {
    type Session = ClientSession;
    type Transport = ByteStream<Stream>;

    async fn dial(
        &self,
        credentials: Credentials,
    ) -> Result<Parts<ClientSession, ByteStream<Stream>>, DialError> {
        let failed = |source| DialError::Unreachable { address: self.way.address.clone(), source };
        let stream = polywire_net::connect(&self.way.address, &self.surroundings).await.map_err(failed)?;
        stream.keep_alive();
        let far =
            stream.peer().map_err(failed)?.map(|far| far.to_canonical()).filter(|far| !far.is_loopback());
        let allowed = self.way.is_secure() || self.config.allow_plaintext;
        if let (Some(far), Some(_), false) = (far, &credentials.secret, allowed) {
            return Err(DialError::Settings(format!(
                "a password would go to {far} in clear text: use TLS, or set allow_plaintext"
            )));
        }
        let stream = self.way.seal(stream).await.map_err(failed)?;
        Ok(Parts {
            transport: ByteStream::new(stream),
            codec: HpxCodec::new(&self.config.wire, Trust::Known),
            session: ClientSession::new(
                Arc::clone(&self.config),
                Arc::clone(&self.pool),
                self.slot,
                credentials,
            ),
        })
    }

    fn address(&self) -> String {
        self.way.address.clone()
    }

    fn hears_events(&self) -> bool {
        false
    }
}
