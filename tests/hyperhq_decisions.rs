//! The recorded decisions of a host on the official packages, with our host in its place: what it sends, then whether the
//! connection stays. Our host listens, and the plugin is a client of raw frames.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "support/socketio_raw.rs"]
mod raw;

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use polywire_core::{Body, Code, Endpoint, Failure, Router};
use polywire_hyperhq::{FileEncoding, Host, HostConfig};
use polywire_tests::scratch::scratch;
use polywire_tests::vectors;
use raw::Raw;
use serde_json::{Value, json};

const ID: &str = "demo-plugin";

/// A host with these options of the recorded one, whose plugin has this folder.
async fn host(options: &Value, folder: &Path) -> Host {
    let flag = |name: &str, default| options[name].as_bool().unwrap_or(default);
    let binary = options["fileEncoding"] == "binary";
    let config = HostConfig {
        port: Some(0),
        require_data_token: flag("requireDataToken", false),
        require_file_token: flag("requireFileToken", true),
        aliases: flag("aliases", true),
        max_file_bytes: options["maxFileBytes"].as_u64().unwrap_or(2_000_000),
        file_encoding: if binary { FileEncoding::Binary } else { FileEncoding::Base64 },
        refusal_grace: Duration::from_millis(20),
        ..HostConfig::default()
    };
    let unknown = || async { Err::<Body, _>(Failure::new(Code::NotFound, "System not found: undefined")) };
    let library = Router::new().handle("echo", |params: Body| async { params });
    let library = library.handle("getMediaFolders", unknown).build().unwrap();
    let endpoint = Endpoint::new("hyperhq", library);
    let now = endpoint.surroundings.clock.now();
    let host = Host::listen(config, endpoint).await.unwrap();
    host.serve_files(ID, folder).unwrap();
    assert!(host.plugins().admit(ID, "challenge-1".into(), now));
    host
}

/// The folder of the recorded plugin, and beside it a file that it must not get.
fn folder() -> PathBuf {
    let outer = scratch("plugins");
    let own = outer.join("plugin");
    std::fs::create_dir_all(own.join("sub")).unwrap();
    for (name, text) in [("a.txt", "abc"), ("empty.txt", ""), ("../secret.txt", "must never be served")] {
        std::fs::write(own.join(name), text).unwrap();
    }
    own
}

/// The next event, with its attachment in place.
async fn heard(raw: &mut Raw) -> Value {
    let text = raw.event().await;
    if let Some(event) = text.strip_prefix("42") {
        return serde_json::from_str(event).unwrap();
    }
    let mut event: Value =
        serde_json::from_str(text.strip_prefix("451-").unwrap_or_else(|| panic!("{text}"))).unwrap();
    let (_, bytes) = raw.frame().await.unwrap();
    event[1]["data"] = json!({ "$binary": BASE64_STANDARD.encode(bytes) });
    event
}

/// The event as the recording tells it: a token and a port are each host's own.
fn as_recorded(mut event: Value, token: &str, port: u16) -> Value {
    if let Some(new) = event[1].get_mut("sessionToken") {
        assert_ne!(std::mem::replace(new, json!("$NEWTOKEN")), token);
        assert_eq!(std::mem::replace(&mut event[1]["serverPort"], json!("$PORT")), port);
    }
    event
}

/// Another connection of somebody who is refused has been closed: so has been, by now, whatever was refused before it.
async fn a_grace_passes(address: &str) {
    let mut other = Raw::join(address).await;
    other.send(&[r#"42["authenticate",{"pluginId":"nobody","challenge":"x"}]"#]).await;
    other.end().await;
}

#[tokio::test]
async fn the_69_recorded_decisions_are_those_of_a_host_that_listens() {
    let file: Value = vectors::load("hyperhq/host-decisions.json");
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 69);
    let folder = folder();
    let mut closed = 0;
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let host = host(&case["options"], &folder).await;
        let address = format!("127.0.0.1:{}", host.port());
        let mut raw = Raw::join(&address).await;
        let mut token = String::new();
        if case["state"] == "auth" {
            raw.send(&[r#"42["authenticate",{"pluginId":"demo-plugin","challenge":"challenge-1"}]"#]).await;
            token = heard(&mut raw).await[1]["sessionToken"].as_str().unwrap().to_owned();
        }
        let said: Vec<_> =
            case["send"].as_array().unwrap().iter().map(|event| format!("42{event}")).collect();
        let said: Vec<_> = said.iter().map(|event| event.replace("$TOKEN", &token)).collect();
        raw.send(&said.iter().map(String::as_str).collect::<Vec<_>>()).await;
        for expected in case["receive"].as_array().unwrap() {
            let event = as_recorded(heard(&mut raw).await, &token, host.port());
            assert_eq!(event, *expected, "{name}");
        }
        if case["connectedAfter"] == true {
            a_grace_passes(&address).await;
            // Nothing else comes before the answer to this.
            raw.send(&["427[\"isThere\"]"]).await;
            assert_eq!(raw.event().await, "437[]", "{name}");
        } else {
            raw.end().await;
            closed += 1;
        }
        drop(raw);
        host.shutdown().await;
    }
    assert_eq!(closed, 11);
    std::fs::remove_dir_all(folder.parent().unwrap()).unwrap();
}
