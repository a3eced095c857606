//! Stonyx load: requests in flight under rotating names, as a peer without request ids must.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aes_gcm::{Aes256Gcm, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;

use super::{Counted, Seen, sockhop};
use crate::bare::stonyx::{AUTH_KEY, Nonces, open, receive, seal, send, settings, shared_cipher};

/// One connection after its login.
pub(crate) struct LoggedIn {
    socket: WebSocketStream<Counted>,
    session: Aes256Gcm,
    nonces: Nonces,
}

/// Connects and logs in.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub(crate) async fn log_in(address: SocketAddr, shared: &Aes256Gcm) -> io::Result<LoggedIn> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut socket, _) = tokio_tungstenite::client_async_with_config(
        format!("ws://{address}/"),
        Counted::new(stream),
        Some(settings()),
    )
    .await
    .map_err(io::Error::other)?;
    let mut nonces = Nonces::new();
    let login = seal(shared, &mut nonces, |out| {
        out.extend_from_slice(
            format!(r#"{{"request":"auth","data":{{"authKey":"{AUTH_KEY}"}}}}"#).as_bytes(),
        );
    })?;
    send(&mut socket, login).await?;
    let answer = receive(&mut socket).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let answer: serde_json::Value = serde_json::from_slice(&open(shared, answer)?)?;
    let key = STANDARD
        .decode(answer["sessionKey"].as_str().unwrap_or_default())
        .ok()
        .and_then(|key| <[u8; 32]>::try_from(key).ok())
        .ok_or_else(|| io::Error::other("no session key"))?;
    Ok(LoggedIn { socket, session: Aes256Gcm::new(&key.into()), nonces })
}

/// Runs `calls` requests on each of `connections` connections, `in_flight` at a time.
///
/// # Errors
/// When the server cannot be reached or closes.
pub(crate) async fn run(
    address: SocketAddr,
    connections: usize,
    in_flight: u64,
    calls: u64,
    body_bytes: usize,
) -> io::Result<Seen> {
    let shared = shared_cipher()?;
    let mut ready = Vec::new();
    for _ in 0..connections {
        ready.push(log_in(address, &shared).await?);
    }
    let start = Instant::now();
    let tasks: Vec<_> = ready
        .into_iter()
        .map(|connection| tokio::spawn(drive(connection, in_flight, calls, body_bytes)))
        .collect();
    let mut reads = 0;
    for task in tasks {
        reads += task.await.map_err(io::Error::other)??;
    }
    Ok(Seen { calls: calls * connections as u64, reads, elapsed: start.elapsed() })
}

/// Says how many reads the answers took.
async fn drive(mut on: LoggedIn, in_flight: u64, calls: u64, body_bytes: usize) -> io::Result<u64> {
    let before = on.socket.get_ref().reads();
    let body = sockhop::body(body_bytes);
    let requests: Vec<String> =
        (0..in_flight).map(|name| format!(r#"{{"request":"echo{name}","data":{body}}}"#)).collect();
    let mut names = requests.iter().cycle();
    let (mut sent, mut answered) = (0, 0);
    while answered < calls {
        while sent < calls && sent - answered < in_flight {
            let Some(request) = names.next() else { break };
            let message = seal(&on.session, &mut on.nonces, |out| out.extend_from_slice(request.as_bytes()))?;
            send(&mut on.socket, message).await?;
            sent += 1;
        }
        let answer = receive(&mut on.socket).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        open(&on.session, answer)?;
        answered += 1;
    }
    Ok(on.socket.get_ref().reads() - before)
}

/// Has the server push `count` messages to each of `members` connections, in portions that every queue on the way holds; what is
/// counted is deliveries.
///
/// # Errors
/// When the server cannot be reached or closes, or a message does not come.
pub(crate) async fn broadcast(
    address: SocketAddr,
    members: usize,
    count: u64,
    body_bytes: usize,
) -> io::Result<Seen> {
    let shared = shared_cipher()?;
    let mut joined = Vec::new();
    for _ in 0..members {
        joined.push(log_in(address, &shared).await?);
    }
    let asked = format!(
        r#"{{"request":"announce","data":{{"count":{PORTION},"body":{}}}}}"#,
        sockhop::body(body_bytes)
    );
    let portions = count.div_ceil(PORTION);
    let reads =
        |members: &[LoggedIn]| members.iter().map(|member| member.socket.get_ref().reads()).sum::<u64>();
    let before = reads(&joined);
    let start = Instant::now();
    for _ in 0..portions {
        if let Some(first) = joined.first_mut() {
            let message =
                seal(&first.session, &mut first.nonces, |out| out.extend_from_slice(asked.as_bytes()))?;
            send(&mut first.socket, message).await?;
        }
        let tasks: Vec<_> = joined.drain(..).map(|member| tokio::spawn(hear_portion(member))).collect();
        for task in tasks {
            joined.push(tokio::time::timeout(PATIENCE, task).await?.map_err(io::Error::other)??);
        }
    }
    let calls = portions * PORTION * members as u64;
    Ok(Seen { calls, reads: reads(&joined) - before, elapsed: start.elapsed() })
}

/// Messages of one broadcast round.
const PORTION: u64 = 50;
/// A round that takes longer has lost a message.
const PATIENCE: Duration = Duration::from_secs(30);

async fn hear_portion(mut member: LoggedIn) -> io::Result<LoggedIn> {
    let mut heard = 0;
    while heard < PORTION {
        let message = receive(&mut member.socket).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        heard += u64::from(open(&member.session, message)?.starts_with(br#"{"request":"announcement""#));
    }
    Ok(member)
}
