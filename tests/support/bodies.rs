//! The JSON texts of calls and answers in recorded bytes, exactly as they were spelled, by the number inside them.
//!
//! Read without our codecs: Sockhop as JSON lines, HPX as gzip members that end with `<EOF>`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use flate2::bufread::GzDecoder;
use polywire_conformance::{Recording, Relay, Way};
use serde_json::Value;
use serde_json::value::RawValue;

type Members = BTreeMap<String, Box<RawValue>>;

/// The arguments of every call and the result of every answer on one side of the bridge.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Bodies {
    /// Arguments by number.
    pub(crate) asked: BTreeMap<u64, String>,
    /// Results by number.
    pub(crate) answered: BTreeMap<u64, String>,
}

impl Bodies {
    /// What JSON lines of Sockhop carried through `relay`. A call has an `id` and its answer that as `callback_id`; our
    /// handshake has one too, which a stock 1.x server answers like any message.
    pub(crate) fn of_sockhop(relay: &Relay) -> Self {
        let lines = |bytes: &[u8]| -> Vec<Members> {
            std::str::from_utf8(bytes).expect("UTF-8").lines().map(members).collect()
        };
        Self::gather(relay, |seen| {
            let (mut asked, mut answered) =
                (lines(&seen.bytes(Way::ToServer)), lines(&seen.bytes(Way::ToClient)));
            asked.retain(|line| line.contains_key("id") && !line["type"].get().starts_with("\"Sockhop"));
            let ids: BTreeSet<&str> = asked.iter().map(|line| line["id"].get()).collect();
            answered.retain(|line| line.get("callback_id").is_some_and(|id| ids.contains(id.get())));
            let data =
                |lines: Vec<Members>| lines.into_iter().map(|mut line| take(&mut line, "data")).collect();
            (data(asked), data(answered))
        })
    }

    /// What frames of HPX carried through `relay`.
    pub(crate) fn of_hpx(relay: &Relay) -> Self {
        Self::gather(relay, |seen| {
            let asked = entries(&seen.bytes(Way::ToServer)).iter().map(|entry| arguments(entry)).collect();
            let answered = entries(&seen.bytes(Way::ToClient))
                .iter()
                .map(|entry| take(&mut members(entry), "data"))
                .collect();
            (asked, answered)
        })
    }

    fn gather(relay: &Relay, read: impl Fn(&Recording) -> (Vec<String>, Vec<String>)) -> Self {
        let mut found = Self::default();
        for connection in 0..relay.opened() {
            let (asked, answered) = read(&relay.recording(connection));
            for (texts, kept) in [(asked, &mut found.asked), (answered, &mut found.answered)] {
                for text in texts {
                    let number = number(&text);
                    assert_eq!(kept.insert(number, text), None, "number {number} passed twice");
                }
            }
        }
        found
    }
}

/// The number a test wrote into a value, which is the body or its member `value`.
fn number(text: &str) -> u64 {
    let body: Value = serde_json::from_str(text).expect("JSON");
    let value = body.get("value").unwrap_or(&body);
    value["number"].as_u64().unwrap_or_else(|| panic!("no number in {text}"))
}

/// The elements of `data` of every message that has a list there: calls, or their answers.
fn entries(stream: &[u8]) -> Vec<String> {
    let lists = messages(stream).into_iter().filter_map(|message| {
        let data = take(&mut members(&message), "data");
        serde_json::from_str::<Vec<Box<RawValue>>>(&data).ok()
    });
    lists.flatten().map(|entry| entry.get().to_owned()).collect()
}

/// The texts of the frames in `stream`.
fn messages(mut stream: &[u8]) -> Vec<String> {
    let (mut found, mut text) = (Vec::new(), String::new());
    while !stream.is_empty() {
        if let Some(rest) = stream.strip_prefix(b"<EOF>") {
            found.push(std::mem::take(&mut text));
            stream = rest;
        } else {
            GzDecoder::new(&mut stream).read_to_string(&mut text).expect("a gzip member of UTF-8");
        }
    }
    assert_eq!(text, "", "the last frame has its end");
    found
}

/// A call without the name of its function: the object of its arguments, as it was spelled.
fn arguments(entry: &str) -> String {
    let heads = [r#"{"fname":"echo","#, r#"{"fname": "echo", "#];
    let rest = heads.iter().find_map(|head| entry.strip_prefix(head));
    format!("{{{}", rest.unwrap_or_else(|| panic!("no call of echo: {entry}")))
}

fn members(text: impl AsRef<str>) -> Members {
    serde_json::from_str(text.as_ref()).unwrap_or_else(|error| panic!("{error}: {}", text.as_ref()))
}

fn take(members: &mut Members, name: &str) -> String {
    members.remove(name).unwrap_or_else(|| panic!("no {name} in {members:?}")).get().to_owned()
}
