//! Recorded runs of plugins written on the official packages, with our plugin in their place: given what the host said and
//! what the program wanted, it says what they said.

use std::collections::HashMap;
use std::fs;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use polywire_core::{Body, CallError, Count, Delivery, Event, Failure, Outbound, Response, Route, Session};
use serde_json::Value;

use super::hand::{Hand, json, packet, text};
use crate::plugin::{Kept, Reply, Subscribe};

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
#[derive(Debug, Default)]
struct Outcome {
    logins: usize,
    answers: usize,
    failures: usize,
    orphans: usize,
    events: Vec<String>,
    bytes: usize,
}

struct Replay {
    hand: Hand,
    /// Our request ids by the recorded ones.
    ids: HashMap<String, String>,
    asked: Vec<(String, Reply)>,
    exact: bool,
}

impl Replay {
    fn heard(&mut self, mut said: String, attachments: Vec<Bytes>, outcome: &mut Outcome) {
        for (recorded, ours) in &self.ids {
            said = said.replace(&format!("\"{recorded}\""), &format!("\"{ours}\""));
        }
        self.hand.receive(packet(&said, attachments));
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

    /// The program wanted what was recorded, unless the session says it by itself.
    fn said(&mut self, said: &str, name: &str) {
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
        let wrote = text(&self.hand.written.pop_front().unwrap_or_else(|| panic!("{name}: {said}")));
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

fn replay(name: &str, exact: bool) -> Outcome {
    let path = format!("{}/../../tests/vectors/hyperhq/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let recording: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let entries: Vec<_> = recording["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| matches!(entry["kind"].as_str(), Some("ws-text" | "ws-binary")))
        .collect();
    let mut outcome = Outcome::default();
    let mut token = String::new();
    let (kept, mut order, mut open) = (Kept::default(), Vec::new(), HashMap::<u64, Replay>::new());
    for (at, entry) in entries.iter().enumerate() {
        let number = entry["conn"].as_u64().unwrap();
        let said = entry["text"].as_str().unwrap_or_default();
        if !said.starts_with("42[") && !said.starts_with("45") {
            continue;
        }
        let said = said[1..].to_owned();
        let replay = open.entry(number).or_insert_with(|| {
            order.push(number);
            Replay { hand: Hand::new(&kept), ids: HashMap::new(), asked: Vec::new(), exact }
        });
        let attachments: Vec<Bytes> = entries[at + 1..]
            .iter()
            .take_while(|later| later["kind"] == "ws-binary")
            .map(|later| BASE64_STANDARD.decode(later["base64"].as_str().unwrap()).unwrap().into())
            .collect();
        if entry["dir"] == "s2c" {
            if let Some(new) = event(&said).1["sessionToken"].as_str() {
                token = new.to_owned();
            }
            replay.heard(said, attachments, &mut outcome);
        } else if !on_purpose(&said, &replay.ids, &token, exact) {
            replay.said(&said, name);
        }
    }
    for number in order {
        let replay = &open[&number];
        assert!(replay.hand.written.is_empty(), "{name}: {:?}", replay.hand.written);
        outcome.logins += usize::from(replay.hand.established);
        outcome.orphans += replay.hand.counted.iter().filter(|count| **count == Count::OrphanReply).count();
    }
    outcome
}

#[test]
fn our_plugin_says_what_the_recorded_ones_said() {
    let outcomes: HashMap<_, _> =
        RECORDINGS.iter().map(|(name, exact)| (*name, replay(name, *exact))).collect();
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
