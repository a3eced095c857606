//! Recorded runs of plugins written on the official packages, with our plugin in their place: given the bytes that the host sent
//! and what the program wanted, it writes what they wrote, from the first packet of Engine.IO to the leave.

use std::collections::HashMap;

use polywire_core::{
    Body, CallError, Count, Delivery, Event, Failure, Message, Outbound, Response, Route, Session,
};
use serde_json::Value;

use super::cut::{Cut, every};
use super::hand::{CHALLENGE, json};
use super::recording::{Said, recordings, said};
use super::stacked::{Connection, frame, messages, program};
use crate::plugin::{Reply, Subscribe};

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
    (
        "28-sdk-opening-spaced",
        Exactly,
        Some("opens the session itself, and shows its challenge under two names"),
    ),
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
#[derive(Debug, Default, PartialEq)]
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
    hand: Connection,
    /// What stands before the events of its namespace.
    namespace: &'static str,
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

    /// The recorded plugin wrote a packet that is no event: so does ours, by itself or because the program leaves.
    fn wrote(&mut self, said: &str, name: &str) {
        let leaves = |said: &[u8]| said.starts_with(b"41");
        if leaves(said.as_bytes()) {
            // Ours shows its challenge before it gives up. Of its events none has a receipt, so the transport alone tells the end.
            self.hand.leave();
            let left = |message: &Message| matches!(message, Message::Text(text) if leaves(text));
            assert!(!self.hand.written.iter().any(left), "{name}: {:?}", self.hand.written);
            return;
        }
        // In Python a CONNECT always has a payload.
        let said = if said == "40{}" && !self.exact { "40" } else { said };
        let wrote = Message::Text(said.to_owned().into());
        let at = self.hand.written.iter().position(|written| *written == wrote);
        let at = at.unwrap_or_else(|| panic!("{name}: {said} is not among {:?}", self.hand.written));
        self.hand.written.remove(at);
    }

    /// The recorded plugin told this event: so does ours, by itself or because the program wants what that one wanted.
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
        let wrote = self.hand.wrote().unwrap_or_else(|| panic!("{name}: {said}"));
        let wrote = wrote.strip_prefix("42").and_then(|wrote| wrote.strip_prefix(self.namespace));
        let wrote = format!("2{}", wrote.unwrap_or_else(|| panic!("{name}: {said}")));
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

/// Replays a recording; every frame of the host comes in the pieces of `cut`.
fn replay(name: &str, recording: &Value, exact: bool, cut: Cut) -> Outcome {
    let mut outcome = Outcome::default();
    let all = said(recording);
    let is_legacy = all.iter().filter_map(Said::packet).any(|packet| packet.starts_with("0/plugin"));
    let (at, namespace) = if is_legacy { ("/plugin", "/plugin,") } else { ("/", "") };
    let (mut token, mut program) = (String::new(), program(at));
    let (mut order, mut open) = (Vec::new(), HashMap::<String, Replay>::new());
    for packet in &all {
        let Some(text) = &packet.text else { continue };
        let told = packet.packet().filter(|packet| packet.starts_with(['2', '5']));
        let told = told.map(|told| told.replacen(namespace, "", usize::from(is_legacy)));
        let replay = open.entry(packet.line.clone()).or_insert_with(|| {
            order.push(packet.line.clone());
            let mut later = all.iter().filter(|later| later.line == packet.line).filter_map(Said::packet);
            let first = later.find(|later| later.starts_with(['2', '5']) && later.contains('['));
            let challenge = first.and_then(|first| event(first).1["challenge"].as_str().map(str::to_owned));
            if challenge.is_some() {
                // It has no token, or does not use it: a program that begins anew.
                program = self::program(at);
            }
            let hand = program.dial(challenge.as_deref().unwrap_or(CHALLENGE), cut);
            Replay { hand, namespace, ids: HashMap::new(), asked: Vec::new(), exact }
        });
        let is_over = replay.hand.closed.is_some();
        match (told, packet.by_plugin) {
            (told, false) => {
                let new = told.and_then(|told| event(&told).1["sessionToken"].as_str().map(str::to_owned));
                if let Some(new) = new {
                    token = new;
                    outcome.welcomes += 1;
                }
                if !is_over {
                    replay.heard(packet, &mut outcome);
                }
            }
            (None, true) if is_over => {}
            // An opening packet is the host's to send.
            (None, true) if text == "0" => outcome.left_out.push(text.clone()),
            (None, true) => replay.wrote(text, name),
            (Some(told), true) if is_over || on_purpose(&told, &replay.ids, &token, exact) => {
                if told.starts_with("2[\"authenticate\"") {
                    replay.hand.written.pop_front();
                }
                outcome.left_out.push(told);
            }
            (Some(told), true) => replay.said(&told, name),
        }
    }
    for line in order {
        let replay = open.get_mut(&line).unwrap();
        while let Some(wrote) = replay.hand.wrote() {
            // A leave ends the session of Engine.IO too; theirs closed the WebSocket and said no more.
            if wrote != "1" {
                outcome.only_ours.push(event(&wrote).0);
            }
        }
        outcome.logins += usize::from(replay.hand.established);
        outcome.orphans += replay.hand.counted.iter().filter(|count| **count == Count::OrphanReply).count();
    }
    outcome
}

/// So long a message may be to be cut at one place after the other; the recordings with longer ones are the long ones, too.
const SHORT: usize = 400;

#[test]
fn where_the_bytes_of_the_host_are_cut_changes_nothing() {
    for ((name, recording), (_, compared, _)) in recordings().iter().zip(RECORDINGS) {
        if let Not(_) = compared {
            continue;
        }
        let exact = compared == Exactly;
        let whole = replay(name, recording, exact, Cut::At(0));
        let heard = said(recording).into_iter().filter(|packet| !packet.by_plugin);
        let heard = heard
            .filter_map(|packet| Some(messages(packet.text?, &packet.attachments).collect::<Vec<Message>>()));
        let longest = heard.flatten().map(|message| frame(&message).len()).max().unwrap();
        for cut in every(longest, SHORT) {
            assert_eq!(replay(name, recording, exact, cut), whole, "{name}, {cut:?}");
        }
    }
}

#[test]
fn our_plugin_writes_what_the_recorded_ones_wrote() {
    let mut outcomes = HashMap::new();
    let recordings = recordings();
    assert_eq!(recordings.len(), RECORDINGS.len(), "every recording has its row");
    for ((name, recording), row) in recordings.iter().zip(RECORDINGS) {
        let (known, compared, left_out) = row;
        assert_eq!(name, known);
        if let Not(_) = compared {
            continue;
        }
        let outcome = replay(name, recording, compared == Exactly, Cut::At(0));
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
