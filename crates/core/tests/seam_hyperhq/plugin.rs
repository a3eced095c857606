//! The upper half of a plugin, which dials: from packets to envelopes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use polywire_core::{
    Action, Admit, Body, CallError, CallId, Close, Code, Count, Cx, Delivery, Event, Failure, Gate,
    JsonLimits, JsonText, Outbound, OutboundOf, Refusal, Request, Response, Route, Session,
};
use serde_json::Value;

use super::packet::{Kind, Packet, Packets, quoted};

/// What lives longer than one connection.
pub(crate) type Shared = Arc<Mutex<Kept>>;

#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Of the last login.
    pub(crate) token: Option<String>,
    /// The events to hear of, asked for again after every login.
    events: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Plugin {
    id: String,
    challenge: String,
    shared: Shared,
    established: bool,
    tried_token: bool,
    next: u64,
    calls: HashMap<String, CallId>,
}

/// Events to hear of.
#[derive(Debug)]
pub(crate) struct Subscribe(pub(crate) Vec<String>);

pub(crate) const LOGIN: Gate = Gate(0);
const FILE: Route = Route::from_static("requestFile");

impl Plugin {
    pub(crate) fn new(id: &str, challenge: &str, shared: Shared) -> Self {
        Self {
            id: id.to_owned(),
            challenge: challenge.to_owned(),
            shared,
            established: false,
            tried_token: false,
            next: 1,
            calls: HashMap::new(),
        }
    }

    fn token(&self) -> Option<String> {
        self.kept().token.clone()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.shared.lock().expect("not poisoned")
    }

    fn subscribe(&self, names: &[String], cx: &mut Cx<'_, Self>) {
        let names = serde_json::to_string(names).expect("names are JSON");
        cx.write(Packet::event("subscribeEvents", &names));
    }

    /// The member that shows the token, where there is one.
    fn token_member(&self) -> String {
        self.token().map(|token| format!(",\"sessionToken\":{}", quoted(&token))).unwrap_or_default()
    }

    fn authenticate(&mut self, cx: &mut Cx<'_, Self>) {
        let (name, secret) = match self.token().filter(|_| !self.tried_token) {
            Some(token) => {
                self.tried_token = true;
                ("sessionToken", token)
            }
            None => ("challenge", self.challenge.clone()),
        };
        let argument = format!("{{\"pluginId\":{},\"{name}\":{}}}", quoted(&self.id), quoted(&secret));
        cx.write(Packet::event("authenticate", &argument));
    }

    fn authenticated_event(&mut self, value: &Value, cx: &mut Cx<'_, Self>) {
        if value["success"] == true {
            if let Some(token) = value["sessionToken"].as_str() {
                self.kept().token = Some(token.to_owned());
            }
            self.established = true;
            cx.act(Action::Established(None));
            if !self.kept().events.is_empty() {
                self.subscribe(&self.kept().events, cx);
            }
            cx.act(Action::Open(LOGIN));
        } else if self.tried_token && self.kept().token.take().is_some() {
            // The token is worth nothing any more; the challenge may still be, once.
            self.authenticate(cx);
        } else {
            let why = value["error"].as_str().unwrap_or("no reason given").to_owned();
            cx.close(Close::Refused(Refusal::new(why)));
        }
    }

    fn answer(&mut self, packet: &Packet, argument: &JsonText, cx: &mut Cx<'_, Self>) {
        let value: Value = argument.parse().unwrap_or_default();
        let call = value["requestId"].as_str().and_then(|id| self.calls.remove(id));
        // The host says it again under another name, and late answers look the same.
        let Some(call) = call else { return cx.count(Count::OrphanReply) };
        let outcome = if value["success"] == true {
            Ok(Response::from(data_of(packet, argument, "data")))
        } else {
            let why = value["error"].as_str().unwrap_or("no reason given").to_owned();
            Err(CallError::Failure(Failure::new(Code::Unknown, why)))
        };
        cx.deliver(Delivery::Response { call, outcome });
    }
}

impl Session for Plugin {
    type Codec = Packets;
    /// The id of the request, as it was spelled.
    type Reply = JsonText;
    type Command = Subscribe;

    fn open(&mut self, cx: &mut Cx<'_, Self>) {
        self.authenticate(cx);
    }

    fn receive(&mut self, packet: Packet, cx: &mut Cx<'_, Self>) {
        let Some((name, argument)) = packet.as_event() else { return cx.count(Count::Unexpected) };
        let argument = argument.unwrap_or_else(JsonText::null);
        let value = || argument.parse::<Value>().unwrap_or_default();
        match (name.as_str(), self.established) {
            ("authenticated", false) => self.authenticated_event(&value(), cx),
            (_, false) => cx.count(Count::BeforeLogin),
            ("authenticated" | "eventsSubscribed", true) => {}
            ("request", true) => {
                let id = member(&argument, "id").filter(|id| id.as_bytes().starts_with(b"\""));
                let method = value()["method"].as_str().and_then(|method| Route::new(method.to_owned()).ok());
                match (id, method) {
                    (Some(reply), Some(route)) => {
                        let request = Request::new(route, data_of(&packet, &argument, "data"));
                        cx.deliver(Delivery::Request { request, reply, identity: None });
                    }
                    _ => cx.count(Count::BadRoute),
                }
            }
            ("dataResponse" | "data_response" | "fileData", true) => self.answer(&packet, &argument, cx),
            ("hyperHqEvent", true) => {
                match value()["type"].as_str().map(|name| Route::new(name.to_owned())) {
                    Some(Ok(route)) => {
                        cx.deliver(Delivery::Event(Event::new(route, data_of(&packet, &argument, "data"))));
                    }
                    _ => cx.count(Count::BadRoute),
                }
            }
            _ => cx.count(Count::UnknownKind),
        }
    }

    fn admit(&self, _: &OutboundOf<Self>) -> Admit {
        if self.established { Admit::Now } else { Admit::Hold(LOGIN) }
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        match outbound {
            Outbound::Request { call, request, .. } if request.route == FILE => {
                let path = match &request.body {
                    Body::Json(path) => path.as_str().to_owned(),
                    _ => "null".to_owned(),
                };
                let id = format!("file-{}", self.next);
                self.next += 1;
                let token = self.token_member();
                let argument = format!("{{\"filePath\":{path},\"requestId\":{}{token}}}", quoted(&id));
                cx.write(Packet::event("requestFile", &argument));
                self.calls.insert(id, call);
            }
            Outbound::Request { call, request, .. } => {
                let (method, id) = (&*request.route, format!("{}-{}", &*request.route, self.next));
                self.next += 1;
                let params = match &request.body {
                    Body::Json(params) => params.as_str(),
                    _ => "{}",
                };
                let token = self.token_member();
                let argument = format!(
                    "{{\"method\":{},\"params\":{params},\"requestId\":{}{token}}}",
                    quoted(method),
                    quoted(&id)
                );
                cx.write(Packet::event("requestData", &argument));
                self.calls.insert(id, call);
            }
            Outbound::Event(event) => {
                let body = match &event.body {
                    Body::Json(text) => text.as_str(),
                    _ => "null",
                };
                cx.write(Packet::event(&event.route, body));
            }
            Outbound::Response { reply, result } => {
                let data = match result {
                    Ok(Response { body: Body::Json(text), .. }) => text.as_str().to_owned(),
                    Ok(_) => "null".to_owned(),
                    Err(failure) => format!("{{\"error\":{}}}", quoted(&failure.message)),
                };
                let (id, token) = (reply.as_str(), self.token_member());
                let argument = format!("{{\"id\":{id},\"type\":\"response\",\"data\":{data}{token}}}");
                cx.write(Packet::event("response", &argument));
            }
            Outbound::Abandon(call) => self.calls.retain(|_, known| *known != call),
            // Commands come as they are given: before the login this one is only remembered.
            Outbound::Command(Subscribe(names)) => {
                if self.established {
                    self.subscribe(&names, cx);
                }
                self.kept().events.extend(names);
            }
        }
    }

    fn close(&mut self, _: &Close, cx: &mut Cx<'_, Self>) {
        let (kind, namespace) = (Kind::Disconnect, "/".to_owned());
        cx.write(Packet { kind, namespace, id: None, data: None, attachments: Vec::new() });
    }

    /// A sign of life that names no request.
    fn progress(&mut self, _: &JsonText, body: Body, cx: &mut Cx<'_, Self>) {
        if let Body::Json(text) = body {
            cx.write(Packet::event("statusUpdate", text.as_str()));
        }
    }
}

/// A member as it was spelled.
pub(crate) fn member(object: &JsonText, name: &str) -> Option<JsonText> {
    let limits = JsonLimits::default();
    let text = object.to_bytes();
    let mut members = polywire_core::json::Members::new(&text, &limits).ok()?;
    let mut found = None;
    while let Some((key, at)) = members.next().ok()? {
        if key.is(name) {
            found = Some(JsonText::from_validated(text.slice(at)));
        }
    }
    found
}

/// A member as a body: bytes where a placeholder stands for them.
pub(crate) fn data_of(packet: &Packet, argument: &JsonText, name: &str) -> Body {
    let Some(data) = member(argument, name) else { return Body::Empty };
    let placed = data.parse::<Value>().ok().filter(|_| !packet.attachments.is_empty());
    let place = placed.filter(|value| value["_placeholder"] == true).and_then(|value| value["num"].as_u64());
    match place.and_then(|place| packet.attachments.get(usize::try_from(place).ok()?)) {
        Some(bytes) => Body::binary("", bytes.clone()),
        None => Body::Json(data),
    }
}
