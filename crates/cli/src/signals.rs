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
/// That a terminal was closed counts, unlike for what serves, which `nohup` is to keep: whoever waits for this has programs in
/// groups of their own, which a terminal does not reach.
///
/// # Cancel safety
/// Safe.
pub(crate) fn first() -> impl Future<Output = ()> + Send {
    let mut signals = Signals::new().and_hangup();
    async move { signals.next().await }
}

#[cfg(unix)]
struct Signals(Vec<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Signals {
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let both: std::io::Result<_> =
            [SignalKind::interrupt(), SignalKind::terminate()].into_iter().map(signal).collect();
        Self(both.unwrap_or_else(|error| {
            tracing::warn!(%error, "signals cannot be heard; they end this process at once");
            Vec::new()
        }))
    }

    fn and_hangup(mut self) -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        self.0.extend(signal(SignalKind::hangup()));
        self
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
    fn new() -> Self {
        Self
    }

    fn and_hangup(self) -> Self {
        self
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
