//! Every recorded run of a host written on the official packages, with our host's session in its place: given what the plugins
//! said and what the application wanted, it says what that host said.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use polywire_core::{
    Body, CallId, Code, Delivery, Event, Failure, JsonText, Outbound, Request, Response, Route,
};
use polywire_socketio::{Kind, Packet};
use serde_json::Value;
use serde_json::value::RawValue;

use super::hand::{json, packet};
use super::host::{Host, Line};
use crate::host::{FileEncoding, HostConfig, HostReply, Reauth};

const CHALLENGE: &str = "c0ffee00c0ffee00c0ffee00c0ffee00";

/// One message of Socket.IO in a recording, or the end of a connection.
struct Said {
    at: Duration,
    line: String,
    by_plugin: bool,
    /// Without the Engine.IO type; nothing for the end.
    text: Option<String>,
    attachments: Vec<Bytes>,
}

/// The messages of a recording, whatever carried them.
fn messages(entries: &[Value]) -> Vec<Said> {
    let mut lines: HashMap<u64, String> = HashMap::new();
    let mut streams = HashSet::new();
    let mut all: Vec<Said> = Vec::new();
    for entry in entries {
        let conn = entry["conn"].as_u64().unwrap();
        if let Some(url) = entry["url"].as_str() {
            let sid = url.split("sid=").nth(1).map(|rest| rest.split('&').next().unwrap().to_owned());
            lines.insert(conn, sid.unwrap_or_else(|| format!("stream {conn}")));
        }
        let kind = entry["kind"].as_str().unwrap();
        let (line, by_plugin) = (lines[&conn].clone(), entry["dir"] == "c2s");
        let at = Duration::from_millis(entry["ms"].as_u64().unwrap());
        let said =
            |text: Option<String>| Said { at, line: line.clone(), by_plugin, text, attachments: Vec::new() };
        match kind {
            "ws-text" => {
                all.extend(
                    entry["text"].as_str().unwrap().strip_prefix('4').map(|text| said(Some(text.to_owned()))),
                );
            }
            "ws-binary" => {
                let bytes = BASE64_STANDARD.decode(entry["base64"].as_str().unwrap()).unwrap();
                all.last_mut().unwrap().attachments.push(bytes.into());
            }
            "http-request" | "http-response" => {
                for part in entry["body"].as_str().unwrap_or_default().split('\u{1e}') {
                    match part.split_at_checked(1) {
                        Some(("4", text)) => all.push(said(Some(text.to_owned()))),
                        Some(("b", text)) => {
                            let bytes = BASE64_STANDARD.decode(text).unwrap();
                            all.last_mut().unwrap().attachments.push(bytes.into());
                        }
                        _ => {}
                    }
                }
            }
            "ws-open" => drop(streams.insert(conn)),
            // One that is cut ends without a close.
            "ws-close" | "tcp-close" if streams.contains(&conn) => all.push(said(None)),
            _ => {}
        }
    }
    all
}

/// Name and argument of an event, as they are spelled; `None` for other packets.
fn event(text: &str) -> Option<(String, String)> {
    if !text.starts_with(['2', '5']) {
        return None;
    }
    let parts: Vec<Box<RawValue>> = serde_json::from_str(&text[text.find('[')?..]).ok()?;
    let name = serde_json::from_str(parts.first()?.get()).ok()?;
    Some((name, parts.get(1).map_or_else(String::new, |part| part.get().to_owned())))
}

fn member(argument: &str, name: &str) -> Option<JsonText> {
    let members: HashMap<String, Box<RawValue>> = serde_json::from_str(argument).ok()?;
    members.get(name).map(|value| json(value.get()))
}

/// What can be compared: ports and times are each host's own.
fn comparable(argument: &str) -> Value {
    let mut value: Value = serde_json::from_str(argument).unwrap_or_default();
    if let Value::Object(members) = &mut value {
        members.remove("serverPort");
        members.remove("timestamp");
    }
    value
}

/// The event in a packet that was written.
fn written(packet: &Packet) -> (String, String) {
    let Kind::Event { args, .. } = &packet.kind else { panic!("{packet:?}") };
    event(&format!("2{}", std::str::from_utf8(args.text()).unwrap())).unwrap()
}

/// One recording while it is replayed.
struct Replay<'a> {
    name: &'a str,
    /// Ours by the recorded: tokens and the ids of requests.
    ours: HashMap<String, String>,
    compared: usize,
}

impl Replay<'_> {
    fn with_ours(&self, text: &str) -> String {
        self.ours.iter().fold(text.to_owned(), |text, (theirs, ours)| {
            text.replace(&format!("\"{theirs}\""), &format!("\"{ours}\""))
        })
    }

    /// The recorded host said this: so does ours, at once or because the application wants it.
    fn said(&mut self, line: &mut Line<'_>, said: &Said, name: &str, argument: &str) {
        let is_there = |line: &Line<'_>| line.written.iter().position(|packet| written(packet).0 == name);
        if is_there(line).is_none() {
            self.want(line, name, argument, said);
        }
        let Some(at) = is_there(line) else {
            panic!("{}: ours does not say {name} {argument}, but {:?}", self.name, line.written)
        };
        let packet = line.written.remove(at).unwrap();
        let (_, ours) = written(&packet);
        for key in ["sessionToken", "id"] {
            let text = |argument: &str| member(argument, key).and_then(|value| value.parse::<String>().ok());
            if let (Some(theirs), Some(ours)) = (text(argument), text(&ours)) {
                self.ours.insert(theirs, ours);
            }
        }
        assert_eq!(comparable(&ours), comparable(&self.with_ours(argument)), "{}: {name}", self.name);
        let Kind::Event { args, .. } = &packet.kind else { panic!("{packet:?}") };
        assert_eq!(args.attachments(), said.attachments, "{}: {name}", self.name);
        self.compared += 1;
    }

    /// The application wants what was recorded.
    fn want(&mut self, line: &mut Line<'_>, name: &str, argument: &str, said: &Said) {
        let argument = &self.with_ours(argument);
        let text = |key: &str| member(argument, key).and_then(|value| value.parse::<String>().ok());
        let body = |key: &str| member(argument, key).map_or(Body::Empty, Body::Json);
        let route = |key: &str| Route::new(text(key).unwrap()).unwrap();
        match name {
            "request" => {
                let request = Request::new(route("method"), body("data"));
                let call = CallId(u64::try_from(self.compared).unwrap());
                let deadline = polywire_core::Moment::from_start(said.at + Duration::from_secs(30));
                line.send(Outbound::Request { call, request, deadline });
            }
            "hyperHqEvent" => line.send(Outbound::Event(Event::new(route("type"), body("data")))),
            "dataResponse" | "fileData" => {
                let id = member(argument, "requestId");
                let at = line.delivered.iter().position(|delivery| match delivery {
                    Delivery::Request { reply: HostReply::Data { id: asked, .. }, .. } => {
                        Some(asked) == id.as_ref()
                    }
                    Delivery::Request { reply: HostReply::File { id: asked, .. }, .. } => *asked == id,
                    _ => false,
                });
                let asked = at.and_then(|at| line.delivered.remove(at));
                let Some(Delivery::Request { reply, .. }) = asked else {
                    panic!("{}: nobody asked ours for {argument}", self.name)
                };
                let result = match (text("error"), name) {
                    (Some(why), _) => Err(Failure::new(Code::NotFound, why)),
                    (None, "fileData") => {
                        let inline = || BASE64_STANDARD.decode(text("data").unwrap()).unwrap().into();
                        let bytes = said.attachments.first().cloned().unwrap_or_else(inline);
                        Ok(Response::from(Body::binary("", bytes)))
                    }
                    (None, _) => Ok(Response::from(body("data"))),
                };
                line.send(Outbound::Response { reply, result });
            }
            _ => {}
        }
    }
}

/// How the recorded host was started.
fn config(flags: &Value) -> HostConfig {
    let flags: Vec<&str> = flags.as_array().unwrap().iter().map(|flag| flag.as_str().unwrap()).collect();
    let value =
        |name: &str| flags.iter().position(|flag| *flag == name).and_then(|at| flags.get(at + 1)).copied();
    let mut config = HostConfig { max_logins: 100, ..HostConfig::default() };
    config.reauth = match value("--reauth") {
        Some("none") => Reauth::None,
        Some("challenge") => Reauth::Challenge,
        Some("token") => Reauth::Token,
        _ => Reauth::Both,
    };
    if let Some(millis) = value("--challenge-life-ms") {
        config.challenge_life = Duration::from_millis(millis.parse().unwrap());
    }
    if value("--file-encoding") == Some("binary") {
        config.file_encoding = FileEncoding::Binary;
    }
    config
}

/// How many events of the recorded host were compared with ours.
fn replay(name: &str, recording: &Value) -> usize {
    let host = Host::with_challenge(config(&recording["host"]["flags"]), CHALLENGE);
    let mut lines: HashMap<String, Line<'_>> = HashMap::new();
    let mut replay = Replay { name, ours: HashMap::new(), compared: 0 };
    for said in messages(recording["entries"].as_array().unwrap()) {
        host.at(said.at);
        let Some(text) = &said.text else {
            lines.remove(&said.line);
            continue;
        };
        let Some((event, argument)) = event(text) else { continue };
        let line = lines.entry(said.line.clone()).or_insert_with(|| host.connect());
        if said.by_plugin {
            line.receive(packet(&replay.with_ours(text), said.attachments.clone()));
        } else {
            replay.said(line, &said, &event, &argument);
        }
    }
    for line in lines.values() {
        assert!(line.written.is_empty(), "{name}: only ours says {:?}", line.written);
    }
    replay.compared
}

#[test]
fn our_host_says_what_the_recorded_ones_said() {
    let folder = format!("{}/../../tests/vectors/hyperhq", env!("CARGO_MANIFEST_DIR"));
    let (mut recordings, mut compared) = (0, 0);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if !name.starts_with(|first: char| first.is_ascii_digit()) {
            continue;
        }
        let recording: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        compared += replay(name, &recording);
        recordings += 1;
    }
    assert_eq!(recordings, 34);
    assert!(compared > 200, "{compared}");
}
