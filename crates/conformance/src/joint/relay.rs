//! The relay over real sockets of the loopback.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use polywire_core::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::{Joint, Stranger, Way};

/// What the system may buffer for the relay, so that a sender notices a stall soon.
const SOCKET_BYTES: u32 = 32 << 10;
/// Bytes taken per read.
const READ_BYTES: usize = 32 << 10;
/// How much is kept of what a client said first.
const OPENING_BYTES: usize = 4 << 10;
/// Injections that may wait for a connection to take them.
const INJECTIONS: usize = 64;

/// A relay in front of one server; dropping it ends every connection.
pub(crate) struct Relay {
    address: SocketAddr,
    /// It has a port and does not listen, so whoever dials it is refused.
    _deaf: TcpSocket,
    nowhere: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    server: SocketAddr,
    stalled: watch::Sender<Stalled>,
    /// Counts up with every cut.
    cuts: watch::Sender<u64>,
    injected: broadcast::Sender<(Way, Bytes)>,
    /// What is said in place of the server.
    impostor: Mutex<Option<Bytes>>,
    opened: AtomicUsize,
    opening: Mutex<Vec<u8>>,
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

impl Relay {
    /// Listens at a port that the system chooses, and forwards every connection to the server at `address`.
    pub(crate) async fn start(address: &str) -> io::Result<Self> {
        let server = address.parse().map_err(|_| {
            let why = format!("{address:?} is no IP address with a port, so the suite cannot reach it");
            io::Error::new(io::ErrorKind::InvalidInput, why)
        })?;
        let socket = TcpSocket::new_v4()?;
        // Accepted sockets inherit it.
        socket.set_recv_buffer_size(SOCKET_BYTES)?;
        socket.set_send_buffer_size(SOCKET_BYTES)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let listener = socket.listen(128)?;
        let address = listener.local_addr()?;
        let deaf = TcpSocket::new_v4()?;
        deaf.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let nowhere = deaf.local_addr()?;
        let shared = Arc::new(Shared {
            server,
            stalled: watch::Sender::default(),
            cuts: watch::Sender::new(0),
            injected: broadcast::Sender::new(INJECTIONS),
            impostor: Mutex::default(),
            opened: AtomicUsize::new(0),
            opening: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, _deaf: deaf, nowhere, shared, accepting })
    }
}

impl Joint for Relay {
    fn address(&self) -> String {
        self.address.to_string()
    }

    fn nowhere(&self) -> String {
        self.nowhere.to_string()
    }

    fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    fn stall(&self, way: Way) {
        self.shared.stalled.send_modify(|stalled| match way {
            Way::ToServer => stalled.to_server = true,
            Way::ToClient => stalled.to_client = true,
        });
    }

    fn let_go(&self) {
        self.shared.stalled.send_replace(Stalled::default());
    }

    fn inject(&self, way: Way, bytes: &[u8]) {
        // Nobody takes it where no connection is open.
        let _ = self.shared.injected.send((way, Bytes::copy_from_slice(bytes)));
    }

    fn impersonate(&self, said: Option<&[u8]>) {
        *self.shared.impostor.lock().unwrap_or_else(PoisonError::into_inner) =
            said.map(Bytes::copy_from_slice);
    }

    fn opened(&self) -> usize {
        self.shared.opened.load(Ordering::Relaxed)
    }

    fn opening(&self) -> Vec<u8> {
        self.shared.opening.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stranger(&self) -> BoxFuture<'_, io::Result<Box<dyn Stranger>>> {
        Box::pin(async {
            let stream = TcpStream::connect(self.shared.server).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(Caller(stream)) as Box<dyn Stranger>)
        })
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

/// Accepts until the relay is dropped; the set ends the connections with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut running = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        shared.opened.fetch_add(1, Ordering::Relaxed);
        shared.opening.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let impostor = shared.impostor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match impostor {
            Some(said) => running.spawn(say(client, said, Arc::clone(&shared))),
            None => running.spawn(connection(client, Arc::clone(&shared))),
        };
        while running.try_join_next().is_some() {}
    }
}

/// One connection, until both directions are over or it is cut.
async fn connection(client: TcpStream, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    cuts.mark_unchanged();
    let forwarded = async {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(SOCKET_BYTES)?;
        socket.set_send_buffer_size(SOCKET_BYTES)?;
        let server = socket.connect(shared.server).await?;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
        }
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::try_join!(
            forward(from_client, to_server, Way::ToServer, &shared),
            forward(from_server, to_client, Way::ToClient, &shared),
        )
    };
    // Dropping the future drops the sockets, which is the cut.
    tokio::select! {
        biased;
        _ = cuts.changed() => {}
        _ = forwarded => {}
    }
}

/// Says something to a client, and hears it out until it leaves or is cut.
async fn say(mut client: TcpStream, said: Bytes, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    cuts.mark_unchanged();
    let said = async {
        client.set_nodelay(true)?;
        client.write_all(&said).await?;
        client.shutdown().await?;
        let mut buffer = vec![0; READ_BYTES];
        while client.read(&mut buffer).await? > 0 {}
        io::Result::Ok(())
    };
    tokio::select! {
        biased;
        _ = cuts.changed() => {}
        _ = said => {}
    }
}

/// Forwards one direction to its end, and passes the end on.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
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
            return to.shutdown().await;
        };
        if way == Way::ToServer {
            let mut opening = shared.opening.lock().unwrap_or_else(PoisonError::into_inner);
            let room = OPENING_BYTES.saturating_sub(opening.len());
            opening.extend(bytes.iter().take(room));
        }
        to.write_all(bytes).await?;
    }
}

/// A socket that keeps to no protocol.
struct Caller(TcpStream);

impl Stranger for Caller {
    fn send<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.0.write_all(bytes))
    }

    fn ended(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let mut buffer = vec![0; READ_BYTES];
            while self.0.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        })
    }
}
