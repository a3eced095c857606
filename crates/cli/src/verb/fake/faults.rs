//! The host's session with a tap on it, and what it does wrong on demand.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use polywire_core::{
    Action, Actions, Admit, Body, Close, Cx, FrameOf, Gate, Handler, HandlerFuture, Identity, Incoming,
    Kind as Called, Moment, Outbound, OutboundOf, Refusal, Session,
};
use polywire_hyperhq::{HostReply, HostSession};
use polywire_socketio::{Args, Kind, Packet, Packets, Upper};

use super::transcript::{Speaker, Transcript};

/// The request in whose middle things go wrong.
const EXECUTE: &str = "execute";
/// Most messages that are kept for later; further ones are said at once.
const MAX_LATER: usize = 1_024;
/// Broken messages: well-formed events of Socket.IO that mean nothing to a plugin.
const BROKEN: [&str; 5] = [
    r#"["request"]"#,
    r#"["request","not an object"]"#,
    r#"["request",{"method":"execute"}]"#,
    r#"["hyperHqEvent",null]"#,
    r#"["noSuchEvent",{"a":[1,{"b":null}]}]"#,
];

/// What the sessions of one host share.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) transcript: Arc<Transcript>,
    /// Everything is said this much later, in order, while no more than [`MAX_LATER`] messages wait.
    pub(super) late: Option<Duration>,
    /// The next login is not answered; once.
    pub(super) deaf: AtomicBool,
    pub(super) duplicate: bool,
    pub(super) malformed: bool,
    /// The next `execute` is cut; once.
    pub(super) cut: AtomicBool,
}

/// One connection of the host, watched.
pub(super) struct Tapped {
    session: HostSession,
    plan: Arc<Plan>,
    /// What is said later, and when.
    later: VecDeque<(Moment, Packet)>,
    /// When the session itself wants to be woken.
    alarm: Option<Moment>,
}

impl Tapped {
    pub(super) fn new(session: HostSession, plan: Arc<Plan>) -> Self {
        Self { session, plan, later: VecDeque::new(), alarm: None }
    }

    fn within(
        &mut self,
        cx: &mut Cx<'_, Self>,
        call: impl FnOnce(&mut HostSession, &mut Cx<'_, HostSession>),
    ) {
        let mut actions = Actions::new();
        call(&mut self.session, &mut cx.nested(&mut actions));
        for action in actions {
            match action {
                Action::Write(packet, _) => {
                    if self.plan.duplicate {
                        self.say(packet.clone(), cx);
                    }
                    self.say(packet, cx);
                }
                Action::Deliver(delivery) => cx.act(Action::Deliver(delivery)),
                Action::ReadMode(()) => cx.act(Action::ReadMode(())),
                Action::WriteMode(()) => cx.act(Action::WriteMode(())),
                Action::Authenticate(credentials) => cx.act(Action::Authenticate(credentials)),
                Action::WakeAt(at) => self.alarm = at,
                Action::Open(gate) => cx.act(Action::Open(gate)),
                Action::Reading(on) => cx.act(Action::Reading(on)),
                Action::Established(identity) => cx.act(Action::Established(identity)),
                Action::Found(capabilities) => cx.act(Action::Found(capabilities)),
                Action::Count(count) => cx.act(Action::Count(count)),
                Action::Close(reason) => {
                    // Nothing is said after it.
                    self.catch_up(None, cx);
                    cx.act(Action::Close(reason));
                }
            }
        }
        let next = self.later.front().map(|(at, _)| *at);
        cx.act(Action::WakeAt(next.into_iter().chain(self.alarm).min()));
    }

    /// Says it, or keeps it for later.
    fn say(&mut self, packet: Packet, cx: &mut Cx<'_, Self>) {
        match self.plan.late {
            Some(late) if self.later.len() < MAX_LATER => self.later.push_back((cx.now() + late, packet)),
            _ => self.write(packet, cx),
        }
    }

    fn write(&self, packet: Packet, cx: &mut Cx<'_, Self>) {
        self.plan.transcript.message(Speaker::Host, &packet);
        cx.write(packet);
    }

    /// Says what is due by then; without a moment all of it.
    fn catch_up(&mut self, by: Option<Moment>, cx: &mut Cx<'_, Self>) {
        while let Some((_, packet)) = self.later.pop_front_if(|(at, _)| by.is_none_or(|by| *at <= by)) {
            self.write(packet, cx);
        }
    }
}

impl Session for Tapped {
    type Codec = Packets;
    type Reply = HostReply;
    type Command = ();

    fn open(&mut self, cx: &mut Cx<'_, Self>) {
        self.plan.transcript.connected();
        self.within(cx, HostSession::open);
    }

    fn receive(&mut self, packet: FrameOf<Self>, cx: &mut Cx<'_, Self>) {
        self.plan.transcript.message(Speaker::Plugin, &packet);
        if is_login(&packet) && self.plan.deaf.swap(false, Ordering::AcqRel) {
            return self.plan.transcript.note("the login is not answered, as --silent=login asks");
        }
        self.within(cx, |session, cx| session.receive(packet, cx));
    }

    fn authenticated(&mut self, verdict: Result<Identity, Refusal>, cx: &mut Cx<'_, Self>) {
        self.within(cx, |session, cx| session.authenticated(verdict, cx));
    }

    fn admit(&self, outbound: &OutboundOf<Self>) -> Admit {
        self.session.admit(outbound)
    }

    fn held(&mut self, gate: Gate, cx: &mut Cx<'_, Self>) {
        self.within(cx, |session, cx| session.held(gate, cx));
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        let executes = matches!(&outbound, Outbound::Request { request, .. } if &*request.route == EXECUTE);
        if executes && self.plan.malformed {
            for text in BROKEN {
                let args = Args::written(Bytes::from_static(text.as_bytes()), Vec::new());
                let packet = Packet::main(Kind::Event { id: None, args });
                self.say(packet, cx);
            }
        }
        self.within(cx, |session, cx| session.send(outbound, cx));
        if executes && self.plan.cut.swap(false, Ordering::AcqRel) {
            self.plan.transcript.note("the connection is cut, as --disconnect asks");
            cx.close(Close::GivenUp("cut on purpose".to_owned()));
        }
    }

    fn progress(&mut self, reply: &HostReply, body: Body, cx: &mut Cx<'_, Self>) {
        self.within(cx, |session, cx| session.progress(reply, body, cx));
    }

    fn close(&mut self, reason: &Close, cx: &mut Cx<'_, Self>) {
        self.within(cx, |session, cx| session.close(reason, cx));
    }

    fn rest(&mut self) {
        self.session.rest();
    }

    fn wake(&mut self, cx: &mut Cx<'_, Self>) {
        let now = cx.now();
        self.catch_up(Some(now), cx);
        let is_due = self.alarm.take_if(|at| *at <= now).is_some();
        self.within(cx, |session, cx| {
            if is_due {
                session.wake(cx);
            }
        });
    }
}

impl Upper for Tapped {
    fn connected(&mut self, identity: Identity, cx: &mut Cx<'_, Self>) {
        self.within(cx, |session, cx| session.connected(identity, cx));
    }
}

/// Is it a login?
fn is_login(packet: &Packet) -> bool {
    matches!(&packet.kind, Kind::Event { args, .. } if args.text().starts_with(br#"["authenticate""#))
}

/// Answers what the plugin asks for, the first time not at all.
pub(super) struct Reluctant<H> {
    pub(super) handler: H,
    pub(super) silent: AtomicBool,
    pub(super) transcript: Arc<Transcript>,
}

impl<H: Handler> Handler for Reluctant<H> {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        if incoming.kind == Called::Request && self.silent.swap(false, Ordering::AcqRel) {
            self.transcript.note(&format!("{} is not answered, as --silent asks", incoming.route));
            return Box::pin(std::future::pending());
        }
        self.handler.call(incoming)
    }
}
