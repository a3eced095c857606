//! The server's side of one connection: greeting, login, sessions, lists of function calls, commands.
//!
//! One message at a time: while its functions run no further frame is decoded, so replies leave in the order of the requests.
//! The entries of a list are handed over one after the other, as the original runs them, and gathered into one reply.
//!
//! Read in source: `ClientHandler.parse`, `handshake`, `get_context` of the 2018 server; observed: `server-edge-*`. What it does
//! wrong is not copied: a login without a name for whoever shows an unknown session, the open default user, commands without a
//! login, errors that leak into the next reply.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use polywire_core::json;
use polywire_core::{
    Action, Admit, ByteString, Close, Code, Count, Credentials, Cx, Delivery, FailedLogins, Failure, Flush,
    Identity, Moment, Outbound, OutboundOf, Refusal, Request, Response, Route, Secret, Session,
};
use tokio::sync::watch;

use super::table::{Entry, Found, Table};
use super::{ServerCommand, flush, is_request_auth};
use crate::codec::{Frame, HpxCodec, Trust};
use crate::config::{Dialect, NonFinite, ServerConfig};
use crate::gzip::Fault;
use crate::translate;
use crate::wire::{self, AUTHENTICATED, FunctionCall, Message, Unreadable};

/// What the connections of one server share.
pub struct Shared {
    config: ServerConfig,
    table: Table,
    /// Failed logins, by name and by address: people choose names and passwords.
    failed_names: FailedLogins<String>,
    failed_addresses: FailedLogins<IpAddr>,
    /// Our name as JSON text.
    name: Bytes,
    /// The data of the greeting.
    greeting: Bytes,
    /// The command that was given, once one was.
    command: watch::Sender<Option<ServerCommand>>,
}

impl Shared {
    /// The state of a server with this configuration, which was validated.
    pub fn new(config: ServerConfig) -> Self {
        let version = config.version;
        let greeting = format!(
            "{{\"version\":{{\"core\":{:?},\"db\":{:?},\"torrent\":{:?}}},\"guest_allowed\":{}}}",
            version.core, version.db, version.torrent, config.guests
        );
        Self {
            table: Table::new(config.session_span, config.max_sessions, config.max_sessions_per_subject),
            failed_names: FailedLogins::new(config.max_failed_logins_per_name, config.failed_login_pause),
            failed_addresses: FailedLogins::of_addresses(&config.wire.limits),
            name: wire::quoted(&config.wire.name),
            greeting: Bytes::from(greeting),
            command: watch::Sender::new(None),
            config,
        }
    }

    /// The settings of the server.
    pub(crate) fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// How long this name or address still has to pause.
    fn pause(&self, subject: &str, address: Option<IpAddr>, now: Moment) -> Option<Duration> {
        let address = address.and_then(|address| self.failed_addresses.pause(&address, now));
        self.failed_names.pause(subject, now).max(address)
    }

    /// Notes a failed login.
    fn failed(&self, subject: &str, address: Option<IpAddr>, now: Moment) {
        self.failed_names.failed(subject, now);
        if let Some(address) = address {
            self.failed_addresses.failed(&address, now);
        }
    }

    /// Follows the commands that peers give.
    pub(crate) fn commands(&self) -> watch::Receiver<Option<ServerCommand>> {
        self.command.subscribe()
    }
}

impl fmt::Debug for Shared {
    /// Sessions are bearer secrets, so none is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What a response must carry back: nothing, for one function runs at a time.
#[derive(Debug)]
pub struct Turn;

/// The server's side of one connection.
pub struct ServerSession {
    shared: Arc<Shared>,
    /// The network the peer is in, unless that is this machine.
    address: Option<IpAddr>,
    /// May a password come over this connection?
    passwords: bool,
    /// The session of the last message that had a good one.
    current: Option<Arc<Entry>>,
    /// The session that error replies carry, as JSON text: the last one seen here.
    seen: Bytes,
    established: bool,
    before_login: u32,
    unknown_in_a_row: u32,
    empty_in_a_row: u32,
    login: Option<Login>,
    batch: Option<Batch>,
}

impl fmt::Debug for ServerSession {
    /// Sessions are bearer secrets and replies are the application's: neither is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSession")
            .field("address", &self.address)
            .field("established", &self.established)
            .finish_non_exhaustive()
    }
}

/// A login that is being judged.
struct Login {
    id: Option<Bytes>,
    subject: ByteString,
}

/// A list of function calls that is being worked off.
struct Batch {
    id: Option<Bytes>,
    identity: Arc<Identity>,
    calls: std::vec::IntoIter<FunctionCall>,
    /// The name of the function that runs, as JSON text.
    running: Bytes,
    /// The reply so far.
    reply: BytesMut,
}

type Context<'a, 'b> = &'a mut Cx<'b, ServerSession>;

/// Longest name a user may have, in bytes: names that failed are remembered, and must stay small.
const MAX_NAME_BYTES: usize = 255;

/// An answer that is an error.
struct Refused(i64, String);

impl Refused {
    fn new(code: i64, text: impl Into<String>) -> Self {
        Self(code, text.into())
    }

    fn login_required() -> Self {
        Self::new(407, "Authentication is required")
    }
}

impl ServerSession {
    /// The session of a new connection from the network `address`, `None` for this machine: see [`polywire_core::network_of`].
    pub fn new(shared: Arc<Shared>, address: Option<IpAddr>, secure: bool) -> Self {
        let passwords = secure || address.is_none() || shared.config.allow_plaintext;
        Self {
            shared,
            address,
            passwords,
            current: None,
            seen: Bytes::from_static(b"\"\""),
            established: false,
            before_login: 0,
            unknown_in_a_row: 0,
            empty_in_a_row: 0,
            login: None,
            batch: None,
        }
    }

    fn begin(&self, session: &[u8]) -> BytesMut {
        let mut out = BytesMut::with_capacity(256);
        wire::open(&mut out, session, &self.shared.name);
        out
    }

    fn write(&self, mut out: BytesMut, id: Option<&Bytes>, cx: Context<'_, '_>) {
        wire::close(&mut out, id.map(|id| &id[..]));
        cx.act(Action::Write(Frame::Text(out.freeze()), flush(self.shared.config.wire.dialect)));
    }

    fn reply(&self, session: &[u8], data: &[u8], id: Option<&Bytes>, cx: Context<'_, '_>) {
        let mut out = self.begin(session);
        out.extend_from_slice(data);
        self.write(out, id, cx);
    }

    fn refuse(&self, Refused(code, text): &Refused, id: Option<&Bytes>, cx: Context<'_, '_>) {
        let mut out = self.begin(&self.seen);
        out.extend_from_slice(b"null,\"error\":");
        wire::write_error(&mut out, *code, text);
        self.write(out, id, cx);
    }

    fn greet(&self, id: Option<&Bytes>, cx: Context<'_, '_>) {
        self.reply(b"\"\"", &self.shared.greeting, id, cx);
    }

    /// A frame that holds no message.
    fn unreadable(&mut self, refused: &Refused, cx: Context<'_, '_>) {
        cx.count(Count::Undecodable);
        self.refuse(refused, None, cx);
    }

    fn empty(&mut self, cx: Context<'_, '_>) {
        self.unreadable(&Refused::new(900, "an empty frame holds no JSON"), cx);
        self.empty_in_a_row = self.empty_in_a_row.saturating_add(1);
        let max = self.shared.config.wire.max_empty_frames;
        if self.empty_in_a_row >= max {
            cx.close(Close::Limit(format!(
                "{} empty frames in a row reach max_empty_frames = {max}",
                self.empty_in_a_row
            )));
        }
    }

    /// A message may be one too many for somebody who has not logged in.
    fn stranger(&mut self, cx: Context<'_, '_>) -> bool {
        if self.established {
            return false;
        }
        self.before_login = self.before_login.saturating_add(1);
        let max = self.shared.config.max_login_messages;
        let over = self.before_login > max;
        if over {
            cx.count(Count::BeforeLogin);
            cx.close(Close::Limit(format!(
                "{} messages before the login exceed max_login_messages = {max}",
                self.before_login
            )));
        }
        over
    }

    fn message(&mut self, message: &Message, cx: Context<'_, '_>) {
        if let Some(error) = &message.mended {
            if self.shared.config.wire.non_finite == NonFinite::Refuse {
                return self
                    .unreadable(&Refused::new(900, format!("NaN and Infinity are no JSON: {error}")), cx);
            }
            cx.count(Count::Mended);
        }
        let strict = self.shared.config.wire.dialect == Dialect::A;
        let id = message.id().filter(|_| !strict);
        if let Err(refused) = self.understand(message, id.as_ref(), strict, cx) {
            self.refuse(&refused, id.as_ref(), cx);
        }
        let max = self.shared.config.max_unknown_sessions;
        if self.unknown_in_a_row >= max {
            cx.close(Close::Limit(format!(
                "{} unknown sessions in a row reach max_unknown_sessions = {max}",
                self.unknown_in_a_row
            )));
        }
    }

    fn understand(
        &mut self,
        message: &Message,
        id: Option<&Bytes>,
        strict: bool,
        cx: Context<'_, '_>,
    ) -> Result<(), Refused> {
        let wrong = |text: String, cx: Context<'_, '_>| {
            cx.count(Count::Undecodable);
            Err(Refused(403, text))
        };
        if let Some(key) = message.missing_key() {
            return wrong(format!("JSON dict missing '{key}' key"), cx);
        }
        if strict && let Some(key) = &message.unknown_key {
            let key: String = key.chars().take(64).collect();
            return wrong(format!("JSON dict contains unknown key '{key}'"), cx);
        }
        let Some(session) = message.session() else {
            return wrong("'session' must be a string".to_owned(), cx);
        };
        let data = message.data();
        let entry = match self.shared.table.find(&session, self.current.as_ref(), cx.now()) {
            Found::Live(entry) => {
                self.seen = entry.quoted.clone();
                self.unknown_in_a_row = 0;
                self.current = Some(Arc::clone(&entry));
                self.establish(&entry.identity, cx);
                Some(entry)
            }
            Found::Expired(entry) => {
                self.seen = entry.quoted.clone();
                return Err(Refused::new(408, "the session has expired"));
            }
            Found::Unknown => None,
        };
        if is_request_auth(&data) {
            self.greet(id, cx);
            return Ok(());
        }
        if let Some(command) = ServerCommand::read(&data) {
            return self.command(command, entry.as_deref(), id, cx);
        }
        match (entry, data.first()) {
            (Some(entry), Some(b'[')) => self.calls(&data, &entry, id, cx),
            (Some(_), _) => Err(Refused::new(403, "No list of function objects found in 'data'")),
            (None, Some(b'{')) => self.login(&data, id, cx),
            (None, Some(b'n')) => self.login(&Bytes::from_static(b"{}"), id, cx),
            (None, Some(b'[')) => {
                // A mistake, or a guess.
                self.unknown_in_a_row = self.unknown_in_a_row.saturating_add(u32::from(!session.is_empty()));
                Err(Refused::login_required())
            }
            (None, _) => Err(Refused::new(412, "an object with 'user' and 'password' was expected")),
        }
    }

    fn establish(&mut self, identity: &Identity, cx: Context<'_, '_>) {
        if !self.established {
            self.established = true;
            cx.act(Action::ReadMode(Trust::Known));
            cx.act(Action::Established(Some(identity.clone())));
        }
    }

    fn command(
        &self,
        command: ServerCommand,
        entry: Option<&Entry>,
        id: Option<&Bytes>,
        cx: Context<'_, '_>,
    ) -> Result<(), Refused> {
        let Some(Entry { identity, .. }) = entry else { return Err(Refused::login_required()) };
        if identity.guest || !self.shared.config.may_command.contains(&identity.subject) {
            return Err(Refused::new(406, "this user may not command the server"));
        }
        self.shared.command.send_replace(Some(command));
        if id.is_some() {
            self.reply(&self.seen, b"\"ok\"", id, cx);
        }
        Ok(())
    }

    fn login(&mut self, data: &Bytes, id: Option<&Bytes>, cx: Context<'_, '_>) -> Result<(), Refused> {
        let config = &self.shared.config;
        let limits = &config.wire.limits.json;
        let wrong = || Refused::new(411, "Wrong credentials");
        let field = |name: &'static str| match wire::member(data, name, limits) {
            None if !config.guests => Err(Refused::new(412, format!("JSON dict missing '{name}' key"))),
            None => Ok(None),
            Some(value) if matches!(&value[..], b"null" | b"\"\"") => Ok(None),
            Some(value) => json::as_string(&value).map(|text| Some(text.into_owned())).ok_or_else(wrong),
        };
        let (subject, password) = match (field("user")?, field("password")?) {
            (Some(subject), Some(password)) => (ByteString::from(subject), Secret::from(password)),
            (None, None) if config.guests => return self.logged_in(Identity::guest(), id, cx),
            (None, None) => return Err(Refused::login_required()),
            _ => return Err(wrong()),
        };
        if subject.len() > MAX_NAME_BYTES {
            let text = format!(
                "a user name of {} bytes exceeds the {MAX_NAME_BYTES} bytes it may have",
                subject.len()
            );
            return Err(Refused(411, text));
        }
        if !self.passwords {
            let text = "a password in clear text is only accepted from this machine: use TLS";
            return Err(Refused::new(407, text));
        }
        if let Some(pause) = self.shared.pause(&subject, self.address, cx.now()) {
            let text =
                format!("too many failed logins: try again in {} s", pause.as_secs().saturating_add(1));
            return Err(Refused(411, text));
        }
        self.login = Some(Login { id: id.cloned(), subject: subject.clone() });
        cx.act(Action::Authenticate(Credentials::new(subject, password)));
        Ok(())
    }

    fn logged_in(
        &mut self,
        identity: Identity,
        id: Option<&Bytes>,
        cx: Context<'_, '_>,
    ) -> Result<(), Refused> {
        let entry = self
            .shared
            .table
            .create(identity, cx.random(), cx.now())
            .map_err(|full| Refused(400, full.to_string()))?;
        self.seen = entry.quoted.clone();
        self.unknown_in_a_row = 0;
        self.establish(&entry.identity, cx);
        self.reply(&entry.quoted, AUTHENTICATED, id, cx);
        self.current = Some(entry);
        Ok(())
    }

    fn calls(
        &mut self,
        data: &Bytes,
        entry: &Entry,
        id: Option<&Bytes>,
        cx: Context<'_, '_>,
    ) -> Result<(), Refused> {
        let limits = &self.shared.config.wire.limits.json;
        let max = self.shared.config.max_batch;
        let calls = FunctionCall::read_list(data, max, limits)
            .map_err(|error| Refused::new(403, error.to_string()))?;
        let mut reply = self.begin(&entry.quoted);
        reply.extend_from_slice(b"[");
        self.batch = Some(Batch {
            id: id.cloned(),
            identity: Arc::clone(&entry.identity),
            calls: calls.into_iter(),
            running: Bytes::new(),
            reply,
        });
        cx.act(Action::Reading(false));
        self.next_call(cx);
        Ok(())
    }

    /// Hands over the next function of the list, or sends the reply when there is none left.
    fn next_call(&mut self, cx: Context<'_, '_>) {
        let Some(batch) = &mut self.batch else { return };
        while let Some(FunctionCall { fname, arguments }) = batch.calls.next() {
            batch.running = fname;
            match route(&batch.running) {
                Some(route) => {
                    let identity = Some(Arc::clone(&batch.identity));
                    let request = Request::new(route, arguments);
                    cx.deliver(Delivery::Request { request, reply: Turn, identity });
                    return;
                }
                None => {
                    let failure = Failure::new(Code::NotFound, "no function has such a name");
                    batch.finished(&Err(failure));
                }
            }
        }
        if let Some(Batch { id, mut reply, .. }) = self.batch.take() {
            reply.extend_from_slice(b"]");
            self.write(reply, id.as_ref(), cx);
            cx.act(Action::Reading(true));
        }
    }
}

impl Batch {
    fn finished(&mut self, result: &Result<Response, Failure>) {
        if self.reply.last() != Some(&b'[') {
            self.reply.extend_from_slice(b",");
        }
        translate::write_result(&mut self.reply, &self.running, result);
    }
}

/// The route that a function's name is.
fn route(fname: &Bytes) -> Option<Route> {
    let inner = fname.len().checked_sub(1).and_then(|end| fname.get(1..end))?;
    if inner.contains(&b'\\') {
        return Route::new(json::as_string(fname)?.into_owned()).ok();
    }
    Route::from_bytes(fname.slice_ref(inner)).ok()
}

impl Session for ServerSession {
    type Codec = HpxCodec;
    type Reply = Turn;
    type Command = Infallible;

    fn open(&mut self, cx: &mut Cx<'_, Self>) {
        self.greet(None, cx);
    }

    fn receive(&mut self, frame: Frame, cx: &mut Cx<'_, Self>) {
        if self.stranger(cx) {
            return;
        }
        let text = match frame {
            Frame::Text(text) => text,
            Frame::Bad(fault) => {
                // The codes of the original: 100 for what its runtime did not expect, 410 for what gzip refused.
                let code = if fault == Fault::Truncated { 100 } else { 410 };
                return self.unreadable(&Refused::new(code, fault.to_string()), cx);
            }
        };
        if text.is_empty() {
            return self.empty(cx);
        }
        self.empty_in_a_row = 0;
        let wire = &self.shared.config.wire;
        match Message::read(&text, &wire.limits.json) {
            Ok(message) => self.message(&message, cx),
            Err(error) => {
                let code = match error {
                    Unreadable::NotUtf8 | Unreadable::TooDeep(_) => 100,
                    Unreadable::Json(_) => 900,
                    Unreadable::NotAnObject => 403,
                };
                self.unreadable(&Refused::new(code, error.to_string()), cx);
            }
        }
    }

    fn authenticated(&mut self, verdict: Result<Identity, Refusal>, cx: &mut Cx<'_, Self>) {
        let Some(Login { id, subject }) = self.login.take() else { return };
        let done = match verdict {
            Ok(identity) => {
                // The failures of the address are not made good by one name.
                self.shared.failed_names.succeeded(&*subject);
                self.logged_in(identity, id.as_ref(), cx)
            }
            Err(refusal) => {
                self.shared.failed(&subject, self.address, cx.now());
                Err(Refused(411, refusal.reason))
            }
        };
        if let Err(refused) = done {
            self.refuse(&refused, id.as_ref(), cx);
        }
    }

    fn admit(&self, outbound: &OutboundOf<Self>) -> Admit {
        match outbound {
            Outbound::Event(event) if command_of(&event.route).is_some() => Admit::Now,
            Outbound::Request { .. } => {
                Admit::Refuse(Failure::new(Code::Unimplemented, "an HPX server cannot call its clients"))
            }
            Outbound::Event(_) => {
                Admit::Refuse(Failure::new(Code::Unimplemented, "HPX carries no events but its broadcasts"))
            }
            Outbound::Response { .. } | Outbound::Abandon(_) | Outbound::Command(_) => Admit::Now,
        }
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        match outbound {
            Outbound::Response { reply: Turn, result } => {
                if let Some(batch) = &mut self.batch {
                    batch.finished(&result);
                }
                self.next_call(cx);
            }
            Outbound::Event(event) => {
                let Some(command) = command_of(&event.route) else { return };
                let mut out = self.begin(&self.seen);
                out.extend_from_slice(command.number());
                wire::close(&mut out, None);
                // Never in one write with a reply: old clients would lose one of the two.
                cx.act(Action::Write(Frame::Text(out.freeze()), Flush::Alone));
            }
            Outbound::Request { .. } | Outbound::Abandon(_) => {}
            Outbound::Command(never) => match never {},
        }
    }
}

/// The broadcast that an event of this route stands for.
fn command_of(route: &str) -> Option<ServerCommand> {
    [ServerCommand::Quit, ServerCommand::Restart].into_iter().find(|command| command.as_str() == route)
}
