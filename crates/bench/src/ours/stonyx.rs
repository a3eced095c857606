//! Our Stonyx server as a contender: echoes, and tells everybody on demand.

use std::sync::{Arc, OnceLock};

use polywire_core::{
    Audience, Body, Code, Endpoint, Event, Failure, Handler, HandlerFuture, Incoming, JsonText, Limits,
    Response, Route,
};
use polywire_stonyx::{Config, listen};
use serde_json::value::RawValue;

use super::closed;
use crate::bare::stonyx::AUTH_KEY;

/// Echoes every request; `announce` pushes to all, as often as asked.
struct Service(Arc<OnceLock<Audience>>);

#[derive(serde::Deserialize)]
struct Announce {
    count: u64,
    body: Box<RawValue>,
}

impl Service {
    fn announce(&self, body: &Body) -> Option<Body> {
        let Body::Json(text) = body else { return None };
        let asked: Announce = text.parse().ok()?;
        let told = JsonText::new(asked.body.get().to_owned(), &Limits::default().json).ok()?;
        let event = Event::new(Route::from_static("announcement"), told);
        let audience = self.0.get()?;
        let mut reached = 0;
        for _ in 0..asked.count {
            reached = audience.broadcast(&event);
        }
        Body::json(&reached).ok()
    }
}

impl Handler for Service {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        if &*incoming.route == "announce" {
            let answer = self.announce(&incoming.body);
            let failure = || Failure::new(Code::InvalidArgument, "announce takes {count, body}");
            return Box::pin(async move { answer.map(Response::from).ok_or_else(failure) });
        }
        Box::pin(async move { Ok(Response { body: incoming.body, meta: incoming.meta }) })
    }
}

/// Serves until standard input closes.
///
/// # Errors
/// When it cannot listen.
pub(super) async fn serve() -> Result<(), String> {
    let audience = Arc::new(OnceLock::new());
    let endpoint = Endpoint::new("stonyx", Service(Arc::clone(&audience)));
    let server =
        listen("127.0.0.1:0", Config::new(AUTH_KEY), endpoint).await.map_err(|error| error.to_string())?;
    // Nobody else sets it.
    let _ = audience.set(server.audience());
    println!("READY {}", server.address());
    closed().await;
    server.shutdown().await;
    Ok(())
}
