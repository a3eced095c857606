//! Why a session ends that its client did not want to end. The library below tells some of it, in words of its own; what this
//! side decides under it, it cannot know.

use std::time::Duration;

use polywire_core::{Close, FrameError, TransportError};
use polywire_net::websocket::WebSocketError;
use socketioxide::socket::DisconnectReason;

/// What was found of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A message of `got` bytes, where `max_frame_bytes` is `max`.
    TooLarge { got: u64, max: u64 },
    /// More messages in a second that are sent only to be seen than `max_control_per_second`, which is this.
    Flood(u32),
    /// A message in more frames than this.
    Fragments(u32),
    /// Nothing could be written for `write_timeout`, which is this.
    Stalled(Duration),
    /// A request that did not come to its end within `frame_timeout`, which is this.
    Slow(Duration),
    /// A request that its client broke off: nothing is wrong with it, and the client is gone.
    Gone,
    /// No pong within `ping_timeout`, which is this.
    Silent(Duration),
    /// It breaks the protocol, and how.
    Breach(&'static str),
    /// The same by what is not UTF-8.
    NotUtf8(&'static str),
}

impl Verdict {
    /// What the library says of an end, where it is the client's fault; `lost` says whether the stream below has ended or failed,
    /// or the client has closed it.
    pub(super) fn of(reason: DisconnectReason, ping_timeout: Duration, lost: bool) -> Option<Self> {
        match reason {
            DisconnectReason::HeartbeatTimeout => Some(Self::Silent(ping_timeout)),
            DisconnectReason::MultipleHttpPollingError => {
                Some(Self::Breach("the client polls twice at a time"))
            }
            DisconnectReason::PacketParsingError => Some(Self::Breach(
                "what came is no packet, or exceeds max_frame_bytes, max_attachments or attachment_timeout: \
                 the library does not tell which",
            )),
            // Everything else that ends a stream so is judged before the library has it.
            DisconnectReason::TransportError if !lost => Some(Self::Breach(
                "a text that is not UTF-8, or an upgrade that was not finished: the library does not tell which",
            )),
            DisconnectReason::TransportClose
            | DisconnectReason::TransportError
            | DisconnectReason::ClientNSDisconnect
            | DisconnectReason::ServerNSDisconnect
            | DisconnectReason::ClosingServer => None,
        }
    }
}

impl From<Verdict> for TransportError {
    fn from(verdict: Verdict) -> Self {
        let layer = |error| TransportError::Layer(Box::new(error));
        match verdict {
            Verdict::TooLarge { got, max } => {
                FrameError::TooLarge { got, max, setting: "max_frame_bytes" }.into()
            }
            Verdict::Flood(max) => layer(WebSocketError::ControlFlood(max)),
            Verdict::Fragments(max) => layer(WebSocketError::Fragments(max)),
            Verdict::Stalled(limit) => TransportError::Ended(Close::SlowConsumer(limit)),
            Verdict::Slow(limit) => TransportError::Ended(Close::SlowFrame(limit)),
            Verdict::Gone => TransportError::Ended(Close::Peer),
            Verdict::Silent(limit) => TransportError::Ended(Close::Dead(format!("ping_timeout = {limit:?}"))),
            Verdict::Breach(why) | Verdict::NotUtf8(why) => FrameError::Corrupt(why).into(),
        }
    }
}
