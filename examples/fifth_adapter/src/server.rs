//! Listens, and hands each connection to the engine.

use std::io;
use std::sync::Arc;

use polywire_core::{Accept, ByteStream, Endpoint, Limits, Parts, Server};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::codec::Codec;
use crate::config::Config;
use crate::error::Error;
use crate::session::{Role, Session};

// begin listen
/// Listens at `address`, such as `127.0.0.1:0`, and serves `endpoint`'s handler to whoever its authenticator lets in.
///
/// # Errors
/// [`Error`] when a setting is out of range or the address cannot be had.
///
/// # Cancel safety
/// Dropped before it is ready, nothing listens.
pub async fn listen(address: &str, config: Config, endpoint: Endpoint) -> Result<Server, Error> {
    let make = Make::new(config, &endpoint)?;
    let listener = polywire_net::listen(address, &endpoint.surroundings).await;
    let listener = listener.map_err(|source| Error::Listen { address: address.to_owned(), source })?;
    Ok(Server::start(listener, make, endpoint))
}
// end listen

// begin make
/// Makes what one connection needs, of either role, over any stream of bytes.
#[derive(Clone, Debug)]
pub struct Make {
    config: Arc<Config>,
    limits: Arc<Limits>,
}

impl Make {
    /// With these settings and the limits of `endpoint`.
    ///
    /// # Errors
    /// [`Error::Setting`] when one is out of range.
    pub fn new(config: Config, endpoint: &Endpoint) -> Result<Self, Error> {
        config.validate()?;
        endpoint.limits.validate()?;
        Ok(Self { config: Arc::new(config), limits: Arc::clone(&endpoint.limits) })
    }

    /// Transport, codec and session of one connection.
    pub fn parts<Io>(&self, io: Io, role: Role) -> Parts<Session, ByteStream<Io>> {
        Parts {
            transport: ByteStream::new(io),
            codec: Codec::new(self.limits.max_frame_bytes),
            session: Session::new(role, Arc::clone(&self.config), Arc::clone(&self.limits)),
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
// end make
