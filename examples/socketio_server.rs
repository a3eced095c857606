//! A Socket.IO server with rooms: whoever has joined one hears what is said in it.
//!
//! Any client of `http://127.0.0.1:3000/chat` works: `emit("join", "tea", ok => …)`, `emit("say", { room: "tea", words: "hello" })`.

use std::error::Error;

use polywire_core::{Body, Endpoint, Event, Hub, HubConfig, Json, Peer, Route, Router, Server};
use polywire_socketio::{ServerConfig, listen};
use serde_json::Value;

async fn serve(address: &str) -> Result<Server, Box<dyn Error>> {
    let rooms = Hub::new(HubConfig::default())?;
    let said_in = rooms.clone();
    let router = Router::new()
        .handle("join", move |peer: Peer, Json(room): Json<String>| {
            let joined = rooms.join(room, &peer).map(|()| Json(true));
            async move { joined }
        })
        .on("say", move |Json(said): Json<Value>| {
            if let (Some(room), Ok(words)) = (said["room"].as_str(), Body::json(&said["words"])) {
                said_in.publish(room, &Event::new(Route::from_static("said"), words));
            }
            async {}
        })
        .build()?;
    Ok(listen(address, ServerConfig::new(["/chat"]), Endpoint::new("socketio", router)).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = serve("127.0.0.1:3000").await?;
    println!("listening at {}", server.address());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}

#[cfg(test)]
#[tokio::test]
async fn a_room_hears_what_is_said_in_it() -> Result<(), Box<dyn Error>> {
    use polywire_core::{Credentials, Request};
    let server = serve("127.0.0.1:0").await?;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let router = Router::new()
        .on("said", move |Json(words): Json<String>| {
            let told = tell.send(words);
            async { told.unwrap_or_default() }
        })
        .build()?;
    let (endpoint, guest) = (Endpoint::new("socketio", router), std::sync::Arc::new(Credentials::guest()));
    let config = polywire_socketio::Config::new("/chat");
    let client = polywire_socketio::dial(server.address(), config, guest, endpoint)?;
    client.caller().call(Request::new(Route::from_static("join"), Body::json("tea")?)).await?;
    for (room, words) in [("coffee", "not heard"), ("tea", "hello")] {
        let body = Body::json(&serde_json::json!({ "room": room, "words": words }))?;
        client.caller().notify(Event::new(Route::from_static("say"), body)).await?;
    }
    assert_eq!(told.recv().await.as_deref(), Some("hello"));
    Ok(())
}
