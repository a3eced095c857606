//! A handler in a task of its own.

use std::panic::resume_unwind;

use tokio_util::task::AbortOnDropHandle;
use tower_layer::Layer;

use crate::failure::{Code, Failure};
use crate::handler::{Handler, HandlerFuture, Incoming};

/// Runs the handler in a task of its own instead of in that of its connection.
///
/// For a handler that computes for longer than a frame may wait, some hundred microseconds: the connection goes on meanwhile, on
/// another thread of the runtime. It costs a task for each message, so put it on such routes alone, and
/// [`spawn_blocking`](tokio::task::spawn_blocking) inside the handler for what blocks a thread. Messages still start in the
/// order in which they came, but run beside each other.
///
/// And for a handler that holds what others wait for: while a peer does not read, handlers in the task of its connection pause, this one goes on.
/// What a layer takes, such as the place of a [`ConcurrencyLimit`](super::ConcurrencyLimit), is given back by the task where this layer is
/// the outer one.
///
/// ```
/// use polywire_core::{Json, Router, layer::OwnTask};
///
/// async fn primes(Json(below): Json<u32>) -> Json<usize> {
///     Json((2..below).filter(|n| (2..*n).all(|by| n % by != 0)).count())
/// }
///
/// let heavy = Router::new().handle("primes", primes).layer(OwnTask);
/// let router = Router::new().handle("ping", || async { "pong" }).merge(heavy).build()?;
/// # Ok::<(), polywire_core::RegistryError>(())
/// ```
///
/// # Cancel safety
/// Dropping the future, as happens when the deadline passes or the peer is gone, aborts the task where it next waits.
///
/// # Panics
/// Its handlers must be called within a tokio runtime, which they are when a connection is served. A panic of the handler is
/// passed on, so it ends as it would without this layer.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnTask;

impl<H: Handler> Layer<H> for OwnTask {
    type Service = OwnTaskHandler<H>;

    fn layer(&self, inner: H) -> OwnTaskHandler<H> {
        OwnTaskHandler { inner }
    }
}

/// A handler that runs in a task of its own.
#[derive(Clone, Debug)]
pub struct OwnTaskHandler<H> {
    inner: H,
}

impl<H: Handler> Handler for OwnTaskHandler<H> {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let task = AbortOnDropHandle::new(tokio::spawn(self.inner.call(incoming)));
        Box::pin(async move {
            match task.await {
                Ok(answer) => answer,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => resume_unwind(panic),
                    Err(_) => Err(Failure::new(Code::Unavailable, "the runtime is shutting down")),
                },
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use tokio::sync::{Notify, oneshot};

    use super::*;
    use crate::body::Body;
    use crate::into_handler::IntoHandler;
    use crate::layer::CatchPanic;
    use crate::peer::Peer;
    use crate::route::Route;

    fn request() -> Incoming {
        Incoming::request(Route::from_static("heavy"), Body::null(), Peer::in_memory())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn whoever_asks_goes_on_while_the_handler_computes() {
        let going = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&going);
        let compute = move |body: Body| {
            let seen = Arc::clone(&seen);
            async move {
                let end = Instant::now() + Duration::from_secs(10);
                while !seen.load(Ordering::Relaxed) && Instant::now() < end {
                    std::hint::spin_loop();
                }
                body
            }
        };
        let handler = OwnTask.layer(IntoHandler::into_handler(compute, &()));
        // In the task of whoever asks it would compute to the end: only after that is it told to stop.
        let mut answer = handler.call(request());
        assert!(
            std::future::poll_fn(|cx| std::task::Poll::Ready(answer.as_mut().poll(cx).is_pending())).await
        );
        going.store(true, Ordering::Relaxed);
        assert_eq!(answer.await, Ok(Body::null().into()));
    }

    #[tokio::test]
    async fn dropping_the_answer_drops_the_handler() {
        let (kept, gone) = oneshot::channel::<()>();
        let kept = std::sync::Mutex::new(Some(kept));
        let started = Arc::new(Notify::new());
        let start = Arc::clone(&started);
        let wait = move || {
            let kept = kept.lock().unwrap().take();
            start.notify_one();
            async move {
                std::future::pending::<()>().await;
                drop(kept);
            }
        };
        let answer = OwnTask.layer(IntoHandler::into_handler(wait, &())).call(request());
        started.notified().await;
        drop(answer);
        assert!(gone.await.is_err(), "what the handler held is dropped");
    }

    #[tokio::test]
    async fn c15_a_panic_ends_as_it_does_without_the_layer() {
        async fn panics() {
            panic!("on purpose")
        }
        let handler = CatchPanic.layer(OwnTask.layer(IntoHandler::into_handler(panics, &())));
        assert_eq!(handler.call(request()).await, Err(Failure::new(Code::Internal, "the handler panicked")));
    }
}
