//! What a host knows of one connection: who it is, what it asked, what it was asked, and what it wants to hear.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use polywire_core::{
    Action, Admit, Body, CallError, CallId, Close, Code, Count, Cx, Delivery, Event, Failure, Gate, Identity,
    JsonError, JsonText, Moment, Outbound, OutboundOf, Outcome, Refusal, Request, Response, Route, Session,
};
use polywire_socketio::{Args, Kind, Packet, Packets, Upper};

use super::calls::{Calls, Heard, LOOK};
use super::config::{FileEncoding, HostConfig};
use super::plugins::{Plugins, Shown};
use crate::message::{Message, Object, event};
use crate::plugin::FILE;
use crate::skim;

/// Everything waits behind it until the login is done.
const LOGIN: Gate = Gate(0);
/// The least time between two signs of life that go on; the others are as good as the one before them. A connection that was left
/// looks that often at what is its own.
const PACE: Duration = Duration::from_millis(100);

/// What is said to whoever asks before its login.
const NOT_AUTHENTICATED: &str = "Not authenticated";

/// Under this name the host's handler hears what a plugin says of its work; which request it is about is not said.
pub const STATUS: Route = Route::from_static("statusUpdate");

/// What the answer to a request of a plugin must carry back, as it was spelled.
#[derive(Debug, PartialEq, Eq)]
pub enum HostReply {
    /// A request for data.
    Data {
        /// Its id, of any JSON type.
        id: JsonText,
        /// Its method, for the words of a refusal.
        method: String,
        /// The acknowledgement that its client wants; it follows the answer.
        ack: Option<u64>,
    },
    /// A request for a file.
    File {
        /// Its id, where it has one that is not too long to be kept.
        id: Option<JsonText>,
        /// Its path, where it has one.
        path: Option<JsonText>,
        /// Its bytes are wanted as an attachment.
        binary: bool,
        /// The acknowledgement that its client wants; it follows the answer.
        ack: Option<u64>,
    },
}

/// One connection of a host, above whatever carries the packets.
pub struct HostSession {
    config: Arc<HostConfig>,
    plugins: Arc<Plugins>,
    /// Where the host listens, for plugins that want to be told.
    port: u16,
    connection: u64,
    /// The plugin that logged in here.
    plugin: Option<String>,
    /// Whether its session still lived here when so many sessions had moved; looked up again after one more.
    lives_here: Cell<(u64, bool)>,
    logins: u32,
    /// Why the last login failed, until it is followed by another or by the end.
    refused: Option<(Refusal, Moment)>,
    subscribed: BTreeSet<String>,
    calls: Arc<Calls>,
    /// When a sign of life goes on again.
    quiet_until: Moment,
}

impl HostSession {
    /// A connection that was just made. `plugins` is shared by all of one host, which listens at `port`.
    pub fn new(config: Arc<HostConfig>, plugins: Arc<Plugins>, port: u16) -> Self {
        Self {
            connection: plugins.connection(),
            config,
            plugins,
            port,
            plugin: None,
            lives_here: Cell::new((0, false)),
            logins: 0,
            refused: None,
            subscribed: BTreeSet::new(),
            calls: Arc::default(),
            quiet_until: Moment::default(),
        }
    }

    /// The plugin that logged in here, as long as its session has not moved to another connection.
    fn current(&self) -> Option<&str> {
        let plugin = self.plugin.as_deref()?;
        // Before the look-up, so that a move in between is seen the next time.
        let moves = self.plugins.moves();
        if self.lives_here.get().0 != moves {
            self.lives_here.set((moves, self.plugins.is_current(plugin, self.connection)));
        }
        self.lives_here.get().1.then_some(plugin)
    }

    fn log_in(&mut self, message: &Message, cx: &mut Cx<'_, Self>) {
        self.logins = self.logins.saturating_add(1);
        let id = message.text("pluginId").filter(|id| !id.is_empty());
        if self.plugin.is_some() && self.plugin != id {
            // Who a connection is does not change: what it was asked and told belongs to one plugin.
            return self.refuse("Already authenticated as another plugin", cx);
        }
        let challenge = message.text("challenge").or_else(|| message.text("token"));
        let token = message.text("sessionToken");
        let again = self.plugin.is_some();
        let shown = Shown { challenge: challenge.as_deref(), token: token.as_deref(), again };
        let verdict = match &id {
            Some(id) => self.plugins.log_in(id, shown, (self.connection, &self.calls), cx.now(), cx.random()),
            None => Err("Missing pluginId"),
        };
        match (verdict, id) {
            (Ok(token), Some(id)) => {
                let token = std::str::from_utf8(token.expose()).unwrap_or_default().to_owned();
                let object =
                    Object::new().raw("success", b"true").text("pluginId", &id).text("sessionToken", &token);
                cx.write(object.raw("serverPort", self.port.to_string().as_bytes()).event("authenticated"));
                self.refused = None;
                cx.act(Action::WakeAt(None));
                if self.plugin.is_none() {
                    cx.act(Action::Established(Some(Identity::user(id.clone()))));
                    cx.act(Action::Open(LOGIN));
                }
                self.plugin = Some(id);
            }
            (Err(why), _) => self.refuse(why, cx),
            (Ok(_), None) => {}
        }
    }

    fn refuse(&mut self, why: &'static str, cx: &mut Cx<'_, Self>) {
        cx.write(Object::new().raw("success", b"false").text("error", why).event("authenticated"));
        if self.plugin.is_some() {
            // Whoever is logged in stays so.
            return cx.count(Count::Unexpected);
        }
        let refusal = Refusal::new(why);
        if self.logins >= self.config.max_logins {
            return cx.close(Close::Refused(refusal));
        }
        let until = cx.now() + self.config.refusal_grace;
        self.refused = Some((refusal, until));
        cx.act(Action::WakeAt(Some(until)));
    }

    /// Why a request is not served, if it is not.
    fn fault(&self, message: &Message, token_required: bool) -> Option<&'static str> {
        let Some(plugin) = self.current() else { return Some(NOT_AUTHENTICATED) };
        let shown =
            message.member("sessionToken").filter(|token| !matches!(token.as_bytes(), b"null" | b"\"\""));
        match (shown, token_required) {
            (None, true) => Some("Session token required"),
            (None, false) => None,
            (Some(_), _) => {
                let right = message
                    .text("sessionToken")
                    .is_some_and(|token| self.plugins.is_token_of(plugin, self.connection, &token));
                (!right).then_some("Invalid session token")
            }
        }
    }

    fn asked_for_data(&mut self, message: &Message, ack: Option<u64>, cx: &mut Cx<'_, Self>) {
        let Some(id) = message.id("requestId") else {
            let is_missing = message.member("requestId").is_none();
            cx.write(complaint(if is_missing { "Missing requestId" } else { "The requestId is too long" }));
            acknowledge(ack, cx);
            return cx.count(Count::Undecodable);
        };
        let method = message.text("method").unwrap_or_default();
        let reply = HostReply::Data { id, method, ack };
        let HostReply::Data { method, .. } = &reply else { return };
        let fault = self.fault(message, self.config.require_data_token);
        let why = match (fault, Route::new(method.clone())) {
            (Some(why), _) => why,
            (None, _) if method.is_empty() => "Missing method",
            (None, Err(_)) => "Method name too long",
            (None, Ok(route)) => {
                let params = match message.body("params") {
                    Body::Empty => object(),
                    Body::Json(text) if text.as_bytes() == b"null" => object(),
                    params => params,
                };
                let request = Request::new(route, params);
                return cx.deliver(Delivery::Request { request, reply, identity: None });
            }
        };
        self.answer(&reply, Err(Failure::new(Code::PermissionDenied, why)), cx);
        cx.count(if fault.is_some() { Count::BeforeLogin } else { Count::Undecodable });
    }

    fn asked_for_file(&mut self, message: &Message, ack: Option<u64>, cx: &mut Cx<'_, Self>) {
        let binary = self.config.file_encoding == FileEncoding::Binary
            || message.text("encoding").is_some_and(|encoding| encoding == "binary");
        let path = message.member("filePath");
        let reply = HostReply::File { id: message.id("requestId"), path: path.clone(), binary, ack };
        if let Some(why) = self.fault(message, self.config.require_file_token) {
            self.answer(&reply, Err(Failure::new(Code::PermissionDenied, why)), cx);
            return cx.count(Count::BeforeLogin);
        }
        match path.filter(|path| path.as_bytes().starts_with(b"\"")) {
            Some(path) => {
                let request = Request::new(FILE, Body::Json(path));
                cx.deliver(Delivery::Request { request, reply, identity: None });
            }
            None => {
                self.answer(&reply, Err(Failure::new(Code::InvalidArgument, "Invalid file path")), cx);
                cx.count(Count::Undecodable);
            }
        }
    }

    fn answer(&self, reply: &HostReply, result: Result<Response, Failure>, cx: &mut Cx<'_, Self>) {
        match reply {
            HostReply::Data { id, method, .. } => {
                let object = Object::new().raw("requestId", id.as_bytes());
                let object = match result {
                    Ok(Response { body: Body::Empty, .. }) => object.raw("success", b"true"),
                    Ok(response) => object.raw("success", b"true").body("data", response.body, b"null"),
                    Err(failure) if failure.unrouted => {
                        object.raw("success", b"false").text("error", &format!("Unknown method: {method}"))
                    }
                    Err(failure) => object.raw("success", b"false").text("error", &failure.message),
                };
                let packet = object.event("dataResponse");
                let again = self.config.aliases.then(|| renamed(&packet, "data_response"));
                cx.write(packet);
                again.into_iter().for_each(|packet| cx.write(packet));
            }
            HostReply::File { id, path, binary, .. } => {
                let mut object = Object::new();
                for (name, value) in [("requestId", id), ("filePath", path)] {
                    if let Some(value) = value {
                        object = object.raw(name, value.as_bytes());
                    }
                }
                let bytes = result.and_then(|response| match response.body {
                    Body::Binary(file) => Ok(file.bytes),
                    _ => Err(Failure::new(Code::Internal, "File cannot be read")),
                });
                let object = match bytes {
                    Ok(bytes) => {
                        let size = bytes.len().to_string();
                        let object = object.raw("success", b"true");
                        let object = if *binary {
                            object.body("data", Body::binary("", bytes), b"null")
                        } else {
                            object.text("data", &BASE64_STANDARD.encode(&bytes))
                        };
                        object.raw("size", size.as_bytes())
                    }
                    Err(failure) if failure.unrouted => {
                        object.raw("success", b"false").text("error", "File not found")
                    }
                    Err(failure) => object.raw("success", b"false").text("error", &failure.message),
                };
                cx.write(object.event("fileData"));
            }
        }
        let (HostReply::Data { ack, .. } | HostReply::File { ack, .. }) = reply;
        acknowledge(*ack, cx);
    }

    /// The answer of a plugin; the first for an id counts, on whichever of its connections it was asked.
    fn answered(&mut self, id: Option<String>, outcome: impl FnOnce() -> Outcome, cx: &mut Cx<'_, Self>) {
        let Some(id) = id else { return cx.count(Count::OrphanReply) };
        if let Some(call) = self.calls.take(&id) {
            cx.deliver(Delivery::Response { call, outcome: outcome() });
            return self.leave_when_done(cx);
        }
        let is_ours = self.current().is_some_and(|plugin| self.plugins.answer(plugin, &id, outcome()));
        if !is_ours {
            cx.count(Count::OrphanReply);
        }
    }

    /// An event whose JSON cannot be looked into: who waits for its answer, or asked, is told.
    fn beyond(&mut self, text: &[u8], error: &JsonError, cx: &mut Cx<'_, Self>) {
        let is_known = self.current().is_some();
        let why = if is_known { error.to_string() } else { NOT_AUTHENTICATED.to_owned() };
        let refused = |why| Err(Failure::new(Code::InvalidArgument, why));
        match skim::name_of(text).as_deref() {
            Some("requestData" | "request_data") => match skim::id_of(text, "requestId") {
                Some(id) => {
                    self.answer(&HostReply::Data { id, method: String::new(), ack: None }, refused(why), cx);
                }
                None => cx.write(complaint(&why)),
            },
            Some("requestFile") => {
                let id = skim::id_of(text, "requestId");
                self.answer(&HostReply::File { id, path: None, binary: false, ack: None }, refused(why), cx);
            }
            Some("subscribeEvents") => cx.write(complaint(&why)),
            Some("authenticate") => {
                cx.write(complaint(&error.to_string()));
                return cx.count(Count::BadBody);
            }
            Some("response" | "plugin:response") if self.plugin.is_some() => {
                return self.answered(skim::text_of(text, "id"), || Err(CallError::unread(error)), cx);
            }
            Some("statusUpdate" | "thumbnail:created" | "thumbnail:progress" | "thumbnail:complete") => {}
            // Not heard in any case; however many, they end nothing.
            _ if self.plugin.is_some() => return cx.count(Count::Unexpected),
            _ => {}
        }
        cx.count(if is_known { Count::BadBody } else { Count::BeforeLogin });
    }

    /// What its plugin has said on a newer connection.
    fn look(&self, cx: &mut Cx<'_, Self>) {
        let Heard { answers, is_alive } = self.calls.heard();
        if is_alive {
            cx.deliver(Delivery::Progress { call: None, body: Body::Empty });
        }
        for (call, outcome) in answers {
            cx.deliver(Delivery::Response { call, outcome });
        }
        self.leave_when_done(cx);
        if self.plugin.is_some() && self.current().is_none() {
            // What waits in its queue may wait for just the answer that comes elsewhere.
            cx.act(Action::WakeAt(Some(cx.now() + PACE)));
        }
    }

    /// A connection that its plugin has left ends with the last request that was asked on it.
    fn leave_when_done(&self, cx: &mut Cx<'_, Self>) {
        if self.plugin.is_some() && self.calls.is_done() && self.current().is_none() {
            // Told, a client does not come back here.
            cx.write(Packet::main(Kind::Disconnect));
            cx.close(Close::Local);
        }
    }

    fn subscribe(&mut self, message: &Message, cx: &mut Cx<'_, Self>) {
        let Some(plugin) = self.current().map(str::to_owned) else {
            cx.write(complaint(NOT_AUTHENTICATED));
            return cx.count(Count::BeforeLogin);
        };
        let Some(mut names) = message.names() else {
            cx.write(complaint("subscribeEvents expects an array of event names"));
            return cx.count(Count::Undecodable);
        };
        let mut seen = BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        let fits = self.subscribed.union(&seen).count() <= self.config.max_subscriptions;
        if !fits || names.iter().any(|name| name.len() > Route::MAX_BYTES) {
            let max = self.config.max_subscriptions;
            cx.write(complaint(&format!(
                "more than max_subscriptions = {max} events, or a name above 255 bytes"
            )));
            return cx.count(Count::BadBody);
        }
        self.subscribed.append(&mut seen);
        if let Ok(names) = JsonText::from_value(&names) {
            cx.write(
                Object::new()
                    .raw("events", names.as_bytes())
                    .text("pluginId", &plugin)
                    .event("eventsSubscribed"),
            );
        }
    }

    /// A sign of life, of no request in particular. Its words are an object or, of older plugins, a text; or there are none.
    fn is_alive(&mut self, message: &Message, cx: &mut Cx<'_, Self>) {
        let Some(plugin) = self.current() else { return cx.count(Count::BeforeLogin) };
        if !message.is_told() {
            // However many, they end nothing.
            return cx.count(Count::Unexpected);
        }
        if cx.now() < self.quiet_until {
            return;
        }
        self.plugins.live_on(plugin, &self.calls);
        self.quiet_until = cx.now() + PACE;
        cx.deliver(Delivery::Progress { call: None, body: message.whole() });
        cx.deliver(Delivery::Event(Event::new(STATUS, message.whole())));
    }

    fn notified(&mut self, message: &Message, cx: &mut Cx<'_, Self>) {
        if self.current().is_none() {
            return cx.count(Count::BeforeLogin);
        }
        match Route::new(message.name.clone()) {
            Ok(route) => cx.deliver(Delivery::Event(Event::new(route, message.whole()))),
            Err(_) => cx.count(Count::BadRoute),
        }
    }

    fn broadcast(&self, event: Event, cx: &mut Cx<'_, Self>) {
        if self.subscribed.contains(&*event.route) && self.current().is_some() {
            let packet = self.plugins.told().packet(event, cx.now(), || cx.wall());
            cx.write(packet);
        }
    }

    fn ask(&mut self, call: CallId, request: Request, cx: &mut Cx<'_, Self>) {
        if self.current().is_none() {
            let why = "the plugin's session has moved to another connection, or has ended";
            let outcome = Err(CallError::not_sent(Code::Unavailable, why));
            return cx.deliver(Delivery::Response { call, outcome });
        }
        let id = format!("req-{}", self.plugins.request());
        let object = Object::new().text("id", &id).text("method", &request.route);
        cx.write(object.body("data", request.body, b"{}").event("request"));
        self.calls.begin(id, call);
    }
}

/// How a request ended, by the answer to it.
fn outcome_of(message: &Message) -> Outcome {
    let data = message.body("data");
    let error = match &data {
        Body::Json(text) => crate::message::member(&text.to_bytes(), "error"),
        Body::Empty | Body::Binary(_) => None,
    };
    let error = error.and_then(|error| Some(polywire_core::json::as_string(error.as_bytes())?.into_owned()));
    let is_error = message.text("type").is_some_and(|kind| kind == "error");
    match (error, is_error) {
        (None, false) => Ok(Response::from(data)),
        (why, _) => {
            let why = why.unwrap_or_else(|| "the plugin gives no reason".to_owned());
            Err(CallError::Failure(Failure::new(Code::Unknown, why)))
        }
    }
}

fn object() -> Body {
    Body::Json(JsonText::from_validated(Bytes::from_static(b"{}")))
}

/// Nothing in the flow asks for an acknowledgement; a client that does is not left waiting once its message is handled.
fn acknowledge(id: Option<u64>, cx: &mut Cx<'_, HostSession>) {
    if id.is_some() {
        cx.write(Packet::main(Kind::Ack { id, args: Args::none() }));
    }
}

/// What is wrong with a message that belongs to no request.
fn complaint(why: &str) -> Packet {
    Object::new().text("message", why).event("error")
}

/// The same event under another name.
fn renamed(packet: &Packet, name: &str) -> Packet {
    let Kind::Event { args, .. } = &packet.kind else { return packet.clone() };
    let argument = args.text().iter().position(|byte| *byte == b',').map_or(0, |comma| comma + 1);
    let argument = args.text().get(argument..args.text().len().saturating_sub(1)).unwrap_or_default();
    event(name, argument, args.attachments().to_vec())
}

impl Session for HostSession {
    type Codec = Packets;
    type Reply = HostReply;
    type Command = ();

    fn open(&mut self, _: &mut Cx<'_, Self>) {}

    fn receive(&mut self, packet: Packet, cx: &mut Cx<'_, Self>) {
        let wants_acknowledgement = match packet.kind {
            Kind::Event { id, .. } => id,
            Kind::Beyond { ack: false, id, text, error } => {
                self.beyond(&text, &error, cx);
                return acknowledge(id, cx);
            }
            _ => None,
        };
        let Some(message) = Message::of(packet, cx.pins()) else { return cx.count(Count::Unexpected) };
        match &*message.name {
            "authenticate" => self.log_in(&message, cx),
            // Handled once they are answered.
            "requestData" | "request_data" => {
                return self.asked_for_data(&message, wants_acknowledgement, cx);
            }
            "requestFile" => return self.asked_for_file(&message, wants_acknowledgement, cx),
            "subscribeEvents" => self.subscribe(&message, cx),
            "response" | "plugin:response" if self.plugin.is_some() => {
                self.answered(message.text("id"), || outcome_of(&message), cx);
            }
            "statusUpdate" => self.is_alive(&message, cx),
            "thumbnail:created" | "thumbnail:progress" | "thumbnail:complete" => self.notified(&message, cx),
            _ if self.plugin.is_none() => cx.count(Count::BeforeLogin),
            // Such as `pluginLog` and `plugin:register`, which real plugins send; however many, they end nothing.
            _ => cx.count(Count::Unexpected),
        }
        acknowledge(wants_acknowledgement, cx);
    }

    fn admit(&self, _: &OutboundOf<Self>) -> Admit {
        if self.plugin.is_some() { Admit::Now } else { Admit::Hold(LOGIN) }
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        match outbound {
            Outbound::Request { call, request, .. } => self.ask(call, request, cx),
            Outbound::Event(event) if event.route == LOOK => self.calls.tell(),
            Outbound::Event(event) => self.broadcast(event, cx),
            Outbound::Response { reply, result } => self.answer(&reply, result, cx),
            Outbound::Cancel(call) => {
                self.calls.give_up(call);
                self.leave_when_done(cx);
            }
            Outbound::Command(()) => {}
        }
        if self.calls.has_news() {
            self.look(cx);
        }
    }

    fn wake(&mut self, cx: &mut Cx<'_, Self>) {
        if let Some((refusal, _)) = self.refused.take_if(|(_, until)| *until <= cx.now()) {
            cx.close(Close::Refused(refusal));
        }
        if self.plugin.is_some() {
            self.look(cx);
        }
    }
}

impl Upper for HostSession {
    /// The plugin speaks first.
    fn connected(&mut self, _: Identity, _: &mut Cx<'_, Self>) {}
}

impl Drop for HostSession {
    /// The connection is gone, however it went: its plugin's grace begins.
    fn drop(&mut self) {
        if let Some(plugin) = &self.plugin {
            self.plugins.lost(plugin, self.connection);
        }
    }
}

impl fmt::Debug for HostSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostSession").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}
