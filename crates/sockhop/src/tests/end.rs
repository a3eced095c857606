//! One end without a runtime: the codec, the session and the few lines of an engine between them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use polywire_core::{
    Action, Actions, Admit, Body, CallError, CallId, Capabilities, Close, Codec as _, Count, Cx, Delivery,
    Event, Failure, Flush, FrameError, JsonLimits, JsonText, Limits, Moment, Outbound, OutboundOf, Outgoing,
    Request, Response, Route, SeededRandom, Session as _, StreamCodec,
};

use crate::codec::{Codec, Frame};
use crate::config::Config;
use crate::session::{Role, Session};
use crate::tables::Reply;

/// What came out of an end, in words that a test can compare.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Got {
    Event(Event),
    Request(Request),
    Response(CallId, Result<Response, CallError>),
    Progress(CallId, Body),
    Count(Count),
    Established,
    Closed(Close),
}

pub(crate) struct End {
    pub(crate) codec: Codec,
    pub(crate) session: Session,
    pub(crate) now: Moment,
    /// Does the engine take frames?
    pub(crate) reading: bool,
    pub(crate) alarm: Option<Moment>,
    pub(crate) got: Vec<Got>,
    /// What the connection was found to carry.
    pub(crate) found: Option<Capabilities>,
    pub(crate) replies: VecDeque<Reply>,
    /// Writes, cut at barriers.
    pub(crate) writes: Vec<Vec<u8>>,
    /// What no gate has let through.
    pub(crate) held: VecDeque<OutboundOf<Session>>,
    pub(crate) refused: Vec<Failure>,
    /// Frames that left no trace at all.
    pub(crate) unaccounted: usize,
    /// Answers every request with what it asked, at once.
    pub(crate) echo: bool,
    input: BytesMut,
    output: Outgoing,
    random: SeededRandom,
    next_call: u64,
    closed: bool,
}

fn wall() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_735_787_045)
}

impl End {
    pub(crate) fn new(config: &Config, role: Role) -> Self {
        config.validate().unwrap();
        let mut end = Self {
            codec: Codec::new(config, &Limits::default()),
            session: Session::new(Arc::new(config.clone()), &Limits::default(), role),
            now: Moment::from_start(Duration::from_secs(1)),
            reading: true,
            alarm: None,
            got: Vec::new(),
            found: None,
            replies: VecDeque::new(),
            writes: Vec::new(),
            held: VecDeque::new(),
            refused: Vec::new(),
            unaccounted: 0,
            echo: false,
            input: BytesMut::new(),
            output: Outgoing::new(),
            random: SeededRandom::new(if role == Role::Client { 7 } else { 8 }),
            next_call: 0,
            closed: false,
        };
        end.with(Session::open);
        end
    }

    pub(crate) fn client(config: &Config) -> Self {
        Self::new(config, Role::Client)
    }

    pub(crate) fn server(config: &Config) -> Self {
        Self::new(config, Role::Server)
    }

    fn with(&mut self, call: impl FnOnce(&mut Session, &mut Cx<'_, Session>)) -> bool {
        if self.closed {
            return true;
        }
        let mut actions = Actions::new();
        call(
            &mut self.session,
            &mut Cx::new(self.now, &wall, &self.random, &mut actions).reading(self.reading),
        );
        let trace = !actions.is_empty();
        for action in actions {
            self.apply(action);
        }
        trace
    }

    fn apply(&mut self, action: Action<Session>) {
        match action {
            Action::Write(frame, flush) => {
                self.codec.encode(frame, &mut self.output).unwrap();
                if flush != Flush::Coalesce {
                    self.flush();
                }
            }
            Action::Deliver(delivery) => self.deliver(delivery),
            Action::ReadMode(mode) => self.codec.set_read_mode(mode),
            Action::WriteMode(mode) => self.codec.set_write_mode(mode),
            Action::WakeAt(at) => self.alarm = at,
            Action::Open(_) => {
                for outbound in std::mem::take(&mut self.held) {
                    self.send(outbound);
                }
            }
            Action::Established(_) => self.got.push(Got::Established),
            Action::Found(capabilities) => self.found = Some(capabilities),
            Action::Count(count) => self.got.push(Got::Count(count)),
            Action::Close(reason) => {
                self.closed = true;
                self.got.push(Got::Closed(reason));
            }
            Action::Authenticate(_) | Action::Reading(_) => unreachable!("this wire has no login"),
        }
    }

    fn deliver(&mut self, delivery: Delivery<Reply>) {
        let got = match delivery {
            Delivery::Request { request, reply, .. } => {
                if self.echo {
                    let response = Response { body: request.body.clone(), meta: request.meta.clone() };
                    self.send(Outbound::Response { reply, result: Ok(response) });
                } else {
                    self.replies.push_back(reply);
                }
                Got::Request(request)
            }
            Delivery::Event(event) => Got::Event(event),
            Delivery::Response { call, outcome } => Got::Response(call, outcome),
            Delivery::Cancel(reply) => panic!("the wire has no word for {reply:?}"),
            Delivery::Progress { call, body } => Got::Progress(call.unwrap(), body),
        };
        self.got.push(got);
    }

    pub(crate) fn flush(&mut self) {
        if !self.output.is_empty() {
            self.writes.push(self.output.take().to_vec());
        }
    }

    /// Hands over bytes of the peer.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while !self.closed {
            match self.codec.decode(&mut self.input) {
                Ok(Some(frame)) => self.receive(frame),
                Ok(None) => return,
                Err(FrameError::TooLarge { got, max, setting }) => {
                    let text = FrameError::TooLarge { got, max, setting }.to_string();
                    self.apply(Action::Close(Close::Limit(text)));
                }
                Err(error) => self.apply(Action::Close(Close::Protocol(error.to_string()))),
            }
        }
    }

    fn receive(&mut self, frame: Frame) {
        let before = self.got.len();
        let used = self.with(|session, cx| session.receive(frame, cx));
        if !used && self.got.len() == before {
            self.unaccounted += 1;
        }
    }

    pub(crate) fn send(&mut self, outbound: OutboundOf<Session>) {
        match self.session.admit(&outbound) {
            Admit::Now => {
                self.with(|session, cx| session.send(outbound, cx));
            }
            Admit::Hold(_) => self.held.push_back(outbound),
            Admit::Refuse(failure) => self.refused.push(failure),
        }
    }

    pub(crate) fn event(&mut self, route: &str, body: impl Into<Body>) {
        self.send(Outbound::Event(Event::new(Route::new(route).unwrap(), body)));
    }

    pub(crate) fn call(&mut self, route: &str, body: impl Into<Body>) -> CallId {
        let call = CallId(self.next_call);
        self.next_call += 1;
        let request = Request::new(Route::new(route).unwrap(), body);
        self.send(Outbound::Request { call, deadline: self.now, request });
        call
    }

    pub(crate) fn answer(&mut self, result: impl Into<Response>) {
        let reply = self.replies.pop_front().expect("a request that waits");
        self.send(Outbound::Response { reply, result: Ok(result.into()) });
    }

    /// Lets time pass, waking the session whenever it asked for that.
    pub(crate) fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.alarm.filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.alarm = None;
            self.with(Session::wake);
        }
        self.now = end;
    }

    /// Everything written since the last time.
    pub(crate) fn written(&mut self) -> Vec<u8> {
        self.flush();
        std::mem::take(&mut self.writes).concat()
    }

    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(&self.written()).into_owned()
    }

    pub(crate) fn take(&mut self) -> Vec<Got> {
        std::mem::take(&mut self.got)
    }

    /// Only what was delivered, without counts.
    pub(crate) fn delivered(&mut self) -> Vec<Got> {
        let mut got = self.take();
        got.retain(|got| !matches!(got, Got::Count(_) | Got::Established));
        got
    }

    pub(crate) fn close_reason(&self) -> Option<&Close> {
        self.got.iter().find_map(|got| if let Got::Closed(reason) = got { Some(reason) } else { None })
    }
}

/// Carries bytes between two ends until both are silent.
pub(crate) fn talk(one: &mut End, other: &mut End) {
    loop {
        let (there, back) = (one.written(), other.written());
        if there.is_empty() && back.is_empty() {
            return;
        }
        other.feed(&there);
        one.feed(&back);
    }
}

pub(crate) fn json(text: &str) -> Body {
    Body::Json(JsonText::new(text.to_owned(), &JsonLimits::default()).unwrap())
}

pub(crate) fn event(route: &str, body: Body) -> Got {
    Got::Event(Event::new(Route::new(route).unwrap(), body))
}

impl End {
    /// Hands everything written to `other`, and shows it.
    pub(crate) fn text_then_feed(&mut self, other: &mut End) -> String {
        let bytes = self.written();
        other.feed(&bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
