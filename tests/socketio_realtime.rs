//! A small client of a `/realtime` namespace, whole: a token for each connect, any JSON arguments both ways, and an end that says
//! whether it was meant, with the caller or a supervisor to connect again.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../examples/socketio_client.rs"]
#[allow(dead_code, reason = "its `main` is a program's")]
mod example;

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{
    Body, Client, ClientState, Close, CredentialSource, Endpoint, Event, Meta, Reconnect, Route,
};
use polywire_socketio::{Arguments, Config, dial};
use polywire_tests::install::SOCKET_IO;
use polywire_tests::socketio::{Ears, LIMIT, Tokens, auth, control, text};
use polywire_tests::{peer, skip};
use serde_json::{Value, json};

fn realtime() -> Config {
    Config { arguments: Arguments::List, ..Config::new("/realtime") }
}

fn connect(port: u16, credentials: Arc<dyn CredentialSource>, reconnect: Reconnect) -> (Client, Ears) {
    let ears = Ears::default();
    let endpoint = Endpoint {
        observer: Some(Arc::new(ears.clone())),
        reconnect,
        ..Endpoint::new("socketio", ears.clone())
    };
    (dial(&format!("127.0.0.1:{port}"), realtime(), credentials, endpoint).unwrap(), ears)
}

async fn emit(client: &Client, name: &'static str, arguments: &Value) {
    let (route, body) = (Route::from_static(name), Body::Json(text(arguments)));
    client.caller().notify(Event { route, body, meta: Meta::default() }).await.unwrap();
}

async fn over(client: &Client) -> ClientState {
    let mut state = client.watch();
    let over = state.wait_for(|state| matches!(state, ClientState::Closed(_) | ClientState::Refused(_)));
    tokio::time::timeout(LIMIT, over).await.expect("in time").unwrap().clone()
}

#[tokio::test]
async fn the_caller_connects_again_with_a_new_token_and_knows_whether_the_end_was_meant() {
    let name = "the_caller_connects_again_with_a_new_token_and_knows_whether_the_end_was_meant";
    let Some(package) = skip::package(name, &SOCKET_IO) else { return };
    let (mut server, port) = peer::socketio_server(&package, &[]).await.unwrap();
    let tokens = Arc::new(Tokens::default());
    for (number, (mode, meant)) in
        [("namespace", true), ("close", true), ("engine", true), ("abort", false)].into_iter().enumerate()
    {
        let (client, ears) =
            connect(port, Arc::clone(&tokens) as Arc<dyn CredentialSource>, Reconnect::never());
        tokio::time::timeout(LIMIT, client.ready()).await.unwrap().unwrap();
        let welcome = ears.next("welcome").await.1;
        assert_eq!(welcome[0]["auth"]["token"], format!("tok-{}", number + 1));
        for arguments in [json!([]), json!([null]), json!([1, "two", {"three": [true]}]), json!([[], [[]]])] {
            emit(&client, "echo", &arguments).await;
            assert_eq!(ears.next("echo-back").await.1, arguments);
        }
        emit(&client, "kick", &json!([mode])).await;
        assert!(matches!(over(&client).await, ClientState::Closed(_)));
        let end = ears.ends().remove(0);
        let was_meant = matches!(end, Close::Dismissed(_) | Close::Peer);
        assert_eq!(was_meant, meant, "{mode}: {end:?}");
    }
    // A token that was used before: told to the caller, who decides.
    let (client, _) = connect(port, Arc::new(auth(&json!({ "token": "tok-1" }))), Reconnect::never());
    let ClientState::Refused(refusal) = over(&client).await else { panic!() };
    assert_eq!(refusal.reason, "stale token");
    server.kill().await;
}

#[tokio::test]
async fn a_supervised_client_comes_back_by_itself() {
    let name = "a_supervised_client_comes_back_by_itself";
    let Some(package) = skip::package(name, &SOCKET_IO) else { return };
    let (mut server, port) = peer::socketio_server(&package, &[]).await.unwrap();
    let reconnect = Reconnect { first_pause: Duration::from_millis(10), ..Reconnect::default() };
    let (client, ears) = connect(port, Arc::new(Tokens::default()), reconnect);
    for number in 1..=4 {
        assert_eq!(ears.next("welcome").await.1[0]["auth"]["token"], format!("tok-{number}"));
        control(port, "kick?mode=abort").await;
    }
    client.shutdown().await;
    server.kill().await;
}

#[tokio::test]
async fn the_example_does_all_of_it() {
    let Some(package) = skip::package("the_example_does_all_of_it", &SOCKET_IO) else { return };
    let (mut server, port) = peer::socketio_server(&package, &[]).await.unwrap();
    let answer = tokio::time::timeout(LIMIT, example::run(&format!("127.0.0.1:{port}"))).await.unwrap();
    assert_eq!(answer.unwrap(), Body::Json(text(&json!([1, "two", {"three": []}]))));
    server.kill().await;
}
