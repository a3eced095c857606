//! One span around each call and one line at its end.

use tower_layer::Layer;
use tracing::Instrument;

use crate::failure::Code;
use crate::handler::{Handler, HandlerFuture, Incoming};
use crate::moment::{Moment, Surroundings};

/// Puts a debug span `call` around each call (route, kind, wire, number of the peer) and says in it how the call ended:
/// `ok`, a code or `dropped`, and after how long. Never a body, never a message of a failure.
#[derive(Clone, Debug)]
pub struct Trace {
    surroundings: Surroundings,
}

impl Trace {
    /// The layer; durations are taken on the clock of `surroundings`.
    pub fn new(surroundings: &Surroundings) -> Self {
        Self { surroundings: surroundings.clone() }
    }
}

impl<H: Handler> Layer<H> for Trace {
    type Service = TraceHandler<H>;

    fn layer(&self, inner: H) -> TraceHandler<H> {
        TraceHandler { inner, surroundings: self.surroundings.clone() }
    }
}

/// A handler that is traced.
#[derive(Clone, Debug)]
pub struct TraceHandler<H> {
    inner: H,
    surroundings: Surroundings,
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
        let surroundings = self.surroundings.clone();
        let end = End { began: surroundings.clock.now(), surroundings, outcome: "dropped" };
        let inner = span.in_scope(|| self.inner.call(incoming));
        let call = async move {
            let mut end = end;
            let answer = inner.await;
            end.outcome = answer.as_ref().map_or_else(|failure| Code::as_str(failure.code), |_| "ok");
            answer
        };
        Box::pin(call.instrument(span))
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
    use std::time::Duration;

    use super::*;
    use crate::body::Body;
    use crate::failure::Failure;
    use crate::into_handler::IntoHandler;
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
}
