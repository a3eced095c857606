//! An HPX client: logs in as a guest, calls functions one by one and several in one message.
//!
//! It calls the server given, such as `127.0.0.1:7007` where `polywire serve hpx://127.0.0.1:7007` runs.

use std::error::Error;
use std::sync::Arc;

use polywire_core::{Body, Credentials, Endpoint, Request, Route, Router};
use polywire_hpx::{ClientConfig, HpxClient};
use serde_json::json;

fn add(a: i64, b: i64) -> Result<Request, serde_json::Error> {
    Ok(Request::new(Route::from_static("add"), Body::json(&json!({"a": a, "b": b}))?))
}

async fn run(address: &str) -> Result<(), Box<dyn Error>> {
    let guest = Arc::new(Credentials::guest());
    let nothing = Endpoint::new("hpx", Router::new().build()?);
    let client = HpxClient::connect(address, guest, ClientConfig::default(), nothing)?;
    client.ready().await?;

    let sum = client.call(add(40, 2)?).await?;
    assert_eq!(sum.body, Body::json(&42)?);

    for (n, outcome) in client.batch(vec![add(1, 1)?, add(2, 2)?]).await.into_iter().enumerate() {
        match outcome {
            Ok(response) => println!("{n}: {:?}", response.body),
            Err(error) => println!("{n}: {error}"),
        }
    }
    client.shutdown().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    run(&std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7007".to_owned())).await
}

#[cfg(test)]
#[tokio::test]
async fn it_calls() -> Result<(), Box<dyn Error>> {
    use polywire_core::Json;
    use polywire_hpx::{HpxServer, ServerConfig};

    let router = Router::new().handle("add", || async { Json(42) }).build()?;
    let endpoint = Endpoint::new("hpx", router);
    let config = ServerConfig { guests: true, ..ServerConfig::default() };
    run(HpxServer::bind("127.0.0.1:0", config, endpoint).await?.address()).await
}
