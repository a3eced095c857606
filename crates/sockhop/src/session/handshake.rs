//! Who greets whom, and what both agree on.

use polywire_core::{Action, Close, Count, Refusal};

use super::{Greeting, READY, Role, Sending, Session, SessionCx};
use crate::config::Switch;
use crate::control;
use crate::id::{Id, OwnIds};
use crate::tables::Reply;
use crate::wire::{Received, Value, Wanted};

impl Session {
    pub(super) fn offer(&mut self, cx: &mut SessionCx<'_>) {
        self.greeting = Greeting::Offered { answer: None };
        self.heartbeat.expect_words();
        self.deadline = Some(cx.now() + self.config.handshake_timeout);
        let id = Id::own(self.own.id(OwnIds::HANDSHAKE));
        self.write(control::handshake(self.config.asks_binary(), id), cx);
    }

    pub(super) fn on_handshake(&mut self, received: &Received<'_>, cx: &mut SessionCx<'_>) {
        let asked = received.data.json().and_then(|data| control::asks_binary(data, &self.limits));
        let (Some(asked), true) = (asked, self.config.shakes_hands()) else {
            return cx.count(Count::Unexpected);
        };
        let first = !std::mem::replace(&mut self.greeted, true);
        self.heartbeat.expect_pongs();
        // Our own comes first: otherwise the peer's transition overtakes its answer.
        if first && self.role == Role::Server {
            self.offer(cx);
        }
        if let Wanted::Ask(id) = received.link
            && let Some(id) = id.to_id()
            && (id.fits_frame() || self.sending == Sending::Lines)
        {
            let mut reply = Reply::new(id, false);
            // An id in flight is answered once, by its request.
            if self.running.begin(&mut reply) {
                self.running.end(&reply);
                self.write(control::handshake_answer(asked && self.config.allows_binary(), reply.id), cx);
            }
        }
        self.conclude(cx);
    }

    pub(super) fn on_handshake_answer(&mut self, data: &Value<'_>, cx: &mut SessionCx<'_>) {
        if self.greeting != (Greeting::Offered { answer: None }) {
            return cx.count(Count::OrphanReply);
        }
        let allowed = control::allows_binary(data.json(), &self.limits);
        self.greeting = Greeting::Offered { answer: Some(allowed) };
        self.conclude(cx);
    }

    pub(super) fn conclude(&mut self, cx: &mut SessionCx<'_>) {
        if let Greeting::Offered { answer: Some(allowed) } = self.greeting
            && self.greeted
        {
            let binary = allowed && self.config.asks_binary();
            self.settle(Greeting::Done { binary }, cx);
        }
    }

    pub(super) fn settle(&mut self, greeting: Greeting, cx: &mut SessionCx<'_>) {
        self.greeting = greeting;
        self.deadline = None;
        self.heartbeat.start(cx.now(), self.config.ping_interval);
        if self.strict() {
            if greeting == (Greeting::Done { binary: false }) && self.config.asks_binary() {
                let reason = "the peer refused binary mode; mode = auto or json would do without";
                return cx.close(Close::Refused(Refusal::new(reason)));
            }
            cx.act(Action::Established(None));
        }
        cx.act(Action::Found(self.found()));
        if self.config.switch == Switch::Early {
            self.switch(cx);
        }
        cx.act(Action::Open(READY));
    }
}
