//! From CONNECT to a connection: who asks is judged while socketioxide waits, and handlers stand before it is granted.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use polywire_core::{
    Authenticate, Body, ByteString, Clock, Close, Credentials, Endpoint, Identity, JsonText, Limits, Observe,
    Refusal,
};
use socketioxide::extract::SocketRef;
use socketioxide::handler::{ConnectHandler, FromConnectParts};
use socketioxide::socket::{DisconnectReason, Socket};
use socketioxide_core::Value;
use tokio::sync::mpsc;

use super::clock::within;
use super::door::Origin;
use super::floor::Floor;
use super::inbound::{Inbound, Push};
use super::member::Member;
use crate::client::is_object;

/// What is known of a client that joins a namespace.
#[derive(Clone)]
#[non_exhaustive]
pub struct Handshake {
    /// The namespace.
    pub namespace: ByteString,
    /// What the client sent as `auth`: a JSON object. It may hold a secret and is not shown by `Debug`.
    pub auth: Option<JsonText>,
    /// The headers of the first HTTP request.
    pub headers: http::HeaderMap,
    /// The query of that request, in percent form.
    pub query: Option<String>,
    /// The client's address, for people.
    pub address: Option<String>,
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, address, .. } = self;
        f.debug_struct("Handshake")
            .field("namespace", namespace)
            .field("address", address)
            .finish_non_exhaustive()
    }
}

/// A client that has joined a namespace and has no connection yet.
pub(super) struct Joined {
    pub(super) member: Member,
    pub(super) handshake: Handshake,
    pub(super) identity: Identity,
}

/// What has to be kept between the judgement and the grant.
#[derive(Clone)]
struct Judged {
    inbound: Arc<Inbound>,
    handshake: Handshake,
    identity: Identity,
}

/// The text after CONNECT, as it came.
struct Auth(Option<Bytes>);

impl FromConnectParts<Floor> for Auth {
    type Error = std::convert::Infallible;

    fn from_connect_parts(_: &Arc<Socket<Floor>>, auth: &Option<Value>) -> Result<Self, Self::Error> {
        Ok(Self(match auth {
            Some(Value::Str(text, _)) => Some(Bytes::from(text.clone())),
            Some(Value::Bytes(_)) | None => None,
        }))
    }
}

/// Why somebody may not join, as the client reads it.
struct Denied(String);

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Lets clients into a namespace.
#[derive(Clone)]
pub(super) struct Join {
    authenticator: Option<Arc<dyn Authenticate>>,
    observer: Option<Arc<dyn Observe>>,
    limits: Arc<Limits>,
    clock: Arc<dyn Clock>,
    joined: mpsc::Sender<Joined>,
}

impl Join {
    pub(super) fn new(endpoint: &Endpoint, joined: mpsc::Sender<Joined>, judged: bool) -> Self {
        Self {
            authenticator: endpoint.authenticator.clone().filter(|_| judged),
            observer: endpoint.observer.clone(),
            limits: Arc::clone(&endpoint.limits),
            clock: Arc::clone(&endpoint.surroundings.clock),
            joined,
        }
    }

    pub(super) fn serve(self, io: &socketioxide::SocketIo<Floor>, namespace: &str) {
        let joined = self.joined.clone();
        let granted = async move |socket: SocketRef<Floor>| {
            let Some(Judged { inbound, handshake, identity }) = socket.extensions.remove() else { return };
            if let Some(origin) = socket.req_parts().extensions.get::<Origin>() {
                origin.joined();
            }
            let member = Member::new(socket, inbound);
            // Fails when the server has ended; the member leaves with it.
            let _ = joined.send(Joined { member, handshake, identity }).await;
        };
        let judge = move |socket: SocketRef<Floor>, auth: Auth| self.admit(socket, auth);
        io.ns(namespace.to_owned(), granted.with(judge));
    }

    async fn admit(self, socket: SocketRef<Floor>, auth: Auth) -> Result<(), Denied> {
        let Some(origin) = socket.req_parts().extensions.get::<Origin>() else {
            // The door leaves one with every request.
            return Err(Denied("a request that came past the door".to_owned()));
        };
        let judged = if origin.is_paused() {
            // One session may ask again and again. Unjudged, it is no further guess.
            let max = self.limits.max_failed_logins;
            Err(Refusal::new(format!("failed logins of one address exceed max_failed_logins = {max}")))
        } else {
            self.judge(&socket, origin, auth).await.inspect_err(|_| origin.login_failed())
        };
        judged.map_err(|refusal| {
            let reason = refusal.reason.clone();
            if refusal.data.is_some() {
                tracing::debug!("a CONNECT_ERROR leaves without the data of its refusal: the library sends a message alone");
            }
            if let Some(observer) = &self.observer {
                observer.turned_away(&Close::Refused(refusal));
            }
            Denied(reason)
        })
    }

    async fn judge(
        &self,
        socket: &SocketRef<Floor>,
        origin: &Origin,
        Auth(text): Auth,
    ) -> Result<(), Refusal> {
        let auth = text.map(|text| {
            let max = self.limits.max_login_bytes;
            if text.len() > max {
                let why = format!("auth of {} bytes exceeds max_login_bytes = {max}", text.len());
                return Err(Refusal::new(why));
            }
            let text = JsonText::new(text, &self.limits.json).ok().filter(is_object);
            text.ok_or_else(|| Refusal::new("auth is not a JSON object"))
        });
        let auth = auth.transpose()?;
        let identity = self.identify(auth.clone()).await?;
        let parts = socket.req_parts();
        let inbound = Arc::new(Inbound::new(Arc::clone(&origin.gate), &self.limits));
        let handshake = Handshake {
            namespace: socket.ns().into(),
            auth,
            headers: parts.headers.clone(),
            query: parts.uri.query().map(str::to_owned),
            address: origin.address.clone(),
        };
        socket.on_fallback(Push(Arc::clone(&inbound)));
        let left = Arc::clone(&inbound);
        socket.on_disconnect(async move |reason: DisconnectReason| left.end(reason));
        socket.extensions.insert(Judged { inbound, handshake, identity });
        Ok(())
    }

    async fn identify(&self, auth: Option<JsonText>) -> Result<Identity, Refusal> {
        let Some(authenticator) = &self.authenticator else { return Ok(Identity::guest()) };
        let data = auth.map_or(Body::Empty, Body::Json);
        let credentials = Credentials { data, ..Credentials::guest() };
        let limit: Duration = self.limits.login_timeout;
        let judged = within(&*self.clock, limit, authenticator.authenticate(credentials)).await;
        judged.unwrap_or_else(|| Err(Refusal::new(format!("not judged within login_timeout = {limit:?}"))))
    }
}
