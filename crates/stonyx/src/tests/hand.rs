//! A session fed by hand: no runtime, no socket; the moment, the chance and the verdict come from the test.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use polywire_core::{
    Action, Actions, Admit, Close, Codec, Count, Credentials, Cx, Delivery, Identity, Message, MessageCodec,
    Moment, OutboundOf, Random, Refusal, Session,
};

use crate::codec::Codec as StonyxCodec;
use crate::seal::Key;

/// Chance with a script: what the original drew.
#[derive(Debug, Default)]
pub(crate) struct Drawn(Mutex<VecDeque<Vec<u8>>>);

impl Drawn {
    pub(crate) fn push(&self, bytes: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(bytes.to_vec());
    }
}

impl Random for Drawn {
    fn fill(&self, bytes: &mut [u8]) {
        let drawn = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        bytes.copy_from_slice(&drawn.expect("the original drew as much"));
    }
}

/// The engine of this test: three lines, and a place for every action.
pub(crate) struct Hand<S: Session + std::fmt::Debug> {
    session: S,
    codec: StonyxCodec,
    pub(crate) now: Moment,
    /// Does the engine take frames?
    pub(crate) reading: bool,
    pub(crate) drawn: Drawn,
    pub(crate) written: VecDeque<Message>,
    pub(crate) delivered: VecDeque<Delivery<S::Reply>>,
    pub(crate) counted: Vec<Count>,
    pub(crate) judging: Option<Credentials>,
    pub(crate) wake_at: Option<Moment>,
    pub(crate) established: bool,
    pub(crate) closed: Option<Close>,
}

impl<S: Session<Codec = StonyxCodec> + std::fmt::Debug> Hand<S> {
    pub(crate) fn new(session: S, key: &Key) -> Self {
        Self {
            session,
            codec: StonyxCodec::new(key),
            now: Moment::from_start(Duration::from_secs(1)),
            reading: true,
            drawn: Drawn::default(),
            written: VecDeque::new(),
            delivered: VecDeque::new(),
            counted: Vec::new(),
            judging: None,
            wake_at: None,
            established: false,
            closed: None,
        }
    }

    fn with(&mut self, call: impl FnOnce(&mut S, &mut Cx<'_, S>)) {
        let mut actions = Actions::new();
        let wall = || SystemTime::UNIX_EPOCH;
        call(
            &mut self.session,
            &mut Cx::new(self.now, &wall, &self.drawn, &mut actions).reading(self.reading),
        );
        for action in actions {
            assert!(self.closed.is_none(), "nothing is wanted after a close: {action:?}");
            match action {
                Action::Write(frame, _) => {
                    self.codec.encode(frame, &mut |message| self.written.push_back(message)).unwrap();
                }
                Action::Deliver(delivery) => self.delivered.push_back(delivery),
                Action::ReadMode(key) => self.codec.set_read_mode(key),
                Action::WriteMode(key) => self.codec.set_write_mode(key),
                Action::Authenticate(credentials) => self.judging = Some(credentials),
                Action::WakeAt(at) => self.wake_at = at,
                Action::Established(_) => self.established = true,
                Action::Close(reason) => self.closed = Some(reason),
                Action::Count(count) => self.counted.push(count),
                Action::Reading(on) => self.reading = on,
                Action::Open(_) | Action::Found(_) => {}
            }
        }
    }

    pub(crate) fn open(&mut self) {
        self.with(|session, cx| session.open(cx));
    }

    pub(crate) fn receive(&mut self, message: Message) {
        assert!(self.judging.is_none(), "nothing is read while a login is judged");
        let frame = self.codec.decode(message).unwrap().expect("one message is one frame");
        self.with(|session, cx| session.receive(frame, cx));
    }

    pub(crate) fn judge(&mut self, verdict: Result<Identity, Refusal>) {
        self.with(|session, cx| session.authenticated(verdict, cx));
    }

    pub(crate) fn admits(&self, outbound: &OutboundOf<S>) -> Admit {
        self.session.admit(outbound)
    }

    pub(crate) fn send(&mut self, outbound: OutboundOf<S>) {
        assert_eq!(self.session.admit(&outbound), Admit::Now, "{outbound:?}");
        self.with(|session, cx| session.send(outbound, cx));
    }

    /// All that the session and the codec know, as text.
    pub(crate) fn known(&self) -> String {
        format!("{:?} {:?}", self.session, self.codec)
    }

    /// Time passes until the session wants to be woken.
    pub(crate) fn wake(&mut self) {
        self.now = self.wake_at.take().expect("an alarm is set");
        self.with(|session, cx| session.wake(cx));
    }
}
