//! The side that listens: judges the login, answers requests, pushes.

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{
    Action, Admit, Body, Close, Code, Count, Credentials, Cx, Delivery, Failure, Identity, JsonLimits,
    Moment, Outbound, OutboundOf, Refusal, Request, Response, Route, Secret, Session,
};
use zeroize::Zeroizing;

use super::{Frames, LOGIN, incoming, on_closed, outgoing, session_mode};
use crate::codec::{Codec, Frame, Text};
use crate::config::{Config, OnFailure};
use crate::guard::Nonces;
use crate::wire::{AUTH, HEARTBEAT, Message, Read, literal, read, take_text};

/// The meta fact of an answer that closes the connection instead: a status code and a reason, such as `4001 bye`, or an empty
/// text for a close frame without either. `1006`, which stands for an end without a close frame (RFC 6455, section 7.1.5), cuts
/// the connection, and what waits to be written is lost.
pub const CLOSE: &str = "stonyx.close";

/// The time in which unknown names are counted.
const SECOND: Duration = Duration::from_secs(1);

/// What an answer must carry back: the name as it was asked.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply(pub(crate) Route);

/// The login as far as it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Login {
    Awaited,
    Judging,
    Done,
}

/// One connection of a server.
#[derive(Debug)]
pub struct ServerSession {
    config: Arc<Config>,
    json: JsonLimits,
    nonces: Arc<Nonces>,
    login: Login,
    frames: Frames,
    /// Something was received since the last look.
    heard: bool,
    /// A sign of life was asked for and must be here at this moment.
    pong_due: Option<Moment>,
    /// Requests of unknown names since the moment.
    unknown: (u32, Moment),
    /// Requests that a handler has.
    running: u32,
    /// The key is worn out: nothing more is taken, and requests that a handler has may end first.
    leaving: bool,
}

impl ServerSession {
    /// A connection that was just accepted; `nonces` are shared by all of one server.
    pub fn new(config: Arc<Config>, json: JsonLimits, nonces: Arc<Nonces>) -> Self {
        let frames = Frames::new(config.encryption);
        Self {
            config,
            json,
            nonces,
            login: Login::Awaited,
            frames,
            heard: false,
            pong_due: None,
            unknown: (0, Moment::default()),
            running: 0,
            leaving: false,
        }
    }

    fn write(&mut self, text: Text, cx: &mut Cx<'_, Self>) {
        self.frames.wrote(text.nonce);
        cx.write(Frame::Write(text));
    }

    fn write_message(&mut self, name: &Route, member: &str, body: &Body, cx: &mut Cx<'_, Self>) {
        let value = match body {
            Body::Json(text) => Some(text.as_bytes()),
            Body::Empty | Body::Binary(_) => None,
        };
        let text = self.frames.writer(cx.random()).message(name, member, value);
        self.write(text, cx);
    }

    /// Ends the connection without a word, as the original does whatever the reason.
    fn refuse(&mut self, count: Count, why: &str, cx: &mut Cx<'_, Self>) {
        cx.count(count);
        cx.close(Close::Protocol(why.to_owned()));
    }

    fn asked(&mut self, message: Message, cx: &mut Cx<'_, Self>) {
        if message.repeats_key {
            cx.count(Count::Mended);
        }
        let Some(name) = message.request else { return cx.count(Count::UnknownKind) };
        if message.response != Body::Empty && message.data == Body::Empty && name != HEARTBEAT {
            // No client answers: this is what a server sent, come back.
            return self.refuse(Count::Unexpected, "an answer sent to a server", cx);
        }
        match (self.login, &name) {
            (Login::Awaited, name) if *name == AUTH => self.authenticate(message.data, cx),
            (_, name) if *name == AUTH => self.refuse(Count::Unexpected, "a second login", cx),
            (Login::Done, name) if *name == HEARTBEAT => {
                cx.count(Count::Control);
                self.write_message(&HEARTBEAT, "response", &literal("true"), cx);
            }
            (_, name) if *name == HEARTBEAT => cx.count(Count::BeforeLogin),
            (Login::Done, _) => self.deliver(name, message.data, cx),
            (_, name) if self.config.open_routes.contains(name) => {
                self.deliver(name.clone(), message.data, cx);
            }
            _ => self.refuse(Count::BeforeLogin, "a request before the login", cx),
        }
    }

    fn deliver(&mut self, name: Route, data: Body, cx: &mut Cx<'_, Self>) {
        let request = Request::new(incoming(name.clone(), &self.config), data);
        self.running = self.running.saturating_add(1);
        cx.deliver(Delivery::Request { request, reply: Reply(name), identity: None });
    }

    /// Has the connection replaced before its key is worn out, and not under a request that is being served.
    fn spare_the_key(&mut self, cx: &mut Cx<'_, Self>) {
        let Some(why) = self.frames.worn_out(&self.config) else { return };
        if !std::mem::replace(&mut self.leaving, true) {
            cx.count(Count::KeysWornOut);
            cx.act(Action::Reading(false));
        }
        if self.running == 0 {
            cx.close(Close::GivenUp(why));
        }
    }

    fn authenticate(&mut self, data: Body, cx: &mut Cx<'_, Self>) {
        let (secret, data) = match &data {
            Body::Json(text) => take_text(text, "authKey", &self.json),
            _ => (None, data),
        };
        self.login = Login::Judging;
        let secret = secret.map(Zeroizing::new).map(|key| Secret::from(key.as_str()));
        cx.act(Action::Authenticate(Credentials { subject: None, secret, data }));
    }

    /// Counts a request that nobody serves; too many in a second are no accident.
    fn unknown_name(&mut self, cx: &mut Cx<'_, Self>) {
        let (count, since) = self.unknown;
        self.unknown =
            if cx.now() >= since + SECOND { (1, cx.now()) } else { (count.saturating_add(1), since) };
        let max = self.config.max_unknown_names;
        if self.unknown.0 > max {
            cx.close(Close::Limit(format!("more than max_unknown_names = {max} unknown names in a second")));
        }
    }

    fn answer(&mut self, name: &Route, result: Result<Response, Failure>, cx: &mut Cx<'_, Self>) {
        if let Ok(response) = &result
            && let Some(close) = response.meta.get(CLOSE)
        {
            return close_as_told(close, cx);
        }
        let body = match result {
            Ok(Response { body: Body::Empty, .. }) => match &self.config.empty_reply {
                Some(text) => Body::Json(text.clone()),
                // Nothing to say is said by saying nothing.
                None => return,
            },
            Ok(Response { body: Body::Binary(_), .. }) => {
                let failure = Failure::new(Code::Unimplemented, "this wire carries no bytes");
                Body::Json(failure.to_json())
            }
            Ok(Response { body, .. }) => body,
            // The original ignores names it does not know.
            Err(failure) if failure.unrouted => return self.unknown_name(cx),
            Err(failure) if self.config.on_failure == OnFailure::Answer => Body::Json(failure.to_json()),
            Err(failure) => {
                return cx.close(Close::GivenUp(format!(
                    "a handler failed, as on_failure = close asks: {failure}"
                )));
            }
        };
        self.write_message(name, "response", &body, cx);
    }
}

impl Session for ServerSession {
    type Codec = Codec;
    type Reply = Reply;
    type Command = ();

    fn open(&mut self, cx: &mut Cx<'_, Self>) {
        self.unknown.1 = cx.now();
        cx.act(Action::WakeAt(Some(cx.now() + self.config.heartbeat)));
    }

    fn receive(&mut self, frame: Frame, cx: &mut Cx<'_, Self>) {
        self.heard = true;
        let (nonce, text) = match frame {
            Frame::Read { nonce, text } => (nonce, text),
            Frame::Shut(why) => return self.refuse(Count::Undecodable, why, cx),
            Frame::Pong => return cx.count(Count::Control),
            Frame::Closed(close) => return on_closed(close, cx),
            Frame::Ping | Frame::Write(_) | Frame::Close(..) => return,
        };
        let replayed = match nonce {
            Some(nonce) if self.login == Login::Awaited => !self.nonces.is_new(nonce, cx.now()),
            _ => false,
        };
        if !self.frames.is_new(nonce) || replayed {
            return self.refuse(Count::Undecodable, "a message that was here before", cx);
        }
        match read(&text, cx.pins(), &self.json) {
            Read::Message(message) => self.asked(message, cx),
            Read::Other => cx.count(Count::UnknownKind),
            // Whatever it is, no login needs what is beyond these limits.
            Read::Limit if self.login != Login::Done => {
                self.refuse(Count::BeforeLogin, "a message beyond a limit on JSON before the login", cx);
            }
            Read::Limit => cx.count(Count::BadBody),
            Read::Nothing => self.refuse(Count::Undecodable, "a message that cannot be read", cx),
        }
        self.spare_the_key(cx);
    }

    fn authenticated(&mut self, verdict: Result<Identity, Refusal>, cx: &mut Cx<'_, Self>) {
        let identity = match verdict {
            Ok(identity) => identity,
            // A close without a word is how this wire refuses.
            Err(refusal) => return cx.close(Close::Refused(refusal)),
        };
        let seals = self.config.encryption;
        let mut key = Zeroizing::new([0; 32]);
        if seals {
            cx.random().fill(&mut *key);
        }
        let text = self.frames.writer(cx.random()).welcome(seals.then_some(&*key));
        self.write(text, cx);
        // Both directions go on under the session key: after what was written, before the next message is read.
        let mode = session_mode(seals, &key);
        cx.act(Action::WriteMode(mode.clone()));
        cx.act(Action::ReadMode(mode));
        self.frames.new_key();
        self.login = Login::Done;
        cx.act(Action::Established(Some(identity)));
        cx.act(Action::Open(LOGIN));
    }

    fn admit(&self, outbound: &OutboundOf<Self>) -> Admit {
        let refuse = |why| Admit::Refuse(Failure::new(Code::Unimplemented, why));
        match outbound {
            Outbound::Request { .. } => refuse("this wire has no requests to a client"),
            Outbound::Event(event) if matches!(event.body, Body::Binary(_)) => {
                refuse("this wire carries no bytes")
            }
            Outbound::Event(event) if is_reserved(&event.route) => {
                refuse("auth and heartBeat belong to the wire itself")
            }
            Outbound::Event(_) if self.login != Login::Done => Admit::Hold(LOGIN),
            _ => Admit::Now,
        }
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        match outbound {
            Outbound::Response { reply, result } => {
                self.running = self.running.saturating_sub(1);
                self.answer(&reply.0, result, cx);
            }
            Outbound::Event(event) => {
                let name = outgoing(&event.route, &self.config);
                // As later revisions do; clients of every revision read it.
                self.write_message(&name, "response", &event.body, cx);
            }
            Outbound::Request { .. } | Outbound::Cancel(_) | Outbound::Command(()) => {}
        }
        self.spare_the_key(cx);
    }

    fn wake(&mut self, cx: &mut Cx<'_, Self>) {
        if std::mem::take(&mut self.heard) {
            self.pong_due = None;
        } else if self.pong_due.is_some() && !cx.is_reading() {
            // Its answer waits unread.
            self.pong_due = Some(cx.now() + self.config.heartbeat_timeout);
        } else if self.pong_due.is_some_and(|due| due <= cx.now()) {
            return cx.close(Close::Dead(format!("heartbeat_timeout = {:?}", self.config.heartbeat_timeout)));
        } else if self.pong_due.is_none() {
            // Clients of every revision answer it below their own code. Observed: protocol table of the recordings.
            cx.write(Frame::Ping);
            self.pong_due = Some(cx.now() + self.config.heartbeat_timeout);
        }
        let next = self.pong_due.unwrap_or_else(|| cx.now() + self.config.heartbeat);
        cx.act(Action::WakeAt(Some(next)));
    }
}

/// `"4001 bye"`, `"1006"` for a cut, or anything else for an empty close frame.
fn close_as_told(close: &str, cx: &mut Cx<'_, ServerSession>) {
    let (code, reason) = close.split_once(' ').unwrap_or((close, ""));
    if code == "1006" {
        return cx.close(Close::Transport("cut by this side, as its handler told".to_owned()));
    }
    // Codes that a program may send. RFC 6455, section 7.4.
    if let Some(code) =
        code.parse().ok().filter(|code| matches!(code, 1000..=1003 | 1007..=1011 | 3000..=4999))
    {
        cx.write(Frame::Close(code, reason.into()));
    }
    cx.close(Close::Local);
}

/// Names that never carry anything of the application.
pub(crate) fn is_reserved(route: &Route) -> bool {
    *route == AUTH || *route == HEARTBEAT
}
