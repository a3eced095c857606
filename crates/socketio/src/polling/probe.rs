//! The WebSocket that is to take over: opened, probed, and given away once polling has stopped.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use polywire_core::{Alarm, BoxFuture, Codec, Flush, FrameError, Message, MessageCodec, Moment, Transport};
use polywire_net::Stream;
use polywire_net::websocket::{Opening, Settings, WebSocket, connect};

use super::upgrade::{PROBE, UPGRADE, Upgrade};
use crate::connector::Connector;

/// Messages as they are: the words of the upgrade have no place in an established session.
struct Bare;

impl Codec for Bare {
    type Frame = Message;
    type Mode = ();

    fn set_read_mode(&mut self, (): ()) {}

    fn set_write_mode(&mut self, (): ()) {}
}

impl MessageCodec for Bare {
    fn decode(&mut self, message: Message) -> Result<Option<Message>, FrameError> {
        Ok(Some(message))
    }

    fn encode(&mut self, message: Message, out: &mut dyn FnMut(Message)) -> Result<(), FrameError> {
        out(message);
        Ok(())
    }
}

/// An upgrade under way.
pub(crate) struct Probe {
    upgrade: Upgrade,
    /// The time it has.
    timeout: Duration,
    alarm: Box<dyn Alarm>,
    way: Way,
}

enum Way {
    Opening(BoxFuture<'static, Result<WebSocket<Stream>, String>>),
    Open(Box<WebSocket<Stream>>),
    /// It was given away, or has failed.
    Over,
}

impl Probe {
    /// Opens a WebSocket at `path`, showing `cookies`; it has failed unless it is through within `timeout`.
    pub(crate) fn new(
        connector: Arc<Connector>,
        path: String,
        cookies: Option<String>,
        settings: Settings,
        timeout: Duration,
    ) -> Self {
        let until = connector.now() + timeout;
        let mut alarm = connector.surroundings.clock.alarm();
        alarm.set(until);
        let opening = async move {
            let stream = connector.connect().await.map_err(|error| error.to_string())?;
            let headers: Vec<_> = cookies.map(|cookies| ("Cookie".to_owned(), cookies)).into_iter().collect();
            let opening = Opening { host: &connector.address, path: &path, headers: &headers };
            connect(stream, opening, settings).await.map_err(|error| error.to_string())
        };
        Self { upgrade: Upgrade::new(until), timeout, alarm, way: Way::Opening(Box::pin(opening)) }
    }

    /// Must nothing new be asked over HTTP?
    pub(crate) fn is_pausing(&self) -> bool {
        self.upgrade.is_pausing()
    }

    /// Moves on. Ready with the WebSocket once it has taken over, the last word of the upgrade being handed to it; `under_way`
    /// says whether a request is still to be answered over HTTP.
    ///
    /// # Errors
    /// Why the upgrade has failed; polling goes on then.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        now: Moment,
        under_way: bool,
    ) -> Poll<Result<WebSocket<Stream>, String>> {
        if self.upgrade.until() <= now || self.alarm.poll(cx).is_ready() {
            return Poll::Ready(Err(format!(
                "it is not through within upgrade_timeout = {:?}",
                self.timeout
            )));
        }
        loop {
            match &mut self.way {
                Way::Opening(opening) => match opening.as_mut().poll(cx) {
                    Poll::Ready(Ok(mut socket)) => {
                        say(&mut socket, PROBE)?;
                        self.upgrade.opened();
                        self.way = Way::Open(Box::new(socket));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                },
                Way::Open(socket) => {
                    if let Poll::Ready(Err(error)) = Transport::<Bare>::poll_flush(&mut **socket, cx) {
                        return Poll::Ready(Err(error.to_string()));
                    }
                    match Transport::<Bare>::poll_receive(&mut **socket, cx, &mut Bare) {
                        Poll::Ready(Ok(Some(message))) => self.upgrade.heard(&message)?,
                        Poll::Ready(Ok(None)) => {
                            return Poll::Ready(Err("the server has closed the WebSocket".to_owned()));
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error.to_string())),
                        Poll::Pending => break,
                    }
                }
                Way::Over => return Poll::Pending,
            }
        }
        if !self.upgrade.may_switch(under_way) {
            return Poll::Pending;
        }
        match std::mem::replace(&mut self.way, Way::Over) {
            Way::Open(mut socket) => {
                say(&mut socket, UPGRADE)?;
                Poll::Ready(Ok(*socket))
            }
            Way::Opening(_) | Way::Over => Poll::Pending,
        }
    }
}

fn say(socket: &mut WebSocket<Stream>, text: &'static [u8]) -> Result<(), String> {
    hand_over(socket, Message::Text(text.into())).map_err(|error| error.to_string())
}

/// Sends a message as it is.
pub(crate) fn hand_over(socket: &mut WebSocket<Stream>, message: Message) -> Result<(), FrameError> {
    Transport::<Bare>::send(socket, message, Flush::Coalesce, &mut Bare)
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("upgrade", &self.upgrade).finish_non_exhaustive()
    }
}
