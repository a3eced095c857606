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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::SystemTime;

    use super::*;
    use crate::body::Body;
    use crate::failure::Failure;
    use crate::into_handler::IntoHandler;
    use crate::moment::{Alarm, Clock, TokioClock};
    use crate::peer::Peer;
    use crate::route::Route;
    use crate::testing::Recorder;

    const ROUTE: Route = Route::from_static("a\nb");

    async fn work(body: Body) -> Result<Body, Failure> {
        tokio::time::sleep(Duration::from_millis(30)).await;
        if body.is_empty() { Err(Failure::new(Code::NotFound, "secret message")) } else { Ok(body) }
    }

    #[tokio::test(start_paused = true)]
    async fn b15_each_end_is_told_once_and_no_body_or_message_is() {
        let recorder = Recorder::default();
        let guard = tracing::subscriber::set_default(recorder.clone());
        let handler = Trace::new(&Surroundings::seeded(1)).layer(IntoHandler::into_handler(work, &()));
        let secret = Body::json("secret body").unwrap();
        assert!(handler.call(Incoming::request(ROUTE, secret, Peer::in_memory())).await.is_ok());
        assert!(handler.call(Incoming::event(ROUTE, Body::Empty, Peer::in_memory())).await.is_err());
        drop(handler.call(Incoming::request(ROUTE, Body::Empty, Peer::in_memory())));
        drop(guard);
        assert_eq!(
            recorder.lines(),
            [
                r"DEBUG call{route=a\nb kind=request wire=memory peer=0} message=call ended outcome=ok elapsed=30ms",
                r"DEBUG call{route=a\nb kind=event wire=memory peer=0} message=call ended outcome=not_found elapsed=30ms",
                r"DEBUG call{route=a\nb kind=request wire=memory peer=0} message=call ended outcome=dropped elapsed=0ns",
            ]
        );
    }

    /// Tokio's clock and the seconds that handlers have spent without giving their thread back.
    #[derive(Debug, Default)]
    struct Spent(AtomicU64);

    impl Clock for Spent {
        fn now(&self) -> Moment {
            TokioClock.now() + Duration::from_secs(self.0.load(Ordering::Relaxed))
        }

        fn wall(&self) -> SystemTime {
            TokioClock.wall()
        }

        fn alarm(&self) -> Box<dyn Alarm> {
            TokioClock.alarm()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn c16_a_handler_that_holds_its_thread_is_warned_of_once_in_a_while() {
        let clock = Arc::new(Spent::default());
        let mut surroundings = Surroundings::seeded(1);
        surroundings.clock = Arc::clone(&clock) as _;
        let recorder = Recorder::default();
        let guard = tracing::subscriber::set_default(recorder.clone());
        let busy = move |body: Body| {
            let clock = Arc::clone(&clock);
            async move {
                let seconds = if body.is_empty() { 1 } else { 3 };
                clock.0.fetch_add(seconds, Ordering::Relaxed);
                // Waiting is not holding.
                tokio::time::sleep(Duration::from_secs(2)).await;
                Ok::<_, Failure>(body)
            }
        };
        let handler = Trace::new(&surroundings).layer(IntoHandler::into_handler(busy, &()));
        let warned = || recorder.lines().iter().filter(|line| line.starts_with("WARN")).count();
        let call = |body| handler.call(Incoming::request(ROUTE, body, Peer::in_memory()));
        call(Body::Empty).await.unwrap();
        assert_eq!(warned(), 0, "one second is not too long");
        call(Body::null()).await.unwrap();
        call(Body::null()).await.unwrap();
        assert_eq!(warned(), 1, "{:?}", recorder.lines());
        assert!(recorder.lines().iter().any(|line| line.contains("held=3s")), "{:?}", recorder.lines());
        call(Body::null()).await.unwrap();
        call(Body::null()).await.unwrap();
        drop(guard);
        assert_eq!(warned(), 2, "{:?}", recorder.lines());
    }
}
