//! `polywire serve` for stock Sockhop clients, which know no names of ours: whatever they ask comes back with its value and type.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/kinds.rs"]
mod kinds;

use std::time::Duration;

use kinds::assert_kinds;
use polywire_tests::driver::Driver;
use polywire_tests::install::SOCKHOP_184;
use polywire_tests::peer;
use polywire_tests::process::Process;
use polywire_tests::skip::{self, Tool};
use serde_json::json;
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(60);

/// The demo service on the default options of its wire, and its port.
async fn serve() -> (Process, u16) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polywire-under-test"));
    command.args(["serve", "sockhop://127.0.0.1:0"]).env_remove("RUST_LOG");
    let mut serving = Process::start("polywire serve", command).unwrap();
    let line = serving.wait_for_json(|line| line["listening"] == "sockhop", LIMIT).await.unwrap();
    let port = line["address"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    (serving, port)
}

#[tokio::test]
async fn a_stock_184_client_gets_every_kind_of_value_back_from_the_command() {
    let test = "a_stock_184_client_gets_every_kind_of_value_back_from_the_command";
    let Some(package) = skip::package(test, &SOCKHOP_184) else { return };
    let (_serving, port) = serve().await;
    let mut client = Driver::start("sockhop184_client.mjs", &package).unwrap();
    client.run("connect", json!({"port": port})).await.unwrap();
    assert_kinds(&client.run("kinds", json!({})).await.unwrap(), kinds::OF_CLIENT);
    // So does a request of its library, with the type that it was asked under.
    for (value, packet) in [
        (json!({"json": [1, {"a": null}]}), json!({"type": "Array", "data": [1, {"a": null}]})),
        (json!({"widget": {"n": 1}}), json!({"type": "Widget", "data": {"n": 1}})),
        (
            json!({"date": "2020-02-29T12:34:56.789Z"}),
            json!({"type": "Date", "data": "2020-02-29T12:34:56.789Z"}),
        ),
    ] {
        let answer = client.run("request", json!({"value": value})).await.unwrap();
        assert_eq!(answer, json!({"packets": [packet], "error": null}));
    }
    client.finish().await.unwrap();
}

#[tokio::test]
async fn a_21_client_gets_typed_buffers_back_from_the_command_under_their_types() {
    if !skip::have("a_21_client_gets_typed_buffers_back_from_the_command_under_their_types", &[Tool::Node]) {
        return;
    }
    let (_serving, port) = serve().await;
    let port = port.to_string();
    let kinds = "object,string,number,boolean,array,widget,unicode,buffer";
    let flags = [
        "--port",
        &port,
        "--settle-ms",
        "0",
        "--count",
        "80",
        "--kinds",
        kinds,
        "--typed",
        "30",
        "--typed-callback",
    ];
    let flags = [&flags[..], &["--crash-like-original", "--crash-on-error"]].concat();
    let mut client = peer::sockhop_21_client(&flags).unwrap();
    let result = client.wait_for_json(|line| line["role"].is_string(), LIMIT).await.unwrap();
    assert_eq!((&result["ok"], &result["echo_ok"]), (&json!(true), &json!(80)), "{result}");
    assert_eq!((&result["typed_echo_ok"], &result["typed_echo_typed"]), (&json!(30), &json!(30)), "{result}");
    assert!(client.finish(LIMIT).await.unwrap().success());
}
