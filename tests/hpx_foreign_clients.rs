//! The original HPX clients, as published, against our server.

use std::sync::Arc;

use polywire_core::{
    Answer, Body, Code, Endpoint, Failure, Handler, HandlerFuture, Incoming, JsonText, Secret,
};
use polywire_hpx::{Dialect, HpxServer, ServerConfig, Users, Wire};
use polywire_tests::driver::Driver;
use polywire_tests::install::{HPX_JS_101, HPX_JS_220, HPX_PY_100, Package};
use polywire_tests::process::ProcessError;
use polywire_tests::skip;
use serde_json::{Value, json};

/// The functions of the test servers: `echo(value)`, `add(a, b)`, `whoami()`, `fail()`.
struct Functions;

impl Handler for Functions {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        Box::pin(async move { function(&incoming) })
    }
}

fn function(incoming: &Incoming) -> Answer {
    let Body::Json(text) = &incoming.body else {
        return Err(Failure::new(Code::InvalidArgument, "arguments are an object"));
    };
    let arguments: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> =
        text.parse().map_err(|error| Failure::new(Code::InvalidArgument, format!("{error}")))?;
    let number =
        |name: &str| arguments.get(name).and_then(|value| value.get().parse::<i64>().ok()).unwrap_or(0);
    match &*incoming.route {
        "echo" => {
            let value = arguments.get("value").map_or("null", |value| value.get());
            Ok(Body::Json(JsonText::from_validated(value.to_owned().into())).into())
        }
        "add" => Body::json(&(number("a") + number("b"))).map(Into::into).map_err(|_| unreachable()),
        "whoami" => {
            let subject = incoming.identity().map(|identity| identity.subject.to_string());
            Body::json(&subject).map(Into::into).map_err(|_| unreachable())
        }
        "fail" => Err(polywire_hpx::failure(303, "not found")),
        other => Err(Failure::new(Code::NotFound, format!("Function not found: '{other}'"))),
    }
}

fn unreachable() -> Failure {
    Failure::new(Code::Internal, "a number has a JSON form")
}

/// A server with the user `alice`, and its port.
async fn server(config: ServerConfig) -> (HpxServer, u16) {
    let mut endpoint = Endpoint::new("hpx", Functions);
    endpoint.authenticator = Some(Arc::new(Users::with_cost(5).with("alice", &Secret::from("s3cret"))));
    let server = HpxServer::bind("127.0.0.1:0", config, endpoint).await.expect("loopback has a free port");
    let port = server.address().rsplit(':').next().and_then(|port| port.parse().ok());
    (server, port.expect("an address ends with its port"))
}

fn driver(test: &str, package: &Package) -> Option<Driver> {
    let script = if *package == HPX_PY_100 { "hpx_py_client.py" } else { "hpx_js_client.mjs" };
    let folder = skip::package(test, package)?;
    Some(Driver::start(script, &folder).expect("the interpreter was found before"))
}

/// Guest, batch with errors, exact text, session reuse, wrong password, re-authentication, connections at once.
async fn exercise(test: &str, package: &Package, dialect: Dialect) -> Result<(), ProcessError> {
    let Some(mut client) = driver(test, package) else { return Ok(()) };
    let wire = Wire { dialect, ..Wire::default() };
    let (server, port) = server(ServerConfig { guests: true, wire, ..ServerConfig::default() }).await;
    let open = |name: &str| json!({"client": name, "port": port});

    let greeting = client.run("open", open("a")).await?;
    assert_eq!((&greeting["guest_allowed"], &greeting["ready"]), (&json!(true), &json!(true)));
    assert_eq!(greeting["version"], json!({"core": [0, 3, 0], "db": [0, 2, 0], "torrent": [0, 0, 0]}));
    let guest = client.run("login", json!({})).await?;
    assert_eq!(guest["session"].as_str().map(str::len), Some(32));

    let calls = json!([{"fname": "nope"}, {"fname": "fail"}, {"fname": "echo", "value": "grüß 你好 <EOF>"}]);
    let batch = client.run("call", json!({"calls": calls})).await?;
    let entries: Vec<(Value, Value, Value)> = batch["data"]
        .as_array()
        .expect("a batch is answered by a list")
        .iter()
        .map(|entry| (entry["fname"].clone(), entry["data"].clone(), entry["error"]["code"].clone()))
        .collect();
    let wanted = [
        (json!("nope"), Value::Null, json!(403)),
        (json!("fail"), Value::Null, json!(303)),
        (json!("echo"), json!("grüß 你好 <EOF>"), Value::Null),
    ];
    assert_eq!(entries, wanted);

    let text = r#"[{"fname":"echo","value":[1.50,"x"]}]"#;
    let reply = client.run("call_text", json!({"text": text})).await?;
    assert!(reply.to_string().contains("1.5"), "{reply}");

    for size in [10, 5_000, 300_000] {
        let value = "x漢".repeat(size);
        let reply = client.run("call", json!({"calls": [{"fname": "echo", "value": value}]})).await?;
        assert_eq!(reply["data"][0]["data"], json!(value));
    }

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
    let who = client.run("call", json!({"client": "c", "calls": [{"fname": "whoami"}]})).await?;
    assert_eq!((&who["data"][0]["data"], &who["session"]), (&json!("alice"), &again["session"]));

    let many = json!({"port": port, "connections": 4, "calls": 25, "user": "alice", "password": "s3cret"});
    let seen = client.run("many", many).await?;
    assert_eq!((&seen["right"], &seen["wrong"]), (&json!(100), &json!(0)), "{seen}");
    let one_session = json!({"port": port, "connections": 4, "calls": 25, "session": session});
    let seen = client.run("many", one_session).await?;
    assert_eq!((&seen["right"], &seen["wrong"]), (&json!(100), &json!(0)), "{seen}");

    client.run("close", json!({})).await?;
    client.finish().await?;
    assert_eq!(server.core().ledger().unaccounted_frames(), 0);
    server.shutdown().await;
    Ok(())
}

/// A server without guests refuses a login without a name, and a stale session is a definite error.
async fn refusals(test: &str, package: &Package) -> Result<(), ProcessError> {
    let Some(mut client) = driver(test, package) else { return Ok(()) };
    let (_server, port) = server(ServerConfig::default()).await;
    let greeting = client.run("open", json!({"port": port})).await?;
    assert_eq!(greeting["guest_allowed"], false);
    let refused = client.ask("login", json!({})).await?.expect_err("this login is refused");
    assert!(refused["message"].to_string().contains("missing 'user'"), "{refused}");
    let stale = json!({"client": "b", "port": port, "session": "0".repeat(32)});
    client.run("open", stale).await?;
    let call = json!({"client": "b", "calls": [{"fname": "echo", "value": 1}]});
    let answer = client.ask("call", call).await?;
    let text = answer.map_or_else(|error| error.to_string(), |reply| reply.to_string());
    assert!(text.contains("Authentication is required"), "{text}");
    client.finish().await
}

#[tokio::test]
async fn py_100_works_with_our_server() -> Result<(), ProcessError> {
    exercise("py_100_works_with_our_server", &HPX_PY_100, Dialect::Auto).await
}

#[tokio::test]
async fn py_100_works_with_our_server_of_dialect_a() -> Result<(), ProcessError> {
    exercise("py_100_works_with_our_server_of_dialect_a", &HPX_PY_100, Dialect::A).await
}

#[tokio::test]
async fn js_101_works_with_our_server() -> Result<(), ProcessError> {
    exercise("js_101_works_with_our_server", &HPX_JS_101, Dialect::Auto).await
}

#[tokio::test]
async fn js_101_works_with_our_server_of_dialect_a() -> Result<(), ProcessError> {
    exercise("js_101_works_with_our_server_of_dialect_a", &HPX_JS_101, Dialect::A).await
}

#[tokio::test]
async fn js_220_works_with_our_server() -> Result<(), ProcessError> {
    exercise("js_220_works_with_our_server", &HPX_JS_220, Dialect::Auto).await
}

#[tokio::test]
async fn py_100_is_told_what_is_refused() -> Result<(), ProcessError> {
    refusals("py_100_is_told_what_is_refused", &HPX_PY_100).await
}

#[tokio::test]
async fn js_101_is_told_what_is_refused() -> Result<(), ProcessError> {
    refusals("js_101_is_told_what_is_refused", &HPX_JS_101).await
}

#[tokio::test]
async fn js_220_is_told_what_is_refused() -> Result<(), ProcessError> {
    refusals("js_220_is_told_what_is_refused", &HPX_JS_220).await
}
