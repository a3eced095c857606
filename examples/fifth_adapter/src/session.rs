//! What one connection may do now: greeting, login, ids, signs of life.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use polywire_core::{
    Action, Admit, CallError, CallId, Close, Count, Credentials, Cx, Delivery, Gate, Identity, Limits,
    Outbound, OutboundOf, Outcome, Refusal,
};

use crate::codec::Codec;
use crate::config::Config;
use crate::translate;
use crate::wire::{self, Message};

/// The version of the protocol.
const VERSION: u32 = 1;
/// How often each side says that it is alive.
const BEAT: Duration = Duration::from_secs(10);
/// Everything waits behind it until the login is done.
const LOGIN: Gate = Gate(0);

// begin state
/// Which end of a connection this is.
#[derive(Clone, Debug)]
pub enum Role {
    /// It dialled, and shows these.
    Client(Credentials),
    /// It listens.
    Server,
}

/// How far the login is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A client waits for HELLO, a server for LOGIN.
    Strangers,
    /// A client waits for WELCOME, a server for the verdict of whoever judges.
    Judging,
    Friends,
}

/// One end of one connection.
#[derive(Debug)]
pub struct Session {
    role: Role,
    config: Arc<Config>,
    limits: Arc<Limits>,
    stage: Stage,
    /// Ids of the peer's requests that have no answer yet. `max_in_flight` bounds it: the engine answers for what is above.
    asked: HashSet<u64>,
    /// The peer has said something since the last beat.
    heard: bool,
    missed_beats: u32,
}
// end state

impl Session {
    /// One end of a connection that has just been opened. Settings and limits have been validated.
    pub fn new(role: Role, config: Arc<Config>, limits: Arc<Limits>) -> Self {
        let (stage, asked) = (Stage::Strangers, HashSet::new());
        Self { role, config, limits, stage, asked, heard: false, missed_beats: 0 }
    }

    // begin login
    fn log_in(&mut self, message: Message, cx: &mut Cx<'_, Self>) {
        match (&self.role, self.stage, message) {
            (Role::Client(shown), Stage::Strangers, Message::Hello { version: VERSION }) => {
                let secret = || shown.secret.clone().unwrap_or_else(|| "".into());
                let login = Message::Login(shown.subject.clone().map(|name| (name, secret())));
                self.stage = Stage::Judging;
                cx.write(login.line());
            }
            (Role::Client(_), Stage::Strangers, Message::Hello { version }) => {
                cx.close(Close::Protocol(format!(
                    "the peer speaks parley {version}, this side parley {VERSION}"
                )));
            }
            (Role::Client(_), Stage::Judging, Message::Welcome) => self.befriend(None, cx),
            (Role::Client(_), Stage::Judging, Message::Refused { why }) => {
                cx.close(Close::Refused(Refusal::new(why)));
            }
            (Role::Server, Stage::Strangers, Message::Login(Some((name, secret)))) => {
                self.stage = Stage::Judging;
                cx.act(Action::Authenticate(Credentials::new(name, secret)));
            }
            (Role::Server, Stage::Strangers, Message::Login(None)) => {
                let no = || Refusal::new("no guests here");
                self.judged(self.config.guests.then(Identity::guest).ok_or_else(no), cx);
            }
            (_, _, Message::Bye) => cx.close(Close::Peer),
            _ => {
                cx.count(Count::BeforeLogin);
                cx.close(Close::Protocol("something else than a login came first".to_owned()));
            }
        }
    }
    // end login

    fn judged(&mut self, verdict: Result<Identity, Refusal>, cx: &mut Cx<'_, Self>) {
        match verdict {
            Ok(identity) => {
                cx.write(Message::Welcome.line());
                self.befriend(Some(identity), cx);
            }
            Err(refusal) => {
                cx.write(Message::Refused { why: refusal.reason.clone() }.line());
                cx.close(Close::Refused(refusal));
            }
        }
    }

    fn befriend(&mut self, identity: Option<Identity>, cx: &mut Cx<'_, Self>) {
        self.stage = Stage::Friends;
        cx.act(Action::Established(identity));
        cx.act(Action::Open(LOGIN));
        cx.act(Action::WakeAt(Some(cx.now() + BEAT)));
    }

    // begin converse
    fn converse(&mut self, message: Message, cx: &mut Cx<'_, Self>) {
        let json = &self.limits.json;
        match message {
            Message::Ask { id, .. } if self.asked.contains(&id) => cx.count(Count::RepeatedId),
            Message::Ask { id, name, body } => match translate::to_request(name, body, json) {
                Ok(request) => {
                    self.asked.insert(id);
                    cx.deliver(Delivery::Request { request, reply: id, identity: None });
                }
                Err(unfit) => {
                    cx.count(unfit.count());
                    cx.write(translate::from_failure(id, &unfit.failure()).line());
                }
            },
            Message::Ok { id, body } => self.answered(id, translate::to_outcome(body, json), cx),
            Message::No { id, code, why } => {
                self.answered(id, Err(CallError::Failure(translate::to_failure(&code, why))), cx);
            }
            // An answer that is under way crosses it.
            Message::Drop { id } => {
                if self.asked.remove(&id) {
                    cx.deliver(Delivery::Cancel(id));
                }
            }
            Message::Say { name, body } => match translate::to_event(name, body, json) {
                Ok(event) => cx.deliver(Delivery::Event(event)),
                Err(unfit) => cx.count(unfit.count()),
            },
            Message::Beat => cx.count(Count::Control),
            Message::Bye => cx.close(Close::Peer),
            Message::Hello { .. } | Message::Login(_) | Message::Welcome | Message::Refused { .. } => {
                cx.count(Count::Unexpected);
            }
        }
    }

    /// The id of a call of ours is the engine's number of it. An answer that nobody waits for finds no call and is counted by
    /// the engine, so nothing has to be remembered or forgotten here.
    fn answered(&mut self, id: u64, outcome: Outcome, cx: &mut Cx<'_, Self>) {
        cx.deliver(Delivery::Response { call: CallId(id), outcome });
    }
    // end converse
}

impl polywire_core::Session for Session {
    type Codec = Codec;
    /// A response carries back the id of its request.
    type Reply = u64;
    /// There is nothing to tell this session but what core knows.
    type Command = Infallible;

    fn open(&mut self, cx: &mut Cx<'_, Self>) {
        if matches!(self.role, Role::Server) {
            cx.write(Message::Hello { version: VERSION }.line());
        }
    }

    fn receive(&mut self, line: Bytes, cx: &mut Cx<'_, Self>) {
        self.heard = true;
        match wire::read(&line) {
            Ok(message) if self.stage == Stage::Friends => self.converse(message, cx),
            Ok(message) => self.log_in(message, cx),
            Err(reason) => cx.count(reason),
        }
    }

    fn authenticated(&mut self, verdict: Result<Identity, Refusal>, cx: &mut Cx<'_, Self>) {
        self.judged(verdict, cx);
    }

    // begin admit
    fn admit(&self, outbound: &OutboundOf<Self>) -> Admit {
        let (route, body) = match outbound {
            Outbound::Request { request, .. } => (&request.route, &request.body),
            Outbound::Event(event) => (&event.route, &event.body),
            Outbound::Response { .. } | Outbound::Cancel(_) | Outbound::Command(_) => return Admit::Now,
        };
        let unfit = translate::unfit_body(body, self.limits.max_frame_bytes);
        match unfit.or_else(|| translate::unfit_name(route)) {
            Some(failure) => Admit::Refuse(failure),
            None if self.stage != Stage::Friends => Admit::Hold(LOGIN),
            None => Admit::Now,
        }
    }

    fn send(&mut self, outbound: OutboundOf<Self>, cx: &mut Cx<'_, Self>) {
        let message = match outbound {
            Outbound::Request { call, request, .. } => translate::from_request(call.0, request),
            Outbound::Event(event) => translate::from_event(event),
            Outbound::Response { reply, result } => {
                self.asked.remove(&reply);
                translate::from_result(reply, result, self.limits.max_frame_bytes)
            }
            Outbound::Cancel(call) => Message::Drop { id: call.0 },
            Outbound::Command(never) => match never {},
        };
        cx.write(message.line());
    }
    // end admit

    fn close(&mut self, _: &Close, cx: &mut Cx<'_, Self>) {
        cx.write(Message::Bye.line());
    }

    // begin wake
    fn wake(&mut self, cx: &mut Cx<'_, Self>) {
        // While this side takes no frames, the beats of the peer wait unread.
        let silent = !std::mem::take(&mut self.heard) && cx.is_reading();
        self.missed_beats = if silent { self.missed_beats.saturating_add(1) } else { 0 };
        if self.missed_beats >= self.config.max_missed_beats {
            return cx.close(Close::Dead(format!("{} beats missed", self.missed_beats)));
        }
        cx.write(Message::Beat.line());
        cx.act(Action::WakeAt(Some(cx.now() + BEAT)));
    }
    // end wake
}

#[cfg(test)]
mod tests;
