//! A panic of a handler stays with its call.

use std::any::Any;
use std::future::ready;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tracing::Span;

use crate::failure::{Code, Failure};
use crate::handler::{Answer, Handler, HandlerFuture, Incoming};

/// Answers `internal` when the handler panics, in [`Handler::call`] or in its future.
///
/// The caller learns only that much; the text of the panic is logged, with the route and the peer. State that a panicking
/// handler left half changed is the program's own matter, as with any panic that is caught.
#[derive(Clone, Copy, Debug, Default)]
pub struct CatchPanic;

impl CatchPanic {
    /// The layer.
    pub fn new() -> Self {
        Self
    }
}

impl<H: Handler> Layer<H> for CatchPanic {
    type Service = CatchPanicHandler<H>;

    fn layer(&self, inner: H) -> CatchPanicHandler<H> {
        CatchPanicHandler { inner }
    }
}

/// A handler whose panics are caught.
#[derive(Clone, Debug)]
pub struct CatchPanicHandler<H> {
    inner: H,
}

impl<H: Handler> Handler for CatchPanicHandler<H> {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let span = tracing::error_span!(
            "handler",
            route = %incoming.route,
            wire = incoming.peer.wire(),
            peer = incoming.peer.id(),
        );
        match catch_unwind(AssertUnwindSafe(|| self.inner.call(incoming))) {
            Ok(inner) => Box::pin(Caught { inner: Some(inner), span }),
            Err(panic) => Box::pin(ready(Err(panicked(&span, &*panic)))),
        }
    }
}

/// The future of a handler, with a net under it.
struct Caught {
    /// Gone once it has panicked.
    inner: Option<HandlerFuture>,
    span: Span,
}

impl Future for Caught {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let Some(inner) = &mut self.inner else { return Poll::Pending };
        match catch_unwind(AssertUnwindSafe(|| inner.as_mut().poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => {
                let inner = self.inner.take();
                // What the future held may panic once more as it is dropped.
                let again = catch_unwind(AssertUnwindSafe(|| drop(inner)));
                if let Err(panic) = again {
                    panicked(&self.span, &*panic);
                }
                Poll::Ready(Err(panicked(&self.span, &*panic)))
            }
        }
    }
}

fn panicked(span: &Span, panic: &(dyn Any + Send)) -> Failure {
    let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "a panic without text",
    };
    tracing::error!(parent: span, panic = text, "a handler panicked");
    Failure::new(Code::Internal, "the handler panicked")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Body;
    use crate::into_handler::IntoHandler;
    use crate::peer::Peer;
    use crate::route::Route;

    fn request() -> Incoming {
        Incoming::request(Route::from_static("boom"), Body::Empty, Peer::in_memory())
    }

    #[tokio::test]
    async fn an_answer_passes() {
        let handler = CatchPanic.layer(IntoHandler::into_handler(|body: Body| async { body }, &()));
        assert_eq!(handler.call(request()).await, Ok(Body::Empty.into()));
    }
}
