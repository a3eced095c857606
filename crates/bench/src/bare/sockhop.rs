//! Sockhop without a framework: split lines, read the envelope, answer, one write a read.

use std::io;

use bytes::{BufMut, BytesMut};
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(serde::Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    r#type: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

/// Echoes callbacks for ever.
///
/// # Errors
/// When accepting fails.
pub(crate) async fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            // The peer may go away at any time.
            let _ = echo(stream).await;
        });
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut input = BytesMut::new();
    let mut output = BytesMut::new();
    loop {
        input.reserve(16 << 10);
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        while let Some(end) = memchr::memchr(b'\n', &input) {
            let line = input.split_to(end + 1);
            let envelope: Envelope<'_> = serde_json::from_slice(&line[..end])?;
            if let Some(id) = envelope.id {
                output.put_slice(b"{\"type\":\"");
                output.put_slice(envelope.r#type.as_bytes());
                output.put_slice(b"\",\"data\":");
                output.put_slice(envelope.data.get().as_bytes());
                output.put_slice(b",\"callback_id\":");
                output.put_slice(id.get().as_bytes());
                output.put_slice(b"}\n");
            }
        }
        if !output.is_empty() {
            stream.write_all(&output).await?;
            output.clear();
        }
    }
}

/// Reads `total` bytes of one connection into freshly reserved memory, and looks at nothing.
///
/// # Errors
/// When the connection ends early.
pub(crate) async fn sink(listener: TcpListener, frame_bytes: usize, total: u64) -> io::Result<()> {
    let (mut stream, _) = listener.accept().await?;
    let mut input = BytesMut::new();
    let mut seen = 0_u64;
    while seen < total {
        input.reserve(frame_bytes);
        match stream.read_buf(&mut input).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => seen += read as u64,
        }
        drop(input.split().freeze());
    }
    Ok(())
}
