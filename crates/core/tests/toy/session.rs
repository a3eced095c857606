//! What the toy wire knows about one connection.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use polywire_core::{
    Action, Admit, Body, CallError, CallId, Close, Code, Count, Credentials, Cx, Delivery, Due, Event,
    Failure, Flush, Gate, Identity, JsonLimits, JsonText, Outbound, OutboundOf, Part, Refusal, Request,
    Response, Route, Session, json,
};

use super::codec::{Framing, ToyCodec};

/// Who logs in where.
#[derive(Clone, Debug)]
pub(crate) enum Login {
    /// Nobody.
    None,
    /// The peer must.
    Ask,
    /// We do, with these credentials.
    Offer(Credentials),
}

/// Which calls of ours may be in flight together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Free,
    OneAtATime,
    OnePerName,
}

/// Inputs only this wire knows.
#[derive(Debug)]
pub(crate) enum Command {
    /// Count lines from here on.
    Switch,
    /// Say this in a write of its own.
    Alone(&'static str),
}

#[derive(Debug)]
pub(crate) struct ToySession {
    pub(crate) login: Login,
    pub(crate) order: Order,
    /// Send a heartbeat this often.
    pub(crate) beat: Option<Duration>,
    /// Keep the id of a call that is over, as a careless session would.
    pub(crate) careless: bool,
    established: bool,
    next_id: u64,
    calls: HashMap<u64, (CallId, Option<Gate>)>,
}

const LOGIN: Gate = Gate(0);
const TURN: Gate = Gate(1);

impl ToySession {
    pub(crate) fn new(login: Login) -> Self {
        Self {
            login,
            order: Order::Free,
            beat: None,
            careless: false,
            established: false,
            next_id: 1,
            calls: HashMap::new(),
        }
    }

    fn gate(&self, route: &Route) -> Option<Gate> {
        match self.order {
            Order::Free => None,
            Order::OneAtATime => Some(TURN),
            Order::OnePerName => {
                let mut hasher = DefaultHasher::new();
                route.hash(&mut hasher);
                Some(Gate(hasher.finish() | 2))
            }
        }
    }

    fn established(&mut self, identity: Option<Identity>, cx: &mut Cx<'_, Self>) {
        self.established = true;
        cx.act(Action::Established(identity));
        cx.act(Action::Open(LOGIN));
        self.next_beat(cx);
    }

    fn next_beat(&self, cx: &mut Cx<'_, Self>) {
        if let Some(beat) = self.beat {
            cx.act(Action::WakeAt(Some(cx.now() + beat)));
        }
    }

    /// The call with this wire id is over.
    fn forget(&mut self, id: u64, cx: &mut Cx<'_, Self>) -> Option<CallId> {
        let (call, gate) = self.calls.remove(&id)?;
        if let Some(gate) = gate {
            cx.act(Action::Open(gate));
        }
        Some(call)
    }

    fn message(&mut self, line: &Bytes, cx: &mut Cx<'_, Self>) {
        let (kind, rest) = split(line);
        let login = matches!(&kind[..], b"login" | b"welcome" | b"refused");
        if !self.established && !login {
            return cx.count(Count::BeforeLogin);
        }
        match &kind[..] {
            b"?" => self.request(&rest, cx),
            b"!" | b"x" => self.answer(kind == "x", &rest, cx),
            b"~" => {
                let (id, body) = split(&rest);
                let known = number(&id).and_then(|id| self.calls.get(&id));
                let call = known.map(|(call, _)| *call);
                match body_of(&body, cx.pins()) {
                    Some(body) if call.is_some() || id == "*" => {
                        cx.deliver(Delivery::Progress { call, body });
                    }
                    Some(_) => cx.count(Count::OrphanReply),
                    None => cx.count(Count::BadBody),
                }
            }
            b"-" => match number(&rest) {
                Some(reply) => cx.deliver(Delivery::Cancel(reply)),
                None => cx.count(Count::Undecodable),
            },
            b"." => {
                let (name, body) = split(&rest);
                match (Route::from_bytes(name), body_of(&body, cx.pins())) {
                    (Ok(route), Some(body)) => cx.deliver(Delivery::Event(Event::new(route, body))),
                    (Err(_), _) => cx.count(Count::BadRoute),
                    (_, None) => cx.count(Count::BadBody),
                }
            }
            b"all" => {
                for part in rest.split(|byte| *byte == b';') {
                    self.message(&rest.slice_ref(part.trim_ascii()), cx);
                }
            }
            // Nothing else is heard until this is answered.
            b"only" => {
                cx.act(Action::Reading(false));
                self.message(&rest, cx);
            }
            b"mode" => match &rest[..] {
                b"counted" => cx.act(Action::ReadMode(Framing::Counted)),
                b"lines" => cx.act(Action::ReadMode(Framing::Lines)),
                _ => cx.close(Close::Protocol("no such mode".into())),
            },
            b"login" => self.asked(&rest, cx),
            b"welcome" if !self.established && matches!(self.login, Login::Offer(_)) => {
                self.established(text(&rest).map(Identity::user), cx);
            }
            b"refused" if !self.established => {
                cx.close(Close::Refused(Refusal::new(text(&rest).unwrap_or_default())));
            }
            b"beat" => cx.count(Count::Control),
            b"bye" => cx.close(Close::Peer),
            b"dismissed" => cx.close(Close::Dismissed(text(&rest).unwrap_or_default())),
            b"welcome" | b"refused" => cx.count(Count::Unexpected),
            _ => cx.count(if std::str::from_utf8(line).is_ok() {
                Count::UnknownKind
            } else {
                Count::Undecodable
            }),
        }
    }

    fn asked(&mut self, rest: &Bytes, cx: &mut Cx<'_, Self>) {
        let (name, secret) = split(rest);
        match (text(&name), &self.login) {
            (Some(name), Login::Ask) if !self.established => {
                cx.act(Action::Authenticate(Credentials::new(
                    name,
                    polywire_core::Secret::new(secret.to_vec()),
                )));
            }
            _ => cx.count(Count::Unexpected),
        }
    }

    fn request(&mut self, rest: &Bytes, cx: &mut Cx<'_, Self>) {
        let (id, rest) = split(rest);
        let (id, timeout) = match id.iter().position(|byte| *byte == b'@') {
            Some(at) => (id.slice(..at), number(&id.slice(at + 1..))),
            None => (id, None),
        };
        let Some(reply) = number(&id) else { return cx.count(Count::Undecodable) };
        let (name, body) = split(&rest);
        let refuse = |cx: &mut Cx<'_, Self>, count, why: &str| {
            cx.count(count);
            cx.write(Bytes::from(format!("x {reply} {} {why}", Code::InvalidArgument)));
        };
        match (Route::from_bytes(name), body_of(&body, cx.pins())) {
            (Ok(route), Some(body)) => {
                let mut request = Request::new(route, body);
                if let Some(timeout) = timeout {
                    request.due = Due::In(Duration::from_millis(timeout));
                }
                cx.deliver(Delivery::Request { request, reply, identity: None });
            }
            (Err(error), _) => refuse(cx, Count::BadRoute, &error.to_string()),
            (_, None) => refuse(cx, Count::BadBody, "the body is not JSON"),
        }
    }

    fn answer(&mut self, failed: bool, rest: &Bytes, cx: &mut Cx<'_, Self>) {
        let (id, rest) = split(rest);
        let Some(id) = number(&id) else { return cx.count(Count::Undecodable) };
        let outcome = if failed {
            let (code, words) = split(&rest);
            let code = text(&code).and_then(|name| Code::from_name(&name)).unwrap_or(Code::Unknown);
            Some(Err(CallError::Failure(Failure::new(code, text(&words).unwrap_or_default()))))
        } else {
            body_of(&rest, cx.pins()).map(|body| Ok(Response::from(body)))
        };
        let call =
            if self.careless { self.calls.get(&id).map(|(call, _)| *call) } else { self.forget(id, cx) };
        let Some(call) = call else { return cx.count(Count::OrphanReply) };
        let unreadable = || Err(CallError::unknown(Code::Internal, "the answer is not JSON"));
        cx.deliver(Delivery::Response { call, outcome: outcome.unwrap_or_else(unreadable) });
    }
}

impl Session for ToySession {
    type Codec = ToyCodec;
    type Reply = u64;
    type Command = Command;

    fn open(&mut self, cx: &mut Cx<'_, Self>) {
        match &self.login {
            Login::None => self.established(None, cx),
            Login::Ask => {}
            Login::Offer(Credentials { subject, secret, .. }) => {
                let subject = subject.as_deref().unwrap_or("-");
                let secret = secret.as_ref().map(|secret| secret.expose()).unwrap_or_default();
                cx.write([b"login ", subject.as_bytes(), b" ", secret].concat().into());
            }
        }
    }

    fn receive(&mut self, line: Bytes, cx: &mut Cx<'_, Self>) {
        self.message(&line, cx);
    }

    fn authenticated(&mut self, verdict: Result<Identity, Refusal>, cx: &mut Cx<'_, Self>) {
        match verdict {
            Ok(identity) => {
                cx.write(Bytes::from(format!("welcome {}", identity.subject)));
                self.established(Some(identity), cx);
            }
            Err(refusal) => {
                cx.write(Bytes::from(format!("refused {}", refusal.reason)));
                cx.close(Close::Refused(refusal));
            }
        }
    }

    fn admit(&self, outbound: &OutboundOf<Self>) -> Admit {
        let body = match outbound {
            Outbound::Request { request, .. } => &request.body,
            Outbound::Event(event) => &event.body,
            _ => return Admit::Now,
        };
        if matches!(body, Body::Binary(_)) {
            return Admit::Refuse(Failure::new(Code::Unimplemented, "this wire carries no bytes"));
        }
        if !self.established {
            return Admit::Hold(LOGIN);
        }
        if let Outbound::Request { request, .. } = outbound
            && let Some(gate) = self.gate(&request.route)
            && self.calls.values().any(|(_, busy)| *busy == Some(gate))
        {
            return Admit::Hold(gate);
        }
        Admit::Now
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        match outbound {
            Outbound::Request { call, request, .. } => {
                let id = self.next_id;
                self.next_id += 1;
                self.calls.insert(id, (call, self.gate(&request.route)));
                cx.write(line(&format!("? {id} {}", request.route.as_str()), &request.body));
            }
            Outbound::Event(event) => cx.write(line(&format!(". {}", event.route.as_str()), &event.body)),
            Outbound::Response { reply, result: Ok(Response { body: Body::Binary(_), .. }) } => {
                cx.write(Bytes::from(format!(
                    "x {reply} {} this wire carries no bytes",
                    Code::Unimplemented
                )));
            }
            Outbound::Response { reply, result: Ok(response) } => {
                cx.write(line(&format!("! {reply}"), &response.body));
                cx.act(Action::Reading(true));
            }
            Outbound::Response { reply, result: Err(failure) } => {
                cx.write(Bytes::from(format!("x {reply} {} {}", failure.code, failure.message)));
            }
            Outbound::Cancel(call) => {
                let known = self.calls.iter().find(|(_, (known, _))| *known == call).map(|(id, _)| *id);
                if let Some(id) = known
                    && !self.careless
                {
                    self.forget(id, cx);
                }
            }
            Outbound::Command(Command::Switch) => {
                cx.act(Action::Write(Bytes::from_static(b"mode counted"), Flush::Barrier));
                cx.act(Action::WriteMode(Framing::Counted));
            }
            Outbound::Command(Command::Alone(word)) => {
                cx.act(Action::Write(Bytes::from_static(word.as_bytes()), Flush::Alone));
            }
        }
    }

    fn progress(&mut self, reply: &u64, body: Body, cx: &mut Cx<'_, Self>) {
        cx.write(line(&format!("~ {reply}"), &body));
    }

    fn close(&mut self, _: &Close, cx: &mut Cx<'_, Self>) {
        if self.established {
            cx.write(Bytes::from_static(b"bye"));
        }
    }

    fn wake(&mut self, cx: &mut Cx<'_, Self>) {
        cx.write(Bytes::from_static(if cx.is_reading() { b"beat" } else { b"beat unread" }));
        self.next_beat(cx);
    }
}

/// The first word and what follows it.
fn split(line: &Bytes) -> (Bytes, Bytes) {
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    (line.slice(..end), line.slice((end + 1).min(line.len())..))
}

fn text(word: &Bytes) -> Option<String> {
    String::from_utf8(word.to_vec()).ok()
}

fn number(word: &Bytes) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

fn body_of(text: &Bytes, pins: usize) -> Option<Body> {
    if text.is_empty() {
        return Some(Body::Empty);
    }
    json::validate(text, &JsonLimits::default()).ok()?;
    Some(Body::Json(JsonText::from_part(Part::of(text, text, pins))))
}

fn line(head: &str, body: &Body) -> Bytes {
    match body {
        Body::Json(text) => [head.as_bytes(), b" ", text.as_bytes()].concat().into(),
        _ => Bytes::from(head.to_owned()),
    }
}
