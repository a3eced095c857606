//! An upper session alone: its namespace is granted before it begins.

use std::fmt;

use polywire_core::{Actions, Admit, Body, Close, Cx, FrameOf, Gate, Identity, OutboundOf, Refusal, Session};

use crate::packet::{Kind, Packet};
use crate::stack::{Packets, Upper};

/// A session of a client that has joined.
pub struct Seat<U: Upper> {
    upper: U,
    identity: Option<Identity>,
    /// What the upper session wants; empty between two calls.
    actions: Actions<U>,
}

impl<U: Upper> Seat<U> {
    pub(super) fn new(upper: U, identity: Identity) -> Self {
        Self { upper, identity: Some(identity), actions: Actions::new() }
    }

    fn above(&mut self, cx: &mut Cx<'_, Self>, call: impl FnOnce(&mut U, &mut Cx<'_, U>)) {
        call(&mut self.upper, &mut cx.nested(&mut self.actions));
        while let Some(action) = self.actions.pop_front() {
            cx.act(moved(action));
        }
    }
}

/// The same action of the session around it, which has the same codec.
fn moved<U: Upper>(action: polywire_core::Action<U>) -> polywire_core::Action<Seat<U>> {
    use polywire_core::Action;
    match action {
        Action::Write(packet, flush) => Action::Write(packet, flush),
        Action::Deliver(delivery) => Action::Deliver(delivery),
        Action::ReadMode(()) => Action::ReadMode(()),
        Action::WriteMode(()) => Action::WriteMode(()),
        Action::Authenticate(credentials) => Action::Authenticate(credentials),
        Action::WakeAt(at) => Action::WakeAt(at),
        Action::Open(gate) => Action::Open(gate),
        Action::Reading(on) => Action::Reading(on),
        Action::Established(identity) => Action::Established(identity),
        Action::Found(capabilities) => Action::Found(capabilities),
        Action::Count(count) => Action::Count(count),
        Action::Close(reason) => Action::Close(reason),
    }
}

impl<U: Upper> fmt::Debug for Seat<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seat")
    }
}

impl<U: Upper> Session for Seat<U> {
    type Codec = Packets;
    type Reply = U::Reply;
    type Command = U::Command;

    fn open(&mut self, cx: &mut Cx<'_, Self>) {
        self.above(cx, U::open);
        if let Some(identity) = self.identity.take() {
            self.above(cx, |upper, cx| upper.connected(identity, cx));
        }
    }

    fn receive(&mut self, packet: FrameOf<Self>, cx: &mut Cx<'_, Self>) {
        self.above(cx, |upper, cx| upper.receive(packet, cx));
    }

    fn authenticated(&mut self, verdict: Result<Identity, Refusal>, cx: &mut Cx<'_, Self>) {
        self.above(cx, |upper, cx| upper.authenticated(verdict, cx));
    }

    fn admit(&self, outbound: &OutboundOf<Self>) -> Admit {
        self.upper.admit(outbound)
    }

    fn held(&mut self, gate: Gate, cx: &mut Cx<'_, Self>) {
        self.above(cx, |upper, cx| upper.held(gate, cx));
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        self.above(cx, |upper, cx| upper.send(outbound, cx));
    }

    fn progress(&mut self, reply: &Self::Reply, body: Body, cx: &mut Cx<'_, Self>) {
        self.above(cx, |upper, cx| upper.progress(reply, body, cx));
    }

    fn close(&mut self, reason: &Close, cx: &mut Cx<'_, Self>) {
        self.above(cx, |upper, cx| upper.close(reason, cx));
        // A client that is told so does not come back; of a server that ends it only loses the connection.
        if *reason == Close::Local {
            cx.write(Packet::main(Kind::Disconnect));
        }
    }

    fn wake(&mut self, cx: &mut Cx<'_, Self>) {
        self.above(cx, U::wake);
    }

    fn rest(&mut self) {
        self.actions = Actions::new();
        self.upper.rest();
    }
}
