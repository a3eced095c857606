//! The library under our Socket.IO server, used as its manual shows: a HyperHQ host of three handlers.

use std::io;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Data, SocketRef};
use socketioxide::handler::ConnectHandler;
use tokio::net::TcpListener;

#[derive(serde::Deserialize)]
struct Asked {
    #[serde(rename = "requestId")]
    id: String,
    method: String,
    params: Value,
}

/// Serves whoever connects.
///
/// # Errors
/// When accepting fails.
pub(crate) async fn serve(listener: TcpListener) -> io::Result<()> {
    let (service, io) = SocketIo::builder().max_buffer_size(4_096).build_svc();
    let all = io.clone();
    // Before CONNECT is answered: what a client sends at once would find no handler.
    let before = move |socket: SocketRef| {
        handlers(&socket, all.clone());
        std::future::ready(Ok::<_, std::convert::Infallible>(()))
    };
    let joined = async |_: SocketRef| {};
    io.ns("/", joined.with(before));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service.clone();
        tokio::spawn(async move {
            // How one client ends is its own measurement's business.
            let _ =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        });
    }
}

fn handlers(socket: &SocketRef, all: SocketIo) {
    socket.on("echo", async |Data::<Value>(value), acknowledge: AckSender| {
        let _ = acknowledge.send(&value);
    });
    socket.on("authenticate", async |socket: SocketRef, Data::<Value>(shown)| {
        let _ = socket.emit("authenticated", &json!({ "success": true, "pluginId": shown["pluginId"] }));
    });
    socket.on("subscribeEvents", async |socket: SocketRef, Data::<Value>(names)| {
        let _ = socket.emit("eventsSubscribed", &json!({ "events": names }));
    });
    socket.on("requestData", async move |socket: SocketRef, Data::<Asked>(asked)| {
        if asked.method == "announce" {
            let event = json!({ "type": "announcement", "data": asked.params["body"], "timestamp": 1_700_000_000_000_u64 });
            for _ in 0..asked.params["count"].as_u64().unwrap_or(0) {
                let _ = all.emit("hyperHqEvent", &event).await;
            }
        }
        let answer = json!({ "requestId": asked.id, "success": true, "data": asked.params });
        let _ = socket.emit("dataResponse", &answer);
        let _ = socket.emit("data_response", &answer);
    });
}
