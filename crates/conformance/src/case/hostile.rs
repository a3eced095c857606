//! Strangers who keep to no protocol.

use std::time::Duration;

use polywire_core::{Count, GAP, Limits};

use super::call::finish;
use super::{Broken, Outcome, holds, until, within};
use crate::bench::{Bench, Plan, limits};
use crate::finding::Verdict;
use crate::joint::Way;
use crate::rig::Rig;

/// What stranger programs say first, and what nobody means well by.
fn openings() -> Vec<(&'static str, Vec<u8>)> {
    let deep = [vec![b'['; 100_000], vec![b'\n']].concat();
    let objects = [b"{\"a\":".repeat(50_000), vec![b'\n']].concat();
    let keys: String = (0..50_000).map(|key| format!("\"{key}\":0,")).collect();
    vec![
        ("nothing", Vec::new()),
        ("a zero", vec![0]),
        ("line breaks", vec![b'\n'; 10_000]),
        ("a request of HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("a preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("a head of HTTP without an end", b"GET / HTTP/1.1\r\nX: x\r\n".repeat(10_000)),
        (
            "an upgrade that is none",
            b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n".to_vec(),
        ),
        ("a hello of TLS", [&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3][..], &[7; 600]].concat()),
        ("a banner of SSH", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()),
        ("zeros", vec![0; 200_000]),
        ("ones", vec![0xff; 200_000]),
        ("letters without an end", vec![b'a'; 200_000]),
        ("a gigabyte that is announced", vec![0x3f, 0xff, 0xff, 0xff, 0, 0, 0, 1, b'{']),
        ("more than there is that is announced", vec![0xff; 9]),
        ("depth", deep),
        ("deep objects", objects),
        ("very many keys", format!("{{{keys}\"z\":0}}\n").into_bytes()),
        ("a number of 100 000 digits", [vec![b'9'; 100_000], vec![b'\n']].concat()),
        ("what is not UTF-8", b"{\"\xc3\x28\":\"\xf0\x28\x8c\xbc\"}\n".repeat(100)),
        ("lone surrogates and NUL", b"{\"\\ud800\":\"\\u0000\"}\0\n".repeat(100)),
        (
            "names that are wanted to be more",
            b"{\"__proto__\":{\"a\":1},\"constructor\":{\"prototype\":0}}\n".repeat(100),
        ),
        ("gzip that holds nothing", [&[31, 139, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0xff; 5_000]].concat()),
        ("the end of a message without a beginning", b"<EOF><EOF>}]\"\n".repeat(100)),
    ]
}

/// A counterfeit of random bytes that is the same every time.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    polywire_core::Random::fill(&polywire_core::SeededRandom::new(seed), &mut noise);
    noise
}

pub(crate) async fn strangers_cost_their_own_connection_at_most(bench: &Bench<'_>) -> Outcome {
    let rig = bench.start().await?;
    let heard = rig.far.app.heard().len();
    let mut said = openings();
    said.extend((0..20).map(|seed| ("noise", noise(seed, 3_000))));
    for (what, bytes) in said {
        let stranger = rig.joint.stranger().await;
        let mut stranger = stranger.map_err(|error| Broken::new(format!("nobody can connect: {error}")))?;
        // In two pieces, and as far as the server takes it: it may have had enough of it.
        let (first, second) = bytes.split_at(bytes.len() / 2);
        let said = async {
            for piece in [first, second] {
                if stranger.send(piece).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        within(&format!("the server to take {what}"), said).await?;
        let served = rig.still_serves().await;
        served.map_err(|broken| Broken::new(format!("after {what}: {broken}")))?;
    }
    let strange = rig.far.app.heard().into_iter().skip(heard).find(|heard| &*heard.route != "echo.still");
    holds!(strange.is_none(), "a handler has heard {strange:?} of a stranger");
    same_peers(&rig).await?;
    finish(rig, Verdict::Held).await
}

/// Only the client is left, once the strangers have hung up.
async fn same_peers(rig: &Rig) -> Result<(), Broken> {
    let over = || {
        let count = |count| rig.far.ledger.get(count);
        count(Count::Connections) == count(Count::Closed) + 1
    };
    // Some wires wait for a while for those who have hung up in the middle of something.
    rig.passing(Duration::from_millis(50), "the strangers to be gone", until("it", over)).await?
}

/// A wire without bytes has nothing that could end early: what is shown there is that a connection may end at once.
pub(crate) async fn an_opening_may_end_anywhere(bench: &Bench<'_>) -> Outcome {
    let rig = bench.start().await?;
    rig.still_serves().await?;
    let opening = rig.joint.opening(Way::ToServer);
    let verdict = if opening.is_empty() { Verdict::Refused } else { Verdict::Held };
    for length in 0..=opening.len().min(700) {
        let stranger = rig.joint.stranger().await;
        let mut stranger = stranger.map_err(|error| Broken::new(format!("nobody can connect: {error}")))?;
        // It may have had enough of it.
        let _ =
            within("the server to read", stranger.send(opening.get(..length).unwrap_or_default())).await?;
        if length % 64 == 0 {
            let served = rig.still_serves().await;
            served.map_err(|broken| Broken::new(format!("after {length} bytes and an end: {broken}")))?;
        }
    }
    rig.still_serves().await?;
    same_peers(&rig).await?;
    finish(rig, verdict).await
}

/// What answers a client that takes somebody for its server, and what reaches an end in the middle of everything.
fn answers() -> Vec<(&'static str, Vec<u8>)> {
    let accepted = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    vec![
        ("a page", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec()),
        ("a page without an end", [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[b'x'; 200_000]].concat()),
        ("a way to somebody else", b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n".to_vec()),
        ("an upgrade without a proof", [&accepted[..], b"\r\n"].concat()),
        ("an upgrade with a wrong proof", [&accepted[..], b"Sec-WebSocket-Accept: AAAA\r\n\r\n"].concat()),
        ("depth behind two digits", [b"42".to_vec(), vec![b'['; 100_000], vec![b'\n']].concat()),
        ("a close of WebSocket", vec![0x88, 0]),
        ("a piece of a message without a beginning", vec![0x80, 1, b'x']),
        ("a ping that is too long", [&[0x89, 126, 1, 0][..], &[b'x'; 256]].concat()),
    ]
}

/// These bytes as one text message of WebSocket; what goes to a server is masked, with zeros.
fn framed(bytes: &[u8], way: Way) -> Vec<u8> {
    let mask: &[u8] = if way == Way::ToServer { &[0; 4] } else { &[] };
    let bit = if mask.is_empty() { 0 } else { 0x80 };
    let head = [&[0x81, bit | 127][..], &(bytes.len() as u64).to_be_bytes(), mask].concat();
    [&head[..], bytes].concat()
}

/// Everything that nobody means well by, for an end that reads what comes this way: as it is, and some as messages of WebSocket.
fn said(way: Way) -> Vec<(&'static str, Vec<u8>)> {
    let bare = [openings(), answers()].concat();
    let messages: Vec<_> =
        bare.iter().rev().filter(|(_, bytes)| !bytes.is_empty()).step_by(3).cloned().collect();
    let messages = messages.into_iter().map(|(what, bytes)| (what, framed(&bytes, way)));
    let noise = (0..4).map(|seed| ("noise", noise(seed, 3_000)));
    bare.into_iter().chain(messages).chain(noise).collect()
}

/// Bounds under which what was begun and is never finished costs little time.
fn short() -> Plan {
    let second = Duration::from_secs(1);
    let limits =
        Limits { login_timeout: second, frame_timeout: second, call_timeout: second * 2, ..limits() };
    Plan { near: limits.clone(), far: limits, ..Plan::default() }
}

/// How time passes meanwhile.
const STEP: Duration = Duration::from_millis(500);

/// Nobody has heard anything but what the suite says itself.
fn nothing_strange(rig: &Rig) -> Result<(), Broken> {
    let known = |route: &str| route.starts_with("echo.") || *route == *GAP;
    let heard = [&rig.near, &rig.far].into_iter().flat_map(|end| end.app.heard());
    let strange = heard.into_iter().find(|heard| !known(&heard.route));
    holds!(strange.is_none(), "a handler has heard {strange:?}, which nobody sent");
    Ok(())
}

pub(crate) async fn bytes_amid_a_session_cost_that_connection_at_most(bench: &Bench<'_>) -> Outcome {
    let rig = bench.start_with(short()).await?;
    for (what, bytes) in said(bench.way()) {
        rig.joint.inject(bench.way(), &bytes);
        let back = rig.reconnect_at(STEP).await;
        back.map_err(|broken| Broken::new(format!("after {what}: {broken}")))?;
        if bench.calls() {
            let served = rig.still_serves().await;
            served.map_err(|broken| Broken::new(format!("after {what}: {broken}")))?;
        }
        nothing_strange(&rig)?;
    }
    finish(rig, Verdict::Held).await
}

pub(crate) async fn a_client_outlives_a_server_that_is_none(bench: &Bench<'_>) -> Outcome {
    let rig = bench.start_with(short()).await?;
    for (what, bytes) in said(Way::ToClient) {
        rig.joint.impersonate(Some(&bytes));
        let before = rig.joint.opened();
        rig.joint.cut();
        // Once for what is said, and once because it was not what the client wanted.
        let again = until("it", || rig.joint.opened() >= before + 2);
        rig.passing(STEP, &format!("the client to dial again after {what}"), again).await??;
        nothing_strange(&rig)?;
        // Each time, because some servers know nobody any more who was away for long.
        rig.joint.impersonate(None);
        rig.joint.cut();
        let back = rig.reconnect_at(STEP).await;
        back.map_err(|broken| Broken::new(format!("after {what}: {broken}")))?;
    }
    rig.still_serves().await?;
    nothing_strange(&rig)?;
    finish(rig, Verdict::Held).await
}
