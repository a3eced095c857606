//! Long-polling and the upgrade against a server that answers as the test likes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod hostile;
mod recordings;
mod session;
mod support;
mod upgrade;

use polywire_core::{Body, Client, Event, Meta, Route};
use polywire_socketio::{Config, Transports};
use support::{Script, soon};

/// An opening packet that offers a WebSocket.
pub(crate) const OPENING: &str =
    r#"0{"sid":"s1","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;

pub(crate) fn over(transports: Transports) -> Config {
    Config { transports, ..Config::default() }
}

pub(crate) async fn emit(client: &Client, name: &'static str) {
    let event = Event { route: Route::from_static(name), body: Body::Empty, meta: Meta::default() };
    client.caller().notify(event).await.unwrap();
}

/// Why the only dial failed.
pub(crate) async fn failure(client: &Client) -> String {
    soon("the failure", client.ready()).await.unwrap_err().message.into_owned()
}

/// Leaves; whatever the client still asks is answered.
pub(crate) async fn leave(mut script: Script, client: Client) {
    let shutdown = tokio::spawn(client.shutdown());
    let mut said = String::new();
    while said != "1" {
        let asked = script.any().await;
        if asked.method == "POST" {
            said.clone_from(&asked.body);
            asked.ok("ok");
        }
    }
    soon("the shutdown", shutdown).await.unwrap();
    script.deserted().await;
}
