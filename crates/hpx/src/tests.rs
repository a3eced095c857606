//! The adapter without a runtime: recorded bytes in, frames and actions out, at moments that the test chooses.

#![allow(clippy::cast_possible_truncation, reason = "sizes of recorded bytes are small")]

mod captures;
mod client_edge;
mod client_session;
mod framing;
mod properties;
mod server_edge;
mod server_session;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use polywire_core::{
    Action, Actions, Body, Close, Count, Credentials, Cx, Delivery, Failure, FrameError, Identity, JsonText,
    Moment, Outbound, Outcome, Outgoing, Refusal, Request, Response, SeededRandom, Session, StreamCodec,
};
use serde_json::{Value, json};

use crate::codec::{DELIMITER, Frame, HpxCodec, Trust};
use crate::config::{ServerConfig, Wire};
use crate::session::{ServerSession, Shared};

/// A file of `tests/vectors/hpx`.
fn vector(name: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/hpx/");
    let text = std::fs::read_to_string(format!("{folder}{name}")).expect("the recorded bytes are there");
    serde_json::from_str(&text).expect("the recorded bytes are JSON")
}

/// Every capture whose name begins with one of `prefixes`.
fn captures(prefixes: &[&str]) -> Vec<Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/hpx/");
    let files = std::fs::read_dir(folder).expect("the recorded bytes are there");
    let mut names: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let wanted = |name: &&String| prefixes.iter().any(|prefix| name.starts_with(prefix));
    names.iter().filter(wanted).map(|name| vector(name)).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The frame of a text as another encoder writes it.
fn gzip(text: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn frame(text: &[u8]) -> Vec<u8> {
    [gzip(text, 6), DELIMITER.to_vec()].concat()
}

/// The text of a frame as another decoder, with a plain search for the delimiter, reads it.
fn plain_read(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = memchr::memmem::find(rest, DELIMITER).expect("a frame ends with the delimiter");
        let mut text = Vec::new();
        flate2::read::MultiGzDecoder::new(&rest[..end]).read_to_end(&mut text).expect("a body is gzip");
        texts.push(text);
        rest = &rest[end + DELIMITER.len()..];
    }
    texts
}

/// JSON of a vector as the bytes of the wire: `{"$float": …}` and `{"$escaped": …}` stand for what JSON cannot hold.
fn wire_text(value: &Value) -> String {
    match value {
        Value::Object(map) if map.len() == 1 && map.contains_key("$float") => {
            map["$float"].as_str().unwrap().to_owned()
        }
        Value::Object(map) if map.len() == 1 && map.contains_key("$escaped") => {
            format!("\"{}\"", map["$escaped"].as_str().unwrap())
        }
        Value::Object(map) => {
            let members: Vec<String> =
                map.iter().map(|(key, value)| format!("{}:{}", json!(key), wire_text(value))).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(list) => {
            format!("[{}]", list.iter().map(wire_text).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

fn at(seconds: u64) -> Moment {
    Moment::from_start(Duration::from_secs(seconds))
}

/// What becomes of the requests that a session delivers.
type Serve = fn(&Request) -> Result<Response, Failure>;

/// Who may log in.
type Judge = fn(&Credentials) -> Result<Identity, Refusal>;

/// The engine as a loop of a few lines: applies the actions of a session as they come.
struct Engine<S: Session<Codec = HpxCodec>> {
    session: S,
    codec: HpxCodec,
    now: Moment,
    random: SeededRandom,
    input: BytesMut,
    reading: bool,
    /// Texts that were written, read back by another decoder.
    written: VecDeque<String>,
    /// Bytes as they left.
    sent: Vec<u8>,
    counts: Vec<Count>,
    outcomes: Vec<Outcome>,
    requests: Vec<(String, String, Option<Identity>)>,
    established: Option<Identity>,
    alarm: Option<Moment>,
    opened: usize,
    closed: Option<Close>,
    serve: Serve,
    /// Judges a login; `None` leaves the verdict to the test.
    judge: Option<Judge>,
    judging: Option<Credentials>,
}

impl<S: Session<Codec = HpxCodec>> Engine<S> {
    fn new(session: S, codec: HpxCodec, serve: Serve) -> Self {
        let mut engine = Self {
            session,
            codec,
            now: at(1_000),
            random: SeededRandom::new(7),
            input: BytesMut::new(),
            reading: true,
            written: VecDeque::new(),
            sent: Vec::new(),
            counts: Vec::new(),
            outcomes: Vec::new(),
            requests: Vec::new(),
            established: None,
            alarm: None,
            opened: 0,
            closed: None,
            serve,
            judge: Some(judge),
            judging: None,
        };
        engine.with(|session, cx| session.open(cx));
        engine
    }

    fn with(&mut self, call: impl FnOnce(&mut S, &mut Cx<'_, S>)) {
        let mut actions = Actions::new();
        let wall = || SystemTime::UNIX_EPOCH;
        call(&mut self.session, &mut Cx::new(self.now, &wall, &self.random, &mut actions));
        while let Some(action) = actions.pop_front() {
            if self.closed.is_some() {
                return;
            }
            match action {
                Action::Write(frame, _) => {
                    let mut out = Outgoing::new();
                    self.codec.encode(frame, &mut out).unwrap();
                    let bytes = out.take();
                    let texts = plain_read(&bytes);
                    assert_eq!(texts.len(), 1, "a plain search finds one frame in what we write");
                    self.sent.extend_from_slice(&bytes);
                    self.written.push_back(String::from_utf8(texts[0].clone()).unwrap());
                }
                Action::Deliver(Delivery::Request { request, reply, identity }) => {
                    let body = match &request.body {
                        Body::Json(text) => text.as_str().to_owned(),
                        other => format!("{other:?}"),
                    };
                    self.requests.push((request.route.to_string(), body, identity.as_deref().cloned()));
                    let result = (self.serve)(&request);
                    let wall = || SystemTime::UNIX_EPOCH;
                    let mut cx = Cx::new(self.now, &wall, &self.random, &mut actions);
                    self.session.send(Outbound::Response { reply, result }, &mut cx);
                }
                Action::Deliver(Delivery::Response { outcome, .. }) => self.outcomes.push(outcome),
                Action::Deliver(_) => {}
                Action::ReadMode(mode) => polywire_core::Codec::set_read_mode(&mut self.codec, mode),
                Action::WriteMode(_) => {}
                Action::Authenticate(credentials) => match self.judge {
                    Some(judge) => {
                        let verdict = judge(&credentials);
                        let wall = || SystemTime::UNIX_EPOCH;
                        let mut cx = Cx::new(self.now, &wall, &self.random, &mut actions);
                        self.session.authenticated(verdict, &mut cx);
                    }
                    None => self.judging = Some(credentials),
                },
                Action::WakeAt(alarm) => self.alarm = alarm,
                Action::Open(_) => self.opened += 1,
                Action::Reading(on) => self.reading = on,
                Action::Established(identity) => self.established = identity,
                Action::Found(_) => {}
                Action::Count(count) => self.counts.push(count),
                Action::Close(reason) => self.closed = Some(reason),
            }
        }
    }

    /// Bytes of the peer.
    fn receive(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        self.input.extend_from_slice(bytes);
        while self.closed.is_none() && self.reading && self.judging.is_none() {
            let Some(frame) = self.codec.decode(&mut self.input)? else { break };
            self.with(|session, cx| session.receive(frame, cx));
        }
        Ok(())
    }

    /// One message of the peer.
    fn message(&mut self, value: &Value) {
        self.receive(&frame(wire_text(value).as_bytes())).unwrap();
    }

    /// The next message that was written.
    fn next(&mut self) -> Value {
        let text = self.written.pop_front().expect("something was written");
        serde_json::from_str(&text).expect("what we write is strict JSON")
    }
}

/// Alice may log in.
fn judge(credentials: &Credentials) -> Result<Identity, Refusal> {
    let subject = credentials.subject.clone().unwrap_or_default();
    let right = credentials.secret.as_ref().is_some_and(|secret| secret.matches(b"s3cret"));
    if &*subject == "alice" && right {
        Ok(Identity::user(subject))
    } else {
        Err(Refusal::new("Wrong credentials"))
    }
}

/// The functions of the reference server that the captures use.
fn reference(request: &Request) -> Result<Response, Failure> {
    let Body::Json(text) = &request.body else { panic!("arguments are JSON") };
    let arguments: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> =
        text.parse().expect("arguments are an object");
    let raw = |text: &str| Ok(Body::Json(JsonText::from_validated(Bytes::from(text.to_owned()))).into());
    let known: &[&str] = match &*request.route {
        "x_echo" | "echo" => &["value"],
        "x_two" => &["a", "b", "c"],
        "get_command_value" | "get_command_state" | "get_command_progress" => &["command_ids"],
        _ => &[],
    };
    if let Some(unknown) = arguments.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(crate::failure(403, format!("Unexpected argument: '{unknown}'")));
    }
    match &*request.route {
        "get_version" => raw(r#"{"core":[0,3,0],"db":[0,2,0],"torrent":[0,0,0]}"#),
        "x_echo" | "echo" => raw(arguments.get("value").map_or("null", |value| value.get())),
        "x_two" if arguments.contains_key("a") && arguments.contains_key("b") => {
            raw(&format!("[{},{},3]", arguments["a"], arguments["b"]))
        }
        "x_two" => Err(crate::failure(403, "Missing a required argument")),
        "x_none" | "get_notification" => raw("null"),
        "x_fail_core" => Err(crate::failure(303, "no such thing")),
        "x_fail_plain" => Err(Failure::new(polywire_core::Code::Internal, "the handler panicked")),
        "x_fail_notimpl" => Err(crate::failure(100, "not today")),
        "get_command_value" if arguments["command_ids"].get() == "5" => Err(crate::failure(100, "TypeError")),
        "get_command_value" => Err(crate::failure(120, "Command does not exist")),
        "get_command_state" => raw("{}"),
        "get_command_progress" => raw("[]"),
        other => Err(Failure::new(polywire_core::Code::NotFound, format!("Function not found: '{other}'"))),
    }
}

fn server_config(guests: bool) -> ServerConfig {
    ServerConfig {
        guests,
        wire: Wire { name: "reference-server".into(), ..Wire::default() },
        ..ServerConfig::default()
    }
}

fn shared(guests: bool) -> Arc<Shared> {
    Arc::new(Shared::new(server_config(guests)))
}

/// A connection to a server.
fn desk(shared: &Arc<Shared>) -> Engine<ServerSession> {
    let codec = HpxCodec::new(&Wire::default(), Trust::Stranger);
    Engine::new(ServerSession::new(Arc::clone(shared), None, false), codec, reference)
}

/// Every frame that `stream` holds when it arrives in pieces of `sizes`, the last piece being the rest.
fn decode(stream: &[u8], sizes: &[usize]) -> Result<Vec<Frame>, FrameError> {
    let mut codec = HpxCodec::new(&Wire::default(), Trust::Known);
    let mut input = BytesMut::new();
    let mut frames = Vec::new();
    let mut rest = stream;
    let mut sizes = sizes.iter().copied();
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(sizes.next().unwrap_or(rest.len()).clamp(1, rest.len()));
        input.extend_from_slice(piece);
        while let Some(frame) = codec.decode(&mut input)? {
            frames.push(frame);
        }
        rest = more;
    }
    Ok(frames)
}
