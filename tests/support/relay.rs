//! A relay between a client and a server that records, slices and cuts.
//!
//! It listens on a loopback port or a Unix path, opens one upstream connection per client, and keeps the bytes of
//! each direction of each connection: for comparing bytes with a recording, and for faults a peer cannot make.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// Bytes recorded per direction of a connection; what comes later is forwarded and not kept.
const MAX_RECORDED_BYTES: usize = 64 << 20;
/// Bytes taken per read.
const READ_BYTES: usize = 64 << 10;

/// One end of a connection: where to listen or where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An address and port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Place {
    /// A port of the loopback address; 0 when listening lets the system choose.
    pub fn local(port: u16) -> Self {
        Self::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }
}

/// A direction through the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// What passed through one connection so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// Bytes from the client to the server.
    pub to_server: Vec<u8>,
    /// Bytes from the server to the client.
    pub to_client: Vec<u8>,
    /// The client ended its direction.
    pub client_ended: bool,
    /// The server ended its direction.
    pub server_ended: bool,
    /// Both directions are over, by their ends, an error or a cut.
    pub over: bool,
}

impl Recording {
    /// The bytes of one direction.
    pub fn bytes(&self, direction: Direction) -> &[u8] {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }

    fn record(&mut self, direction: Direction, bytes: &[u8]) {
        let kept = match direction {
            Direction::ToServer => &mut self.to_server,
            Direction::ToClient => &mut self.to_client,
        };
        let room = MAX_RECORDED_BYTES.saturating_sub(kept.len()).min(bytes.len());
        kept.extend_from_slice(&bytes[..room]);
    }

    fn end(&mut self, direction: Direction) {
        match direction {
            Direction::ToServer => self.client_ended = true,
            Direction::ToClient => self.server_ended = true,
        }
    }
}

/// One connection as the tests see it.
struct Connection {
    recording: watch::Sender<Recording>,
    cut: watch::Sender<bool>,
}

/// What the accepting task and the tests share.
struct Shared {
    upstream: Mutex<Place>,
    /// Bytes per write; 0 writes as it was read.
    slice: AtomicUsize,
    connections: Mutex<Vec<Arc<Connection>>>,
    opened: watch::Sender<usize>,
}

/// A running relay; dropping it ends every connection.
pub struct Relay {
    place: Place,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Relay {
    /// Listens at `listen` and forwards every connection to `upstream`.
    ///
    /// # Errors
    /// When the place cannot be listened on.
    pub async fn start(listen: Place, upstream: Place) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream),
            slice: AtomicUsize::new(0),
            connections: Mutex::default(),
            opened: watch::Sender::new(0),
        });
        let (place, accepting) = match listen {
            Place::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                (Place::Tcp(listener.local_addr()?), tokio::spawn(accept_tcp(listener, Arc::clone(&shared))))
            }
            Place::Unix(path) => {
                let listener = UnixListener::bind(&path)?;
                (Place::Unix(path), tokio::spawn(accept_unix(listener, Arc::clone(&shared))))
            }
        };
        Ok(Self { place, shared, accepting })
    }

    /// Where clients connect.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The port clients connect to; `None` on a Unix path.
    pub fn port(&self) -> Option<u16> {
        match &self.place {
            Place::Tcp(address) => Some(address.port()),
            Place::Unix(_) => None,
        }
    }

    /// From now on writes at most `bytes` per write, in both directions of every connection; 0 ends that.
    pub fn slice_writes(&self, bytes: usize) {
        self.shared.slice.store(bytes, Ordering::Relaxed);
    }

    /// Forwards connections opened from now on to `upstream`; those that are open stay where they are.
    pub fn redirect(&self, upstream: Place) {
        *self.shared.upstream.lock().unwrap_or_else(PoisonError::into_inner) = upstream;
    }

    /// How many connections were opened so far. They are numbered from 0 in the order they came.
    pub fn opened(&self) -> usize {
        *self.shared.opened.borrow()
    }

    /// What passed through connection `number` so far.
    ///
    /// # Panics
    /// When there is no such connection yet.
    pub fn recording(&self, number: usize) -> Recording {
        self.connection(number).recording.borrow().clone()
    }

    /// Waits until connection `number` is there and its recording satisfies `wanted`; returns the recording.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] with sizes when that does not happen within `limit`.
    pub async fn wait_for(
        &self,
        number: usize,
        wanted: impl FnMut(&Recording) -> bool,
        limit: Duration,
    ) -> io::Result<Recording> {
        let found = timeout(limit, async {
            let mut opened = self.shared.opened.subscribe();
            opened.wait_for(|opened| *opened > number).await.expect("the relay holds the sender");
            let mut recording = self.connection(number).recording.subscribe();
            recording.wait_for(wanted).await.map(|recording| recording.clone())
        });
        match found.await {
            Ok(recording) => Ok(recording.expect("the relay holds the sender")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, self.describe(number, limit))),
        }
    }

    /// Ends both sides of connection `number` at once; bytes under way are lost.
    ///
    /// # Panics
    /// When there is no such connection yet.
    pub fn cut(&self, number: usize) {
        self.connection(number).cut.send_replace(true);
    }

    fn connection(&self, number: usize) -> Arc<Connection> {
        let connections = self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let found = connections.get(number);
        Arc::clone(found.unwrap_or_else(|| panic!("the relay has no connection {number} yet")))
    }

    fn describe(&self, number: usize, limit: Duration) -> String {
        if self.opened() <= number {
            return format!("connection {number} was not opened within {limit:?}");
        }
        let seen = self.recording(number);
        format!(
            "connection {number} did not get there within {limit:?}: {} bytes to the server, {} to the client, over: {}",
            seen.to_server.len(),
            seen.to_client.len(),
            seen.over
        )
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Accepts until the relay is dropped; the set ends the connections with it.
async fn accept_tcp(listener: TcpListener, shared: Arc<Shared>) {
    let mut running = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let _ = client.set_nodelay(true);
        let (reader, writer) = client.into_split();
        running.spawn(connect(reader, writer, Arc::clone(&shared)));
    }
}

/// As [`accept_tcp`], on a Unix socket.
async fn accept_unix(listener: UnixListener, shared: Arc<Shared>) {
    let mut running = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (reader, writer) = client.into_split();
        running.spawn(connect(reader, writer, Arc::clone(&shared)));
    }
}

/// Opens the upstream connection and forwards until both directions are over.
async fn connect<R, W>(client_reader: R, client_writer: W, shared: Arc<Shared>)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let connection =
        Arc::new(Connection { recording: watch::Sender::default(), cut: watch::Sender::new(false) });
    {
        let mut connections = shared.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.push(Arc::clone(&connection));
        shared.opened.send_replace(connections.len());
    }
    let mut cut = connection.cut.subscribe();
    let upstream = shared.upstream.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let forwarded = async {
        match &upstream {
            Place::Tcp(address) => {
                let server = TcpStream::connect(address).await?;
                server.set_nodelay(true)?;
                let (reader, writer) = server.into_split();
                forward_both(client_reader, client_writer, reader, writer, &connection, &shared).await
            }
            Place::Unix(path) => {
                let (reader, writer) = UnixStream::connect(path).await?.into_split();
                forward_both(client_reader, client_writer, reader, writer, &connection, &shared).await
            }
        }
    };
    // Dropping the future drops the sockets, which is the cut.
    tokio::select! {
        _ = cut.wait_for(|cut| *cut) => {}
        _ = forwarded => {}
    }
    connection.recording.send_modify(|recording| recording.over = true);
}

/// Forwards both directions; ends at the first error or when both ended.
async fn forward_both(
    client_reader: impl AsyncRead + Unpin,
    client_writer: impl AsyncWrite + Unpin,
    server_reader: impl AsyncRead + Unpin,
    server_writer: impl AsyncWrite + Unpin,
    connection: &Connection,
    shared: &Shared,
) -> io::Result<()> {
    tokio::try_join!(
        forward(client_reader, server_writer, Direction::ToServer, connection, shared),
        forward(server_reader, client_writer, Direction::ToClient, connection, shared),
    )?;
    Ok(())
}

/// Forwards one direction to its end and passes the end on.
async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    direction: Direction,
    connection: &Connection,
    shared: &Shared,
) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        let bytes = &buffer[..read];
        if bytes.is_empty() {
            connection.recording.send_modify(|recording| recording.end(direction));
            return to.shutdown().await;
        }
        connection.recording.send_modify(|recording| recording.record(direction, bytes));
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
