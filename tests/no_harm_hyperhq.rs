//! We do no harm, on HyperHQ: whatever our plugin and our host send, an independent host on npm `socket.io` and a plugin on npm
//! `socket.io-client` live, hear it whole and in order, and report no error.
//!
//! `POLYWIRE_SOAK_MESSAGES` and `POLYWIRE_SOAK_SEED` say how many messages, and which.

use std::path::PathBuf;
use std::time::Duration;

use polywire_core::{Body, Caller, Endpoint, Event, Request, Route};
use polywire_hyperhq::{Environment, FILE, Host, HostConfig, Plugin, STATUS};
use polywire_socketio::RESERVED;
use polywire_tests::driver::Driver;
use polywire_tests::harm::{Told, Trial, heard, hex, spell};
use polywire_tests::install::{SOCKET_IO, SOCKET_IO_CLIENT};
use polywire_tests::odd::{self, Load, Message, Odd};
use polywire_tests::process::ProcessError;
use polywire_tests::scratch::scratch;
use polywire_tests::{peer, skip};
use serde_json::{Value, json};

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

/// A folder of files with odd names and odd bytes, and what is in them.
fn files(test: &str) -> (PathBuf, Vec<(&'static str, Vec<u8>)>) {
    let files = vec![
        ("empty", Vec::new()),
        ("every byte.bin", (0..=255).collect()),
        ("sub/ünïcode 🙂.txt", "é\u{2028}\0".into()),
        ("sub/long", [b"0123456789".as_slice(); 10_000].concat()),
    ];
    let folder = scratch(test);
    std::fs::create_dir_all(folder.join("sub")).expect("a folder for files");
    for (path, bytes) in &files {
        std::fs::write(folder.join(path), bytes).expect("its files");
    }
    (folder, files)
}

/// Our plugin tells how it is, and each is heard: an object as it is, a text as its status, of anything else that it lives.
async fn tells_its_status(
    caller: &Caller,
    driver: &mut Driver,
    seed: u64,
    before: usize,
) -> Result<(), ProcessError> {
    let mut odd = Odd::new(seed);
    let mut told = Vec::new();
    for number in 1..=12 {
        let body = odd.body(Some(""));
        let text = match &body {
            Body::Json(text) if text.as_str().starts_with('{') => text.as_str().to_owned(),
            Body::Json(text) if text.as_str().starts_with('"') => format!("{{\"status\":{}}}", text.as_str()),
            _ => r#"{"status":"working"}"#.to_owned(),
        };
        told.push(json!({ "name": STATUS.as_str(), "text": text }));
        caller.notify(Event::new(STATUS, body)).await.expect("there is room");
        // One at a time: of those that come faster than one in 100 ms only the last leaves.
        driver.run("heard", json!({ "count": before + number })).await?;
    }
    let all = driver.run("heard", json!({ "count": before + told.len() })).await?;
    let spelled = spell(driver, told.iter()).await?;
    assert_eq!(
        all.as_array().map(|all| &all[before..]),
        spelled.as_array().map(Vec::as_slice),
        "seed {seed}"
    );
    Ok(())
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
        let (folder, files) = files("harm-host");
        let listening = driver.run("listen", json!({ "plugin": ID, "files": folder })).await?;
        let environment = Environment::from(|name| match name {
            "HYPERHQ_PLUGIN_ID" => Some(ID.to_owned()),
            "HYPERHQ_SOCKET_PORT" => Some(listening["port"].to_string()),
            "HYPERHQ_AUTH_CHALLENGE" => listening["challenge"].as_str().map(str::to_owned),
            _ => None,
        });
        let answers = trial.handler();
        let plugin = Plugin::new(environment.expect("it is whole"))
            .handle("question", move |body: Body| std::future::ready(answers.to(&body)))
            .expect("one handler")
            .handle("shutdown", || std::future::ready("bye"))
            .expect("another");
        let (client, _commands) = plugin.dial().expect("good settings");
        tokio::time::timeout(LIMIT, client.ready()).await.expect("in time").expect("we log in");
        driver.run("connected", json!({})).await?;
        trial.run(client.caller(), &mut driver).await?;
        tells_its_status(client.caller(), &mut driver, seed, count / 2).await?;
        for (path, bytes) in files {
            let asked = Request::new(FILE, Body::json(&path).expect("a text")).timeout(LIMIT);
            let given = client.caller().call(asked).await.map(|answer| answer.body);
            assert_eq!(given, Ok(Body::binary("", bytes)), "{path}");
        }
        assert_eq!(driver.run("shutdown", json!({})).await?, json!("bye"));
        // It leaves by itself, which the host takes for what it is.
        driver.run("left", json!({})).await?;
        assert_eq!(driver.run("trouble", json!({})).await?, json!([]));
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
        let (folder, files) = files("harm-plugin");
        host.serve_files(ID, &folder).expect("there is such a folder");
        driver.run("connect", options).await?;
        let plugin = host.plugin(ID).expect("it has subscribed, so it is logged in");
        trial.run(plugin.caller().expect("a connection"), &mut driver).await?;
        for (path, bytes) in files {
            for binary in [false, true] {
                let given = driver.run("file", json!({ "path": path, "binary": binary })).await?;
                let wanted =
                    json!({ "success": true, "size": bytes.len(), "hex": hex(&bytes), "binary": binary });
                assert_eq!(given, wanted, "{path}");
            }
        }
        for (path, why) in [
            ("none", "File not found"),
            ("../x", "Access denied: path leaves the plugin directory"),
            ("sub", "Not a file"),
        ] {
            assert_eq!(driver.run("file", json!({ "path": path })).await?["error"], why, "{path}");
        }
        // Its last request, and then it is sent away.
        let shutdown = Request::new(Route::from_static("shutdown"), Body::Empty).timeout(LIMIT);
        let answered = plugin.call(shutdown).await.map(|answer| answer.body);
        assert_eq!(answered, Ok(Body::json(&json!({ "seq": count / 2 })).expect("an object")));
        let left = driver.begin("left", json!({})).await?;
        host.forget(ID);
        assert_eq!(driver.answer(left).await?, Ok(Value::from("io server disconnect")));
        assert_eq!(driver.run("trouble", json!({})).await?, json!([]));
        driver.finish().await?;
        host.shutdown().await;
    }
    Ok(())
}
