//! Socket.IO without a framework: a server, as the far end of clients under measurement, that grants the main namespace and
//! acknowledges every event with its first argument; and a client that asks it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use futures_core::Stream;
use futures_sink::Sink;
use serde_json::value::RawValue;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

const OPEN: &str =
    r#"0{"sid":"bench","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;

/// Serves whoever connects.
///
/// # Errors
/// When accepting fails.
pub(crate) async fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // How one client ends is its own measurement's business.
        tokio::spawn(async move { drop(client(stream).await) });
    }
}

async fn client(stream: TcpStream) -> io::Result<()> {
    let mut socket = tokio_tungstenite::accept_async(stream).await.map_err(io::Error::other)?;
    feed(&mut socket, OPEN.to_owned()).await?;
    flush(&mut socket).await?;
    loop {
        let Some(text) = receive(&mut socket).await? else { return Ok(()) };
        match answer(&text) {
            Some(answer) => feed(&mut socket, answer).await?,
            None if text.starts_with("40") => {
                feed(&mut socket, r#"40{"sid":"S"}"#.to_owned()).await?;
            }
            None => {}
        }
    }
}

/// `437[X]` for `427["echo",X]`.
fn answer(text: &str) -> Option<String> {
    let (id, rest) = text.strip_prefix("42")?.split_once("[\"echo\",")?;
    Some(format!("43{id}[{rest}"))
}

/// The next text; what was answered leaves before this waits.
async fn receive(socket: &mut WebSocketStream<TcpStream>) -> io::Result<Option<String>> {
    let message = poll_fn(|cx| match Pin::new(&mut *socket).poll_next(cx) {
        Poll::Pending => {
            // Pending or failed, the next turn tells.
            let _ = Pin::new(&mut *socket).poll_flush(cx);
            Poll::Pending
        }
        ready => ready,
    })
    .await;
    match message {
        Some(Ok(Message::Text(text))) => Ok(Some(text.as_str().to_owned())),
        Some(Ok(_)) => Ok(Some(String::new())),
        Some(Err(error)) => Err(io::Error::other(error)),
        None => Ok(None),
    }
}

/// A client in the main namespace.
pub(crate) struct Asking(WebSocketStream<TcpStream>);

impl Asking {
    /// Connects and joins.
    ///
    /// # Errors
    /// When the server cannot be reached or leaves.
    pub(crate) async fn join(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.map_err(io::Error::other)?;
        feed(&mut socket, "40".to_owned()).await?;
        loop {
            let text = receive(&mut socket).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if text.starts_with("40") {
                return Ok(Self(socket));
            }
        }
    }

    /// Makes `calls` acknowledged calls, `in_flight` at a time.
    ///
    /// # Errors
    /// When the server leaves or answers something else.
    pub(crate) async fn calls(&mut self, calls: u64, in_flight: u64, body: &RawValue) -> io::Result<()> {
        let (mut sent, mut answered) = (0, 0);
        while answered < calls {
            while sent < calls && sent - answered < in_flight {
                feed(&mut self.0, format!(r#"42{sent}["echo",{body}]"#)).await?;
                sent += 1;
            }
            let text = receive(&mut self.0).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if let Some(answer) = text.strip_prefix("43") {
                let arguments = answer.find('[').map(|start| &answer[start..]).unwrap_or_default();
                let [argument]: [&RawValue; 1] = serde_json::from_str(arguments)?;
                if argument.get() != body.get() {
                    return Err(io::Error::other("another answer"));
                }
                answered += 1;
            }
        }
        Ok(())
    }
}

async fn feed(socket: &mut WebSocketStream<TcpStream>, text: String) -> io::Result<()> {
    poll_fn(|cx| Pin::new(&mut *socket).poll_ready(cx)).await.map_err(io::Error::other)?;
    Pin::new(&mut *socket).start_send(Message::text(text)).map_err(io::Error::other)
}

async fn flush(socket: &mut WebSocketStream<TcpStream>) -> io::Result<()> {
    poll_fn(|cx| Pin::new(&mut *socket).poll_flush(cx)).await.map_err(io::Error::other)
}
