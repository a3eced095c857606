//! What carries a connection, whatever that is at the moment: the rest of the adapter sees messages.

use std::fmt;
use std::task::{Context, Poll};

use polywire_core::{Flush, FrameError, Transport, TransportError};
use polywire_net::Stream;
use polywire_net::websocket::WebSocket;

use crate::codec::{Codec, Frame};
#[cfg(feature = "polling")]
use crate::polling::Polling;

/// A WebSocket, or polling until a WebSocket takes over.
pub struct Carrier(Way);

#[allow(clippy::large_enum_variant, reason = "nearly every connection is the large one")]
enum Way {
    WebSocket(Box<WebSocket<Stream>>),
    #[cfg(feature = "polling")]
    Polling(Box<Polling>),
}

impl Carrier {
    /// From the first message on over a WebSocket.
    pub(crate) fn websocket(socket: WebSocket<Stream>) -> Self {
        Self(Way::WebSocket(Box::new(socket)))
    }

    /// Over HTTP at first.
    #[cfg(feature = "polling")]
    pub(crate) fn polling(polling: Polling) -> Self {
        Self(Way::Polling(Box::new(polling)))
    }

    /// What carries it now.
    fn way(&mut self) -> &mut dyn Transport<Codec> {
        #[cfg(feature = "polling")]
        if let Way::Polling(polling) = &mut self.0
            && let Some(socket) = polling.take_over()
        {
            self.0 = Way::WebSocket(Box::new(socket));
        }
        match &mut self.0 {
            Way::WebSocket(socket) => &mut **socket,
            #[cfg(feature = "polling")]
            Way::Polling(polling) => &mut **polling,
        }
    }

    fn seen(&self) -> &dyn Transport<Codec> {
        match &self.0 {
            Way::WebSocket(socket) => &**socket,
            #[cfg(feature = "polling")]
            Way::Polling(polling) => &**polling,
        }
    }
}

impl Transport<Codec> for Carrier {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        codec: &mut Codec,
    ) -> Poll<Result<Option<Frame>, TransportError>> {
        self.way().poll_receive(cx, codec)
    }

    fn has_partial(&self) -> bool {
        self.seen().has_partial()
    }

    fn keeps(&self) -> usize {
        self.seen().keeps()
    }

    fn set_partial_limit(&mut self, max: usize, setting: &'static str) {
        self.way().set_partial_limit(max, setting);
    }

    fn send(&mut self, frame: Frame, flush: Flush, codec: &mut Codec) -> Result<(), FrameError> {
        self.way().send(frame, flush, codec)
    }

    fn unsent(&self) -> usize {
        self.seen().unsent()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.way().poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.way().poll_close(cx)
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.way().poll_end(cx)
    }

    fn is_roomy(&self) -> bool {
        self.seen().is_roomy()
    }

    fn rest(&mut self) {
        self.way().rest();
    }
}

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Way::WebSocket(_) => "Carrier(WebSocket)",
            #[cfg(feature = "polling")]
            Way::Polling(_) => "Carrier(Polling)",
        })
    }
}
