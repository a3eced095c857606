//! TLS, both ends: certificates from PEM files, and the authorities that the system trusts. TLS 1.2 and 1.3.

use std::fmt;
use std::io;
use std::sync::Arc;

use polywire_core::{AdapterError, Io, Options, Secret};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::stream::Stream;

/// The client's side of TLS: whom to trust, and the name the server must have.
#[derive(Clone)]
pub struct ClientTls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl ClientTls {
    /// What the options `tls` and `tls_ca` of an adapter ask for towards `address`; nothing without them. Without `tls_ca` the
    /// authorities are those of this system, which are read now.
    ///
    /// # Errors
    /// [`AdapterError`] when the authorities cannot be used, or `address` has no name a certificate can be for.
    pub fn from_options(options: &Options, address: &str) -> Result<Option<Self>, AdapterError> {
        if !asked(options, "dials", &["tls_ca"], &["tls_cert", "tls_key"])? {
            return Ok(None);
        }
        let trust = match options.secret("tls_ca") {
            Some(authorities) => client_config(authorities.expose())?,
            None => system_client_config()?,
        };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        Self::new(trust, host.trim_start_matches('[').trim_end_matches(']')).map(Some)
    }

    /// Trusts what `config` trusts; the server's certificate must be for `name`, a host name or an IP address.
    ///
    /// # Errors
    /// [`AdapterError::Settings`] when `name` is neither.
    pub fn new(config: Arc<ClientConfig>, name: &str) -> Result<Self, AdapterError> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| AdapterError::Settings(format!("{name:?} is no name a certificate can be for")))?;
        Ok(Self { connector: TlsConnector::from(config), name })
    }

    /// Makes the handshake over `stream`.
    ///
    /// # Errors
    /// When the server's certificate is not trusted, or it speaks no TLS.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the stream is dropped too.
    pub async fn connect(&self, stream: impl Io + 'static) -> io::Result<Stream> {
        Ok(Box::new(self.connector.connect(self.name.clone(), stream).await?))
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Is TLS asked for, at the end that `does` this? What would be left unused is refused: whoever names certificates wants TLS, and
/// without it everything would go in the clear.
fn asked(
    options: &Options,
    does: &str,
    ours: &[&'static str],
    theirs: &[&'static str],
) -> Result<bool, AdapterError> {
    let set = |names: &[&'static str]| names.iter().find(|name| options.secret(name).is_some()).copied();
    if let Some(name) = set(theirs) {
        let text = format!("{name} is an option of the other end, and this one {does}");
        return Err(AdapterError::Settings(text));
    }
    let asked = options.flag("tls")?.unwrap_or(false);
    match set(ours) {
        Some(name) if !asked => Err(AdapterError::Settings(format!("{name} is of no use without tls = 1"))),
        _ => Ok(asked),
    }
}

fn needed<'a>(options: &'a Options, name: &str) -> Result<&'a [u8], AdapterError> {
    let missing = || AdapterError::Settings(format!("tls = 1 needs {name}"));
    options.secret(name).map(Secret::expose).ok_or_else(missing)
}

/// A server's side of TLS from its certificates and its key, both in PEM.
///
/// # Errors
/// [`AdapterError::Settings`] when they cannot be used; the key is never shown.
pub fn server_config(certificates: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, AdapterError> {
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| AdapterError::Settings("tls_key holds no private key in PEM".to_owned()))?;
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
    Ok(trusting(roots))
}

/// A client's side of TLS that trusts the authorities of this system, as other programs on it do. Where `SSL_CERT_FILE` or
/// `SSL_CERT_DIR` is set, they are those that it names.
///
/// # Errors
/// [`AdapterError::Settings`] when there is none that can be read.
pub fn system_client_config() -> Result<Arc<ClientConfig>, AdapterError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A system may hold some that nothing here can read; whoever is signed by such a one is not trusted.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        let text = format!("this system names no authority to trust{why}; name some by tls_ca");
        return Err(AdapterError::Settings(text));
    }
    Ok(trusting(roots))
}

fn trusting(roots: RootCertStore) -> Arc<ClientConfig> {
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

fn pem(text: &[u8], option: &str) -> Result<Vec<CertificateDer<'static>>, AdapterError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(AdapterError::Settings(format!("{option} holds no certificate in PEM"))),
    }
}

/// A server's side of TLS, ready to accept.
#[derive(Clone)]
pub struct ServerTls(TlsAcceptor);

impl ServerTls {
    /// What the options `tls`, `tls_cert` and `tls_key` of an adapter ask for; nothing without them.
    ///
    /// # Errors
    /// [`AdapterError`] when one is missing, or they cannot be used.
    pub fn from_options(options: &Options) -> Result<Option<Self>, AdapterError> {
        if !asked(options, "listens", &["tls_cert", "tls_key"], &["tls_ca"])? {
            return Ok(None);
        }
        let config = server_config(needed(options, "tls_cert")?, needed(options, "tls_key")?)?;
        Ok(Some(Self::new(config)))
    }

    /// With this configuration, such as [`server_config`] makes it.
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self(TlsAcceptor::from(config))
    }

    /// Makes the handshake over `stream`.
    ///
    /// # Errors
    /// When the client speaks no TLS, or none that goes together with ours.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the stream is dropped too.
    pub async fn accept(&self, stream: impl Io + 'static) -> io::Result<Stream> {
        Ok(Box::new(self.0.accept(stream).await?))
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}
