//! Dials, and dials again; the payload of every CONNECT is asked for anew.

use std::io;
use std::sync::Arc;

use polywire_core::{
    Body, Client, Clock, CredentialSource, Credentials, Dial, DialError, Endpoint, JsonText, Limits, Parts,
    Reconnect, Session,
};
use polywire_net::Stream;
use polywire_net::tcp;
use polywire_net::websocket::{Opening, Settings, WebSocket, WebSocketError, connect};

use crate::codec::Codec;
use crate::config::Config;
use crate::error::Error;
use crate::session::{Events, Link, Recovery};
use crate::stack::{Stack, Upper};

/// Dials `ws://` at `address`, such as `127.0.0.1:3000`, and keeps the connection up as `reconnect` says; gives back at once.
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
    reconnect: Reconnect,
) -> Result<Client, Error> {
    let events = events(&config, &endpoint);
    let dialler = Dialler::new(address, config, &endpoint, events)?;
    Ok(Client::start(dialler, credentials, endpoint, reconnect))
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
    reconnect: Reconnect,
) -> Result<Client, Error> {
    let events = events(&config, &endpoint);
    let dialler = Dialler { tls: Some(tls), ..Dialler::new(address, config, &endpoint, events)? };
    Ok(Client::start(dialler, credentials, endpoint, reconnect))
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
    address: String,
    config: Arc<Config>,
    limits: Arc<Limits>,
    recovery: Recovery,
    /// The path with its query.
    path: String,
    settings: Settings,
    clock: Arc<dyn Clock>,
    make: Make,
    #[cfg(feature = "tls")]
    tls: Option<polywire_net::tls::ClientTls>,
}

impl<Make> Dialler<Make> {
    /// A dialler of `address`; `make` makes the upper session of every connection, and takes what it needs
    /// from the credentials; what is left in their `data` is the payload of the CONNECT.
    ///
    /// # Errors
    /// [`Error`] when a setting is out of range.
    pub fn new(address: &str, config: Config, endpoint: &Endpoint, make: Make) -> Result<Self, Error> {
        config.validate()?;
        endpoint.limits.validate()?;
        let max_frame_bytes = endpoint.limits.max_frame_bytes;
        Ok(Self {
            address: address.to_owned(),
            path: path(&config),
            config: Arc::new(config),
            limits: Arc::clone(&endpoint.limits),
            recovery: Recovery::default(),
            settings: Settings { max_frame_bytes, ..Settings::default() },
            clock: Arc::clone(&endpoint.surroundings.clock),
            make,
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    async fn stream(&self) -> io::Result<Stream> {
        let stream = tcp::connect(&self.address, &*self.clock).await?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.connect(stream).await;
        }
        Ok(Box::new(stream))
    }
}

/// `/socket.io/?EIO=4&transport=websocket`, and what the user adds.
fn path(config: &Config) -> String {
    let slash = if config.path.ends_with('/') { "" } else { "/" };
    let (and, query) = if config.query.is_empty() { ("", "") } else { ("&", &*config.query) };
    format!("{}{slash}?EIO=4&transport=websocket{and}{query}", config.path)
}

impl<Make, U> Dial for Dialler<Make>
where
    Make: Fn(&mut Credentials) -> U + Send + Sync + 'static,
    U: Upper,
    Stack<Link, U>: Session<Codec = Codec>,
{
    type Session = Stack<Link, U>;
    type Transport = WebSocket<Stream>;

    async fn dial(
        &self,
        mut credentials: Credentials,
    ) -> Result<Parts<Stack<Link, U>, WebSocket<Stream>>, DialError> {
        let unreachable = |source| DialError::Unreachable { address: self.address.clone(), source };
        let upper = (self.make)(&mut credentials);
        let auth = match credentials.data {
            Body::Empty => None,
            Body::Json(auth) if is_object(&auth) => Some(auth),
            Body::Json(_) | Body::Binary(_) => {
                let why = "the auth payload is not a JSON object";
                return Err(DialError::Settings(why.to_owned()));
            }
        };
        let stream = self.stream().await.map_err(unreachable)?;
        let opening = Opening { host: &self.address, path: &self.path, headers: &[] };
        let transport =
            connect(stream, opening, self.settings.clone()).await.map_err(|error| match error {
                WebSocketError::Io(source) => unreachable(source),
                other => DialError::Protocol(format!("{}: {other}", self.address)),
            })?;
        let link = Link::new(Arc::clone(&self.config), &self.limits, auth, self.recovery.clone());
        Ok(Parts { transport, codec: Codec, session: Stack::new(link, upper) })
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}

/// Is this text an object?
pub(crate) fn is_object(text: &JsonText) -> bool {
    text.as_bytes().trim_ascii_start().starts_with(b"{")
}
