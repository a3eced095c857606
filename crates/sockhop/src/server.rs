//! Listens, and hands each connection to the engine.

use std::io;
use std::sync::Arc;

use polywire_core::{Accept, ByteStream, Endpoint, Limits, Parts, Server};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::address::Address;
use crate::codec::Codec;
use crate::config::Config;
use crate::error::Error;
use crate::session::{Role, Session};

/// Listens at `address` and serves `endpoint`'s handler to every peer.
///
/// [`Server::audience`] reaches all peers; each gets what its own connection can carry, and a peer's session data are what
/// [`Peer::set_data`](polywire_core::Peer::set_data) keeps. A Unix socket gets mode 0600, replaces only a dead socket, and is
/// removed when the server is shut down.
///
/// # Errors
/// [`Error`] when a setting is out of range or the address cannot be had.
///
/// # Cancel safety
/// Dropped before it is ready, nothing listens.
pub async fn listen(
    address: impl Into<Address>,
    config: Config,
    endpoint: Endpoint,
) -> Result<Server, Error> {
    config.validate()?;
    endpoint.limits.validate()?;
    let address = address.into();
    let make = Make { config: Arc::new(config), limits: Arc::clone(&endpoint.limits) };
    match &address {
        Address::Tcp(to) => {
            let listener = polywire_net::listen(to, &endpoint.surroundings)
                .await
                .map_err(|source| Error::Listen { address: to.clone(), source })?;
            Ok(Server::start(listener, make, endpoint))
        }
        #[cfg(unix)]
        Address::Unix(path) => Ok(Server::start(crate::unix::SocketFile::bind(path)?, make, endpoint)),
        #[cfg(not(unix))]
        Address::Unix(path) => {
            let why = "this system has no Unix sockets";
            Err(Error::Path { path: path.display().to_string(), why })
        }
    }
}

/// Listens at the TCP address `address` and speaks TLS to every peer; otherwise as [`listen`].
///
/// A peer has `login_timeout` for the TLS handshake.
///
/// # Errors
/// [`Error`] when a setting is out of range or the address cannot be had.
///
/// # Cancel safety
/// Dropped before it is ready, nothing listens.
#[cfg(feature = "tls")]
pub async fn listen_tls(
    address: impl Into<String>,
    config: Config,
    tls: polywire_net::tls::ServerTls,
    endpoint: Endpoint,
) -> Result<Server, Error> {
    config.validate()?;
    endpoint.limits.validate()?;
    let address = address.into();
    let make = Make { config: Arc::new(config), limits: Arc::clone(&endpoint.limits) };
    let listener = polywire_net::listen(&address, &endpoint.surroundings).await;
    let listener = listener.map_err(|source| Error::Listen { address, source })?;
    Ok(Server::start(listener, Sealed { make, tls }, endpoint))
}

/// Makes connections over accepted streams, once TLS stands.
#[cfg(feature = "tls")]
struct Sealed {
    make: Make,
    tls: polywire_net::tls::ServerTls,
}

#[cfg(feature = "tls")]
impl<Io: polywire_net::Io + 'static> Accept<Io> for Sealed {
    type Session = Session;
    type Transport = ByteStream<polywire_net::Stream>;

    async fn accept(&self, io: Io) -> io::Result<Parts<Session, Self::Transport>> {
        Ok(self.make.parts(self.tls.accept(io).await?, Role::Server))
    }
}

/// Makes codec and session of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Make {
    pub(crate) config: Arc<Config>,
    pub(crate) limits: Arc<Limits>,
}

impl Make {
    pub(crate) fn parts<Io>(&self, io: Io, role: Role) -> Parts<Session, ByteStream<Io>>
    where
        Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Parts {
            transport: ByteStream::new(io),
            codec: Codec::new(&self.config, &self.limits),
            session: Session::new(Arc::clone(&self.config), &self.limits, role),
        }
    }
}

impl<Io> Accept<Io> for Make
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Session = Session;
    type Transport = ByteStream<Io>;

    async fn accept(&self, io: Io) -> io::Result<Parts<Session, ByteStream<Io>>> {
        Ok(self.parts(io, Role::Server))
    }
}
