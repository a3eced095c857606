//! Sockhop load: a fixed number of callbacks in flight on each connection, from requests built beforehand.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Seen;

/// JSON lines or binary frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// JSON lines, without a handshake, as a 1.x client.
    Json,
    /// Binary frames both ways, after a handshake.
    Binary,
}

/// Runs `calls` callbacks on each of `connections` connections, `in_flight` at a time.
///
/// # Errors
/// When the server cannot be reached, closes, or answers with too little.
pub(crate) async fn run(
    address: SocketAddr,
    mode: Mode,
    connections: usize,
    in_flight: usize,
    calls: u64,
    body_bytes: usize,
) -> io::Result<Seen> {
    let mut tasks = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..connections {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        if mode == Mode::Binary {
            shake_hands(&mut stream).await?;
        }
        streams.push(stream);
    }
    let requests = Arc::new(build(mode, in_flight, body_bytes));
    let start = Instant::now();
    for stream in streams {
        tasks.push(tokio::spawn(drive(stream, mode, in_flight, calls, Arc::clone(&requests))));
    }
    let mut reads = 0;
    for task in tasks {
        reads += task.await.map_err(io::Error::other)??;
    }
    Ok(Seen { reads, calls: calls * connections as u64, elapsed: start.elapsed() })
}

async fn drive(
    mut stream: TcpStream,
    mode: Mode,
    in_flight: usize,
    calls: u64,
    requests: Arc<Vec<u8>>,
) -> io::Result<u64> {
    let mut reads = 0;
    let each = requests.len() / (2 * in_flight);
    stream.write_all(&requests[..each * in_flight]).await?;
    let (mut sent, mut answered) = (in_flight as u64, 0_u64);
    let mut input = vec![0; 256 << 10];
    let mut counter = Counter { mode, skip: 0, header: Vec::new() };
    while answered < calls {
        let read = stream.read(&mut input).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        reads += 1;
        let fresh = counter.count(&input[..read]);
        answered += fresh;
        let more = fresh.min(calls.saturating_sub(sent));
        if more > 0 {
            let from = usize::try_from(sent).unwrap_or(usize::MAX) % in_flight;
            let count = usize::try_from(more).unwrap_or(usize::MAX);
            stream.write_all(&requests[from * each..(from + count) * each]).await?;
            sent += more;
        }
    }
    Ok(reads)
}

/// Twice the requests of one round, each of the same length, so that any run of them is one slice.
pub(crate) fn build(mode: Mode, in_flight: usize, body_bytes: usize) -> Vec<u8> {
    let body = body(body_bytes);
    let mut all = Vec::new();
    for slot in (0..in_flight).chain(0..in_flight) {
        let id = format!("00000000-0000-4000-8000-{slot:012x}");
        match mode {
            Mode::Json => all.extend_from_slice(
                format!("{{\"type\":\"Object\",\"data\":{body},\"id\":\"{id}\"}}\n").as_bytes(),
            ),
            Mode::Binary => all.extend_from_slice(&frame(11, "Object", body.as_bytes(), &id)),
        }
    }
    all
}

/// What bodies are made of, in an order that does not repeat soon, so that deflating them is work.
const WORDS: [&str; 16] = [
    "archive ", "before ", "chapter ", "delta ", "every ", "figure ", "gallery ", "harbour ", "index ",
    "journey ", "kernel ", "ledger ", "message ", "number ", "outline ", "pattern ",
];

/// A JSON object of exactly `bytes` bytes: a number and words.
pub(crate) fn body(bytes: usize) -> String {
    let (begin, end) = (r#"{"n":12345,"t":""#, r#""}"#);
    let room = bytes.saturating_sub(begin.len() + end.len());
    let (mut words, mut state) = (String::new(), 1_u32);
    while words.len() < room {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        words.push_str(WORDS[(state >> 28) as usize]);
    }
    words.truncate(room);
    [begin, &words, end].concat()
}

fn frame(kind: u8, name: &str, data: &[u8], id: &str) -> Vec<u8> {
    let length = u32::try_from(5 + name.len() + data.len() + id.len()).unwrap_or(u32::MAX);
    let mut frame = length.to_le_bytes().to_vec();
    frame.push(kind);
    frame.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    frame.extend_from_slice(name.as_bytes());
    frame.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend_from_slice(data);
    frame.extend_from_slice(id.as_bytes());
    frame
}

/// Counts whole messages in a stream that is cut anywhere.
struct Counter {
    mode: Mode,
    skip: usize,
    header: Vec<u8>,
}

impl Counter {
    fn count(&mut self, mut bytes: &[u8]) -> u64 {
        if self.mode == Mode::Json {
            return memchr::memchr_iter(b'\n', bytes).count() as u64;
        }
        let mut seen = 0;
        while !bytes.is_empty() {
            let skip = self.skip.min(bytes.len());
            bytes = &bytes[skip..];
            self.skip -= skip;
            if self.skip > 0 {
                break;
            }
            while self.header.len() < 5 && !bytes.is_empty() {
                self.header.push(bytes[0]);
                bytes = &bytes[1..];
            }
            if self.header.len() == 5 {
                let length = [self.header[0], self.header[1], self.header[2], self.header[3]];
                self.skip = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
                self.header.clear();
                seen += 1;
            }
        }
        seen
    }
}

/// The handshake of a 2.x client, until both directions are binary.
async fn shake_hands(stream: &mut TcpStream) -> io::Result<()> {
    let hello = concat!(
        r#"{"type":"SockhopHandshake","data":{"protocol_version":2,"library_version":"2.1.0","request_binary_mode":true},"#,
        r#""id":"00000000-0000-4000-8000-ffffffffffff"}"#,
        "\n"
    );
    stream.write_all(hello.as_bytes()).await?;
    let (mut line, mut ours) = (Vec::new(), false);
    loop {
        let byte = stream.read_u8().await?;
        if byte != b'\n' {
            line.push(byte);
            continue;
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        line.clear();
        let message: serde_json::Value = serde_json::from_str(&text)?;
        match message["type"].as_str() {
            Some("SockhopHandshake") => {
                let answer = format!(
                    "{{\"type\":\"Object\",\"data\":{{\"allow_binary_mode\":true}},\"callback_id\":{}}}\n",
                    message["id"]
                );
                stream.write_all(answer.as_bytes()).await?;
            }
            Some("SockhopPing") => {
                let mut data = message["data"].clone();
                data["_returned"] = "2026-01-01T00:00:00.000Z".into();
                // This load reads byte by byte until the switch, so nothing has to be held back from it.
                data["exact"] = true.into();
                if ours {
                    let data = data.to_string();
                    stream.write_all(&frame(10, "SockhopPong", data.as_bytes(), "")).await?;
                } else {
                    stream
                        .write_all(format!("{{\"type\":\"SockhopPong\",\"data\":{data}}}\n").as_bytes())
                        .await?;
                }
            }
            Some("SockhopBinaryModeTransition") => return Ok(()),
            _ if message.get("callback_id").is_some() => {
                stream.write_all(b"{\"type\":\"SockhopBinaryModeTransition\",\"data\":{}}\n").await?;
                ours = true;
            }
            _ => {}
        }
    }
}

/// The median round trip of one callback at a time on one connection.
///
/// # Errors
/// When the server cannot be reached or closes.
pub(crate) async fn latency(address: SocketAddr, calls: usize) -> io::Result<std::time::Duration> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let requests = build(Mode::Json, 1, 100);
    let request = &requests[..requests.len() / 2];
    let mut trips = Vec::with_capacity(calls);
    let mut input = vec![0; 64 << 10];
    for _ in 0..calls {
        let start = Instant::now();
        stream.write_all(request).await?;
        loop {
            let read = stream.read(&mut input).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if input[..read].ends_with(b"\n") {
                break;
            }
        }
        trips.push(start.elapsed());
    }
    trips.sort_unstable();
    Ok(trips[trips.len() / 2])
}
