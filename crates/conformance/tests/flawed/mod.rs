//! The in-memory adapter with one flaw at a time, and an adapter that is nothing but a flaw.

pub(crate) mod codec;
mod end;
mod joint;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use polywire_conformance::{Joint, Memory, Setup};
use polywire_core::{
    Adapter, AdapterError, Authenticate, BinaryForm, BoxFuture, Capabilities, Client, Count, Credentials,
    Endpoint, Identity, Limits, OptionSpec, Options, ProgressForm, Secret, Server, Target,
};

use end::{Haunting, Wrong};
use joint::Crooked;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Every handler runs twice.
    Twice,
    /// Every third answer is that of another call.
    Swapped,
    /// Every call is answered at once, whatever its handler does.
    Hasty,
    /// Callers are told what a handler panicked with.
    Frank,
    /// Numbers go through a float.
    Rounded,
    /// `null` and nothing become an empty object.
    Filled,
    /// Every other event waits a while.
    Late,
    /// A gap is told as something else.
    Unnamed,
    /// Nobody is asked who they are.
    Open,
    /// Whoever shows something to log in is heard already.
    Eager,
    /// A refused login is tried over and over.
    Stubborn,
    /// Every login is logged.
    Talkative,
    /// The limits of the endpoint are not looked at.
    Boundless,
    /// A peer that does not read is left too soon.
    Impatient,
    /// A frame too many is counted.
    Miscounted,
    /// Bytes, progress and cancels are carried and not declared, and longer names are declared than carried.
    Modest,
    /// Events of the listening side are carried and not declared.
    Pushing,
    /// Whoever leaves is heard once more.
    Haunted,
    /// A drain is a stop.
    Abrupt,
    /// What is dialled in vain is there.
    Astray,
    /// There are bytes where there are none.
    Chatty,
    /// Answers are wrong once somebody has said what is no message, or might have.
    Fragile,
}

/// The adapter with a flaw.
#[derive(Clone, Debug)]
pub(crate) struct Flawed {
    memory: Memory,
    flaw: Flaw,
    /// Somebody has said what is no message.
    broken: Arc<AtomicBool>,
}

impl Flawed {
    /// The adapter with this flaw.
    pub(crate) fn new(flaw: Flaw) -> Self {
        Self { memory: Memory::default(), flaw, broken: Arc::default() }
    }

    fn flawed(&self, mut endpoint: Endpoint) -> Endpoint {
        match self.flaw {
            Flaw::Boundless => endpoint.limits = Arc::new(Limits::default()),
            Flaw::Impatient => {
                let limits = Limits { write_timeout: Duration::from_secs(1), ..(*endpoint.limits).clone() };
                endpoint.limits = Arc::new(limits);
            }
            Flaw::Miscounted => endpoint.ledger.add(Count::FramesReceived, 1),
            Flaw::Stubborn => endpoint.reconnect.max_refusals = 10,
            Flaw::Haunted => {
                let (handler, next) = (Arc::clone(&endpoint.handler), endpoint.observer.take());
                endpoint.observer = Some(Arc::new(Haunting { handler, next }));
            }
            Flaw::Abrupt => {
                let shutdown = endpoint.shutdown.clone();
                tokio::spawn(async move {
                    shutdown.draining().await;
                    shutdown.stop();
                });
            }
            Flaw::Eager => {
                let handler = Arc::clone(&endpoint.handler);
                endpoint.authenticator = endpoint.authenticator.map(|judge| end::eager(handler, judge));
            }
            flaw => {
                endpoint.handler = Arc::new(Wrong::new(flaw, endpoint.handler, Arc::clone(&self.broken)));
            }
        }
        endpoint
    }
}

impl Setup for Flawed {
    fn adapter(&self) -> Box<dyn Adapter> {
        Box::new(self.clone())
    }

    fn listen(&self, secret: &Secret) -> Target {
        Setup::listen(&self.memory, secret)
    }

    fn dial(&self, address: &str, secret: &Secret) -> Target {
        if self.flaw == Flaw::Talkative {
            let text = String::from_utf8_lossy(secret.expose()).into_owned();
            tracing::trace!("logs in with {text}");
        }
        Setup::dial(&self.memory, address, secret)
    }

    fn authenticator(&self, secret: &Secret) -> Arc<dyn Authenticate> {
        match self.flaw {
            Flaw::Open => Arc::new(|_: Credentials| async { Ok(Identity::user("anybody")) }),
            _ => self.memory.authenticator(secret),
        }
    }

    fn join<'a>(&'a self, address: &'a str) -> BoxFuture<'a, std::io::Result<Box<dyn Joint>>> {
        Box::pin(async move {
            let sound = self.memory.join(address).await?;
            Ok(Box::new(Crooked::new(sound, self.flaw, Arc::clone(&self.broken))) as Box<dyn Joint>)
        })
    }
}

impl Adapter for Flawed {
    fn name(&self) -> &'static str {
        "flawed"
    }

    fn about(&self) -> &'static str {
        "memory with a flaw"
    }

    fn options(&self) -> &'static [OptionSpec] {
        self.memory.options()
    }

    fn capabilities(&self, options: &Options) -> Result<Capabilities, AdapterError> {
        let sound = self.memory.capabilities(options)?;
        Ok(match self.flaw {
            Flaw::Modest => Capabilities {
                binary: BinaryForm::None,
                progress: ProgressForm::None,
                cancel: false,
                max_route_bytes: 200,
                ..sound
            },
            Flaw::Pushing => Capabilities { push: false, ..sound },
            _ => sound,
        })
    }

    fn listen(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Server, AdapterError>> {
        Adapter::listen(&self.memory, target, self.flawed(endpoint))
    }

    fn dial(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Client, AdapterError>> {
        Adapter::dial(&self.memory, target, self.flawed(endpoint))
    }
}
