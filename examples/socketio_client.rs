//! A Socket.IO client of the namespace `/realtime`: shows a fresh token at every connect, hears events with any arguments, emits,
//! asks, and says how the connection ended. It reconnects by itself.

use std::error::Error;
use std::sync::Arc;

use polywire_core::{
    Body, Close, Code, Credentials, Endpoint, Event, Failure, Incoming, Meta, Observe, Peer, Request, Route,
    Router,
};
use polywire_socketio::{Arguments, Config, dial};

/// Tells an end that was meant from one that was not.
struct Ends;

impl Observe for Ends {
    fn connected(&self, peer: &Peer) {
        println!("connected to {}", peer.address().unwrap_or_default());
    }

    fn disconnected(&self, _: &Peer, reason: &Close) {
        let meant = matches!(reason, Close::Local | Close::Shutdown | Close::Peer | Close::Dismissed(_));
        println!("{}: {reason}", if meant { "closed" } else { "lost" });
    }
}

/// Asked anew before every connect; `attempt` counts those since the last that succeeded.
async fn token(attempt: u32) -> Result<Credentials, Failure> {
    let data = Body::json(&serde_json::json!({ "token": format!("tok-{attempt}") }));
    let data = data.map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    Ok(Credentials { data, ..Credentials::guest() })
}

/// Emits and asks; gives back the answer.
pub(crate) async fn run(address: &str) -> Result<Body, Box<dyn Error>> {
    let router = Router::new()
        .on(
            "echo-back",
            |incoming: Incoming| async move { println!("{}: {:?}", incoming.route, incoming.body) },
        )
        .build()?;
    let endpoint = Endpoint { observer: Some(Arc::new(Ends)), ..Endpoint::new("socketio", router) };
    // Every body is the array of all arguments.
    let config = Config { arguments: Arguments::List, ..Config::new("/realtime") };
    let client = dial(address, config, Arc::new(token), endpoint)?;
    client.ready().await?;
    let (route, body) =
        (Route::from_static("echo"), Body::json(&serde_json::json!([1, "two", {"three": []}]))?);
    client.caller().notify(Event { route: route.clone(), body: body.clone(), meta: Meta::default() }).await?;
    let answer = client.caller().call(Request::new(route, body)).await?;
    client.shutdown().await;
    Ok(answer.body)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    println!("{:?}", run(&address).await?);
    Ok(())
}
