//! The end that listens: socketioxide speaks HTTP, WebSocket, Engine.IO and CONNECT, and each client in each namespace is one
//! connection of the engine.
//!
//! Events are taken where socketioxide reads them, so their order is kept and none is lost before a handler stands; they wait
//! in a bounded queue, and while it is full the client's stream is not read. What socketioxide has no room for waits in the
//! connection's own queue. Writes that stall end the stream.

mod clock;
mod config;
mod door;
mod flood;
mod floor;
mod frames;
mod framing;
mod gate;
mod head;
mod heads;
mod inbound;
mod join;
mod line;
mod member;
mod mount;
mod plug;
mod post;
mod seat;
mod sessions;
mod sieve;
mod verdict;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use polywire_core::{
    Accept, Admission, Clock, Endpoint, Limits, Listener, Parts, Place, Server, sleep_until,
};
use polywire_net::{Listening, Socket, Stream};
use socketioxide::service::SocketIoService;
use socketioxide::{ParserConfig, SocketIoBuilder, TransportType};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use clock::{HttpTimer, within};
use door::{Beside, Guests, Places};
use floor::{Floor, Floors};
use join::{Join, Joined};
use line::Slot;
use plug::{Plug, Terms};
use sessions::Sessions;
use sieve::Sieve;

pub use config::ServerConfig;
pub use door::{Answer, Door};
pub use join::Handshake;
pub use line::Line;
pub use mount::{Mount, mount};
pub use seat::Seat;

use crate::error::Error;
use crate::session::Events;
use crate::stack::{Packets, Upper};

/// How long socketioxide has to close its sessions once every connection has ended.
const CLOSE_GRACE: Duration = Duration::from_millis(300);
/// Largest head of a request, in bytes, and most that HTTP reads at a time. More than 100 headers hyper refuses by itself.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Longest time for the head of a request to come.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for the upgrade of a session from requests to a WebSocket, as the original has it.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long accepting rests after it failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens at `address`, such as `127.0.0.1:3000`, and serves `endpoint`'s handler to every client.
///
/// What a client sends as `auth` when it joins a namespace is the `data` of the credentials that `endpoint`'s authenticator
/// judges; a refusal reaches it as CONNECT_ERROR with the reason as its message, and without [`Refusal::data`](polywire_core::Refusal::data), which socketioxide
/// 0.18.9 cannot send. Without an authenticator everybody is a guest.
/// A client that has joined two namespaces is two peers.
///
/// # Errors
/// [`Error`] when a setting is out of range or the address cannot be had.
///
/// # Cancel safety
/// Dropped before it is ready, nothing listens.
pub async fn listen(
    address: impl Into<String>,
    config: ServerConfig,
    endpoint: Endpoint,
) -> Result<Server, Error> {
    let (sessions, json) = (Arc::new(config.of_sessions()), endpoint.limits.json);
    let make = move |_: &Handshake| Events::new(Arc::clone(&sessions), json);
    start(address.into(), config, endpoint, Security::default(), true, make).await
}

/// The same over TLS (`https` and `wss`).
///
/// # Errors
/// [`Error`] when a setting is out of range or the address cannot be had.
///
/// # Cancel safety
/// Dropped before it is ready, nothing listens.
#[cfg(feature = "tls")]
pub async fn listen_tls(
    address: impl Into<String>,
    config: ServerConfig,
    tls: crate::tls::ServerTls,
    endpoint: Endpoint,
) -> Result<Server, Error> {
    let (sessions, json) = (Arc::new(config.of_sessions()), endpoint.limits.json);
    let make = move |_: &Handshake| Events::new(Arc::clone(&sessions), json);
    start(address.into(), config, endpoint, Security { tls: Some(tls) }, true, make).await
}

/// Listens as [`listen`] does, with sessions of another protocol above events, which `make_session` makes for each client that
/// joins a namespace. Everybody may join; a login is the session's own affair.
///
/// # Errors
/// [`Error`] when a setting is out of range or the address cannot be had.
///
/// # Cancel safety
/// Dropped before it is ready, nothing listens.
pub async fn listen_with<U: Upper>(
    address: impl Into<String>,
    config: ServerConfig,
    endpoint: Endpoint,
    make_session: impl Fn(&Handshake) -> U + Send + Sync + 'static,
) -> Result<Server, Error> {
    start(address.into(), config, endpoint, Security::default(), false, make_session).await
}

/// What the stream is wrapped in.
#[derive(Clone, Default)]
struct Security {
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::ServerTls>,
}

impl Security {
    async fn accept(&self, io: Socket) -> io::Result<Stream> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.accept(io).await;
        }
        Ok(Box::new(io))
    }
}

async fn start<U: Upper>(
    address: String,
    config: ServerConfig,
    endpoint: Endpoint,
    security: Security,
    judged: bool,
    make_session: impl Fn(&Handshake) -> U + Send + Sync + 'static,
) -> Result<Server, Error> {
    config.validate()?;
    endpoint.limits.validate()?;
    let listener = polywire_net::listen(&address, &endpoint.surroundings).await;
    let listener = listener.map_err(|source| Error::Listen { address, source })?;
    let address = Listener::address(&listener);
    let (streams, hotel, make) = build(address, config, &endpoint, security, judged, make_session);
    let admission = Admission::new(endpoint.clone());
    tokio::spawn(streams.accept(listener, admission, hotel.accepting.clone()));
    Ok(Server::start(hotel, make, endpoint))
}

/// The three parts of a server: HTTP, those who have joined, and what each of them needs. The settings are in range.
fn build<U: Upper, F: Fn(&Handshake) -> U + Send + Sync + 'static>(
    address: String,
    config: ServerConfig,
    endpoint: &Endpoint,
    security: Security,
    judged: bool,
    make_session: F,
) -> (Streams, Hotel, Make<F>) {
    let limits = Arc::clone(&endpoint.limits);
    let floors = Floors::default();
    let (service, io) = library(&config, &limits, floors.clone()).build_with_inner_svc(Beside);
    // One that waits here has been granted its namespace; what it sends waits in its queue.
    let (joined, joining) = mpsc::channel(limits.max_strangers);
    for namespace in &config.namespaces {
        Join::new(endpoint, joined.clone(), judged).serve(&io, namespace);
    }
    let hotel = Hotel {
        address,
        joining,
        io,
        accepting: CancellationToken::new(),
        end: CancellationToken::new(),
        plugs: TaskTracker::new(),
    };
    let make = Make {
        make_session,
        floors,
        terms: Arc::new(Terms::new(&limits, &config)),
        plugs: hotel.plugs.clone(),
    };
    let random = Arc::clone(&endpoint.surroundings.random);
    let places = Places {
        admission: Admission::new(endpoint.clone()),
        strangers: Arc::new(Semaphore::new(limits.max_strangers)),
        max_strangers: limits.max_strangers,
        ledger: Arc::clone(&endpoint.ledger),
        clock: Arc::clone(&endpoint.surroundings.clock),
    };
    let streams = Streams {
        places: Arc::new(places),
        service,
        path: config.path.trim_end_matches('/').into(),
        guests: Arc::new(Guests { origins: config.origins, hosts: config.hosts }),
        sessions: Arc::new(Sessions::new(random, limits.max_control_per_second)),
        security,
        limits,
        end: hotel.end.clone(),
        clock: Arc::clone(&endpoint.surroundings.clock),
        wire: endpoint.wire,
    };
    (streams, hotel, make)
}

/// The library's settings.
fn library(config: &ServerConfig, limits: &Limits, floors: Floors) -> SocketIoBuilder<Floor> {
    let parser = ParserConfig::common()
        .max_incoming_binaries(config.max_attachments)
        .max_incoming_binary_buf_size(limits.max_frame_bytes)
        .packet_completion_timeout(config.attachment_timeout);
    let builder = socketioxide::SocketIo::builder()
        .with_parser(parser)
        .with_adapter::<Floor>(floors)
        .req_path(config.path.trim_end_matches('/').to_owned())
        .ping_interval(config.ping_interval)
        .ping_timeout(config.ping_timeout)
        .connect_timeout(limits.login_timeout)
        .upgrade_timeout(limits.login_timeout.min(UPGRADE_TIMEOUT))
        .max_buffer_size(config.max_buffered_packets)
        .max_payload(limits.max_frame_bytes as u64)
        .ws_max_message_size(limits.max_frame_bytes)
        .ws_max_frame_size(limits.max_frame_bytes);
    if config.polling { builder } else { builder.transports([TransportType::Websocket]) }
}

/// Accepts streams and serves HTTP on them.
struct Streams {
    service: SocketIoService<Beside, Floor>,
    path: Arc<str>,
    guests: Arc<Guests>,
    sessions: Arc<Sessions>,
    places: Arc<Places>,
    security: Security,
    limits: Arc<Limits>,
    end: CancellationToken,
    clock: Arc<dyn Clock>,
    wire: &'static str,
}

impl Streams {
    async fn accept(self, mut listener: Listening, mut admission: Admission, until: CancellationToken) {
        let this = Arc::new(self);
        let mut failing = false;
        loop {
            let accepted = async {
                // At a limit the next one waits in the backlog of the operating system.
                let place = admission.ready().await;
                (Listener::accept(&mut listener).await, place)
            };
            let (accepted, place) = tokio::select! {
                biased;
                () = until.cancelled() => return,
                accepted = accepted => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    failing = false;
                    if let Some(place) = admission.admit(place, address.as_deref()) {
                        tokio::spawn(Arc::clone(&this).serve(stream, address, place));
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(wire = this.wire, %error, "accepting failed; trying again every {ACCEPT_PAUSE:?}");
                    }
                    sleep_until(&*this.clock, this.clock.now() + ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// The guards of one stream, and who answers what comes on it.
    fn guard<Io>(&self, io: Io, address: Option<String>, place: Place) -> (Line<Io>, Door) {
        let slot = Arc::<Slot>::default();
        let line = Line::new(
            io,
            Arc::clone(&slot),
            Sieve::new(self.limits.max_frame_bytes, self.limits.max_control_per_second),
            (self.limits.write_timeout, Arc::clone(&self.clock)),
            self.end.clone().cancelled_owned(),
            place,
        );
        let door = Door {
            service: self.service.clone(),
            path: Arc::clone(&self.path),
            guests: Arc::clone(&self.guests),
            sessions: Arc::clone(&self.sessions),
            places: Arc::clone(&self.places),
            address,
            frame_timeout: self.limits.frame_timeout,
            slot,
        };
        (line, door)
    }

    async fn serve(self: Arc<Self>, stream: Socket, address: Option<String>, place: Place) {
        let login = self.limits.login_timeout;
        let accepted = within(&*self.clock, login, self.security.accept(stream)).await;
        let Some(Ok(stream)) = accepted else { return };
        let (stream, door) = self.guard(stream, address, place);
        let end = self.end.clone();
        let served = http1::Builder::new()
            .timer(HttpTimer::new(Arc::clone(&self.clock)))
            .header_read_timeout(login.min(HEAD_TIMEOUT))
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), door)
            .with_upgrades();
        tokio::select! {
            biased;
            () = end.cancelled() => {}
            served = served => if let Err(error) = served {
                tracing::debug!(wire = self.wire, %error, "HTTP ended");
            },
        }
    }
}

/// Where those that have joined a namespace come from, for the engine.
struct Hotel {
    address: String,
    joining: mpsc::Receiver<Joined>,
    io: socketioxide::SocketIo<Floor>,
    accepting: CancellationToken,
    end: CancellationToken,
    plugs: TaskTracker,
}

impl Listener for Hotel {
    type Io = Joined;

    async fn accept(&mut self) -> io::Result<(Joined, Option<String>)> {
        match self.joining.recv().await {
            Some(joined) => {
                let address = joined.handshake.address.clone();
                Ok((joined, address))
            }
            // The namespaces hold senders for as long as `io` lives.
            None => std::future::pending().await,
        }
    }

    fn address(&self) -> String {
        self.address.clone()
    }

    async fn close(self) {
        self.accepting.cancel();
        self.plugs.close();
        self.plugs.wait().await;
        // In order, as far as clients read: the end of their streams is the end of their sessions. By the library's clock.
        if timeout(CLOSE_GRACE, self.io.close()).await.is_err() {
            tracing::warn!("sessions of Socket.IO did not close in time");
        }
    }
}

impl Drop for Hotel {
    fn drop(&mut self) {
        self.accepting.cancel();
        self.end.cancel();
    }
}

/// Makes what one client in one namespace needs.
struct Make<F> {
    make_session: F,
    floors: Floors,
    terms: Arc<Terms>,
    plugs: TaskTracker,
}

impl<U: Upper, F: Fn(&Handshake) -> U + Send + Sync + 'static> Accept<Joined> for Make<F> {
    type Session = Seat<U>;
    type Transport = Plug;

    async fn accept(&self, joined: Joined) -> io::Result<Parts<Seat<U>, Plug>> {
        let upper = (self.make_session)(&joined.handshake);
        let floor = self.floors.of(&joined.handshake.namespace);
        let floor = floor.ok_or_else(|| io::Error::other("a namespace that nobody serves"))?;
        let transport = Plug::new(joined.member, floor, Arc::clone(&self.terms), self.plugs.token());
        Ok(Parts { transport, codec: Packets, session: Seat::new(upper, joined.identity) })
    }
}
