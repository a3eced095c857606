//! Strangers who keep to no protocol.

use std::time::Duration;

use polywire_core::Count;

use super::call::finish;
use super::{Outcome, holds, until, within};
use crate::bench::Bench;
use crate::finding::Verdict;

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
        let mut stranger =
            stranger.map_err(|error| super::Broken::new(format!("nobody can connect: {error}")))?;
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
        served.map_err(|broken| super::Broken::new(format!("after {what}: {broken}")))?;
    }
    let strange = rig.far.app.heard().into_iter().skip(heard).find(|heard| &*heard.route != "echo.still");
    holds!(strange.is_none(), "a handler has heard {strange:?} of a stranger");
    same_peers(&rig).await?;
    finish(rig, Verdict::Held).await
}

/// Only the client is left, once the strangers have hung up.
async fn same_peers(rig: &crate::rig::Rig) -> Result<(), super::Broken> {
    let over = || {
        let count = |count| rig.far.ledger.get(count);
        count(Count::Connections) == count(Count::Closed) + 1
    };
    // Some wires wait for a while for those who have hung up in the middle of something.
    rig.passing(Duration::from_millis(50), "the strangers to be gone", until("it", over)).await?
}

pub(crate) async fn an_opening_may_end_anywhere(bench: &Bench<'_>) -> Outcome {
    let rig = bench.start().await?;
    rig.still_serves().await?;
    let opening = rig.joint.opening();
    for length in 0..=opening.len().min(700) {
        let stranger = rig.joint.stranger().await;
        let mut stranger =
            stranger.map_err(|error| super::Broken::new(format!("nobody can connect: {error}")))?;
        // It may have had enough of it.
        let _ =
            within("the server to read", stranger.send(opening.get(..length).unwrap_or_default())).await?;
        if length % 64 == 0 {
            let served = rig.still_serves().await;
            served
                .map_err(|broken| super::Broken::new(format!("after {length} bytes and an end: {broken}")))?;
        }
    }
    rig.still_serves().await?;
    same_peers(&rig).await?;
    finish(rig, Verdict::Held).await
}
