//! The side that dials: logs in, asks by name, hears pushes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use polywire_core::{
    Action, Admit, Body, CallError, CallId, Close, Code, Count, Credentials, Cx, Delivery, Event, Failure,
    Gate, JsonLimits, Moment, Outbound, OutboundOf, Refusal, Response, Route, Session,
};

use super::server::is_reserved;
use super::{Frames, LOGIN, incoming, on_closed, outgoing, session_mode};
use crate::codec::{Codec, Frame, Text};
use crate::config::Config;
use crate::guard::Nonces;
use crate::seal::Key;
use crate::wire::{AUTH, HEARTBEAT, Message, Read, literal, read};

/// What every object has in the language of the original, whose server closes the connection over such a name: it takes what it
/// finds for a handler. Observed: `malformed-server`.
const INHERITED: [&str; 12] = [
    "__defineGetter__",
    "__defineSetter__",
    "__lookupGetter__",
    "__lookupSetter__",
    "__proto__",
    "constructor",
    "hasOwnProperty",
    "isPrototypeOf",
    "propertyIsEnumerable",
    "toLocaleString",
    "toString",
    "valueOf",
];

/// Who waits for an answer of some name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    By(CallId),
    /// Nobody any more; it is waited for until then.
    Owed(Moment),
    /// It was waited for until then. Should it come after all, it must not be taken for the answer of another call.
    Missing(Moment),
}

/// What waits for the next connection.
const NEXT: Gate = Gate(2);

/// Names of which an answer is missing, from which on the connection is to be replaced.
const MAX_MISSING: usize = 1_024;

/// The heart's next move.
#[derive(Clone, Copy, Debug)]
enum Pulse {
    /// Not logged in.
    Still,
    BeatAt(Moment),
    AnswerDue(Moment),
}

/// One connection of a client.
pub struct ClientSession {
    config: Arc<Config>,
    json: JsonLimits,
    nonces: Arc<Nonces>,
    credentials: Credentials,
    established: bool,
    frames: Frames,
    awaited: BTreeMap<Route, VecDeque<Awaited>>,
    pulse: Pulse,
    /// Why this connection is to be replaced: the answer of a name is missing, or the key is worn out. Calls wait for the next
    /// one; those in flight may end first.
    leaving: Option<String>,
}

impl ClientSession {
    /// A connection that was just made, which logs in with `credentials`; `nonces` are shared by all of one client.
    pub fn new(config: Arc<Config>, json: JsonLimits, nonces: Arc<Nonces>, credentials: Credentials) -> Self {
        let frames = Frames::new(config.encryption);
        Self {
            config,
            json,
            nonces,
            credentials,
            established: false,
            frames,
            awaited: BTreeMap::new(),
            pulse: Pulse::Still,
            leaving: None,
        }
    }

    fn write(&mut self, text: Text, cx: &mut Cx<'_, Self>) {
        self.frames.wrote(text.nonce);
        cx.write(Frame::Write(text));
    }

    fn write_message(&mut self, name: &Route, body: &Body, cx: &mut Cx<'_, Self>) {
        let value = match body {
            Body::Json(text) => Some(text.as_bytes()),
            Body::Empty | Body::Binary(_) => None,
        };
        let text = self.frames.writer(cx.random()).message(name, "data", value);
        self.write(text, cx);
    }

    fn set_alarm(&self, cx: &mut Cx<'_, Self>) {
        let pulse = match self.pulse {
            Pulse::Still => None,
            Pulse::BeatAt(at) | Pulse::AnswerDue(at) => Some(at),
        };
        let owed = self.awaited.values().flatten().filter_map(|awaited| match awaited {
            Awaited::Owed(until) => Some(*until),
            Awaited::By(_) | Awaited::Missing(_) => None,
        });
        cx.act(Action::WakeAt(owed.chain(pulse).min()));
    }

    fn told(&mut self, message: Message, cx: &mut Cx<'_, Self>) {
        if message.repeats_key {
            cx.count(Count::Mended);
        }
        let Some(name) = &message.request else { return cx.count(Count::UnknownKind) };
        match (name, self.pulse) {
            (name, _) if *name == AUTH && !self.established => self.judged(&message, cx),
            (name, Pulse::AnswerDue(_)) if *name == HEARTBEAT => {
                self.pulse = Pulse::BeatAt(cx.now() + self.config.heartbeat);
                self.set_alarm(cx);
            }
            (name, _) if *name == AUTH => self.rekeyed(&message, cx),
            (name, _) if is_reserved(name) => cx.count(Count::Unexpected),
            _ if !self.established && self.config.encryption => {
                // Under the shared key anybody who has it could have said it.
                cx.count(Count::BeforeLogin);
            }
            _ => self.heard(message, cx),
        }
    }

    /// Another answer to the login, under the key that it replaces: clients of every revision follow it. Observed:
    /// `rekey-under-session-key`.
    fn rekeyed(&mut self, message: &Message, cx: &mut Cx<'_, Self>) {
        let (Some(Ok(key)), true) = (&message.session_key, self.config.encryption) else {
            return cx.count(Count::Unexpected);
        };
        cx.count(Count::Control);
        self.switch(session_mode(true, key), cx);
    }

    /// From here on both directions go under this key.
    fn switch(&mut self, key: Key, cx: &mut Cx<'_, Self>) {
        cx.act(Action::WriteMode(key.clone()));
        cx.act(Action::ReadMode(key));
        self.frames.new_key();
    }

    /// An answer, if somebody waits for one of that name, or a push.
    fn heard(&mut self, message: Message, cx: &mut Cx<'_, Self>) {
        let Some(name) = message.request else { return };
        // What has `data` and no `response` can only be a push, whoever waits for an answer of this name.
        let is_push = message.response == Body::Empty && message.data != Body::Empty;
        let body = if is_push { message.data } else { message.response };
        let awaited = if is_push { None } else { self.next_awaited(&name) };
        match awaited {
            Some(Awaited::By(call)) => {
                cx.deliver(Delivery::Response { call, outcome: self.outcome(body) });
                cx.act(Action::Open(gate(&name)));
                self.leave_if_idle(cx);
            }
            Some(Awaited::Owed(_) | Awaited::Missing(_)) => {
                cx.count(Count::OrphanReply);
                cx.act(Action::Open(gate(&name)));
                let worn_out = self.frames.worn_out(&self.config).is_some();
                if self.leaving.is_some() && !worn_out && !self.awaited.values().any(has_missing) {
                    // It came after all, so every name means one call again.
                    self.leaving = None;
                    cx.act(Action::Open(NEXT));
                }
                self.set_alarm(cx);
            }
            None => cx.deliver(Delivery::Event(Event::new(incoming(name, &self.config), body))),
        }
    }

    /// Closes a connection that is to be replaced, once nothing is in flight.
    fn leave_if_idle(&self, cx: &mut Cx<'_, Self>) {
        let Some(why) = &self.leaving else { return };
        if !self.awaited.values().flatten().any(|awaited| matches!(awaited, Awaited::By(_))) {
            cx.close(Close::GivenUp(why.clone()));
        }
    }

    /// Has the connection replaced before its key is worn out.
    fn spare_the_key(&mut self, cx: &mut Cx<'_, Self>) {
        if self.leaving.is_none()
            && let Some(why) = self.frames.worn_out(&self.config)
        {
            self.leaving = Some(why);
            cx.count(Count::KeysWornOut);
            self.leave_if_idle(cx);
        }
    }

    /// Keeps within [`MAX_MISSING`].
    fn bound_missing(&mut self) {
        let missing = self.awaited.values().filter(|waiting| has_missing(waiting)).count();
        if missing >= MAX_MISSING {
            self.leaving.get_or_insert_with(|| format!("the answers of {missing} names are missing"));
        }
    }

    fn next_awaited(&mut self, name: &Route) -> Option<Awaited> {
        let waiting = self.awaited.get_mut(name)?;
        let first = waiting.pop_front();
        if waiting.is_empty() {
            self.awaited.remove(name);
        }
        first
    }

    fn outcome(&self, body: Body) -> Result<Response, CallError> {
        match &body {
            Body::Json(text) if self.config.errors_in_reply => match Failure::from_json(text) {
                Some(failure) => Err(CallError::Failure(failure)),
                None => Ok(Response::from(body)),
            },
            _ => Ok(Response::from(body)),
        }
    }

    /// The answer to our login. By convention anything but `"success"` is a refusal.
    fn judged(&mut self, message: &Message, cx: &mut Cx<'_, Self>) {
        if message.response != literal("\"success\"") {
            return cx.close(Close::Refused(Refusal::new("the server did not answer \"success\"")));
        }
        let mode = match (&message.session_key, self.config.encryption) {
            (Some(Ok(key)), true) => session_mode(true, key),
            (None, false) => session_mode(false, &[0; 32]),
            (Some(Err(())), true) => {
                return cx.close(Close::Protocol("the session key is not the base64 of 32 bytes".into()));
            }
            (None, true) => {
                return cx.close(Close::Protocol("the answer to the login has no session key".into()));
            }
            (Some(_), false) => {
                let why = "the server sends a session key though encryption = off here";
                return cx.close(Close::Protocol(why.into()));
            }
        };
        self.switch(mode, cx);
        self.established = true;
        cx.act(Action::Established(None));
        cx.act(Action::Open(LOGIN));
        self.pulse = Pulse::BeatAt(cx.now() + self.config.heartbeat);
        self.set_alarm(cx);
    }
}

impl Session for ClientSession {
    type Codec = Codec;
    type Reply = ();
    type Command = ();

    fn open(&mut self, cx: &mut Cx<'_, Self>) {
        let credentials = std::mem::take(&mut self.credentials);
        let secret = credentials.secret.as_ref().unwrap_or(&self.config.key);
        let Ok(auth_key) = std::str::from_utf8(secret.expose()) else {
            return cx.close(Close::Refused(Refusal::new("the key is not UTF-8 text")));
        };
        let text = self.frames.writer(cx.random()).login(auth_key, &credentials.data);
        self.write(text, cx);
    }

    fn receive(&mut self, frame: Frame, cx: &mut Cx<'_, Self>) {
        let (nonce, text) = match frame {
            Frame::Read { nonce, text } => (nonce, text),
            Frame::Shut(_) => return cx.count(Count::Undecodable),
            Frame::Closed(close) if !self.established => {
                // How the originals refuse; one that is shut down drops the connection without a close frame.
                let with =
                    close.map(|(code, reason)| format!(" ({code} {:?})", &*reason)).unwrap_or_default();
                let why = format!(
                    "the server closed the connection{with} instead of answering: the key or encryption differs"
                );
                return cx.close(Close::Refused(Refusal::new(why)));
            }
            Frame::Pong => return cx.count(Count::Control),
            Frame::Closed(close) => return on_closed(close, cx),
            Frame::Ping | Frame::Write(_) | Frame::Close(..) => return,
        };
        let replayed = match nonce {
            // A recorded answer to a login brings a recorded session key.
            Some(nonce) if !self.established => !self.nonces.is_new(nonce, cx.now()),
            _ => false,
        };
        if !self.frames.is_new(nonce) || replayed {
            // A frame of ours come back, or one of the server's come twice.
            return cx.count(Count::Undecodable);
        }
        match read(&text, cx.pins(), &self.json) {
            Read::Message(message) => self.told(message, cx),
            Read::Other => cx.count(Count::UnknownKind),
            Read::Limit => cx.count(Count::BadBody),
            Read::Nothing => cx.count(Count::Undecodable),
        }
        self.spare_the_key(cx);
    }

    fn admit(&self, outbound: &OutboundOf<Self>) -> Admit {
        let refuse = |why| Admit::Refuse(Failure::new(Code::Unimplemented, why));
        let (route, body, awaits) = match outbound {
            Outbound::Request { request, .. } => (&request.route, &request.body, true),
            Outbound::Event(event) => (&event.route, &event.body, false),
            _ => return Admit::Now,
        };
        if matches!(body, Body::Binary(_)) {
            return refuse("this wire carries no bytes");
        }
        if is_reserved(route) {
            return refuse("auth and heartBeat belong to the wire itself");
        }
        let name = outgoing(route, &self.config);
        if INHERITED.contains(&&*name) {
            let why = format!("{name} is a name that every object has: an original server closes over it");
            return Admit::Refuse(Failure::new(Code::InvalidArgument, why));
        }
        if !self.established {
            return Admit::Hold(LOGIN);
        }
        if self.leaving.is_some() && awaits {
            return Admit::Hold(NEXT);
        }
        if self.awaited.is_empty() {
            return Admit::Now;
        }
        let Some(waiting) = self.awaited.get(&name) else { return Admit::Now };
        if has_missing(waiting) {
            // The missing answer would be taken for this call's; an event waits for none.
            return if awaits { Admit::Hold(NEXT) } else { Admit::Now };
        }
        // What is owed may come at any time, and then as whose?
        let owed = waiting.iter().any(|awaited| matches!(awaited, Awaited::Owed(_)));
        if owed || !self.config.concurrent_names { Admit::Hold(gate(&name)) } else { Admit::Now }
    }

    fn held(&mut self, gate: Gate, cx: &mut Cx<'_, Self>) {
        if gate != NEXT {
            return;
        }
        if self.leaving.is_none()
            && let Some((name, _)) = self.awaited.iter().find(|(_, waiting)| has_missing(waiting))
        {
            self.leaving =
                Some(format!("the answer of a call of {name:?} is missing, and a later one waits"));
        }
        self.leave_if_idle(cx);
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        match outbound {
            Outbound::Request { call, request, .. } => {
                let name = outgoing(&request.route, &self.config);
                self.write_message(&name, &request.body, cx);
                self.awaited.entry(name).or_default().push_back(Awaited::By(call));
            }
            Outbound::Event(event) => {
                let name = outgoing(&event.route, &self.config);
                self.write_message(&name, &event.body, cx);
            }
            Outbound::Cancel(call) => {
                let until = cx.now() + self.config.owed_for;
                for awaited in self.awaited.values_mut().flatten().filter(|by| **by == Awaited::By(call)) {
                    *awaited = Awaited::Owed(until);
                }
                self.set_alarm(cx);
                self.leave_if_idle(cx);
            }
            Outbound::Response { .. } | Outbound::Command(()) => {}
        }
        self.spare_the_key(cx);
    }

    fn wake(&mut self, cx: &mut Cx<'_, Self>) {
        let now = cx.now();
        match self.pulse {
            Pulse::BeatAt(at) if at <= now => {
                self.write_message(&HEARTBEAT, &Body::Empty, cx);
                self.pulse = Pulse::AnswerDue(now + self.config.heartbeat_timeout);
            }
            Pulse::AnswerDue(at) if at <= now && !cx.is_reading() => {
                // It waits unread.
                self.pulse = Pulse::AnswerDue(now + self.config.heartbeat_timeout);
            }
            Pulse::AnswerDue(at) if at <= now => {
                let timeout = self.config.heartbeat_timeout;
                return cx.close(Close::Dead(format!("heartbeat_timeout = {timeout:?}")));
            }
            _ => {}
        }
        for (name, waiting) in &mut self.awaited {
            for awaited in waiting {
                if let Awaited::Owed(until) = *awaited
                    && until <= now
                {
                    *awaited = Awaited::Missing(until);
                    cx.act(Action::Open(gate(name)));
                }
            }
        }
        self.bound_missing();
        self.set_alarm(cx);
        self.leave_if_idle(cx);
    }
}

/// Is an answer of this name missing?
fn has_missing(waiting: &VecDeque<Awaited>) -> bool {
    waiting.iter().any(|awaited| matches!(awaited, Awaited::Missing(_)))
}

impl std::fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientSession").field("established", &self.established).finish_non_exhaustive()
    }
}

/// One gate for each name; two names that share one by chance only wait for each other.
fn gate(name: &Route) -> Gate {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Gate(hash | 1)
}
