//! What one Sockhop connection may do now: handshake, the switch to binary each way, ids, callbacks, pings.
//!
//! # The switch of our direction
//! The transition line has no acknowledgement, and a stock peer loses every frame that shares a read with it. So the switch is
//! fenced: a ping empties the wire, then a second ping and the transition leave in one write, and whatever else wants to leave
//! is held back, as envelopes at their gate or as frames in the codec. The second pong says that the peer has read the ping,
//! and on a wire that cuts nothing the transition with it; a ping as a frame, a moment later, is answered only by a peer that
//! has switched, and its pong lets everything go. A peer that fences its own switch, or says in a pong of the fence that it
//! reads from the exact byte, is no stock peer: nothing is held back towards it. Source: observed (`switch-race-210`).
//!
//! # The handshake
//! Who dials offers it at once. Who listens waits for the offer, so that a 1.x peer never sees one, and then sends its own
//! before the answer, in the order that keeps a stock peer from sending JSON behind its transition (observed in
//! `json-after-transition-210`).

mod handshake;
mod inbound;
mod outbound;
mod ping;
mod switch;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use polywire_core::{
    Action, Admit, BinaryForm, Body, Capabilities, Close, Code, Count, Cx, Failure, Gate, JsonLimits, Limits,
    Moment, Outbound, OutboundOf, Route,
};

use crate::adapter::capabilities;
use crate::codec::{Codec, Frame};
use crate::config::{Config, Mode, PeerType, Switch};
use crate::heartbeat::Heartbeat;
use crate::id::OwnIds;
use crate::tables::{Reply, Routes, Running};
use crate::translate::BUFFER;
use crate::wire::{self, Message};

type SessionCx<'a> = Cx<'a, Session>;

/// Which end of a connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It dialled.
    Client,
    /// It listens.
    Server,
}

/// How far the handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Greeting {
    /// We listen and wait for the peer's.
    Awaited,
    /// Ours is out; the answer to it, once it came, allows binary or not.
    Offered { answer: Option<bool> },
    /// Both were answered.
    Done { binary: bool },
    /// There is none: the peer is a 1.x peer, or acts as one.
    Absent,
}

/// How our direction is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Lines,
    /// The first ping of the fence is out; everything else is held back.
    Draining,
    /// The second ping and the transition are out; everything else is held back.
    Fenced,
    /// The peer is asked by a frame whether it reads frames; everything else is held back.
    Probing,
    Frames,
}

/// Behind this gate wait messages that need a handshake or the end of a switch.
const READY: Gate = Gate(0);
/// The numbers in the `_id` of the pings of a fence.
const DRAIN_PING: u64 = 1;
const FENCE_PING: u64 = 2;
const PROBE_PING: u64 = 3;

/// One end of one connection.
pub struct Session {
    config: Arc<Config>,
    limits: JsonLimits,
    /// What the settings promise.
    promised: Capabilities,
    role: Role,
    own: OwnIds,
    greeting: Greeting,
    /// The peer has sent its handshake.
    greeted: bool,
    /// The peer's direction is binary.
    reads_frames: bool,
    sending: Sending,
    /// The peer reads frames from the exact byte behind our transition.
    exact: bool,
    /// When the handshake or the fence has taken too long.
    deadline: Option<Moment>,
    /// When the peer is asked by a frame whether it reads frames.
    probe: Option<Moment>,
    heartbeat: Heartbeat,
    routes: Routes,
    running: Running,
    alarm: Option<Moment>,
}

impl Session {
    /// One end of a connection that has just been opened. `config` has been validated.
    pub fn new(config: Arc<Config>, limits: &Limits, role: Role) -> Self {
        Self {
            promised: capabilities(&config, limits),
            config,
            limits: limits.json,
            role,
            own: OwnIds::default(),
            greeting: Greeting::Awaited,
            greeted: false,
            reads_frames: false,
            sending: Sending::Lines,
            exact: false,
            deadline: None,
            probe: None,
            heartbeat: Heartbeat::default(),
            routes: Routes::default(),
            running: Running::default(),
            alarm: None,
        }
    }

    fn bare(&self) -> bool {
        self.config.peer_type == PeerType::Json
    }

    /// Is the connection worth nothing without a handshake?
    fn strict(&self) -> bool {
        self.config.mode == Mode::Binary && self.config.shakes_hands()
    }

    /// What can be sent to this peer: typed buffers where it took binary mode, else plain ones, which a 1.x peer gets as base64 text.
    fn found(&self) -> Capabilities {
        let binary = match self.greeting {
            Greeting::Done { binary: true } => BinaryForm::Typed,
            _ if self.bare() => BinaryForm::None,
            _ => BinaryForm::Plain,
        };
        Capabilities { binary, ..self.promised }
    }

    fn settled(&self) -> bool {
        matches!(self.greeting, Greeting::Done { .. } | Greeting::Absent)
    }

    fn set_alarm(&mut self, cx: &mut SessionCx<'_>) {
        let earlier = |a: Option<Moment>, b: Option<Moment>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        };
        let due = earlier(earlier(self.deadline, self.probe), self.heartbeat.due());
        if due != self.alarm {
            self.alarm = due;
            cx.act(Action::WakeAt(due));
        }
    }

    /// Writes a message that no gate holds back. While the wire is being emptied it may still be a line.
    fn write(&mut self, message: Message, cx: &mut SessionCx<'_>) {
        cx.write(match self.sending {
            Sending::Draining => Frame::Line(wire::line_of(message)),
            Sending::Lines | Sending::Fenced | Sending::Probing | Sending::Frames => Frame::Message(message),
        });
    }
}

impl polywire_core::Session for Session {
    type Codec = Codec;
    type Reply = Reply;
    type Command = Infallible;

    fn open(&mut self, cx: &mut SessionCx<'_>) {
        self.own = OwnIds::new(cx.random());
        if !self.strict() {
            cx.act(Action::Established(None));
        }
        if !self.config.shakes_hands() {
            self.settle(Greeting::Absent, cx);
        } else if self.role == Role::Client {
            self.offer(cx);
        } else {
            self.deadline = Some(cx.now() + self.config.handshake_timeout);
        }
        self.set_alarm(cx);
    }

    fn receive(&mut self, frame: Frame, cx: &mut SessionCx<'_>) {
        self.heartbeat.heard();
        match frame {
            Frame::Line(text) => self.on_line(text, cx),
            Frame::Packet { id, payload } => {
                let limits = self.limits;
                let read = wire::read_packet(id, &payload, &limits);
                self.on_read(read, &payload, cx);
            }
            // The codec never reads these.
            Frame::Message(_) | Frame::Release => cx.count(Count::Unexpected),
        }
        self.set_alarm(cx);
    }

    fn admit(&self, outbound: &OutboundOf<Self>) -> Admit {
        let (route, body, call) = match outbound {
            Outbound::Request { call, request, .. } => (&request.route, &request.body, Some(*call)),
            Outbound::Event(event) => (&event.route, &event.body, None),
            Outbound::Response { .. } | Outbound::Cancel(_) | Outbound::Command(_) => return Admit::Now,
        };
        if let Some(failure) = self.refusal(route, body, call.is_some()) {
            return Admit::Refuse(failure);
        }
        if call.is_some_and(|call| call.0 >= OwnIds::RESERVED) {
            return Admit::Refuse(Failure::new(Code::ResourceExhausted, "all callback ids have been used"));
        }
        let held = match self.sending {
            Sending::Frames => false,
            Sending::Draining | Sending::Fenced | Sending::Probing => true,
            Sending::Lines => {
                (self.strict() && !self.settled()) || (is_typed(route, body) && !self.may_switch())
            }
        };
        if held { Admit::Hold(READY) } else { Admit::Now }
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut SessionCx<'_>) {
        match outbound {
            Outbound::Request { call, request, .. } => {
                self.heartbeat.asked(call);
                self.send_request(call, request, cx);
            }
            Outbound::Event(event) => self.send_event(event, cx),
            Outbound::Response { reply, result } => {
                self.running.end(&reply);
                self.respond(&reply, result, cx);
                if !reply.fits_frame() && self.may_switch() {
                    // The last answer that needed a line is out: what it kept from switching goes on.
                    if self.config.switch == Switch::Early {
                        self.switch(cx);
                    }
                    cx.act(Action::Open(READY));
                }
            }
            // The id needs no forgetting: an answer to it finds no call.
            Outbound::Cancel(call) => self.heartbeat.given_up(call),
            Outbound::Command(never) => match never {},
        }
        self.set_alarm(cx);
    }

    fn wake(&mut self, cx: &mut SessionCx<'_>) {
        self.alarm = None;
        if self.deadline.is_some_and(|deadline| deadline <= cx.now()) {
            self.deadline = None;
            let timeout = self.config.handshake_timeout;
            match self.sending {
                // The pong waits unread.
                Sending::Draining | Sending::Fenced | Sending::Probing if !cx.is_reading() => {
                    self.deadline = Some(cx.now() + timeout);
                }
                Sending::Draining | Sending::Fenced | Sending::Probing => cx.close(Close::Dead(format!(
                    "no pong at the switch to binary within handshake_timeout = {timeout:?}"
                ))),
                Sending::Lines | Sending::Frames if self.strict() => cx.close(Close::Protocol(format!(
                    "no handshake within handshake_timeout = {timeout:?}; a 1.x peer needs mode = auto or compat"
                ))),
                Sending::Lines | Sending::Frames => self.settle(Greeting::Absent, cx),
            }
        }
        if self.probe.is_some_and(|due| due <= cx.now()) {
            self.probe = None;
            cx.write(self.frame_ping(cx));
        }
        if self.heartbeat.due().is_some_and(|due| due <= cx.now()) {
            self.beat(cx);
        }
        self.set_alarm(cx);
    }

    fn rest(&mut self) {
        self.running.rest();
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("role", &self.role)
            .field("greeting", &self.greeting)
            .field("sending", &self.sending)
            .finish_non_exhaustive()
    }
}

/// A buffer that only a binary frame can carry, because its type is not `Buffer`.
fn is_typed(route: &Route, body: &Body) -> bool {
    matches!(body, Body::Binary(_)) && *route != BUFFER
}
