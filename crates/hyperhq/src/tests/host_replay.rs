//! Every recorded run of a host written on the official packages, with our host's session in its place: given what the plugins
//! said and what the application wanted, it says what that host said.

use std::collections::HashMap;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use polywire_core::{
    Body, CallId, Code, Delivery, Event, Failure, JsonText, Outbound, Request, Response, Route,
};
use polywire_socketio::{Kind, Packet};
use serde_json::Value;
use serde_json::value::RawValue;

use super::hand::{json, packet};
use super::host::{Host, Line};
use super::recording::{Said, recordings, said};
use crate::host::{FileEncoding, HostConfig, HostReply, Reauth};

const CHALLENGE: &str = "c0ffee00c0ffee00c0ffee00c0ffee00";

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
    let reauth = match value("--reauth") {
        Some("none") => Reauth::None,
        Some("challenge") => Reauth::Challenge,
        Some("token") => Reauth::Token,
        _ => Reauth::Both,
    };
    let mut config = HostConfig { reauth, ..HostConfig::default() };
    if let Some(millis) = value("--challenge-life-ms") {
        config.challenge_life = Duration::from_millis(millis.parse().unwrap());
    }
    if value("--file-encoding") == Some("binary") {
        config.file_encoding = FileEncoding::Binary;
    }
    config
}

/// What ours says besides: a recording, the events, and why.
const ONLY_OURS: [(&str, &[&str], &str); 1] = [(
    "29-sdk-opening-burst",
    &["authenticated"],
    "an opening in one go is served, which the official server closes",
)];

/// How many events of the recorded host were compared with ours.
fn replay(name: &str, recording: &Value) -> usize {
    let host = Host::with_challenge(config(&recording["host"]["flags"]), CHALLENGE);
    let mut lines: HashMap<String, Line<'_>> = HashMap::new();
    let mut replay = Replay { name, ours: HashMap::new(), compared: 0 };
    let mut more: Vec<String> = Vec::new();
    let names = |line: &Line<'_>| line.written.iter().map(|packet| written(packet).0).collect::<Vec<_>>();
    for said in said(recording) {
        host.at(said.at);
        if said.text.is_none() {
            // Dropped, so that its session is lost.
            more.extend(lines.remove(&said.line).iter().flat_map(names));
        }
        let Some(text) = said.packet() else { continue };
        let Some((event, argument)) = event(text) else { continue };
        let line = lines.entry(said.line.clone()).or_insert_with(|| host.connect());
        line.wakes_when_due();
        assert!(line.closed.is_none(), "{name}: ours has closed before {text}");
        if said.by_plugin {
            line.receive(packet(&replay.with_ours(text), said.attachments.clone()));
        } else {
            replay.said(line, &said, &event, &argument);
        }
    }
    more.extend(lines.values().flat_map(names));
    let known = ONLY_OURS.iter().find(|(known, ..)| *known == name);
    assert_eq!(more, known.map_or(&[][..], |(_, more, _)| more), "{name}: only ours says this");
    replay.compared
}

#[test]
fn our_host_says_what_the_recorded_ones_said() {
    let all = recordings();
    assert_eq!(all.len(), 34);
    let compared: usize = all.iter().map(|(name, recording)| replay(name, recording)).sum();
    assert!(compared > 200, "{compared}");
}
