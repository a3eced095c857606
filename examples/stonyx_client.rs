//! A Stonyx client: logs in with a name, calls a route, hears what the server pushes, and reconnects by itself.
//!
//! It calls the server given, such as that of the example `stonyx_server`; the shared key comes from the environment.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use polywire_core::{Body, Credentials, Endpoint, Request, Route, Router};
use polywire_stonyx::{Config, dial};
use tokio::sync::mpsc;

async fn run(address: &str, key: &str) -> Result<String, Box<dyn Error>> {
    let (tell, mut pushed) = mpsc::channel(16);
    let router = Router::new().on("greeted", move |body: Body| {
        let tell = tell.clone();
        async move {
            // Nobody may be interested any more.
            let _ = tell.send(body).await;
        }
    });
    // Asked anew at every login; here it is always the same.
    let data = Body::json(&serde_json::json!({"name": "ann"}))?;
    let credentials = Arc::new(Credentials { data, ..Credentials::guest() });
    let endpoint = Endpoint::new("stonyx", router.build()?);
    let client = dial(address, Config::new(key), credentials, endpoint)?;
    client.ready().await?;

    let request = Request::new(Route::from_static("greet"), Body::null()).timeout(Duration::from_secs(2));
    let answer = client.caller().call(request).await?;
    let pushed = tokio::time::timeout(Duration::from_secs(2), pushed.recv()).await?;
    client.shutdown().await;
    Ok(format!("{:?}, and pushed: {pushed:?}", answer.body))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2667".to_owned());
    println!("{}", run(&address, &std::env::var("STONYX_KEY")?).await?);
    Ok(())
}

#[cfg(test)]
#[tokio::test]
async fn it_calls_and_hears() -> Result<(), Box<dyn Error>> {
    use polywire_core::{Event, Peer};

    let greet = |peer: Peer| async move {
        peer.notify(Event::new(Route::from_static("greeted"), Body::null())).await?;
        Ok::<_, polywire_core::Failure>("hello".to_owned())
    };
    let endpoint = Endpoint::new("stonyx", Router::new().handle("greet", greet).build()?);
    let server = polywire_stonyx::listen("127.0.0.1:0", Config::new("only for this test"), endpoint).await?;
    assert!(run(server.address(), "only for this test").await?.contains("pushed: Some"));
    Ok(())
}
