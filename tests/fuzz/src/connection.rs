//! The connection engine with the sessions of both wires and roles, over a socket in memory: every frame and every call is
//! accounted for, no wake-up is lost, what the peer sends is not kept without bound, and an end is an end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use polywire_core::{
    Answer, ByteStream, Caller, Code, Connection, Count, Credentials, Ended, Endpoint, Event, Failure,
    Handler, HandlerFuture, Identity, Incoming, Ledger, Limits, Link, Outcome, Refusal, Request, Route,
    SeededRandom, Session, Shutdown, StreamCodec, Surroundings,
};
use polywire_hpx::{
    ClientConfig, ClientSession, Dialect, HpxCodec, Pool, ServerConfig, ServerSession, Shared, Trust, Wire,
};
use polywire_sockhop::{Codec, Config, Mode, Role, Switch};
use tokio::sync::Notify;

use crate::choices::{Choices, as_piece};
use crate::hpx_codec::{DELIMITER, stored};
use crate::values::{body, route};
use crate::world::{Flag, Socket, Time};
use crate::{seeds, trace};

/// Steps of one input.
const STEPS: usize = 200;
/// What an input says for something that costs much.
const RARE: u8 = 0xa5;
/// Most bytes that may be taken from a peer that reads nothing: the pause of the engine, one read, what one frame may hold,
/// and the queue when calls are pending.
const MOST_TAKEN: usize = 4 << 20;

/// Choices: wire, role and settings. Then steps, each a byte that says what happens, and what it needs.
pub fn run(input: &[u8]) {
    let mut choices = Choices::new(input);
    let wire = choices.byte();
    let limits = Limits {
        max_frame_bytes: 64 << 10,
        max_in_flight: choices.one_of(&[256, 1, 4]),
        max_pending: choices.one_of(&[1_024, 1, 2]),
        max_queue_messages: choices.one_of(&[1_024, 2]),
        max_queue_bytes: 1 << 20,
        max_bad_messages: 1 + u32::from(choices.byte()),
        ..Limits::default()
    };
    limits.validate().expect("the limits are in range");
    match wire % 4 {
        0 | 1 => {
            let role = if wire & 1 == 0 { Role::Server } else { Role::Client };
            let config = Config {
                mode: choices.one_of(&[Mode::Auto, Mode::Binary, Mode::Json]),
                switch: choices.one_of(&[Switch::Late, Switch::Early]),
                ..Config::default()
            };
            let session = polywire_sockhop::Session::new(Arc::new(config.clone()), &limits, role);
            drive(session, Codec::new(&config, &limits), limits, Speech::Sockhop, &mut choices);
        }
        wire => {
            let wire_config = Wire {
                dialect: choices.one_of(&[Dialect::Auto, Dialect::A]),
                limits: Arc::new(limits.clone()),
                ..Wire::default()
            };
            if wire == 2 {
                let config = ServerConfig {
                    guests: choices.flag(),
                    wire: wire_config.clone(),
                    ..ServerConfig::default()
                };
                let session = ServerSession::new(Arc::new(Shared::new(config)), None, true);
                drive(
                    session,
                    HpxCodec::new(&wire_config, Trust::Stranger),
                    limits,
                    Speech::Hpx,
                    &mut choices,
                );
            } else {
                let config = Arc::new(ClientConfig { wire: wire_config.clone(), ..ClientConfig::default() });
                let session = ClientSession::new(config, Arc::new(Pool::default()), 0, Credentials::guest());
                drive(session, HpxCodec::new(&wire_config, Trust::Known), limits, Speech::Hpx, &mut choices);
            }
        }
    }
}

/// How the peer talks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speech {
    Sockhop,
    Hpx,
}

impl Speech {
    /// A text as the peer sends it.
    fn say(self, text: &[u8]) -> Vec<u8> {
        match self {
            Speech::Sockhop => [text, b"\n"].concat(),
            Speech::Hpx => [stored(text), DELIMITER.to_vec()].concat(),
        }
    }

    /// Something a peer says in one situation or another.
    fn phrase(self, which: u8, id: &str) -> Vec<u8> {
        let sockhop = [
            format!(r#"{{"type":"Object","data":{{"allow_binary_mode":true}},"callback_id":"{id}"}}"#),
            r#"{"type":"SockhopHandshake","data":{"request_binary_mode":true},"id":"h"}"#.to_owned(),
            format!(r#"{{"type":"String","data":"x","callback_id":"{id}"}}"#),
            format!(r#"{{"type":"Error","data":{{}},"callback_id":"{id}"}}"#),
            r#"{"type":"sleep","data":1,"id":"a"}"#.to_owned(),
            r#"{"type":"echo","data":[1,2],"id":"b"}"#.to_owned(),
            r#"{"type":"panic","data":{},"id":"c"}"#.to_owned(),
            r#"{"type":"ask","data":1,"id":"d"}"#.to_owned(),
            r#"{"type":"echo","data":1}"#.to_owned(),
            r#"{"type":"SockhopPing","data":{"_id":"p"}}"#.to_owned(),
            r#"{"type":"SockhopBinaryModeTransition","data":{}}"#.to_owned(),
        ];
        let list = |names: &[&str]| {
            let calls =
                names.iter().map(|name| format!(r#"{{"fname":"{name}","data":1}}"#)).collect::<Vec<_>>();
            format!(r#"{{"session":"{id}","name":"x","data":[{}]}}"#, calls.join(","))
        };
        let hpx = [
            r#"{"session":"","name":"x","data":{}}"#.to_owned(),
            r#"{"session":"","name":"x","data":{"user":"user","password":"p"}}"#.to_owned(),
            r#"{"session":"","name":"x","data":{"user":"slow","password":"p"}}"#.to_owned(),
            r#"{"session":"s","name":"x","data":"Authenticated"}"#.to_owned(),
            r#"{"session":"","name":"x","data":{"msg":"wait"}}"#.to_owned(),
            r#"{"session":"","name":"x","data":null,"error":{"code":408,"msg":"x"}}"#.to_owned(),
            list(&["echo"]),
            list(&["sleep", "echo", "panic"]),
            list(&["ask", "Widget", "Object"]),
            r#"{"session":"","name":"x","data":"requestauth"}"#.to_owned(),
            r#"{"session":"","name":"x","data":2}"#.to_owned(),
        ];
        let which = usize::from(which) % 11;
        self.say(if self == Speech::Sockhop { sockhop[which].as_bytes() } else { hpx[which].as_bytes() })
    }

    /// What comes behind this in the text written is an id of ours, or the session.
    fn before_id(self) -> &'static [u8] {
        match self {
            Speech::Sockhop => b"\"id\":\"",
            Speech::Hpx => b"\"session\":\"",
        }
    }
}

/// Echoes; by name it fails, panics, waits to be let go, or asks back first.
struct Actor {
    let_go: Arc<Notify>,
}

impl Handler for Actor {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let let_go = Arc::clone(&self.let_go);
        match incoming.route.as_str() {
            // Without the hook of panics, which ends the process under cargo-fuzz.
            "panic" => std::panic::resume_unwind(Box::new("a handler panics")),
            "fail" => Box::pin(async { Err(Failure::new(Code::NotFound, "no")) as Answer }),
            "sleep" => Box::pin(async move {
                incoming.progress(incoming.body.clone());
                let_go.notified().await;
                Ok(incoming.body.into())
            }),
            "ask" => Box::pin(async move {
                let caller = incoming.peer.caller().cloned();
                let Some(caller) = caller else { return Err(Failure::new(Code::Internal, "nobody to ask")) };
                let request = Request::new(Route::from_static("asked"), incoming.body);
                Ok(caller.call(request.timeout(Duration::from_secs(5))).await?)
            }),
            _ => Box::pin(async move { Ok(incoming.body.into()) }),
        }
    }
}

type Pending = Pin<Box<dyn Future<Output = Outcome> + Send>>;

struct Stage<S: Session>
where
    S::Codec: StreamCodec,
{
    connection: Connection<ByteStream<Socket>, S>,
    _link: Link<S>,
    caller: Caller,
    socket: Socket,
    time: Time,
    ledger: Arc<Ledger>,
    shutdown: Shutdown,
    let_go: Arc<Notify>,
    speech: Speech,
    flag: Arc<Flag>,
    waker: Waker,
    calls: Vec<Pending>,
    /// The last id of ours, or the session, in what was written.
    id: String,
    ended: Option<Ended>,
    flooded: bool,
}

fn drive<S: Session>(session: S, codec: S::Codec, limits: Limits, speech: Speech, choices: &mut Choices<'_>)
where
    S::Codec: StreamCodec,
{
    let (socket, time) = (Socket::new(), Time::new());
    let let_go = Arc::new(Notify::new());
    let mut endpoint = Endpoint::new("fuzz", Actor { let_go: Arc::clone(&let_go) });
    endpoint.limits = Arc::new(limits);
    endpoint.surroundings = Surroundings {
        clock: Arc::new(time.clone()),
        random: Arc::new(SeededRandom::new(1)),
        ..Surroundings::real()
    };
    let judge = Arc::clone(&let_go);
    endpoint.authenticator = Some(Arc::new(move |credentials: Credentials| {
        let judge = Arc::clone(&judge);
        async move {
            match credentials.subject.as_deref() {
                Some("user") => Ok(Identity::user("user")),
                Some("slow") => {
                    judge.notified().await;
                    Ok(Identity::user("slow"))
                }
                _ => Err(Refusal::new("no")),
            }
        }
    }));
    let (ledger, shutdown) = (Arc::clone(&endpoint.ledger), endpoint.shutdown.clone());
    let transport = ByteStream::new(socket.clone());
    let (connection, link) = Connection::new(transport, codec, session, endpoint, None);
    let caller = link.caller().clone();
    let (flag, waker) = Flag::raised();
    let mut stage = Stage {
        connection,
        _link: link,
        caller,
        socket,
        time,
        ledger,
        shutdown,
        let_go,
        speech,
        flag,
        waker,
        calls: Vec::new(),
        id: String::new(),
        ended: None,
        flooded: false,
    };
    stage.settle();
    for _ in 0..STEPS {
        if choices.is_empty() || stage.ended.is_some() {
            break;
        }
        stage.step(choices);
        stage.settle();
    }
    stage.finish();
}

impl<S: Session> Stage<S>
where
    S::Codec: StreamCodec,
{
    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.byte() % 17 {
            0 => self.socket.push(choices.piece()),
            1 => self.socket.push(&self.speech.say(choices.piece())),
            2..=4 => {
                let which = choices.byte();
                self.socket.push(&self.speech.phrase(which, &self.id));
            }
            5 => self.socket.slice(usize::from(choices.byte())),
            6 => self.socket.room(usize::from(choices.byte())),
            7 => self.socket.room(usize::MAX),
            8 => self.time.pass(Duration::from_millis(choices.number() as u64)),
            9 => self.time.pass(Duration::from_secs(u64::from(choices.byte()))),
            10 => {
                let request = Request::new(route(choices), body(choices));
                let request = request.timeout(Duration::from_millis(1 + choices.number() as u64));
                let caller = self.caller.clone();
                self.calls.push(Box::pin(async move { caller.call(request).await }));
            }
            11 => {
                let event = Event::new(route(choices), body(choices));
                let sent = self.caller.try_notify(event).is_ok();
                trace::mark(("notified", sent));
            }
            12 if !self.calls.is_empty() => drop(self.calls.swap_remove(0)),
            12 | 13 => self.let_go.notify_waiters(),
            14 => match choices.byte() {
                0 => self.shutdown.drain(),
                1 => self.shutdown.stop(),
                2 => self.socket.reset(),
                3 => self.socket.end(),
                _ => {}
            },
            15 if choices.byte() == RARE => self.endless_frame(),
            16 if choices.byte() == RARE => self.flood(),
            _ => {}
        }
    }

    /// Polls whoever was woken, until nobody is; then nothing may be left to do.
    fn settle(&mut self) {
        self.poll_calls();
        for round in 0.. {
            assert!(
                round < 10_000,
                "the connection wakes itself for ever: {:?}, {:?}",
                self.connection,
                self.ledger.snapshot()
            );
            if self.ended.is_some() || !self.flag.take() {
                break;
            }
            self.poll();
            self.poll_calls();
        }
        if self.ended.is_none() {
            let before = self.ledger.snapshot();
            self.poll();
            assert_eq!(
                self.ledger.snapshot(),
                before,
                "something was left to do, and nobody was woken for it"
            );
            self.flag.take();
        }
        self.check();
        let written = self.socket.written();
        self.note_id(&written);
    }

    fn poll(&mut self) {
        if let Poll::Ready(ended) = Pin::new(&mut self.connection).poll(&mut Context::from_waker(&self.waker))
        {
            trace::mark(("ended", std::mem::discriminant(&ended.reason), ended.established));
            self.ended = Some(ended);
        }
    }

    fn poll_calls(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        self.calls.retain_mut(|call| match call.as_mut().poll(&mut cx) {
            Poll::Ready(outcome) => {
                trace::mark((
                    "outcome",
                    outcome.map_err(|error| (std::mem::discriminant(&error), error.code())).err(),
                ));
                false
            }
            Poll::Pending => true,
        });
    }

    fn check(&self) {
        assert_eq!(
            self.ledger.unaccounted_frames(),
            0,
            "frames are not accounted for: {:?}",
            self.ledger.snapshot()
        );
        let get = |count| self.ledger.get(count);
        let ended = self.ended_calls();
        assert!(ended <= get(Count::Calls), "more calls ended than began: {:?}", self.ledger.snapshot());
        // What happened together with what.
        let size = |value| trace::size(usize::try_from(value).unwrap_or(usize::MAX)).min(4);
        let counts = self.ledger.snapshot();
        trace::mark(counts.iter().map(|(count, value)| (count.as_str(), size(*value))).collect::<Vec<_>>());
    }

    fn ended_calls(&self) -> u64 {
        [
            Count::CallsAnswered,
            Count::CallsFailed,
            Count::CallsNotSent,
            Count::CallsUnknown,
            Count::CallsCancelled,
        ]
        .into_iter()
        .map(|count| self.ledger.get(count))
        .sum()
    }

    fn note_id(&mut self, written: &[u8]) {
        let before = self.speech.before_id();
        let starts = (0..written.len().min(64 << 10)).rev();
        let found = starts.into_iter().find(|at| written[*at..].starts_with(before));
        if let Some(at) = found {
            let rest = &written[at + before.len()..];
            let end = rest.iter().position(|byte| *byte == b'"').unwrap_or(0);
            if end > 0 {
                self.id = String::from_utf8_lossy(&rest[..end]).into_owned();
            }
        }
    }

    /// A frame without an end must not be kept.
    fn endless_frame(&mut self) {
        if std::mem::replace(&mut self.flooded, true) {
            return;
        }
        self.socket.slice(0);
        self.socket.push(&vec![b'x'; 400 << 10]);
        self.settle();
        // It may have stopped reading before.
        assert!(
            self.ended.is_some() || self.socket.unread() > 0 || self.is_closing(),
            "a frame without an end is kept"
        );
    }

    /// Is what is left only to be written?
    fn is_closing(&mut self) -> bool {
        self.socket.push(b"x");
        self.settle();
        self.ended.is_some() || self.socket.unread() > 0
    }

    /// A peer that asks and asks and reads nothing must not be read for ever.
    fn flood(&mut self) {
        if std::mem::replace(&mut self.flooded, true) {
            return;
        }
        self.socket.room(0);
        let request = self.speech.phrase(if self.speech == Speech::Sockhop { 5 } else { 6 }, &self.id);
        let mut batch = BytesMut::new();
        while batch.len() < 64 << 10 {
            batch.extend_from_slice(&request);
        }
        let mut taken = 0;
        while self.ended.is_none() && self.socket.unread() == 0 {
            let sent = self.ledger.get(Count::FramesSent);
            self.socket.push(&batch);
            self.settle();
            if self.ledger.get(Count::FramesSent) == sent {
                // Nothing is written for it, so nothing is kept.
                break;
            }
            taken += batch.len() - self.socket.unread().min(batch.len());
            assert!(taken < MOST_TAKEN, "{taken} bytes were taken from a peer that reads nothing");
        }
    }

    /// The peer goes, time passes: everything ends and the books are closed.
    fn finish(&mut self) {
        self.socket.room(usize::MAX);
        self.socket.end();
        self.settle();
        for _ in 0..4 {
            if self.ended.is_none() {
                // Whoever does not read because handlers run goes on once their time is over.
                self.time.pass(Duration::from_secs(61));
                self.settle();
            }
        }
        if self.ended.is_none() {
            self.shutdown.stop();
            self.settle();
        }
        assert!(self.ended.is_some(), "the connection does not end: {:?}", self.ledger.snapshot());
        self.poll_calls();
        let get = |count| self.ledger.get(count);
        assert_eq!(self.calls.len(), 0, "a call has no outcome: {:?}", self.ledger.snapshot());
        assert_eq!(
            self.ended_calls(),
            get(Count::Calls),
            "calls that ended and began: {:?}",
            self.ledger.snapshot()
        );
        let requests =
            get(Count::RequestsAnswered) + get(Count::RequestsFailed) + get(Count::RequestsAbandoned);
        assert_eq!(
            requests,
            get(Count::Requests),
            "requests that ended and began: {:?}",
            self.ledger.snapshot()
        );
        assert_eq!((get(Count::Connections), get(Count::Closed)), (1, 1), "one connection");
    }
}

/// Recorded bytes towards every session, and scenes of calls, slow readers and ends.
pub fn seeds() -> Vec<Vec<u8>> {
    let pushed = |wire| {
        let recorded = seeds::recorded(wire);
        recorded.iter().map(|bytes| [vec![0], as_piece(bytes)].concat()).collect::<Vec<_>>()
    };
    let mut all = seeds::behind(&[&[0, 0, 0, 0, 16, 0, 0], &[1, 0, 0, 0, 16, 0, 1]], &pushed("sockhop"));
    all.extend(seeds::behind(&[&[2, 0, 0, 0, 16, 0, 1], &[3, 0, 0, 0, 16, 0]], &pushed("hpx")));
    let scene = |wire: u8, steps: &[u8]| [&[wire, 0, 0, 0, 16, 0, 1][..], steps].concat();
    // Handshake, calls both ways, answers, an answer again, slow handlers, their end.
    all.push(scene(0, &[2, 1, 2, 0, 10, 0, 1, 1, 0, 8, 2, 2, 2, 2, 2, 5, 2, 4, 2, 7, 13, 2, 8, 9, 9]));
    all.push(scene(1, &[2, 0, 2, 1, 10, 0, 1, 1, 0, 8, 2, 3, 6, 9, 2, 5, 9, 20]));
    all.push(scene(0, &[2, 4, 2, 5, 2, 6, 14, 0, 13]));
    all.push(scene(0, &[16, RARE]));
    all.push(scene(0, &[15, RARE]));
    all.push(scene(2, &[2, 0, 2, 6, 2, 7, 13, 2, 8, 13, 16, RARE]));
    all.push(scene(2, &[2, 2, 13, 2, 6, 14, 2]));
    all.push(
        [&[3, 0, 0, 0, 16, 0][..], &[2, 0, 2, 3, 10, 0, 1, 1, 0, 8, 2, 6, 10, 0, 1, 1, 0, 1, 9, 2]].concat(),
    );
    all
}
