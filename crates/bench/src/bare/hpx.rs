//! HPX without a framework: read a frame, inflate, read the envelope, encode alike, one write.

use std::io;

use bytes::{BufMut, BytesMut};
use flate2::{Crc, Decompress, FlushDecompress, Status};
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(serde::Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    session: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(serde::Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    fname: &'a str,
    #[serde(borrow)]
    value: &'a RawValue,
}

const END: &[u8] = b"<EOF>";
/// The session every client gets.
const SESSION: &str = "00000000000000000000000000000001";

/// Serves `echo(value)` to guests for ever; answers bodies up to `stored_up_to` bytes stored, larger ones deflated at level 1.
///
/// # Errors
/// When accepting fails.
pub(crate) async fn serve(listener: TcpListener, stored_up_to: usize) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            // The peer may go away at any time.
            let _ = talk(stream, stored_up_to).await;
        });
    }
}

async fn talk(mut stream: TcpStream, stored_up_to: usize) -> io::Result<()> {
    let mut inflate = Decompress::new(false);
    let mut deflate = flate2::Compress::new(flate2::Compression::new(1), false);
    let (mut input, mut text, mut body, mut output) =
        (BytesMut::new(), Vec::new(), Vec::new(), BytesMut::new());
    let greeting = br#"{"session":"","name":"bare","data":{"version":{"core":[0,3,0],"db":[0,2,0],"torrent":[0,0,0]},"guest_allowed":true}}"#;
    encode(greeting, stored_up_to, &mut deflate, &mut output);
    stream.write_all(&output).await?;
    loop {
        input.reserve(16 << 10);
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        while let Some(used) = decode(&input, &mut inflate, &mut text)? {
            let _ = input.split_to(used);
            let envelope: Envelope<'_> = serde_json::from_slice(&text)?;
            body.clear();
            if envelope.session.is_empty() {
                body.extend_from_slice(
                    format!(r#"{{"session":"{SESSION}","name":"bare","data":"Authenticated"}}"#).as_bytes(),
                );
            } else {
                let calls: Vec<Call<'_>> = serde_json::from_str(envelope.data.get())?;
                body.extend_from_slice(br#"{"session":""#);
                body.extend_from_slice(envelope.session.as_bytes());
                body.extend_from_slice(br#"","name":"bare","data":["#);
                for (index, call) in calls.iter().enumerate() {
                    body.extend_from_slice(if index == 0 { br#"{"fname":""# } else { br#",{"fname":""# });
                    body.extend_from_slice(call.fname.as_bytes());
                    body.extend_from_slice(br#"","data":"#);
                    body.extend_from_slice(call.value.get().as_bytes());
                    body.push(b'}');
                }
                body.extend_from_slice(b"]}");
            }
            output.clear();
            encode(&body, stored_up_to, &mut deflate, &mut output);
            stream.write_all(&output).await?;
        }
    }
}

/// Inflates the frame at the front of `input` into `text`; says how many bytes it took with its delimiter.
fn decode(input: &[u8], inflate: &mut Decompress, text: &mut Vec<u8>) -> io::Result<Option<usize>> {
    const HEADER: usize = 10;
    if input.len() < HEADER + 8 + END.len() {
        return Ok(None);
    }
    inflate.reset(false);
    text.clear();
    text.reserve(input.len().max(1_024) * 4);
    loop {
        let at = HEADER + usize::try_from(inflate.total_in()).unwrap_or(usize::MAX);
        let before = text.len();
        let status = inflate.decompress_vec(&input[at.min(input.len())..], text, FlushDecompress::None)?;
        let end = HEADER + usize::try_from(inflate.total_in()).unwrap_or(usize::MAX);
        match status {
            Status::StreamEnd => {
                let whole = end + 8 + END.len();
                if input.len() < whole {
                    return Ok(None);
                }
                let mut crc = Crc::new();
                crc.update(text);
                if input[end..end + 4] != crc.sum().to_le_bytes() || &input[end + 8..whole] != END {
                    return Err(io::Error::other("bad frame"));
                }
                return Ok(Some(whole));
            }
            _ if text.len() == text.capacity() => text.reserve(text.len()),
            _ if end >= input.len() || text.len() == before => return Ok(None),
            _ => {}
        }
    }
}

/// Appends `text` as one gzip member and the delimiter.
pub(crate) fn encode(text: &[u8], stored_up_to: usize, deflate: &mut flate2::Compress, out: &mut BytesMut) {
    out.put_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
    if text.len() <= stored_up_to.min(0xffff) {
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        out.put_u8(1);
        out.put_u16_le(length);
        out.put_u16_le(!length);
        out.put_slice(text);
    } else {
        deflate.reset();
        let mut packed = Vec::with_capacity(text.len() + 64);
        // The output has room for everything, so one step ends the stream.
        let _ = deflate.compress_vec(text, &mut packed, flate2::FlushCompress::Finish);
        out.put_slice(&packed);
    }
    let mut crc = Crc::new();
    crc.update(text);
    out.put_u32_le(crc.sum());
    out.put_u32_le(u32::try_from(text.len()).unwrap_or(u32::MAX));
    out.put_slice(END);
}
