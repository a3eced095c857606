//! Between the two ends: keeps the bytes of both directions, cuts, and plays an impostor.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::mask::Mask;

/// Bytes kept of all connections together; what comes later is forwarded and not kept.
const MAX_KEPT_BYTES: usize = 256 << 10;
/// Passages kept.
const MAX_PASSAGES: usize = 512;
/// Connections at once.
const MAX_CONNECTIONS: usize = 64;
/// Bytes taken per read.
const READ_BYTES: usize = 64 << 10;

/// How long it waits before it accepts again where that went wrong.
const AFTER_ERROR: Duration = Duration::from_millis(10);

/// What a connection meets behind the relay.
#[derive(Clone, Debug)]
enum Behind {
    /// The end that listens.
    Honest(String),
    /// Somebody who says these bytes, and stays or leaves.
    Impostor { says: Bytes, leaves: bool },
}

/// A relay on the loopback.
pub(super) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    behind: Mutex<Behind>,
    honest: String,
    cuts: watch::Sender<u64>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    connections: usize,
    passages: Vec<Passage>,
    bytes: usize,
    left_out: usize,
}

/// Bytes that went one way without any going the other way in between.
struct Passage {
    connection: usize,
    to_server: bool,
    bytes: Vec<u8>,
}

impl Relay {
    /// A relay in front of `server`.
    ///
    /// # Errors
    /// When no port can be had.
    pub(super) async fn start(server: String) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            behind: Mutex::new(Behind::Honest(server.clone())),
            honest: server,
            cuts: watch::Sender::new(0),
            kept: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// Where to dial, as `host:port`.
    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Ends every connection; bytes under way are lost.
    pub(super) fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// From now on new connections meet somebody who says only `bytes`, and then stays or leaves.
    pub(super) fn impersonate(&self, bytes: Vec<u8>, leaves: bool) {
        let impostor = Behind::Impostor { says: bytes.into(), leaves };
        *self.shared.behind.lock().unwrap_or_else(PoisonError::into_inner) = impostor;
    }

    /// From now on new connections meet the end that listens.
    pub(super) fn be_honest(&self) {
        let honest = Behind::Honest(self.shared.honest.clone());
        *self.shared.behind.lock().unwrap_or_else(PoisonError::into_inner) = honest;
    }

    /// What passed, for people; `>` goes to the end that listens.
    pub(super) fn trace(&self, mask: &Mask) -> String {
        let kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for Passage { connection, to_server, bytes } in &kept.passages {
            let way = if *to_server { '>' } else { '<' };
            text.push_str(&format!("#{connection} {way} {:>6} B  {}\n", bytes.len(), mask.shown(bytes)));
        }
        if kept.left_out > 0 {
            text.push_str(&format!("{} bytes more were not kept\n", kept.left_out));
        }
        text
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn keep(&self, connection: usize, to_server: bool, bytes: &[u8]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_KEPT_BYTES.saturating_sub(kept.bytes).min(bytes.len());
        let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        kept.bytes += now.len();
        kept.left_out += later.len();
        let full = kept.passages.len() >= MAX_PASSAGES;
        match kept.passages.last_mut() {
            Some(last) if last.connection == connection && last.to_server == to_server => {
                last.bytes.extend_from_slice(now);
            }
            _ if full => kept.left_out += now.len(),
            _ if now.is_empty() => {}
            _ => kept.passages.push(Passage { connection, to_server, bytes: now.to_vec() }),
        }
    }
}

/// Accepts until the relay is dropped; the set ends the connections with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut running = JoinSet::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((client, _)) = listener.accept().await else {
            // A connection that is already gone, or no handle left for now: neither is the end of the relay.
            tokio::time::sleep(AFTER_ERROR).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        let mut cuts = shared.cuts.subscribe();
        running.spawn(async move {
            let _place = place;
            tokio::select! {
                _ = cuts.changed() => {}
                // However it ends, both ends notice.
                _ = forward_both(client, &shared) => {}
            }
        });
        // What has ended makes room for its result.
        while running.try_join_next().is_some() {}
    }
}

async fn forward_both(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let number = {
        let mut kept = shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.connections += 1;
        kept.connections
    };
    client.set_nodelay(true)?;
    let behind = shared.behind.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut server = match behind {
        Behind::Honest(address) => TcpStream::connect(address).await?,
        Behind::Impostor { says, leaves } => {
            shared.keep(number, false, &says);
            client.write_all(&says).await?;
            if leaves {
                return client.shutdown().await;
            }
            let (reader, _writer) = client.into_split();
            return forward(reader, tokio::io::sink(), number, true, shared).await;
        }
    };
    server.set_nodelay(true)?;
    let (server_reader, server_writer) = server.split();
    let (client_reader, client_writer) = client.split();
    tokio::try_join!(
        forward(client_reader, server_writer, number, true, shared),
        forward(server_reader, client_writer, number, false, shared),
    )?;
    Ok(())
}

/// Forwards one direction to its end, and hands the end on.
async fn forward(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    connection: usize,
    to_server: bool,
    shared: &Shared,
) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return to.shutdown().await;
        };
        shared.keep(connection, to_server, bytes);
        to.write_all(bytes).await?;
    }
}
