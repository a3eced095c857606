//! Recorded runs of the official client over HTTP, with our client in its place: it asks under the same paths, and says the same
//! packets in the same order.

use crate::support::{Asked, Script, client_with, json, soon};
use polywire_core::{Body, Credentials, Event, Meta, Request, Route};
use polywire_socketio::{Config, Transports};
use serde_json::Value;
use tokio::sync::oneshot;

fn entries(name: &str) -> Vec<Value> {
    let path = format!("{}/../../tests/vectors/socketio/transcripts/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let recording: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    recording["entries"].as_array().unwrap().clone()
}

fn text<'a>(entry: &'a Value, member: &str) -> &'a str {
    entry[member].as_str().unwrap()
}

/// The path that was asked for, without what differs in every request.
fn path(entry: &Value) -> String {
    let (before, rest) = text(entry, "url").split_once("&t=").unwrap();
    format!("{before}{}", rest.find('&').map_or("", |at| &rest[at..]))
}

fn realtime(transports: Transports) -> (Config, Credentials) {
    let data = Body::Json(json("{\"token\":\"tok-1\"}"));
    (Config { transports, ..Config::new("/realtime") }, Credentials { data, ..Credentials::guest() })
}

fn packets(body: &str) -> impl Iterator<Item = String> {
    body.split('\u{1e}').map(str::to_owned)
}

#[tokio::test]
async fn a_session_by_polling_is_spoken_as_recorded() {
    let entries = entries("basic-polling");
    let opening = entries.iter().find(|entry| entry["kind"] == "http-response").unwrap();
    let requests = |method: &'static str| {
        entries.iter().filter(move |entry| entry["kind"] == "http-request" && entry["method"] == method)
    };
    let (first, then) = (requests("GET").next().unwrap(), requests("GET").nth(1).unwrap());
    let said: Vec<_> = requests("POST").flat_map(|entry| packets(text(entry, "body"))).collect();
    assert_eq!(said.len(), 4);
    // What the server said, and after how much of the client.
    let mut answers = Vec::new();
    let mut before = 0;
    for entry in &entries {
        match text(entry, "kind") {
            "http-request" if entry["method"] == "POST" => before += packets(text(entry, "body")).count(),
            "http-response" if entry["body"] != "ok" && entry != opening => {
                answers.push((before, text(entry, "body")));
            }
            _ => {}
        }
    }
    assert_eq!(answers.len(), 5);

    let mut script = Script::new().await;
    let (config, credentials) = realtime(Transports::Polling);
    let (client, ears) = client_with(&script, config, credentials, |_| {});
    let program = async {
        assert_eq!(ears.event().await.0, "welcome");
        let echo = Request::new(Route::from_static("echo"), Body::binary("", vec![1, 2, 3]));
        assert_eq!(client.caller().call(echo.clone()).await.unwrap().body, echo.body);
        let burst = Event {
            route: Route::from_static("burst"),
            body: Body::Json(json("200")),
            meta: Meta::default(),
        };
        client.caller().notify(burst).await.unwrap();
        for number in 0..200 {
            assert_eq!(ears.event().await, ("tick".to_owned(), Body::Json(json(&number.to_string()))));
        }
    };
    let server = async {
        let asked = script.next("GET").await;
        let (mut stamp, asked_path) = asked.stamp();
        assert_eq!(asked_path, path(first));
        asked.ok(text(opening, "body"));
        let (mut heard, mut answered) = (0, 0);
        let mut hanging: Option<Asked> = None;
        while answered < answers.len() {
            let asked = script.any().await;
            let (fresh, asked_path) = asked.stamp();
            assert_eq!(asked_path, path(then));
            assert_ne!(fresh, stamp);
            stamp = fresh;
            if asked.method == "GET" {
                hanging = Some(asked);
            } else {
                assert!(
                    asked.headers.contains("\r\ncontent-type: text/plain;charset=UTF-8\r\n"),
                    "{}",
                    asked.headers
                );
                for packet in packets(&asked.body) {
                    assert_eq!(packet, said[heard]);
                    heard += 1;
                }
                asked.with(200, "Content-Type: text/html\r\n", "ok");
            }
            if answers[answered].0 <= heard
                && let Some(get) = hanging.take()
            {
                get.ok(answers[answered].1);
                answered += 1;
            }
        }
        assert_eq!(heard, said.len());
    };
    soon("the run", async { tokio::join!(program, server) }).await;
    // The recording ends here; behind its last event the transport alone tells the leave.
    let leave = tokio::spawn(client.shutdown());
    let mut left = Vec::new();
    while left.last().is_none_or(|last| last != "1") {
        let asked = script.any().await;
        if asked.method == "POST" {
            left.push(asked.body.clone());
            asked.ok("ok");
        }
    }
    assert_eq!(left, ["1"]);
    soon("the shutdown", leave).await.unwrap();
    script.deserted().await;
}

#[tokio::test]
async fn an_upgrade_is_spoken_as_recorded() {
    let entries = entries("upgrade");
    let http: Vec<_> = entries.iter().filter(|entry| entry["kind"] == "http-request").collect();
    let bodies: Vec<_> = entries
        .iter()
        .filter(|entry| entry["kind"] == "http-response" && entry["body"] != "ok")
        .map(|entry| text(entry, "body"))
        .collect();
    let open = entries.iter().find(|entry| entry["kind"] == "ws-open").unwrap();
    let texts: Vec<_> =
        entries.iter().filter(|entry| entry["kind"] == "ws-text").map(|entry| text(entry, "text")).collect();
    assert_eq!((http.len(), bodies.len(), texts.len()), (4, 3, 6));

    let mut script = Script::new().await;
    let (config, credentials) = realtime(Transports::PollingFirst);
    let (client, ears) = client_with(&script, config, credentials, |_| {});
    let (upgraded, when_upgraded) = oneshot::channel();
    let program = async {
        assert_eq!(ears.event().await.0, "welcome");
        when_upgraded.await.unwrap();
        let echo = Request::new(Route::from_static("echo"), Body::Json(json("5")));
        assert_eq!(client.caller().call(echo.clone()).await.unwrap().body, echo.body);
        client.shutdown().await;
    };
    let server = async {
        let asked = script.next("GET").await;
        assert_eq!(asked.stamp().1, path(http[0]));
        asked.ok(bodies[0]);
        // Three ways at once, in any order.
        let (mut socket, mut get, mut connected) = (None, None, false);
        while socket.is_none() || get.is_none() || !connected {
            let asked = script.any().await;
            if asked.path.contains("transport=websocket") {
                assert_eq!(asked.path, text(open, "url"));
                socket = Some(asked.socket().await);
            } else if asked.method == "POST" {
                assert_eq!((asked.stamp().1, &*asked.body), (path(http[1]), text(http[1], "body")));
                asked.ok("ok");
                connected = true;
            } else {
                assert_eq!(asked.stamp().1, path(http[2]));
                get = Some(asked);
            }
        }
        let mut socket = socket.unwrap();
        get.unwrap().ok(bodies[1]);
        let hanging = script.next("GET").await;
        assert_eq!(socket.hear().await.unwrap(), texts[0]);
        socket.say(texts[1]).await;
        hanging.ok(bodies[2]);
        assert_eq!(socket.hear().await.unwrap(), texts[2]);
        upgraded.send(()).unwrap();
        assert_eq!(socket.hear().await.unwrap(), texts[3]);
        socket.say(texts[4]).await;
        assert_eq!(socket.hear().await.unwrap(), texts[5]);
        // Ours ends the Engine.IO session in words too.
        assert_eq!(socket.hear().await.as_deref(), Some("1"));
        assert_eq!(socket.hear().await, None);
        assert!(script.is_silent());
    };
    soon("the run", async { tokio::join!(program, server) }).await;
}
