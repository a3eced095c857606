//! Ctrl-C and SIGTERM: where something can drain, the first drains and the second stops.

use std::convert::Infallible;

use polywire_core::Shutdown;

use crate::output::say;

/// Listens for signals from now on; the future drains `shutdown` at the first and stops it at the second, with a word to people
/// each time. It never ends. Needs a tokio runtime.
///
/// # Cancel safety
/// Safe: dropping it forgets signals that have not come.
pub(crate) fn drain_then_stop(shutdown: Shutdown) -> impl Future<Output = Infallible> + Send {
    let mut signals = Signals::new();
    async move {
        signals.next().await;
        say("draining; a second signal stops at once");
        shutdown.drain();
        signals.next().await;
        say("stopping now");
        shutdown.stop();
        std::future::pending().await
    }
}

/// Listens for signals from now on; the future ends at the first. Needs a tokio runtime.
///
/// # Cancel safety
/// Safe.
pub(crate) fn first() -> impl Future<Output = ()> + Send {
    let mut signals = Signals::new();
    async move { signals.next().await }
}

#[cfg(unix)]
struct Signals(Option<(tokio::signal::unix::Signal, tokio::signal::unix::Signal)>);

#[cfg(unix)]
impl Signals {
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let both =
            signal(SignalKind::interrupt()).and_then(|one| Ok((one, signal(SignalKind::terminate())?)));
        if let Err(error) = &both {
            tracing::warn!(%error, "signals cannot be heard; they end this process at once");
        }
        Self(both.ok())
    }

    async fn next(&mut self) {
        match &mut self.0 {
            Some((interrupt, terminate)) => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            None => std::future::pending().await,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Self {
        Self
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
