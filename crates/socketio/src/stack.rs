//! One session made of two that meet at the packet.
//!
//! The upper half is a [`Session`] in its own right, whose frames are packets, so it also runs alone where something else
//! delivers packets. There is one table of calls and one deadline for each, in the engine; of two wake-ups the earlier is set.

use std::fmt;

use polywire_core::{
    Action, Actions, Admit, Body, Close, Codec, Cx, FrameOf, Gate, Identity, Meta, Moment, OutboundOf,
    Refusal, Session,
};

use crate::packet::Packet;

/// From frames to packets: the lower half.
pub trait Lower: Send + 'static {
    /// Frames and modes.
    type Codec: Codec;

    /// The next frame; packets for the upper half are added to `up`.
    fn receive<S: Session<Codec = Self::Codec>>(
        &mut self,
        frame: <Self::Codec as Codec>::Frame,
        cx: &mut Cx<'_, S>,
        up: &mut Vec<Up>,
    );

    /// Sends a packet of the upper half.
    fn send<S: Session<Codec = Self::Codec>>(&mut self, packet: Packet, cx: &mut Cx<'_, S>);

    /// May this leave, as far as the lower half is concerned? Asked where the upper half says [`Admit::Now`].
    fn admit(&self, route_bytes: usize, body: &Body, meta: &Meta) -> Admit;

    /// This side closes the connection and may take its leave.
    fn close<S: Session<Codec = Self::Codec>>(&mut self, reason: &Close, cx: &mut Cx<'_, S>);

    /// Does it go on where the connection before ended, with all that was missed? See [`Session::resumes`].
    fn resumes(&self) -> bool {
        false
    }

    /// Memory that it keeps of a packet that is not whole yet. See [`Session::keeps`].
    fn keeps(&self) -> usize {
        0
    }

    /// When to wake it; asked after every call.
    fn wake_at(&self) -> Option<Moment>;

    /// That moment has come.
    fn wake<S: Session<Codec = Self::Codec>>(&mut self, cx: &mut Cx<'_, S>);
}

/// What the lower half hands up.
#[derive(Debug)]
pub enum Up {
    /// Packets may be sent from now on, by whom the peer says we are.
    Connected(Identity),
    /// A packet.
    Packet(Packet),
    /// An event that came before the namespace was granted, and waited for that.
    Early(Packet),
}

/// A session whose frames are packets, above a [`Lower`].
pub trait Upper: Session<Codec = Packets> {
    /// The namespace was granted; a wire with a login of its own begins it now.
    fn connected(&mut self, identity: Identity, cx: &mut Cx<'_, Self>);

    /// An event that the peer sent before it granted the namespace; called after [`Upper::connected`], in the order of coming.
    /// Unless implemented it is received like any other.
    fn early(&mut self, packet: Packet, cx: &mut Cx<'_, Self>) {
        self.receive(packet, cx);
    }
}

/// Packets as frames; nothing is left to encode.
#[derive(Clone, Copy, Debug, Default)]
pub struct Packets;

impl Codec for Packets {
    type Frame = Packet;
    type Mode = ();

    fn set_read_mode(&mut self, (): ()) {}

    fn set_write_mode(&mut self, (): ()) {}
}

/// The two together.
pub struct Stack<L, U: Session> {
    lower: L,
    upper: U,
    upper_wakes_at: Option<Moment>,
    /// The alarm that is set.
    alarm: Option<Moment>,
    /// Kept between two calls for their room.
    up: Vec<Up>,
    actions: Actions<U>,
}

impl<L: Lower, U: Upper> Stack<L, U> {
    /// One session of two.
    pub fn new(lower: L, upper: U) -> Self {
        Self { lower, upper, upper_wakes_at: None, alarm: None, up: Vec::new(), actions: Actions::new() }
    }

    /// Calls the upper half; what it writes are packets, which the lower half turns into frames on the spot.
    fn above(&mut self, cx: &mut Cx<'_, Self>, call: impl FnOnce(&mut U, &mut Cx<'_, U>)) {
        call(&mut self.upper, &mut cx.nested(&mut self.actions));
        while let Some(action) = self.actions.pop_front() {
            match action {
                Action::Write(packet, _) => self.lower.send(packet, cx),
                Action::Deliver(delivery) => cx.deliver(delivery),
                Action::WakeAt(at) => self.upper_wakes_at = at,
                Action::Authenticate(credentials) => cx.act(Action::Authenticate(credentials)),
                Action::Open(gate) => cx.act(Action::Open(gate)),
                Action::Reading(on) => cx.act(Action::Reading(on)),
                Action::Established(identity) => cx.act(Action::Established(identity)),
                Action::Found(capabilities) => cx.act(Action::Found(capabilities)),
                Action::Count(count) => cx.act(Action::Count(count)),
                Action::Close(reason) => cx.act(Action::Close(reason)),
                // Packets have no modes.
                Action::ReadMode(()) | Action::WriteMode(()) => {}
            }
        }
    }

    fn set_alarm(&mut self, cx: &mut Cx<'_, Self>) {
        let alarm = self.lower.wake_at().into_iter().chain(self.upper_wakes_at).min();
        if alarm != self.alarm {
            self.alarm = alarm;
            cx.act(Action::WakeAt(alarm));
        }
    }
}

impl<L: Lower, U: Upper> Session for Stack<L, U> {
    type Codec = L::Codec;
    type Reply = U::Reply;
    type Command = U::Command;

    /// The peer speaks first.
    fn open(&mut self, cx: &mut Cx<'_, Self>) {
        self.above(cx, U::open);
        self.set_alarm(cx);
    }

    fn receive(&mut self, frame: FrameOf<Self>, cx: &mut Cx<'_, Self>) {
        let mut up = std::mem::take(&mut self.up);
        self.lower.receive(frame, cx, &mut up);
        for up in up.drain(..) {
            self.above(cx, |upper, cx| match up {
                Up::Connected(identity) => upper.connected(identity, cx),
                Up::Packet(packet) => upper.receive(packet, cx),
                Up::Early(packet) => upper.early(packet, cx),
            });
        }
        self.up = up;
        self.set_alarm(cx);
    }

    fn authenticated(&mut self, verdict: Result<Identity, Refusal>, cx: &mut Cx<'_, Self>) {
        self.above(cx, |upper, cx| upper.authenticated(verdict, cx));
        self.set_alarm(cx);
    }

    fn admit(&self, outbound: &OutboundOf<Self>) -> Admit {
        use polywire_core::Outbound;
        let admit = self.upper.admit(outbound);
        match (&admit, outbound) {
            (Admit::Now, Outbound::Request { request, .. }) => {
                self.lower.admit(request.route.len(), &request.body, &request.meta)
            }
            (Admit::Now, Outbound::Event(event)) => {
                self.lower.admit(event.route.len(), &event.body, &event.meta)
            }
            _ => admit,
        }
    }

    fn held(&mut self, gate: Gate, cx: &mut Cx<'_, Self>) {
        self.above(cx, |upper, cx| upper.held(gate, cx));
        self.set_alarm(cx);
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        self.above(cx, |upper, cx| upper.send(outbound, cx));
        self.set_alarm(cx);
    }

    fn progress(&mut self, reply: &Self::Reply, body: Body, cx: &mut Cx<'_, Self>) {
        self.above(cx, |upper, cx| upper.progress(reply, body, cx));
        self.set_alarm(cx);
    }

    fn close(&mut self, reason: &Close, cx: &mut Cx<'_, Self>) {
        self.above(cx, |upper, cx| upper.close(reason, cx));
        self.lower.close(reason, cx);
    }

    fn wake(&mut self, cx: &mut Cx<'_, Self>) {
        let now = cx.now();
        self.alarm = None;
        if self.lower.wake_at().is_some_and(|at| at <= now) {
            self.lower.wake(cx);
        }
        if self.upper_wakes_at.take_if(|at| *at <= now).is_some() {
            self.above(cx, U::wake);
        }
        self.set_alarm(cx);
    }

    fn resumes(&self) -> bool {
        self.lower.resumes()
    }

    fn keeps(&self) -> usize {
        self.lower.keeps().saturating_add(self.upper.keeps())
    }

    /// The lower half keeps no room; what the two pass between them is given back too.
    fn rest(&mut self) {
        self.upper.rest();
        self.up = Vec::new();
        self.actions = Actions::new();
    }
}

impl<L: fmt::Debug, U: Session + fmt::Debug> fmt::Debug for Stack<L, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack")
            .field("lower", &self.lower)
            .field("upper", &self.upper)
            .finish_non_exhaustive()
    }
}
