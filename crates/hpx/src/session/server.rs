//! The server's side of one connection: greeting, login, sessions, lists of function calls, commands.
//!
//! One message at a time: while its functions run no further frame is decoded, so replies leave in the order of the requests.
//! The entries of a list are handed over one after the other, as the original runs them, and gathered into one reply.
//!
//! Read in source: `ClientHandler.parse`, `handshake`, `get_context` of the 2018 server; observed: `server-edge-*`. What it does
//! wrong is not copied: a login without a name for whoever shows an unknown session, the open default user, commands without a
//! login, errors that leak into the next reply.

mod batch;
mod login;
mod shared;

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use polywire_core::{
    Action, Admit, Close, Code, Count, Cx, Failure, Flush, Identity, Outbound, OutboundOf, Refusal, Session,
};

use batch::Batch;
use login::Login;
pub use shared::Shared;

use super::table::{Entry, Found};
use super::{ServerCommand, flush, is_request_auth};
use crate::codec::{Frame, HpxCodec, Trust};
use crate::config::{Dialect, NonFinite};
use crate::gzip::Fault;
use crate::wire::{self, Message, Unreadable};

/// What a response must carry back: nothing, for one function runs at a time.
#[derive(Debug, PartialEq, Eq)]
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

type Context<'a, 'b> = &'a mut Cx<'b, ServerSession>;

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
        if let Some(error) = &message.mended
            && self.shared.config.wire.non_finite == NonFinite::Refuse
        {
            return self.unreadable(&Refused::new(900, format!("NaN and Infinity are no JSON: {error}")), cx);
        }
        if message.mended.is_some() || message.repeats_key {
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
                self.take_up(&entry);
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

    /// From now on this connection uses the session.
    fn take_up(&mut self, entry: &Arc<Entry>) {
        if self.current.as_ref().is_some_and(|current| Arc::ptr_eq(current, entry)) {
            return;
        }
        if entry.address != self.address {
            let [made_at, used_at] = [entry.address, self.address].map(|address| {
                address.map_or_else(|| "this machine".to_owned(), |address| address.to_string())
            });
            // Addresses change without anybody's fault, so it is allowed; a session that was stolen looks the same.
            tracing::debug!(wire = "hpx", made_at, used_at, "a session is used from another address");
        }
        self.current = Some(Arc::clone(entry));
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
        self.judged(verdict, cx);
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
            Outbound::Response { .. } | Outbound::Cancel(_) | Outbound::Command(_) => Admit::Now,
        }
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        match outbound {
            Outbound::Response { reply: Turn, result } => {
                if let Some(batch) = &mut self.batch {
                    batch.finished(&result, &self.shared.reply_limit);
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
            Outbound::Request { .. } | Outbound::Cancel(_) => {}
            Outbound::Command(never) => match never {},
        }
    }

    fn keeps(&self) -> usize {
        self.batch.as_ref().map_or(0, Batch::keeps)
    }
}

/// The broadcast that an event of this route stands for.
fn command_of(route: &str) -> Option<ServerCommand> {
    [ServerCommand::Quit, ServerCommand::Restart].into_iter().find(|command| command.as_str() == route)
}
