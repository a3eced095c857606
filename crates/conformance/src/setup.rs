//! What an adapter says about itself, so that the suite can make both of its ends.

use std::fmt;
use std::io;
use std::sync::Arc;

use polywire_core::{Adapter, Authenticate, Body, BoxFuture, Credentials, Identity, Refusal, Secret, Target};

use crate::joint::{Joint, Loopback};

/// The routes of the events that the suite sends to the side that dials, for a wire on which that side must ask for them: its own, and
/// that of [`GAP`](polywire_core::GAP).
pub const EVENTS: [&str; 2] = ["note", "polywire.gap"];

/// How the two ends of one wire are made.
pub trait Setup: fmt::Debug + Send + Sync + 'static {
    /// The wire.
    fn adapter(&self) -> Box<dyn Adapter>;

    /// What the server listens at: a port of the loopback that the system chooses, and its options. It lets in whoever shows `secret`;
    /// a wire without a login ignores it. So does one that leaves the judgement to the authenticator of the endpoint.
    fn listen(&self, secret: &Secret) -> Target;

    /// What a client dials to reach `address`, showing `secret`. With another secret than the server's its login must be refused.
    fn dial(&self, address: &str, secret: &Secret) -> Target;

    /// Who judges logins at the server; by default it lets in whoever sends the secret: as the secret of the login or, where a login
    /// has none, anywhere in the data of the login.
    fn authenticator(&self, secret: &Secret) -> Arc<dyn Authenticate> {
        shows(secret.clone())
    }

    /// Joins a client to the server at `address`: by default with a relay over sockets of the loopback.
    ///
    /// # Errors
    /// Whatever the operating system reports.
    fn join<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Joint>>> {
        Box::pin(async move { Ok(Box::new(Loopback::start(address).await?) as Box<dyn Joint>) })
    }
}

/// Lets in whoever shows this secret.
fn shows(secret: Secret) -> Arc<dyn Authenticate> {
    Arc::new(move |credentials: Credentials| {
        let shown = match (&credentials.secret, &credentials.data) {
            (Some(shown), _) => shown.matches(secret.expose()),
            (None, Body::Json(text)) => {
                let wanted = secret.expose();
                text.as_bytes().windows(wanted.len().max(1)).any(|part| part == wanted)
            }
            _ => false,
        };
        let name = credentials.subject.unwrap_or_else(|| "somebody".into());
        async move { if shown { Ok(Identity::user(name)) } else { Err(Refusal::new("not this secret")) } }
    })
}
