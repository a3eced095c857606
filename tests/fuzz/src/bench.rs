//! The engine in little: one session and its codec, driven by hand at moments that the caller chooses.
//!
//! It applies actions as [`polywire_core::Connection`] does, in order, each frame before the next is decoded. What a handler
//! or a caller would have got is kept for the target to look at.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use polywire_core::{
    Action, Actions, Admit, CallId, Close, Codec, Count, Credentials, Cx, Delivery, Event, Failure,
    FrameError, FrameOf, Gate, Identity, Moment, Outbound, OutboundOf, Outgoing, Refusal, Request, Response,
    SeededRandom, Session, StreamCodec,
};

use crate::trace;

/// One session at work.
#[derive(Debug)]
pub struct Bench<S: Session> {
    session: S,
    codec: S::Codec,
    now: Moment,
    random: SeededRandom,
    actions: Actions<S>,
    input: BytesMut,
    output: Outgoing,
    alarm: Option<Moment>,
    reading: bool,
    next_call: u64,
    held: BTreeMap<Gate, Vec<OutboundOf<S>>>,
    /// Hashes of the last two things that happened: a mark is a sequence of three.
    last: [u64; 2],
    /// Requests that were delivered and have no answer yet.
    pub asked: Vec<(Request, S::Reply)>,
    /// Events that were delivered.
    pub events: Vec<Event>,
    /// Our calls that are on their way.
    pub calls: BTreeSet<CallId>,
    /// Answers that were delivered to calls which are not on their way.
    pub orphans: usize,
    /// Credentials that wait for a verdict.
    pub judging: Option<Credentials>,
    /// The first reason of a close.
    pub closed: Option<Close>,
    /// It has been established.
    pub established: bool,
}

/// A codec that this bench feeds from one stream of bytes, whatever its transport.
pub trait Feed: Codec {
    /// Takes the next frame off the front of `input`.
    ///
    /// # Errors
    /// When the connection has to be closed.
    fn feed(&mut self, input: &mut BytesMut) -> Result<Option<Self::Frame>, FrameError>;

    /// Appends `frame` to `out`.
    ///
    /// # Errors
    /// When the wire cannot hold it.
    fn give(&mut self, frame: Self::Frame, out: &mut Outgoing) -> Result<(), FrameError>;
}

macro_rules! feed_by_stream {
    ($($codec:ty),+) => {$(
        impl Feed for $codec {
            fn feed(&mut self, input: &mut BytesMut) -> Result<Option<Self::Frame>, FrameError> {
                self.decode(input)
            }

            fn give(&mut self, frame: Self::Frame, out: &mut Outgoing) -> Result<(), FrameError> {
                self.encode(frame, out)
            }
        }
    )+};
}

feed_by_stream!(polywire_sockhop::Codec, polywire_hpx::HpxCodec);

impl<S: Session> Bench<S>
where
    S::Codec: Feed,
{
    /// A session that has just been opened.
    pub fn open(session: S, codec: S::Codec) -> Self {
        let mut bench = Self {
            session,
            codec,
            now: Moment::from_start(Duration::from_secs(1)),
            random: SeededRandom::new(0),
            actions: Actions::new(),
            input: BytesMut::new(),
            output: Outgoing::new(),
            alarm: None,
            reading: true,
            next_call: 0,
            held: BTreeMap::new(),
            last: [0; 2],
            asked: Vec::new(),
            events: Vec::new(),
            calls: BTreeSet::new(),
            orphans: 0,
            judging: None,
            closed: None,
            established: false,
        };
        bench.with(|session, cx| session.open(cx));
        bench
    }

    /// What was written since this was asked last.
    pub fn written(&mut self) -> Bytes {
        self.output.take()
    }

    fn note(&mut self, what: impl Hash) {
        let now = trace::hash(what);
        let [before, last] = self.last;
        trace::mark((before, last, now));
        self.last = [last, now];
    }

    /// Calls the session with something that only its kind knows.
    pub fn with_session(&mut self, call: impl FnOnce(&mut S, &mut Cx<'_, S>)) {
        self.with(call);
    }

    fn with(&mut self, call: impl FnOnce(&mut S, &mut Cx<'_, S>)) {
        if self.closed.is_some() {
            return;
        }
        let wall = || SystemTime::UNIX_EPOCH;
        let mut cx = Cx::new(self.now, &wall, &self.random, &mut self.actions);
        call(&mut self.session, &mut cx);
        self.apply();
    }

    fn apply(&mut self) {
        while let Some(action) = self.actions.pop_front() {
            match action {
                Action::Write(frame, _) => {
                    self.note(("write", self.established, self.reading));
                    if let Err(error) = self.codec.give(frame, &mut self.output) {
                        panic!("a session wrote what cannot be encoded: {error}");
                    }
                }
                Action::Deliver(delivery) => self.deliver(delivery),
                Action::ReadMode(mode) => self.codec.set_read_mode(mode),
                Action::WriteMode(mode) => self.codec.set_write_mode(mode),
                Action::Authenticate(credentials) => {
                    assert!(self.judging.is_none(), "two logins at once");
                    self.judging = Some(credentials);
                }
                Action::WakeAt(at) => self.alarm = at,
                Action::Open(gate) => self.let_go(gate),
                Action::Reading(on) => self.reading = on,
                Action::Established(_) => self.established = true,
                Action::Found(capabilities) => self.note(("found", format!("{:?}", capabilities.binary))),
                Action::Count(count) => self.note(("count", count.as_str())),
                Action::Close(reason) => {
                    self.note(("close", std::mem::discriminant(&reason)));
                    self.closed = Some(reason);
                    self.actions.clear();
                }
            }
        }
    }

    fn deliver(&mut self, delivery: Delivery<S::Reply>) {
        match delivery {
            Delivery::Request { request, reply, .. } => {
                self.note(("request", self.asked.len().min(4)));
                self.asked.push((request, reply));
            }
            Delivery::Event(event) => {
                self.note("event");
                self.events.push(event);
            }
            Delivery::Response { call, outcome } => {
                let known = self.calls.remove(&call);
                self.orphans += usize::from(!known);
                self.note(("response", outcome.is_ok(), known));
            }
            Delivery::Cancel(reply) => {
                self.note("cancel");
                self.asked.retain(|(_, asked)| *asked != reply);
            }
            Delivery::Progress { call, .. } => self.note(("progress", call.is_some())),
        }
    }

    /// These bytes have come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The next frame of what has come, unless the session does not read now.
    pub fn next_frame(&mut self) -> Option<FrameOf<S>> {
        if self.closed.is_some() || !self.reading || self.judging.is_some() {
            return None;
        }
        self.codec.feed(&mut self.input).unwrap_or_else(|error| {
            self.broken(&error);
            None
        })
    }

    /// Hands a frame to the session; says what came of it.
    pub fn receive(&mut self, frame: FrameOf<S>) -> Fate {
        let wall = || SystemTime::UNIX_EPOCH;
        let mut cx = Cx::new(self.now, &wall, &self.random, &mut self.actions);
        self.session.receive(frame, &mut cx);
        let fate = fate_of(&self.actions);
        self.note(fate);
        self.apply();
        fate
    }

    fn broken(&mut self, error: &FrameError) {
        self.note(("broken", std::mem::discriminant(error)));
        self.closed = Some(Close::Protocol(error.to_string()));
    }

    /// Time passes; the alarm goes off when it is due.
    pub fn wait(&mut self, span: Duration) {
        self.now = self.now + span;
        if self.alarm.is_some_and(|at| at <= self.now) {
            self.alarm = None;
            self.with(|session, cx| session.wake(cx));
        }
    }

    /// Time passes up to the alarm, if one is set.
    pub fn wait_for_alarm(&mut self) {
        if let Some(at) = self.alarm {
            self.wait(at - self.now);
        }
    }

    /// Calls the peer.
    pub fn call(&mut self, request: Request) {
        let call = CallId(self.next_call);
        self.next_call += 1;
        let deadline = self.now + Duration::from_secs(15);
        self.send(Outbound::Request { call, deadline, request });
    }

    /// Gives the oldest call up.
    pub fn cancel(&mut self) {
        if let Some(call) = self.calls.pop_first() {
            self.with(|session, cx| session.send(Outbound::Cancel(call), cx));
        }
    }

    /// Sends, holds or drops.
    pub fn send(&mut self, outbound: OutboundOf<S>) {
        if self.closed.is_some() {
            return;
        }
        match self.session.admit(&outbound) {
            Admit::Now => {
                if let Outbound::Request { call, .. } = &outbound {
                    self.calls.insert(*call);
                }
                self.with(|session, cx| session.send(outbound, cx));
            }
            Admit::Hold(gate) => {
                self.note(("held", gate));
                self.held.entry(gate).or_default().push(outbound);
            }
            Admit::Refuse(failure) => self.note(("refused", failure.code)),
        }
    }

    fn let_go(&mut self, gate: Gate) {
        for outbound in self.held.remove(&gate).unwrap_or_default() {
            match self.session.admit(&outbound) {
                Admit::Now if self.closed.is_none() => {
                    if let Outbound::Request { call, .. } = &outbound {
                        self.calls.insert(*call);
                    }
                    let wall = || SystemTime::UNIX_EPOCH;
                    let mut cx = Cx::new(self.now, &wall, &self.random, &mut self.actions);
                    self.session.send(outbound, &mut cx);
                }
                Admit::Now => {}
                Admit::Hold(gate) => self.held.entry(gate).or_default().push(outbound),
                Admit::Refuse(failure) => self.note(("refused late", failure.code)),
            }
        }
    }

    /// Answers one of the requests that were delivered.
    pub fn answer(&mut self, which: usize, result: Result<Response, Failure>) {
        if !self.asked.is_empty() && self.closed.is_none() {
            let (_, reply) = self.asked.swap_remove(which % self.asked.len());
            self.with(|session, cx| session.send(Outbound::Response { reply, result }, cx));
        }
    }

    /// Judges the credentials that wait.
    pub fn judge(&mut self, verdict: Result<Identity, Refusal>) {
        if self.judging.take().is_some() {
            self.with(|session, cx| session.authenticated(verdict, cx));
        }
    }
}

/// What a session made of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It left no action at all.
    Nothing,
    /// It was counted under a reason.
    Ignored(Count),
    /// It was handed up, or answered, or changed something.
    Used,
}

fn fate_of<S: Session>(actions: &Actions<S>) -> Fate {
    if actions.is_empty() {
        return Fate::Nothing;
    }
    let reason = actions.iter().find_map(|action| match action {
        Action::Count(count) if count.is_reason() => Some(*count),
        _ => None,
    });
    reason.map_or(Fate::Used, Fate::Ignored)
}
