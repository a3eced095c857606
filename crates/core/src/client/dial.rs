//! How one connection is made, and why it was not.

use crate::credentials::Credentials;
use crate::server::Parts;
use crate::session::Session;
use crate::transport::Transport;

/// Opens one connection to the peer.
pub trait Dial: Send + Sync + 'static {
    /// What the wire knows.
    type Session: Session;
    /// What carries its frames.
    type Transport: Transport<<Self::Session as Session>::Codec>;

    /// Dials once, and makes the session that will log in with `credentials`.
    fn dial(
        &self,
        credentials: Credentials,
    ) -> impl Future<Output = Result<Parts<Self::Session, Self::Transport>, DialError>> + Send;

    /// What is dialled, for people.
    fn address(&self) -> String;

    /// May the peer send events, so that the handler is told of a [`GAP`](crate::GAP) after a reconnect? True unless implemented.
    fn hears_events(&self) -> bool {
        true
    }
}

/// Why dialling failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Nobody answers there now.
    #[error("cannot connect to {address}: {source}")]
    Unreachable {
        /// What was dialled.
        address: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The peer answered with something that this wire is not.
    #[error("{0}")]
    Protocol(String),
    /// It will never work with these settings.
    #[error("{0}")]
    Settings(String),
}
