//! The demo over routers of the tests.

use std::collections::BTreeSet;
use std::sync::Mutex;

use polywire_core::{Handler, HandlerFuture, Incoming, Kind, SharedHandler};
use tower_layer::layer_fn;

use super::*;

fn context() -> Context {
    Context { adapters: crate::adapters() }
}

/// Notes from which wire every request came.
struct Noting {
    inner: SharedHandler,
    noted: Arc<Mutex<Vec<&'static str>>>,
}

impl Handler for Noting {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        if incoming.kind == Kind::Request {
            self.noted.lock().unwrap().push(incoming.peer.wire());
        }
        self.inner.call(incoming)
    }
}

#[tokio::test]
async fn one_router_serves_every_wire_and_whoever_dials_one() {
    let noted = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&noted);
    let noting = layer_fn(move |inner| Noting { inner, noted: Arc::clone(&notes) });
    let context = context();
    let mut stage = Stage::new(&context, service::routes().layer(noting).build().unwrap());
    stage.open_all().await.unwrap();
    stage.round(1).await;
    stage.judge().unwrap();

    // Every row has asked once, but for those whose events nobody asks for.
    let asking = stage.rows().filter(|row| row.direction != "events bridged").count();
    let noted = noted.lock().unwrap().clone();
    assert_eq!(noted.len(), asking, "{noted:?}");
    assert_eq!(BTreeSet::from_iter(noted), context.adapters.names().collect());
    stage.close().await;
}

/// Answers where the handler fails.
struct Forgiving(SharedHandler);

impl Handler for Forgiving {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let answer = self.0.call(incoming);
        Box::pin(async { Ok(answer.await.unwrap_or_else(|_| Body::null().into())) })
    }
}

#[tokio::test]
async fn a_row_that_does_not_hold_is_named_and_ends_the_demo_with_9() {
    let router = service::routes().layer(layer_fn(Forgiving)).build().unwrap();
    let fault = perform(Args { once: true, json: true }, &context(), router).await.unwrap_err();
    assert_eq!((fault.exit, Exit::Findings as u8), (Exit::Findings, 9));
    let text = fault.to_string();
    assert!(text.starts_with("hpx, client asks: a failure came as an answer"), "{text}");
}
