//! Ctrl-C and SIGTERM: where something can drain, the first drains and the second stops.

use std::convert::Infallible;
#[cfg(unix)]
use std::task::Poll;

use polywire_core::Shutdown;

use crate::output::say;

/// Listens for signals from now on; the future drains `shutdown` at the first and stops it at the second, with a word to people
/// each time. It never ends. Needs a tokio runtime.
///
/// # Cancel safety
/// Safe: dropping it forgets signals that have not come.
pub(crate) fn drain_then_stop(shutdown: Shutdown) -> impl Future<Output = Infallible> + Send {
    let mut signals = Signals::new(false);
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
/// That a terminal was closed counts, unlike for what serves, which `nohup` is to keep: whoever waits for this has programs in
/// groups of their own, which a terminal does not reach.
///
/// # Cancel safety
/// Safe.
pub(crate) fn first() -> impl Future<Output = ()> + Send {
    let mut signals = Signals::new(true);
    async move { signals.next().await }
}

#[cfg(unix)]
struct Signals(Vec<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Signals {
    /// Ctrl-C and SIGTERM, and that a terminal was closed where that counts.
    fn new(hangup: bool) -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
        let kinds = kinds.into_iter().chain(hangup.then(SignalKind::hangup));
        let heard: std::io::Result<_> = kinds.map(signal).collect();
        Self(heard.unwrap_or_else(|error| {
            tracing::warn!(%error, "signals cannot be heard; they end this process at once");
            Vec::new()
        }))
    }

    async fn next(&mut self) {
        std::future::poll_fn(|cx| {
            let heard = self.0.iter_mut().any(|signal| signal.poll_recv(cx).is_ready());
            if heard { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new(_hangup: bool) -> Self {
        Self
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
