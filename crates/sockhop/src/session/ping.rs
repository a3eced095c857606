//! Pings both ways: those of the heartbeat and those of a fence.

use polywire_core::{Close, Count};

use super::{Sending, Session, SessionCx};
use crate::control;
use crate::heartbeat::Tick;
use crate::wire::Value;

impl Session {
    pub(super) fn on_ping(&mut self, data: &Value<'_>, cx: &mut SessionCx<'_>) {
        cx.count(Count::Control);
        let id = control::ping_id(data.json(), &self.limits);
        let fence = id.is_some_and(|id| id.starts_with(control::FENCE));
        let pong = control::pong(data.json(), cx.wall(), &self.limits);
        if !fence {
            return self.write(pong, cx);
        }
        self.exact = true;
        match self.sending {
            Sending::Lines | Sending::Frames => self.write(pong, cx),
            Sending::Draining => {
                self.write(pong, cx);
                self.transit(cx);
            }
            Sending::Fenced | Sending::Probing => {
                self.transit(cx);
                self.write(pong, cx);
            }
        }
    }

    pub(super) fn on_pong(&mut self, data: &Value<'_>, cx: &mut SessionCx<'_>) {
        cx.count(Count::Control);
        let Some(id) = control::ping_id(data.json(), &self.limits) else {
            return cx.count(Count::Unexpected);
        };
        match id.strip_prefix(control::FENCE) {
            Some(id) => {
                self.exact |= control::reads_exactly(data.json(), &self.limits);
                self.on_fence_pong(self.own.number(id.as_bytes()), cx);
            }
            None => {
                let known = self.own.number(id.as_bytes()).is_some_and(|number| self.heartbeat.pong(number));
                if !known {
                    cx.count(Count::Unexpected);
                }
            }
        }
    }

    pub(super) fn beat(&mut self, cx: &mut SessionCx<'_>) {
        let (now, interval) = (cx.now(), self.config.ping_interval);
        if self.bare() || self.fencing() {
            return self.heartbeat.skip(now, interval);
        }
        match self.heartbeat.tick(now, interval, cx.is_reading()) {
            Tick::Ping(number) => {
                let id = self.own.id(number);
                self.write(control::ping(&String::from_utf8_lossy(&id), cx.wall()), cx);
            }
            Tick::Unanswered => {
                let interval = interval.unwrap_or_default();
                cx.close(Close::Dead(format!("four pings, ping_interval = {interval:?}")));
            }
            Tick::Gone => {
                let interval = interval.unwrap_or_default();
                cx.close(Close::Dead(format!(
                    "no pong to the first ping after this side stood still, ping_interval = {interval:?}"
                )));
            }
            Tick::Silent(pings) => {
                let interval = interval.unwrap_or_default();
                cx.close(Close::Dead(format!(
                    "no word through {pings} pings, ping_interval = {interval:?}; a peer that knows no pings and may be silent needs ping_interval = none"
                )));
            }
        }
    }
}
