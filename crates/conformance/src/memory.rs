//! The in-memory adapter: a wire whose frames are envelopes, so that it can carry all that the engine knows.
//!
//! It is the strongest wire there is: on it every guarantee is held but for the few that take bytes, which `tests/memory.rs` names. And
//! it is a short whole adapter.

mod network;
mod session;

use std::io;
use std::sync::Arc;

use polywire_core::{
    Accept, Adapter, AdapterError, BinaryForm, BoxFuture, Capabilities, Client, Correlation, Credentials,
    Dial, DialError, Endpoint, Errors, Limits, OptionKind, OptionSpec, Options, Parts, ProgressForm, Route,
    Secret, Server, Target,
};

use crate::joint::Joint;
use crate::setup::Setup;
use network::{End, Hands, Network};
use session::{Envelopes, MemorySession};

/// The adapter, and the network that its ends meet in: a clone is the same network.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Network>);

const OPTIONS: &[OptionSpec] = &[OptionSpec {
    name: "secret",
    takes: OptionKind::Secret,
    default: "none, needed",
    about: "dialling: what the login shows",
}];

impl Adapter for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn about(&self) -> &'static str {
        "envelopes inside one program, with all that a wire can carry"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn capabilities(&self, _: &Options) -> Result<Capabilities, AdapterError> {
        let limits = Limits::default();
        Ok(Capabilities {
            correlation: Correlation::Id,
            max_concurrent_calls: u32::try_from(limits.max_pending).unwrap_or(u32::MAX),
            server_calls: true,
            client_events: true,
            push: true,
            errors: Errors::Codes,
            binary: BinaryForm::Typed,
            progress: ProgressForm::Call,
            cancel: true,
            order: true,
            login: true,
            object_arguments: false,
            empty_body: true,
            max_route_bytes: Route::MAX_BYTES,
            max_body_bytes: limits.max_frame_bytes,
        })
    }

    fn listen(&self, _: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Server, AdapterError>> {
        let listener = Network::listen(&self.0);
        let limits = Arc::clone(&endpoint.limits);
        Box::pin(async move { Ok(Server::start(listener, Accepts { limits }, endpoint)) })
    }

    fn dial(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Client, AdapterError>> {
        let network = Arc::clone(&self.0);
        Box::pin(async move {
            let Some(secret) = target.options.secret("secret") else {
                return Err(AdapterError::Settings("memory needs something to log in with: secret".into()));
            };
            let credentials = Arc::new(Credentials::new("somebody", secret.clone()));
            let limits = Arc::clone(&endpoint.limits);
            let dialler = Dials { network, address: target.address, limits };
            Ok(Client::start(dialler, credentials, endpoint))
        })
    }
}

struct Accepts {
    limits: Arc<Limits>,
}

impl Accept<End> for Accepts {
    type Session = MemorySession;
    type Transport = End;

    async fn accept(&self, io: End) -> io::Result<Parts<MemorySession, End>> {
        let codec = Envelopes::new(self.limits.max_frame_bytes);
        Ok(Parts { transport: io, codec, session: MemorySession::server(self.limits.json) })
    }
}

struct Dials {
    network: Arc<Network>,
    address: String,
    limits: Arc<Limits>,
}

impl Dial for Dials {
    type Session = MemorySession;
    type Transport = End;

    async fn dial(&self, credentials: Credentials) -> Result<Parts<MemorySession, End>, DialError> {
        let transport = self
            .network
            .dial(&self.address)
            .map_err(|source| DialError::Unreachable { address: self.address.clone(), source })?;
        let codec = Envelopes::new(self.limits.max_frame_bytes);
        let session = MemorySession::client(credentials, self.limits.json);
        Ok(Parts { transport, codec, session })
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}

impl Setup for Memory {
    fn adapter(&self) -> Box<dyn Adapter> {
        Box::new(self.clone())
    }

    fn listen(&self, _: &Secret) -> Target {
        Target { address: network::ADDRESS.into(), ..Target::default() }
    }

    fn dial(&self, address: &str, secret: &Secret) -> Target {
        let mut target = Target { address: address.into(), ..Target::default() };
        target.options.set_secret("secret", secret.clone());
        target
    }

    fn join<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Joint>>> {
        let hands = Hands::of(&self.0);
        Box::pin(async move { Ok(Box::new(hands) as Box<dyn Joint>) })
    }
}
