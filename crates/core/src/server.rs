//! Listening: accepts, limits, hands each connection to the engine, and drains.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::accepts::{Admission, Place};
use crate::connection::{Connection, Endpoint, Observe};
use crate::envelope::Event;
use crate::ledger::{Count, Ledger};
use crate::moment::{Moment, sleep_until};
use crate::peer::Peer;
use crate::session::{Close, Session};
use crate::shutdown::Shutdown;
use crate::transport::Transport;

/// How long accepting rests after it failed, for example because the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long connections have to end after the drain is over.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// Something that peers dial.
pub trait Listener: Send + 'static {
    /// What was accepted: a stream of bytes, or whatever else a connection can be made of.
    type Io: Send + 'static;

    /// The next peer and its address, for people.
    ///
    /// # Errors
    /// Whatever the operating system reports; the listener stays usable.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, Option<String>)>> + Send;

    /// The address peers dial, as `host:port` or a path.
    fn address(&self) -> String;

    /// Ends whatever else the listener keeps going. Called once nothing is accepted any more; a shutdown waits for it as it
    /// does for a connection. Nothing unless implemented.
    fn close(self) -> impl Future<Output = ()> + Send
    where
        Self: Sized,
    {
        async { drop(self) }
    }
}

impl Listener for TcpListener {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, Option<String>)> {
        let (stream, address) = TcpListener::accept(self).await?;
        // Some systems refuse it on a connection that is gone already; whoever reads from that one is told.
        let _ = stream.set_nodelay(true);
        Ok((stream, Some(address.to_string())))
    }

    fn address(&self) -> String {
        self.local_addr().map_or_else(|_| String::new(), |address| address.to_string())
    }
}

#[cfg(unix)]
impl Listener for tokio::net::UnixListener {
    type Io = tokio::net::UnixStream;

    async fn accept(&mut self) -> io::Result<(Self::Io, Option<String>)> {
        let (stream, _) = tokio::net::UnixListener::accept(self).await?;
        Ok((stream, None))
    }

    fn address(&self) -> String {
        let path = self
            .local_addr()
            .ok()
            .and_then(|address| address.as_pathname().map(|path| path.display().to_string()));
        path.unwrap_or_default()
    }
}

/// Makes what one accepted connection needs: its transport, codec and session.
pub trait Accept<Io>: Send + Sync + 'static {
    /// What the wire knows.
    type Session: Session;
    /// What carries its frames.
    type Transport: Transport<<Self::Session as Session>::Codec>;

    /// Prepares one connection; a handshake of a layer below (TLS, an HTTP upgrade) happens here. It and the login have
    /// `login_timeout` together.
    fn accept(
        &self,
        io: Io,
    ) -> impl Future<Output = io::Result<Parts<Self::Session, Self::Transport>>> + Send;
}

/// What a connection is made of.
pub struct Parts<S: Session, T> {
    /// Carries the frames.
    pub transport: T,
    /// Bytes and frames.
    pub codec: S::Codec,
    /// What the wire knows.
    pub session: S,
}

impl<S: Session, T> fmt::Debug for Parts<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parts")
    }
}

/// A running server.
pub struct Server {
    address: String,
    endpoint: Endpoint,
    peers: Arc<Peers>,
    accepting: JoinHandle<()>,
    connections: TaskTracker,
}

impl Server {
    /// Starts serving `listener`. Needs a tokio runtime.
    pub fn start<L: Listener>(listener: L, accept: impl Accept<L::Io>, mut endpoint: Endpoint) -> Self {
        let address = listener.address();
        endpoint.shutdown = endpoint.shutdown.child();
        let peers = Arc::new(Peers { present: Mutex::default(), next: endpoint.observer.take() });
        endpoint.observer = Some(Arc::clone(&peers) as _);
        let connections = TaskTracker::new();
        let accepting = tokio::spawn(accept_loop(
            listener,
            Arc::new(accept),
            Arc::new(endpoint.clone()),
            connections.clone(),
        ));
        Self { address, endpoint, peers, accepting, connections }
    }

    /// The address peers dial, as `host:port` or a path.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What was counted.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.endpoint.ledger
    }

    /// The handle that stops it.
    pub fn shutdown_handle(&self) -> &Shutdown {
        &self.endpoint.shutdown
    }

    /// The peers that are connected and, where the wire has a login, logged in; oldest first.
    pub fn peers(&self) -> Vec<Peer> {
        self.peers.all()
    }

    /// A handle that reaches every peer and outlives nothing.
    pub fn audience(&self) -> Audience {
        Audience(Arc::clone(&self.peers))
    }

    /// Drains: takes no new connection, lets calls in flight end for up to `drain_timeout`, then closes everything.
    /// Gives back when every connection is gone, a second after the drain timeout at the latest.
    ///
    /// # Cancel safety
    /// Dropped before its end, it stops at once.
    pub async fn shutdown(mut self) {
        let Self { endpoint, accepting, connections, .. } = &mut self;
        endpoint.shutdown.drain();
        // It ends at the drain signal; a panic in it was reported by the runtime.
        let _ = accepting.await;
        connections.close();
        let clock = Arc::clone(&endpoint.surroundings.clock);
        let drained = clock.now() + endpoint.limits.drain_timeout;
        tokio::select! {
            biased;
            () = connections.wait() => return,
            () = endpoint.shutdown.stopped() => {}
            () = sleep_until(&*clock, drained) => endpoint.shutdown.stop(),
        }
        let end = clock.now() + STOP_GRACE;
        tokio::select! {
            biased;
            () = connections.wait() => {}
            () = sleep_until(&*clock, end) => tracing::warn!("{} connections did not end in time", connections.len()),
        }
    }
}

impl Drop for Server {
    /// A server that is dropped stops at once.
    fn drop(&mut self) {
        self.endpoint.shutdown.stop();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Every peer of a server.
#[derive(Clone)]
pub struct Audience(Arc<Peers>);

impl Audience {
    /// The peers present, oldest first.
    pub fn peers(&self) -> Vec<Peer> {
        self.0.all()
    }

    /// Sends `event` to every peer present, in the order they came, as far as their queues have room; says how many took it.
    pub fn broadcast(&self, event: &Event) -> usize {
        let peers = self.0.lock().clone();
        peers
            .values()
            .filter(|peer| peer.caller().is_some_and(|caller| caller.try_notify(event.clone()).is_ok()))
            .count()
    }
}

impl fmt::Debug for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Audience")
    }
}

struct Peers {
    /// Shared with whoever is telling all of them something.
    present: Mutex<Arc<BTreeMap<u64, Peer>>>,
    next: Option<Arc<dyn Observe>>,
}

impl Peers {
    fn lock(&self) -> MutexGuard<'_, Arc<BTreeMap<u64, Peer>>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Peer> {
        self.lock().values().cloned().collect()
    }
}

impl Observe for Peers {
    fn connected(&self, peer: &Peer) {
        Arc::make_mut(&mut self.lock()).insert(peer.id(), peer.clone());
        if let Some(next) = &self.next {
            next.connected(peer);
        }
    }

    fn disconnected(&self, peer: &Peer, reason: &Close) {
        Arc::make_mut(&mut self.lock()).remove(&peer.id());
        if let Some(next) = &self.next {
            next.disconnected(peer, reason);
        }
    }

    fn found(&self, peer: &Peer) {
        if let Some(next) = &self.next {
            next.found(peer);
        }
    }

    fn turned_away(&self, reason: &Close) {
        if let Some(next) = &self.next {
            next.turned_away(reason);
        }
    }
}

async fn accept_loop<L: Listener, A: Accept<L::Io>>(
    mut listener: L,
    accept: Arc<A>,
    endpoint: Arc<Endpoint>,
    connections: TaskTracker,
) {
    let strangers = Arc::new(Semaphore::new(endpoint.limits.max_strangers));
    let mut admission = Admission::new(Endpoint::clone(&endpoint));
    let clock = Arc::clone(&endpoint.surroundings.clock);
    let mut failing = false;
    loop {
        let accepted = async {
            // At a limit the next peer waits in the backlog of the operating system.
            let stranger = Arc::clone(&strangers).acquire_owned().await;
            let place = admission.ready().await;
            (listener.accept().await, place, stranger)
        };
        let (accepted, place, stranger) = tokio::select! {
            biased;
            () = endpoint.shutdown.draining() => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((io, address)) => {
                failing = false;
                let Some(place) = admission.admit(place, address.as_deref()) else { continue };
                let peer = Accepted { io, address, place, _stranger: stranger.ok() };
                let opening = Box::pin(open(Arc::clone(&accept), peer, Arc::clone(&endpoint)));
                connections.spawn(async move {
                    let Some((connection, _place)) = opening.await else { return };
                    connection.await;
                });
            }
            Err(error) => {
                endpoint.ledger.add(Count::AcceptsFailed, 1);
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(wire = endpoint.wire, %error, "accepting failed; trying again every {ACCEPT_PAUSE:?}");
                }
                sleep_until(&*clock, clock.now() + ACCEPT_PAUSE).await;
            }
        }
    }
    connections.spawn(listener.close());
}

/// A peer that was let in, with its places.
struct Accepted<Io> {
    io: Io,
    address: Option<String>,
    place: Place,
    /// Held until it is logged in; always there, because nobody closes the semaphore.
    _stranger: Option<OwnedSemaphorePermit>,
}

/// From an accepted stream to a connection that is established; `None` when it ended before.
///
/// The task of a connection is as large as the largest thing it ever awaits and whatever it was given: this has a box of its own,
/// which goes when it is done, and the connection has another.
async fn open<Io, A: Accept<Io>>(
    accept: Arc<A>,
    peer: Accepted<Io>,
    endpoint: Arc<Endpoint>,
) -> Option<(Pin<Box<Connection<A::Transport, A::Session>>>, Place)> {
    let Accepted { io, address, place, _stranger } = peer;
    let clock = Arc::clone(&endpoint.surroundings.clock);
    let login = clock.now() + endpoint.limits.login_timeout;
    let Parts { transport, codec, session } = prepare(&*accept, io, &endpoint, login).await?;
    let (connection, mut link) = Connection::new(transport, codec, session, endpoint, address);
    let mut connection = Box::pin(connection);
    connection.login_by(login);
    tokio::select! {
        biased;
        ended = &mut connection => {
            let failed = matches!(ended.reason, Close::Refused(_) | Close::Protocol(_));
            if failed && !ended.established {
                place.login_failed(clock.now());
            }
            None
        }
        _ = link.established() => Some((connection, place)),
    }
}

async fn prepare<Io, A: Accept<Io>>(
    accept: &A,
    io: Io,
    endpoint: &Endpoint,
    until: Moment,
) -> Option<Parts<A::Session, A::Transport>> {
    let clock = &endpoint.surroundings.clock;
    tokio::select! {
        biased;
        parts = accept.accept(io) => parts.inspect_err(|error| tracing::debug!(wire = endpoint.wire, %error, "handshake failed")).ok(),
        () = sleep_until(&**clock, until) => None,
        () = endpoint.shutdown.draining() => None,
    }
}
