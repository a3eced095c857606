//! HPX load: one echo call in flight on each connection, from a request built beforehand.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Seen, sockhop};
use crate::bare;

const END: &[u8] = b"<EOF>";

/// Runs `calls` echo calls on each of `connections` connections, one at a time, after a guest login.
///
/// # Errors
/// When the server cannot be reached or closes.
pub(crate) async fn run(
    address: SocketAddr,
    connections: usize,
    calls: u64,
    body_bytes: usize,
) -> io::Result<Seen> {
    let mut ready = Vec::new();
    for _ in 0..connections {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        frame(&mut stream, &mut Vec::new()).await?;
        stream.write_all(&request(r#"{"session":"","name":"load","data":{}}"#, 4 << 10)).await?;
        let mut answer = Vec::new();
        frame(&mut stream, &mut answer).await?;
        let session = session_in(&answer)?;
        let body = sockhop::body(body_bytes);
        let call =
            format!(r#"{{"session":"{session}","name":"load","data":[{{"fname":"echo","value":{body}}}]}}"#);
        ready.push((stream, request(&call, 4 << 10)));
    }
    let start = Instant::now();
    let tasks: Vec<_> =
        ready.into_iter().map(|(stream, call)| tokio::spawn(drive(stream, call, calls))).collect();
    let mut reads = 0;
    for task in tasks {
        reads += task.await.map_err(io::Error::other)??;
    }
    Ok(Seen { calls: calls * connections as u64, reads, elapsed: start.elapsed() })
}

/// Says how many reads the answers took.
async fn drive(mut stream: TcpStream, call: Vec<u8>, calls: u64) -> io::Result<u64> {
    let mut input = Vec::new();
    let mut reads = 0;
    for _ in 0..calls {
        stream.write_all(&call).await?;
        reads += frame(&mut stream, &mut input).await?;
    }
    Ok(reads)
}

fn request(text: &str, stored_up_to: usize) -> Vec<u8> {
    let mut out = BytesMut::new();
    let mut deflate = flate2::Compress::new(flate2::Compression::new(1), false);
    bare::hpx::encode(text.as_bytes(), stored_up_to, &mut deflate, &mut out);
    out.to_vec()
}

/// Reads up to a delimiter at the end of a read, and says how many reads that took: the load's own bodies never hold one.
async fn frame(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<u64> {
    let mut reads = 0;
    input.clear();
    input.reserve(256 << 10);
    while !input.ends_with(END) {
        if stream.read_buf(input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        reads += 1;
    }
    Ok(reads)
}

fn session_in(frame: &[u8]) -> io::Result<String> {
    let body = &frame[..frame.len() - END.len()];
    let mut text = String::new();
    io::Read::read_to_string(&mut flate2::read::GzDecoder::new(body), &mut text)?;
    let value: serde_json::Value = serde_json::from_str(&text)?;
    Ok(value["session"].as_str().unwrap_or_default().to_owned())
}
