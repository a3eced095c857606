//! The fenced switch of our direction, and the peer's.

use std::time::Duration;

use bytes::Bytes;
use polywire_core::{Action, Count, Flush};

use super::{DRAIN_PING, FENCE_PING, Greeting, PROBE_PING, READY, Sending, Session, SessionCx};
use crate::binary;
use crate::codec::{Frame, Framing};
use crate::control;
use crate::wire::Message;
use crate::wire::line_of;

/// From the second pong to the first frame: what is left of a transition that was cut on its way comes in this time, and the
/// frame in a read of its own.
const SETTLE: Duration = Duration::from_millis(5);

impl Session {
    pub(super) fn may_switch(&self) -> bool {
        self.sending == Sending::Lines
            && self.greeting == (Greeting::Done { binary: true })
            && self.running.fits_frames()
    }

    /// Begins the switch of our direction, if it can begin now.
    pub(super) fn switch(&mut self, cx: &mut SessionCx<'_>) {
        if !self.may_switch() {
            return;
        }
        if self.exact {
            return self.transit(cx);
        }
        self.sending = Sending::Draining;
        self.deadline = Some(cx.now() + self.config.handshake_timeout);
        cx.act(Action::Write(Frame::Line(line_of(self.fence_ping(DRAIN_PING, cx))), Flush::Barrier));
        cx.act(Action::WriteMode(Framing::Held));
    }

    fn fence_ping(&self, number: u64, cx: &SessionCx<'_>) -> Message {
        let id = self.own.id(number);
        let id = format!("{}{}", control::FENCE, String::from_utf8_lossy(&id));
        control::ping(&id, cx.wall())
    }

    /// Is our direction between lines and frames?
    pub(super) fn fencing(&self) -> bool {
        matches!(self.sending, Sending::Draining | Sending::Fenced | Sending::Probing)
    }

    /// Asks, as a frame, whether the peer reads frames. Written once: behind a frame that was cut, another would complete it.
    pub(super) fn frame_ping(&self, cx: &SessionCx<'_>) -> Frame {
        binary::beheadable(&self.fence_ping(PROBE_PING, cx))
    }

    /// Switches without a fence: the peer is known to read exactly, or to read frames already.
    pub(super) fn transit(&mut self, cx: &mut SessionCx<'_>) {
        if !matches!(self.sending, Sending::Fenced | Sending::Probing) {
            cx.write(Frame::Line(Bytes::from_static(control::TRANSITION)));
        }
        self.sending = Sending::Frames;
        self.deadline = None;
        self.probe = None;
        cx.act(Action::WriteMode(Framing::Binary));
        cx.write(Frame::Release);
        cx.act(Action::Open(READY));
    }

    pub(super) fn on_fence_pong(&mut self, number: Option<u64>, cx: &mut SessionCx<'_>) {
        match (self.sending, number) {
            (Sending::Draining, Some(DRAIN_PING)) if self.exact => self.transit(cx),
            (Sending::Draining, Some(DRAIN_PING)) => {
                self.sending = Sending::Fenced;
                self.deadline = Some(cx.now() + self.config.handshake_timeout);
                cx.write(Frame::Line(line_of(self.fence_ping(FENCE_PING, cx))));
                let transition = Frame::Line(Bytes::from_static(control::TRANSITION));
                cx.act(Action::Write(transition, Flush::Barrier));
            }
            (Sending::Fenced, Some(FENCE_PING)) => {
                self.sending = Sending::Probing;
                self.deadline = Some(cx.now() + self.config.handshake_timeout);
                self.probe = Some(cx.now() + SETTLE);
            }
            (Sending::Probing, Some(PROBE_PING)) => self.transit(cx),
            // Both ends had begun, and the other's ping came before this.
            (Sending::Frames, Some(DRAIN_PING | FENCE_PING | PROBE_PING)) => {}
            _ => cx.count(Count::Unexpected),
        }
    }

    pub(super) fn on_transition(&mut self, cx: &mut SessionCx<'_>) {
        if std::mem::replace(&mut self.reads_frames, true) {
            return cx.count(Count::Unexpected);
        }
        cx.act(Action::ReadMode(Framing::Binary));
    }
}
