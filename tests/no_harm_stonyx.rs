//! We do no harm, on Stonyx: whatever our ends send, the independent peers live, hear it whole and in order, and close nothing.
//!
//! `POLYWIRE_SOAK_MESSAGES` and `POLYWIRE_SOAK_SEED` say how many messages, and which.

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{Body, Credentials, Endpoint, Reconnect};
use polywire_stonyx::{Config, dial, listen};
use polywire_tests::driver::Driver;
use polywire_tests::harm::{Told, Trial, heard};
use polywire_tests::install::WS;
use polywire_tests::odd::{self, Load, Message, Odd};
use polywire_tests::process::ProcessError;
use polywire_tests::{peer, skip};
use serde_json::json;

/// How long our end may take to log in.
const LIMIT: Duration = Duration::from_secs(30);
const KEY: &str = "the shared key of these tests";

/// The wire's own, and what an original server would close the connection over: refused by our client.
const TAKEN: [&str; 8] = [
    "auth",
    "heartBeat",
    "__proto__",
    "constructor",
    "hasOwnProperty",
    "toString",
    "valueOf",
    // The name of the driver's questions: a push of this name would be taken for an answer, as nothing on this wire tells them apart.
    "question",
];

fn name(odd: &mut Odd) -> String {
    let name = odd.name();
    if TAKEN.contains(&&*name) { format!("{name}s") } else { name }
}

/// Something our client says. Calls have names of their own, so that none waits for another and their order shows.
fn request(odd: &mut Odd, calls: &mut usize) -> Told {
    let asks = odd.once_in(3);
    let mut name = name(odd);
    if asks {
        *calls += 1;
        name = format!("call {calls} {}", name.chars().take(50).collect::<String>());
    }
    let body = odd.body(None);
    let told = heard(&name, &body, None);
    (Message::new(name, body, asks), told)
}

/// Something our server pushes.
fn push(odd: &mut Odd) -> Told {
    let (name, body) = (name(odd), odd.body(None));
    let told = heard(&name, &body, None);
    (Message::new(name, body, false), told)
}

/// Something our server answers; without a body it would answer nothing.
fn answer(odd: &mut Odd) -> Told {
    if odd.once_in(8) {
        let failure = odd.failure();
        let told = heard("", &Body::Json(failure.to_json()), None);
        return (Message::answer(Load::Failure(failure)), told);
    }
    let body = match odd.body(None) {
        Body::Empty => Body::null(),
        body => body,
    };
    let told = heard("", &body, None);
    (Message::answer(Load::Body(body)), told)
}

fn config(encryption: bool) -> Config {
    Config { encryption, heartbeat: Duration::from_millis(500), ..Config::new(KEY) }
}

#[tokio::test]
async fn no_harm_to_a_stonyx_server() -> Result<(), ProcessError> {
    let test = "no_harm_to_a_stonyx_server";
    let Some(package) = skip::package(test, &WS) else { return Ok(()) };
    peer::beside_modules("stonyx", &package);
    for (seed, count) in odd::rounds(test) {
        for encryption in [true, false] {
            let mut driver = Driver::start("harm_stonyx.mjs", &package)?;
            let mut calls = 0;
            // A server asks nothing on this wire.
            let trial = Trial::one_way(seed, count / 2, |odd| request(odd, &mut calls));
            let options = json!({ "key": KEY, "encryption": encryption });
            let listening = driver.run("listen", options).await?;
            let address = format!("127.0.0.1:{}", listening["port"]);
            let endpoint =
                Endpoint { reconnect: Reconnect::never(), ..Endpoint::new("stonyx", trial.handler()) };
            let guest = Arc::new(Credentials::guest());
            let client = dial(&address, config(encryption), guest, endpoint);
            let client = client.expect("good settings");
            tokio::time::timeout(LIMIT, client.ready()).await.expect("in time").expect("we log in");
            driver.run("connected", json!({})).await?;
            trial.run(client.caller(), &mut driver).await?;
            driver.finish().await?;
            assert_eq!(client.ledger().unaccounted_frames(), 0);
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_harm_to_a_stonyx_client() -> Result<(), ProcessError> {
    let test = "no_harm_to_a_stonyx_client";
    let Some(package) = skip::package(test, &WS) else { return Ok(()) };
    peer::beside_modules("stonyx", &package);
    for (seed, count) in odd::rounds(test) {
        for encryption in [true, false] {
            let mut driver = Driver::start("harm_stonyx.mjs", &package)?;
            let trial = Trial::new(seed, count / 4, push, answer);
            let endpoint = Endpoint::new("stonyx", trial.handler());
            let server = listen("127.0.0.1:0", config(encryption), endpoint).await.expect("a free port");
            let port = server.address().rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
            let options = json!({ "port": port, "key": KEY, "encryption": encryption });
            driver.run("connect", options).await?;
            let [peer] = &server.peers()[..] else { panic!("one client is connected") };
            trial.run(peer.caller().expect("a connection"), &mut driver).await?;
            driver.finish().await?;
            assert_eq!(server.ledger().unaccounted_frames(), 0);
        }
    }
    Ok(())
}
