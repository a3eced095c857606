//! What one Sockhop connection may do now: handshake, the switch to binary each way, ids, callbacks, pings.
//!
//! # The switch of our direction
//! The transition line has no acknowledgement, and a stock peer loses every frame that shares a read with it. So the switch is
//! fenced: a ping empties the wire, then a second ping and the transition leave in one write, and whatever else wants to leave
//! is held back, as envelopes at their gate or as frames in the codec, until the second pong proves that the peer has read
//! both lines. A peer that fences its own switch is no stock peer: it reads from the exact byte, and nothing is held back
//! towards it. Source: protocol page 5.2 and 5.3 D, observed (`switch-race-210`).
//!
//! # The handshake
//! Who dials offers it at once. Who listens waits for the offer, so that a 1.x peer never sees one, and then sends its own
//! before the answer, in the order that keeps a stock peer from sending JSON behind its transition (protocol page 4 and 17).

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use polywire_core::{
    Action, Admit, Body, ByteString, CallId, Close, Code, Count, Cx, Delivery, Due, Event, Failure, Flush,
    Gate, JsonLimits, JsonText, Meta, Moment, Outbound, Outgoing, Refusal, Request, Route, json,
};

use crate::codec::{Codec, Frame, Framing};
use crate::config::{Calls, Config, Mode, PeerType, Switch};
use crate::control::{self, Control};
use crate::heartbeat::{Heartbeat, Tick};
use crate::id::{Id, OwnIds};
use crate::tables::{Reply, Routes, Running};
use crate::translate::{self, BUFFER};
use crate::wire::{self, Bad, Link, Message, Name, Received, Value, Wanted};

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
    Frames,
}

/// Behind this gate wait messages that need a handshake or the end of a switch.
const READY: Gate = Gate(0);
/// The numbers in the `_id` of the two pings of a fence.
const DRAIN_PING: u64 = 1;
const FENCE_PING: u64 = 2;

/// One end of one connection.
pub struct Session {
    config: Arc<Config>,
    limits: JsonLimits,
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
    heartbeat: Heartbeat,
    routes: Routes,
    running: Running,
    alarm: Option<Moment>,
}

impl Session {
    /// One end of a connection that has just been opened. `config` has been validated.
    pub fn new(config: Arc<Config>, limits: JsonLimits, role: Role) -> Self {
        Self {
            config,
            limits,
            role,
            own: OwnIds::default(),
            greeting: Greeting::Awaited,
            greeted: false,
            reads_frames: false,
            sending: Sending::Lines,
            exact: false,
            deadline: None,
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

    fn settled(&self) -> bool {
        matches!(self.greeting, Greeting::Done { .. } | Greeting::Absent)
    }

    fn set_alarm(&mut self, cx: &mut SessionCx<'_>) {
        let due = match (self.deadline, self.heartbeat.due()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if due != self.alarm {
            self.alarm = due;
            cx.act(Action::WakeAt(due));
        }
    }

    /// Writes a message that no gate holds back. While the wire is being emptied it may still be a line.
    fn write(&mut self, message: Message, cx: &mut SessionCx<'_>) {
        cx.write(match self.sending {
            Sending::Draining => Frame::Line(line_of(message)),
            Sending::Lines | Sending::Fenced | Sending::Frames => Frame::Message(message),
        });
    }

    // ---- Handshake -------------------------------------------------------------------------------------------------

    fn offer(&mut self, cx: &mut SessionCx<'_>) {
        self.greeting = Greeting::Offered { answer: None };
        self.deadline = Some(cx.now() + self.config.handshake_timeout);
        let id = Id::own(self.own.id(OwnIds::HANDSHAKE));
        self.write(control::handshake(self.config.asks_binary(), id), cx);
    }

    fn on_handshake(&mut self, received: &Received<'_>, cx: &mut SessionCx<'_>) {
        let asked = received.data.json().and_then(|data| control::asks_binary(data, &self.limits));
        let (Some(asked), true) = (asked, self.config.shakes_hands()) else {
            return cx.count(Count::Unexpected);
        };
        let first = !std::mem::replace(&mut self.greeted, true);
        // Our own comes first: otherwise the peer's transition overtakes its answer.
        if first && self.role == Role::Server {
            self.offer(cx);
        }
        if let Wanted::Ask(id) = received.link
            && let Some(id) = id.to_id()
            && (id.fits_frame() || self.sending == Sending::Lines)
        {
            let reply = Reply::new(id, false);
            // An id in flight is answered once, by its request.
            if self.running.begin(&reply) {
                self.running.end(&reply);
                self.write(control::handshake_answer(asked && self.config.allows_binary(), reply.id), cx);
            }
        }
        self.conclude(cx);
    }

    fn on_handshake_answer(&mut self, data: &Value<'_>, cx: &mut SessionCx<'_>) {
        if self.greeting != (Greeting::Offered { answer: None }) {
            return cx.count(Count::OrphanReply);
        }
        let allowed = control::allows_binary(data.json(), &self.limits);
        self.greeting = Greeting::Offered { answer: Some(allowed) };
        self.conclude(cx);
    }

    fn conclude(&mut self, cx: &mut SessionCx<'_>) {
        if let Greeting::Offered { answer: Some(allowed) } = self.greeting
            && self.greeted
        {
            let binary = allowed && self.config.asks_binary();
            self.settle(Greeting::Done { binary }, cx);
        }
    }

    fn settle(&mut self, greeting: Greeting, cx: &mut SessionCx<'_>) {
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
        if self.config.switch == Switch::Early {
            self.switch(cx);
        }
        cx.act(Action::Open(READY));
    }

    // ---- Switch ----------------------------------------------------------------------------------------------------

    fn may_switch(&self) -> bool {
        self.sending == Sending::Lines
            && self.greeting == (Greeting::Done { binary: true })
            && self.running.fits_frames()
    }

    /// Begins the switch of our direction, if it can begin now.
    fn switch(&mut self, cx: &mut SessionCx<'_>) {
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

    fn fence_ping(&self, number: u64, cx: &SessionCx<'_>) -> Bytes {
        let id = self.own.id(number);
        let id = format!("{}{}", control::FENCE, String::from_utf8_lossy(&id));
        line_of(control::ping(&id, cx.wall()))
    }

    /// Switches without a fence: the peer is known to read exactly, or to have read everything.
    fn transit(&mut self, cx: &mut SessionCx<'_>) {
        if self.sending != Sending::Fenced {
            cx.write(Frame::Line(Bytes::from_static(control::TRANSITION)));
        }
        self.sending = Sending::Frames;
        self.deadline = None;
        cx.act(Action::WriteMode(Framing::Binary));
        cx.write(Frame::Release);
        cx.act(Action::Open(READY));
    }

    fn on_fence_pong(&mut self, number: Option<u64>, cx: &mut SessionCx<'_>) {
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

    fn on_transition(&mut self, cx: &mut SessionCx<'_>) {
        if std::mem::replace(&mut self.reads_frames, true) {
            return cx.count(Count::Unexpected);
        }
        cx.act(Action::ReadMode(Framing::Binary));
    }

    // ---- Ping ------------------------------------------------------------------------------------------------------

    fn on_ping(&mut self, data: &Value<'_>, cx: &mut SessionCx<'_>) {
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
            Sending::Fenced => {
                self.transit(cx);
                self.write(pong, cx);
            }
        }
    }

    fn on_pong(&mut self, data: &Value<'_>, cx: &mut SessionCx<'_>) {
        let Some(id) = control::ping_id(data.json(), &self.limits) else {
            return cx.count(Count::Unexpected);
        };
        match id.strip_prefix(control::FENCE) {
            Some(id) => self.on_fence_pong(self.own.number(id.as_bytes()), cx),
            None => {
                let known = self.own.number(id.as_bytes()).is_some_and(|number| self.heartbeat.pong(number));
                if !known {
                    cx.count(Count::Unexpected);
                }
            }
        }
    }

    fn beat(&mut self, cx: &mut SessionCx<'_>) {
        let (now, interval) = (cx.now(), self.config.ping_interval);
        if self.bare() || matches!(self.sending, Sending::Draining | Sending::Fenced) {
            return self.heartbeat.skip(now, interval);
        }
        let strict = matches!(self.greeting, Greeting::Done { .. }) || self.heartbeat.ever_answered();
        match self.heartbeat.tick(now, interval, strict) {
            Tick::Ping(number) => {
                let id = self.own.id(number);
                self.write(control::ping(&String::from_utf8_lossy(&id), cx.wall()), cx);
            }
            Tick::Dead => {
                let interval = interval.unwrap_or_default();
                cx.close(Close::Dead(format!("four pings, ping_interval = {interval:?}")));
            }
        }
    }

    // ---- Received --------------------------------------------------------------------------------------------------

    fn on_line(&mut self, text: Bytes, cx: &mut SessionCx<'_>) {
        let text = if json::check_utf8(&text).is_ok() {
            text
        } else {
            cx.count(Count::Mended);
            wire::mend(&text).into()
        };
        if self.bare() {
            return self.on_bare(text, cx);
        }
        let limits = self.limits;
        let read = wire::read_line(&text, &limits);
        self.on_read(read, &text, cx);
    }

    fn on_bare(&mut self, text: Bytes, cx: &mut SessionCx<'_>) {
        let Ok(text) = JsonText::new(text, &self.limits) else { return cx.count(Count::Undecodable) };
        match self.route(&Name::Missing, Some(text.as_bytes())) {
            Some(route) => cx.deliver(Delivery::Event(Event::new(route, text))),
            None => cx.count(Count::BadRoute),
        }
    }

    fn on_read(&mut self, read: Result<Received<'_>, Bad>, frame: &Bytes, cx: &mut SessionCx<'_>) {
        let received = match read {
            Ok(received) => received,
            Err(bad) => return cx.count(bad.count()),
        };
        if received.mended {
            cx.count(Count::Mended);
        }
        let control = match &received.kind {
            Name::Text(kind) => Control::named(kind),
            Name::Missing | Name::Odd => None,
        };
        match (control, received.link) {
            (Some(Control::Handshake), _) => self.on_handshake(&received, cx),
            (Some(Control::Transition), _) => self.on_transition(cx),
            (Some(Control::Ping), _) => self.on_ping(&received.data, cx),
            (Some(Control::Pong), _) => self.on_pong(&received.data, cx),
            (Some(Control::Request), _) => self.on_packet_request(&received.data, cx),
            (Some(Control::Response), _) => self.on_packet_response(&received.data, cx),
            (None, Wanted::Answer(id)) => match self.own.number(id.text()) {
                Some(OwnIds::HANDSHAKE) => self.on_handshake_answer(&received.data, cx),
                Some(number) => self.on_answer(CallId(number), received, frame, cx),
                None => cx.count(Count::OrphanReply),
            },
            (None, Wanted::Ask(id)) => match id.to_id() {
                Some(id) => self.on_request(Reply::new(id, false), received, frame, cx),
                None => cx.count(Count::Unexpected),
            },
            (None, Wanted::None) => self.on_event(received, frame, cx),
        }
    }

    fn on_answer(&mut self, call: CallId, received: Received<'_>, frame: &Bytes, cx: &mut SessionCx<'_>) {
        let kind = match &received.kind {
            Name::Text(kind) => kind.as_ref(),
            // An answer without a usable type is what its data are.
            Name::Missing | Name::Odd => "",
        };
        let implied = received.data.json().map(translate::implied);
        let kind = if kind.is_empty() { implied.as_deref().unwrap_or_default() } else { kind };
        let body = translate::to_body(received.data, kind, frame, &self.limits);
        let outcome = translate::to_outcome(kind, body, self.config.errors_in_reply, &self.limits);
        cx.deliver(Delivery::Response { call, outcome });
    }

    fn on_request(&mut self, reply: Reply, received: Received<'_>, frame: &Bytes, cx: &mut SessionCx<'_>) {
        if self.sending != Sending::Lines && !reply.fits_frame() {
            return cx.count(Count::Unexpected);
        }
        if !self.running.begin(&reply) {
            return cx.count(Count::RepeatedId);
        }
        let Some(route) = self.route(&received.kind, received.data.json()) else {
            return self.refuse_route(&reply, cx);
        };
        let meta = meta(&received, &route, true);
        let kind = text_of(&received.kind);
        let body = translate::to_body(received.data, &kind, frame, &self.limits);
        let request = Request { route, body, due: Due::Default, repeatable: false, meta };
        cx.deliver(Delivery::Request { request, reply, identity: None });
    }

    /// A request whose type is no route is answered at once.
    fn refuse_route(&mut self, reply: &Reply, cx: &mut SessionCx<'_>) {
        self.running.end(reply);
        cx.count(Count::BadRoute);
        let failure =
            Failure::new(Code::InvalidArgument, "the type of the message is no text of at most 255 bytes");
        self.respond(reply, Err(failure), cx);
    }

    fn on_event(&mut self, received: Received<'_>, frame: &Bytes, cx: &mut SessionCx<'_>) {
        if received.kind == Name::Missing && received.data == Value::Missing {
            return cx.count(Count::Unexpected);
        }
        let Some(route) = self.route(&received.kind, received.data.json()) else {
            return cx.count(Count::BadRoute);
        };
        let meta = meta(&received, &route, false);
        let kind = text_of(&received.kind);
        let body = translate::to_body(received.data, &kind, frame, &self.limits);
        cx.deliver(Delivery::Event(Event { route, body, meta }));
    }

    /// The request of a 1.x peer: `{"uuid","data","type"}`.
    fn on_packet_request(&mut self, data: &Value<'_>, cx: &mut SessionCx<'_>) {
        let limits = self.limits;
        let names = ["uuid", "type", "data"];
        let fields = data.json().and_then(|data| control::members(data, names, &limits));
        let Some([Some(uuid), kind, inner]) = fields else { return cx.count(Count::Unexpected) };
        let Some(id) = Id::from_json(uuid) else { return cx.count(Count::Unexpected) };
        let reply = Reply::new(id, true);
        if !self.running.begin(&reply) {
            return cx.count(Count::RepeatedId);
        }
        let kind = kind.map_or(Name::Missing, |kind| json::as_string(kind).map_or(Name::Odd, Name::Text));
        let Some(route) = self.route(&kind, inner) else {
            return self.refuse_route(&reply, cx);
        };
        let body = translate::to_inner_body(inner, &text_of(&kind), &limits);
        cx.deliver(Delivery::Request { request: Request::new(route, body), reply, identity: None });
    }

    /// One answer of a 1.x peer; all but the last are progress.
    fn on_packet_response(&mut self, data: &Value<'_>, cx: &mut SessionCx<'_>) {
        let limits = &self.limits;
        let names = ["uuid", "type", "data", "last"];
        let fields = data.json().and_then(|data| control::members(data, names, limits));
        let Some([Some(uuid), kind, inner, last]) = fields else { return cx.count(Count::Unexpected) };
        let own = json::as_string(uuid).and_then(|uuid| self.own.number(uuid.as_bytes()));
        let Some(call) = own.filter(|number| *number < OwnIds::RESERVED).map(CallId) else {
            return cx.count(Count::OrphanReply);
        };
        let kind = kind.and_then(json::as_string).unwrap_or_default();
        let body = translate::to_inner_body(inner, &kind, limits);
        if last.is_some_and(wire::is_truthy) {
            let outcome = translate::to_outcome(&kind, body, self.config.errors_in_reply, limits);
            cx.deliver(Delivery::Response { call, outcome });
        } else {
            cx.deliver(Delivery::Progress { call: Some(call), body });
        }
    }

    /// The route of a message: what `name_from` points at, else its type, else what the data imply.
    fn route(&mut self, kind: &Name<'_>, data: Option<&[u8]>) -> Option<Route> {
        let config = &self.config;
        let pointed = config.name_from.as_deref().zip(data);
        if let Some(name) = pointed.and_then(|(at, data)| translate::text_at(at, data, &self.limits)) {
            return self.routes.get(&name).ok();
        }
        match kind {
            Name::Text(kind) => self.routes.get(kind).ok(),
            Name::Missing => data.map(translate::implied),
            Name::Odd => None,
        }
    }

    // ---- Sent ------------------------------------------------------------------------------------------------------

    /// Why something can never leave, if so.
    fn refusal(&self, route: &Route, body: &Body, call: bool) -> Option<Failure> {
        let no = |why: &'static str| Some(Failure::new(Code::Unimplemented, why));
        if self.bare() {
            return match body {
                _ if call => no("peers of bare JSON values know no requests"),
                Body::Json(text) if text.as_bytes().trim_ascii() != b"null" => None,
                _ => no("peers of bare JSON values take JSON values only, and not null"),
            };
        }
        if let Err(failure) = translate::check(route, body) {
            return Some(failure);
        }
        if !is_typed(route, body) {
            return None;
        }
        if call && self.config.calls == Calls::Request {
            return no("requests of the 1.x library carry no typed buffers; use the route Buffer");
        }
        if !self.config.asks_binary() {
            return no(
                "typed buffers need binary mode, which mode, switch or peer_type of this end rules out",
            );
        }
        match self.greeting {
            Greeting::Done { binary: false } => {
                no("the peer refused binary mode, so it takes no typed buffers")
            }
            Greeting::Absent => no("the peer made no handshake, so it takes no typed buffers"),
            Greeting::Done { binary: true } | Greeting::Awaited | Greeting::Offered { .. } => None,
        }
    }

    fn send_message(&mut self, route: Route, body: Body, link: Link, cx: &mut SessionCx<'_>) {
        if is_typed(&route, &body) {
            // Held back by the codec if a fence begins here; what comes later waits at the gate.
            self.switch(cx);
        }
        cx.write(Frame::Message(Message { kind: route, data: translate::from_body(body), link }));
    }

    fn send_request(&mut self, call: CallId, request: Request, cx: &mut SessionCx<'_>) {
        let id = Id::own(self.own.id(call.0));
        match self.config.calls {
            Calls::Callback => self.send_message(request.route, request.body, Link::Ask(id), cx),
            Calls::Request => {
                let text = translate::to_text(translate::from_body(request.body));
                cx.write(Frame::Message(control::request(&id, &request.route, &text)));
            }
        }
    }

    fn send_event(&mut self, event: Event, cx: &mut SessionCx<'_>) {
        match event.body {
            Body::Json(text) if self.bare() => {
                let mut compact = BytesMut::with_capacity(text.as_bytes().len());
                json::write_compact(&mut compact, text.as_bytes());
                cx.write(Frame::Line(compact.freeze()));
            }
            body => self.send_message(event.route, body, Link::None, cx),
        }
    }

    /// Answers a request. No gate holds an answer back, but during a fence the codec does.
    fn respond(
        &mut self,
        reply: &Reply,
        result: Result<polywire_core::Response, Failure>,
        cx: &mut SessionCx<'_>,
    ) {
        let typed = matches!(&result, Ok(response) if translate::is_typed(&response.body));
        if typed && !reply.packet {
            // A line would lose the type.
            self.switch(cx);
        }
        let framed = self.sending != Sending::Lines && !reply.packet;
        let (kind, data) = translate::from_result(result, framed);
        cx.write(Frame::Message(if reply.packet {
            control::response(&reply.id, &kind, &translate::to_text(data))
        } else {
            Message { kind, data, link: Link::Answer(reply.id.clone()) }
        }));
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

    fn admit(&self, outbound: &Outbound<Self>) -> Admit {
        let (route, body, call) = match outbound {
            Outbound::Request { call, request, .. } => (&request.route, &request.body, Some(*call)),
            Outbound::Event(event) => (&event.route, &event.body, None),
            Outbound::Response { .. } | Outbound::Abandon(_) | Outbound::Command(_) => return Admit::Now,
        };
        if let Some(failure) = self.refusal(route, body, call.is_some()) {
            return Admit::Refuse(failure);
        }
        if call.is_some_and(|call| call.0 >= OwnIds::RESERVED) {
            return Admit::Refuse(Failure::new(Code::ResourceExhausted, "all callback ids have been used"));
        }
        let held = match self.sending {
            Sending::Frames => false,
            Sending::Draining | Sending::Fenced => true,
            Sending::Lines => {
                (self.strict() && !self.settled()) || (is_typed(route, body) && !self.may_switch())
            }
        };
        if held { Admit::Hold(READY) } else { Admit::Now }
    }

    fn send(&mut self, outbound: Outbound<Self>, cx: &mut SessionCx<'_>) {
        match outbound {
            Outbound::Request { call, request, .. } => self.send_request(call, request, cx),
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
            Outbound::Abandon(_) => {}
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
                Sending::Draining | Sending::Fenced => cx.close(Close::Dead(format!(
                    "no pong at the switch to binary within handshake_timeout = {timeout:?}"
                ))),
                Sending::Lines | Sending::Frames if self.strict() => cx.close(Close::Protocol(format!(
                    "no handshake within handshake_timeout = {timeout:?}; a 1.x peer needs mode = auto or compat"
                ))),
                Sending::Lines | Sending::Frames => self.settle(Greeting::Absent, cx),
            }
        }
        if self.heartbeat.due().is_some_and(|due| due <= cx.now()) {
            self.beat(cx);
        }
        self.set_alarm(cx);
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

fn text_of<'a>(kind: &'a Name<'_>) -> std::borrow::Cow<'a, str> {
    match kind {
        Name::Text(kind) => std::borrow::Cow::Borrowed(kind),
        Name::Missing | Name::Odd => std::borrow::Cow::Borrowed(""),
    }
}

/// The facts beside a body: its type, where the route does not tell it, and for a request also where the data do not.
fn meta(received: &Received<'_>, route: &Route, request: bool) -> Meta {
    let (Name::Text(kind), Some(text)) = (&received.kind, received.data.json()) else {
        return Meta::default();
    };
    let is_route = route.as_str() == kind;
    let told = if request { translate::implied(text).as_str() == kind } else { is_route };
    if told {
        return Meta::default();
    }
    // The bytes of the route are there already.
    let shared = if is_route { ByteString::try_from(route.to_bytes()).ok() } else { None };
    Meta::default().with(translate::TYPE, shared.unwrap_or_else(|| kind.as_ref().into()))
}

/// A message as a line without its end.
fn line_of(message: Message) -> Bytes {
    let mut line = Outgoing::new();
    wire::write_line(message, b"", &mut line);
    line.take()
}
