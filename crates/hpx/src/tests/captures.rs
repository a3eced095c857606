//! The captures, replayed: what recorded clients sent goes to our server session, which must answer as the recorded server did,
//! and what the recorded server sent goes to our client session, which must understand it.

use std::collections::BTreeMap;

use super::client_session::{Dialled, fresh};
use super::*;

/// A reply without what differs between two runs.
fn plain(reply: &Value, sessions: &mut BTreeMap<String, String>) -> Value {
    let mut reply = reply.clone();
    let known = sessions.len();
    let session = reply["session"].as_str().unwrap().to_owned();
    if !session.is_empty() {
        let name = sessions.entry(session).or_insert_with(|| format!("session {known}"));
        reply["session"] = json!(name);
    }
    reply["name"] = Value::Null;
    let errors = |value: &mut Value| {
        if let Some(error) = value.get_mut("error") {
            *error = error["code"].clone();
        }
    };
    for entry in reply["data"].as_array_mut().into_iter().flatten() {
        errors(entry);
    }
    errors(&mut reply);
    reply
}

/// Captures whose server was the original, or the independent peer where a dialect B client cannot talk to the original, and
/// in which nothing is asked that we refuse on purpose.
fn replayable() -> Vec<Value> {
    const DIFFERENT: &[(&str, &str)] = &[
        ("py-not-ready", "we are always ready"),
        ("py-notification", "notifications are functions of the application"),
        ("py-async-command", "commands are functions of the application"),
        ("py-quit-broadcast", "commands need a user who may"),
        ("py-quit-unauthenticated", "commands need a login"),
        ("py-session-lost", "our sessions outlive their connections"),
        ("py-session-expired", "its span is part of the configuration, see server_session"),
        ("py-message-errors", "a failed function does not fail the message"),
        ("py-batch-errors", "results stand in the order of the calls"),
        ("js1-batch-errors", "results stand in the order of the calls"),
        ("js2-guest-against-2018-server", "the original refuses dialect B"),
    ];
    let mut all = captures(&["py-", "js1-", "js2-"]);
    let skipped = |capture: &Value| DIFFERENT.iter().any(|(id, _)| capture["id"] == *id);
    assert_eq!(all.iter().filter(|capture| skipped(capture)).count(), DIFFERENT.len());
    all.retain(|capture| !skipped(capture));
    all
}

#[test]
fn recorded_clients_get_the_recorded_answers() {
    let replayable = replayable();
    assert!(replayable.len() >= 14, "{}", replayable.len());
    for capture in replayable {
        let id = capture["id"].as_str().unwrap();
        let frames = capture["frames"].as_array().unwrap();
        let guests = frames[0]["json"]["data"]["guest_allowed"].as_bool().unwrap();
        let shared = shared(guests);
        let mut desks: BTreeMap<u64, Engine<ServerSession>> = BTreeMap::new();
        let (mut recorded, mut ours) = (BTreeMap::new(), BTreeMap::new());
        // Session ids of the capture, and what we gave out in their place.
        let mut given: Vec<(String, String)> = Vec::new();
        for frame in frames.iter().filter(|frame| frame.get("hex").is_some()) {
            let desk = desks.entry(frame["conn"].as_u64().unwrap()).or_insert_with(|| desk(&shared));
            if frame["from"] == "client" {
                let mut text = Vec::new();
                for part in plain_read(&unhex(frame["hex"].as_str().unwrap())) {
                    text.extend(part);
                }
                let mut text = String::from_utf8(text).unwrap();
                for (theirs, own) in &given {
                    text = text.replace(theirs, own);
                }
                desk.receive(&super::frame(text.as_bytes())).unwrap();
                continue;
            }
            let wanted = &frame["json"];
            let text = desk.written.pop_front().unwrap_or_else(|| panic!("{id}: no answer for {wanted}"));
            let Ok(reply) = serde_json::from_str::<Value>(&text) else {
                assert!(text.contains("\\ud800") && wanted.to_string().contains("\\\\ud800"), "{id}: {text}");
                continue;
            };
            if let (Some(theirs), Some(own)) = (wanted["session"].as_str(), reply["session"].as_str())
                && !theirs.is_empty()
                && !given.iter().any(|(known, _)| known == theirs)
            {
                given.push((theirs.to_owned(), own.to_owned()));
            }
            assert_eq!(plain(&reply, &mut ours), plain(wanted, &mut recorded), "{id}");
        }
        assert!(desks.values().all(|desk| desk.written.is_empty() && desk.closed.is_none()), "{id}");
    }
}

#[test]
fn dialect_c_is_diagnosed_on_both_sides() {
    for capture in captures(&["js3."]) {
        let first = |side: &str| {
            let frames = capture["frames"].as_array().unwrap().iter();
            let frame = frames.clone().find(|frame| frame["from"] == side && frame.get("hex").is_some());
            unhex(frame.unwrap()["hex"].as_str().unwrap())
        };
        if capture["id"] == "js3.5-against-2018-server" {
            // The client hung up at the greeting it could not read.
            continue;
        }
        assert!(decode(&first("server"), &[]).is_err(), "{}", capture["id"]);
        let mut desk = desk(&shared(true));
        let error = desk.receive(&first("client")).unwrap_err().to_string();
        assert!(error.contains("dialect C (MessagePack"), "{}: {error}", capture["id"]);
    }
}

#[test]
fn our_client_understands_the_recorded_answers() {
    let mut calls = 0;
    for capture in
        captures(&["py-guest-call", "py-user-call", "py-payload", "js1-guest", "js1-user", "js2-guest-call"])
    {
        let id = capture["id"].as_str().unwrap();
        let Dialled { mut engine, .. } = fresh();
        let mut expected = Vec::new();
        for frame in capture["frames"].as_array().unwrap().iter().filter(|frame| frame.get("hex").is_some()) {
            let entry = &frame["json"]["data"][0];
            if frame["from"] == "server" {
                engine.receive(&unhex(frame["hex"].as_str().unwrap())).unwrap();
                expected.extend(entry.get("data").cloned());
            } else if let Some(fname) = entry["fname"].as_str() {
                engine.call(expected.len() as u64, fname, "{}");
            }
        }
        assert!(engine.closed.is_none() && engine.outcomes.len() == expected.len(), "{id}");
        for (outcome, wanted) in engine.outcomes.iter().zip(&expected) {
            let Ok(Response { body: Body::Json(text), .. }) = outcome else { panic!("{id}: {outcome:?}") };
            assert_eq!(text.parse::<Value>().unwrap(), *wanted, "{id}");
            calls += 1;
        }
    }
    assert!(calls >= 6, "{calls}");
}
