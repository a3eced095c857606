//! A HyperHQ host: listens, launches the plugin given, drives it once, tells it an event, and ends it.
//!
//! Run it with a plugin's program, such as that of the example `hyperhq_plugin`.

use std::error::Error;
use std::time::Duration;

use polywire_core::{Body, Endpoint, Event, Json, Peer, Request, Route, Router};
use polywire_hyperhq::{Farewell, Host, HostConfig, Launch};
use serde_json::{Value, json};

async fn systems() -> Json<Value> {
    Json(json!([{ "id": "sys-1", "name": "Arcade", "referenceId": "arcade" }]))
}

/// The plugin, once it is logged in.
async fn logged_in(host: &Host, id: &str) -> Peer {
    loop {
        if let Some(plugin) = host.plugin(id) {
            return plugin;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn run(program: &str) -> Result<(Vec<Body>, Farewell), Box<dyn Error>> {
    let router = Router::new().handle("getSystems", systems).build()?;
    let host = Host::listen(HostConfig::default(), Endpoint::new("hyperhq", router)).await?;
    let mut process = host.launch(&Launch::new(program, "demo", host.port()))?;
    let plugin = tokio::time::timeout(Duration::from_secs(30), logged_in(&host, "demo")).await?;
    let mut answers = Vec::new();
    for (method, data) in [
        ("initialize", json!({ "settings": {}, "pluginData": {} })),
        ("test", json!({})),
        ("execute", json!({ "action": "sync" })),
    ] {
        let game = Body::json(&json!({ "gameId": "game-1" }))?;
        host.broadcast(&Event::new(Route::from_static("gameLaunched"), game));
        let request = Request::new(Route::new(method)?, Body::json(&data)?).timeout(Duration::from_secs(30));
        answers.push(plugin.call(request).await?.body);
    }
    // With an answer or without, and at the latest after twice this time.
    let (farewell, _) = host.end(&mut process, "demo", Duration::from_secs(5)).await?;
    host.shutdown().await;
    Ok((answers, farewell))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let program = std::env::args().nth(1).ok_or("the program of a plugin is needed")?;
    println!("{:?}", run(&program).await?);
    Ok(())
}
