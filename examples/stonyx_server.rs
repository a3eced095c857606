//! A Stonyx server: a login with a name, a route, and pushes to one client and to all.
//!
//! The shared key comes from the environment; `STONYX_KEY=... polywire call 'stonyx://127.0.0.1:2667?key=env:STONYX_KEY' greet` calls it.

use std::error::Error;

use polywire_core::{Body, Credentials, Endpoint, Event, Identity, Peer, Refusal, Route, Router, Server};
use polywire_stonyx::{Config, listen};

async fn greet(peer: Peer) -> String {
    let name = peer.identity().map(|identity| identity.subject).unwrap_or_default();
    let pushed = Event::new(Route::from_static("greeted"), Body::null());
    // The client may have gone; then nobody waits for the answer either.
    let _ = peer.notify(pushed).await;
    format!("hello, {name}")
}

/// Who shows the shared key may come in, under the name in the further data of its login.
async fn login(shown: Credentials, key: String) -> Result<Identity, Refusal> {
    let right = shown.secret.is_some_and(|secret| secret.matches(key.as_bytes()));
    let data: serde_json::Value = match &shown.data {
        Body::Json(text) => text.parse().unwrap_or_default(),
        _ => serde_json::Value::Null,
    };
    match data["name"].as_str() {
        Some(name) if right => Ok(Identity::user(name.to_owned()).with_data(shown.data)),
        _ => Err(Refusal::new("a wrong key, or no name")),
    }
}

async fn start(address: &str, key: String) -> Result<Server, Box<dyn Error>> {
    let mut endpoint = Endpoint::new("stonyx", Router::new().handle("greet", greet).build()?);
    let config = Config::new(key.as_str());
    endpoint.authenticator = Some(std::sync::Arc::new(move |shown| login(shown, key.clone())));
    Ok(listen(address, config, endpoint).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = start("127.0.0.1:2667", std::env::var("STONYX_KEY")?).await?;
    println!("listening at {}", server.address());
    tokio::signal::ctrl_c().await?;
    server.audience().broadcast(&Event::new(Route::from_static("closing"), Body::null()));
    server.shutdown().await;
    Ok(())
}

#[cfg(test)]
#[tokio::test]
async fn it_knows_who_asks() -> Result<(), Box<dyn Error>> {
    let key = || "only for this test".to_owned();
    let server = start("127.0.0.1:0", key()).await?;
    let data = Body::json(&serde_json::json!({"name": "ann"}))?;
    let shown = Credentials { secret: Some(key().into()), data, ..Credentials::guest() };
    assert_eq!(login(shown.clone(), key()).await?.subject, "ann");
    assert!(login(Credentials { secret: None, ..shown }, key()).await.is_err());
    server.shutdown().await;
    Ok(())
}
