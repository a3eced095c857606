//! The fenced switch of our direction, and the peer's.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bytes::Bytes;
use polywire_core::{Action, Count, Flush};

use super::{DRAIN_PING, FENCE_PING, Greeting, READY, Sending, Session, SessionCx, line_of};
use crate::codec::{Frame, Framing};
use crate::control;

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
        cx.act(Action::Write(Frame::Line(self.fence_ping(DRAIN_PING, cx)), Flush::Barrier));
        cx.act(Action::WriteMode(Framing::Held));
    }

    pub(super) fn fence_ping(&self, number: u64, cx: &SessionCx<'_>) -> Bytes {
        let id = self.own.id(number);
        let id = format!("{}{}", control::FENCE, String::from_utf8_lossy(&id));
        line_of(control::ping(&id, cx.wall()))
    }

    /// Switches without a fence: the peer is known to read exactly, or to have read everything.
    pub(super) fn transit(&mut self, cx: &mut SessionCx<'_>) {
        if self.sending != Sending::Fenced {
            cx.write(Frame::Line(Bytes::from_static(control::TRANSITION)));
        }
        self.sending = Sending::Frames;
        self.deadline = None;
        cx.act(Action::WriteMode(Framing::Binary));
        cx.write(Frame::Release);
        cx.act(Action::Open(READY));
    }

    pub(super) fn on_fence_pong(&mut self, number: Option<u64>, cx: &mut SessionCx<'_>) {
        match (self.sending, number) {
            (Sending::Draining, Some(DRAIN_PING)) => {
                self.sending = Sending::Fenced;
                self.deadline = Some(cx.now() + self.config.handshake_timeout);
                cx.write(Frame::Line(self.fence_ping(FENCE_PING, cx)));
                let transition = Frame::Line(Bytes::from_static(control::TRANSITION));
                cx.act(Action::Write(transition, Flush::Barrier));
            }
            (Sending::Fenced, Some(FENCE_PING)) => self.transit(cx),
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
