//! What `encryption` in a URL of Stonyx means, read off the wire.

#![allow(clippy::unwrap_used, reason = "a test that cannot run has failed")]

mod support;

use std::time::Duration;

use polywire_conformance::{Relay, Way};
use polywire_net::websocket::Header;
use support::{file, polywire, start};

/// How long anything may take that this test waits for.
const LIMIT: Duration = Duration::from_secs(30);
/// Bytes of a key that is no placeholder.
const KEY: &str = "a key of these tests";

/// The messages after the handshake, unmasked, by the kind of their only frame: 1 is text, 2 binary.
fn messages(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let mut rest = &bytes[end + 4..];
    let mut found = Vec::new();
    while let Some(header) = Header::of(rest) {
        let (content, after) = rest[header.bytes..].split_at(usize::try_from(header.length).unwrap());
        let mask = header.mask.unwrap_or_default();
        let unmasked = content.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        found.push((header.opcode(), unmasked.collect()));
        rest = after;
    }
    // A close is not a message.
    found.retain(|(kind, _)| matches!(kind, 1 | 2));
    found
}

/// What passes to the server and back while one value is echoed.
async fn passed(encryption: &str) -> [Vec<(u8, Vec<u8>)>; 2] {
    let key = file("stonyx-key", KEY.as_bytes());
    let options = format!("?key=file:{}&encryption={encryption}", key.display());
    let mut server = start(&["serve", &format!("stonyx://127.0.0.1:0{options}")]);
    let relay = Relay::start(server.line()["address"].as_str().unwrap(), 1 << 20).await.unwrap();
    let url = format!("stonyx://{}{options}", relay.address());
    polywire(&["call", &url, "echo", r#"{"value":1}"#]).ends(0);
    let recording = relay.wait_for(0, |seen| seen.over, LIMIT).await.unwrap();
    [Way::ToServer, Way::ToClient].map(|way| messages(&recording.bytes(way)))
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_off_in_the_url_leaves_plain_json_on_the_wire() {
    let text = |text: &str| (1, text.as_bytes().to_vec());
    let login = format!(r#"{{"request":"auth","data":{{"authKey":"{KEY}"}}}}"#);
    let expected = [
        vec![text(&login), text(r#"{"request":"echo","data":{"value":1}}"#)],
        vec![
            text(r#"{"request":"auth","response":"success"}"#),
            text(r#"{"request":"echo","response":{"value":1}}"#),
        ],
    ];
    let shown = |ways: &[Vec<(u8, Vec<u8>)>; 2]| {
        ways.iter()
            .flatten()
            .map(|(kind, bytes)| format!("{kind} {}", String::from_utf8_lossy(bytes)))
            .collect::<Vec<_>>()
    };
    let passed_off = passed("off").await;
    assert_eq!(shown(&passed_off), shown(&expected));

    // The same messages sealed: each is 28 bytes longer, and the session key comes along with the login's answer.
    let passed_on = passed("on").await;
    for (sealed, plain) in passed_on.iter().flatten().zip(expected.iter().flatten()) {
        let key = if plain.1.ends_with(b"\"success\"}") { r#","sessionKey":"""#.len() + 44 } else { 0 };
        assert_eq!((sealed.0, sealed.1.len()), (2, plain.1.len() + key + 28));
        for word in [&b"request"[..], b"authKey", KEY.as_bytes()] {
            assert!(!sealed.1.windows(word.len()).any(|part| part == word), "{word:?} is readable");
        }
    }
    assert_eq!(passed_on.map(|way| way.len()), [2, 2]);
}
