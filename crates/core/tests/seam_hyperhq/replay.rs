//! Recorded transcripts, replayed in both roles: what our side writes is compared with what the recorded peer wrote in its place.

use std::collections::VecDeque;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use polywire_core::{
    Body, CallError, CallId, Close, Code, Count, Delivery, Event, Failure, Identity, Message, MessageCodec,
    Moment, Outbound, Refusal, Request, Response, Route, Session,
};
use serde_json::Value;

use super::hand::Hand;
use super::host::{Host, Reply};
use super::lower::{EngineCodec, SocketIo};
use super::packet::Packet;
use super::plugin::{Plugin, Shared, Subscribe, data_of, member};
use super::stack::Stack;
use super::vectors::message;

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/hyperhq");
pub(crate) const CHALLENGE: &str = "c0ffee00c0ffee00c0ffee00c0ffee00";

/// What is replayed: each of them ran over a WebSocket from its beginning.
const TRANSCRIPTS: [&str; 10] = [
    "01-auth-node-websocket",
    "04-data-node",
    "07-lifecycle-node",
    "09-events-node",
    "11-timeout-extended-by-status",
    "12-timeout-expired",
    "16-reconnect-token-refused-then-challenge",
    "24-file-base64",
    "25-file-binary",
    "30-kick",
];

/// The WebSocket messages of one transcript, connection by connection.
pub(crate) fn load(name: &str) -> Vec<Vec<Value>> {
    let path = format!("{VECTORS}/{name}.json");
    let file: Value = serde_json::from_str(&fs::read_to_string(&path).expect(&path)).unwrap();
    let mut connections: Vec<(u64, Vec<Value>)> = Vec::new();
    for entry in file["entries"].as_array().unwrap() {
        if !matches!(entry["kind"].as_str(), Some("ws-text" | "ws-binary")) {
            continue;
        }
        let number = entry["conn"].as_u64().unwrap();
        match connections.last_mut() {
            Some((last, entries)) if *last == number => entries.push(entry.clone()),
            _ => connections.push((number, vec![entry.clone()])),
        }
    }
    connections.into_iter().map(|(_, entries)| entries).collect()
}

fn text(entry: &Value) -> &str {
    entry["text"].as_str().unwrap_or_default()
}

/// The packet an entry begins or is.
fn packet(entry: &Value) -> Packet {
    Packet::parse(&Bytes::from(text(entry)[1..].to_owned())).unwrap().0
}

/// The name and the argument of an event.
fn event(entry: &Value) -> (String, polywire_core::JsonText) {
    let (name, argument) = packet(entry).as_event().unwrap();
    (name, argument.unwrap_or_else(polywire_core::JsonText::null))
}

fn is_event(entry: &Value) -> bool {
    text(entry).starts_with("42") || text(entry).starts_with("45")
}

/// Did the recorded plugin do this as no plugin of ours would: repeat an id, show no token or a wrong one?
fn on_purpose(argument: &Value, token: Option<&String>) -> bool {
    argument["requestId"] == "same-id"
        || (argument.get("requestId").is_some()
            && argument["sessionToken"].as_str() != token.map(String::as_str))
}

/// What one replay came to.
#[derive(Debug, Default)]
struct Outcome {
    established: usize,
    answers: usize,
    failures: usize,
    orphans: usize,
    requests: usize,
    events: Vec<String>,
    bytes: usize,
}

/// We are the plugin.
fn replay_plugin(name: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let shared = Shared::default();
    for entries in load(name) {
        let plugin = Plugin::new("demo-plugin", CHALLENGE, Arc::clone(&shared));
        let mut hand = Hand::new(Stack::new(SocketIo::new("/"), plugin));
        hand.with(Session::open);
        let mut written = VecDeque::<Message>::new();
        let mut asked = Vec::new();
        let mut calls = 0;
        for entry in &entries {
            if entry["dir"] == "s2c" {
                let frame = EngineCodec.decode(message(entry)).unwrap().unwrap();
                hand.receive(frame);
                for delivery in std::mem::take(&mut hand.delivered) {
                    match delivery {
                        Delivery::Response { outcome: Ok(response), .. } => {
                            outcome.answers += 1;
                            if let Body::Binary(binary) = response.body {
                                outcome.bytes += binary.bytes.len();
                            }
                        }
                        Delivery::Response { outcome: Err(CallError::Failure(_)), .. } => {
                            outcome.failures += 1;
                        }
                        Delivery::Request { reply, .. } => asked.push(reply),
                        Delivery::Event(event) => outcome.events.push(event.route.as_str().to_owned()),
                        other => panic!("{other:?}"),
                    }
                }
            } else {
                if text(entry) == "41" {
                    hand.with(|session, cx| {
                        Session::close(session, &Close::Local, cx);
                    });
                } else if hand.written.is_empty() && written.is_empty() {
                    let (name, argument) = event(entry);
                    let value: Value = argument.parse().unwrap();
                    if on_purpose(&value, shared.lock().unwrap().token.as_ref()) {
                        continue;
                    }
                    calls += 1;
                    let call = |route: &str, body| Outbound::Request {
                        call: CallId(calls),
                        deadline: Moment::default(),
                        request: Request::new(Route::new(route.to_owned()).unwrap(), Body::Json(body)),
                    };
                    match name.as_str() {
                        "requestData" | "request_data" => {
                            hand.send(call(
                                value["method"].as_str().unwrap(),
                                member(&argument, "params").unwrap(),
                            ));
                        }
                        "requestFile" => {
                            hand.send(call("requestFile", member(&argument, "filePath").unwrap()));
                        }
                        "subscribeEvents" => {
                            hand.send(Outbound::Command(Subscribe(argument.parse().unwrap())));
                        }
                        "statusUpdate" => {
                            let body = Body::Json(argument);
                            hand.with(|session, cx| {
                                Session::progress(session, &asked[0], body, cx);
                            });
                        }
                        "response" => {
                            let id = member(&argument, "id").unwrap();
                            let at = asked.iter().position(|reply| *reply == id).unwrap();
                            let result = match value["data"]["error"].as_str() {
                                Some(why) => Err(Failure::new(Code::NotFound, why.to_owned())),
                                None => Ok(Response::from(data_of(&packet(entry), &argument, "data"))),
                            };
                            hand.send(Outbound::Response { reply: asked.remove(at), result });
                        }
                        other => panic!("{other}"),
                    }
                }
                for frame in hand.written.drain(..) {
                    EngineCodec.encode(frame, &mut |message| written.push_back(message)).unwrap();
                }
                // The older spelling of this name means the same and is not written by us.
                let recorded = text(entry).replace("\"request_data\"", "\"requestData\"");
                assert_eq!(written.pop_front(), Some(Message::Text(recorded.into())), "{name}");
            }
        }
        assert!(written.is_empty() && hand.written.is_empty() && hand.judging.is_none());
        outcome.established += usize::from(hand.established);
        outcome.orphans += hand.counted.iter().filter(|count| **count == Count::OrphanReply).count();
        outcome.requests += calls.try_into().unwrap_or(0);
    }
    outcome
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.bytes().map(|digit| char::from(digit).to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

/// We are the host, alone above whatever carries the packets.
fn replay_host(name: &str) -> Outcome {
    let mut outcome = Outcome::default();
    for entries in load(name) {
        let logins: Vec<Value> = entries
            .iter()
            .filter(|entry| entry["dir"] == "s2c" && text(entry).starts_with("42[\"authenticated\""))
            .map(|entry| event(entry).1.parse().unwrap())
            .collect();
        let port = logins.iter().find_map(|login| login["serverPort"].as_u64()).unwrap();
        let mut hand = Hand::new(Host::new(port));
        let mut logins = logins.into_iter();
        let mut written = Vec::<Message>::new();
        let mut asked: Vec<Reply> = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            if entry["dir"] == "c2s" && is_event(entry) {
                hand.receive(packet(entry));
                if let Some(credentials) = hand.judging.take() {
                    assert_eq!(credentials.subject.as_deref(), Some("demo-plugin"));
                    let login = logins.next().unwrap();
                    let verdict = match login["sessionToken"].as_str() {
                        Some(token) => {
                            hand.drawn.0.lock().unwrap().push_back(hex(token));
                            Ok(Identity::user("demo-plugin"))
                        }
                        None => Err(Refusal::new(login["error"].as_str().unwrap())),
                    };
                    hand.with(|session, cx| Session::authenticated(session, verdict, cx));
                }
                for delivery in std::mem::take(&mut hand.delivered) {
                    match delivery {
                        Delivery::Request { reply, .. } => asked.push(reply),
                        Delivery::Response { outcome: Ok(_), .. } => outcome.answers += 1,
                        Delivery::Response { outcome: Err(_), .. } => outcome.failures += 1,
                        Delivery::Progress { call: None, .. } => outcome.events.push("progress".into()),
                        other => panic!("{other:?}"),
                    }
                }
            } else if is_event(entry) {
                let (name, argument) = event(entry);
                let drain = |hand: &mut Hand<Host>, written: &mut Vec<Message>| {
                    for packet in hand.written.drain(..) {
                        written.push(Message::Text([b"4", &packet.text()[..]].concat().into()));
                        written.extend(packet.attachments.into_iter().map(Message::Binary));
                    }
                };
                drain(&mut hand, &mut written);
                // The recorded host wrote what it wrote by itself a little earlier or later than we do.
                if !written.contains(&message(entry)) {
                    act_as_host(&mut hand, &mut asked, &name, &argument, &entries[at..]);
                    drain(&mut hand, &mut written);
                }
                let at = written.iter().position(|message_| *message_ == message(entry));
                written.remove(at.unwrap_or_else(|| panic!("{} is not in {written:?}", text(entry))));
            } else if entry["kind"] == "ws-binary" {
                let at = written.iter().position(|message_| *message_ == message(entry)).unwrap();
                written.remove(at);
            }
        }
        assert!(written.is_empty() && hand.written.is_empty() && hand.closed.is_none(), "{written:?}");
        outcome.established += usize::from(hand.established);
        outcome.orphans += hand.counted.iter().filter(|count| **count == Count::OrphanReply).count();
    }
    outcome
}

/// Does what made the recorded host write this.
fn act_as_host(
    hand: &mut Hand<Host>,
    asked: &mut Vec<Reply>,
    name: &str,
    argument: &polywire_core::JsonText,
    rest: &[Value],
) {
    let value: Value = argument.parse().unwrap();
    match name {
        "request" => {
            let route = Route::new(value["method"].as_str().unwrap().to_owned()).unwrap();
            let request = Request::new(route, Body::Json(member(argument, "data").unwrap()));
            hand.send(Outbound::Request { call: CallId(0), deadline: Moment::default(), request });
        }
        "hyperHqEvent" => {
            hand.wall = SystemTime::UNIX_EPOCH + Duration::from_millis(value["timestamp"].as_u64().unwrap());
            let route = Route::new(value["type"].as_str().unwrap().to_owned()).unwrap();
            let body = Body::Json(member(argument, "data").unwrap());
            hand.send(Outbound::Event(Event::new(route, body)));
        }
        "dataResponse" | "fileData" => {
            let id = member(argument, "requestId").unwrap();
            let at = asked.iter().position(|reply| {
                let (Reply::Data { id: known } | Reply::File { id: known, .. }) = reply;
                *known == id
            });
            let result = match (value["error"].as_str(), rest.get(1)) {
                (Some(why), _) => Err(Failure::new(Code::NotFound, why.to_owned())),
                (None, Some(next)) if text(&rest[0]).starts_with("45") => {
                    let Message::Binary(bytes) = message(next) else { panic!("{next}") };
                    Ok(Response::from(Body::binary("", bytes)))
                }
                (None, _) => Ok(Response::from(data_of(&packet(&rest[0]), argument, "data"))),
            };
            hand.send(Outbound::Response { reply: asked.remove(at.unwrap()), result });
        }
        other => panic!("{other}"),
    }
}

#[test]
fn we_are_the_plugin_in_the_recorded_transcripts() {
    let outcomes: Vec<_> = TRANSCRIPTS.iter().map(|name| replay_plugin(name)).collect();
    let established: Vec<_> = outcomes.iter().map(|outcome| outcome.established).collect();
    assert_eq!(established, [1, 1, 1, 1, 1, 1, 2, 1, 1, 1]);
    // Every data request is answered twice; the second answer is nobody's. Four more answers are to ids that a plugin of
    // ours would not use again.
    let data = &outcomes[1];
    assert_eq!((data.answers, data.failures, data.orphans), (11, 3, 14 + 4));
    assert_eq!(outcomes[3].events, ["gameLaunched", "gameClosed", "mediaProgress", "gameLaunched"]);
    let files = &outcomes[8];
    assert_eq!((files.answers, files.bytes), (2, 256), "one of them is empty");
}

#[test]
fn we_are_the_host_in_the_recorded_transcripts() {
    let names = TRANSCRIPTS.iter().filter(|name| !name.starts_with("24"));
    let outcomes: Vec<_> = names.map(|name| replay_host(name)).collect();
    let established: Vec<_> = outcomes.iter().map(|outcome| outcome.established).collect();
    assert_eq!(established, [1, 1, 1, 1, 1, 1, 2, 1, 1]);
    let lifecycle = &outcomes[2];
    assert_eq!((lifecycle.answers, lifecycle.failures), (7, 2));
    let extended = &outcomes[4];
    assert_eq!(
        (extended.answers, extended.events.len()),
        (2, 12),
        "twelve signs of life of no call in particular"
    );
}
