//! The client's side of one connection: greeting, login or the session of another connection, one call in flight.
//!
//! A reply has no id in dialect A, so a call that is given up closes its socket: its late answer must not become another's.
//! Read in source: the PyPI and npm clients; observed: `client-edge.json`, `py-session-expired`, `py-session-lost`, `py-not-ready`.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod command;
mod proof;

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use polywire_core::json;
use polywire_core::{
    Action, Admit, Body, CallError, CallId, Close, Code, Count, Credentials, Cx, Delivery, Failure, Gate,
    Identity, JsonError, JsonText, Moment, Outbound, OutboundOf, Outcome, Refusal, Request, Retry, Session,
};

use super::pool::{Enter, Lead, Pool};
use super::{ServerCommand, flush};
use crate::codec::{Frame, HpxCodec};
use crate::config::{ClientConfig, Dialect, NonFinite};
use crate::translate::{self, BATCH};
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

    /// Finds a session: the pool's, or one that this connection logs in for.
    fn enter(&mut self, spent: Option<&Bytes>, cx: Context<'_, '_>) {
        match self.pool.enter(self.slot, spent) {
            Enter::Use(session) => {
                self.session = Some(session);
                if self.established { self.ready(cx) } else { self.prove(cx) }
            }
            Enter::Lead(lead) => {
                self.lead = Some(lead);
                self.log_in(cx);
            }
            Enter::Wait => self.phase = Phase::Waiting,
        }
    }

    /// The session in use is not accepted.
    fn enter_anew(&mut self, cx: Context<'_, '_>) {
        let spent = self.session.take();
        self.enter(spent.as_ref(), cx);
    }

    fn log_in(&mut self, cx: Context<'_, '_>) {
        self.phase = Phase::LoggingIn;
        let Credentials { subject, secret, .. } = self.credentials.clone();
        self.write(
            b"\"\"",
            |out| {
                let Some(subject) = subject else { return out.extend_from_slice(b"{}") };
                let password = secret.as_ref().map(|secret| String::from_utf8_lossy(secret.expose()));
                out.extend_from_slice(b"{\"user\":");
                json::write_string(out, &subject);
                out.extend_from_slice(b",\"password\":");
                json::write_string(out, &password.unwrap_or_default());
                out.extend_from_slice(b"}");
            },
            cx,
        );
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

    fn send_call(&mut self, cx: Context<'_, '_>) {
        let Some(call) = self.call.take() else { return };
        let session = command::session_for(&call.request, self.session.as_ref());
        self.write(&session, |out| translate::write_request(out, &call.request), cx);
        self.call = Some(call);
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
        if message.mended.is_some() {
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

    fn login_answered(&mut self, error: Option<Bytes>, data: &Data, message: &Message, cx: Context<'_, '_>) {
        if let Some(error) = error {
            let failure = translate::to_failure(&error, self.limits());
            return self.login_failed(failure, cx);
        }
        match data {
            Data::Authenticated => match message.session().filter(|session| !session.is_empty()) {
                Some(session) => {
                    let session = wire::quoted(&session);
                    if let Some(lead) = self.lead.take() {
                        lead.won(session.clone());
                    }
                    self.session = Some(session);
                    self.ready(cx);
                }
                None => cx.close(Close::Protocol("the login was accepted without a session".to_owned())),
            },
            Data::Wait => {
                self.phase = Phase::LoginPaused;
                cx.act(Action::WakeAt(Some(cx.now() + self.config.wait_backoff)));
            }
            // A second greeting, or talk of other things.
            Data::Results | Data::Broadcast | Data::Other => cx.count(Count::Unexpected),
        }
    }

    fn login_failed(&mut self, failure: Failure, cx: Context<'_, '_>) {
        let refused = matches!(failure.code, Code::Unauthenticated | Code::PermissionDenied);
        let reason = failure.message.clone().into_owned();
        let lead = self.lead.take();
        self.phase = Phase::Waiting;
        // What waited for the login provably did not run.
        self.done(Err(translate::not_logged_in(failure)), cx);
        if refused {
            let refusal = Refusal::new(reason);
            if let Some(lead) = lead {
                lead.refused(refusal.clone());
            }
            cx.close(Close::Refused(refusal));
        } else {
            cx.close(Close::Protocol(format!("the login failed: {reason}")));
        }
    }

    fn call_answered(&mut self, error: Option<Bytes>, data: &Data, message: &Message, cx: Context<'_, '_>) {
        if let Some(error) = error {
            let failure = translate::to_failure(&error, self.limits());
            if is_refused_session(translate::error_number(&error, self.limits())) {
                return self.renew(failure, cx);
            }
            return self.done(Err(CallError::Failure(failure)), cx);
        }
        if let Some(outcome) = self.answer_to_command(&message.data()) {
            return self.done(outcome, cx);
        }
        match data {
            Data::Results if self.command().is_none() => {
                let outcome = match &message.mended {
                    Some(error) if self.config.wire.non_finite == NonFinite::Refuse => Err(no_json(error)),
                    _ => self.outcome(&message.data()),
                };
                self.done(outcome, cx);
            }
            Data::Authenticated => self.taken_for_a_login(message, cx),
            Data::Wait => self.pause(cx),
            // A greeting, or talk of other things: the answer may still come.
            Data::Results | Data::Broadcast | Data::Other => cx.count(Count::Unexpected),
        }
    }

    /// The session was not accepted, so the call surely did not run: it is sent once more under another session.
    fn renew(&mut self, failure: Failure, cx: Context<'_, '_>) {
        match &mut self.call {
            Some(call) if !call.renewed => call.renewed = true,
            _ => return self.done(Err(translate::not_logged_in(failure)), cx),
        }
        self.enter_anew(cx);
    }

    /// The session that a guest was given in place of the one it showed; `None` for somebody with a name.
    fn given_to_a_guest(&self, message: &Message) -> Option<Bytes> {
        let fresh = message.session().filter(|session| !session.is_empty())?;
        self.credentials.subject.is_none().then(|| wire::quoted(&fresh))
    }

    /// The server took the call for a guest's login, because it did not know the session. A guest takes the new session over;
    /// somebody with a name would have become a guest and logs in again.
    fn taken_for_a_login(&mut self, message: &Message, cx: Context<'_, '_>) {
        let failure = Failure::new(Code::Unauthenticated, "the server does not know the session any more");
        match (self.given_to_a_guest(message), &mut self.call) {
            (Some(fresh), Some(call)) if !call.renewed => {
                call.renewed = true;
                self.session = Some(self.pool.adopt(self.session.as_ref(), fresh));
                self.send_call(cx);
            }
            _ => self.renew(failure, cx),
        }
    }

    /// The server is not ready: the call did not run and is sent again later, if there is time for it.
    fn pause(&mut self, cx: Context<'_, '_>) {
        let again = cx.now() + self.config.wait_backoff;
        if self.call.as_ref().is_some_and(|call| call.deadline > again) {
            self.phase = Phase::CallPaused;
            cx.act(Action::WakeAt(Some(again)));
        } else {
            let failure = Failure::new(Code::Unavailable, "the server is not ready").with_retry(Retry::Safe);
            self.done(Err(CallError::NotSent(failure)), cx);
        }
    }

    fn outcome(&self, data: &Bytes) -> Outcome {
        let Some(InFlight { request, .. }) = &self.call else {
            return Err(CallError::unknown(Code::Internal, "nobody waits for this answer"));
        };
        if request.meta.get(BATCH).is_some() {
            return Ok(Body::Json(JsonText::from_validated(data.clone())).into());
        }
        let in_order = self.config.wire.dialect == Dialect::B;
        let results = translate::results(data, 1, self.limits()).unwrap_or_default();
        let found = translate::match_results(&[&request.route], &results, self.limits(), in_order);
        match found.first().copied().flatten().and_then(|at| results.get(at)) {
            Some(result) => translate::outcome(result, self.limits()),
            None => Err(CallError::unknown(Code::Internal, "the reply has no entry for the call")),
        }
    }

    fn give_up(&mut self, call: CallId, cx: Context<'_, '_>) {
        if self.call.as_ref().is_none_or(|known| known.call != call) {
            return;
        }
        self.call = None;
        match self.phase {
            Phase::Ready => {
                cx.close(Close::GivenUp(
                    "a call was abandoned, and its late answer would be taken for another's".to_owned(),
                ));
            }
            Phase::CallPaused => {
                cx.act(Action::WakeAt(None));
                self.ready(cx);
            }
            // It is not on the wire now: the connection goes on with what it does.
            Phase::Greeting | Phase::LoggingIn | Phase::LoginPaused | Phase::Waiting => {}
            // No call was taken yet.
            Phase::Proving | Phase::ProofPaused => {}
        }
    }

    fn woken(&mut self, wake: Wake, cx: Context<'_, '_>) {
        if self.phase != Phase::Waiting {
            return;
        }
        match wake {
            Wake::Look => self.enter(None, cx),
            Wake::Refused(refusal) => {
                self.done(Err(translate::not_logged_in(refusal.clone().into())), cx);
                cx.close(Close::Refused(refusal));
            }
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
            Outbound::Response { .. } | Outbound::Abandon(_) | Outbound::Command(_) => Admit::Now,
        }
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        match outbound {
            Outbound::Request { call, deadline, request } => {
                self.call = Some(InFlight { call, deadline, request, renewed: false });
                self.send_call(cx);
            }
            Outbound::Abandon(call) => self.give_up(call, cx),
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
