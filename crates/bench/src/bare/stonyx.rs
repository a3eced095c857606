//! Stonyx without a framework: tokio-tungstenite, open, `RawValue`, seal with a fresh nonce; what was read at once is answered with
//! one flush.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use futures_sink::Sink;
use serde_json::value::RawValue;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// The shared key of every contender.
pub(crate) const AUTH_KEY: &str = "the benchmark's own key, not a secret";
/// What stands before the ciphertext: nonce and tag.
const HEAD: usize = 28;

#[derive(serde::Deserialize)]
struct Asked<'a> {
    request: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// The cipher of the shared key.
///
/// # Errors
/// Never with these parameters.
pub(crate) fn shared_cipher() -> io::Result<Aes256Gcm> {
    let parameters = scrypt::Params::new(14, 8, 1).map_err(io::Error::other)?;
    let mut key = [0; 32];
    scrypt::scrypt(AUTH_KEY.as_bytes(), b"stonyx-sockets", &parameters, &mut key)
        .map_err(io::Error::other)?;
    Ok(Aes256Gcm::new(&key.into()))
}

/// Random bytes, drawn in larger portions.
pub(crate) struct Nonces {
    drawn: [u8; 1_200],
    used: usize,
}

impl Nonces {
    pub(crate) fn new() -> Self {
        Self { drawn: [0; 1_200], used: 1_200 }
    }

    fn next(&mut self) -> io::Result<[u8; 12]> {
        if self.used == self.drawn.len() {
            getrandom::fill(&mut self.drawn).map_err(io::Error::other)?;
            self.used = 0;
        }
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&self.drawn[self.used..self.used + 12]);
        self.used += 12;
        Ok(nonce)
    }
}

/// Seals what `write` appends.
///
/// # Errors
/// When there is no randomness, or more text than the cipher takes.
pub(crate) fn seal(
    cipher: &Aes256Gcm,
    nonces: &mut Nonces,
    write: impl FnOnce(&mut BytesMut),
) -> io::Result<Message> {
    let nonce = nonces.next()?;
    let mut out = BytesMut::with_capacity(256);
    out.resize(HEAD, 0);
    write(&mut out);
    let tag = cipher
        .encrypt_inout_detached(&nonce.into(), b"", InOutBuf::from(&mut out[HEAD..]))
        .map_err(|_| io::Error::other("too long"))?;
    out[..12].copy_from_slice(&nonce);
    out[12..HEAD].copy_from_slice(&tag);
    Ok(Message::Binary(out.freeze()))
}

/// Opens a sealed message in place.
///
/// # Errors
/// When it was not sealed with this key.
pub(crate) fn open(cipher: &Aes256Gcm, message: Message) -> io::Result<BytesMut> {
    let Message::Binary(bytes) = message else { return Err(io::Error::other("not sealed")) };
    let mut bytes = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    if bytes.len() < HEAD {
        return Err(io::Error::other("too short"));
    }
    let head = bytes.split_to(HEAD);
    let (Ok(nonce), Ok(tag)) = (<[u8; 12]>::try_from(&head[..12]), <[u8; 16]>::try_from(&head[12..])) else {
        return Err(io::Error::other("too short"));
    };
    cipher
        .decrypt_inout_detached(&nonce.into(), b"", InOutBuf::from(&mut bytes[..]), &tag.into())
        .map_err(|_| io::Error::other("cannot be opened"))?;
    Ok(bytes)
}

/// The settings of both ends.
pub(crate) fn settings() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(16 << 10)
}

/// Serves echo for ever; every client that can seal its login is let in.
///
/// # Errors
/// When accepting fails.
pub(crate) async fn serve(listener: TcpListener) -> io::Result<()> {
    let shared = Arc::new(shared_cipher()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // The peer may go away at any time.
            let _ = talk(stream, &shared).await;
        });
    }
}

/// Those who are told what somebody announces.
type Members = Arc<Mutex<Vec<UnboundedSender<Bytes>>>>;

/// Serves announcements for ever: each client's task seals and sends what is handed to it.
///
/// # Errors
/// When accepting fails.
pub(crate) async fn serve_broadcast(listener: TcpListener) -> io::Result<()> {
    let shared = Arc::new(shared_cipher()?);
    let members = Members::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (shared, members) = (Arc::clone(&shared), Arc::clone(&members));
        tokio::spawn(async move {
            // The peer may go away at any time.
            let _ = tell(stream, &shared, &members).await;
        });
    }
}

#[derive(serde::Deserialize)]
struct Announce<'a> {
    count: u64,
    #[serde(borrow)]
    body: &'a RawValue,
}

async fn tell(stream: TcpStream, shared: &Aes256Gcm, members: &Members) -> io::Result<()> {
    let mut nonces = Nonces::new();
    let Some((mut socket, session)) = let_in(stream, shared, &mut nonces).await? else { return Ok(()) };
    let (sender, mut told) = unbounded_channel();
    members.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
    loop {
        tokio::select! {
            // What is handed over leaves with one flush.
            biased;
            text = told.recv() => {
                let Some(text) = text else { return Ok(()) };
                let pushed = seal(&session, &mut nonces, |out| out.extend_from_slice(&text))?;
                send(&mut socket, pushed).await?;
            }
            message = receive(&mut socket) => {
                let Some(message) = message? else { return Ok(()) };
                let text = open(&session, message)?;
                let asked: Asked<'_> = serde_json::from_slice(&text)?;
                let asked: Announce<'_> = serde_json::from_str(asked.data.get())?;
                let text = format!(r#"{{"request":"announcement","response":{}}}"#, asked.body);
                let text = Bytes::from(text);
                for _ in 0..asked.count {
                    for member in &*members.lock().unwrap_or_else(PoisonError::into_inner) {
                        // Whoever has left is told nothing.
                        let _ = member.send(text.clone());
                    }
                }
                let answer = seal(&session, &mut nonces, |out| {
                    out.extend_from_slice(br#"{"request":"announce","response":true}"#);
                })?;
                send(&mut socket, answer).await?;
            }
        }
    }
}

/// The login: the socket and the key of its session, or `None` if the peer left.
async fn let_in(
    stream: TcpStream,
    shared: &Aes256Gcm,
    nonces: &mut Nonces,
) -> io::Result<Option<(WebSocketStream<TcpStream>, Aes256Gcm)>> {
    let mut socket = tokio_tungstenite::accept_async_with_config(stream, Some(settings()))
        .await
        .map_err(io::Error::other)?;
    let Some(login) = receive(&mut socket).await? else { return Ok(None) };
    open(shared, login)?;
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let answer = seal(shared, nonces, |out| {
        let key = STANDARD.encode(key);
        out.extend_from_slice(
            format!(r#"{{"request":"auth","response":"success","sessionKey":"{key}"}}"#).as_bytes(),
        );
    })?;
    send(&mut socket, answer).await?;
    Ok(Some((socket, Aes256Gcm::new(&key.into()))))
}

async fn talk(stream: TcpStream, shared: &Aes256Gcm) -> io::Result<()> {
    let mut nonces = Nonces::new();
    let Some((mut socket, session)) = let_in(stream, shared, &mut nonces).await? else { return Ok(()) };
    while let Some(message) = receive(&mut socket).await? {
        let text = open(&session, message)?;
        let asked: Asked<'_> = serde_json::from_slice(&text)?;
        let answer = seal(&session, &mut nonces, |out| {
            out.extend_from_slice(br#"{"request":""#);
            out.extend_from_slice(asked.request.as_bytes());
            out.extend_from_slice(br#"","response":"#);
            out.extend_from_slice(asked.data.get().as_bytes());
            out.extend_from_slice(b"}");
        })?;
        send(&mut socket, answer).await?;
    }
    Ok(())
}

/// The next message that carries something; flushes before it waits.
///
/// # Errors
/// When the connection fails.
pub(crate) async fn receive<Io>(socket: &mut WebSocketStream<Io>) -> io::Result<Option<Message>>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let next = poll_fn(|cx| match Pin::new(&mut *socket).poll_next(cx) {
            Poll::Ready(next) => Poll::Ready(Ok(next)),
            Poll::Pending => match Pin::new(&mut *socket).poll_flush(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Pending,
            },
        });
        match next.await.map_err(io::Error::other)? {
            None | Some(Ok(Message::Close(_))) => return Ok(None),
            Some(Ok(message @ (Message::Binary(_) | Message::Text(_)))) => return Ok(Some(message)),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(io::Error::other(error)),
        }
    }
}

/// Hands a message over without a flush.
///
/// # Errors
/// When the connection fails.
pub(crate) async fn send<Io>(socket: &mut WebSocketStream<Io>, message: Message) -> io::Result<()>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    poll_fn(|cx| Pin::new(&mut *socket).poll_ready(cx)).await.map_err(io::Error::other)?;
    Pin::new(socket).start_send(message).map_err(io::Error::other)
}
