use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tower::limit::{ConcurrencyLimitLayer, RateLimitLayer};
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use tower::{ServiceBuilder, ServiceExt};

use super::*;
use crate::body::Body;
use crate::into_handler::IntoHandler;
use crate::peer::Peer;
use crate::route::Route;

fn request() -> Incoming {
    Incoming::request(Route::from_static("r"), Body::null(), Peer::in_memory())
}

fn echo() -> SharedHandler {
    IntoHandler::into_handler(|body: Body| async move { body }, &())
}

fn never() -> SharedHandler {
    IntoHandler::into_handler(std::future::pending::<()>, &())
}

#[tokio::test]
async fn a_handler_is_a_service_and_a_service_a_handler() {
    let answer = into_tower(echo()).oneshot(request()).await;
    assert_eq!(answer, Ok(Body::null().into()));
    let service =
        tower::service_fn(|incoming: Incoming| async move { Ok::<Response, Failure>(incoming.body.into()) });
    assert_eq!(from_tower(service).call(request()).await, Ok(Body::null().into()));
}

#[tokio::test(start_paused = true)]
async fn towers_timeout_answers_deadline_exceeded_and_lets_answers_and_failures_pass() {
    let timeout = from_tower_layer(TimeoutLayer::new(Duration::from_secs(2)));
    let before = tokio::time::Instant::now();
    let failure = timeout.layer(never()).call(request()).await.unwrap_err();
    assert_eq!((failure.code, before.elapsed()), (Code::DeadlineExceeded, Duration::from_secs(2)));
    assert_eq!(timeout.layer(echo()).call(request()).await, Ok(Body::null().into()));
    let no = Failure::new(Code::Unknown, "no");
    let answer = no.clone();
    let refuses = IntoHandler::into_handler(move || std::future::ready(answer.clone()), &());
    assert_eq!(timeout.layer(refuses).call(request()).await, Err(no));
}

#[tokio::test]
async fn load_shed_over_a_concurrency_limit_refuses_the_call_too_many() {
    let layers =
        ServiceBuilder::new().layer(LoadShedLayer::new()).layer(ConcurrencyLimitLayer::new(1)).into_inner();
    let handler = from_tower_layer(layers).layer(never());
    let mut running = handler.call(request());
    assert!(poll_once(&mut running).await.is_pending());
    let failure = handler.call(request()).await.unwrap_err();
    assert_eq!(failure.code, Code::ResourceExhausted);
    drop(running);
    assert!(poll_once(&mut handler.call(request())).await.is_pending(), "the place is free again");
}

#[tokio::test]
async fn a_concurrency_limit_alone_makes_calls_wait_and_a_dropped_waiter_keeps_no_place() {
    let go = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&go);
    let waits = IntoHandler::into_handler(
        move || {
            let gate = Arc::clone(&gate);
            async move { gate.acquire_owned().await.map(|permit| permit.forget()).unwrap_or_default() }
        },
        &(),
    );
    let handler = from_tower_layer(ConcurrencyLimitLayer::new(1)).layer(waits);
    let mut first = handler.call(request());
    let mut second = handler.call(request());
    let mut third = handler.call(request());
    assert!(poll_once(&mut first).await.is_pending());
    assert!(poll_once(&mut second).await.is_pending());
    assert!(poll_once(&mut third).await.is_pending());
    drop(second);
    go.add_permits(2);
    assert!(first.await.is_ok());
    assert!(third.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_that_cannot_be_cloned_is_shared_and_no_waiter_is_forgotten() {
    let begin = tokio::time::Instant::now();
    let handler = from_tower_layer_shared(RateLimitLayer::new(2, Duration::from_secs(1))).layer(echo());
    let calls = (0..7).map(|_| {
        let call = handler.call(request());
        tokio::spawn(async move { call.await.map(|_| begin.elapsed().as_secs()) })
    });
    let mut seconds = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        seconds.push(call.await.unwrap().unwrap());
    }
    assert_eq!(seconds, [0, 0, 1, 1, 2, 2, 3]);
}

/// A service that counts calls made without readiness.
#[derive(Debug)]
struct Strict {
    ready: bool,
    unready_calls: Arc<AtomicUsize>,
}

impl Clone for Strict {
    /// Readiness belongs to the value that was asked.
    fn clone(&self) -> Self {
        Self { ready: false, unready_calls: Arc::clone(&self.unready_calls) }
    }
}

impl Service<Incoming> for Strict {
    type Response = Response;
    type Error = Failure;
    type Future = HandlerFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if !std::mem::replace(&mut self.ready, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, incoming: Incoming) -> HandlerFuture {
        if !std::mem::take(&mut self.ready) {
            self.unready_calls.fetch_add(1, Ordering::Relaxed);
        }
        echo().call(incoming)
    }
}

#[tokio::test]
async fn no_service_is_called_that_was_not_ready() {
    let unready_calls = Arc::new(AtomicUsize::new(0));
    let strict = Strict { ready: false, unready_calls: Arc::clone(&unready_calls) };
    let cloned = from_tower(strict.clone());
    let shared = from_tower_shared(strict);
    for _ in 0..3 {
        assert!(cloned.call(request()).await.is_ok());
        let (one, two) = tokio::join!(shared.call(request()), shared.clone().call(request()));
        assert!(one.is_ok() && two.is_ok());
    }
    assert_eq!(unready_calls.load(Ordering::Relaxed), 0);
}

#[test]
fn an_unknown_error_of_a_middleware_is_not_shown_to_the_caller() {
    let error: BoxError = "secret".into();
    assert_eq!(Failure::from(error), Failure::new(Code::Internal, "the call could not be handled"));
}

async fn poll_once(future: &mut HandlerFuture) -> Poll<crate::handler::Answer> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}
