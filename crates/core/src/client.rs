//! Dialling: connects, logs in, and connects again when the connection is lost.

mod dial;
mod gap;
mod reconnect;
mod standing;
mod supervisor;

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::caller::Caller;
use crate::connection::Endpoint;
use crate::credentials::CredentialSource;
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::queue::Queue;
use crate::session::Session;
use crate::shutdown::Shutdown;

pub use dial::{Dial, DialError};
pub use gap::GAP;
pub(crate) use gap::{gap_event, missed_event};
pub use reconnect::Reconnect;
pub use standing::{ClientState, Follow, Standing};
pub use supervisor::supervise;

/// A client: a caller whose connection is kept up.
///
/// Calls made while there is no connection wait, within their deadlines; they leave in order after the login.
pub struct Client {
    caller: Caller,
    standing: Standing,
    ledger: Arc<Ledger>,
    shutdown: Shutdown,
    tasks: TaskTracker,
}

impl Client {
    /// Starts dialling with `dial`, as `endpoint.reconnect` says, with credentials asked anew before every attempt. Needs a tokio
    /// runtime.
    pub fn start<D: Dial>(dial: D, credentials: Arc<dyn CredentialSource>, endpoint: Endpoint) -> Self {
        Self::start_with_commands(dial, credentials, endpoint).0
    }

    /// The same, and a way to hand the session inputs that only its adapter knows.
    pub fn start_with_commands<D: Dial>(
        dial: D,
        credentials: Arc<dyn CredentialSource>,
        mut endpoint: Endpoint,
    ) -> (Self, Commands<<D::Session as Session>::Command>) {
        endpoint.shutdown = endpoint.shutdown.child();
        let endpoint = Arc::new(endpoint);
        let (standing, tasks) = (Standing::new(), TaskTracker::new());
        let (ledger, shutdown) = (Arc::clone(&endpoint.ledger), endpoint.shutdown.clone());
        let (caller, commands) = supervise(dial, credentials, endpoint, standing.clone(), &tasks);
        tasks.close();
        (Self { caller, standing, ledger, shutdown, tasks }, commands)
    }

    /// A client that is kept up by other means, such as a pool of connections ([`supervise`]); `standing` is told how it stands.
    pub fn custom(
        caller: Caller,
        standing: Standing,
        ledger: Arc<Ledger>,
        shutdown: Shutdown,
        tasks: TaskTracker,
    ) -> Self {
        Self { caller, standing, ledger, shutdown, tasks }
    }

    /// Calls the peer.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What was counted.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Where the client stands now.
    pub fn state(&self) -> ClientState {
        self.standing.state()
    }

    /// Follows where the client stands.
    pub fn watch(&self) -> watch::Receiver<ClientState> {
        self.standing.watch()
    }

    /// Waits until the client is connected and logged in.
    ///
    /// # Errors
    /// `unauthenticated` when the login was refused for good, `unavailable` when the client is over.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn ready(&self) -> Result<(), Failure> {
        self.standing.ready().await
    }

    /// Drains calls in flight for up to `drain_timeout`, closes the connection and gives back when it is gone.
    ///
    /// # Cancel safety
    /// Dropped before it is done, the connection ends at once.
    pub async fn shutdown(self) {
        self.shutdown.drain();
        self.tasks.wait().await;
    }
}

impl Drop for Client {
    /// A client that is dropped stops at once.
    fn drop(&mut self) {
        self.shutdown.stop();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// Hands the session of whichever connection is up inputs that only its adapter knows.
pub struct Commands<C>(Arc<Queue<C>>);

impl<C> Commands<C> {
    /// Sends a command; it waits its turn behind what was queued before.
    pub fn send(&self, command: C) {
        self.0.command(command);
    }
}

impl<C> Clone for Commands<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> fmt::Debug for Commands<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Commands")
    }
}
