//! Dials, and dials again; every new connection logs in anew.

use std::sync::Arc;

use polywire_core::{
    ByteStream, Client, CredentialSource, Credentials, Dial, DialError, Endpoint, Parts, Secret, Surroundings,
};
use polywire_net::Socket;

use crate::config::Config;
use crate::error::Error;
use crate::server::Make;
use crate::session::{Role, Session};
use crate::wire;

/// Dials `address` and keeps the connection up as `endpoint.reconnect` says; gives back at once.
///
/// `credentials` are asked for anew at every connect. The peer may call too: `endpoint`'s handler serves it.
///
/// # Errors
/// [`Error::Setting`] when a setting is out of range.
pub fn dial(
    address: &str,
    config: Config,
    credentials: impl CredentialSource,
    endpoint: Endpoint,
) -> Result<Client, Error> {
    let make = Make::new(config, &endpoint)?;
    let dialler = Dialler { address: address.to_owned(), make, surroundings: endpoint.surroundings.clone() };
    Ok(Client::start(dialler, Arc::new(credentials), endpoint))
}

struct Dialler {
    address: String,
    make: Make,
    surroundings: Surroundings,
}

// begin dial
impl Dial for Dialler {
    type Session = Session;
    type Transport = ByteStream<Socket>;

    async fn dial(&self, credentials: Credentials) -> Result<Parts<Session, Self::Transport>, DialError> {
        check(&credentials)?;
        let stream = polywire_net::connect(&self.address, &self.surroundings).await;
        let unreachable = |source| DialError::Unreachable { address: self.address.clone(), source };
        Ok(self.make.parts(stream.map_err(unreachable)?, Role::Client(credentials)))
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}
// end dial

/// Can the wire hold them? Trying again would not help, so it is said here and not by the peer.
fn check(credentials: &Credentials) -> Result<(), DialError> {
    let name = credentials.subject.as_deref();
    let secret = credentials.secret.as_ref().map(Secret::expose).unwrap_or_default();
    let is_word = |text: &[u8]| std::str::from_utf8(text).is_ok_and(wire::is_word);
    match name {
        Some(name) if !is_word(name.as_bytes()) || !is_word(secret) => {
            Err(DialError::Settings("a name and its secret have to be one word each".to_owned()))
        }
        _ => Ok(()),
    }
}
