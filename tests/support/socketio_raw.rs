//! A client of a Socket.IO server that writes HTTP and frames itself.

#![allow(dead_code, reason = "each test file uses its part")]

use std::time::Duration;

use polywire_core::{Peer, Server};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long anything may take that a test waits for.
const LIMIT: Duration = Duration::from_secs(60);

/// A client that writes frames itself.
pub(crate) struct Raw(TcpStream);

impl Raw {
    /// A stream on which nothing has been said.
    pub(crate) async fn dial(address: &str) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// A WebSocket whose session is open.
    pub(crate) async fn open(address: &str) -> Self {
        let mut raw = Self::dial(address).await;
        let head = raw.upgrade("").await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        assert!(raw.text().await.starts_with("0{"));
        raw
    }

    /// Asks by HTTP, with a body or without; the status and the body of the answer.
    pub(crate) async fn ask(&mut self, query: &str, body: Option<&str>) -> (u16, String) {
        let method = if body.is_some() { "POST" } else { "GET" };
        self.request(method, &format!("EIO=4&transport=polling{query}"), body.unwrap_or_default()).await
    }

    /// Any request; the status and the body of its answer.
    pub(crate) async fn request(&mut self, method: &str, query: &str, body: &str) -> (u16, String) {
        self.begin(method, query, body).await;
        self.answer().await
    }

    /// A request whose answer is read later.
    pub(crate) async fn begin(&mut self, method: &str, query: &str, body: &str) {
        let head = format!(
            "{method} /socket.io/?{query} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.write_all(head.as_bytes()).await.unwrap();
    }

    /// The status and the body of the next answer.
    pub(crate) async fn answer(&mut self) -> (u16, String) {
        let head = self.head().await.to_ascii_lowercase();
        let number = |name: &str| {
            let value = head.split(name).nth(1)?.split("\r\n").next()?;
            value.trim().parse::<usize>().ok()
        };
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        let mut text = vec![0; number("content-length:").unwrap_or_default()];
        timeout(LIMIT, self.0.read_exact(&mut text)).await.expect("an answer in time").unwrap();
        (status, String::from_utf8(text).unwrap())
    }

    /// Opens a session by a request; its id.
    pub(crate) async fn session(&mut self) -> String {
        let (status, text) = self.ask("", None).await;
        assert_eq!(status, 200, "{text}");
        let open: Value = serde_json::from_str(text.strip_prefix('0').unwrap()).unwrap();
        open["sid"].as_str().unwrap().to_owned()
    }

    /// Asks for a WebSocket; the head of the answer.
    pub(crate) async fn upgrade(&mut self, headers: &str) -> String {
        self.upgrade_of("", headers).await
    }

    /// The same with more in its query, such as `&sid=…`.
    pub(crate) async fn upgrade_of(&mut self, query: &str, headers: &str) -> String {
        self.upgrade_with(&format!("EIO=4&transport=websocket{query}"), headers).await
    }

    /// The same with this query.
    pub(crate) async fn upgrade_with(&mut self, query: &str, headers: &str) -> String {
        self.0.write_all(asked(query, headers).as_bytes()).await.unwrap();
        self.head().await
    }

    /// Asks for a WebSocket and sends these bytes along, before there is one; the head of the answer.
    pub(crate) async fn upgrade_along_with(&mut self, bytes: &[u8]) -> String {
        let head = asked("EIO=4&transport=websocket", "");
        self.0.write_all(&[head.as_bytes(), bytes].concat()).await.unwrap();
        self.head().await
    }

    async fn head(&mut self) -> String {
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            match timeout(LIMIT, self.0.read_u8()).await.unwrap() {
                Ok(byte) => answer.push(byte),
                Err(_) => break,
            }
        }
        String::from_utf8(answer).unwrap()
    }

    /// A WebSocket that has joined the main namespace. A ping that comes before that is answered.
    pub(crate) async fn join(address: &str) -> Self {
        let mut raw = Self::open(address).await;
        raw.send(&["40"]).await;
        loop {
            match raw.text().await {
                text if text.starts_with("40") => return raw,
                text if text == "2" => raw.send(&["3"]).await,
                _ => {}
            }
        }
    }

    /// Bytes as they are; `false` when the stream takes no more.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> bool {
        timeout(LIMIT, self.0.write_all(bytes)).await.is_ok_and(|written| written.is_ok())
    }

    /// Everything until the end of the stream.
    pub(crate) async fn rest(&mut self) -> String {
        let mut all = Vec::new();
        let read = async { while self.more(&mut all).await {} };
        timeout(LIMIT, read).await.expect("an end in time");
        String::from_utf8_lossy(&all).into_owned()
    }

    /// What comes next is put behind what there is; `false` at the end. Nothing is lost when it is given up.
    pub(crate) async fn more(&mut self, all: &mut Vec<u8>) -> bool {
        // A stream that was reset has ended too.
        self.0.read_buf(all).await.is_ok_and(|count| count > 0)
    }

    /// The code of the close frame that comes, if one does before the end.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        while let Some((opcode, payload)) = self.frame().await {
            if opcode == 8 {
                return payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            }
        }
        None
    }

    /// Text messages in one write.
    pub(crate) async fn send(&mut self, messages: &[&str]) {
        let frames: Vec<_> = messages.iter().map(|text| masked_frame(0x81, text.as_bytes())).collect();
        self.0.write_all(&frames.concat()).await.unwrap();
    }

    /// Binary messages in one write.
    pub(crate) async fn send_binary(&mut self, messages: &[&[u8]]) {
        let frames: Vec<_> = messages.iter().map(|bytes| masked_frame(0x82, bytes)).collect();
        self.0.write_all(&frames.concat()).await.unwrap();
    }

    /// Opcode and payload of the next frame; `None` at the end.
    pub(crate) async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let [first, length] = [self.0.read_u8().await?, self.0.read_u8().await?];
            let length = match length {
                126 => usize::from(self.0.read_u16().await?),
                127 => usize::try_from(self.0.read_u64().await?).unwrap(),
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).await?;
            std::io::Result::Ok((first & 15, payload))
        };
        timeout(LIMIT, read).await.expect("a frame in time").ok()
    }

    /// The next message, which is a text.
    pub(crate) async fn text(&mut self) -> String {
        let (_, payload) = self.frame().await.expect("a frame");
        String::from_utf8(payload).unwrap()
    }

    /// The next event of Socket.IO; pings are skipped.
    pub(crate) async fn event(&mut self) -> String {
        loop {
            let text = self.text().await;
            if text != "2" {
                return text;
            }
        }
    }

    /// Reads until the server ends the connection.
    pub(crate) async fn end(&mut self) {
        while let Some((opcode, _)) = self.frame().await {
            if opcode == 8 {
                return;
            }
        }
    }
}

/// The head of a request for a WebSocket.
fn asked(query: &str, headers: &str) -> String {
    format!(
        "GET /socket.io/?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         {headers}\r\n"
    )
}

/// Looks again and again, and lets others work in between.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let wait = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("{what} in time"));
}

/// The client that is there, once it is.
pub(crate) async fn one_peer(server: &Server) -> Peer {
    until("a peer", || !server.peers().is_empty()).await;
    server.peers().remove(0)
}

/// A frame with this first byte; its mask is zero.
pub(crate) fn masked_frame(first: u8, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match content.len() {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
        middle @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(middle).unwrap().to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(content);
    frame
}
