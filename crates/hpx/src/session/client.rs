//! The client's side of one connection: greeting, login or the session of another connection, one call in flight.
//!
//! A reply has no id in dialect A, so a call that is given up closes its socket: its late answer must not become another's.
//! Read in source: the PyPI and npm clients; observed: `client-edge.json`, `py-session-expired`, `py-session-lost`, `py-not-ready`.

mod call;
mod command;
mod login;
mod proof;

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use polywire_core::{
    Action, Admit, Body, CallError, CallId, Close, Code, Count, Credentials, Cx, Delivery, Failure, Gate,
    Identity, JsonError, Moment, Outbound, OutboundOf, Outcome, Request, Session,
};

use super::pool::{Lead, Pool};
use super::{ServerCommand, flush};
use crate::codec::{Frame, HpxCodec};
use crate::config::{ClientConfig, Dialect, NonFinite};
use crate::translate;
use crate::wire::{self, AUTHENTICATED, Message};

pub use super::pool::Wake;

/// Opens when a call may leave: logged in, and no other call in flight.
const READY: Gate = Gate(0);

/// The client's side of one connection.
pub struct ClientSession {
    config: Arc<ClientConfig>,
    pool: Arc<Pool>,
    slot: usize,
    credentials: Credentials,
    /// Our name as JSON text.
    name: Bytes,
    phase: Phase,
    /// The session in use, as JSON text.
    session: Option<Bytes>,
    /// This connection logs in for all.
    lead: Option<Lead>,
    call: Option<InFlight>,
    established: bool,
    /// The server said that it will go.
    draining: bool,
    empty_in_a_row: u32,
    /// The number of the last message, for its `__id__`.
    messages: u64,
}

impl fmt::Debug for ClientSession {
    /// The session is a bearer secret and the call is the application's: neither is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSession")
            .field("slot", &self.slot)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing came yet.
    Greeting,
    /// The login was sent.
    LoggingIn,
    /// The server was not ready for the login; it is sent again later.
    LoginPaused,
    /// Another connection logs in.
    Waiting,
    /// The session of another connection was shown with an empty list.
    Proving,
    /// The server was not ready for the empty list; it is sent again later.
    ProofPaused,
    /// A call may be sent, or was.
    Ready,
    /// The server was not ready for the call; it is sent again later.
    CallPaused,
}

/// The call in flight. It is kept whole, because it may have to be sent again under another session.
struct InFlight {
    call: CallId,
    deadline: Moment,
    request: Request,
    /// It was answered once by a refusal of its session.
    renewed: bool,
}

/// What the data of a reply is.
enum Data {
    Results,
    Authenticated,
    Wait,
    Broadcast,
    Other,
}

/// Does an error with this number say that the session is not accepted?
fn is_refused_session(number: i64) -> bool {
    matches!(number, 407 | 408 | 411 | 412)
}

/// An answer holds numbers that JSON does not know.
fn no_json(error: &JsonError) -> CallError {
    let text =
        format!("the answer holds NaN or Infinity ({error}); lenient_python = true reads them as null");
    CallError::Failure(Failure::new(Code::InvalidArgument, text))
}

type Context<'a, 'b> = &'a mut Cx<'b, ClientSession>;

impl ClientSession {
    /// The session of a new connection in `slot` of `pool`.
    pub fn new(config: Arc<ClientConfig>, pool: Arc<Pool>, slot: usize, credentials: Credentials) -> Self {
        let name = wire::quoted(&config.wire.name);
        Self {
            config,
            pool,
            slot,
            credentials,
            name,
            phase: Phase::Greeting,
            session: None,
            lead: None,
            call: None,
            established: false,
            draining: false,
            empty_in_a_row: 0,
            messages: 0,
        }
    }

    fn limits(&self) -> &polywire_core::JsonLimits {
        &self.config.wire.limits.json
    }

    /// Sends one message under `session`, with what `data` appends.
    fn write(&mut self, session: &[u8], data: impl FnOnce(&mut BytesMut), cx: Context<'_, '_>) {
        let mut out = BytesMut::with_capacity(256);
        wire::open(&mut out, session, &self.name);
        data(&mut out);
        self.messages = self.messages.wrapping_add(1);
        let id = (self.config.wire.dialect == Dialect::B).then(|| self.id());
        wire::close(&mut out, id.as_deref());
        cx.act(Action::Write(Frame::Text(out.freeze()), flush(self.config.wire.dialect)));
    }

    /// The `__id__` of the last message.
    fn id(&self) -> Vec<u8> {
        format!("\"{}_msg_{}\"", self.slot, self.messages).into_bytes()
    }

    /// There is a session: the call in flight is sent again, or the next one may come.
    fn ready(&mut self, cx: Context<'_, '_>) {
        self.phase = Phase::Ready;
        if !self.established {
            self.established = true;
            let identity = self.credentials.subject.clone().map_or_else(Identity::guest, Identity::user);
            cx.act(Action::Established(Some(identity)));
        }
        if self.call.is_some() {
            self.send_call(cx);
        } else {
            cx.act(Action::Open(READY));
        }
    }

    /// The call in flight has ended.
    fn done(&mut self, outcome: Outcome, cx: Context<'_, '_>) {
        if let Some(InFlight { call, .. }) = self.call.take() {
            cx.deliver(Delivery::Response { call, outcome });
        }
        if self.draining {
            cx.close(Close::Peer);
        } else if self.phase == Phase::Ready {
            cx.act(Action::Open(READY));
        }
    }

    /// Something came that cannot be read. It may have been the answer, so nothing can be told from what follows.
    fn unreadable(&mut self, why: &str, cx: Context<'_, '_>) {
        cx.count(Count::Undecodable);
        if self.call.is_some() {
            let text = format!("the answer cannot be read: {why}");
            self.done(Err(CallError::unknown(Code::Internal, text)), cx);
        } else if self.phase == Phase::Ready {
            return;
        }
        cx.close(Close::Protocol(why.to_owned()));
    }

    fn empty(&mut self, cx: Context<'_, '_>) {
        cx.count(Count::Undecodable);
        self.empty_in_a_row = self.empty_in_a_row.saturating_add(1);
        let max = self.config.wire.max_empty_frames;
        if self.empty_in_a_row >= max {
            let text =
                format!("{} empty frames in a row reach max_empty_frames = {max}", self.empty_in_a_row);
            cx.close(Close::Limit(text));
        }
    }

    fn message(&mut self, message: &Message, cx: Context<'_, '_>) {
        let reads_non_finite = self.config.wire.non_finite == NonFinite::Null;
        if message.repeats_key || (message.mended.is_some() && reads_non_finite) {
            cx.count(Count::Mended);
        }
        let data = message.data();
        let error = message.error();
        if self.phase == Phase::Greeting {
            return match error {
                Some(error) => {
                    let failure = translate::to_failure(&error, self.limits());
                    cx.close(Close::Protocol(format!("the greeting is an error: {}", failure.message)));
                }
                None => self.enter(None, cx),
            };
        }
        let expected = match self.phase {
            Phase::LoggingIn | Phase::Proving => true,
            Phase::Ready => self.call.is_some(),
            _ => false,
        };
        let data_is = self.classify(&data);
        if error.is_none() && matches!(data_is, Data::Broadcast) {
            self.draining = true;
            return match self.call {
                None => cx.close(Close::Peer),
                Some(_) if self.has_ended_it() => self.done(Ok(Body::Empty.into()), cx),
                Some(_) => {}
            };
        }
        let foreign = message.id().is_some_and(|id| id != self.id());
        if !expected || (self.config.wire.dialect == Dialect::B && foreign) {
            return cx.count(Count::OrphanReply);
        }
        match self.phase {
            Phase::LoggingIn => self.login_answered(error, &data_is, message, cx),
            Phase::Proving => self.proof_answered(error, &data_is, message, cx),
            _ => self.call_answered(error, &data_is, message, cx),
        }
    }

    fn classify(&self, data: &Bytes) -> Data {
        match data.first() {
            Some(b'[') => Data::Results,
            Some(b'{') => match wire::member(data, "msg", self.limits()) {
                Some(text) if &text[..] == b"\"wait\"" => Data::Wait,
                _ => Data::Other,
            },
            _ if &data[..] == AUTHENTICATED => Data::Authenticated,
            _ if ServerCommand::read(data).is_some() => Data::Broadcast,
            _ => Data::Other,
        }
    }
}

impl Session for ClientSession {
    type Codec = HpxCodec;
    type Reply = ();
    type Command = Wake;

    fn open(&mut self, _cx: &mut Cx<'_, Self>) {}

    fn receive(&mut self, frame: Frame, cx: &mut Cx<'_, Self>) {
        let text = match frame {
            Frame::Text(text) => text,
            Frame::Bad(fault) => return self.unreadable(&fault.to_string(), cx),
        };
        if text.is_empty() {
            return self.empty(cx);
        }
        self.empty_in_a_row = 0;
        let wire = &self.config.wire;
        match Message::read(&text, &wire.limits.json) {
            Ok(message) => self.message(&message, cx),
            Err(error) => self.unreadable(&error.to_string(), cx),
        }
    }

    fn admit(&self, outbound: &OutboundOf<Self>) -> Admit {
        match outbound {
            Outbound::Request { .. }
                if self.phase != Phase::Ready || self.call.is_some() || self.draining =>
            {
                Admit::Hold(READY)
            }
            Outbound::Request { request, .. } => match translate::refusal(request, self.limits()) {
                Some(failure) => Admit::Refuse(failure),
                None => Admit::Now,
            },
            Outbound::Event(_) => Admit::Refuse(Failure::new(Code::Unimplemented, "HPX carries no events")),
            Outbound::Response { .. } | Outbound::Cancel(_) | Outbound::Command(_) => Admit::Now,
        }
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        match outbound {
            Outbound::Request { call, deadline, request } => {
                self.call = Some(InFlight { call, deadline, request, renewed: false });
                self.send_call(cx);
            }
            Outbound::Cancel(call) => self.give_up(call, cx),
            Outbound::Command(wake) => self.woken(wake, cx),
            Outbound::Event(_) | Outbound::Response { .. } => {}
        }
    }

    fn wake(&mut self, cx: &mut Cx<'_, Self>) {
        match self.phase {
            Phase::LoginPaused => self.log_in(cx),
            Phase::CallPaused => self.ready(cx),
            // There may be another one by now.
            Phase::ProofPaused => self.enter(None, cx),
            Phase::Greeting | Phase::LoggingIn | Phase::Waiting | Phase::Proving | Phase::Ready => {}
        }
    }
}
