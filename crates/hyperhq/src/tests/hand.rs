//! A plugin's session fed by hand, above nothing: packets go in and come out, and the moment comes from the test.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use polywire_core::{
    Action, Actions, Admit, Body, CallId, Close, Count, Cx, Delivery, Identity, JsonLimits, JsonText, Moment,
    Outbound, OutboundOf, Random, Request, Response, Route, Session,
};
use polywire_socketio::{Kind, Packet, PacketLimits, Parsed, Upper};

use crate::plugin::{Kept, PluginSession, Reply};

pub(crate) const CHALLENGE: &str = "c0ffee00c0ffee00c0ffee00c0ffee00";
pub(crate) const TOKEN: &str = "845cda81";

pub(crate) fn json(text: &str) -> JsonText {
    JsonText::new(text.to_owned(), &JsonLimits::default()).unwrap()
}

/// Chance that always draws the same.
#[derive(Debug)]
struct Sevens;

impl Random for Sevens {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

pub(crate) struct Hand {
    session: PluginSession,
    pub(crate) now: Moment,
    pub(crate) written: VecDeque<Packet>,
    pub(crate) delivered: VecDeque<Delivery<Reply>>,
    pub(crate) counted: Vec<Count>,
    pub(crate) wake_at: Option<Moment>,
    pub(crate) established: bool,
    pub(crate) closed: Option<Close>,
    calls: u64,
}

impl Hand {
    /// A connection whose namespace was just granted.
    pub(crate) fn new(kept: &Kept) -> Self {
        let mut hand = Self {
            session: PluginSession::new("demo-plugin", CHALLENGE.into(), kept.clone()),
            now: Moment::from_start(Duration::from_secs(1)),
            written: VecDeque::new(),
            delivered: VecDeque::new(),
            counted: Vec::new(),
            wake_at: None,
            established: false,
            closed: None,
            calls: 0,
        };
        hand.with(|session, cx| session.connected(Identity::guest(), cx));
        hand
    }

    /// One that has logged in.
    pub(crate) fn logged_in(kept: &Kept) -> Self {
        let mut hand = Self::new(kept);
        hand.written.clear();
        hand.hear(
            "authenticated",
            &format!(r#"{{"success":true,"pluginId":"demo-plugin","sessionToken":"{TOKEN}"}}"#),
        );
        assert!(hand.established);
        hand
    }

    pub(crate) fn with(&mut self, call: impl FnOnce(&mut PluginSession, &mut Cx<'_, PluginSession>)) {
        let mut actions = Actions::new();
        let wall = || SystemTime::UNIX_EPOCH;
        call(&mut self.session, &mut Cx::new(self.now, &wall, &Sevens, &mut actions));
        for action in actions {
            assert!(self.closed.is_none(), "nothing is wanted after a close: {action:?}");
            match action {
                Action::Write(packet, _) => self.written.push_back(packet),
                Action::Deliver(delivery) => self.delivered.push_back(delivery),
                Action::WakeAt(at) => self.wake_at = at,
                Action::Established(_) => self.established = true,
                Action::Close(reason) => self.closed = Some(reason),
                Action::Count(count) => self.counted.push(count),
                Action::Open(_) | Action::Reading(_) | Action::Authenticate(_) | Action::Found(_) => {}
                Action::ReadMode(()) | Action::WriteMode(()) => {}
            }
        }
    }

    pub(crate) fn receive(&mut self, packet: Packet) {
        self.with(|session, cx| session.receive(packet, cx));
    }

    /// The host said this before it granted the namespace.
    pub(crate) fn early(&mut self, name: &str, argument: &str) {
        let packet = packet(&format!("2[\"{name}\",{argument}]"), Vec::new());
        self.with(|session, cx| session.early(packet, cx));
    }

    /// The host says this.
    pub(crate) fn hear(&mut self, name: &str, argument: &str) {
        self.receive(packet(&format!("2[\"{name}\",{argument}]"), Vec::new()));
    }

    pub(crate) fn admit(&self, outbound: &OutboundOf<PluginSession>) -> Admit {
        self.session.admit(outbound)
    }

    pub(crate) fn send(&mut self, outbound: OutboundOf<PluginSession>) {
        assert_eq!(self.session.admit(&outbound), Admit::Now, "{outbound:?}");
        self.with(|session, cx| session.send(outbound, cx));
    }

    pub(crate) fn call(&mut self, name: &str, body: Body) -> CallId {
        self.calls += 1;
        let (call, deadline) = (CallId(self.calls), self.now + Duration::from_secs(30));
        let request = Request::new(Route::new(name.to_owned()).unwrap(), body);
        self.send(Outbound::Request { call, deadline, request });
        call
    }

    /// The request that was just delivered.
    pub(crate) fn asked(&mut self) -> (Request, Reply) {
        match self.delivered.pop_front() {
            Some(Delivery::Request { request, reply, .. }) => (request, reply),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn answer(&mut self, reply: Reply, body: Body) {
        self.send(Outbound::Response { reply, result: Ok(Response::from(body)) });
    }

    /// What was written next, as text.
    pub(crate) fn wrote(&mut self) -> String {
        text(&self.written.pop_front().expect("something was written"))
    }

    /// Time passes until the session wants to be woken.
    pub(crate) fn wake(&mut self) {
        self.now = self.wake_at.take().expect("an alarm is set");
        self.with(|session, cx| session.wake(cx));
    }
}

/// The packet of this text.
pub(crate) fn packet(text: &str, attachments: Vec<Bytes>) -> Packet {
    let limits = PacketLimits::default();
    let packet = match Packet::parse(&Bytes::from(text.to_owned()), &limits) {
        Ok(Parsed::Whole(packet)) => packet,
        Ok(Parsed::Awaits(packet, due)) => {
            assert_eq!(due, attachments.len());
            packet.complete(attachments, &limits.json).unwrap()
        }
        other => panic!("{text}: {other:?}"),
    };
    assert!(matches!(packet.kind, Kind::Event { .. } | Kind::Beyond { .. }), "{text}");
    packet
}

/// The text of this packet.
pub(crate) fn text(packet: &Packet) -> String {
    let mut text = BytesMut::new();
    packet.write(&mut text);
    String::from_utf8(text.to_vec()).unwrap()
}
