//! Any session, fed by hand: no runtime, no socket; the moment, the chance and the verdict come from the test.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use polywire_core::{
    Action, Actions, Admit, Close, Count, Credentials, Cx, Delivery, FrameOf, Moment, OutboundOf, Random,
    Session,
};

/// Chance with a script: what the original drew.
#[derive(Debug, Default)]
pub(crate) struct Drawn(pub(crate) Mutex<VecDeque<Vec<u8>>>);

impl Random for Drawn {
    fn fill(&self, bytes: &mut [u8]) {
        let drawn = self.0.lock().expect("not poisoned").pop_front();
        bytes.copy_from_slice(&drawn.expect("the original drew as much"));
    }
}

pub(crate) struct Hand<S: Session> {
    pub(crate) session: S,
    pub(crate) now: Moment,
    pub(crate) wall: SystemTime,
    pub(crate) drawn: Drawn,
    pub(crate) written: VecDeque<FrameOf<S>>,
    pub(crate) delivered: VecDeque<Delivery<S::Reply>>,
    pub(crate) counted: Vec<Count>,
    pub(crate) judging: Option<Credentials>,
    pub(crate) wake_at: Option<Moment>,
    pub(crate) established: bool,
    pub(crate) closed: Option<Close>,
}

impl<S: Session> Hand<S> {
    pub(crate) fn new(session: S) -> Self {
        Self {
            session,
            now: Moment::from_start(Duration::from_secs(1)),
            wall: SystemTime::UNIX_EPOCH,
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

    pub(crate) fn with(&mut self, call: impl FnOnce(&mut S, &mut Cx<'_, S>)) {
        assert!(self.closed.is_none(), "nothing goes on after a close");
        let mut actions = Actions::new();
        let wall = self.wall;
        call(&mut self.session, &mut Cx::new(self.now, &move || wall, &self.drawn, &mut actions));
        for action in actions {
            match action {
                Action::Write(frame, _) => self.written.push_back(frame),
                Action::Deliver(delivery) => self.delivered.push_back(delivery),
                Action::Count(count) => self.counted.push(count),
                Action::Authenticate(credentials) => self.judging = Some(credentials),
                Action::WakeAt(at) => self.wake_at = at,
                Action::Established(_) => self.established = true,
                Action::Close(reason) => self.closed = Some(reason),
                Action::ReadMode(_) | Action::WriteMode(_) | Action::Open(_) | Action::Reading(_) => {}
            }
        }
    }

    pub(crate) fn receive(&mut self, frame: FrameOf<S>) {
        self.with(|session, cx| session.receive(frame, cx));
    }

    pub(crate) fn send(&mut self, outbound: OutboundOf<S>) {
        assert_eq!(self.session.admit(&outbound), Admit::Now);
        self.with(|session, cx| session.send(outbound, cx));
    }
}
