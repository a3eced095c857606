//! Listens, lets in who knows the key, and hands each connection to the engine.

use std::io;
use std::sync::Arc;

use polywire_core::{
    Accept, Body, Credentials, Endpoint, Identity, JsonLimits, JsonText, Limits, Parts, Peer, Refusal, Server,
};
use polywire_net::tcp::is_loopback;
use polywire_net::websocket::{Settings, WebSocket, accept};
use polywire_net::{Socket, Stream};
use serde_json::Value;

use crate::codec::Codec;
use crate::config::Config;
use crate::error::Error;
use crate::guard::Nonces;
use crate::keys::derive;
use crate::seal::Key;
use crate::session::ServerSession;

/// Listens at `address` and serves `endpoint`'s handler to every peer that logs in.
///
/// Without an authenticator of its own the endpoint lets in whoever shows the shared key; the further members of the login
/// (`authData` of the original) are then the user data of its identity. An authenticator gets the key shown as `secret` and the
/// further members as `data`. Whoever is let in is answered `"success"`, and with nothing else, because that is the one answer
/// that every application takes for it; whoever is not is closed without a word.
/// [`Server::audience`] broadcasts, a [`Peer`]'s `notify` reaches one, [`by_meta`] finds one by its user data.
///
/// # Errors
/// [`Error`] when a setting is out of range, the key is too weak for the address, or the address cannot be had.
///
/// # Cancel safety
/// Dropped before it is ready, nothing listens.
pub async fn listen(address: &str, config: Config, endpoint: Endpoint) -> Result<Server, Error> {
    config.validate(is_loopback(address), false)?;
    start(
        address,
        config,
        endpoint,
        #[cfg(feature = "tls")]
        None,
    )
    .await
}

/// Listens at `address` and speaks TLS to every peer, which dials `wss://`; otherwise as [`listen`]. The TLS handshake
/// counts towards `login_timeout`.
///
/// # Errors
/// As for [`listen`].
///
/// # Cancel safety
/// As for [`listen`].
#[cfg(feature = "tls")]
pub async fn listen_tls(
    address: &str,
    config: Config,
    tls: polywire_net::tls::ServerTls,
    endpoint: Endpoint,
) -> Result<Server, Error> {
    config.validate(is_loopback(address), true)?;
    start(address, config, endpoint, Some(tls)).await
}

async fn start(
    address: &str,
    config: Config,
    mut endpoint: Endpoint,
    #[cfg(feature = "tls")] tls: Option<polywire_net::tls::ServerTls>,
) -> Result<Server, Error> {
    endpoint.limits.validate()?;
    let failed = |source| Error::Listen { address: address.to_owned(), source };
    let listener = polywire_net::listen(address, &endpoint.surroundings).await.map_err(failed)?;
    let config = Arc::new(config);
    let key = derive(&config).await.map_err(failed)?;
    if endpoint.authenticator.is_none() {
        let config = Arc::clone(&config);
        let judge = move |shown: Credentials| {
            let right = shown.secret.is_some_and(|secret| secret.matches(config.key.expose()));
            std::future::ready(if right {
                Ok(Identity::guest().with_data(shown.data))
            } else {
                Err(Refusal::new("another key"))
            })
        };
        endpoint.authenticator = Some(Arc::new(judge));
    }
    let accepting = Accepting {
        config,
        key,
        nonces: Arc::default(),
        json: endpoint.limits.json,
        settings: settings(&endpoint),
        #[cfg(feature = "tls")]
        tls,
    };
    Ok(Server::start(listener, accepting, endpoint))
}

/// The original closes without a status code, whatever the reason.
pub(crate) fn settings(endpoint: &Endpoint) -> Settings {
    let Limits { max_frame_bytes, max_control_per_second, .. } = *endpoint.limits;
    let clock = Arc::clone(&endpoint.surroundings.clock);
    Settings { max_frame_bytes, max_control_per_second, close_code: None, clock, ..Settings::default() }
}

/// Makes what one accepted connection needs.
struct Accepting {
    config: Arc<Config>,
    key: Key,
    nonces: Arc<Nonces>,
    json: JsonLimits,
    settings: Settings,
    #[cfg(feature = "tls")]
    tls: Option<polywire_net::tls::ServerTls>,
}

impl Accepting {
    #[cfg(feature = "tls")]
    async fn seal(&self, stream: Socket) -> io::Result<Stream> {
        match &self.tls {
            Some(tls) => tls.accept(stream).await,
            None => Ok(Box::new(stream)),
        }
    }

    #[cfg(not(feature = "tls"))]
    async fn seal(&self, stream: Socket) -> io::Result<Stream> {
        std::future::ready(Ok(Box::new(stream) as Stream)).await
    }
}

impl Accept<Socket> for Accepting {
    type Session = ServerSession;
    type Transport = WebSocket<Stream>;

    async fn accept(&self, stream: Socket) -> io::Result<Parts<ServerSession, WebSocket<Stream>>> {
        let stream = self.seal(stream).await?;
        // Any path, any origin: the original looks at neither, and the key decides.
        let transport = accept(stream, self.settings.clone(), |_| Ok(())).await.map_err(io::Error::other)?;
        Ok(Parts {
            transport,
            codec: Codec::new(&self.key),
            session: ServerSession::new(Arc::clone(&self.config), self.json, Arc::clone(&self.nonces)),
        })
    }
}

/// The first of `peers` whose meta has the member `key` with this value; among [`Server::peers`], which are in the order in
/// which they came, that is the one the original's `sendToByMeta` pushes to, as [`Peer::notify`] does.
///
/// Meta is the object `meta` in the user data, where there is one, as interop programs of this wire log in; otherwise the user
/// data themselves. Values are compared as `===` does: texts by their characters and numbers as doubles, however they are
/// spelled; objects and lists are never the same.
pub fn by_meta(peers: impl IntoIterator<Item = Peer>, key: &str, value: &JsonText) -> Option<Peer> {
    let value = value.parse::<Value>().ok()?;
    peers.into_iter().find(|peer| peer.identity().is_some_and(|identity| has(&identity.data, key, &value)))
}

fn has(data: &Body, key: &str, value: &Value) -> bool {
    let Body::Json(data) = data else { return false };
    data.parse::<Value>().is_ok_and(|data| {
        let meta = data.get("meta").filter(|meta| meta.is_object()).unwrap_or(&data);
        meta.get(key).is_some_and(|known| is_same(known, value))
    })
}

fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Object(_) | Value::Array(_), _) => false,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn meta_has_a_value_as_the_original_compares_it() {
        let meta = |data: &str| Body::Json(JsonText::new(data.to_owned(), &Limits::default().json).unwrap());
        let nested = meta(r#"{"meta":{"room":"caf\u00e9","seat":2.0,"list":[1],"none":null}}"#);
        let flat = meta(r#"{"room":"café","meta":null,"seat":3}"#);
        assert!(has(&nested, "room", &json!("café")), "by its characters");
        assert!(has(&nested, "seat", &json!(2)), "as a number");
        assert!(has(&nested, "none", &Value::Null));
        assert!(has(&flat, "room", &json!("café")), "meta that is no object is not what is looked in");
        assert!(has(&flat, "seat", &json!(3)));
        assert!(!has(&nested, "seat", &json!("2")));
        assert!(!has(&nested, "list", &json!([1])), "a list is never the same");
        assert!(!has(&nested, "absent", &Value::Null));
        assert!(!has(&Body::Empty, "room", &json!("café")));
    }
}
