//! Recorded runs of plugins written on the official packages, with our plugin in their place: given the bytes that the host sent
//! and what the program wanted, it writes what they wrote, from the first packet of Engine.IO to the leave.

use std::collections::HashMap;

use polywire_core::{
    Body, CallError, Count, Delivery, Event, Failure, Message, Outbound, Response, Route, Session,
};
use serde_json::Value;

use super::hand::json;
use super::recording::{Said, load, said};
use super::stacked::{Connection, frame, messages, program};
use crate::plugin::{Reply, Subscribe};

/// A recording, and whether every byte is compared: a Python program orders members and spells numbers otherwise.
const RECORDINGS: [(&str, bool); 16] = [
    ("01-auth-node-websocket", true),
    ("02-auth-node-upgrade", true),
    ("03-auth-python-upgrade", false),
    ("04-data-node", true),
    ("06-data-python", false),
    ("07-lifecycle-node", true),
    ("08-lifecycle-python", false),
    ("09-events-node", true),
    ("10-events-python", false),
    ("11-timeout-extended-by-status", true),
    ("12-timeout-expired", true),
    ("13-reconnect-by-token-node", true),
    ("16-reconnect-token-refused-then-challenge", true),
    ("24-file-base64", true),
    ("25-file-binary", true),
    ("26-thumbnails", true),
];

/// What one recording came to.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    logins: usize,
    answers: usize,
    failures: usize,
    orphans: usize,
    events: Vec<String>,
    bytes: usize,
}

struct Replay {
    hand: Connection,
    /// Our request ids by the recorded ones.
    ids: HashMap<String, String>,
    asked: Vec<(String, Reply)>,
    exact: bool,
}

impl Replay {
    fn heard(&mut self, packet: &Said, outcome: &mut Outcome) {
        let mut said = packet.text.clone().unwrap();
        for (recorded, ours) in &self.ids {
            said = said.replace(&format!("\"{recorded}\""), &format!("\"{ours}\""));
        }
        for message in messages(said.clone(), &packet.attachments) {
            self.hand.hear(&message);
        }
        while let Some(delivery) = self.hand.delivered.pop_front() {
            match delivery {
                Delivery::Request { reply, .. } => {
                    let id = said.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap();
                    self.asked.push((id.to_owned(), reply));
                }
                Delivery::Response { outcome: Ok(response), .. } => {
                    outcome.answers += 1;
                    if let Body::Binary(binary) = response.body {
                        outcome.bytes += binary.bytes.len();
                    }
                }
                Delivery::Response { outcome: Err(CallError::Failure(_)), .. } => outcome.failures += 1,
                Delivery::Event(event) => outcome.events.push(event.route.as_str().to_owned()),
                other => panic!("{other:?}"),
            }
        }
    }

    /// The recorded plugin wrote this, and ours writes the same: by itself, or because the program wants what that one wanted.
    fn said(&mut self, said: &str, name: &str) {
        let Some(said) = said.strip_prefix("42").map(|_| &said[1..]) else {
            if said == "41" {
                self.hand.leave();
            }
            // In Python a CONNECT always has a payload.
            let said = if said == "40{}" && !self.exact { "40" } else { said };
            assert_eq!(self.hand.wrote().as_deref(), Some(said), "{name}");
            return;
        };
        let (event, value): (String, Value) = event(said);
        let member = |name: &str| value[name].as_str().map(str::to_owned);
        if self.hand.written.is_empty() {
            match &*event {
                "requestData" | "request_data" => {
                    // A value as it was spelled; of Python's spelling the value is enough.
                    let params = said.split_once("\"params\":").unwrap().1;
                    let end =
                        polywire_core::json::value_end(params.as_bytes(), 0, &Default::default()).unwrap();
                    self.hand.call(&member("method").unwrap(), Body::Json(json(&params[..end])));
                }
                "requestFile" => {
                    self.hand.call("requestFile", Body::Json(json(&value["filePath"].to_string())));
                }
                "subscribeEvents" => {
                    let names = serde_json::from_value(value.clone()).unwrap();
                    self.hand.send(Outbound::Command(Subscribe(names)));
                }
                "response" => {
                    let id = member("id").unwrap();
                    let at = self.asked.iter().position(|(known, _)| *known == id).unwrap();
                    let (_, reply) = self.asked.remove(at);
                    let data = said.split_once("\"data\":").unwrap().1;
                    let end =
                        polywire_core::json::value_end(data.as_bytes(), 0, &Default::default()).unwrap();
                    let result = match value["data"]["error"].as_str() {
                        Some(why) => Err(Failure::new(polywire_core::Code::NotFound, why.to_owned())),
                        None => Ok(Response::from(Body::Json(json(&data[..end])))),
                    };
                    self.hand.send(Outbound::Response { reply, result });
                }
                "statusUpdate" => {
                    // Recorded a hundred milliseconds apart.
                    self.hand.now = self.hand.now + std::time::Duration::from_millis(100);
                    let body = Body::Json(json(said.split_once(',').unwrap().1.strip_suffix(']').unwrap()));
                    let (_, reply) = &self.asked[0];
                    self.hand.with(|session, cx| session.progress(reply, body, cx));
                }
                other => {
                    let argument = said.split_once(',').unwrap().1.strip_suffix(']').unwrap();
                    let route = Route::new(other.to_owned()).unwrap();
                    self.hand.send(Outbound::Event(Event::new(route, Body::Json(json(argument)))));
                }
            }
        }
        let wrote = self.hand.wrote().unwrap_or_else(|| panic!("{name}: {said}"));
        let wrote = wrote.strip_prefix('4').unwrap().to_owned();
        let mut recorded = said.replace("\"request_data\"", "\"requestData\"");
        if let Some(id) = member("requestId") {
            let ours = wrote.split("\"requestId\":\"").nth(1).unwrap().split('"').next().unwrap();
            recorded = recorded.replace(&format!("\"{id}\""), &format!("\"{ours}\""));
            self.ids.insert(id, ours.to_owned());
        }
        if self.exact {
            assert_eq!(wrote, recorded, "{name}");
        } else {
            let (mut ours, mut theirs) = (self::event(&wrote), self::event(&recorded));
            // Some of their programs add a time, or show no token.
            for value in [&mut ours.1, &mut theirs.1] {
                if let Value::Object(members) = value {
                    members.remove("timestamp");
                    members.remove("sessionToken");
                }
            }
            assert_eq!(ours, theirs, "{name}");
        }
    }
}

/// Name and argument of an event.
fn event(said: &str) -> (String, Value) {
    let array = &said[said.find('[').unwrap()..];
    let mut parts: Vec<Value> = serde_json::from_str(array).unwrap();
    let argument = if parts.len() > 1 { parts.swap_remove(1) } else { Value::Null };
    (parts[0].as_str().unwrap().to_owned(), argument)
}

/// Did the recorded program do this as ours would not: use an id twice, or one that is no text, show another token or none?
fn on_purpose(said: &str, used: &HashMap<String, String>, token: &str, exact: bool) -> bool {
    let (event, value) = event(said);
    let another = value["sessionToken"].as_str().is_some_and(|shown| shown != token);
    let asks = matches!(&*event, "requestData" | "request_data" | "requestFile");
    let none = exact && value["sessionToken"].is_null();
    asks && (another
        || none
        || value["requestId"].as_str().is_none_or(|id| id == "same-id" || used.contains_key(id)))
}

/// Replays a recording; of every frame of the host the first `cut` bytes come alone.
fn replay(name: &str, exact: bool, cut: usize) -> Outcome {
    let mut outcome = Outcome::default();
    let mut token = String::new();
    let program = program();
    let (mut order, mut open) = (Vec::new(), HashMap::<String, Replay>::new());
    for packet in said(&load(name)) {
        let Some(text) = &packet.text else { continue };
        let replay = open.entry(packet.line.clone()).or_insert_with(|| {
            order.push(packet.line.clone());
            Replay { hand: program.dial(cut), ids: HashMap::new(), asked: Vec::new(), exact }
        });
        let is_event = text.starts_with("42") || text.starts_with("45");
        if !packet.by_plugin {
            if is_event && let Some(new) = event(text).1["sessionToken"].as_str() {
                token = new.to_owned();
            }
            replay.heard(&packet, &mut outcome);
        } else if !(is_event && on_purpose(text, &replay.ids, &token, exact)) {
            replay.said(text, name);
        }
    }
    for line in order {
        let replay = &open[&line];
        // A leave ends the session of Engine.IO too; theirs closed the WebSocket and said no more.
        let unsaid = replay.hand.written.iter().filter(|message| **message != Message::Text("1".into()));
        assert_eq!(unsaid.collect::<Vec<_>>(), Vec::<&Message>::new(), "{name}");
        outcome.logins += usize::from(replay.hand.established);
        outcome.orphans += replay.hand.counted.iter().filter(|count| **count == Count::OrphanReply).count();
    }
    outcome
}

/// What most recordings have of everything: a login, answers and failures, a request of the host, events, attachments.
const CUT: [&str; 4] = ["01-auth-node-websocket", "07-lifecycle-node", "09-events-node", "25-file-binary"];

#[test]
fn where_the_bytes_of_the_host_are_cut_changes_nothing() {
    for (name, exact) in RECORDINGS.into_iter().filter(|(name, _)| CUT.contains(name)) {
        let whole = replay(name, exact, 0);
        let frames =
            said(&load(name)).into_iter().filter(|packet| !packet.by_plugin && packet.text.is_some());
        let sizes = frames.flat_map(|packet| {
            let sizes =
                messages(packet.text.unwrap(), &packet.attachments).map(|message| frame(&message).len());
            sizes.collect::<Vec<_>>()
        });
        for cut in 1..sizes.max().unwrap() {
            assert_eq!(replay(name, exact, cut), whole, "{name}, {cut}");
        }
    }
}

#[test]
fn our_plugin_writes_what_the_recorded_ones_wrote() {
    let outcomes: HashMap<_, _> =
        RECORDINGS.iter().map(|(name, exact)| (*name, replay(name, *exact, 0))).collect();
    for (name, outcome) in &outcomes {
        let logins = match *name {
            "13-reconnect-by-token-node" => outcome.logins.max(2),
            "16-reconnect-token-refused-then-challenge" => 2,
            _ => 1,
        };
        assert_eq!(outcome.logins, logins, "{name}");
    }
    // Every answer comes twice, and the second is nobody's.
    let data = &outcomes["04-data-node"];
    assert!(data.answers >= 10 && data.failures >= 2, "{data:?}");
    assert!(data.orphans >= data.answers + data.failures, "{data:?}");
    assert!(outcomes["09-events-node"].events.len() >= 4);
    assert_eq!(outcomes["24-file-base64"].bytes, outcomes["25-file-binary"].bytes);
    assert!(outcomes["24-file-base64"].bytes >= 256);
}
