//! Handlers as tower services and tower services as handlers, so that any tower middleware can be used.
//!
//! tower asks that a service is ready before it is called, on the very value that was asked. Both ways here keep to that: a
//! service that can be cloned is cloned for each call, waited for and called once; one that cannot is shared, and calls queue for
//! it in order.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::Mutex;
use tower::Service;
use tower_layer::Layer;

use crate::envelope::Response;
use crate::failure::{Code, Failure, Retry};
use crate::handler::{Handler, HandlerFuture, Incoming};
use crate::into_handler::SharedHandler;

/// The error of tower's middlewares.
type BoxError = Box<dyn Error + Send + Sync>;

/// Makes a handler of a tower service that can be cloned; each call has a clone of its own.
///
/// While the service is not ready the call waits, within its deadline; put tower's `LoadShed` around it to refuse instead.
pub fn from_tower<T>(service: T) -> FromTower<T>
where
    T: Service<Incoming, Response = Response, Error: Into<Failure>, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    FromTower(service)
}

/// Makes a handler of a tower service that cannot be cloned, such as tower's `RateLimit`: one after the other, calls wait until it
/// is ready, then run side by side.
pub fn from_tower_shared<T>(service: T) -> FromTowerShared<T>
where
    T: Service<Incoming, Response = Response, Error: Into<Failure>, Future: Send> + Send + 'static,
{
    FromTowerShared(Arc::new(Mutex::new(service)))
}

/// Makes a tower service of a handler. It is always ready: a handler refuses or waits inside its future.
pub fn into_tower<H: Handler>(handler: H) -> IntoTower<H> {
    IntoTower(handler)
}

/// Makes a layer for handlers of a layer for tower services whose service can be cloned.
///
/// ```
/// use std::time::Duration;
/// use polywire_core::{Body, Router, from_tower_layer};
/// use tower::{ServiceBuilder, limit::ConcurrencyLimitLayer, load_shed::LoadShedLayer, timeout::TimeoutLayer};
///
/// let limits = ServiceBuilder::new()
///     .layer(TimeoutLayer::new(Duration::from_secs(2)))
///     .layer(LoadShedLayer::new())
///     .layer(ConcurrencyLimitLayer::new(64))
///     .into_inner();
/// let router = Router::new()
///     .handle("echo", |body: Body| async move { body })
///     .layer(from_tower_layer(limits))
///     .build()?;
/// # Ok::<(), polywire_core::RegistryError>(())
/// ```
pub fn from_tower_layer<L>(layer: L) -> TowerLayer<L> {
    TowerLayer(layer)
}

/// As [`from_tower_layer`], for a layer whose service cannot be cloned; see [`from_tower_shared`].
pub fn from_tower_layer_shared<L>(layer: L) -> TowerLayerShared<L> {
    TowerLayerShared(layer)
}

/// A tower service as a handler; see [`from_tower`].
#[derive(Clone, Debug)]
pub struct FromTower<T>(T);

impl<T> Handler for FromTower<T>
where
    T: Service<Incoming, Response = Response, Error: Into<Failure>, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let mut service = self.0.clone();
        Box::pin(async move {
            poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
            service.call(incoming).await.map_err(Into::into)
        })
    }
}

/// A tower service that cannot be cloned, as a handler; see [`from_tower_shared`].
pub struct FromTowerShared<T>(Arc<Mutex<T>>);

impl<T> Handler for FromTowerShared<T>
where
    T: Service<Incoming, Response = Response, Error: Into<Failure>, Future: Send> + Send + 'static,
{
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let service = Arc::clone(&self.0);
        Box::pin(async move {
            // Held while it becomes ready, so that the one who is woken is the one who may call. What queues here is bounded by
            // the calls in flight.
            let mut service = service.lock_owned().await;
            poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
            let answer = service.call(incoming);
            drop(service);
            answer.await.map_err(Into::into)
        })
    }
}

impl<T> Clone for FromTowerShared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for FromTowerShared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromTowerShared")
    }
}

/// A handler as a tower service; see [`into_tower`].
#[derive(Clone, Debug)]
pub struct IntoTower<H>(H);

impl<H: Handler> Service<Incoming> for IntoTower<H> {
    type Response = Response;
    type Error = Failure;
    type Future = HandlerFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, incoming: Incoming) -> HandlerFuture {
        self.0.call(incoming)
    }
}

/// A tower layer as a layer for handlers; see [`from_tower_layer`].
#[derive(Clone, Debug)]
pub struct TowerLayer<L>(L);

impl<H: Handler, L: Layer<IntoTower<SharedHandler>>> Layer<H> for TowerLayer<L> {
    type Service = FromTower<L::Service>;

    fn layer(&self, inner: H) -> Self::Service {
        FromTower(self.0.layer(IntoTower(Arc::new(inner))))
    }
}

/// A tower layer whose service cannot be cloned, as a layer for handlers; see [`from_tower_layer_shared`].
#[derive(Clone, Debug)]
pub struct TowerLayerShared<L>(L);

impl<H: Handler, L: Layer<IntoTower<SharedHandler>>> Layer<H> for TowerLayerShared<L> {
    type Service = FromTowerShared<L::Service>;

    fn layer(&self, inner: H) -> Self::Service {
        FromTowerShared(Arc::new(Mutex::new(self.0.layer(IntoTower(Arc::new(inner))))))
    }
}

/// What a caller is told of an error of a tower middleware: a [`Failure`] that passed through as it was, tower's own `Elapsed` and
/// `Overloaded` by their codes. Any other is `internal`; its text is logged and not sent.
impl From<BoxError> for Failure {
    fn from(error: BoxError) -> Self {
        match error.downcast::<Failure>() {
            Ok(failure) => *failure,
            Err(error) if error.is::<tower::timeout::error::Elapsed>() => {
                Failure::new(Code::DeadlineExceeded, "no answer within the timeout of this route")
            }
            Err(error) if error.is::<tower::load_shed::error::Overloaded>() => {
                Failure::new(Code::ResourceExhausted, "this route has all the calls it takes at once")
                    .with_retry(Retry::Safe)
            }
            Err(error) => {
                tracing::error!(%error, "a tower middleware failed");
                Failure::new(Code::Internal, "the call could not be handled")
            }
        }
    }
}

#[cfg(test)]
mod tests;
