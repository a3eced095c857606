//! A bound on how many calls run at once.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tower_layer::Layer;

use crate::handler::{Handler, HandlerFuture, Incoming};

use super::exhausted;

/// Refuses with `resource_exhausted` what would be more than `max_concurrent_calls` at once; nothing waits.
///
/// A call counts until its future has ended or was dropped. Clones of the layer share the limit.
///
/// It counts also while its connection polls no handler because its peer does not read, for `handler_timeout` at most: peers that do not
/// read can use up the limit of all. Within [`OwnTask`](super::OwnTask), the outer of the two, a call counts only for as long as its handler
/// runs.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit {
    max_concurrent_calls: usize,
    permits: Arc<Semaphore>,
}

impl ConcurrencyLimit {
    /// At most `max_concurrent_calls` at once; 0 refuses all.
    pub fn new(max_concurrent_calls: usize) -> Self {
        let permits = Arc::new(Semaphore::new(max_concurrent_calls.min(Semaphore::MAX_PERMITS)));
        Self { max_concurrent_calls, permits }
    }
}

impl<H: Handler> Layer<H> for ConcurrencyLimit {
    type Service = ConcurrencyLimitHandler<H>;

    fn layer(&self, inner: H) -> ConcurrencyLimitHandler<H> {
        ConcurrencyLimitHandler { inner, limit: self.clone() }
    }
}

/// A handler with a [`ConcurrencyLimit`].
#[derive(Clone, Debug)]
pub struct ConcurrencyLimitHandler<H> {
    inner: H,
    limit: ConcurrencyLimit,
}

impl<H: Handler> Handler for ConcurrencyLimitHandler<H> {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let Ok(permit) = Arc::clone(&self.limit.permits).try_acquire_owned() else {
            let max = self.limit.max_concurrent_calls;
            let refused = max.saturating_add(1);
            return exhausted(format!("{refused} calls at once exceed max_concurrent_calls = {max}"));
        };
        let inner = self.inner.call(incoming);
        Box::pin(async move {
            let answer = inner.await;
            drop(permit);
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;
    use crate::body::Body;
    use crate::extract::State;
    use crate::failure::{Code, Failure, Retry};
    use crate::into_handler::IntoHandler;
    use crate::peer::Peer;
    use crate::route::Route;

    async fn wait(State(go): State<Arc<Notify>>) {
        go.notified().await;
    }

    fn request() -> Incoming {
        Incoming::request(Route::from_static("wait"), Body::Empty, Peer::in_memory())
    }

    #[tokio::test]
    async fn one_call_too_many_is_refused_by_name_and_the_next_fits_again() {
        let go = Arc::new(Notify::new());
        let limit = ConcurrencyLimit::new(2);
        let first = limit.layer(IntoHandler::into_handler(wait, &go));
        let second = limit.clone().layer(IntoHandler::into_handler(wait, &go));
        let running = first.call(request());
        let dropped = second.call(request());
        let refused = first.call(request()).await;
        let why = Failure::new(Code::ResourceExhausted, "3 calls at once exceed max_concurrent_calls = 2")
            .with_retry(Retry::Safe);
        assert_eq!(refused, Err(why.clone()));
        assert_eq!(second.call(request()).await, Err(why), "clones share the limit");
        drop(dropped);
        let third = second.call(request());
        assert!(first.call(request()).await.is_err(), "the dropped call made room for one, not two");
        go.notify_one();
        assert!(running.await.is_ok());
        let fourth = first.call(request());
        go.notify_one();
        assert!(third.await.is_ok());
        go.notify_one();
        assert!(fourth.await.is_ok());
    }

    #[tokio::test]
    async fn zero_refuses_everything() {
        let handler = ConcurrencyLimit::new(0).layer(IntoHandler::into_handler(|| async {}, &()));
        assert_eq!(handler.call(request()).await.unwrap_err().code, Code::ResourceExhausted);
    }
}
