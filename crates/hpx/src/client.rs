//! Dialling: a few connections that share one session, one call in flight on each, and a queue in front.
//!
//! The first connection logs in; the others are dialled once it has, and show its session. Each is kept up by core's supervisor
//! on its own, so a connection that was given up is replaced while the others go on.

use std::fmt;
use std::sync::Arc;

use polywire_core::{
    Body, ByteStream, CallError, Caller, Client, ClientState, CredentialSource, Credentials, Dial, DialError,
    Endpoint, Failure, Follow, Outcome, Parts, Request, Route, Surroundings, supervise,
};
use polywire_net::{Socket, Stream};
use tokio_util::task::TaskTracker;

use crate::batch::{Terms, batch};
use crate::codec::{HpxCodec, Trust};
use crate::config::{ClientConfig, Dialect};
use crate::error::Error;
use crate::lanes::{Entry, Lanes};
use crate::session::pool::Pool;
use crate::session::{ClientSession, ServerCommand};
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
        endpoint.limits = Arc::clone(&config.wire.limits);
        endpoint.shutdown = endpoint.shutdown.child();
        let (ledger, shutdown) = (Arc::clone(&endpoint.ledger), endpoint.shutdown.clone());
        let endpoint = Arc::new(endpoint);
        let lanes = Lanes::new(config.connections, Arc::clone(&endpoint));
        let (standing, tasks) = (lanes.standing().clone(), TaskTracker::new());
        let pool = Arc::new(Pool::default());
        let reach = Arc::clone(&lanes);
        pool.set_tell(move |slot, wake| reach.tell(slot, wake));
        let caller = Caller::custom(Entry(Arc::clone(&lanes)));
        let tracker = tasks.clone();
        let (config, surroundings) = (Arc::new(config), endpoint.surroundings.clone());
        let opener =
            Opener { way, config: Arc::clone(&config), pool, credentials, endpoint, lanes, tasks: tracker };
        Arc::new(opener).open();
        tasks.close();
        let client = Client::custom(caller, standing, ledger, shutdown, tasks);
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
    endpoint: Arc<Endpoint>,
    lanes: Arc<Lanes>,
    tasks: TaskTracker,
}

impl Opener {
    /// Opens one more lane.
    fn open(self: &Arc<Self>) {
        self.lanes.open(|slot| {
            let (opener, follow) = (Arc::clone(self), Lane { opener: Arc::clone(self), slot });
            let (credentials, endpoint) = (Arc::clone(&self.credentials), Arc::clone(&self.endpoint));
            supervise(Lane { opener, slot }, credentials, endpoint, follow, &self.tasks)
        });
    }
}

/// One of the lanes.
struct Lane {
    opener: Arc<Opener>,
    slot: usize,
}

impl Follow for Lane {
    /// The other lanes are opened once the first is logged in.
    fn stands(&self, state: ClientState, over: bool) {
        let opens = self.slot == 0 && state == ClientState::Ready;
        self.opener.lanes.stands(self.slot, state, over);
        while opens && self.opener.lanes.len() < self.opener.config.connections {
            self.opener.open();
        }
    }
}

/// Where the server is and how its bytes are protected.
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

impl Dial for Lane {
    type Session = ClientSession;
    type Transport = ByteStream<Stream>;

    async fn dial(
        &self,
        credentials: Credentials,
    ) -> Result<Parts<ClientSession, ByteStream<Stream>>, DialError> {
        let Opener { way, config, pool, endpoint, .. } = &*self.opener;
        let failed = |source| DialError::Unreachable { address: way.address.clone(), source };
        let stream = polywire_net::connect(&way.address, &endpoint.surroundings).await.map_err(failed)?;
        stream.keep_alive();
        let far =
            stream.peer().map_err(failed)?.map(|far| far.to_canonical()).filter(|far| !far.is_loopback());
        let allowed = way.is_secure() || config.allow_plaintext;
        if let (Some(far), Some(_), false) = (far, &credentials.secret, allowed) {
            return Err(DialError::Settings(format!(
                "a password would go to {far} in clear text: use TLS, or set allow_plaintext"
            )));
        }
        let stream = way.seal(stream).await.map_err(failed)?;
        Ok(Parts {
            transport: ByteStream::new(stream),
            codec: HpxCodec::new(&config.wire, Trust::Known),
            session: ClientSession::new(Arc::clone(config), Arc::clone(pool), self.slot, credentials),
        })
    }

    fn address(&self) -> String {
        self.opener.way.address.clone()
    }

    fn hears_events(&self) -> bool {
        false
    }
}
