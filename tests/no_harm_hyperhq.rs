//! We do no harm, on HyperHQ: whatever our plugin and our host send, an independent host on npm `socket.io` and a plugin on npm
//! `socket.io-client` live, hear it whole and in order, and report no error.
//!
//! `POLYWIRE_SOAK_MESSAGES` and `POLYWIRE_SOAK_SEED` say how many messages, and which.

use std::time::Duration;

use polywire_core::{Body, Endpoint};
use polywire_hyperhq::{Environment, Host, HostConfig, Plugin};
use polywire_socketio::RESERVED;
use polywire_tests::driver::Driver;
use polywire_tests::harm::{Told, Trial, heard};
use polywire_tests::install::{SOCKET_IO, SOCKET_IO_CLIENT};
use polywire_tests::odd::{self, Load, Message, Odd};
use polywire_tests::process::ProcessError;
use polywire_tests::{peer, skip};
use serde_json::json;

/// How long our end may take to log in.
const LIMIT: Duration = Duration::from_secs(30);
const ID: &str = "odd-plugin";
/// Names with a meaning of their own: files, signs of life at most every 100 ms, and the call after which a plugin leaves.
const TAKEN: [&str; 3] = ["requestFile", "statusUpdate", "shutdown"];

fn name(odd: &mut Odd) -> String {
    let name = odd.name();
    if name.is_empty() || RESERVED.contains(&&*name) || TAKEN.contains(&&*name) {
        format!("{name}ed")
    } else {
        name
    }
}

/// A call of a method, or an event; without a body a plugin and a call send an object, and an event of a host null.
fn message(odd: &mut Odd, name: String, nothing: &str) -> Told {
    let asks = odd.once_in(3);
    let body = odd.body(Some(""));
    let told = heard(&name, &body, Some(if asks { "{}" } else { nothing }));
    (Message::new(name, body, asks), told)
}

fn answer(odd: &mut Odd, nothing: Option<&str>) -> Told {
    if odd.once_in(8) {
        let failure = odd.failure();
        let told = json!({ "error": failure.message }).to_string();
        return (Message::answer(Load::Failure(failure)), json!({ "name": "", "text": told }));
    }
    let body = odd.body(Some(""));
    let told = heard("", &body, nothing);
    (Message::answer(Load::Body(body)), told)
}

#[tokio::test]
async fn no_harm_to_a_hyperhq_host() -> Result<(), ProcessError> {
    let test = "no_harm_to_a_hyperhq_host";
    let Some(package) = skip::package(test, &SOCKET_IO) else { return Ok(()) };
    peer::beside_modules("hyperhq", &package);
    for (seed, count) in odd::rounds(test) {
        let mut driver = Driver::start("harm_hyperhq.mjs", &package)?;
        let trial = Trial::new(
            seed,
            count / 2,
            |odd| {
                let name = name(odd);
                message(odd, name, "{}")
            },
            |odd| answer(odd, Some("null")),
        );
        let listening = driver.run("listen", json!({ "plugin": ID })).await?;
        let environment = Environment::from(|name| match name {
            "HYPERHQ_PLUGIN_ID" => Some(ID.to_owned()),
            "HYPERHQ_SOCKET_PORT" => Some(listening["port"].to_string()),
            "HYPERHQ_AUTH_CHALLENGE" => listening["challenge"].as_str().map(str::to_owned),
            _ => None,
        });
        let answers = trial.handler();
        let plugin = Plugin::new(environment.expect("it is whole"))
            .handle("question", move |body: Body| std::future::ready(answers.to(&body)))
            .expect("one handler");
        let (client, _commands) = plugin.dial().expect("good settings");
        tokio::time::timeout(LIMIT, client.ready()).await.expect("in time").expect("we log in");
        driver.run("connected", json!({})).await?;
        trial.run(client.caller(), &mut driver).await?;
        driver.finish().await?;
        assert_eq!(client.ledger().unaccounted_frames(), 0);
    }
    Ok(())
}

#[tokio::test]
async fn no_harm_to_a_hyperhq_plugin() -> Result<(), ProcessError> {
    let test = "no_harm_to_a_hyperhq_plugin";
    let Some(package) = skip::package(test, &SOCKET_IO_CLIENT) else { return Ok(()) };
    for (seed, count) in odd::rounds(test) {
        let mut driver = Driver::start("harm_hyperhq.mjs", &package)?;
        let mut odd = Odd::new(seed);
        // A plugin subscribes to so many events at most.
        let names: Vec<String> = (0..300).map(|_| name(&mut odd)).collect();
        let trial = Trial::new(
            seed,
            count / 2,
            |odd| {
                let name = names[odd.below(names.len())].clone();
                message(odd, name, "null")
            },
            |odd| answer(odd, None),
        );
        let config = HostConfig { port: Some(0), ..HostConfig::default() };
        let host =
            Host::listen(config, Endpoint::new("hyperhq", trial.handler())).await.expect("a free port");
        let challenge = host.challenge(ID).expect("there is room");
        let challenge = std::str::from_utf8(challenge.expose()).expect("a challenge is text");
        let options = json!({ "port": host.port(), "plugin": ID, "challenge": challenge, "events": names });
        driver.run("connect", options).await?;
        let plugin = host.plugin(ID).expect("it has subscribed, so it is logged in");
        trial.run(plugin.caller().expect("a connection"), &mut driver).await?;
        driver.finish().await?;
        host.shutdown().await;
    }
    Ok(())
}
