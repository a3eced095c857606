//! An axum application and Socket.IO on one port: `GET /hello` is the application's, whatever begins with `/socket.io` is not.

use std::{error::Error, time::Duration};

use axum::{Router as App, routing::get};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use polywire_core::{Endpoint, Json, Router};
use polywire_socketio::{Mount, ServerConfig, mount};
use tokio::net::TcpListener;

async fn accept(listener: TcpListener, mount: Mount, app: App) -> Result<(), Box<dyn Error>> {
    loop {
        let (stream, address) = listener.accept().await?;
        let Some((stream, door)) = mount.guard(stream, Some(address.to_string())) else { continue };
        let service = door.beside(TowerToHyperService::new(app.clone()));
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
        tokio::spawn(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    }
}

async fn serve(listener: TcpListener) -> Result<(), Box<dyn Error>> {
    let router =
        Router::new().handle("echo", async |Json(value): Json<serde_json::Value>| Json(value)).build()?;
    let (_server, mount) = mount(ServerConfig::default(), Endpoint::new("socketio", router))?;
    accept(listener, mount, App::new().route("/hello", get(async || "hello"))).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    serve(TcpListener::bind("127.0.0.1:3000").await?).await
}

#[cfg(test)]
#[tokio::test]
async fn both_are_served_on_one_port() -> Result<(), Box<dyn Error>> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let asked = async {
        for (path, expected) in [("/hello", "hello"), ("/socket.io/?EIO=4&transport=polling", "upgrades")] {
            let mut stream = tokio::net::TcpStream::connect(address).await?;
            stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: x\r\n\r\n").as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            assert!(answer.contains(expected), "{answer}");
        }
        Ok(())
    };
    tokio::select! { ended = serve(listener) => ended, asked = asked => asked }
}
