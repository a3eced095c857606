//! The recorded runs: what passed between a host and its plugins, packet by packet, whatever carried it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use serde_json::Value;

/// A recording by its name.
pub(super) fn load(name: &str) -> Value {
    let path = format!("{}/../../tests/vectors/hyperhq/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Every recording, by its name.
pub(super) fn recordings() -> Vec<(String, Value)> {
    let folder = format!("{}/../../tests/vectors/hyperhq", env!("CARGO_MANIFEST_DIR"));
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let names = paths.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    let mut numbered: Vec<_> =
        names.filter(|name| name.starts_with(|first: char| first.is_ascii_digit())).collect();
    numbered.sort();
    numbered.into_iter().map(|name| (name.clone(), load(&name))).collect()
}

/// One packet of Engine.IO, or the end of a connection.
pub(super) struct Said {
    pub(super) at: Duration,
    /// Which connection: a session may begin on requests and go on over a WebSocket.
    pub(super) line: String,
    pub(super) by_plugin: bool,
    /// With its type in front; nothing for the end.
    pub(super) text: Option<String>,
    pub(super) attachments: Vec<Bytes>,
}

impl Said {
    /// The packet of Socket.IO in it.
    pub(super) fn packet(&self) -> Option<&str> {
        self.text.as_ref()?.strip_prefix('4')
    }
}

/// The packets of a recording in order; those that belong to a change of what carries them are left out.
pub(super) fn said(recording: &Value) -> Vec<Said> {
    let mut lines: HashMap<u64, String> = HashMap::new();
    let mut streams = HashSet::new();
    let mut all: Vec<Said> = Vec::new();
    for entry in recording["entries"].as_array().unwrap() {
        let conn = entry["conn"].as_u64().unwrap();
        if let Some(url) = entry["url"].as_str() {
            let sid = url.split("sid=").nth(1).map(|rest| rest.split('&').next().unwrap().to_owned());
            lines.insert(conn, sid.unwrap_or_else(|| format!("stream {conn}")));
        }
        let kind = entry["kind"].as_str().unwrap();
        let by_plugin = entry["dir"] == "c2s";
        let at = Duration::from_millis(entry["ms"].as_u64().unwrap());
        let mut say = |all: &mut Vec<Said>, text: Option<&str>| {
            if kind.starts_with("http")
                && let Some(open) = text.and_then(|text| text.strip_prefix('0'))
            {
                // Later requests name the session.
                let open: Value = serde_json::from_str(open).unwrap();
                lines.insert(conn, open["sid"].as_str().unwrap().to_owned());
            }
            let (line, text) = (lines[&conn].clone(), text.map(str::to_owned));
            all.push(Said { at, line, by_plugin, text, attachments: Vec::new() });
        };
        match kind {
            "ws-text" => match entry["text"].as_str().unwrap() {
                "2probe" | "3probe" | "5" => {}
                text => say(&mut all, Some(text)),
            },
            "http-request" | "http-response" => {
                for part in entry["body"].as_str().unwrap_or_default().split('\u{1e}') {
                    match part.split_at_checked(1) {
                        Some(("b", text)) => attach(&mut all, text),
                        // An empty one frees a request while the WebSocket takes over.
                        Some(("0" | "1" | "2" | "3" | "4", _)) => say(&mut all, Some(part)),
                        _ => {}
                    }
                }
            }
            "ws-binary" => attach(&mut all, entry["base64"].as_str().unwrap()),
            "ws-open" => drop(streams.insert(conn)),
            // One that is cut ends without a close.
            "ws-close" | "tcp-close" if streams.contains(&conn) => say(&mut all, None),
            _ => {}
        }
    }
    all
}

fn attach(all: &mut [Said], base64: &str) {
    all.last_mut().unwrap().attachments.push(BASE64_STANDARD.decode(base64).unwrap().into());
}
