//! One span around each call and one line at its end.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tower_layer::Layer;
use tracing::Instrument;

use crate::failure::Code;
use crate::handler::{Handler, HandlerFuture, Incoming};
use crate::moment::{Moment, Surroundings};

/// Puts a debug span `call` around each call (route, kind, wire, number of the peer) and says in it how the call ended:
/// `ok`, a code or `dropped`, and after how long. Never a body, never a message of a failure.
///
/// Where that span is on, it also warns of a handler that holds its thread for more than a second, at most once in ten: what waits
/// for the processor or a disk belongs on a thread of its own.
#[derive(Clone, Debug)]
pub struct Trace {
    surroundings: Surroundings,
    warned: Arc<Mutex<Option<Moment>>>,
}

/// How long a handler may hold its thread.
const HELD: Duration = Duration::from_secs(1);
/// How long after a warning there is none.
const QUIET: Duration = Duration::from_secs(10);

impl Trace {
    /// The layer; durations are taken on the clock of `surroundings`.
    pub fn new(surroundings: &Surroundings) -> Self {
        Self { surroundings: surroundings.clone(), warned: Arc::default() }
    }
}

impl<H: Handler> Layer<H> for Trace {
    type Service = TraceHandler<H>;

    fn layer(&self, inner: H) -> TraceHandler<H> {
        TraceHandler { inner, surroundings: self.surroundings.clone(), warned: Arc::clone(&self.warned) }
    }
}

/// A handler that is traced.
#[derive(Clone, Debug)]
pub struct TraceHandler<H> {
    inner: H,
    surroundings: Surroundings,
    warned: Arc<Mutex<Option<Moment>>>,
}

impl<H: Handler> Handler for TraceHandler<H> {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let span = tracing::debug_span!(
            "call",
            route = %incoming.route,
            kind = incoming.kind.as_str(),
            wire = incoming.peer.wire(),
            peer = incoming.peer.id(),
        );
        if span.is_disabled() {
            return self.inner.call(incoming);
        }
        let (surroundings, warned) = (self.surroundings.clone(), Arc::clone(&self.warned));
        let end = End { began: surroundings.clock.now(), surroundings, outcome: "dropped" };
        let mut inner = span.in_scope(|| self.inner.call(incoming));
        let call = async move {
            let mut end = end;
            let answer = poll_fn(|cx| {
                let began = end.surroundings.clock.now();
                let polled = inner.as_mut().poll(cx);
                warn_if_held(began, end.surroundings.clock.now(), &warned);
                polled
            })
            .await;
            end.outcome = answer.as_ref().map_or_else(|failure| Code::as_str(failure.code), |_| "ok");
            answer
        };
        Box::pin(call.instrument(span))
    }
}

/// Warns of a poll that took too long, unless it has just done so.
fn warn_if_held(began: Moment, ended: Moment, warned: &Mutex<Option<Moment>>) {
    let held = ended - began;
    if held <= HELD {
        return;
    }
    // Nothing panics while it is held.
    let mut warned = warned.lock().unwrap_or_else(PoisonError::into_inner);
    if warned.is_none_or(|last| ended - last >= QUIET) {
        *warned = Some(ended);
        tracing::warn!(?held, "a handler holds its thread: move what blocks to a thread of its own");
    }
}

/// Says how the call ended, also when its future is dropped first.
struct End {
    began: Moment,
    surroundings: Surroundings,
    outcome: &'static str,
}

impl Drop for End {
    fn drop(&mut self) {
        let elapsed = self.surroundings.clock.now() - self.began;
        tracing::debug!(outcome = self.outcome, ?elapsed, "call ended");
    }
}
