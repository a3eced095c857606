//! The upper half of a host, alone: its packets are delivered by whatever serves Socket.IO.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use polywire_core::{
    Action, Admit, Body, CallError, CallId, Close, Code, Count, Credentials, Cx, Delivery, Event, Failure,
    Gate, Identity, JsonText, Outbound, OutboundOf, Refusal, Request, Response, Route, Secret, Session,
};
use serde_json::Value;

use super::packet::{Packet, Packets, quoted};
use super::plugin::{LOGIN, data_of, member};

/// How long a refused plugin has to try something else.
const GRACE: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct Host {
    port: u64,
    plugin: String,
    token: Option<String>,
    /// Why the last login failed.
    refused: Option<Refusal>,
    subscribed: HashSet<String>,
    next: u64,
    calls: HashMap<String, CallId>,
}

/// What an answer must carry back, as it was spelled.
#[derive(Debug)]
pub(crate) enum Reply {
    Data { id: JsonText },
    File { id: JsonText, path: JsonText },
}

impl Host {
    pub(crate) fn new(port: u64) -> Self {
        Self {
            port,
            plugin: String::new(),
            token: None,
            refused: None,
            subscribed: HashSet::new(),
            next: 1,
            calls: HashMap::new(),
        }
    }

    fn login(&mut self, argument: JsonText, cx: &mut Cx<'_, Self>) {
        let value: Value = argument.parse().unwrap_or_default();
        let secret = ["challenge", "token", "sessionToken"].iter().find_map(|name| value[*name].as_str());
        match (value["pluginId"].as_str(), secret) {
            (Some(plugin), Some(secret)) if !plugin.is_empty() => {
                self.plugin = plugin.to_owned();
                cx.act(Action::Authenticate(Credentials {
                    subject: Some(plugin.to_owned().into()),
                    secret: Some(Secret::from(secret)),
                    data: Body::Json(argument),
                }));
            }
            _ => self.authenticated(Err(Refusal::new("Invalid authentication data")), cx),
        }
    }

    /// Why a request with this token is refused, if it is.
    fn token_fault(&self, value: &Value, required: bool) -> Option<&'static str> {
        match value["sessionToken"].as_str().unwrap_or_default() {
            "" => required.then_some("Session token required"),
            token => (self.token.as_deref() != Some(token)).then_some("Invalid session token"),
        }
    }

    fn requested(&mut self, packet: &Packet, argument: &JsonText, file: bool, cx: &mut Cx<'_, Self>) {
        let value: Value = argument.parse().unwrap_or_default();
        let id = member(argument, "requestId").unwrap_or_else(JsonText::null);
        let (reply, route, body) = if file {
            let path = member(argument, "filePath").unwrap_or_else(JsonText::null);
            let body = Body::Json(path.clone());
            (Reply::File { id, path }, Ok(Route::from_static("requestFile")), body)
        } else {
            let method = value["method"].as_str().unwrap_or_default().to_owned();
            (Reply::Data { id }, Route::new(method), data_of(packet, argument, "params"))
        };
        let fault = self.token_fault(&value, file);
        match (fault, route) {
            (None, Ok(route)) => {
                let request = Request::new(route, body);
                cx.deliver(Delivery::Request { request, reply, identity: None });
            }
            (fault, _) => {
                cx.count(Count::Unexpected);
                let why = fault.unwrap_or("Invalid method");
                self.answer(&reply, Err(Failure::new(Code::PermissionDenied, why)), cx);
            }
        }
    }

    fn answer(&self, reply: &Reply, result: Result<Response, Failure>, cx: &mut Cx<'_, Self>) {
        let (id, path) = match reply {
            Reply::Data { id } => (id, None),
            Reply::File { id, path } => (id, Some(path)),
        };
        let mut argument = format!("{{\"requestId\":{}", id.as_str());
        if let Some(path) = path {
            argument.push_str(&format!(",\"filePath\":{}", path.as_str()));
        }
        let mut attachments = Vec::new();
        match result.map(|response| response.body) {
            Ok(Body::Empty) => argument.push_str(",\"success\":true"),
            Ok(Body::Json(text)) => {
                argument.push_str(&format!(",\"success\":true,\"data\":{}", text.as_str()));
            }
            Ok(Body::Binary(binary)) => {
                let size = binary.bytes.len();
                argument.push_str(",\"success\":true,\"data\":{\"_placeholder\":true,\"num\":0}");
                argument.push_str(&format!(",\"size\":{size}"));
                attachments.push(binary.bytes);
            }
            Err(failure) => {
                argument.push_str(&format!(",\"success\":false,\"error\":{}", quoted(&failure.message)));
            }
        }
        argument.push('}');
        let names: &[&str] = if path.is_some() { &["fileData"] } else { &["dataResponse", "data_response"] };
        for name in names {
            cx.write(Packet { attachments: attachments.clone(), ..Packet::event(name, &argument) });
        }
    }

    fn responded(&mut self, packet: &Packet, argument: &JsonText, cx: &mut Cx<'_, Self>) {
        let value: Value = argument.parse().unwrap_or_default();
        let call = value["id"].as_str().and_then(|id| self.calls.remove(id));
        let Some(call) = call else { return cx.count(Count::OrphanReply) };
        let error = value["data"]["error"].as_str();
        let outcome = match (value["type"] == "error", error) {
            (false, None) => Ok(Response::from(data_of(packet, argument, "data"))),
            (_, why) => {
                let why = why.unwrap_or("the plugin gave no reason").to_owned();
                Err(CallError::Failure(Failure::new(Code::Unknown, why)))
            }
        };
        cx.deliver(Delivery::Response { call, outcome });
    }

    fn subscribe(&mut self, argument: &JsonText, cx: &mut Cx<'_, Self>) {
        let Ok(names) = argument.parse::<Vec<String>>() else { return cx.count(Count::BadBody) };
        let argument = format!("{{\"events\":{},\"pluginId\":{}}}", argument.as_str(), quoted(&self.plugin));
        self.subscribed.extend(names);
        cx.write(Packet::event("eventsSubscribed", &argument));
    }
}

impl Session for Host {
    type Codec = Packets;
    type Reply = Reply;
    type Command = ();

    fn open(&mut self, _: &mut Cx<'_, Self>) {}

    fn receive(&mut self, packet: Packet, cx: &mut Cx<'_, Self>) {
        let Some((name, argument)) = packet.as_event() else { return cx.count(Count::Unexpected) };
        let argument = argument.unwrap_or_else(JsonText::null);
        match (name.as_str(), self.token.is_some()) {
            ("authenticate", false) => self.login(argument, cx),
            (_, false) => cx.count(Count::BeforeLogin),
            ("requestData" | "request_data", true) => self.requested(&packet, &argument, false, cx),
            ("requestFile", true) => self.requested(&packet, &argument, true, cx),
            ("response" | "plugin:response", true) => self.responded(&packet, &argument, cx),
            ("subscribeEvents", true) => self.subscribe(&argument, cx),
            // It names no request: a sign of life for all of them.
            ("statusUpdate", true) => {
                cx.deliver(Delivery::Progress { call: None, body: Body::Json(argument) });
            }
            ("authenticate", true) => cx.count(Count::Unexpected),
            _ => cx.count(Count::UnknownKind),
        }
    }

    fn authenticated(&mut self, verdict: Result<Identity, Refusal>, cx: &mut Cx<'_, Self>) {
        match verdict {
            Ok(identity) => {
                let mut bytes = [0; 32];
                cx.random().fill(&mut bytes);
                let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                let argument = format!(
                    "{{\"success\":true,\"pluginId\":{},\"sessionToken\":{},\"serverPort\":{}}}",
                    quoted(&self.plugin),
                    quoted(&token),
                    self.port
                );
                self.token = Some(token);
                self.refused = None;
                cx.write(Packet::event("authenticated", &argument));
                cx.act(Action::WakeAt(None));
                cx.act(Action::Established(Some(identity)));
                cx.act(Action::Open(LOGIN));
            }
            Err(refusal) => {
                let argument = format!("{{\"success\":false,\"error\":{}}}", quoted(&refusal.reason));
                cx.write(Packet::event("authenticated", &argument));
                cx.act(Action::WakeAt(Some(cx.now() + GRACE)));
                self.refused = Some(refusal);
            }
        }
    }

    fn admit(&self, _: &OutboundOf<Self>) -> Admit {
        if self.token.is_some() { Admit::Now } else { Admit::Hold(Gate(0)) }
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        match outbound {
            Outbound::Request { call, request, .. } => {
                let id = format!("req-{}", self.next);
                self.next += 1;
                let data = match &request.body {
                    Body::Json(text) => text.as_str(),
                    _ => "{}",
                };
                let (id_text, method) = (quoted(&id), quoted(&request.route));
                let argument = format!("{{\"id\":{id_text},\"method\":{method},\"data\":{data}}}");
                cx.write(Packet::event("request", &argument));
                self.calls.insert(id, call);
            }
            Outbound::Event(Event { route, body, .. }) if self.subscribed.contains(&*route) => {
                let data = match &body {
                    Body::Json(text) => text.as_str(),
                    _ => "null",
                };
                let since = cx.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let (name, time) = (quoted(&route), since.as_millis());
                let argument = format!("{{\"type\":{name},\"data\":{data},\"timestamp\":{time}}}");
                cx.write(Packet::event("hyperHqEvent", &argument));
            }
            Outbound::Event(_) | Outbound::Command(()) => {}
            Outbound::Response { reply, result } => self.answer(&reply, result, cx),
            Outbound::Abandon(call) => self.calls.retain(|_, known| *known != call),
        }
    }

    fn wake(&mut self, cx: &mut Cx<'_, Self>) {
        if let Some(refusal) = self.refused.take() {
            cx.close(Close::Refused(refusal));
        }
    }
}
