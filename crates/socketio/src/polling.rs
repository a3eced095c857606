//! HTTP long-polling as a transport: a request that hangs until the server has something to say, and one for what this side
//! says. A WebSocket may take over.
//!
//! Read in the Engine.IO 4 protocol document: at most one GET and one POST are under way. Everything happens while the engine
//! polls; nothing is spawned.

mod http;
mod opening;
mod payload;
mod probe;
mod refused;
mod site;
mod upgrade;

pub(crate) use http::HttpError;
pub use payload::{Payload, take_body};

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, UNIX_EPOCH};

use polywire_core::{Flush, FrameError, JsonLimits, Message, MessageCodec, Transport, TransportError};
use polywire_net::Stream;
use polywire_net::websocket::{Settings, WebSocket};

use crate::codec::{Codec, Frame};
use crate::config::{Config, Transports};
use crate::connector::Connector;
use http::Lane;
use opening::Opening;
use payload::{END, encoded_bytes};
use probe::{Probe, hand_over};
use site::Site;

/// One session over HTTP.
pub(crate) struct Polling {
    site: Site,
    connector: Arc<Connector>,
    /// What comes.
    get: Lane,
    /// What goes.
    post: Lane,
    /// What has come and was not handed up; the next GET waits for it to be empty.
    inbox: Payload,
    /// What is to go.
    outbox: VecDeque<Message>,
    outbox_bytes: usize,
    /// Bytes of the POST under way.
    posting: usize,
    /// Largest body that the server takes.
    max_payload: usize,
    /// Largest message to receive now, and the setting that says so.
    limit: (usize, &'static str),
    max_frame_bytes: usize,
    probe: Option<Probe>,
    /// The WebSocket that has taken over.
    successor: Option<Box<WebSocket<Stream>>>,
    /// This side has said that it ends the session.
    ended: bool,
}

impl Polling {
    /// Asks the server for a session, and begins the upgrade where it is wanted and offered. `settings` are those of the
    /// WebSocket.
    ///
    /// # Errors
    /// [`HttpError`] when the server is not there, refuses, or answers with something else.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the connection is dropped too; a session that the server has begun ends there at its first
    /// ping timeout.
    pub(crate) async fn open(
        connector: Arc<Connector>,
        config: &Config,
        settings: Settings,
        json: &JsonLimits,
    ) -> Result<Self, HttpError> {
        let since_epoch =
            connector.surroundings.clock.wall().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let stamp = u64::try_from(since_epoch.as_millis()).unwrap_or_default();
        let mut site = Site::new(&connector.address, &config.path_with_slash(), &config.query, stamp);
        let body_limit = (config.max_poll_bytes, "max_poll_bytes");
        let mut get = Lane::new(Arc::clone(&connector), body_limit);
        let request = site.get()?;
        let answer = get.exchange(request).await?;
        site.learn(&answer.headers);
        let kind = answer.content_type();
        let no_session = || HttpError::Broken(format!("{kind}, but no session that begins"));
        // Looked at here, and handed up whole: the link reads it too.
        let inbox = Payload::new(answer.body.clone()).map_err(|_| no_session())?;
        let first = Payload::new(answer.body).and_then(|mut body| body.next((usize::MAX, "max_frame_bytes")));
        let opening = match first {
            Ok(Some(Message::Text(packet))) => Opening::parse(&packet, json).ok_or_else(no_session)?,
            _ => return Err(no_session()),
        };
        site.enter(&opening.sid);
        let max_frame_bytes = settings.max_frame_bytes;
        let wanted = opening.offers_websocket && config.transports == Transports::PollingFirst;
        let probe = wanted.then(|| {
            let (path, cookies) = (site.websocket_path(), site.cookies());
            Probe::new(Arc::clone(&connector), path, cookies, settings, config.upgrade_timeout)
        });
        Ok(Self {
            site,
            get,
            post: Lane::new(Arc::clone(&connector), body_limit),
            connector,
            inbox,
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            posting: 0,
            max_payload: opening.max_payload,
            limit: (max_frame_bytes, "max_frame_bytes"),
            max_frame_bytes,
            probe,
            successor: None,
            ended: false,
        })
    }

    /// The WebSocket, once it has taken over and nothing that came before it is left.
    pub(crate) fn take_over(&mut self) -> Option<WebSocket<Stream>> {
        if !self.inbox.is_empty() {
            return None;
        }
        self.successor.take().map(|socket| *socket)
    }

    fn is_pausing(&self) -> bool {
        self.probe.as_ref().is_some_and(Probe::is_pausing)
    }

    /// Moves on what comes, and the upgrade.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Result<(), TransportError> {
        while self.successor.is_none() {
            if let Poll::Ready(answer) = self.get.poll(cx) {
                let answer = answer?;
                self.site.learn(&answer.headers);
                self.inbox = Payload::new(answer.body)?;
            }
            self.poll_probe(cx)?;
            let asks = !self.get.is_busy() && self.inbox.is_empty() && !self.is_pausing();
            if !asks || self.successor.is_some() {
                break;
            }
            self.get.ask(self.site.get()?);
        }
        Ok(())
    }

    fn poll_probe(&mut self, cx: &mut Context<'_>) -> Result<(), TransportError> {
        let Some(probe) = &mut self.probe else { return Ok(()) };
        let under_way = self.get.is_busy() || self.post.is_busy();
        match probe.poll(cx, self.connector.now(), under_way) {
            Poll::Ready(Ok(mut socket)) => {
                self.probe = None;
                Transport::<Codec>::set_partial_limit(&mut socket, self.limit.0, self.limit.1);
                for message in self.outbox.drain(..) {
                    hand_over(&mut socket, message)?;
                }
                self.outbox_bytes = 0;
                self.successor = Some(Box::new(socket));
            }
            Poll::Ready(Err(why)) => {
                tracing::debug!(address = %self.connector.address, %why, "no upgrade: polling goes on");
                self.probe = None;
            }
            Poll::Pending => {}
        }
        Ok(())
    }

    /// Moves on what goes. Only called for a flush: the engine is then told of the last byte's way in the answer to that.
    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        loop {
            if self.post.is_busy() {
                let answer = ready!(self.post.poll(cx))?;
                self.site.learn(&answer.headers);
                self.posting = 0;
            }
            if self.outbox.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if self.is_pausing() {
                return Poll::Pending;
            }
            let queued = self.outbox.len();
            if let Some(body) = take_body(&mut self.outbox, self.max_payload) {
                let separators = (queued - self.outbox.len()).saturating_sub(1);
                self.outbox_bytes = self.outbox_bytes.saturating_sub(body.len().saturating_sub(separators));
                self.posting = body.len();
                self.post.ask(self.site.post(body)?);
            }
        }
    }
}

impl Transport<Codec> for Polling {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        codec: &mut Codec,
    ) -> Poll<Result<Option<Frame>, TransportError>> {
        loop {
            if let Some(message) = self.inbox.next(self.limit)? {
                if let Some(frame) = codec.decode(message)? {
                    return Poll::Ready(Ok(Some(frame)));
                }
                continue;
            }
            self.poll_incoming(cx)?;
            if self.inbox.is_empty() {
                return match &mut self.successor {
                    Some(socket) => socket.poll_receive(cx, codec),
                    None => Poll::Pending,
                };
            }
        }
    }

    fn has_partial(&self) -> bool {
        self.get.has_partial()
    }

    fn set_partial_limit(&mut self, max: usize, setting: &'static str) {
        let own = self.max_frame_bytes;
        self.limit = if max < own { (max, setting) } else { (own, "max_frame_bytes") };
        if let Some(socket) = &mut self.successor {
            Transport::<Codec>::set_partial_limit(&mut **socket, max, setting);
        }
    }

    fn send(&mut self, frame: Frame, flush: Flush, codec: &mut Codec) -> Result<(), FrameError> {
        if let Some(socket) = &mut self.successor {
            return socket.send(frame, flush, codec);
        }
        codec.encode(frame, &mut |message| {
            self.ended |= matches!(&message, Message::Text(text) if text == END);
            self.outbox_bytes = self.outbox_bytes.saturating_add(encoded_bytes(&message));
            self.outbox.push_back(message);
        })
    }

    /// Bytes of bodies to post, and of the one that was not answered yet.
    fn unsent(&self) -> usize {
        match &self.successor {
            Some(socket) => Transport::<Codec>::unsent(&**socket),
            None => self.outbox_bytes.saturating_add(self.posting),
        }
    }

    /// Ready once the server has answered every POST.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        loop {
            if let Some(socket) = &mut self.successor {
                return Transport::<Codec>::poll_flush(&mut **socket, cx);
            }
            let flushed = self.poll_outgoing(cx)?;
            if flushed.is_ready() || !self.is_pausing() {
                return flushed.map(Ok);
            }
            // The upgrade waits for what is under way, and the flush for the upgrade.
            self.poll_incoming(cx)?;
            if self.successor.is_none() && self.is_pausing() {
                return Poll::Pending;
            }
        }
    }

    /// Tells the server that the session ends, which it would otherwise notice at its next ping timeout; the GET is given up.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        if let Some(socket) = &mut self.successor {
            return Transport::<Codec>::poll_close(&mut **socket, cx);
        }
        self.probe = None;
        if !self.ended {
            self.send(Frame::Write(END.into()), Flush::Coalesce, &mut Codec)?;
        }
        self.poll_flush(cx)
    }

    fn rest(&mut self) {
        self.post.rest();
        if self.outbox.is_empty() {
            self.outbox = VecDeque::new();
        }
    }
}

impl fmt::Debug for Polling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Polling")
            .field("site", &self.site)
            .field("probe", &self.probe)
            .finish_non_exhaustive()
    }
}
