//! A bound on how long a handler may take.

use std::time::Duration;

use tower_layer::Layer;

use crate::failure::{Code, Failure};
use crate::handler::{Handler, HandlerFuture, Incoming, Kind};
use crate::moment::{Surroundings, sleep_until};

/// Answers `deadline_exceeded` when the handler has not answered within `timeout`, and drops the handler's future.
///
/// The deadline of a request moves forward to the end of that time, so calls made on its behalf end with it; an earlier
/// deadline stays, and is kept here too.
#[derive(Clone, Debug)]
pub struct Timeout {
    timeout: Duration,
    surroundings: Surroundings,
}

impl Timeout {
    /// A bound of `timeout` on the clock of `surroundings`.
    ///
    /// It must be the clock of the connections that are served, because a deadline is a moment on that clock.
    pub fn new(timeout: Duration, surroundings: &Surroundings) -> Self {
        Self { timeout, surroundings: surroundings.clone() }
    }
}

impl<H: Handler> Layer<H> for Timeout {
    type Service = TimeoutHandler<H>;

    fn layer(&self, inner: H) -> TimeoutHandler<H> {
        TimeoutHandler { inner, layer: self.clone() }
    }
}

/// A handler with a [`Timeout`].
#[derive(Clone, Debug)]
pub struct TimeoutHandler<H> {
    inner: H,
    layer: Timeout,
}

impl<H: Handler> Handler for TimeoutHandler<H> {
    fn call(&self, mut incoming: Incoming) -> HandlerFuture {
        let Timeout { timeout, ref surroundings } = self.layer;
        let clock = surroundings.clock.clone();
        let ours = clock.now() + timeout;
        let end = incoming.deadline.map_or(ours, |theirs| theirs.min(ours));
        if incoming.kind == Kind::Request {
            incoming.deadline = Some(end);
        }
        let inner = self.inner.call(incoming);
        Box::pin(async move {
            // The timer is made only when the handler is not ready at once.
            tokio::select! {
                biased;
                answer = inner => answer,
                () = sleep_until(&*clock, end) => Err(Failure::new(
                    Code::DeadlineExceeded,
                    if end == ours {
                        format!("no answer within timeout = {timeout:?}")
                    } else {
                        "no answer before the deadline of the request".to_owned()
                    },
                )),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Body;
    use crate::extract::Deadline;
    use crate::into_handler::IntoHandler;
    use crate::peer::Peer;
    use crate::route::Route;

    const SECOND: Duration = Duration::from_secs(1);
    const ROUTE: Route = Route::from_static("sleep");

    fn request() -> Incoming {
        Incoming::request(ROUTE, Body::Empty, Peer::in_memory())
    }

    async fn never() {
        std::future::pending::<()>().await;
    }

    #[tokio::test(start_paused = true)]
    async fn c16_a_handler_that_never_returns_is_answered_after_the_timeout() {
        let surroundings = Surroundings::seeded(1);
        let handler = Timeout::new(2 * SECOND, &surroundings).layer(IntoHandler::into_handler(never, &()));
        for incoming in [request(), Incoming::event(ROUTE, Body::Empty, Peer::in_memory())] {
            let before = surroundings.clock.now();
            let failure = handler.call(incoming).await.unwrap_err();
            assert_eq!(failure, Failure::new(Code::DeadlineExceeded, "no answer within timeout = 2s"));
            assert_eq!(surroundings.clock.now() - before, 2 * SECOND);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_deadline_of_the_request_is_kept() {
        let surroundings = Surroundings::seeded(1);
        let handler = Timeout::new(2 * SECOND, &surroundings).layer(IntoHandler::into_handler(never, &()));
        let before = surroundings.clock.now();
        let failure =
            handler.call(Incoming { deadline: Some(before + SECOND), ..request() }).await.unwrap_err();
        assert_eq!(failure.message, "no answer before the deadline of the request");
        assert_eq!(surroundings.clock.now() - before, SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn the_handler_sees_the_nearer_deadline_and_events_none() {
        let surroundings = Surroundings::seeded(1);
        let nanos = |Deadline(at): Deadline| async move {
            crate::extract::Json(at.map(|at| u64::try_from(at.since_start().as_nanos()).unwrap()))
        };
        let handler = Timeout::new(2 * SECOND, &surroundings).layer(IntoHandler::into_handler(nanos, &()));
        let now = surroundings.clock.now();
        for (incoming, seen) in [
            (request(), Some(now + 2 * SECOND)),
            (Incoming { deadline: Some(now + SECOND), ..request() }, Some(now + SECOND)),
            (Incoming { deadline: Some(now + 9 * SECOND), ..request() }, Some(now + 2 * SECOND)),
            (Incoming::event(ROUTE, Body::Empty, Peer::in_memory()), None),
        ] {
            let want = Body::json(&seen.map(|at| u64::try_from(at.since_start().as_nanos()).unwrap()));
            assert_eq!(handler.call(incoming).await.unwrap().body, want.unwrap());
        }
    }
}
