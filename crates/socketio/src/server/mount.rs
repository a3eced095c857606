//! The server inside a program that accepts and speaks HTTP by itself.

use std::fmt;
use std::sync::Arc;

use polywire_core::{Admission, Endpoint, Server};

use super::{Door, Line, Security, ServerConfig, Streams, build};
use crate::error::Error;
use crate::session::Events;

/// Socket.IO for a program that has an HTTP server of its own, such as one made with axum or hyper.
///
/// The guards of this server stand below HTTP: without them a client that does not read is never cleaned up. So what is mounted
/// is not a service alone but a service for each stream, together with the stream as HTTP has to see it:
///
/// ```no_run
/// # use std::{convert::Infallible, time::Duration};
/// # use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
/// # use hyper_util::rt::{TokioIo, TokioTimer};
/// # use polywire_socketio::Mount;
/// # async fn example(mount: Mount, listener: tokio::net::TcpListener) -> std::io::Result<()> {
/// loop {
///     let (stream, address) = listener.accept().await?;
///     let Some((stream, door)) = mount.guard(stream, Some(address.to_string())) else { continue };
///     let others = service_fn(async |_: Request<Incoming>| Ok::<_, Infallible>(Response::new("hello".to_owned())));
///     let mut http = http1::Builder::new();
///     http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10)).max_buf_size(16 << 10);
///     tokio::spawn(http.serve_connection(TokioIo::new(stream), door.beside(others)).with_upgrades());
/// }
/// # }
/// ```
///
/// Sessions, streams and those who have joined nothing are bounded as in a server of its own, by `max_connections`,
/// `max_connections_per_address` and `max_strangers`. The pace of accepting, time and size of the head of a
/// request, and TLS below the guarded stream are the program's business.
pub struct Mount {
    streams: Streams,
    admission: Admission,
}

/// Socket.IO to be mounted, and the server that its clients are the peers of. The server ends as every other does; the guarded
/// streams end with it, whatever they carry. [`Server::address`] is the path. Needs a tokio runtime.
///
/// # Errors
/// [`Error`] when a setting is out of range.
pub fn mount(config: ServerConfig, endpoint: Endpoint) -> Result<(Server, Mount), Error> {
    config.validate()?;
    endpoint.limits.validate()?;
    let (sessions, json) = (Arc::new(config.of_sessions()), endpoint.limits.json);
    let make_session = move |_: &super::Handshake| Events::new(Arc::clone(&sessions), json);
    let path = config.path.clone();
    let (streams, hotel, make) = build(path, config, &endpoint, Security::default(), true, make_session);
    let admission = Admission::new(endpoint.clone());
    Ok((Server::start(hotel, make, endpoint), Mount { streams, admission }))
}

impl Mount {
    /// The stream that HTTP/1 is to be spoken on, with upgrades, and what answers the requests that are Socket.IO's. `None` when
    /// the server has ended, or `address` (`host:port`) may have no more streams: drop `io` then.
    pub fn guard<Io>(&self, io: Io, address: Option<String>) -> Option<(Line<Io>, Door)> {
        if self.streams.end.is_cancelled() {
            return None;
        }
        let place = self.admission.enter(address.as_deref())?;
        Some(self.streams.guard(io, address, place))
    }
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount").field("path", &self.streams.path).finish_non_exhaustive()
    }
}
