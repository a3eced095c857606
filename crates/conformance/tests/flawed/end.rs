//! What is wrong behind the wire.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use polywire_core::{
    Authenticate, Body, Close, Code, Credentials, Failure, GAP, Handler, HandlerFuture, Incoming, Kind,
    Observe, Peer, Response, Route,
};

use super::Flaw;

/// What is heard although nobody says it.
const GHOST: Route = Route::from_static("echo.late.ghost");

/// A handler with a flaw in front of it.
pub(crate) struct Wrong {
    flaw: Flaw,
    inner: Arc<dyn Handler>,
    broken: Arc<AtomicBool>,
    calls: AtomicUsize,
}

impl Wrong {
    pub(crate) fn new(flaw: Flaw, inner: Arc<dyn Handler>, broken: Arc<AtomicBool>) -> Self {
        Self { flaw, inner, broken, calls: AtomicUsize::new(0) }
    }
}

impl Handler for Wrong {
    fn call(&self, mut incoming: Incoming) -> HandlerFuture {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        match self.flaw {
            Flaw::Twice => drop(self.inner.call(incoming.clone())),
            Flaw::Unnamed if incoming.route == GAP => incoming.route = Route::from_static("note"),
            Flaw::Late if incoming.kind == Kind::Event && number.is_multiple_of(2) => {
                let inner = Arc::clone(&self.inner);
                return Box::pin(async move {
                    tokio::task::yield_now().await;
                    inner.call(incoming).await
                });
            }
            Flaw::Rounded => {
                let Body::Json(text) = &incoming.body else { return self.inner.call(incoming) };
                let value: Result<serde_json::Value, _> = text.parse();
                incoming.body = value.map_or(Body::Empty, |value| Body::json(&value).unwrap());
            }
            Flaw::Filled if incoming.body == Body::null() || incoming.body == Body::Empty => {
                incoming.body = Body::json(&serde_json::json!({})).unwrap();
            }
            Flaw::Hasty => {
                let body = incoming.body.clone();
                drop(self.inner.call(incoming));
                return Box::pin(async { Ok(Response::from(body)) });
            }
            Flaw::Frank => {
                let answer = catch_unwind(AssertUnwindSafe(|| self.inner.call(incoming)));
                let told = |_| -> HandlerFuture {
                    Box::pin(async { Err(Failure::new(Code::Internal, "panicked: on purpose")) })
                };
                return answer.unwrap_or_else(told);
            }
            _ => {}
        }
        let answer = self.inner.call(incoming);
        let broken = self.flaw == Flaw::Fragile && self.broken.load(Ordering::Relaxed);
        let wrong = broken || self.flaw == Flaw::Swapped && number % 3 == 2;
        Box::pin(async move {
            let answer = answer.await?;
            Ok(if wrong { Response::from(Body::null()) } else { answer })
        })
    }
}

/// Has a handler hear of whoever leaves.
pub(crate) struct Haunting {
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) next: Option<Arc<dyn Observe>>,
}

impl Observe for Haunting {
    fn connected(&self, peer: &Peer) {
        self.next.iter().for_each(|next| next.connected(peer));
    }

    fn disconnected(&self, peer: &Peer, reason: &Close) {
        drop(self.handler.call(Incoming::request(GHOST, Body::Empty, peer.clone())));
        self.next.iter().for_each(|next| next.disconnected(peer, reason));
    }

    fn turned_away(&self, reason: &Close) {
        self.next.iter().for_each(|next| next.turned_away(reason));
    }
}

/// A judge who has a handler hear of whoever is judged.
pub(crate) fn eager(handler: Arc<dyn Handler>, judge: Arc<dyn Authenticate>) -> Arc<dyn Authenticate> {
    Arc::new(move |credentials: Credentials| {
        drop(handler.call(Incoming::request(GHOST, Body::Empty, Peer::in_memory())));
        judge.authenticate(credentials)
    })
}
