//! The recorded runs of hosts and plugins on the official packages, as messages of Socket.IO.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use serde_json::Value;

/// Every recording, by its name.
pub(super) fn recordings() -> Vec<(String, Value)> {
    let folder = format!("{}/../../tests/vectors/hyperhq", env!("CARGO_MANIFEST_DIR"));
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let named = paths.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path));
    let numbered = named.filter(|(name, _)| name.starts_with(|first: char| first.is_ascii_digit()));
    let mut all: Vec<_> = numbered
        .map(|(name, path)| (name, serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()))
        .collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
}

/// One message of Socket.IO in a recording, or the end of a connection.
pub(super) struct Said {
    pub(super) at: Duration,
    /// Which connection: a session may begin on requests and go on over a WebSocket.
    pub(super) line: String,
    pub(super) by_plugin: bool,
    /// Without the Engine.IO type; nothing for the end.
    pub(super) text: Option<String>,
    pub(super) attachments: Vec<Bytes>,
}

/// The messages of a recording, whatever carried them.
pub(super) fn messages(entries: &[Value]) -> Vec<Said> {
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
