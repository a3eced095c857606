//! Dialling: a few connections that share one session, one call in flight on each, and a queue in front.
//!
//! The first connection logs in; the others are dialled once it has, and show its session. Each is kept up by core's supervisor
//! on its own, so a connection that was given up is replaced while the others go on.

use std::fmt;
use std::sync::Arc;

use polywire_core::{
    ByteStream, Caller, Client, ClientState, CredentialSource, Credentials, Dial, DialError, Endpoint,
    Failure, Follow, Outcome, Parts, Reconnect, Request, supervise,
};
use polywire_net::{Socket, Stream};
use tokio_util::task::TaskTracker;

use crate::codec::{HpxCodec, Trust};
use crate::config::ClientConfig;
use crate::error::Error;
use crate::lanes::{Entry, Lanes};
use crate::server::elsewhere;
use crate::session::ClientSession;
use crate::session::pool::Pool;

/// An HPX client.
pub struct HpxClient {
    client: Client,
}

impl HpxClient {
    /// Starts dialling `address`, such as `127.0.0.1:7007`, and keeps the connections up. Gives back at once;
    /// [`HpxClient::ready`] waits.
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
        reconnect: Reconnect,
    ) -> Result<Self, Error> {
        let way = Way {
            address: address.to_owned(),
            #[cfg(feature = "tls")]
            tls: None,
        };
        Self::over(way, credentials, config, endpoint, reconnect)
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
        reconnect: Reconnect,
    ) -> Result<Self, Error> {
        let way = Way { address: address.to_owned(), tls: Some(tls) };
        Self::over(way, credentials, config, endpoint, reconnect)
    }

    fn over(
        way: Way,
        credentials: Arc<dyn CredentialSource>,
        config: ClientConfig,
        mut endpoint: Endpoint,
        reconnect: Reconnect,
    ) -> Result<Self, Error> {
        config.validate()?;
        endpoint.limits = Arc::clone(&config.wire.limits);
        endpoint.shutdown = endpoint.shutdown.child();
        endpoint.reconnect = reconnect;
        let (ledger, shutdown) = (Arc::clone(&endpoint.ledger), endpoint.shutdown.clone());
        let endpoint = Arc::new(endpoint);
        let lanes = Lanes::new(config.connections, Arc::clone(&endpoint));
        let (standing, tasks) = (lanes.standing().clone(), TaskTracker::new());
        let pool = Arc::new(Pool::default());
        let reach = Arc::clone(&lanes);
        pool.set_tell(move |slot, wake| reach.tell(slot, wake));
        let caller = Caller::custom(Entry(Arc::clone(&lanes)));
        let tracker = tasks.clone();
        let config = Arc::new(config);
        Arc::new(Opener { way, config, pool, credentials, endpoint, lanes, tasks: tracker }).open();
        tasks.close();
        Ok(Self { client: Client::custom(caller, standing, ledger, shutdown, tasks) })
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
    /// [`CallError`](polywire_core::CallError), which says whether the server may have acted.
    ///
    /// # Cancel safety
    /// Dropping the future gives the call up; the server may have acted, and the connection is replaced.
    pub async fn call(&self, request: Request) -> Outcome {
        self.caller().call(request).await
    }

    /// Makes several calls in one message; see [`batch`](crate::batch()).
    ///
    /// # Cancel safety
    /// As for [`HpxClient::call`].
    pub async fn batch(&self, calls: Vec<Request>) -> Vec<Outcome> {
        crate::batch::batch(self.caller(), calls).await
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
        let far = stream.peer().map_err(failed)?.and_then(elsewhere);
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
