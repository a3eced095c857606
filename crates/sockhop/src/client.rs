//! Dials, and dials again; every new connection shakes hands anew.

use std::io;
use std::sync::Arc;

use polywire_core::{ByteStream, Client, Credentials, Dial, DialError, Endpoint, Parts, Surroundings};
use polywire_net::Socket;

use crate::address::Address;
use crate::config::Config;
use crate::error::Error;
use crate::server::Make;
use crate::session::{Role, Session};

/// Dials `address` and keeps the connection up as `endpoint.reconnect` says; gives back at once.
///
/// The peer may call too: `endpoint`'s handler serves it. Calls made while there is no connection wait within their deadlines
/// and leave in order.
///
/// # Errors
/// [`Error`] when a setting is out of range.
pub fn dial(address: impl Into<Address>, config: Config, endpoint: Endpoint) -> Result<Client, Error> {
    Ok(start(Dialler::new(address.into(), config, &endpoint)?, endpoint))
}

/// Dials the TCP address `address` and speaks TLS; otherwise as [`dial`].
///
/// # Errors
/// [`Error`] when a setting is out of range.
#[cfg(feature = "tls")]
pub fn dial_tls(
    address: impl Into<String>,
    config: Config,
    tls: crate::tls::ClientTls,
    endpoint: Endpoint,
) -> Result<Client, Error> {
    let dialler = Dialler::new(Address::Tcp(address.into()), config, &endpoint)?;
    Ok(start(Dialler { tls: Some(tls), ..dialler }, endpoint))
}

fn start(dialler: Dialler, endpoint: Endpoint) -> Client {
    Client::start(dialler, Arc::new(Credentials::guest()), endpoint)
}

struct Dialler {
    address: Address,
    make: Make,
    surroundings: Surroundings,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::ClientTls>,
}

impl Dialler {
    fn new(address: Address, config: Config, endpoint: &Endpoint) -> Result<Self, Error> {
        config.validate()?;
        endpoint.limits.validate()?;
        Ok(Self {
            address,
            make: Make { config: Arc::new(config), limits: Arc::clone(&endpoint.limits) },
            surroundings: endpoint.surroundings.clone(),
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    async fn connect(&self, address: &str) -> io::Result<Socket> {
        let stream = polywire_net::connect(address, &self.surroundings).await?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.connect(stream).await.map(Socket::Other);
        }
        Ok(stream)
    }
}

impl Dial for Dialler {
    type Session = Session;
    type Transport = ByteStream<Socket>;

    async fn dial(&self, _: Credentials) -> Result<Parts<Session, ByteStream<Socket>>, DialError> {
        let stream = match &self.address {
            Address::Tcp(address) => self.connect(address).await,
            #[cfg(unix)]
            Address::Unix(path) => {
                tokio::net::UnixStream::connect(path).await.map(|stream| Socket::Other(Box::new(stream)))
            }
            #[cfg(not(unix))]
            Address::Unix(_) => return Err(DialError::Settings("this system has no Unix sockets".into())),
        };
        let unreachable = |source| DialError::Unreachable { address: self.address.to_string(), source };
        Ok(self.make.parts(stream.map_err(unreachable)?, Role::Client))
    }

    fn address(&self) -> String {
        self.address.to_string()
    }
}
