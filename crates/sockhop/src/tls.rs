//! TLS under Sockhop: the original speaks it as client only, we speak it at both ends. TLS 1.2 and 1.3.

use std::fmt;
use std::io;
use std::sync::Arc;

use polywire_core::{Accept, AdapterError, ByteStream, Endpoint, Listener, Parts, Server};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, server};

use crate::config::Config;
use crate::error::Error;
use crate::server::Make;
use crate::session::{Role, Session};

/// Listens at the TCP address `address` and speaks TLS to every peer; otherwise as [`listen`](crate::listen).
///
/// A peer has `login_timeout` for the TLS handshake.
///
/// # Errors
/// [`Error`] when a setting is out of range or the address cannot be had.
///
/// # Cancel safety
/// Dropped before it is ready, nothing listens.
pub async fn listen_tls(
    address: impl Into<String>,
    config: Config,
    tls: Arc<ServerConfig>,
    endpoint: Endpoint,
) -> Result<Server, Error> {
    config.validate()?;
    endpoint.limits.validate()?;
    let address = address.into();
    let make = Make { config: Arc::new(config), limits: Arc::clone(&endpoint.limits) };
    let listener = TcpListener::bind(&address).await.map_err(|source| Error::Listen { address, source })?;
    Ok(start(listener, make, tls, endpoint))
}

fn start<L: Listener>(listener: L, make: Make, tls: Arc<ServerConfig>, endpoint: Endpoint) -> Server {
    Server::start(listener, Sealed { make, acceptor: TlsAcceptor::from(tls) }, endpoint)
}

/// Makes connections over accepted streams, once TLS stands.
struct Sealed {
    make: Make,
    acceptor: TlsAcceptor,
}

impl<Io> Accept<Io> for Sealed
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Session = Session;
    type Transport = ByteStream<server::TlsStream<Io>>;

    async fn accept(&self, io: Io) -> io::Result<Parts<Session, Self::Transport>> {
        Ok(self.make.parts(self.acceptor.accept(io).await?, Role::Server))
    }
}

/// The client's side of TLS: whom to trust, and the name the peer must have.
#[derive(Clone)]
pub struct ClientTls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl ClientTls {
    /// Trusts what `config` trusts; the peer's certificate must be for `name`, a host name or an IP address.
    ///
    /// # Errors
    /// [`AdapterError::Settings`] when `name` is neither.
    pub fn new(config: Arc<ClientConfig>, name: &str) -> Result<Self, AdapterError> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| AdapterError::Settings(format!("{name:?} is no name a certificate can be for")))?;
        Ok(Self { connector: TlsConnector::from(config), name })
    }

    pub(crate) async fn connect<Io>(&self, io: Io) -> io::Result<tokio_rustls::client::TlsStream<Io>>
    where
        Io: AsyncRead + AsyncWrite + Unpin,
    {
        self.connector.connect(self.name.clone(), io).await
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A server's side of TLS from its certificates and its key, both in PEM.
///
/// # Errors
/// [`AdapterError::Settings`] when they cannot be used; the key is never shown.
pub fn server_config(certificates: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, AdapterError> {
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| AdapterError::Settings("tls_key holds no private key in PEM".into()))?;
    ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(pem(certificates, "tls_cert")?, key)
        .map(Arc::new)
        .map_err(|error| AdapterError::Settings(format!("tls_cert and tls_key cannot be used: {error}")))
}

/// A client's side of TLS that trusts the certificates in `authorities`, in PEM.
///
/// # Errors
/// [`AdapterError::Settings`] when there is none, or one that cannot be trusted.
pub fn client_config(authorities: &[u8]) -> Result<Arc<ClientConfig>, AdapterError> {
    let mut roots = RootCertStore::empty();
    for authority in pem(authorities, "tls_ca")? {
        roots
            .add(authority)
            .map_err(|error| AdapterError::Settings(format!("tls_ca cannot be trusted: {error}")))?;
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

fn pem(text: &[u8], option: &str) -> Result<Vec<CertificateDer<'static>>, AdapterError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(AdapterError::Settings(format!("{option} holds no certificate in PEM"))),
    }
}
