//! A bridge file as typed values, each with its line. Nothing here knows an adapter: their options are kept as written.

mod parse;

use std::time::Duration;

use polywire_core::Secret;

use crate::finding::Finding;
use crate::read::{At, Scalar};
use crate::source::Source;

/// Most routes of one file.
pub const MAX_ROUTES: usize = 10_000;
/// Most endpoints of one file.
pub const MAX_ENDPOINTS: usize = 1_000;

/// A bridge file, read. What was wrong with it is kept for [`check`](crate::check()).
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) source: Source,
    pub(crate) node: String,
    pub(crate) drain: Duration,
    pub(crate) max_memory_bytes: Option<usize>,
    pub(crate) endpoints: Vec<EndpointConfig>,
    pub(crate) routes: Vec<RouteConfig>,
    pub(crate) findings: Vec<Finding>,
}

/// Which side of the wire the bridge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It dials.
    Client,
    /// Peers dial it.
    Server,
}

impl Role {
    /// The word as it stands in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Client => "client",
            Role::Server => "server",
        }
    }
}

/// One `[endpoint.NAME]`.
#[derive(Clone, Debug)]
pub(crate) struct EndpointConfig {
    pub(crate) name: String,
    pub(crate) line: u32,
    pub(crate) protocol: Option<At<String>>,
    pub(crate) role: Option<Role>,
    /// Where to dial or listen.
    pub(crate) address: Option<At<String>>,
    pub(crate) user: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) prefix: String,
    pub(crate) required: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) users: Vec<(String, At<Scalar>)>,
    pub(crate) options: Vec<(String, At<Scalar>)>,
    /// Secrets that the program put in place of those the file names.
    pub(crate) secrets: Vec<(String, Secret)>,
}

/// The keys of an endpoint that are the bridge's own; every other is an option of its adapter.
pub(crate) const ENDPOINT_KEYS: [&str; 10] =
    ["protocol", "role", "address", "listen", "user", "path", "prefix", "required", "timeout", "users"];

/// One `[[route]]`.
#[derive(Clone, Debug)]
pub(crate) struct RouteConfig {
    pub(crate) name: Option<At<String>>,
    pub(crate) line: u32,
    pub(crate) from: At<String>,
    pub(crate) matches: At<String>,
    pub(crate) kind: Option<KindFilter>,
    pub(crate) to: At<String>,
    pub(crate) verb: Verb,
    pub(crate) target: Option<At<String>>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) base64: bool,
    pub(crate) wrap: Option<String>,
    pub(crate) via: Option<String>,
    pub(crate) allow_loop: bool,
}

impl RouteConfig {
    /// The name of the route, or what it matches.
    pub(crate) fn title(&self) -> &str {
        self.name.as_ref().map_or(&self.matches.value, |name| &name.value)
    }
}

/// Which messages a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KindFilter {
    Request,
    Event,
    Any,
}

/// What a route makes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// A request stays one, an event too.
    Same,
    /// A request.
    Call,
    /// An event.
    Emit,
}

impl Config {
    /// Puts another address in place of the one an endpoint dials or listens at, for a program that knows better than its file;
    /// says whether there is an endpoint of that name that has one.
    pub fn set_address(&mut self, endpoint: &str, address: &str) -> bool {
        let endpoint = self.endpoints.iter_mut().find(|known| known.name == endpoint);
        let Some(known) = endpoint.and_then(|endpoint| endpoint.address.as_mut()) else { return false };
        address.clone_into(&mut known.value);
        true
    }

    /// Puts a secret in place of the one an endpoint's option names, for a program that has made it itself; says whether there is
    /// an endpoint of that name.
    pub fn set_secret(&mut self, endpoint: &str, option: &str, secret: Secret) -> bool {
        let endpoint = self.endpoints.iter_mut().find(|known| known.name == endpoint);
        let Some(known) = endpoint else { return false };
        known.secrets.push((option.to_owned(), secret));
        true
    }

    /// The name of the file, for people.
    pub fn name(&self) -> &str {
        self.source.name()
    }
}
