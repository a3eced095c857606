//! Listening: hands each socket to the engine, ends the server when a peer that may commands it, whoever holds the server.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use polywire_core::{
    Accept, Audience, Body, ByteStream, Endpoint, Event, Parts, Route, Server, Shutdown, Surroundings,
    network_of, sleep_until,
};
use polywire_net::{Listening, Socket, Stream};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::codec::{HpxCodec, Trust};
use crate::config::ServerConfig;
use crate::error::Error;
use crate::session::{ServerCommand, ServerSession, Shared};

/// How long connections get answers after the broadcast of a command, as the original gives them. Observed: `py-quit-broadcast`.
const COMMAND_GRACE: Duration = Duration::from_secs(1);

/// A running HPX server.
pub struct HpxServer {
    server: Server,
    commands: watch::Receiver<Option<ServerCommand>>,
}

impl HpxServer {
    /// Listens at `address`, such as `127.0.0.1:7007`, and serves the endpoint's handler to whoever its authenticator lets in.
    ///
    /// The limits of `config` replace those of the endpoint. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`Error`] when a setting is out of range or the address cannot be had.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing listens.
    pub async fn bind(address: &str, config: ServerConfig, endpoint: Endpoint) -> Result<Self, Error> {
        config.validate()?;
        Ok(Self::plain(listen(address, &endpoint.surroundings).await?, config, endpoint))
    }

    /// The same with TLS: passwords are then accepted from everywhere. The TLS handshake counts towards `login_timeout`.
    ///
    /// # Errors
    /// [`Error`] when a setting is out of range or the address cannot be had.
    ///
    /// # Cancel safety
    /// As for [`HpxServer::bind`].
    #[cfg(feature = "tls")]
    pub async fn bind_tls(
        address: &str,
        config: ServerConfig,
        tls: polywire_net::tls::ServerTls,
        endpoint: Endpoint,
    ) -> Result<Self, Error> {
        config.validate()?;
        let listener = listen(address, &endpoint.surroundings).await?;
        let tls = Some(tls);
        Ok(Self::over(listener, config, endpoint, |shared| Accepting { shared, tls }))
    }

    /// The same over a listener that exists already.
    ///
    /// # Errors
    /// [`Error`] when a setting is out of range.
    pub fn start(listener: TcpListener, config: ServerConfig, endpoint: Endpoint) -> Result<Self, Error> {
        config.validate()?;
        Ok(Self::plain(Listening::Tcp(listener), config, endpoint))
    }

    fn plain(listener: Listening, config: ServerConfig, endpoint: Endpoint) -> Self {
        let accepting = |shared| Accepting {
            shared,
            #[cfg(feature = "tls")]
            tls: None,
        };
        Self::over(listener, config, endpoint, accepting)
    }

    fn over(
        listener: Listening,
        config: ServerConfig,
        mut endpoint: Endpoint,
        accepting: impl FnOnce(Arc<Shared>) -> Accepting,
    ) -> Self {
        endpoint.limits = Arc::clone(&config.wire.limits);
        let (surroundings, shutdown) = (endpoint.surroundings.clone(), endpoint.shutdown.clone());
        let heard = !config.may_command.is_empty();
        let shared = Arc::new(Shared::new(config));
        let commands = shared.commands();
        let server = Server::start(listener, accepting(shared), endpoint);
        if heard {
            tokio::spawn(obey(commands.clone(), server.audience(), shutdown, surroundings));
        }
        Self { server, commands }
    }

    /// The server as every adapter has it: address, peers, counts.
    pub fn core(&self) -> &Server {
        &self.server
    }

    /// The same, kept. A peer that may can still end it, but what it commanded is not told.
    pub fn into_core(self) -> Server {
        self.server
    }

    /// The address peers dial, as `host:port`.
    pub fn address(&self) -> &str {
        self.server.address()
    }

    /// Drains and ends; see [`Server::shutdown`].
    ///
    /// # Cancel safety
    /// As for [`Server::shutdown`].
    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }

    /// Serves until a peer that may (`may_command`) commands an end, and gives back what was commanded once everything has ended.
    /// Whether and how to start again is the program's business.
    ///
    /// # Cancel safety
    /// Dropping it drops the server, which ends every connection at once.
    pub async fn run(mut self) -> ServerCommand {
        let Ok(Some(command)) = self.commands.wait_for(Option::is_some).await.map(|command| *command) else {
            // Nothing is left that could command, so the server is over.
            return ServerCommand::Quit;
        };
        self.server.shutdown_handle().draining().await;
        self.server.shutdown().await;
        command
    }
}

/// Does what a peer that may commands: tells every peer, goes on answering for a second, then drains whatever the shutdown of
/// the endpoint belongs to. Ends with the server.
async fn obey(
    mut commands: watch::Receiver<Option<ServerCommand>>,
    audience: Audience,
    shutdown: Shutdown,
    surroundings: Surroundings,
) {
    let Ok(Some(command)) = commands.wait_for(Option::is_some).await.map(|command| *command) else { return };
    let told = audience.broadcast(&Event::new(Route::from_static(command.as_str()), Body::Empty));
    tracing::info!(command = command.as_str(), told, "ending on the command of a peer");
    let clock = &surroundings.clock;
    sleep_until(&**clock, clock.now() + COMMAND_GRACE).await;
    shutdown.drain();
}

impl fmt::Debug for HpxServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HpxServer").field("address", &self.address()).finish_non_exhaustive()
    }
}

/// Makes what one accepted connection needs.
struct Accepting {
    shared: Arc<Shared>,
    #[cfg(feature = "tls")]
    tls: Option<polywire_net::tls::ServerTls>,
}

impl Accepting {
    /// The bytes of a connection, and whether nobody else can read them.
    #[cfg(feature = "tls")]
    async fn seal(&self, stream: Socket) -> io::Result<(Stream, bool)> {
        match &self.tls {
            Some(tls) => Ok((tls.accept(stream).await?, true)),
            None => Ok((Box::new(stream), false)),
        }
    }

    /// The bytes of a connection, and whether nobody else can read them.
    #[cfg(not(feature = "tls"))]
    async fn seal(&self, stream: Socket) -> io::Result<(Stream, bool)> {
        std::future::ready(Ok((Box::new(stream) as Stream, false))).await
    }
}

async fn listen(address: &str, surroundings: &Surroundings) -> Result<Listening, Error> {
    let failed = |source| Error::Listen { address: address.to_owned(), source };
    polywire_net::listen(address, surroundings).await.map_err(failed)
}

impl Accept<Socket> for Accepting {
    type Session = ServerSession;
    type Transport = ByteStream<Stream>;

    async fn accept(&self, stream: Socket) -> io::Result<Parts<ServerSession, ByteStream<Stream>>> {
        let address = stream.peer()?.and_then(network_of);
        stream.keep_alive();
        let (stream, secure) = self.seal(stream).await?;
        Ok(Parts {
            transport: ByteStream::new(stream),
            codec: HpxCodec::new(&self.shared.config().wire, Trust::Stranger),
            session: ServerSession::new(Arc::clone(&self.shared), address, secure),
        })
    }
}
