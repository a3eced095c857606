//! Who a peer is: what it shows to log in, who judges that, and who it then is.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytestring::ByteString;

use crate::body::{Body, JsonText};
use crate::failure::{Code, Failure};
use crate::secret::Secret;

/// What one end shows to log in.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The name, where the wire has one; `None` is a guest.
    pub subject: Option<ByteString>,
    /// The password, token, challenge or key.
    pub secret: Option<Secret>,
    /// Whatever else the wire sends along.
    pub data: Body,
}

impl Credentials {
    /// A guest: no name, no secret.
    pub fn guest() -> Self {
        Self::default()
    }

    /// A name and its secret.
    pub fn new(subject: impl Into<ByteString>, secret: impl Into<Secret>) -> Self {
        Self { subject: Some(subject.into()), secret: Some(secret.into()), data: Body::Empty }
    }
}

/// Who a peer is, once it has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name it logged in as; empty for a guest.
    pub subject: ByteString,
    /// Logged in without a name.
    pub guest: bool,
    /// What the login says of it besides: user data, for handlers.
    pub data: Body,
}

impl Identity {
    /// Somebody with this name.
    pub fn user(subject: impl Into<ByteString>) -> Self {
        Self { subject: subject.into(), guest: false, data: Body::Empty }
    }

    /// Nobody in particular.
    pub fn guest() -> Self {
        Self { subject: ByteString::new(), guest: true, data: Body::Empty }
    }

    /// The same with user data.
    #[must_use]
    pub fn with_data(mut self, data: impl Into<Body>) -> Self {
        self.data = data.into();
        self
    }
}

/// A login that was turned down.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("login refused: {reason}")]
pub struct Refusal {
    /// Why, in words that may be shown to the peer.
    pub reason: String,
    /// What a wire tells of it besides, such as a code for programs.
    pub data: Option<JsonText>,
}

impl Refusal {
    /// A refusal with this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), data: None }
    }

    /// The same refusal with something for programs.
    #[must_use]
    pub fn with_data(mut self, data: JsonText) -> Self {
        self.data = Some(data);
        self
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let failure = Failure::new(Code::Unauthenticated, refusal.to_string());
        match refusal.data {
            Some(data) => failure.with_detail(data),
            None => failure,
        }
    }
}

/// A boxed future, as the object-safe traits here return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Judges the credentials that peers show; the server side of a login.
///
/// A slow judge holds up one connection only, and that at most for `login_timeout`.
pub trait Authenticate: Send + Sync + 'static {
    /// Who shows these credentials, or why nobody does.
    fn authenticate(&self, credentials: Credentials) -> BoxFuture<'static, Result<Identity, Refusal>>;
}

impl<F, Fut> Authenticate for F
where
    F: Fn(Credentials) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Identity, Refusal>> + Send + 'static,
{
    fn authenticate(&self, credentials: Credentials) -> BoxFuture<'static, Result<Identity, Refusal>> {
        Box::pin(self(credentials))
    }
}

/// Gives the credentials to log in with; asked anew before every connect, so a token may change between two.
pub trait CredentialSource: Send + Sync + 'static {
    /// The credentials for attempt number `attempt` (from 1, back to 1 after a login that succeeded).
    fn credentials(&self, attempt: u32) -> BoxFuture<'_, Result<Credentials, Failure>>;
}

impl CredentialSource for Credentials {
    fn credentials(&self, _attempt: u32) -> BoxFuture<'_, Result<Credentials, Failure>> {
        let same = self.clone();
        Box::pin(async move { Ok(same) })
    }
}

impl<F, Fut> CredentialSource for F
where
    F: Fn(u32) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Credentials, Failure>> + Send + 'static,
{
    fn credentials(&self, attempt: u32) -> BoxFuture<'_, Result<Credentials, Failure>> {
        Box::pin(self(attempt))
    }
}

/// A [`CredentialSource`] that can be shared.
pub type SharedCredentials = Arc<dyn CredentialSource>;

impl fmt::Debug for dyn CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialSource")
    }
}

impl fmt::Debug for dyn Authenticate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authenticate")
    }
}
