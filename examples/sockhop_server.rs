//! A Sockhop server: two routes, an event to every peer, and a drain at Ctrl-C.
//!
//! Every Sockhop peer can call it, also `polywire call sockhop://127.0.0.1:50000 greet '"you"'`.

use std::error::Error;

use polywire_core::{Body, Endpoint, Event, Json, Route, Router, Server};
use polywire_sockhop::{Config, listen};

async fn greet(Json(name): Json<String>) -> String {
    format!("hello, {name}")
}

async fn add(Json((a, b)): Json<(i64, i64)>) -> Json<i64> {
    Json(a.wrapping_add(b))
}

async fn start(address: &str) -> Result<Server, Box<dyn Error>> {
    let router = Router::new().handle("greet", greet).handle("add", add).build()?;
    Ok(listen(address, Config::default(), Endpoint::new("sockhop", router)).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = start("127.0.0.1:50000").await?;
    println!("listening at {}", server.address());
    tokio::signal::ctrl_c().await?;
    let closing = Event::new(Route::from_static("closing"), Body::Empty);
    println!("{} peers told", server.audience().broadcast(&closing));
    server.shutdown().await;
    Ok(())
}

#[cfg(test)]
#[tokio::test]
async fn it_answers() -> Result<(), Box<dyn Error>> {
    use polywire_core::Request;

    let server = start("127.0.0.1:0").await?;
    let nothing = Endpoint::new("sockhop", Router::new().build()?);
    let client = polywire_sockhop::dial(server.address(), Config::default(), nothing)?;
    let request = Request::new(Route::from_static("greet"), Body::json("you")?);
    assert_eq!(client.caller().call(request).await?.body, Body::json("hello, you")?);
    client.shutdown().await;
    server.shutdown().await;
    Ok(())
}
