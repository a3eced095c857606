//! A relay over sockets of the loopback, in the hands of a test: it forwards, keeps what passes, and does what networks and impostors do.

mod recording;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::joint::Way;
use recording::Kept;
pub use recording::{Passage, Recording};

/// What the system may buffer for the relay, so that a sender notices a stall soon.
const SOCKET_BYTES: u32 = 32 << 10;
/// Bytes taken per read.
const READ_BYTES: usize = 32 << 10;
/// Injections that may wait for a connection to take them.
const INJECTIONS: usize = 64;
/// Connections at once; others wait.
const MAX_CONNECTIONS: usize = 64;
/// How long it waits before it accepts again where that went wrong.
const AFTER_ERROR: Duration = Duration::from_millis(10);

/// Stands between clients and a server, at a port that the system chooses. Connections are numbered from 0 in the order they came.
/// Dropping it ends all of them.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    behind: Mutex<Behind>,
    stalled: watch::Sender<Stalled>,
    injected: broadcast::Sender<(Way, Bytes)>,
    /// Bytes for each write; 0 writes as it was read.
    slice: AtomicUsize,
    kept: Mutex<Kept>,
    /// Counts what was kept, for those who wait for something.
    news: watch::Sender<u64>,
}

/// What a connection meets behind the relay: the server, or somebody in its place.
#[derive(Clone, Debug)]
struct Behind {
    server: String,
    impostor: Option<Impostor>,
}

#[derive(Clone, Debug)]
struct Impostor {
    says: Bytes,
    leaves: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stalled {
    to_server: bool,
    to_client: bool,
}

impl Stalled {
    fn is(self, way: Way) -> bool {
        match way {
            Way::ToServer => self.to_server,
            Way::ToClient => self.to_client,
        }
    }
}

impl Shared {
    fn behind(&self) -> MutexGuard<'_, Behind> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing panics while it is held.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is kept, and tells those who wait.
    fn keep<R>(&self, change: impl FnOnce(&mut Kept) -> R) -> R {
        let changed = change(&mut self.kept());
        self.news.send_modify(|news| *news += 1);
        changed
    }
}

impl Relay {
    /// A relay in front of the server at `server`, which keeps `kept_bytes` of what passes, of all connections together; what comes
    /// later is forwarded and not kept.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(server: impl Into<String>, kept_bytes: usize) -> io::Result<Self> {
        let socket = small(TcpSocket::new_v4()?)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let listener = socket.listen(128)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            behind: Mutex::new(Behind { server: server.into(), impostor: None }),
            stalled: watch::Sender::default(),
            injected: broadcast::Sender::new(INJECTIONS),
            slice: AtomicUsize::new(0),
            kept: Mutex::new(Kept::new(kept_bytes)),
            news: watch::Sender::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// Where clients dial.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that come from now on meet the server at `server`; those that are open stay where they are.
    pub fn redirect(&self, server: impl Into<String>) {
        self.shared.behind().server = server.into();
    }

    /// Connections that come from now on meet somebody who says this and then nothing more, and who leaves or stays.
    pub fn impersonate(&self, says: &[u8], leaves: bool) {
        self.shared.behind().impostor = Some(Impostor { says: Bytes::copy_from_slice(says), leaves });
    }

    /// Connections that come from now on meet the server again.
    pub fn be_honest(&self) {
        self.shared.behind().impostor = None;
    }

    /// From now on writes at most so many bytes at once, on every connection; 0 ends that.
    pub fn slice_writes(&self, bytes: usize) {
        self.shared.slice.store(bytes, Ordering::Relaxed);
    }

    /// Nothing goes this way any more, on any connection. The sender notices once its buffers are full.
    pub fn stall(&self, way: Way) {
        self.shared.stalled.send_modify(|stalled| match way {
            Way::ToServer => stalled.to_server = true,
            Way::ToClient => stalled.to_client = true,
        });
    }

    /// Everything goes again.
    pub fn let_go(&self) {
        self.shared.stalled.send_replace(Stalled::default());
    }

    /// Puts bytes on the way, on every connection that is open, as if the end that they come from had sent them.
    pub fn inject(&self, way: Way, bytes: &[u8]) {
        // Nobody takes it where no connection is open.
        let _ = self.shared.injected.send((way, Bytes::copy_from_slice(bytes)));
    }

    /// Ends every connection that is open, without a word; bytes under way are lost. New ones are let through.
    pub fn cut(&self) {
        self.shared.kept().cut(None);
    }

    /// Ends one connection in the same way.
    pub fn cut_one(&self, number: usize) {
        self.shared.kept().cut(Some(number));
    }

    /// How many connections were opened so far.
    pub fn opened(&self) -> usize {
        self.shared.kept().opened()
    }

    /// What passed through a connection so far; nothing where it is not there yet.
    pub fn recording(&self, number: usize) -> Recording {
        self.shared.kept().recording(number).cloned().unwrap_or_default()
    }

    /// Waits until connection `number` is there and its recording is as wanted, and gives it.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`], with sizes, when that does not happen within `limit`.
    pub async fn wait_for(
        &self,
        number: usize,
        mut wanted: impl FnMut(&Recording) -> bool,
        limit: Duration,
    ) -> io::Result<Recording> {
        let mut news = self.shared.news.subscribe();
        let found = tokio::time::timeout(limit, async {
            loop {
                news.mark_unchanged();
                if let Some(found) = self.shared.kept().recording(number).filter(|seen| wanted(seen)) {
                    return found.clone();
                }
                // The sender lives as long as this relay.
                let _ = news.changed().await;
            }
        });
        found.await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, self.describe(number, limit)))
    }

    fn describe(&self, number: usize, limit: Duration) -> String {
        if self.opened() <= number {
            return format!("connection {number} was not opened within {limit:?}");
        }
        let seen = self.recording(number);
        let [there, back] = [Way::ToServer, Way::ToClient].map(|way| seen.bytes(way).len());
        let over = seen.over;
        format!(
            "connection {number} did not get there within {limit:?}: {there} bytes to the server, {back} to the client, over: {over}"
        )
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A socket with small buffers; those that it accepts inherit them.
fn small(socket: TcpSocket) -> io::Result<TcpSocket> {
    socket.set_recv_buffer_size(SOCKET_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BYTES)?;
    Ok(socket)
}

async fn connect(server: &str) -> io::Result<TcpStream> {
    let mut failed = io::ErrorKind::NotFound.into();
    for address in tokio::net::lookup_host(server).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        match small(socket)?.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Accepts until the relay is dropped; the set ends the connections with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut running = JoinSet::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Ok((client, _)) = listener.accept().await else {
            // A connection that is already gone, or no handle left for now: neither is the end of the relay.
            tokio::time::sleep(AFTER_ERROR).await;
            continue;
        };
        let (number, mut cut) = shared.keep(Kept::open);
        let shared = Arc::clone(&shared);
        running.spawn(async move {
            // Dropping the future drops the sockets, which is the cut.
            tokio::select! {
                biased;
                _ = cut.wait_for(|cut| *cut) => {}
                // However it ends, both ends notice.
                _ = connection(client, number, &shared) => {}
            }
            shared.keep(|kept| kept.over(number));
            drop(place);
        });
        // What has ended makes room for its result.
        while running.try_join_next().is_some() {}
    }
}

/// One connection, until both directions are over.
async fn connection(client: TcpStream, number: usize, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    let Behind { server, impostor } = shared.behind().clone();
    let (from_client, mut to_client) = client.into_split();
    match impostor {
        None => {
            let server = connect(&server).await?;
            server.set_nodelay(true)?;
            let (from_server, to_server) = server.into_split();
            tokio::try_join!(
                forward(from_client, to_server, number, Way::ToServer, shared),
                forward(from_server, to_client, number, Way::ToClient, shared),
            )?;
        }
        Some(Impostor { says, leaves }) => {
            shared.keep(|kept| kept.keep(number, Way::ToClient, &says));
            to_client.write_all(&says).await?;
            if leaves {
                to_client.shutdown().await?;
            }
            hear_out(from_client, number, shared).await?;
        }
    }
    Ok(())
}

/// Hears somebody out until they leave.
async fn hear_out(mut from: OwnedReadHalf, number: usize, shared: &Shared) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        shared.keep(|kept| kept.keep(number, Way::ToServer, bytes));
    }
}

/// Forwards one direction to its end, and passes the end on.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: usize,
    way: Way,
    shared: &Shared,
) -> io::Result<()> {
    let mut stalled = shared.stalled.subscribe();
    let mut injected = shared.injected.subscribe();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = tokio::select! {
            biased;
            injected = injected.recv() => {
                if let Ok((this, bytes)) = injected && this == way {
                    to.write_all(&bytes).await?;
                }
                continue;
            }
            read = from.read(&mut buffer) => read?,
        };
        if stalled.wait_for(|stalled| !stalled.is(way)).await.is_err() {
            return Ok(());
        }
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            shared.keep(|kept| kept.end(number, way));
            return to.shutdown().await;
        };
        shared.keep(|kept| kept.keep(number, way, bytes));
        match shared.slice.load(Ordering::Relaxed) {
            0 => to.write_all(bytes).await?,
            slice => {
                for piece in bytes.chunks(slice) {
                    to.write_all(piece).await?;
                    // Lets the receiver read the piece before the next one joins it.
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}
