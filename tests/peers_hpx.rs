//! The foreign HPX clients against the foreign HPX server, before anything of ours is measured against them.
//!
//! Each test here runs foreign code against foreign code. A failure means that the peer or its driver is broken on
//! this machine, and that every interop test built on it proves nothing.

use polywire_tests::driver::Driver;
use polywire_tests::install::{HPX_JS_101, HPX_JS_220, HPX_PY_100, Package};
use polywire_tests::peer;
use polywire_tests::process::{Process, ProcessError};
use polywire_tests::skip::{self, Tool};
use serde_json::{Value, json};

/// A running test server with the user `alice`, and its port.
async fn server(arguments: &[&str]) -> Result<(Process, u16), ProcessError> {
    peer::hpx_server(&[&["--user", "alice:s3cret"], arguments].concat()).await
}

/// The driver for a client package; `None` when the test is skipped.
fn driver(test: &str, package: &Package) -> Option<Driver> {
    let script = if *package == HPX_PY_100 { "hpx_py_client.py" } else { "hpx_js_client.mjs" };
    let folder = skip::package(test, package)?;
    // The server is a Python program whatever the client is.
    skip::have(test, &[Tool::Python])
        .then(|| Driver::start(script, &folder).expect("the interpreter was found before"))
}

/// Everything a client can do, against the server in one profile.
async fn exercise(test: &str, package: &Package, profile: &str) -> Result<(), ProcessError> {
    let Some(mut client) = driver(test, package) else { return Ok(()) };
    let (_server, port) = server(&["--profile", profile]).await?;
    let open = |name: &str| json!({"client": name, "port": port});

    let greeting = client.run("open", open("a")).await?;
    assert_eq!((&greeting["guest_allowed"], &greeting["ready"]), (&json!(true), &json!(true)));
    let guest = client.run("login", json!({})).await?;
    assert_ne!(guest["session"], "");

    let calls = json!([{"fname": "nope"}, {"fname": "fail"}, {"fname": "echo", "value": "grüß 你好"}]);
    let batch = client.run("call", json!({"calls": calls})).await?;
    let entry = |name: &str| -> Value {
        let entries = batch["data"].as_array().expect("a batch is answered by a list");
        entries.iter().find(|entry| entry["fname"] == name).expect("every call is answered").clone()
    };
    assert_eq!(entry("nope")["error"]["code"], 403);
    assert_eq!(entry("fail")["error"]["code"], 303);
    assert_eq!(entry("echo")["data"], "grüß 你好");

    let text = r#"[{"fname":"echo","value":[1.50,"x"]}]"#;
    let reply = client.run("call_text", json!({"text": text})).await?;
    assert!(reply.to_string().contains("1.5"), "{reply}");

    let session = client.run("state", json!({})).await?["session"].clone();
    client.run("open", json!({"client": "b", "port": port, "session": session})).await?;
    let shared = client.run("call", json!({"client": "b", "calls": [{"fname": "add", "a": 1, "b": 2}]}));
    let shared = shared.await?;
    assert_eq!((&shared["data"][0]["data"], &shared["session"]), (&json!(3), &session));

    client.run("open", open("c")).await?;
    let wrong = json!({"client": "c", "user": "alice", "password": "wrong"});
    let refused = client.ask("login", wrong).await?.expect_err("this login is refused");
    assert!(refused["message"].to_string().contains("Wrong credentials"), "{refused}");
    let right = json!({"client": "c", "user": "alice", "password": "s3cret"});
    let user = client.run("login", right).await?;
    let again = client.run("request_auth", json!({"client": "c"})).await?;
    assert_ne!(again["session"], user["session"]);

    let many = json!({"port": port, "connections": 4, "calls": 25, "user": "alice", "password": "s3cret"});
    let seen = client.run("many", many).await?;
    assert_eq!((&seen["right"], &seen["wrong"]), (&json!(100), &json!(0)), "{seen}");

    client.run("close", json!({})).await?;
    client.finish().await
}

/// A server without guests refuses a login without user.
async fn guest_is_refused(test: &str, package: &Package) -> Result<(), ProcessError> {
    let Some(mut client) = driver(test, package) else { return Ok(()) };
    let (_server, port) = server(&["--no-guests"]).await?;
    let greeting = client.run("open", json!({"port": port})).await?;
    assert_eq!(greeting["guest_allowed"], false);
    let refused = client.ask("login", json!({})).await?.expect_err("this login is refused");
    assert!(refused["message"].to_string().contains("missing 'user'"), "{refused}");
    client.finish().await
}

#[tokio::test]
async fn py_100_works_with_a_modern_server() -> Result<(), ProcessError> {
    exercise("py_100_works_with_a_modern_server", &HPX_PY_100, "modern").await
}

#[tokio::test]
async fn py_100_works_with_a_legacy_server() -> Result<(), ProcessError> {
    exercise("py_100_works_with_a_legacy_server", &HPX_PY_100, "legacy").await
}

#[tokio::test]
async fn js_101_works_with_a_modern_server() -> Result<(), ProcessError> {
    exercise("js_101_works_with_a_modern_server", &HPX_JS_101, "modern").await
}

#[tokio::test]
async fn js_101_works_with_a_legacy_server() -> Result<(), ProcessError> {
    exercise("js_101_works_with_a_legacy_server", &HPX_JS_101, "legacy").await
}

// A legacy server refuses the `__id__` this client sends, so there is no second test.
#[tokio::test]
async fn js_220_works_with_a_modern_server() -> Result<(), ProcessError> {
    exercise("js_220_works_with_a_modern_server", &HPX_JS_220, "modern").await
}

#[tokio::test]
async fn py_100_guest_is_refused_where_guests_are_not_allowed() -> Result<(), ProcessError> {
    guest_is_refused("py_100_guest_is_refused_where_guests_are_not_allowed", &HPX_PY_100).await
}

#[tokio::test]
async fn js_101_guest_is_refused_where_guests_are_not_allowed() -> Result<(), ProcessError> {
    guest_is_refused("js_101_guest_is_refused_where_guests_are_not_allowed", &HPX_JS_101).await
}

#[tokio::test]
async fn js_220_guest_is_refused_where_guests_are_not_allowed() -> Result<(), ProcessError> {
    guest_is_refused("js_220_guest_is_refused_where_guests_are_not_allowed", &HPX_JS_220).await
}
