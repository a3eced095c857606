//! Somebody who dials and does not log in: silent, slow, speaking nonsense, or calling at once.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use polywire_core::Network;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use crate::chance::Chance;
use crate::history::What;
use crate::world::Ground;

/// How long one is watched.
const WATCHED: Duration = Duration::from_secs(60);

/// Dials `address`, behaves in some manner, and writes down how long it was borne.
pub async fn visit(
    ground: Arc<Ground>,
    address: String,
    wire: &'static str,
    limit: Duration,
    chance: Chance,
) {
    let Ok(stream) = ground.network.connect(&address).await else { return };
    let since = ground.history.now();
    let nonce = ground.nonce();
    ground.history.add(What::Uninvited { nonce });
    let (mut reading, mut writing) = tokio::io::split(stream);
    let listen = async {
        let mut heard = [0; 1_024];
        while reading.read(&mut heard).await.is_ok_and(|read| read > 0) {}
    };
    let speak = async {
        // Whether the other end still listens shows where it is read from.
        let _ = speak(&mut writing, wire, nonce, &chance).await;
        std::future::pending::<()>().await;
    };
    let borne = timeout(WATCHED, async {
        tokio::select! {
            biased;
            () = listen => {}
            () = speak => {}
        }
    });
    let _ = borne.await;
    ground.history.add(What::Stranger { lived: ground.history.now() - since, limit });
}

async fn speak<W>(stream: &mut W, wire: &str, nonce: u64, chance: &Chance) -> std::io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    match chance.below(5) {
        0 => {}
        1 => {
            for _ in 0..20 {
                stream.write_all(b"{").await?;
                sleep(Duration::from_secs(2)).await;
            }
        }
        2 => {
            let noise = (0..64).map(|_| u8::try_from(chance.below(256)).unwrap_or_default());
            stream.write_all(&noise.collect::<Vec<_>>()).await?;
        }
        _ => call(stream, wire, nonce).await?,
    }
    Ok(())
}

/// What a call looks like on this wire, without what has to come before.
async fn call<W: AsyncWrite + Unpin>(stream: &mut W, wire: &str, nonce: u64) -> std::io::Result<()> {
    let body = format!(r#"{{"nonce":{nonce}}}"#);
    match wire {
        "hpx" => {
            let text = format!(r#"{{"name":"x","session":"","data":[{{"fname":"echo","nonce":{nonce}}}]}}"#);
            let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
            gzip.write_all(text.as_bytes())?;
            stream.write_all(&[&gzip.finish()?[..], b"<EOF>"].concat()).await
        }
        "stonyx" => {
            open(stream, "/").await?;
            stream.write_all(&masked(&format!(r#"{{"request":"echo","data":{body}}}"#))).await
        }
        "socketio" => {
            open(stream, "/socket.io/?EIO=4&transport=websocket").await?;
            stream.write_all(&masked(&format!(r#"42["echo",{body}]"#))).await
        }
        "hyperhq" => {
            open(stream, "/socket.io/?EIO=4&transport=websocket").await?;
            stream.write_all(&masked("40")).await?;
            let asked = format!(r#"42["requestData",{{"id":"1","method":"echo","data":{body}}}]"#);
            stream.write_all(&masked(&asked)).await
        }
        _ => Ok(()),
    }
}

/// Asks for a WebSocket, and gives the answer time to come.
async fn open<W: AsyncWrite + Unpin>(stream: &mut W, path: &str) -> std::io::Result<()> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    sleep(Duration::from_millis(100)).await;
    Ok(())
}

/// One short text message of a client, under a mask of zeros.
fn masked(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("it is short");
    assert!(length < 126, "it is short");
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}
