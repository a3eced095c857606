//! Dials, and dials again; the payload of every CONNECT is asked for anew.

use std::io;
use std::sync::Arc;

#[cfg(feature = "polling")]
use polywire_core::sleep_until;
use polywire_core::{
    Body, Client, CredentialSource, Credentials, Dial, DialError, Endpoint, JsonText, Limits, Parts, Session,
};
use polywire_net::Stream;
use polywire_net::websocket::{Opening, Settings, WebSocket, WebSocketError, connect};

use crate::codec::Codec;
use crate::config::Config;
#[cfg(feature = "polling")]
use crate::config::Transports;
use crate::connector::Connector;
use crate::error::Error;
#[cfg(feature = "polling")]
use crate::polling::{HttpError, Polling};
use crate::session::{Events, Link, Namespaces, Recovery};
use crate::stack::{Stack, Upper};
use crate::transport::Carrier;

/// Dials `ws://` (or `http://`, as [`Config::transports`] says) at `address`, such as `127.0.0.1:3000`, and keeps the connection up as `endpoint.reconnect` says; gives back at once.
///
/// `credentials` are asked anew before every connect: their `data`, a JSON object, is what the server gets as `auth`.
/// `endpoint`'s handler hears events, and its answers to requests are acknowledgements. Calls and events made while there is
/// no connection wait within their deadlines and the limits, and leave in order once the namespace is granted.
///
/// # Errors
/// [`Error`] when a setting is out of range.
pub fn dial(
    address: &str,
    config: Config,
    credentials: Arc<dyn CredentialSource>,
    endpoint: Endpoint,
) -> Result<Client, Error> {
    let events = events(&config, &endpoint);
    let dialler = Dialler::new(address, config, &endpoint, events)?;
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
    let events = events(&config, &endpoint);
    let surroundings = endpoint.surroundings.clone();
    let connector = Connector { address: address.to_owned(), surroundings, tls: Some(tls) };
    let dialler = Dialler::over(connector, config, &endpoint, events)?;
    Ok(Client::start(dialler, credentials, endpoint))
}

fn events(
    config: &Config,
    endpoint: &Endpoint,
) -> impl Fn(&mut Credentials) -> Events + Send + Sync + 'static {
    let (config, json) = (Arc::new(config.clone()), endpoint.limits.json);
    move |_| Events::new(Arc::clone(&config), json)
}

/// Dials one namespace and puts a session of its own kind above it: for a protocol that is a flow on Socket.IO.
pub struct Dialler<Make> {
    connector: Arc<Connector>,
    config: Arc<Config>,
    limits: Arc<Limits>,
    recovery: Recovery,
    namespaces: Arc<Namespaces>,
    /// The path of the WebSocket with its query.
    path: String,
    settings: Settings,
    make: Make,
}

impl<Make> Dialler<Make> {
    /// A dialler of `address`; `make` makes the upper session of every connection, and takes what it needs
    /// from the credentials; what is left in their `data` is the payload of the CONNECT.
    ///
    /// # Errors
    /// [`Error`] when a setting is out of range.
    pub fn new(address: &str, config: Config, endpoint: &Endpoint, make: Make) -> Result<Self, Error> {
        let connector = Connector {
            address: address.to_owned(),
            surroundings: endpoint.surroundings.clone(),
            #[cfg(feature = "tls")]
            tls: None,
        };
        Self::over(connector, config, endpoint, make)
    }

    fn over(connector: Connector, config: Config, endpoint: &Endpoint, make: Make) -> Result<Self, Error> {
        config.validate()?;
        endpoint.limits.validate()?;
        let Limits { max_frame_bytes, max_control_per_second, .. } = *endpoint.limits;
        let clock = Arc::clone(&endpoint.surroundings.clock);
        Ok(Self {
            connector: Arc::new(connector),
            path: path(&config),
            namespaces: Arc::new(Namespaces::new([config.namespace.as_str().into()])),
            config: Arc::new(config),
            limits: Arc::clone(&endpoint.limits),
            recovery: Recovery::default(),
            settings: Settings { max_frame_bytes, max_control_per_second, clock, ..Settings::default() },
            make,
        })
    }

    /// The session may be in `namespace` too: it is joined where the server has no other, and when the upper session leaves the
    /// one before with a DISCONNECT. The next connection begins with the one that was tried last.
    #[must_use]
    pub fn or_in(mut self, namespace: &str) -> Self {
        let names = [self.config.namespace.as_str().into(), namespace.into()];
        self.namespaces = Arc::new(Namespaces::new(names));
        self
    }

    async fn carrier(&self) -> Result<Carrier, DialError> {
        #[cfg(feature = "polling")]
        match self.config.transports {
            Transports::WebSocket => {}
            Transports::WebSocketFirst => return self.websocket_or_polling().await,
            Transports::PollingFirst | Transports::Polling => return self.polling().await,
        }
        let stream = self.stream().await?;
        Ok(Carrier::websocket(self.websocket(stream).await.map_err(|error| self.no_websocket(error))?))
    }

    async fn stream(&self) -> Result<Stream, DialError> {
        self.connector.connect().await.map_err(|source| self.unreachable(source))
    }

    async fn websocket(&self, stream: Stream) -> Result<WebSocket<Stream>, WebSocketError> {
        let opening = Opening { host: &self.connector.address, path: &self.path, headers: &[] };
        connect(stream, opening, self.settings.clone()).await
    }

    fn unreachable(&self, source: io::Error) -> DialError {
        DialError::Unreachable { address: self.connector.address.clone(), source }
    }

    fn no_websocket(&self, error: WebSocketError) -> DialError {
        match error {
            WebSocketError::Io(source) => self.unreachable(source),
            other => DialError::Protocol(format!("{}: {other}", self.connector.address)),
        }
    }
}

#[cfg(feature = "polling")]
impl<Make> Dialler<Make> {
    async fn polling(&self) -> Result<Carrier, DialError> {
        let (connector, settings) = (Arc::clone(&self.connector), self.settings.clone());
        match Polling::open(connector, &self.config, settings, &self.limits.json).await {
            Ok(polling) => Ok(Carrier::polling(polling)),
            Err(HttpError::Io(source)) => Err(self.unreachable(source)),
            Err(error) => Err(DialError::Protocol(format!("{}: {error}", self.connector.address))),
        }
    }

    /// Something between here and there may refuse WebSockets, cut them, or leave them without an answer.
    async fn websocket_or_polling(&self) -> Result<Carrier, DialError> {
        let stream = self.stream().await?;
        let clock = &*self.connector.surroundings.clock;
        let why = tokio::select! {
            biased;
            opened = self.websocket(stream) => match opened {
                Ok(socket) => return Ok(Carrier::websocket(socket)),
                Err(error) => error.to_string(),
            },
            () = sleep_until(clock, clock.now() + self.config.websocket_timeout) => {
                format!("no answer within websocket_timeout = {:?}", self.config.websocket_timeout)
            }
        };
        tracing::debug!(address = %self.connector.address, %why, "no WebSocket: polling is tried");
        match self.polling().await {
            Err(DialError::Protocol(error)) => {
                Err(DialError::Protocol(format!("{error}; and no WebSocket before: {why}")))
            }
            other => other,
        }
    }
}

/// `/socket.io/?EIO=4&transport=websocket`, and what the user adds.
fn path(config: &Config) -> String {
    let (and, query) = if config.query.is_empty() { ("", "") } else { ("&", &*config.query) };
    format!("{}?EIO=4&transport=websocket{and}{query}", config.path_with_slash())
}

impl<Make, U> Dial for Dialler<Make>
where
    Make: Fn(&mut Credentials) -> U + Send + Sync + 'static,
    U: Upper,
    Stack<Link, U>: Session<Codec = Codec>,
{
    type Session = Stack<Link, U>;
    type Transport = Carrier;

    async fn dial(&self, mut credentials: Credentials) -> Result<Parts<Stack<Link, U>, Carrier>, DialError> {
        let upper = (self.make)(&mut credentials);
        let auth = match credentials.data {
            Body::Empty => None,
            Body::Json(auth) if is_object(&auth) => Some(auth),
            Body::Json(_) | Body::Binary(_) => {
                let why = "the auth payload is not a JSON object";
                return Err(DialError::Settings(why.to_owned()));
            }
        };
        let transport = self.carrier().await?;
        let link = Link::new(Arc::clone(&self.config), &self.limits, auth, self.recovery.clone())
            .in_one_of(Arc::clone(&self.namespaces));
        Ok(Parts { transport, codec: Codec, session: Stack::new(link, upper) })
    }

    fn address(&self) -> String {
        self.connector.address.clone()
    }
}

/// Is this text an object?
pub(crate) fn is_object(text: &JsonText) -> bool {
    text.as_bytes().trim_ascii_start().starts_with(b"{")
}
