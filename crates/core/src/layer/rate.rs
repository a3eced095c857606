//! A bound on how many calls begin in a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tower_layer::Layer;

use crate::handler::{Handler, HandlerFuture, Incoming};
use crate::moment::{Moment, Surroundings};

use super::exhausted;

/// Refuses with `resource_exhausted` what comes faster than a bucket of tokens refills; nothing waits.
///
/// The bucket starts full and holds `max_calls` tokens, or as many as [`burst`](Self::burst) says; every call takes one, and
/// `max_calls` flow back evenly over `per`. Clones of the layer share the bucket.
#[derive(Clone, Debug)]
pub struct RateLimit {
    max_calls: u32,
    per: Duration,
    burst: u32,
    bucket: Arc<Mutex<Bucket>>,
    surroundings: Surroundings,
}

/// How empty the bucket is, told as the moment at which it is full again.
#[derive(Debug, Default)]
struct Bucket {
    full_at: Moment,
}

impl RateLimit {
    /// `max_calls` per `per` in the long run, on the clock of `surroundings`; 0 refuses all.
    pub fn new(max_calls: u32, per: Duration, surroundings: &Surroundings) -> Self {
        let bucket = Arc::default();
        Self { max_calls, per, burst: max_calls, bucket, surroundings: surroundings.clone() }
    }

    /// The same rate with a bucket of its own that holds `burst` tokens.
    #[must_use]
    pub fn burst(self, burst: u32) -> Self {
        Self { burst, bucket: Arc::default(), ..self }
    }

    /// Takes a token, or says how long there will be none.
    fn take(&self) -> Result<(), Option<Duration>> {
        let token = self.per.checked_div(self.max_calls).ok_or(None)?;
        let room = token.checked_mul(self.burst.checked_sub(1).ok_or(None)?).unwrap_or(Duration::MAX);
        let now = self.surroundings.clock.now();
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = bucket.full_at - now;
        if missing > room {
            return Err(Some(missing - room));
        }
        bucket.full_at = now + missing + token;
        Ok(())
    }
}

impl<H: Handler> Layer<H> for RateLimit {
    type Service = RateLimitHandler<H>;

    fn layer(&self, inner: H) -> RateLimitHandler<H> {
        RateLimitHandler { inner, limit: self.clone() }
    }
}

/// A handler with a [`RateLimit`].
#[derive(Clone, Debug)]
pub struct RateLimitHandler<H> {
    inner: H,
    limit: RateLimit,
}

impl<H: Handler> Handler for RateLimitHandler<H> {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        match self.limit.take() {
            Ok(()) => self.inner.call(incoming),
            Err(wait) => {
                let RateLimit { max_calls, per, burst, .. } = self.limit;
                let limit =
                    format!("calls come faster than max_calls = {max_calls} per {per:?}, burst = {burst}");
                exhausted(match wait {
                    Some(wait) => format!("{limit}; try again in {wait:?}"),
                    None => limit,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Body;
    use crate::failure::Code;
    use crate::into_handler::IntoHandler;
    use crate::peer::Peer;
    use crate::route::Route;

    fn request() -> Incoming {
        Incoming::request(Route::from_static("r"), Body::Empty, Peer::in_memory())
    }

    async fn fit(handler: &impl Handler, tries: usize) -> usize {
        let mut fit = 0;
        for _ in 0..tries {
            fit += usize::from(handler.call(request()).await.is_ok());
        }
        fit
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_bucket_serves_a_burst_and_then_the_rate() {
        let surroundings = Surroundings::seeded(1);
        let limit = RateLimit::new(10, Duration::from_secs(1), &surroundings).burst(20);
        let handler = limit.layer(IntoHandler::into_handler(|| async {}, &()));
        assert_eq!(fit(&handler, 100).await, 20);
        let failure = handler.call(request()).await.unwrap_err();
        assert_eq!(failure.code, Code::ResourceExhausted);
        let why = "calls come faster than max_calls = 10 per 1s, burst = 20; try again in 100ms";
        assert_eq!(failure.message, why);
        tokio::time::advance(Duration::from_millis(99)).await;
        assert_eq!(fit(&handler, 1).await, 0);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(fit(&handler, 2).await, 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(fit(&handler, 100).await, 10);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(fit(&handler, 100).await, 20, "an idle hour fills the bucket, not more");
    }

    #[tokio::test(start_paused = true)]
    async fn clones_share_the_bucket() {
        let limit = RateLimit::new(3, Duration::from_secs(1), &Surroundings::seeded(1));
        let one = limit.layer(IntoHandler::into_handler(|| async {}, &()));
        let two = limit.clone().layer(IntoHandler::into_handler(|| async {}, &()));
        assert_eq!(fit(&one, 2).await + fit(&two, 2).await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn zero_refuses_everything() {
        for limit in [
            RateLimit::new(0, Duration::from_secs(1), &Surroundings::seeded(1)),
            RateLimit::new(1, Duration::from_secs(1), &Surroundings::seeded(1)).burst(0),
        ] {
            let handler = limit.layer(IntoHandler::into_handler(|| async {}, &()));
            assert_eq!(fit(&handler, 3).await, 0);
        }
    }
}
