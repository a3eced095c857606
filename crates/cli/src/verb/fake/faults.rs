//! The host's session with a tap on it, and what it does wrong on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use polywire_core::{
    Action, Actions, Admit, Body, Close, Cx, FrameOf, Gate, Handler, HandlerFuture, Identity, Incoming,
    Kind as Called, Outbound, OutboundOf, Refusal, Session,
};
use polywire_hyperhq::{HostReply, HostSession};
use polywire_socketio::{Args, Kind, MAIN, Packet, Packets, Upper};

use super::transcript::{Speaker, Transcript};

/// The request in whose middle things go wrong.
const EXECUTE: &str = "execute";
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
    pub(super) duplicate: bool,
    pub(super) malformed: bool,
    /// The next `execute` is cut; once.
    pub(super) cut: AtomicBool,
}

/// One connection of the host, watched.
pub(super) struct Tapped {
    session: HostSession,
    plan: Arc<Plan>,
}

impl Tapped {
    pub(super) fn new(session: HostSession, plan: Arc<Plan>) -> Self {
        Self { session, plan }
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
                Action::Write(packet, flush) => {
                    if self.plan.duplicate {
                        self.plan.transcript.message(Speaker::Host, &packet);
                        cx.act(Action::Write(packet.clone(), flush));
                    }
                    self.plan.transcript.message(Speaker::Host, &packet);
                    cx.act(Action::Write(packet, flush));
                }
                Action::Deliver(delivery) => cx.act(Action::Deliver(delivery)),
                Action::ReadMode(()) => cx.act(Action::ReadMode(())),
                Action::WriteMode(()) => cx.act(Action::WriteMode(())),
                Action::Authenticate(credentials) => cx.act(Action::Authenticate(credentials)),
                Action::WakeAt(at) => cx.act(Action::WakeAt(at)),
                Action::Open(gate) => cx.act(Action::Open(gate)),
                Action::Reading(on) => cx.act(Action::Reading(on)),
                Action::Established(identity) => cx.act(Action::Established(identity)),
                Action::Count(count) => cx.act(Action::Count(count)),
                Action::Close(reason) => cx.act(Action::Close(reason)),
            }
        }
    }
}

impl Session for Tapped {
    type Codec = Packets;
    type Reply = HostReply;
    type Command = ();

    fn open(&mut self, cx: &mut Cx<'_, Self>) {
        self.plan.transcript.note("a connection");
        self.within(cx, HostSession::open);
    }

    fn receive(&mut self, packet: FrameOf<Self>, cx: &mut Cx<'_, Self>) {
        self.plan.transcript.message(Speaker::Plugin, &packet);
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
                let packet = Packet { namespace: MAIN.into(), kind: Kind::Event { id: None, args } };
                self.plan.transcript.message(Speaker::Host, &packet);
                cx.write(packet);
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
        self.within(cx, HostSession::wake);
    }
}

impl Upper for Tapped {
    fn connected(&mut self, identity: Identity, cx: &mut Cx<'_, Self>) {
        self.within(cx, |session, cx| session.connected(identity, cx));
    }
}

/// Answers what the plugin asks for: late, or the first time not at all.
pub(super) struct Reluctant<H> {
    pub(super) handler: H,
    pub(super) late: Option<Duration>,
    pub(super) silent: AtomicBool,
}

impl<H: Handler> Handler for Reluctant<H> {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        if incoming.kind == Called::Request && self.silent.swap(false, Ordering::AcqRel) {
            return Box::pin(std::future::pending());
        }
        let answer = self.handler.call(incoming);
        match self.late {
            Some(late) => Box::pin(async move {
                tokio::time::sleep(late).await;
                answer.await
            }),
            None => answer,
        }
    }
}
