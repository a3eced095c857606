//! An HPX server: functions by name, a login, and what the caller's name is.
//!
//! `polywire call 'hpx://alice@127.0.0.1:7007?password=env:P' add '{"a":1,"b":2}'` calls it.

use std::error::Error;
use std::sync::Arc;

use polywire_core::{Code, Endpoint, Failure, Identity, Json, Router, Secret};
use polywire_hpx::{HpxServer, ServerConfig, Users};

#[derive(serde::Deserialize)]
struct Add {
    a: i64,
    b: i64,
}

async fn add(Json(Add { a, b }): Json<Add>) -> Result<Json<i64>, Failure> {
    let sum = a.checked_add(b).map(Json);
    sum.ok_or_else(|| Failure::new(Code::InvalidArgument, "the sum has more than 64 bits"))
}

async fn whoami(identity: Identity) -> String {
    identity.subject.to_string()
}

async fn start(address: &str, password: &Secret) -> Result<HpxServer, Box<dyn Error>> {
    let router = Router::new().handle("add", add).handle("whoami", whoami).build()?;
    let mut endpoint = Endpoint::new("hpx", router);
    endpoint.authenticator = Some(Arc::new(Users::new().with("alice", password)));
    Ok(HpxServer::bind(address, ServerConfig::default(), endpoint).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = start("127.0.0.1:7007", &std::env::var("P")?.into()).await?;
    println!("listening at {}", server.address());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}

#[cfg(test)]
#[tokio::test]
async fn it_answers_who_logs_in() -> Result<(), Box<dyn Error>> {
    use polywire_core::{Body, Credentials, Request, Route};

    let server = start("127.0.0.1:0", &"swordfish".into()).await?;
    let alice = Arc::new(Credentials::new("alice", "swordfish"));
    let nothing = Endpoint::new("hpx", Router::new().build()?);
    let (address, config) = (server.address(), Default::default());
    let client = polywire_hpx::HpxClient::connect(address, alice, config, nothing)?;
    let whoami = client.call(Request::new(Route::from_static("whoami"), Body::Empty)).await?;
    assert_eq!(whoami.body, Body::json("alice")?);
    client.shutdown().await;
    server.shutdown().await;
    Ok(())
}
