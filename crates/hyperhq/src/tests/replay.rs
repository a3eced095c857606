//! Recorded runs of plugins written on the official packages, with our plugin in their place: given what the host said and
//! what the program wanted, it says what they said.

use std::collections::HashMap;

use bytes::Bytes;
use polywire_core::{Body, CallError, Count, Delivery, Event, Failure, Outbound, Response, Route, Session};
use serde_json::Value;

use super::hand::{CHALLENGE, Hand, json, packet, text};
use super::recording::{messages, recordings};
use crate::plugin::{Kept, Reply, Subscribe};

/// How a recording is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Compared {
    /// Every byte.
    Bytes,
    /// Names and values: a Python program orders members and spells numbers otherwise.
    Values,
    /// Not at all, for this reason.
    Not(&'static str),
}

use Compared::{Bytes as Exactly, Not, Values};

/// What a recorded program did and ours does not, so that it is left out.
const ODD_IDS: &str = "uses an id twice on purpose";
const WRONG_TOKEN: &str = "asks without its token, or with one that is not its session's";

/// Every recording, how it is compared, and what of it is left out.
const RECORDINGS: [(&str, Compared, Option<&str>); 34] = [
    ("01-auth-node-websocket", Exactly, None),
    ("02-auth-node-upgrade", Exactly, None),
    ("03-auth-python-upgrade", Values, Some(WRONG_TOKEN)),
    ("04-data-node", Exactly, Some(ODD_IDS)),
    ("05-data-node-polling-only", Exactly, Some(ODD_IDS)),
    ("06-data-python", Values, None),
    ("07-lifecycle-node", Exactly, None),
    ("08-lifecycle-python", Values, None),
    ("09-events-node", Exactly, None),
    ("10-events-python", Values, None),
    ("11-timeout-extended-by-status", Exactly, None),
    ("12-timeout-expired", Exactly, None),
    ("13-reconnect-by-token-node", Exactly, None),
    ("14-reconnect-by-challenge-node", Exactly, None),
    ("15-reconnect-by-token-python", Values, None),
    ("16-reconnect-token-refused-then-challenge", Exactly, Some(WRONG_TOKEN)),
    ("17-reconnect-refused", Exactly, None),
    ("18-challenge-reuse-refused", Exactly, None),
    ("19-bad-challenge", Exactly, Some("asks for data after its login was refused; ours has ended")),
    ("20-expired-challenge", Exactly, None),
    ("21-no-auth", Not("says everything before its login; ours says nothing before it"), None),
    ("22-wrong-token", Exactly, Some(WRONG_TOKEN)),
    ("23-malformed-auth", Not("none of its logins is well-formed; ours writes no other"), None),
    ("24-file-base64", Exactly, Some(WRONG_TOKEN)),
    ("25-file-binary", Exactly, Some(WRONG_TOKEN)),
    ("26-thumbnails", Exactly, None),
    ("27-legacy-events", Exactly, Some("sends several arguments, and statuses that are no objects")),
    ("28-sdk-opening-spaced", Exactly, Some("shows its challenge under two names")),
    ("29-sdk-opening-burst", Not("does not wait for what it says to be allowed; the host closes"), None),
    ("30-kick", Exactly, None),
    ("31-namespace-plugin", Exactly, Some(ODD_IDS)),
    ("32-guide-sample-js-initialize", Exactly, None),
    ("33-guide-sample-js-reconnect", Exactly, None),
    ("34-guide-sample-python", Values, None),
];

/// What ours says besides: it shows its challenge once where its token was refused, and the recorded program gives up.
const ONLY_OURS: [(&str, &str); 1] = [("17-reconnect-refused", "authenticate")];

/// What one recording came to.
#[derive(Debug, Default)]
struct Outcome {
    logins: usize,
    /// How often the host has let somebody in.
    welcomes: usize,
    /// What the recorded program said and ours does not.
    left_out: Vec<String>,
    /// Names of what ours says and the recorded program did not.
    only_ours: Vec<String>,
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
                    match self.asked.first() {
                        Some((_, reply)) => {
                            self.hand.with(|session, cx| session.progress(reply, body, cx));
                        }
                        None => {
                            let status = Event::new(Route::from_static("statusUpdate"), body);
                            self.hand.send(Outbound::Event(status));
                        }
                    }
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

/// Did the recorded program do this as ours would not: use an id twice, or one that is no text, show another token or none, show
/// its challenge under two names, say several things in one event, or a status that is no object?
fn on_purpose(said: &str, used: &HashMap<String, String>, token: &str, exact: bool) -> bool {
    let (event, value) = event(said);
    let another = value["sessionToken"].as_str().is_some_and(|shown| shown != token);
    let none = exact && value["sessionToken"].is_null();
    match &*event {
        "requestData" | "request_data" | "requestFile" => {
            let known = |id: &str| id == "same-id" || used.contains_key(id);
            another || none || value["requestId"].as_str().is_none_or(known)
        }
        "authenticate" => value["token"].is_string(),
        "statusUpdate" => !value.is_object(),
        _ => serde_json::from_str::<Vec<Value>>(&said[1..]).is_ok_and(|parts| parts.len() > 2),
    }
}

/// The same text in the main namespace.
fn in_main(text: &str) -> String {
    text.replacen("/plugin,[", "[", 1)
}

fn replay(name: &str, recording: &Value, exact: bool) -> Outcome {
    let mut outcome = Outcome::default();
    let (mut token, mut kept) = (String::new(), Kept::default());
    let (mut order, mut open) = (Vec::new(), HashMap::<String, Replay>::new());
    for said in messages(recording["entries"].as_array().unwrap()) {
        let Some(text) = said.text.as_deref().map(in_main) else { continue };
        if !text.starts_with("2[") && !text.starts_with('5') {
            continue;
        }
        let value = event(&text).1;
        let replay = open.entry(said.line.clone()).or_insert_with(|| {
            order.push(said.line.clone());
            let challenge = value["challenge"].as_str();
            if challenge.is_some() {
                // It has no token, or does not use it: a program that begins anew.
                kept = Kept::default();
            }
            let hand = Hand::with_challenge(challenge.unwrap_or(CHALLENGE), &kept);
            Replay { hand, ids: HashMap::new(), asked: Vec::new(), exact }
        });
        if !said.by_plugin {
            if let Some(new) = value["sessionToken"].as_str() {
                token = new.to_owned();
                outcome.welcomes += 1;
            }
            if replay.hand.closed.is_none() {
                replay.heard(text, said.attachments, &mut outcome);
            }
        } else if replay.hand.closed.is_some() || on_purpose(&text, &replay.ids, &token, exact) {
            outcome.left_out.push(text.clone());
            if text.starts_with("2[\"authenticate\"") {
                replay.hand.written.pop_front();
            }
        } else {
            replay.said(&text, name);
        }
    }
    for line in order {
        let replay = &open[&line];
        outcome.only_ours.extend(replay.hand.written.iter().map(|packet| event(&text(packet)).0));
        outcome.logins += usize::from(replay.hand.established);
        outcome.orphans += replay.hand.counted.iter().filter(|count| **count == Count::OrphanReply).count();
    }
    outcome
}

#[test]
fn our_plugin_says_what_the_recorded_ones_said() {
    let mut outcomes = HashMap::new();
    for ((name, recording), row) in recordings().iter().zip(RECORDINGS) {
        let (known, compared, left_out) = row;
        assert_eq!(name, known);
        if let Not(_) = compared {
            continue;
        }
        let outcome = replay(name, recording, compared == Exactly);
        assert_eq!(outcome.logins, outcome.welcomes, "{name}: our plugin is in as often");
        assert_eq!(!outcome.left_out.is_empty(), left_out.is_some(), "{name}: {:?}", outcome.left_out);
        let more = ONLY_OURS.iter().filter(|(named, _)| named == name).map(|(_, event)| *event);
        assert_eq!(outcome.only_ours, more.collect::<Vec<_>>(), "{name}");
        outcomes.insert(known, outcome);
    }
    assert_eq!(outcomes.len(), 31, "every recording that is not listed as impossible");
    // Every answer comes twice, and the second is nobody's.
    let data = &outcomes["04-data-node"];
    assert!(data.answers >= 10 && data.failures >= 2, "{data:?}");
    assert!(data.orphans >= data.answers + data.failures, "{data:?}");
    assert!(outcomes["09-events-node"].events.len() >= 4);
    assert_eq!(outcomes["24-file-base64"].bytes, outcomes["25-file-binary"].bytes);
    assert!(outcomes["24-file-base64"].bytes >= 256);
}
