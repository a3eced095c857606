//! The opening handshake of both ends: one HTTP request, one answer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;

use super::{Settings, WebSocket, WebSocketError};

/// Most header lines of one head.
const MAX_HEADERS: usize = 64;

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    /// The `Host` header: the server's name, and its port unless it is the scheme's own.
    pub host: &'a str,
    /// The path with its query, such as `/socket.io/?EIO=4&transport=websocket`.
    pub path: &'a str,
    /// Further headers, by name and value.
    pub headers: &'a [(String, String)],
}

/// The head of a request, or of an answer.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The path with its query as it was asked for; empty in an answer.
    pub path: String,
    method: String,
    status: u16,
    reason: String,
    headers: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// The first header of this name, without regard to case; `None` when it is absent or not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// Is `word` one of the comma-separated words of this header?
    fn lists(&self, name: &str, word: &str) -> bool {
        self.headers
            .iter()
            .filter(|(have, _)| have.eq_ignore_ascii_case(name))
            .filter_map(|(_, value)| std::str::from_utf8(value).ok())
            .flat_map(|value| value.split(','))
            .any(|have| have.trim().eq_ignore_ascii_case(word))
    }

    fn with_headers(mut self, headers: &[httparse::Header<'_>]) -> Self {
        self.headers = headers.iter().map(|header| (header.name.to_owned(), header.value.to_vec())).collect();
        self
    }
}

/// An answer instead of a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The HTTP status.
    pub status: u16,
    /// Its reason phrase, which is the body too.
    pub reason: &'static str,
}

impl Denial {
    /// The request is no WebSocket handshake. The body is what the `ws` package answers.
    pub const UPGRADE_REQUIRED: Self = Self { status: 426, reason: "Upgrade Required" };
    /// The handshake is malformed.
    pub const BAD_REQUEST: Self = Self { status: 400, reason: "Bad Request" };
    /// This client is not let in.
    pub const FORBIDDEN: Self = Self { status: 403, reason: "Forbidden" };
}

/// Opens a WebSocket as a client, over a stream that is connected (and under TLS where that is wanted).
///
/// # Errors
/// [`WebSocketError::Status`] when the server answers anything but 101; others when it is no HTTP server.
///
/// # Cancel safety
/// Dropped before it is ready, the stream is dropped too.
pub async fn connect<Io>(
    mut io: Io,
    opening: Opening<'_>,
    settings: Settings,
) -> Result<WebSocket<Io>, WebSocketError>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|_| WebSocketError::Handshake("the system has no randomness"))?;
    let key = STANDARD.encode(nonce);
    let mut request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n",
        line(opening.path)?,
        line(opening.host)?,
    );
    for (name, value) in opening.headers {
        request.push_str(line(name)?);
        request.push_str(": ");
        request.push_str(line(value)?);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    io.write_all(request.as_bytes()).await?;
    io.flush().await?;
    let (head, rest) = read_head(&mut io, settings.max_head_bytes, answer).await?;
    if head.status != 101 {
        let reason = head.reason.chars().take(64).collect();
        return Err(WebSocketError::Status { status: head.status, reason });
    }
    if !head.lists("upgrade", "websocket") || !head.lists("connection", "upgrade") {
        return Err(WebSocketError::Handshake("the answer does not switch to websocket"));
    }
    if head.header("sec-websocket-accept") != Some(&derive_accept_key(key.as_bytes())) {
        return Err(WebSocketError::Handshake("Sec-WebSocket-Accept does not match the key"));
    }
    if head.header("sec-websocket-extensions").is_some() || head.header("sec-websocket-protocol").is_some() {
        return Err(WebSocketError::Handshake("the server chose an extension or subprotocol nobody offered"));
    }
    Ok(WebSocket::new(io, Role::Client, settings, rest))
}

/// Opens a WebSocket as a server. `check` sees the request and may deny it. The first subprotocol offered is chosen, as the `ws`
/// package does; extensions are not.
///
/// # Errors
/// [`WebSocketError::Denied`] after the answer was sent; others when the client speaks no HTTP.
///
/// # Cancel safety
/// Dropped before it is ready, the stream is dropped too.
pub async fn accept<Io>(
    mut io: Io,
    settings: Settings,
    check: impl FnOnce(&Head) -> Result<(), Denial>,
) -> Result<WebSocket<Io>, WebSocketError>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let (head, rest) = match read_head(&mut io, settings.max_head_bytes, request).await {
        Ok(read) => read,
        Err(error @ (WebSocketError::Handshake(_) | WebSocketError::HeadTooLarge(_))) => {
            deny(&mut io, &Denial::BAD_REQUEST).await?;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    let key = match key_of(&head).and_then(|key| check(&head).map(|()| key)) {
        Ok(key) => key,
        Err(denial) => {
            deny(&mut io, &denial).await?;
            return Err(WebSocketError::Denied(denial.status));
        }
    };
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n",
        derive_accept_key(key.as_bytes())
    );
    if let Some(first) = head.header("sec-websocket-protocol").and_then(|list| list.split(',').next()) {
        answer.push_str("Sec-WebSocket-Protocol: ");
        answer.push_str(line(first.trim())?);
        answer.push_str("\r\n");
    }
    answer.push_str("\r\n");
    io.write_all(answer.as_bytes()).await?;
    io.flush().await?;
    Ok(WebSocket::new(io, Role::Server, settings, rest))
}

/// The key of a well-formed handshake.
fn key_of(head: &Head) -> Result<&str, Denial> {
    if head.method != "GET" {
        return Err(Denial { status: 405, reason: "Method Not Allowed" });
    }
    if !head.lists("upgrade", "websocket") || !head.lists("connection", "upgrade") {
        return Err(Denial::UPGRADE_REQUIRED);
    }
    let key = head.header("sec-websocket-key").unwrap_or_default();
    let sound = STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16);
    if !sound || head.header("sec-websocket-version") != Some("13") {
        return Err(Denial::BAD_REQUEST);
    }
    Ok(key)
}

async fn deny<Io: AsyncWrite + Unpin>(io: &mut Io, denial: &Denial) -> Result<(), WebSocketError> {
    let Denial { status, reason } = denial;
    let answer = format!(
        "HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{reason}",
        reason.len()
    );
    io.write_all(answer.as_bytes()).await?;
    io.shutdown().await?;
    Ok(())
}

/// Nothing that would begin another line.
fn line(text: &str) -> Result<&str, WebSocketError> {
    if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return Err(WebSocketError::Handshake("a path or header holds a control character"));
    }
    Ok(text)
}

/// Reads until `parse` finds a whole head; gives back what was read beyond it too.
async fn read_head<Io: AsyncRead + Unpin>(
    io: &mut Io,
    max: usize,
    parse: impl Fn(&[u8]) -> Result<Option<(Head, usize)>, WebSocketError>,
) -> Result<(Head, Vec<u8>), WebSocketError> {
    let mut read = BytesMut::with_capacity(1_024);
    loop {
        if io.read_buf(&mut read).await? == 0 {
            return Err(WebSocketError::Cut);
        }
        if let Some((head, length)) = parse(&read)? {
            return Ok((head, read.get(length..).unwrap_or_default().to_vec()));
        }
        if read.len() > max {
            return Err(WebSocketError::HeadTooLarge(max));
        }
    }
}

const NO_HTTP: WebSocketError = WebSocketError::Handshake("the peer does not speak HTTP/1.1");

fn request(bytes: &[u8]) -> Result<Option<(Head, usize)>, WebSocketError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = request.parse(bytes).map_err(|_| NO_HTTP)? else {
        return Ok(None);
    };
    let head = Head {
        path: request.path.unwrap_or_default().to_owned(),
        method: request.method.unwrap_or_default().to_owned(),
        ..Head::default()
    };
    Ok(Some((head.with_headers(request.headers), length)))
}

fn answer(bytes: &[u8]) -> Result<Option<(Head, usize)>, WebSocketError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(bytes).map_err(|_| NO_HTTP)? else {
        return Ok(None);
    };
    let head = Head {
        status: response.code.unwrap_or_default(),
        reason: response.reason.unwrap_or_default().to_owned(),
        ..Head::default()
    };
    Ok(Some((head.with_headers(response.headers), length)))
}
