//! Packets of one client on their way in: pushed by the task that reads, in the order they came, taken by the connection.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use polywire_core::{FrameError, Limits};
use socketioxide::handler::MessageHandler;
use socketioxide::socket::{DisconnectReason, Socket};
use socketioxide_core::Value;

use super::floor::Floor;
use super::gate::Gate;
use crate::packet::Parts;

/// The queue of one client in one namespace.
#[derive(Debug)]
pub(super) struct Inbound {
    state: Mutex<State>,
    gate: Arc<Gate>,
    /// From here on the stream is not read.
    full: (usize, usize),
    /// Bytes beyond which the client is sent away: what one read of the stream has brought still has room.
    most: usize,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Parts>,
    /// How many have come so far.
    pushed: u64,
    bytes: usize,
    /// The stream is held up because of this queue.
    holds: bool,
    overflow: Option<FrameError>,
    ended: Option<DisconnectReason>,
    waker: Option<Waker>,
}

/// What an allocation takes besides what is in it.
const OVERHEAD: usize = 64;

/// What came in.
pub(super) enum Came {
    /// A packet.
    Packet(Parts),
    /// More than this side takes.
    Overflow(FrameError),
    /// Nothing more, and how the library calls that.
    End(DisconnectReason),
}

impl Inbound {
    pub(super) fn new(gate: Arc<Gate>, limits: &Limits) -> Self {
        let full = (limits.max_queue_messages, limits.max_queue_bytes);
        // One message of the largest size, or one polling request of it, may come on top.
        let most = full.1.saturating_add(limits.max_frame_bytes.saturating_mul(2));
        Self { state: Mutex::default(), gate, full, most }
    }

    /// The gate of the stream it comes from.
    pub(super) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    pub(super) fn push(&self, parts: Parts) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.ended.is_some() || state.overflow.is_some() {
            return;
        }
        state.bytes = state.bytes.saturating_add(weight(&parts));
        state.queue.push_back(parts);
        state.pushed += 1;
        if state.bytes > self.most {
            let (got, max) = (state.bytes as u64, self.most as u64);
            state.overflow = Some(FrameError::TooLarge { got, max, setting: "max_queue_bytes" });
        }
        if !state.holds && (state.queue.len() >= self.full.0 || state.bytes >= self.full.1) {
            state.holds = true;
            self.gate.fill();
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        self.gate.finish();
    }

    /// The bytes of those that wait here.
    pub(super) fn bytes(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    /// How many have come so far.
    pub(super) fn pushed(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).pushed
    }

    /// The client has left.
    pub(super) fn end(&self, reason: DisconnectReason) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended.get_or_insert(reason);
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }

    pub(super) fn poll_take(&self, cx: &Context<'_>) -> Poll<Came> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = state.overflow.take() {
            return Poll::Ready(Came::Overflow(error));
        }
        let Some(parts) = state.queue.pop_front() else {
            if let Some(reason) = state.ended {
                return Poll::Ready(Came::End(reason));
            }
            match &mut state.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        };
        state.bytes = state.bytes.saturating_sub(weight(&parts));
        if state.holds && state.queue.len() <= self.full.0 / 2 && state.bytes <= self.full.1 / 2 {
            self.release(&mut state);
        }
        Poll::Ready(Came::Packet(parts))
    }

    /// Gives back the room of a burst.
    pub(super) fn rest(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.queue.is_empty() {
            state.queue = VecDeque::new();
        }
    }

    /// Nobody takes from it any more.
    pub(super) fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended.get_or_insert(DisconnectReason::ServerNSDisconnect);
        state.queue = VecDeque::new();
        if state.holds {
            self.release(&mut state);
        }
    }

    fn release(&self, state: &mut State) {
        state.holds = false;
        self.gate.clear();
    }
}

/// What a waiting packet takes of memory, roughly: the packet itself and its parts.
fn weight(parts: &Parts) -> usize {
    let fixed = parts.text.len().saturating_add(size_of::<Parts>() + OVERHEAD);
    parts.attachments.iter().fold(fixed, |sum, bytes| {
        sum.saturating_add(bytes.len()).saturating_add(size_of::<Bytes>() + OVERHEAD)
    })
}

/// The text and attachments of what the library hands over.
pub(super) fn parts_of(value: Value, ack: bool, id: Option<i64>) -> Parts {
    let id = id.map(|id| u64::try_from(id).unwrap_or(u64::MAX));
    match value {
        Value::Str(text, attachments) => Parts {
            ack,
            id,
            text: Bytes::from(text),
            attachments: attachments.map(Vec::from).unwrap_or_default(),
        },
        // Only the parser for msgpack makes these.
        Value::Bytes(_) => Parts { ack, id, text: Bytes::from_static(b"!"), attachments: Vec::new() },
    }
}

/// Takes every event of a socket, in the task that reads: the only place where their order is known.
pub(super) struct Push(pub(super) Arc<Inbound>);

/// Marks [`Push`] as a handler that takes whole packets.
pub(super) enum Whole {}

impl MessageHandler<Floor, Whole> for Push {
    fn call(&self, _: Arc<Socket<Floor>>, value: Value, id: Option<i64>) {
        self.0.push(parts_of(value, false, id));
    }
}
