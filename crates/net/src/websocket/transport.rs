//! The transport: messages of an adapter's codec over one WebSocket.

use std::fmt;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use polywire_core::{Flush, FrameError, Message, MessageCodec, Moment, Transport, TransportError};
use tokio::io::{AsyncRead, AsyncWrite};
use tungstenite::error::CapacityError;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{Role, WebSocketConfig};

use super::blocking::Blocking;
use super::fragments::FRAGMENT;
use super::{BUFFER_BYTES, Settings, WebSocketError};

/// The read buffer of a connection that is busy; one that rests has none.
const READ_BYTES: usize = 4 << 10;
/// Most that is dropped of what a peer still sends before others have their turn.
const DROPS_PER_POLL: usize = 64;
/// The time in which control frames are counted.
const SECOND: Duration = Duration::from_secs(1);

/// One WebSocket after its opening handshake.
///
/// A connection that rests holds no buffer at all.
pub struct WebSocket<Io> {
    state: State<Io>,
    role: Role,
    settings: Settings,
    /// The largest message to receive now, and the setting that says so.
    limit: (usize, &'static str),
    /// Where the count of written bytes must get to.
    target: u64,
    /// Something was handed over since the last flush.
    unflushed: bool,
    /// The close frame was handed over.
    closing: bool,
    /// The peer's close frame is here, or its stream has ended.
    peer_closed: bool,
    /// A frame could not be read to its end, so where the next one begins nobody knows: whatever still comes is dropped unread.
    out_of_step: bool,
    /// Nothing that was read waits to be taken, unless a frame has only begun. tungstenite does not let one look.
    drained: bool,
    /// The last message was too large for a frame, so it was put together in memory of its own.
    put_together: bool,
    /// Control frames since the moment.
    control: (u32, Option<Moment>),
}

enum State<Io> {
    Active(Box<tungstenite::WebSocket<Blocking<Io>>>),
    Resting(Blocking<Io>),
    /// Only within a change from one to the other.
    Changing,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> WebSocket<Io> {
    /// The end of a connection after its handshake, with what was read beyond it.
    pub(super) fn new(io: Io, role: Role, settings: Settings, rest: Vec<u8>) -> Self {
        let limit = (settings.max_frame_bytes, "max_frame_bytes");
        let mut io = Blocking::new(io, settings.max_fragments);
        io.fragments.max = u64::try_from(limit.0).unwrap_or(u64::MAX);
        let rest = io.pass(rest);
        let state = State::Resting(io);
        let mut this = Self {
            state,
            role,
            settings,
            limit,
            target: 0,
            unflushed: false,
            closing: false,
            peer_closed: false,
            out_of_step: false,
            drained: true,
            put_together: false,
            control: (0, None),
        };
        if !rest.is_empty() {
            this.activate(rest);
        }
        this
    }

    fn config(&self) -> WebSocketConfig {
        WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            // The engine bounds what waits; nothing is written before it says so.
            .write_buffer_size(usize::MAX - 1)
            .max_write_buffer_size(usize::MAX)
            .max_message_size(Some(self.limit.0))
            .max_frame_size(Some(self.limit.0))
    }

    /// Leaves the rest; `read` was read already, past the boundaries.
    fn activate(&mut self, read: Vec<u8>) {
        self.drained = read.is_empty();
        let config = self.config();
        self.state = match std::mem::replace(&mut self.state, State::Changing) {
            State::Resting(io) => {
                let socket = tungstenite::WebSocket::from_partially_read(io, read, self.role, Some(config));
                State::Active(Box::new(socket))
            }
            other => other,
        };
    }

    fn socket(&mut self) -> Result<&mut tungstenite::WebSocket<Blocking<Io>>, WebSocketError> {
        if matches!(self.state, State::Resting(_)) {
            self.activate(Vec::new());
        }
        match &mut self.state {
            State::Active(socket) => Ok(socket),
            _ => Err(WebSocketError::Cut),
        }
    }

    /// Leaves the rest as soon as there is something to read.
    fn poll_wake(&mut self, cx: &Context<'_>) -> Poll<Result<(), WebSocketError>> {
        let State::Resting(io) = &mut self.state else { return Poll::Ready(Ok(())) };
        io.wake_with(cx);
        let mut first = [0; READ_BYTES];
        match io.read(&mut first) {
            Ok(read) => {
                if read == 0 {
                    self.peer_closed = true;
                    return Poll::Ready(Err(WebSocketError::Cut));
                }
                self.activate(first.get(..read).unwrap_or_default().to_vec());
                Poll::Ready(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    /// Hands over the close frame and writes it as far as that can be had without waiting.
    fn begin_close(&mut self, frame: Option<CloseFrame>) {
        self.closing = true;
        self.unflushed = true;
        if let Ok(socket) = self.socket() {
            // Whatever keeps it from leaving shows when it is flushed.
            let _ = socket.close(frame);
        }
    }

    fn close_with(&mut self, code: CloseCode) {
        self.begin_close(Some(CloseFrame { code, reason: "".into() }));
    }

    fn count_control(&mut self) -> Result<(), WebSocketError> {
        let now = self.settings.clock.now();
        match self.control {
            (count, Some(since)) if now - since < SECOND => {
                self.control.0 = count.saturating_add(1);
                if count >= self.settings.max_control_per_second {
                    self.close_with(CloseCode::Policy);
                    return Err(WebSocketError::ControlFlood(self.settings.max_control_per_second));
                }
            }
            _ => self.control = (1, Some(now)),
        }
        Ok(())
    }

    /// What tungstenite reports, in the words of this workspace; the peer is told.
    fn fault(&mut self, error: tungstenite::Error) -> TransportError {
        self.out_of_step = true;
        let error = match error {
            tungstenite::Error::Io(error) => match error.downcast() {
                Ok(own) => {
                    self.close_with(CloseCode::Policy);
                    own
                }
                // Only a close frame ends a connection in order.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => WebSocketError::Cut,
                Err(error) => WebSocketError::Io(error),
            },
            tungstenite::Error::Capacity(CapacityError::MessageTooLong { size, .. }) => {
                self.close_with(CloseCode::Size);
                let [got, max] = [size, self.limit.0].map(|bytes| u64::try_from(bytes).unwrap_or(u64::MAX));
                return FrameError::TooLarge { got, max, setting: self.limit.1 }.into();
            }
            tungstenite::Error::Utf8(_) => {
                self.close_with(CloseCode::Invalid);
                WebSocketError::NotUtf8
            }
            tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
                WebSocketError::Cut
            }
            other => {
                self.close_with(CloseCode::Protocol);
                WebSocketError::Protocol(other.to_string())
            }
        };
        layer(error)
    }

    /// Drops the next thing that the peer sends; `false` when nothing comes any more.
    fn drop_next(&mut self, cx: &Context<'_>) -> Result<bool, tungstenite::Error> {
        let out_of_step = self.out_of_step;
        let Ok(socket) = self.socket() else { return Ok(false) };
        socket.get_mut().wake_with(cx);
        if out_of_step {
            return Ok(socket.get_mut().read(&mut [0; READ_BYTES])? > 0);
        }
        Ok(!matches!(socket.read()?, tungstenite::Message::Close(_)))
    }

    fn queue(&mut self, frame: Frame) {
        let masked = if self.role == Role::Client { 4 } else { 0 };
        let bytes = u64::try_from(frame.len() + masked).unwrap_or(u64::MAX);
        if let Ok(socket) = self.socket() {
            // After a close frame nothing leaves any more, and the connection is about to end.
            if socket.write(tungstenite::Message::Frame(frame)).is_ok() {
                // Pongs are written without being asked for.
                self.target = self.target.max(self.written()).saturating_add(bytes);
                self.unflushed = true;
            }
        }
    }

    fn written(&self) -> u64 {
        match &self.state {
            State::Active(socket) => socket.get_ref().written,
            State::Resting(io) => io.written,
            State::Changing => 0,
        }
    }
}

fn layer(error: WebSocketError) -> TransportError {
    match error {
        WebSocketError::Io(error) => TransportError::Io(error),
        other => TransportError::Layer(Box::new(other)),
    }
}

/// A frame for the message; `None` and the close frame for the end.
fn frame_of(message: Message) -> Result<Frame, Option<CloseFrame>> {
    Ok(match message {
        Message::Text(bytes) => Frame::message(bytes, OpCode::Data(Data::Text), true),
        Message::Binary(bytes) => Frame::message(bytes, OpCode::Data(Data::Binary), true),
        Message::Ping(bytes) => Frame::ping(bytes),
        Message::Pong(bytes) => Frame::pong(bytes),
        Message::Close(reason) => return Err(reason.map(|(code, reason)| close_frame(code, &reason))),
    })
}

fn close_frame(code: u16, reason: &str) -> CloseFrame {
    // A control frame holds 125 bytes, two of them the code.
    let end = (0..=reason.len().min(123)).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or_default();
    CloseFrame { code: CloseCode::from(code), reason: reason[..end].into() }
}

impl<Io, C> Transport<C> for WebSocket<Io>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    C: MessageCodec,
{
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        codec: &mut C,
    ) -> Poll<Result<Option<C::Frame>, TransportError>> {
        loop {
            if self.peer_closed || self.out_of_step {
                return Poll::Ready(Ok(None));
            }
            match self.poll_wake(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(layer(error))),
                Poll::Pending => return Poll::Pending,
            }
            self.drained = false;
            let socket = self.socket().map_err(layer)?;
            socket.get_mut().wake_with(cx);
            let message = match socket.read() {
                Ok(tungstenite::Message::Text(text)) => Message::Text(Bytes::from(text)),
                Ok(tungstenite::Message::Binary(bytes)) => Message::Binary(bytes),
                Ok(tungstenite::Message::Ping(_)) => {
                    // tungstenite has queued the pong, and writes it when it is read from or flushed.
                    self.unflushed = true;
                    self.count_control().map_err(layer)?;
                    continue;
                }
                Ok(tungstenite::Message::Pong(bytes)) => {
                    self.count_control().map_err(layer)?;
                    Message::Pong(bytes)
                }
                Ok(tungstenite::Message::Close(reason)) => {
                    // The peer waits for the answer to its close frame; whether it gets it changes nothing here.
                    let _ = socket.flush();
                    self.peer_closed = true;
                    Message::Close(reason.map(|frame| (u16::from(frame.code), frame.reason.as_str().into())))
                }
                Ok(tungstenite::Message::Frame(_)) => continue,
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.drained = true;
                    return Poll::Pending;
                }
                Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => {
                    self.peer_closed = true;
                    return Poll::Ready(Ok(None));
                }
                Err(error) => return Poll::Ready(Err(self.fault(error))),
            };
            self.put_together = message.len() > usize::from(FRAGMENT);
            if let Some(frame) = codec.decode(message)? {
                return Poll::Ready(Ok(Some(frame)));
            }
        }
    }

    fn has_partial(&self) -> bool {
        match &self.state {
            State::Active(socket) => !socket.get_ref().boundaries.between(),
            State::Resting(io) => !io.boundaries.between(),
            State::Changing => false,
        }
    }

    fn keeps(&self) -> usize {
        match &self.state {
            State::Active(socket) => socket.get_ref().boundaries.begun(),
            State::Resting(io) => io.boundaries.begun(),
            State::Changing => 0,
        }
    }

    /// A message in one frame is a slice of tungstenite's read buffer, which others may lie in, too.
    fn pins(&self) -> usize {
        if self.put_together { 0 } else { BUFFER_BYTES }
    }

    fn set_partial_limit(&mut self, max: usize, setting: &'static str) {
        let own = self.settings.max_frame_bytes;
        self.limit = if max < own { (max, setting) } else { (own, "max_frame_bytes") };
        let max = self.limit.0;
        let largest = u64::try_from(max).unwrap_or(u64::MAX);
        match &mut self.state {
            State::Active(socket) => {
                socket.set_config(|config| {
                    config.max_message_size = Some(max);
                    config.max_frame_size = Some(max);
                });
                socket.get_mut().fragments.max = largest;
            }
            State::Resting(io) => io.fragments.max = largest,
            State::Changing => {}
        }
    }

    fn send(&mut self, frame: C::Frame, _flush: Flush, codec: &mut C) -> Result<(), FrameError> {
        codec.encode(frame, &mut |message| match frame_of(message) {
            Ok(frame) => self.queue(frame),
            Err(close) => self.begin_close(close),
        })
    }

    fn unsent(&self) -> usize {
        let bytes = usize::try_from(self.target.saturating_sub(self.written())).unwrap_or(usize::MAX);
        bytes.max(usize::from(self.unflushed))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let State::Active(socket) = &mut self.state else { return Poll::Ready(Ok(())) };
        socket.get_mut().wake_with(cx);
        match socket.flush() {
            Ok(()) | Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => {
                self.target = self.written();
                self.unflushed = false;
                Poll::Ready(Ok(()))
            }
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(tungstenite::Error::Io(error)) => Poll::Ready(Err(error.into())),
            Err(error) => Poll::Ready(Err(layer(WebSocketError::Protocol(error.to_string())))),
        }
    }

    /// Sends the close frame, waits for the peer's, and closes the stream; what the peer still sends is dropped.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        if !self.closing {
            self.begin_close(self.settings.close_code.map(|code| close_frame(code, "")));
        }
        match Transport::<C>::poll_flush(self, cx) {
            Poll::Ready(Ok(())) => {}
            other => return other,
        }
        let mut dropped = 0;
        while !self.peer_closed {
            dropped += 1;
            if dropped > DROPS_PER_POLL {
                // Others first, and the deadline: a peer may send faster than this drops.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.drop_next(cx) {
                Ok(more) => self.peer_closed = !more,
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Poll::Pending;
                }
                Err(_) => self.peer_closed = true,
            }
        }
        let State::Active(socket) = &mut self.state else { return Poll::Ready(Ok(())) };
        Pin::new(&mut socket.get_mut().io).poll_shutdown(cx).map_err(TransportError::Io)
    }

    fn is_roomy(&self) -> bool {
        let State::Active(socket) = &self.state else { return false };
        let clean = self.drained && !self.closing && !self.peer_closed && !self.unflushed;
        clean && socket.get_ref().boundaries.between()
    }

    fn rest(&mut self) {
        if !Transport::<C>::is_roomy(self) {
            return;
        }
        self.state = match std::mem::replace(&mut self.state, State::Changing) {
            State::Active(socket) => State::Resting(socket.into_inner()),
            other => other,
        };
    }
}

impl<Io> fmt::Debug for WebSocket<Io> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").field("role", &self.role).finish_non_exhaustive()
    }
}
