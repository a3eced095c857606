//! A layer of one's own: a `tower::Layer` that keeps a route for members, around any handler or router.

use std::error::Error;
use std::future::ready;

use polywire_core::{
    Body, Code, Failure, Handler, HandlerFuture, Identity, Incoming, IntoHandler, Peer, Route, Router,
};
use tower::Layer;

/// Lets through who has logged in with a name.
#[derive(Clone, Copy)]
struct MembersOnly;

impl<H: Handler> Layer<H> for MembersOnly {
    type Service = Members<H>;

    fn layer(&self, inner: H) -> Members<H> {
        Members(inner)
    }
}

struct Members<H>(H);

impl<H: Handler> Handler for Members<H> {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        if incoming.identity().is_some_and(|who| !who.guest) {
            return self.0.call(incoming);
        }
        Box::pin(ready(Err(Failure::new(Code::PermissionDenied, "this is for members"))))
    }
}

async fn news() -> &'static str {
    "nothing new"
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let router = Router::new()
        .handle("news", news)
        .handle("archive", news.layer(MembersOnly)) // around one route; `.layer(…)` of the router is around all
        .build()?;

    assert!(router.request("news", Body::Empty).await.is_ok());
    let refused = router.request("archive", Body::Empty).await.map_err(|failure| failure.code);
    assert_eq!(refused, Err(Code::PermissionDenied));

    let mut incoming = Incoming::request(Route::from_static("archive"), Body::Empty, Peer::in_memory());
    incoming.speaker = Some(Identity::user("alice").into());
    println!("alice reads: {:?}", router.call(incoming).await?.body);
    Ok(())
}

#[test]
fn it_runs() -> Result<(), Box<dyn Error>> {
    main()
}
