//! A client's session fed by hand: no runtime, no socket, and the moment comes from the test.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use polywire_core::{
    Action, Actions, Admit, CallId, Close, Count, Cx, Delivery, FrameError, Identity, JsonText, Limits,
    Message, MessageCodec, Moment, Outbound, OutboundOf, Random, Request, Session,
};

use crate::codec::Codec;
use crate::config::Config;
use crate::session::{Events, Link, Recovery};
use crate::stack::Stack;

type Client = Stack<Link, Events>;

#[derive(Debug)]
struct NoChance;

impl Random for NoChance {
    fn fill(&self, _: &mut [u8]) {
        panic!("nothing here is drawn");
    }
}

/// The engine of these tests: three lines, and a place for every action.
pub(crate) struct Hand {
    session: Client,
    codec: Codec,
    pub(crate) now: Moment,
    /// Does the engine take frames?
    pub(crate) reading: bool,
    pub(crate) written: VecDeque<Message>,
    pub(crate) delivered: VecDeque<Delivery<u64>>,
    pub(crate) counted: Vec<Count>,
    pub(crate) wake_at: Option<Moment>,
    pub(crate) established: Option<Identity>,
    pub(crate) closed: Option<Close>,
    calls: u64,
    /// The calls that are waited for.
    pending: BTreeSet<CallId>,
}

impl Hand {
    pub(crate) fn new(config: Config, auth: Option<JsonText>, recovery: Recovery) -> Self {
        let config = Arc::new(config);
        let limits = Limits { max_frame_bytes: 1 << 20, ..Limits::default() };
        let link = Link::new(Arc::clone(&config), &limits, auth, recovery);
        let mut hand = Self {
            session: Stack::new(link, Events::new(config, limits.json)),
            codec: Codec,
            now: Moment::from_start(Duration::from_secs(1)),
            reading: true,
            written: VecDeque::new(),
            delivered: VecDeque::new(),
            counted: Vec::new(),
            wake_at: None,
            established: None,
            closed: None,
            calls: 0,
            pending: BTreeSet::new(),
        };
        hand.with(|session, cx| session.open(cx));
        hand
    }

    /// A session that has got its namespace, `/`, and has nothing to show yet.
    pub(crate) fn connected(config: Config) -> Self {
        let mut hand = Self::new(config, None, Recovery::default());
        hand.say(r#"0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":2000}"#);
        assert_eq!(hand.wrote(), "40");
        hand.say(r#"40{"sid":"S1"}"#);
        assert!(hand.established.is_some());
        hand
    }

    fn with(&mut self, call: impl FnOnce(&mut Client, &mut Cx<'_, Client>)) {
        let mut actions = Actions::new();
        let wall = || SystemTime::UNIX_EPOCH;
        call(&mut self.session, &mut Cx::new(self.now, &wall, &NoChance, &mut actions).reading(self.reading));
        for action in actions {
            let is_alarm = matches!(action, Action::WakeAt(_));
            assert!(self.closed.is_none() || is_alarm, "nothing is wanted after a close: {action:?}");
            match action {
                Action::Write(frame, _) => {
                    self.codec.encode(frame, &mut |message| self.written.push_back(message)).unwrap();
                }
                Action::Deliver(Delivery::Response { call, .. }) if !self.pending.remove(&call) => {
                    self.counted.push(Count::OrphanReply);
                }
                Action::Deliver(delivery) => self.delivered.push_back(delivery),
                Action::WakeAt(at) => self.wake_at = at,
                Action::Established(identity) => self.established = identity,
                Action::Close(reason) => self.closed = Some(reason),
                Action::Count(count) => self.counted.push(count),
                Action::Open(_) | Action::Reading(_) | Action::Authenticate(_) | Action::Found(_) => {}
                Action::ReadMode(()) | Action::WriteMode(()) => {}
            }
        }
    }

    /// The next message of the server; what the codec refuses ends the connection as in the engine.
    pub(crate) fn receive(&mut self, message: Message) {
        match self.codec.decode(message) {
            Ok(Some(frame)) => self.with(|session, cx| session.receive(frame, cx)),
            Ok(None) => {}
            Err(error @ (FrameError::TooLarge { .. } | FrameError::TooMany { .. })) => {
                self.closed = Some(Close::Limit(error.to_string()));
            }
            Err(error) => self.closed = Some(Close::Protocol(error.to_string())),
        }
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.receive(Message::Text(text.to_owned().into()));
    }

    pub(crate) fn attach(&mut self, bytes: &'static [u8]) {
        self.receive(Message::Binary(bytes.into()));
    }

    pub(crate) fn admit(&self, outbound: &OutboundOf<Client>) -> Admit {
        self.session.admit(outbound)
    }

    pub(crate) fn send(&mut self, outbound: OutboundOf<Client>) {
        assert_eq!(self.session.admit(&outbound), Admit::Now, "{outbound:?}");
        if let Outbound::Cancel(call) = &outbound {
            self.pending.remove(call);
        }
        self.with(|session, cx| session.send(outbound, cx));
    }

    pub(crate) fn call(&mut self, request: Request) -> CallId {
        let call = CallId(self.calls);
        self.calls += 1;
        self.pending.insert(call);
        let deadline = self.now + Duration::from_secs(5);
        self.send(Outbound::Request { call, deadline, request });
        call
    }

    pub(crate) fn leave(&mut self) {
        self.with(|session, cx| session.close(&Close::Local, cx));
    }

    /// The next message that was written, which is text.
    pub(crate) fn wrote(&mut self) -> String {
        match self.written.pop_front() {
            Some(Message::Text(text)) => String::from_utf8(text.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Time passes until the session wants to be woken.
    pub(crate) fn wake(&mut self) {
        self.now = self.wake_at.take().expect("an alarm is set");
        self.with(|session, cx| session.wake(cx));
    }
}
