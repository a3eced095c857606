//! One session made of two that meet at the packet. The upper half is a session in its own right, whose frames are packets, so
//! it also runs alone where something else delivers packets. One call table, one deadline, the earlier of two wake-ups.

use polywire_core::{
    Action, Actions, Admit, Body, Close, Codec, Cx, FrameOf, Identity, Moment, OutboundOf, Refusal, Session,
};

/// From frames to packets.
pub(crate) trait Lower: Send + 'static {
    type Codec: Codec;
    type Packet: Send;

    fn receive<S: Session<Codec = Self::Codec>>(
        &mut self,
        frame: <Self::Codec as Codec>::Frame,
        cx: &mut Cx<'_, S>,
        up: &mut Vec<Up<Self::Packet>>,
    );

    fn send<S: Session<Codec = Self::Codec>>(&mut self, packet: Self::Packet, cx: &mut Cx<'_, S>);

    /// When to wake it; asked after every call.
    fn wake_at(&self) -> Option<Moment>;

    fn wake<S: Session<Codec = Self::Codec>>(&mut self, cx: &mut Cx<'_, S>);
}

/// What the lower half hands up.
pub(crate) enum Up<P> {
    /// Packets may be sent from now on.
    Connected,
    Packet(P),
}

#[derive(Debug)]
pub(crate) struct Stack<L, U> {
    lower: L,
    upper: U,
    upper_wakes_at: Option<Moment>,
}

impl<L, U> Stack<L, U>
where
    L: Lower,
    U: Session,
    U::Codec: Codec<Frame = L::Packet, Mode = ()>,
{
    pub(crate) fn new(lower: L, upper: U) -> Self {
        Self { lower, upper, upper_wakes_at: None }
    }

    /// Calls the upper half; what it writes are packets, which the lower half turns into frames on the spot.
    fn above(&mut self, cx: &mut Cx<'_, Self>, call: impl FnOnce(&mut U, &mut Cx<'_, U>)) {
        let mut actions = Actions::<U>::new();
        call(&mut self.upper, &mut cx.nested(&mut actions));
        for action in actions {
            match action {
                Action::Write(packet, _) => self.lower.send(packet, cx),
                Action::Deliver(delivery) => cx.deliver(delivery),
                Action::WakeAt(at) => self.upper_wakes_at = at,
                Action::Authenticate(credentials) => cx.act(Action::Authenticate(credentials)),
                Action::Open(gate) => cx.act(Action::Open(gate)),
                Action::Reading(on) => cx.act(Action::Reading(on)),
                Action::Established(identity) => cx.act(Action::Established(identity)),
                Action::Count(count) => cx.act(Action::Count(count)),
                Action::Close(reason) => cx.act(Action::Close(reason)),
                // Packets have no modes.
                Action::ReadMode(()) | Action::WriteMode(()) => {}
            }
        }
        self.set_alarm(cx);
    }

    fn set_alarm(&self, cx: &mut Cx<'_, Self>) {
        cx.act(Action::WakeAt(self.lower.wake_at().into_iter().chain(self.upper_wakes_at).min()));
    }
}

impl<L, U> Session for Stack<L, U>
where
    L: Lower,
    U: Session,
    U::Codec: Codec<Frame = L::Packet, Mode = ()>,
{
    type Codec = L::Codec;
    type Reply = U::Reply;
    type Command = U::Command;

    /// The peer speaks first.
    fn open(&mut self, _: &mut Cx<'_, Self>) {}

    fn receive(&mut self, frame: FrameOf<Self>, cx: &mut Cx<'_, Self>) {
        let mut up = Vec::new();
        self.lower.receive(frame, cx, &mut up);
        for up in up {
            self.above(cx, |upper, cx| match up {
                Up::Connected => upper.open(cx),
                Up::Packet(packet) => upper.receive(packet, cx),
            });
        }
        self.set_alarm(cx);
    }

    fn authenticated(&mut self, verdict: Result<Identity, Refusal>, cx: &mut Cx<'_, Self>) {
        self.above(cx, |upper, cx| upper.authenticated(verdict, cx));
    }

    fn admit(&self, outbound: &OutboundOf<Self>) -> Admit {
        self.upper.admit(outbound)
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        self.above(cx, |upper, cx| upper.send(outbound, cx));
    }

    fn progress(&mut self, reply: &Self::Reply, body: Body, cx: &mut Cx<'_, Self>) {
        self.above(cx, |upper, cx| upper.progress(reply, body, cx));
    }

    fn close(&mut self, reason: &Close, cx: &mut Cx<'_, Self>) {
        self.above(cx, |upper, cx| upper.close(reason, cx));
    }

    fn wake(&mut self, cx: &mut Cx<'_, Self>) {
        let now = cx.now();
        if self.lower.wake_at().is_some_and(|at| at <= now) {
            self.lower.wake(cx);
        }
        if self.upper_wakes_at.take_if(|at| *at <= now).is_some() {
            self.above(cx, |upper, cx| upper.wake(cx));
        }
        self.set_alarm(cx);
    }
}
