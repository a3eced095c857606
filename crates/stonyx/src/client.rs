//! Dials, and dials again; every new connection logs in anew and gets a new session key.

use std::io;
use std::sync::Arc;

use polywire_core::{
    Client, CredentialSource, Credentials, Dial, DialError, Endpoint, JsonLimits, Parts, Surroundings,
};
use polywire_net::Stream;
use polywire_net::tcp::is_loopback;
use polywire_net::websocket::{Opening, Settings, WebSocket, WebSocketError, connect};
use tokio::sync::OnceCell;

use crate::codec::Codec;
use crate::config::Config;
use crate::error::Error;
use crate::guard::Nonces;
use crate::keys::derive;
use crate::seal::Key;
use crate::server::settings;
use crate::session::ClientSession;

/// Dials `ws://` at `address`, such as `127.0.0.1:2667`, asks for the path of `config`, and keeps the connection up as
/// `endpoint.reconnect` says; gives back at once.
///
/// `credentials` are asked anew before every login: their `data`, an object, are the further members of the login (`authData` of
/// the original); their `secret`, if there is one, is shown in place of the shared key. `endpoint`'s handler hears pushes as
/// events. Calls made while there is no connection wait within their deadlines and leave in order.
///
/// # Errors
/// [`Error`] when a setting is out of range or the key is too weak for the address.
pub fn dial(
    address: &str,
    config: Config,
    credentials: Arc<dyn CredentialSource>,
    endpoint: Endpoint,
) -> Result<Client, Error> {
    config.validate(is_loopback(address), false)?;
    let dialler = Dialler::new(address, config, &endpoint)?;
    Ok(Client::start(dialler, credentials, endpoint))
}

/// Dials `wss://` at `address`; otherwise as [`dial`].
///
/// # Errors
/// As for [`dial`].
#[cfg(feature = "tls")]
pub fn dial_tls(
    address: &str,
    config: Config,
    credentials: Arc<dyn CredentialSource>,
    tls: polywire_net::tls::ClientTls,
    endpoint: Endpoint,
) -> Result<Client, Error> {
    config.validate(is_loopback(address), true)?;
    let dialler = Dialler { tls: Some(tls), ..Dialler::new(address, config, &endpoint)? };
    Ok(Client::start(dialler, credentials, endpoint))
}

struct Dialler {
    address: String,
    config: Arc<Config>,
    /// Derived at the first dial.
    key: OnceCell<Key>,
    nonces: Arc<Nonces>,
    json: JsonLimits,
    settings: Settings,
    surroundings: Surroundings,
    #[cfg(feature = "tls")]
    tls: Option<polywire_net::tls::ClientTls>,
}

impl Dialler {
    fn new(address: &str, config: Config, endpoint: &Endpoint) -> Result<Self, Error> {
        endpoint.limits.validate()?;
        Ok(Self {
            address: address.to_owned(),
            config: Arc::new(config),
            key: OnceCell::new(),
            nonces: Arc::default(),
            json: endpoint.limits.json,
            settings: settings(endpoint),
            surroundings: endpoint.surroundings.clone(),
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    async fn stream(&self) -> io::Result<Stream> {
        let stream = polywire_net::connect(&self.address, &self.surroundings).await?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.connect(stream).await;
        }
        Ok(Box::new(stream))
    }
}

impl Dial for Dialler {
    type Session = ClientSession;
    type Transport = WebSocket<Stream>;

    async fn dial(
        &self,
        credentials: Credentials,
    ) -> Result<Parts<ClientSession, WebSocket<Stream>>, DialError> {
        let unreachable = |source| DialError::Unreachable { address: self.address.clone(), source };
        let key = self.key.get_or_try_init(|| derive(&self.config)).await.map_err(unreachable)?;
        let stream = self.stream().await.map_err(unreachable)?;
        let opening = Opening { host: &self.address, path: &self.config.path, headers: &[] };
        let transport =
            connect(stream, opening, self.settings.clone()).await.map_err(|error| match error {
                WebSocketError::Io(source) => unreachable(source),
                other => DialError::Protocol(format!("{}: {other}", self.address)),
            })?;
        let nonces = Arc::clone(&self.nonces);
        let session = ClientSession::new(Arc::clone(&self.config), self.json, nonces, credentials);
        Ok(Parts { transport, codec: Codec::new(key), session })
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}
