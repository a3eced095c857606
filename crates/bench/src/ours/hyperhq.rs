//! Our HyperHQ host as a contender: answers with what it was asked, and tells everybody on demand.

use std::sync::{Arc, OnceLock};

use polywire_core::{
    Body, Code, Endpoint, Event, Failure, Handler, HandlerFuture, Incoming, JsonText, Limits, Response,
    Route, Secret,
};
use polywire_hyperhq::{Host, HostConfig};
use serde_json::value::RawValue;

use super::closed;
use crate::load::hyperhq::{MEMBERS, challenge, plugin};

#[derive(serde::Deserialize)]
struct Announce {
    count: u64,
    body: Box<RawValue>,
}

/// Answers with the parameters; `announce` tells all, as often as asked.
struct Service(Arc<OnceLock<Host>>);

impl Service {
    fn announce(&self, body: &Body) -> Option<()> {
        let Body::Json(text) = body else { return None };
        let asked: Announce = text.parse().ok()?;
        let told = JsonText::new(asked.body.get().to_owned(), &Limits::default().json).ok()?;
        let event = Event::new(Route::from_static("announcement"), told);
        let host = self.0.get()?;
        for _ in 0..asked.count {
            host.broadcast(&event);
        }
        Some(())
    }
}

impl Handler for Service {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        if &*incoming.route == "announce" && self.announce(&incoming.body).is_none() {
            let failure = Failure::new(Code::InvalidArgument, "announce takes {count, body}");
            return Box::pin(async move { Err(failure) });
        }
        Box::pin(async move { Ok(Response::from(incoming.body)) })
    }
}

/// Serves until standard input closes.
///
/// # Errors
/// When it cannot listen.
pub(super) async fn serve() -> Result<(), String> {
    let cell = Arc::new(OnceLock::new());
    let endpoint = Endpoint::new("hyperhq", Service(Arc::clone(&cell)));
    let now = endpoint.surroundings.clock.now();
    let config = HostConfig {
        port: Some(0),
        challenge_life: std::time::Duration::from_secs(60),
        challenge_reuse_within_life: true,
        ..HostConfig::default()
    };
    let host = Host::listen(config, endpoint).await.map_err(|error| error.to_string())?;
    for number in 0..MEMBERS {
        host.plugins().admit(&plugin(number), Secret::from(challenge(number)), now);
    }
    println!("READY 127.0.0.1:{}", host.port());
    // Nobody else sets it.
    let _ = cell.set(host);
    closed().await;
    Ok(())
}
