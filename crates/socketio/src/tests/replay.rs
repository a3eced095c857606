//! Recorded runs of the official client against the official server, with our client in its place: given what the server
//! said and what the program wanted, it writes byte for byte what the official one wrote.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use bytes::Bytes;
use polywire_core::{
    Body, Close, Delivery, Event, JsonText, Message, Meta, Outbound, Request, Response, Route,
};
use serde_json::Value;

use super::hand::Hand;
use super::vectors::{VECTORS, message};
use crate::config::{Arguments, Config};
use crate::packet::{Kind, Packet, PacketLimits, Parsed};
use crate::session::Recovery;

/// One connection of a recording.
struct Replay {
    hand: Hand,
    /// Requests of the server that were not answered yet, by their id.
    asked: HashMap<u64, u64>,
    left: bool,
    /// It has left without the DISCONNECT that the official client wrote behind an event.
    quietly: bool,
}

impl Replay {
    fn heard(&mut self, entry: &Value) {
        self.hand.receive(message(entry));
        while let Some(delivery) = self.hand.delivered.pop_front() {
            if let Delivery::Request { reply, .. } = delivery {
                self.asked.insert(reply, reply);
            }
        }
    }

    /// The program wanted what the official client wrote; ours writes the same.
    fn spoke(&mut self, entry: &Value, attachments: Vec<Bytes>) {
        let Message::Text(text) = message(entry) else { panic!("{entry}") };
        if text.starts_with(b"4") && !text.starts_with(b"40") {
            let packet = match Packet::parse(&text.slice(1..), &PacketLimits::default()).unwrap() {
                Parsed::Whole(packet) => packet,
                Parsed::Awaits(packet, _) => {
                    packet.complete(attachments, &polywire_core::JsonLimits::default()).unwrap()
                }
            };
            self.want(packet);
        }
        let wrote = self.hand.written.pop_front();
        self.quietly = self.left && wrote.is_none();
        if !self.quietly {
            assert_eq!(wrote, Some(Message::Text(text)));
        }
    }

    fn want(&mut self, packet: Packet) {
        match packet.kind {
            Kind::Event { id, args } => {
                let name = args.text().slice(args.place(0).unwrap());
                let name: String = serde_json::from_slice(&name).unwrap();
                let values: Vec<&serde_json::value::RawValue> = serde_json::from_slice(args.text()).unwrap();
                let body = serde_json::to_vec(&values[1..]).unwrap();
                let body = Body::Json(JsonText::from_validated(body.into()));
                let meta = Meta::default().with_attachments(args.attachments().to_vec());
                let route = Route::new(name).unwrap();
                if id.is_some() {
                    self.hand.call(Request { meta, ..Request::new(route, body) });
                } else {
                    self.hand.send(Outbound::Event(Event { route, body, meta }));
                }
            }
            Kind::Ack { id, args } => {
                let reply = self.asked.remove(&id.unwrap()).expect("the server asked");
                let meta = Meta::default().with_attachments(args.attachments().to_vec());
                let body = Body::Json(JsonText::from_validated(args.text().clone()));
                self.hand.send(Outbound::Response { reply, result: Ok(Response { body, meta }) });
            }
            Kind::Disconnect => {
                self.left = true;
                self.hand.leave();
            }
            other => panic!("{other:?}"),
        }
    }
}

fn recording(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(format!("{VECTORS}/transcripts/{name}.json")).unwrap()).unwrap()
}

fn begins_over_polling(name: &str) -> bool {
    recording(name)["entries"][0]["kind"] == "http-request"
}

/// Replays every connection of a recording over WebSocket; says how each ended.
fn replay(name: &str) -> Vec<Replay> {
    let recording = recording(name);
    let entries = recording["entries"].as_array().unwrap();
    let recovery = Recovery::default();
    let (mut order, mut open) = (Vec::new(), HashMap::<u64, Replay>::new());
    for (at, entry) in entries.iter().enumerate() {
        let number = entry["conn"].as_u64().unwrap();
        let from_server = entry["dir"] == "s2c";
        match entry["kind"].as_str().unwrap() {
            "ws-open" => {
                // What the program showed at this connect, without what the client added for recovery.
                let connect = entries[at..]
                    .iter()
                    .find(|later| {
                        later["conn"] == number
                            && later["text"].as_str().is_some_and(|text| text.starts_with("40/"))
                    })
                    .unwrap();
                let shown = connect["text"].as_str().unwrap().split_once(',').unwrap().1;
                let mut shown: serde_json::Map<String, Value> = serde_json::from_str(shown).unwrap();
                shown.retain(|member, _| member != "pid" && member != "offset");
                let auth = JsonText::from_value(&shown).unwrap();
                let config = Config {
                    arguments: Arguments::List,
                    min_heartbeat: Duration::from_millis(100),
                    ..Config::new("/realtime")
                };
                let hand = Hand::new(config, Some(auth), recovery.clone());
                open.insert(number, Replay { hand, asked: HashMap::new(), left: false, quietly: false });
                order.push(number);
            }
            "ws-text" if from_server => open.get_mut(&number).unwrap().heard(entry),
            "ws-binary" if from_server => open.get_mut(&number).unwrap().heard(entry),
            "ws-text" => {
                let attachments = entries[at + 1..]
                    .iter()
                    .filter(|later| later["conn"] == number && later["dir"] == "c2s")
                    .take_while(|later| later["kind"] == "ws-binary")
                    .map(|later| match message(later) {
                        Message::Binary(bytes) => bytes,
                        other => panic!("{other:?}"),
                    })
                    .collect();
                open.get_mut(&number).unwrap().spoke(entry, attachments);
            }
            "ws-binary" => {
                let wrote = open.get_mut(&number).unwrap().hand.written.pop_front();
                assert_eq!(wrote, Some(message(entry)));
            }
            _ => {}
        }
    }
    order.into_iter().map(|number| open.remove(&number).unwrap()).collect()
}

/// Recordings that begin over polling: they are replayed request by request, in `tests/polling`.
const OVER_POLLING: [&str; 2] = ["basic-polling", "upgrade"];

#[test]
fn every_recording_over_websocket_is_written_byte_for_byte() {
    let mut skipped = Vec::new();
    let files = fs::read_dir(format!("{VECTORS}/transcripts")).unwrap();
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    for name in &names {
        let name = name.strip_suffix(".json").unwrap();
        if begins_over_polling(name) {
            skipped.push(name);
            continue;
        }
        let connections = replay(name);
        assert!(!connections.is_empty(), "{name}");
        // Where its last words are events, which a DISCONNECT might cost.
        let quietly = connections.iter().any(|connection| connection.quietly);
        assert_eq!(quietly, name == "buffered-while-down", "{name}");
        for connection in connections {
            let unsaid: Vec<_> = connection
                .hand
                .written
                .iter()
                .filter(|message| **message != Message::Text(Bytes::from_static(b"1")))
                .collect();
            assert!(unsaid.is_empty(), "{name}: {unsaid:?}");
        }
    }
    assert_eq!(skipped, OVER_POLLING);
}

#[test]
fn a_refusal_is_told_with_its_data() {
    let connections = replay("stale-token");
    let Some(Close::Refused(refusal)) = &connections[1].hand.closed else { panic!() };
    assert_eq!(refusal.reason, "stale token");
    let data = refusal.data.as_ref().unwrap();
    assert_eq!(data.as_str(), r#"{"message":"stale token","data":{"code":"stale","last":1}}"#);
}

#[test]
fn a_recovered_session_says_so_and_hands_over_what_was_missed() {
    let connections = replay("recovery");
    let told: Vec<_> = connections
        .iter()
        .map(|connection| match &connection.hand.established.as_ref().unwrap().data {
            Body::Json(text) => text.as_str().to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [r#"{"recovered":false}"#, r#"{"recovered":true}"#]);
}

#[test]
fn a_kick_is_no_reason_to_come_back() {
    let connections = replay("kicked");
    assert!(matches!(connections[0].hand.closed, Some(Close::Dismissed(_))));
}
