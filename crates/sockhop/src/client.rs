//! Dials, and dials again; every new connection shakes hands anew.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use polywire_core::{ByteStream, Client, Credentials, Dial, DialError, Endpoint, Parts, Reconnect};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::address::Address;
use crate::config::Config;
use crate::error::Error;
use crate::server::Make;
use crate::session::{Role, Session};
use crate::stream::Stream;

/// How long one address of a name has to answer before the next one is tried as well.
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Dials `address` and keeps the connection up as `reconnect` says; gives back at once.
///
/// The peer may call too: `endpoint`'s handler serves it. Calls made while there is no connection wait within their deadlines
/// and leave in order.
///
/// # Errors
/// [`Error`] when a setting is out of range.
pub fn dial(
    address: impl Into<Address>,
    config: Config,
    endpoint: Endpoint,
    reconnect: Reconnect,
) -> Result<Client, Error> {
    Ok(start(Dialler::new(address.into(), config, &endpoint)?, endpoint, reconnect))
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
    reconnect: Reconnect,
) -> Result<Client, Error> {
    let dialler = Dialler::new(Address::Tcp(address.into()), config, &endpoint)?;
    Ok(start(Dialler { tls: Some(tls), ..dialler }, endpoint, reconnect))
}

fn start(dialler: Dialler, endpoint: Endpoint, reconnect: Reconnect) -> Client {
    Client::start(dialler, Arc::new(Credentials::guest()), endpoint, reconnect)
}

#[derive(Debug)]
struct Dialler {
    address: Address,
    make: Make,
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
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    async fn connect(&self, address: &str) -> io::Result<Stream> {
        let stream = connect(address).await?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return Ok(Stream::Tls(Box::new(tls.connect(stream).await?)));
        }
        Ok(Stream::Tcp(stream))
    }
}

impl Dial for Dialler {
    type Session = Session;
    type Transport = ByteStream<Stream>;

    async fn dial(&self, _: Credentials) -> Result<Parts<Session, ByteStream<Stream>>, DialError> {
        let stream = match &self.address {
            Address::Tcp(address) => self.connect(address).await,
            #[cfg(unix)]
            Address::Unix(path) => tokio::net::UnixStream::connect(path).await.map(Stream::Unix),
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

/// Connects to the first address of a name that answers, each new one being tried a little later than the one before.
async fn connect(address: &str) -> io::Result<TcpStream> {
    let found: Vec<SocketAddr> = tokio::net::lookup_host(address).await?.collect();
    let mut attempts = JoinSet::new();
    let mut left = found.into_iter();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    if let Some(first) = left.next() {
        attempts.spawn(TcpStream::connect(first));
    }
    let stream = loop {
        let more = left.len() > 0;
        tokio::select! {
            biased;
            ended = attempts.join_next() => match ended {
                Some(Ok(Ok(stream))) => break stream,
                Some(Ok(Err(error))) => last = error,
                Some(Err(error)) => last = io::Error::other(error),
                None if !more => return Err(last),
                None => {}
            },
            () = tokio::time::sleep(NEXT_ADDRESS), if more => {}
        }
        if let Some(next) = left.next() {
            attempts.spawn(TcpStream::connect(next));
        }
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}
