//! What Stonyx knows about one connection, in either role.

use std::collections::HashMap;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::{Bytes, BytesMut};
use polywire_core::json::{self, Members};
use polywire_core::{
    Action, Admit, Body, CallId, Close, Code, Count, Credentials, Cx, Delivery, Event, Failure, Gate,
    Identity, JsonLimits, JsonText, Moment, Outbound, OutboundOf, Refusal, Request, Response, Route, Secret,
    Session,
};

use super::seal::{Frame, Key, SealCodec};

/// How a connection is held.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) encrypted: bool,
    /// The member that carries a push: `response`, or `data` as the oldest revision has it.
    pub(crate) push_in: &'static str,
    pub(crate) heartbeat: Duration,
    /// A heartbeat must be answered within this time.
    pub(crate) heartbeat_timeout: Duration,
    /// An answer that is owed for an abandoned call blocks its name for this long.
    pub(crate) owed_for: Duration,
}

#[derive(Debug)]
enum Role {
    /// Shows this to log in.
    Client {
        auth: JsonText,
    },
    Server,
}

/// Why the answer of a name is awaited.
#[derive(Debug)]
enum Awaited {
    By(CallId),
    /// By nobody any more; it may still come until then.
    Owed(Moment),
}

#[derive(Clone, Copy, Debug)]
enum Pulse {
    Beat(Moment),
    Answer(Moment),
}

#[derive(Debug)]
pub(crate) struct StonyxSession {
    role: Role,
    options: Options,
    established: bool,
    awaited: HashMap<Route, Awaited>,
    pulse: Option<Pulse>,
}

const LOGIN: Gate = Gate(0);

/// The members of a wire message that mean something.
#[derive(Default)]
struct Wire {
    request: Option<Route>,
    data: Option<Body>,
    response: Option<Body>,
    session_key: Option<[u8; 32]>,
}

impl StonyxSession {
    pub(crate) fn client(auth: JsonText, options: Options) -> Self {
        Self::new(Role::Client { auth }, options)
    }

    pub(crate) fn server(options: Options) -> Self {
        Self::new(Role::Server, options)
    }

    fn new(role: Role, options: Options) -> Self {
        Self { role, options, established: false, awaited: HashMap::new(), pulse: None }
    }

    fn write(&self, members: &[(&str, &[u8])], cx: &mut Cx<'_, Self>) {
        let mut text = BytesMut::new();
        for (number, (name, value)) in members.iter().enumerate() {
            text.extend_from_slice(if number == 0 { b"{\"" } else { b",\"" });
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(b"\":");
            text.extend_from_slice(value);
        }
        text.extend_from_slice(b"}");
        let mut iv = [0; 12];
        if self.options.encrypted {
            cx.random().fill(&mut iv);
        }
        cx.write(Frame::Write { text: text.freeze(), iv });
    }

    /// `{"request":NAME,MEMBER:BODY}`, without the member where there is no body.
    fn write_message(&self, route: &Route, member: &str, body: &Body, cx: &mut Cx<'_, Self>) {
        let mut name = BytesMut::new();
        json::write_string(&mut name, route.as_str());
        match body {
            Body::Json(text) => self.write(&[("request", &name), (member, text.as_bytes())], cx),
            _ => self.write(&[("request", &name)], cx),
        }
    }

    /// Both directions go on under the session key: after what was written, before the next message is read.
    fn switch(&mut self, key: [u8; 32], identity: Option<Identity>, cx: &mut Cx<'_, Self>) {
        if self.options.encrypted {
            cx.act(Action::WriteMode(Key(Some(key))));
            cx.act(Action::ReadMode(Key(Some(key))));
        }
        self.established = true;
        cx.act(Action::Established(identity));
        cx.act(Action::Open(LOGIN));
    }

    fn set_alarm(&self, cx: &mut Cx<'_, Self>) {
        let pulse = self.pulse.map(|(Pulse::Beat(at) | Pulse::Answer(at))| at);
        let owed = self.awaited.values().filter_map(|awaited| match awaited {
            Awaited::Owed(until) => Some(*until),
            Awaited::By(_) => None,
        });
        cx.act(Action::WakeAt(owed.chain(pulse).min()));
    }

    fn asked(&mut self, route: Route, wire: Wire, cx: &mut Cx<'_, Self>) {
        match (route.as_str(), self.established) {
            ("auth", false) => {
                let data = wire.data.unwrap_or_default();
                let secret = match &data {
                    Body::Json(text) => member_text(text, "authKey").map(Secret::from),
                    _ => None,
                };
                cx.act(Action::Authenticate(Credentials { subject: None, secret, data }));
            }
            ("auth", true) => cx.count(Count::Unexpected),
            ("heartBeat", true) => self.write_message(&route, "response", &json_body("true"), cx),
            ("heartBeat", false) => cx.count(Count::BeforeLogin),
            (_, true) => {
                let request = Request::new(route.clone(), wire.data.unwrap_or_default());
                cx.deliver(Delivery::Request { request, reply: route, identity: None });
            }
            (_, false) => {
                cx.count(Count::BeforeLogin);
                cx.close(Close::Protocol("a request before the login".into()));
            }
        }
    }

    fn told(&mut self, route: Route, wire: Wire, cx: &mut Cx<'_, Self>) {
        match route.as_str() {
            "auth" if !self.established => self.judged(&wire, cx),
            "auth" => cx.count(Count::Unexpected),
            "heartBeat" if matches!(self.pulse, Some(Pulse::Answer(_))) => {
                self.pulse = Some(Pulse::Beat(cx.now() + self.options.heartbeat));
                self.set_alarm(cx);
            }
            "heartBeat" => cx.count(Count::Unexpected),
            _ => {
                // What has `data` and no `response` can only be a push, whoever waits for an answer of this name.
                let is_push = wire.response.is_none() && wire.data.is_some();
                let body = wire.response.or(wire.data).unwrap_or_default();
                let awaited = if is_push { None } else { self.awaited.remove(&route) };
                match awaited {
                    Some(Awaited::By(call)) => {
                        cx.deliver(Delivery::Response { call, outcome: Ok(Response::from(body)) });
                        cx.act(Action::Open(gate(&route)));
                    }
                    Some(Awaited::Owed(_)) => {
                        cx.count(Count::OrphanReply);
                        cx.act(Action::Open(gate(&route)));
                        self.set_alarm(cx);
                    }
                    None => cx.deliver(Delivery::Event(Event::new(route, body))),
                }
            }
        }
    }

    /// The answer to our login. By convention anything but `"success"` is a refusal.
    fn judged(&mut self, wire: &Wire, cx: &mut Cx<'_, Self>) {
        if wire.response != Some(json_body("\"success\"")) {
            return cx.close(Close::Refused(Refusal::new("the server did not answer \"success\"")));
        }
        match wire.session_key {
            None if self.options.encrypted => cx.close(Close::Protocol("no session key of 32 bytes".into())),
            key => {
                self.switch(key.unwrap_or_default(), None, cx);
                self.pulse = Some(Pulse::Beat(cx.now() + self.options.heartbeat));
                self.set_alarm(cx);
            }
        }
    }
}

impl Session for StonyxSession {
    type Codec = SealCodec;
    type Reply = Route;
    type Command = ();

    fn open(&mut self, cx: &mut Cx<'_, Self>) {
        if let Role::Client { auth } = &self.role {
            let body = Body::Json(auth.clone());
            self.write_message(&Route::from_static("auth"), "data", &body, cx);
        }
    }

    fn receive(&mut self, frame: Frame, cx: &mut Cx<'_, Self>) {
        let server = matches!(self.role, Role::Server);
        let wire = match frame {
            Frame::Open(text) => read(&text),
            _ => None,
        };
        match wire {
            Some(Wire { request: Some(route), .. }) if route.is_empty() => cx.count(Count::BadRoute),
            Some(Wire { request: None, .. }) => cx.count(Count::UnknownKind),
            Some(Wire { request: Some(route), data, response, session_key }) => {
                let wire = Wire { request: None, data, response, session_key };
                if server { self.asked(route, wire, cx) } else { self.told(route, wire, cx) }
            }
            None => {
                cx.count(Count::Undecodable);
                if server {
                    cx.close(Close::Protocol("a message that cannot be opened or read".into()));
                }
            }
        }
    }

    fn authenticated(&mut self, verdict: Result<Identity, Refusal>, cx: &mut Cx<'_, Self>) {
        match verdict {
            Ok(identity) => {
                let mut key = [0; 32];
                let mut members =
                    vec![("request", b"\"auth\"".to_vec()), ("response", b"\"success\"".to_vec())];
                if self.options.encrypted {
                    cx.random().fill(&mut key);
                    members.push(("sessionKey", format!("\"{}\"", BASE64_STANDARD.encode(key)).into_bytes()));
                }
                let members: Vec<_> = members.iter().map(|(name, value)| (*name, &value[..])).collect();
                self.write(&members, cx);
                self.switch(key, Some(identity), cx);
            }
            // A close without a word is how this wire refuses.
            Err(refusal) => cx.close(Close::Refused(refusal)),
        }
    }

    fn admit(&self, outbound: &OutboundOf<Self>) -> Admit {
        let route = match outbound {
            Outbound::Request { .. } if matches!(self.role, Role::Server) => {
                return Admit::Refuse(Failure::new(
                    Code::Unimplemented,
                    "this wire has no requests to a client",
                ));
            }
            Outbound::Request { request, .. } => &request.route,
            Outbound::Event(event) => &event.route,
            _ => return Admit::Now,
        };
        if !self.established {
            Admit::Hold(LOGIN)
        } else if self.awaited.contains_key(route) {
            Admit::Hold(gate(route))
        } else {
            Admit::Now
        }
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        match outbound {
            Outbound::Request { call, request, .. } => {
                self.write_message(&request.route, "data", &request.body, cx);
                self.awaited.insert(request.route, Awaited::By(call));
            }
            Outbound::Event(event) => {
                let member = match self.role {
                    Role::Client { .. } => "data",
                    Role::Server => self.options.push_in,
                };
                self.write_message(&event.route, member, &event.body, cx);
            }
            // Nothing to say is said by saying nothing, and so is that nobody knows the name.
            Outbound::Response { result: Ok(Response { body: Body::Empty, .. }), .. } => {}
            Outbound::Response { result: Err(Failure { code: Code::NotFound, .. }), .. } => {}
            Outbound::Response { reply, result: Ok(response) } => {
                self.write_message(&reply, "response", &response.body, cx);
            }
            Outbound::Response { reply, result: Err(failure) } => {
                let mut text = BytesMut::from(
                    format!("{{\"error\":{{\"code\":\"{}\",\"message\":", failure.code).as_bytes(),
                );
                json::write_string(&mut text, &failure.message);
                text.extend_from_slice(b"}}");
                let body = Body::Json(JsonText::from_validated(text.freeze()));
                self.write_message(&reply, "response", &body, cx);
            }
            Outbound::Abandon(call) => {
                let until = cx.now() + self.options.owed_for;
                for awaited in self.awaited.values_mut() {
                    if matches!(awaited, Awaited::By(known) if *known == call) {
                        *awaited = Awaited::Owed(until);
                    }
                }
                self.set_alarm(cx);
            }
            Outbound::Command(()) => {}
        }
    }

    fn wake(&mut self, cx: &mut Cx<'_, Self>) {
        let now = cx.now();
        match self.pulse {
            Some(Pulse::Beat(at)) if at <= now => {
                self.write_message(&Route::from_static("heartBeat"), "data", &Body::Empty, cx);
                self.pulse = Some(Pulse::Answer(now + self.options.heartbeat_timeout));
            }
            Some(Pulse::Answer(at)) if at <= now => {
                return cx.close(Close::Dead(format!("{:?}", self.options.heartbeat_timeout)));
            }
            _ => {}
        }
        self.awaited.retain(|route, awaited| match awaited {
            Awaited::Owed(until) if *until <= now => {
                cx.act(Action::Open(gate(route)));
                false
            }
            _ => true,
        });
        self.set_alarm(cx);
    }
}

/// One gate for each name; two names that share one by chance only wait for each other.
fn gate(route: &Route) -> Gate {
    let hash = route.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Gate(hash | 1)
}

fn json_body(text: &'static str) -> Body {
    Body::Json(JsonText::from_validated(Bytes::from_static(text.as_bytes())))
}

/// Reads one message; `None` when it is no JSON object.
fn read(text: &Bytes) -> Option<Wire> {
    json::check_utf8(text).ok()?;
    let limits = JsonLimits::default();
    let mut members = Members::new(text, &limits).ok()?;
    let mut wire = Wire::default();
    while let Some((key, at)) = members.next().ok()? {
        let value = text.slice(at);
        if key.is("request") {
            wire.request = json::as_string(&value).and_then(|name| Route::new(name.into_owned()).ok());
        } else if key.is("data") {
            wire.data = Some(Body::Json(JsonText::from_validated(value)));
        } else if key.is("response") {
            wire.response = Some(Body::Json(JsonText::from_validated(value)));
        } else if key.is("sessionKey") {
            let key = json::as_string(&value).and_then(|key| BASE64_STANDARD.decode(key.as_bytes()).ok());
            wire.session_key = key.and_then(|key| key.try_into().ok());
        }
    }
    Some(wire)
}

/// The text of one member of an object.
fn member_text(object: &JsonText, name: &str) -> Option<String> {
    let limits = JsonLimits::default();
    let mut members = Members::new(object.as_bytes(), &limits).ok()?;
    let mut found = None;
    while let Some((key, at)) = members.next().ok()? {
        if key.is(name) {
            found = json::as_string(&object.as_bytes()[at]).map(|text| text.into_owned());
        }
    }
    found
}
