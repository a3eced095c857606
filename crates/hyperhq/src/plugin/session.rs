//! What a plugin knows of one connection: the login, the host's requests, its own, and what it hears.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use polywire_core::{
    Action, Admit, Body, ByteString, CallError, CallId, Close, Code, Count, Cx, Delivery, Event, Failure,
    Gate, Identity, JsonError, JsonText, Meta, Outbound, OutboundOf, Refusal, Request, Response, Route,
    Secret, Session,
};
use polywire_socketio::{Kind, Packet, Packets, Upper};

use super::file::bytes_of;
use super::kept::Kept;
use super::status::{Status, payload};
use crate::message::{Message, Object, event};
use crate::skim;

/// Everything waits behind it until the login is done.
const LOGIN: Gate = Gate(0);
/// The call that asks for a file; every other one asks for data.
pub const FILE: Route = Route::from_static("requestFile");
/// The fact that holds an event's `timestamp` as it was spelled.
pub const TIMESTAMP: &str = "hyperhq.timestamp";
/// The request after whose answer the plugin leaves.
pub(crate) const SHUTDOWN: &str = "shutdown";
/// Longest token that is taken, in bytes; the hosts seen send 64.
const MAX_TOKEN_BYTES: usize = 4_096;
/// The names of the flow itself, then those of Socket.IO, over which the official server ends the connection: no event of a plugin
/// may have one.
pub(crate) const RESERVED: [&str; 12] = [
    "authenticate",
    "response",
    "requestData",
    "request_data",
    "requestFile",
    "subscribeEvents",
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

/// The events of a plugin that a host hears; the last is a sign of life. Documented: the event tables of the plugin guide.
pub(crate) const TOLD: [&str; 4] =
    ["thumbnail:created", "thumbnail:progress", "thumbnail:complete", "statusUpdate"];

/// What the answer to a request of the host must carry back.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// The id as it is spelled.
    id: JsonText,
    /// Is it the answer to a shutdown?
    last: bool,
}

/// Hears these events too, now and after every login.
#[derive(Clone, Debug)]
pub struct Subscribe(pub Vec<String>);

/// How long a host may say nothing to the login in one namespace before the other one is tried. The official server has `/`
/// always, and nobody there answers where the host is in `/plugin`; our own answers at once.
const SILENCE: Duration = Duration::from_secs(5);

/// Where the login stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Login {
    /// The namespace is not granted yet.
    Before,
    /// The token of the last connection was shown.
    ByToken,
    /// The challenge was shown.
    ByChallenge,
    Done,
}

/// One connection of a plugin, above whatever carries the packets.
pub struct PluginSession {
    id: ByteString,
    challenge: Secret,
    kept: Kept,
    login: Login,
    /// A shutdown was asked for: nothing new is begun.
    leaving: bool,
    /// Requests of the host that have no answer yet, by their ids as they are spelled.
    asked: HashSet<Bytes>,
    /// What makes the ids of this connection's calls its own.
    prefix: String,
    next: u64,
    calls: HashMap<String, CallId>,
    status: Status,
}

impl PluginSession {
    /// A connection that logs in as plugin `id`; `kept` is shared by all of one plugin.
    pub fn new(id: impl Into<ByteString>, challenge: Secret, kept: Kept) -> Self {
        Self {
            id: id.into(),
            challenge,
            kept,
            login: Login::Before,
            leaving: false,
            asked: HashSet::new(),
            prefix: String::new(),
            next: 1,
            calls: HashMap::new(),
            status: Status::default(),
        }
    }

    fn authenticate(&mut self, cx: &mut Cx<'_, Self>) {
        let token = self.kept.token().filter(|_| self.login == Login::Before);
        let (login, name, secret) = match token {
            Some(token) => (Login::ByToken, "sessionToken", token),
            None => (Login::ByChallenge, "challenge", self.challenge.clone()),
        };
        self.login = login;
        let Ok(secret) = std::str::from_utf8(secret.expose()) else {
            return cx.close(Close::Refused(Refusal::new("the challenge is not UTF-8 text")));
        };
        cx.write(Object::new().text("pluginId", &self.id).text(name, secret).event("authenticate"));
    }

    /// The answer to our login.
    fn authenticated(&mut self, message: &Message, cx: &mut Cx<'_, Self>) {
        if self.login == Login::Done {
            return cx.count(Count::Unexpected);
        }
        if !message.holds("success") {
            let why = message.text("error").unwrap_or_else(|| "the host gives no reason".to_owned());
            if self.login == Login::ByToken {
                // The token is worth nothing any more; the challenge may still be, once.
                self.kept.set_token(None);
                return self.authenticate(cx);
            }
            let why: String = why.chars().take(200).collect();
            return cx.close(Close::Refused(Refusal::new(why)));
        }
        let refused = |why: &str| Close::Refused(Refusal::new(why));
        if message.text("pluginId").is_some_and(|id| *id != *self.id) {
            return cx.close(refused("the host logged in another plugin"));
        }
        match message.text("sessionToken").filter(|token| !token.is_empty()) {
            Some(token) if token.len() <= MAX_TOKEN_BYTES => self.kept.set_token(Some(Secret::from(token))),
            Some(_) => return cx.close(refused("the host's token is longer than 4096 bytes")),
            None if self.kept.token().is_some() => {}
            None => return cx.close(refused("the host sends no token")),
        }
        self.login = Login::Done;
        cx.act(Action::WakeAt(None));
        cx.act(Action::Established(Some(Identity::user(self.id.clone()))));
        let events = self.kept.events();
        if !events.is_empty() {
            subscribe(&events, cx);
        }
        cx.act(Action::Open(LOGIN));
    }

    fn hear(&mut self, message: &Message, cx: &mut Cx<'_, Self>) {
        let established = self.login == Login::Done;
        match &*message.name {
            "authenticated" => Self::authenticated(self, message, cx),
            "request" => self.requested(message, cx),
            "dataResponse" | "data_response" | "fileData" if established => self.answered(message, cx),
            "error" if established && message.text("requestId").is_some() => self.answered(message, cx),
            "hyperHqEvent" if established => self.heard(message, cx),
            "eventsSubscribed" if established => {}
            _ if !established => cx.count(Count::BeforeLogin),
            // However many, they end nothing: a newer host may say more than this plugin knows.
            _ => cx.count(Count::Unexpected),
        }
    }

    fn requested(&mut self, message: &Message, cx: &mut Cx<'_, Self>) {
        let id = message.id("id").filter(|id| id.as_bytes().starts_with(b"\""));
        let (Some(id), Some(method)) = (id, message.text("method")) else {
            return cx.count(Count::Undecodable);
        };
        let token = self.kept.token();
        let refuse = |why: &str| refusal(&id, why, token.as_ref());
        if self.login != Login::Done {
            cx.write(refuse("not authenticated"));
            return cx.count(Count::BeforeLogin);
        }
        if self.leaving {
            cx.write(refuse("shutting down"));
            return cx.count(Count::Unexpected);
        }
        let Ok(route) = Route::new(method) else {
            cx.write(refuse("the method's name is too long"));
            return cx.count(Count::BadRoute);
        };
        if !self.asked.insert(id.to_bytes()) {
            return cx.count(Count::RepeatedId);
        }
        self.leaving = &*route == SHUTDOWN;
        let reply = Reply { id, last: self.leaving };
        let request = Request::new(route, message.body("data"));
        cx.deliver(Delivery::Request { request, reply, identity: None });
    }

    /// An answer of the host. Whatever comes again, late or under the other name, is nobody's.
    fn answered(&mut self, message: &Message, cx: &mut Cx<'_, Self>) {
        let call = message.text("requestId").and_then(|id| self.calls.remove(&id));
        let Some(call) = call else { return cx.count(Count::OrphanReply) };
        let failed = |code, why: String| Err(CallError::Failure(Failure::new(code, why)));
        let error = message.text("error");
        let outcome = if !message.holds("success") {
            failed(
                Code::Unknown,
                error
                    .or_else(|| message.text("message"))
                    .unwrap_or_else(|| "the host gives no reason".into()),
            )
        } else if message.name == "fileData" {
            match bytes_of(message.body("data")) {
                Some(bytes) => Ok(Response::from(Body::binary("", bytes))),
                None => failed(Code::Internal, "the host's file is neither base64 nor bytes".into()),
            }
        } else {
            Ok(Response::from(match message.body("data") {
                Body::Empty => Body::null(),
                data => data,
            }))
        };
        cx.deliver(Delivery::Response { call, outcome });
    }

    /// An event whose JSON cannot be looked into: who waits for its answer, or asked, is told.
    fn beyond(&mut self, text: &[u8], error: &JsonError, cx: &mut Cx<'_, Self>) {
        let established = self.login == Login::Done;
        match skim::name_of(text).as_deref() {
            Some("authenticated") if !established => {
                cx.close(Close::Refused(Refusal::new(format!("the host's answer is not read: {error}"))));
            }
            Some("request") => {
                let id = skim::id_of(text, "id").filter(|id| id.as_bytes().starts_with(b"\""));
                // What is in progress under this id keeps its answer.
                if let Some(id) = id.filter(|id| !self.asked.contains(id.as_bytes())) {
                    cx.write(refusal(&id, &error.to_string(), self.kept.token().as_ref()));
                }
                cx.count(if established { Count::BadBody } else { Count::BeforeLogin });
            }
            Some(name @ ("dataResponse" | "data_response" | "fileData" | "error")) if established => {
                let id = skim::text_of(text, "requestId");
                match id.as_ref().and_then(|id| self.calls.remove(id)) {
                    Some(call) => {
                        let outcome = Err(CallError::unread(error));
                        cx.deliver(Delivery::Response { call, outcome });
                    }
                    None if name == "error" && id.is_none() => cx.count(Count::Unexpected),
                    None => cx.count(Count::OrphanReply),
                }
            }
            Some("hyperHqEvent") if established => cx.count(Count::BadBody),
            _ if !established => cx.count(Count::BeforeLogin),
            // Not heard in any case; however many, they end nothing.
            _ => cx.count(Count::Unexpected),
        }
    }

    fn heard(&self, message: &Message, cx: &mut Cx<'_, Self>) {
        let Some(name) = message.text("type") else { return cx.count(Count::Undecodable) };
        if !self.kept.wants(&name) {
            return cx.count(Count::Unexpected);
        }
        let Ok(route) = Route::new(name) else { return cx.count(Count::BadRoute) };
        let mut meta = Meta::default();
        if let Some(timestamp) = message.member("timestamp") {
            meta.set(TIMESTAMP, timestamp.as_str());
        }
        cx.deliver(Delivery::Event(Event { route, body: message.body("data"), meta }));
    }

    fn call(&mut self, call: CallId, request: Request, cx: &mut Cx<'_, Self>) {
        if self.prefix.is_empty() {
            let mut drawn = [0; 4];
            cx.random().fill(&mut drawn);
            self.prefix = drawn.iter().map(|byte| format!("{byte:02x}")).collect();
        }
        let id = format!("{}-{}", self.prefix, self.next);
        self.next += 1;
        let object = if request.route == FILE {
            let path = match &request.body {
                Body::Json(path) if path.as_bytes().starts_with(b"{") => {
                    crate::message::member(&path.to_bytes(), "filePath").unwrap_or_else(JsonText::null)
                }
                Body::Json(path) => path.clone(),
                Body::Empty | Body::Binary(_) => JsonText::null(),
            };
            Object::new().raw("filePath", path.as_bytes()).text("requestId", &id)
        } else {
            Object::new()
                .text("method", &request.route)
                .body("params", request.body, b"{}")
                .text("requestId", &id)
        };
        let name = if request.route == FILE { "requestFile" } else { "requestData" };
        cx.write(with_token(object, self.kept.token().as_ref()).event(name));
        self.calls.insert(id, call);
    }

    fn answer(&mut self, reply: &Reply, result: Result<Response, Failure>, cx: &mut Cx<'_, Self>) {
        self.asked.remove(reply.id.as_bytes());
        let data = match result {
            Ok(response) => response.body,
            // Leaving in order is what a plugin does that has nothing to say about it.
            Err(failure) if reply.last && failure.unrouted => {
                Body::Json(JsonText::from_validated(Bytes::from_static(b"\"ok\"")))
            }
            Err(failure) => Body::Json(Object::new().text("error", &failure.message).json()),
        };
        let object =
            Object::new().raw("id", reply.id.as_bytes()).text("type", "response").body("data", data, b"null");
        cx.write(with_token(object, self.kept.token().as_ref()).event("response"));
        if reply.last {
            cx.close(Close::Dismissed("the host asked for a shutdown".into()));
        }
    }

    fn say(&mut self, status: Body, cx: &mut Cx<'_, Self>) {
        if let Some(status) = self.status.say(payload(status), cx.now()) {
            cx.write(event("statusUpdate", status.as_bytes(), Vec::new()));
        }
        cx.act(Action::WakeAt(self.status.wake_at()));
    }
}

fn with_token(object: Object, token: Option<&Secret>) -> Object {
    match token.map(|token| std::str::from_utf8(token.expose())) {
        Some(Ok(token)) => object.text("sessionToken", token),
        _ => object,
    }
}

/// The answer to a request that is not run.
fn refusal(id: &JsonText, why: &str, token: Option<&Secret>) -> Packet {
    let data = Object::new().text("error", why).json();
    let object = Object::new().raw("id", id.as_bytes()).text("type", "response").raw("data", data.as_bytes());
    with_token(object, token).event("response")
}

fn subscribe(names: &[String], cx: &mut Cx<'_, PluginSession>) {
    if let Ok(names) = JsonText::from_value(names) {
        cx.write(event("subscribeEvents", names.as_bytes(), Vec::new()));
    }
}

impl Session for PluginSession {
    type Codec = Packets;
    type Reply = Reply;
    type Command = Subscribe;

    fn open(&mut self, _: &mut Cx<'_, Self>) {}

    fn receive(&mut self, packet: Packet, cx: &mut Cx<'_, Self>) {
        if let Kind::Beyond { ack: false, text, error, .. } = &packet.kind {
            return self.beyond(text, error, cx);
        }
        let Some(message) = Message::of(packet, cx.pins()) else { return cx.count(Count::Unexpected) };
        self.hear(&message, cx);
    }

    fn admit(&self, outbound: &OutboundOf<Self>) -> Admit {
        let refuse = |why| Admit::Refuse(Failure::new(Code::InvalidArgument, why));
        match outbound {
            Outbound::Request { request, .. } if request.route == FILE => {
                let is_path = matches!(&request.body, Body::Json(path) if path.as_bytes().starts_with(b"\"") || path.as_bytes().starts_with(b"{"));
                if !is_path {
                    return refuse("requestFile takes a path, or an object with filePath");
                }
            }
            Outbound::Event(event) if RESERVED.contains(&&*event.route) => {
                return refuse("this name belongs to the flow itself, or to Socket.IO");
            }
            Outbound::Request { .. } | Outbound::Event(_) => {}
            _ => return Admit::Now,
        }
        if self.login == Login::Done { Admit::Now } else { Admit::Hold(LOGIN) }
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        match outbound {
            Outbound::Request { call, request, .. } => self.call(call, request, cx),
            Outbound::Event(event) if &*event.route == "statusUpdate" => self.say(event.body, cx),
            Outbound::Event(Event { route, body, .. }) => {
                let packet = match body {
                    Body::Empty => event(&route, b"{}", Vec::new()),
                    Body::Json(text) => event(&route, text.as_bytes(), Vec::new()),
                    Body::Binary(binary) => {
                        event(&route, b"{\"_placeholder\":true,\"num\":0}", vec![binary.bytes])
                    }
                };
                cx.write(packet);
            }
            Outbound::Response { reply, result } => self.answer(&reply, result, cx),
            Outbound::Cancel(call) => self.calls.retain(|_, known| *known != call),
            Outbound::Command(Subscribe(names)) => {
                let new = self.kept.want(names);
                if self.login == Login::Done && !new.is_empty() {
                    subscribe(&new, cx);
                }
            }
        }
    }

    fn progress(&mut self, _: &Reply, body: Body, cx: &mut Cx<'_, Self>) {
        self.say(body, cx);
    }

    fn wake(&mut self, cx: &mut Cx<'_, Self>) {
        if self.login != Login::Done {
            // Leaves this namespace for the other, where there is one to be tried; its time is the login's from then on.
            return cx.write(Packet::main(Kind::Disconnect));
        }
        if let Some(status) = self.status.due(cx.now()) {
            cx.write(event("statusUpdate", status.as_bytes(), Vec::new()));
        }
        cx.act(Action::WakeAt(self.status.wake_at()));
    }
}

impl Upper for PluginSession {
    /// By the token of the last connection where there is one, else by the challenge.
    fn connected(&mut self, _: Identity, cx: &mut Cx<'_, Self>) {
        self.login = Login::Before;
        self.authenticate(cx);
        cx.act(Action::WakeAt(Some(cx.now() + SILENCE)));
    }

    /// An answer that is older than our question answers nothing: the login fails.
    fn early(&mut self, packet: Packet, cx: &mut Cx<'_, Self>) {
        if matches!(packet.kind, Kind::Beyond { .. }) {
            return self.receive(packet, cx);
        }
        let Some(message) = Message::of(packet, cx.pins()) else { return cx.count(Count::Unexpected) };
        if message.name == "authenticated" {
            let why = "the host answers the login before it was asked";
            return cx.close(Close::Refused(Refusal::new(why)));
        }
        self.hear(&message, cx);
    }
}

impl fmt::Debug for PluginSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginSession")
            .field("id", &self.id)
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}
