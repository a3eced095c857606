//! `polywire call`, `emit` and `listen` against servers that we did not write, on the three WebSocket wires: what the URL names as a
//! secret is what the server is shown, anew at each connect.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use polywire_tests::ends::{LIMIT, NEWS, SECRET, TOLD, WIRES, Wire, event, packages, with_secrets};
use polywire_tests::process::Process;
use polywire_tests::scratch::scratch;
use serde_json::{Value, json};
use tokio::process::Command;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polywire-under-test"));
    with_secrets(&mut command).args(arguments);
    command
}

/// Runs to the end: the exit code, the one line of standard output, and standard error.
async fn run(arguments: &[&str]) -> (Option<i32>, Value, String) {
    let ran = command(arguments).output().await.unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    (ran.status.code(), serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{said}")), said)
}

/// What a server is shown at the first login.
fn shown(wire: &Wire) -> Value {
    match wire.name {
        "stonyx" => json!({}),
        "socketio" => json!({ "token": SECRET }),
        _ => json!({ "plugin": "demo", "how": "challenge" }),
    }
}

#[tokio::test]
async fn call_emit_and_listen_reach_a_server_of_somebody_else() {
    if !packages("call_emit_and_listen_reach_a_server_of_somebody_else") {
        return;
    }
    for wire in WIRES {
        // A server for each, because a challenge is good for one login.
        let (mut server, port) = wire.serve().await;
        let (code, line, _) = run(&["call", &wire.url(port), "echo", r#"{"n":[1,"zwei",null]}"#]).await;
        let body = json!({"n": [1, "zwei", null]});
        assert_eq!((code, line), (Some(0), json!({"ok": true, "body": body})), "{wire:?}");
        assert_eq!(event(&mut server, "login").await["shown"], shown(&wire));
        let asked = event(&mut server, "asked").await;
        assert_eq!((&asked["name"], &asked["data"]), (&json!("echo"), &body), "{wire:?}");

        let (mut server, port) = wire.serve().await;
        let (code, line, _) = run(&["emit", &wire.url(port), TOLD, r#"{"n":2}"#]).await;
        assert_eq!((code, line), (Some(0), json!({"ok": true})), "{wire:?}");
        let told = event(&mut server, "told").await;
        assert_eq!((&told["name"], &told["data"]), (&json!(TOLD), &json!({"n": 2})), "{wire:?}");

        let (mut server, port) = wire.serve().await;
        let listen = command(&["listen", &wire.url(port), NEWS, "-n", "1"]);
        let mut listening = Process::start("polywire listen", listen).unwrap();
        event(&mut server, "present").await;
        server.run("push", json!({"name": NEWS, "data": {"n": 3}})).await.unwrap();
        let heard = listening.wait_for_json(|_| true, LIMIT).await.unwrap();
        assert_eq!(heard, json!({"event": NEWS, "body": {"n": 3}}), "{wire:?}");
        assert_eq!(listening.finish(LIMIT).await.unwrap().code(), Some(0), "{wire:?}");
    }
}

#[tokio::test]
async fn a_secret_that_a_server_of_somebody_else_refuses_is_5_and_not_shown() {
    const WRONG: &str = "deadbeef00deadbeef00deadbeef00de";
    if !packages("a_secret_that_a_server_of_somebody_else_refuses_is_5_and_not_shown") {
        return;
    }
    for wire in WIRES {
        let (_server, port) = wire.serve().await;
        for verb in ["call", "emit", "listen"] {
            let mut command = command(&[verb, &wire.url(port), TOLD]);
            command.env("SECRET", WRONG).env("AUTH", json!({ "token": WRONG }).to_string());
            let ran = command.output().await.unwrap();
            let said = String::from_utf8(ran.stderr).unwrap();
            if wire.name == "socketio" && verb != "listen" {
                let line: Value = serde_json::from_slice(&ran.stdout).unwrap();
                let told = json!({ "message": "another token", "data": { "code": "stale" } });
                assert_eq!((&line["outcome"], &line["detail"]), (&json!("not_sent"), &told), "{verb}");
            }
            assert_eq!(ran.status.code(), Some(5), "{wire:?} {verb}: {said}");
            assert!(said.contains("login refused") && !said.contains(WRONG), "{wire:?} {verb}: {said}");
        }
    }
}

/// What a file holds, and what the server is shown of it: first, and after it was written anew.
fn renewed(wire: &Wire) -> (&'static str, [Value; 2], [Value; 2]) {
    let token = |number| json!({ "token": format!("{SECRET}-{number}") });
    let tag = |tag| json!({ "tag": tag });
    match wire.name {
        "stonyx" => (
            "?key=env:SECRET&auth_data=file:",
            [json!({ "meta": tag("one") }), json!({ "meta": tag("two") })],
            [tag("one"), tag("two")],
        ),
        "socketio" => ("/realtime?auth=file:", [token(1), token(2)], [token(1), token(2)]),
        // A token of the host's takes the place of the challenge.
        _ => (
            "?plugin=demo&challenge=file:",
            [json!(SECRET), json!(SECRET)],
            ["challenge", "token"].map(|how| json!({ "plugin": "demo", "how": how })),
        ),
    }
}

#[tokio::test]
async fn what_the_url_names_is_asked_for_anew_at_each_connect() {
    if !packages("what_the_url_names_is_asked_for_anew_at_each_connect") {
        return;
    }
    for wire in WIRES {
        let (options, [first, second], shown) = renewed(&wire);
        let file = scratch(&format!("{}.secret", wire.name));
        let write = |secret: &Value| {
            let text = secret.as_str().map_or_else(|| secret.to_string(), str::to_owned);
            std::fs::write(&file, text).unwrap();
        };
        write(&first);
        let (mut server, port) = wire.serve().await;
        let url = format!("{}://127.0.0.1:{port}{options}{}", wire.name, file.display());
        let mut listening =
            Process::start("polywire listen", command(&["listen", &url, NEWS, "-n", "2"])).unwrap();
        for (number, shown) in shown.into_iter().enumerate() {
            assert_eq!(event(&mut server, "login").await["shown"], shown, "{wire:?}");
            event(&mut server, "present").await;
            server.run("push", json!({"name": NEWS, "data": number})).await.unwrap();
            let heard = listening.wait_for_json(|line| line.get("event").is_some(), LIMIT).await.unwrap();
            assert_eq!(heard["body"], number, "{wire:?}");
            if number == 0 {
                write(&second);
                server.run("drop", json!({})).await.unwrap();
            }
        }
        assert_eq!(listening.finish(LIMIT).await.unwrap().code(), Some(0), "{wire:?}");
    }
}
