//! Peers that keep to the wire and are of no use.

use std::time::Duration;

use polywire_core::{Clock, Close, Count, Limits};

use super::call::finish;
use super::{Broken, Outcome, holds, numbered, until};
use crate::bench::{Bench, Plan, limits};
use crate::finding::Verdict;
use crate::joint::Way;
use crate::rig::Rig;

/// What the side that serves has received and could not use.
pub(super) fn unusable(rig: &Rig) -> u64 {
    let reasons = Count::ALL.iter().filter(|count| count.is_reason());
    reasons.map(|count| rig.far.ledger.get(*count)).sum()
}

/// Unusable messages that are taken at most in what follows, and how many are sent.
const BAD: u32 = 3;
const SENT: usize = 10;
/// No message of any wire. It ends as messages do there, so that what follows is read from its beginning.
fn junk(rig: &Rig) -> &'static [u8] {
    let delimited = rig.joint.opening(Way::ToServer).windows(5).any(|part| part == b"<EOF>");
    if delimited { b"?}<EOF>" } else { b"?}\n" }
}

const MINUTE: Duration = Duration::from_secs(60);

/// Has the side that serves let the peer go?
fn ended(rig: &Rig) -> bool {
    rig.far.guests.is_empty()
}

/// Sends a message of no use, and waits until it is counted or was one too many.
async fn send_junk(bench: &Bench<'_>, rig: &Rig) -> Result<(), Broken> {
    let before = unusable(rig);
    rig.joint.inject(bench.way(), junk(rig));
    // What is no message yet is one that was begun, which has its own time.
    let step = rig.far.limits.frame_timeout / 2;
    let noticed = until("it", || ended(rig) || unusable(rig) > before);
    rig.passing(step, "a message of no use to be noticed", noticed).await?
}

pub(crate) async fn messages_of_no_use_are_bounded(bench: &Bench<'_>) -> Outcome {
    let far = Limits { max_bad_messages: BAD, ..limits() };
    let rig = bench.start_with(Plan { far, ..Plan::default() }).await?;
    let mut sent = 0;
    while !ended(&rig) {
        holds!(sent < SENT, "{sent} messages of no use were taken, and max_bad_messages is {BAD}");
        send_junk(bench, &rig).await?;
        sent += 1;
    }
    // By name, unless the first one has broken the protocol.
    let named = |why: &Close| matches!(why, Close::Limit(text) if text.contains("max_bad_messages = 3"));
    holds!(sent == 1 || rig.far.guests.went(named), "after {sent} messages of no use the limit is not named");
    rig.reconnect().await?;
    finish(rig, Verdict::Held).await
}

/// A call of the client lies behind each of them, so that none follows another.
pub(crate) async fn messages_of_no_use_are_bounded_by_the_minute(bench: &Bench<'_>) -> Outcome {
    let far = Limits { max_bad_per_minute: BAD, ..limits() };
    let rig = bench.start_with(Plan { far, ..Plan::default() }).await?;
    send_junk(bench, &rig).await?;
    let forgiving = !ended(&rig);
    if forgiving {
        for _ in 2..BAD {
            rig.reconnect().await?;
            send_junk(bench, &rig).await?;
        }
        // From the last on: time may have passed before any of them was noticed.
        let counted = rig.clock.now();
        let minute = until("it", || rig.clock.now() - counted >= MINUTE);
        rig.passing(Duration::from_millis(500), "a minute to be over", minute).await??;
        holds!(!ended(&rig), "a peer was sent away after {} messages of no use in a minute", BAD - 1);
    }
    let mut sent = 0;
    while !ended(&rig) {
        holds!(sent < SENT, "{sent} messages of no use were taken, and max_bad_per_minute is {BAD}");
        rig.reconnect().await?;
        send_junk(bench, &rig).await?;
        sent += 1;
    }
    let named = |why: &Close| matches!(why, Close::Limit(text) if text.contains("max_bad_per_minute = 3"));
    holds!(!forgiving || sent == BAD as usize, "a minute later {sent} messages of no use were taken");
    holds!(
        !forgiving || rig.far.guests.went(named),
        "after {sent} messages of no use the limit is not named"
    );
    rig.reconnect().await?;
    finish(rig, Verdict::Held).await
}

/// Signs of life that are taken within a second at most in what follows, and how many are sent at once.
const SIGNS: u32 = 5;
const SHOWN: usize = 40;
/// A ping of WebSocket: that of a client, masked with zeros, and that of a server.
fn ping(way: Way) -> &'static [u8] {
    match way {
        Way::ToServer => &[0x89, 0x80, 0, 0, 0, 0],
        Way::ToClient => &[0x89, 0],
    }
}

/// How long a peer is listened to that has nothing to say: two times the rarest heartbeat.
const IDLE: Duration = Duration::from_secs(60);

/// What the side that calls sends only to be seen: on a WebSocket its pings, elsewhere what it says when it is idle. Empty where that
/// is nothing.
async fn sign_of_life(bench: &Bench<'_>, rig: &Rig) -> Result<Vec<u8>, Broken> {
    rig.exchange(numbered(0)).await?;
    let said = || rig.joint.opening(bench.way());
    let (before, began) = (said().len(), rig.clock.now());
    let asked = rig.joint.opening(Way::ToServer).to_ascii_lowercase();
    if asked.windows(WEBSOCKET.len()).any(|part| part == WEBSOCKET) {
        return Ok(ping(bench.way()).to_vec());
    }
    let idle = until("it", || said().len() > before || rig.clock.now() - began >= IDLE);
    rig.passing(Duration::from_secs(1), "an idle peer to say something", idle).await??;
    Ok(said().split_off(before))
}

/// The head by which a client asks for a WebSocket, in small letters.
const WEBSOCKET: &[u8] = b"\r\nupgrade: websocket\r\n";

pub(crate) async fn signs_of_life_are_bounded(bench: &Bench<'_>) -> Outcome {
    let far = Limits { max_control_per_second: SIGNS, ..limits() };
    let rig = bench.start_with(Plan { far, ..Plan::default() }).await?;
    let sign = sign_of_life(bench, &rig).await?;
    if sign.is_empty() {
        // A wire without signs of life has none to be flooded with.
        return finish(rig, Verdict::Refused).await;
    }
    rig.joint.inject(bench.way(), &sign.repeat(SHOWN));
    let (began, timeout) = (rig.clock.now(), rig.far.limits.write_timeout);
    let gone = until("it", || ended(&rig) || rig.clock.now() - began > timeout * 6);
    rig.passing(timeout / 5, "a flood of signs of life to be ended", gone).await??;
    holds!(ended(&rig), "{SHOWN} signs of life at once were taken, and max_control_per_second is {SIGNS}");
    let unnamed = |why: &Close| !why.to_string().contains("max_control_per_second = 5");
    holds!(!rig.far.guests.went(unnamed), "a flood of signs of life was not ended by the name of its limit");
    rig.reconnect().await?;
    finish(rig, Verdict::Held).await
}
