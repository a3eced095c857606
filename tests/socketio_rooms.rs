//! Rooms of our Socket.IO server with foreign clients: npm `socket.io-client` and PyPI `python-socketio` join, leave and are lost,
//! and hear what is said in their rooms alone. A room is a group of a hub.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::path::Path;
use std::time::Duration;

use polywire_core::{Body, Endpoint, Event, Hub, HubConfig, Json, Peer, Route, Router, Server};
use polywire_socketio::{ServerConfig, listen};
use polywire_tests::driver::Driver;
use polywire_tests::install::{PYTHON_SOCKETIO, SOCKET_IO_CLIENT};
use polywire_tests::skip;
use polywire_tests::socketio::LIMIT;
use serde_json::{Value, json};

/// A server whose clients join and leave rooms by themselves.
async fn serve() -> (Server, Hub) {
    let rooms = Hub::new(HubConfig::default()).unwrap();
    let (joined, left) = (rooms.clone(), rooms.clone());
    let router = Router::new()
        .handle("join", move |peer: Peer, Json(room): Json<String>| {
            let answer = joined.join(room, &peer).map(|()| Json(true));
            async move { answer }
        })
        .handle("leave", move |peer: Peer, Json(room): Json<String>| {
            left.leave(&room, &peer);
            async { Json(true) }
        })
        .build()
        .unwrap();
    let endpoint = Endpoint::new("socketio", router);
    (listen("127.0.0.1:0", ServerConfig::new(["/chat"]), endpoint).await.unwrap(), rooms)
}

fn event(name: &'static str, body: &Value) -> Event {
    Event::new(Route::from_static(name), Body::json(body).unwrap())
}

/// A foreign client of the server.
struct Guest {
    driver: Driver,
    python: bool,
}

impl Guest {
    async fn npm(package: &Path, server: &Server, transports: Value) -> Self {
        let mut driver = Driver::start("socketio_js_client.mjs", package).unwrap();
        let url = format!("http://{}/chat", server.address());
        driver.run("connect", json!({"url": url, "options": {"transports": transports}})).await.unwrap();
        Self { driver, python: false }
    }

    async fn python(package: &Path, server: &Server, transports: Value) -> Self {
        let mut driver = Driver::start("socketio_py_client.py", package).unwrap();
        let url = format!("http://{}", server.address());
        let to = json!({"url": url, "namespace": "/chat", "transports": transports, "auth": {}});
        driver.run("connect", to).await.unwrap();
        Self { driver, python: true }
    }

    /// Asks for `what`, `join` or `leave`, with the name of a room.
    async fn ask(&mut self, what: &str, room: &str) {
        let arguments = if self.python {
            json!({"name": what, "arg": room})
        } else {
            json!({"name": what, "args": [room]})
        };
        assert_eq!(self.driver.run("call", arguments).await.unwrap(), true);
    }

    /// What it heard before `fence`, which everybody hears.
    async fn heard(&mut self) -> Vec<Value> {
        let mut heard = Vec::new();
        loop {
            let mut event = self.driver.event(|event| event["event"] == "heard", LIMIT).await.unwrap();
            if event["name"] == "fence" {
                return heard;
            }
            assert_eq!(event["name"], "said");
            heard.push(event["args"][0].take());
        }
    }
}

/// Says each of these in its room, and checks how many members it has and which guests hear it.
async fn say(server: &Server, rooms: &Hub, guests: &mut [Guest], said: &[(&str, u64, &[usize])]) {
    let mut expected = vec![Vec::new(); guests.len()];
    for (room, number, hear) in said {
        assert_eq!(rooms.publish(room, &event("said", &json!(number))), hear.len(), "{room} {number}");
        hear.iter().for_each(|guest| expected[*guest].push(json!(number)));
    }
    assert_eq!(server.audience().broadcast(&event("fence", &Value::Null)), guests.len());
    for (number, (guest, expected)) in guests.iter_mut().zip(expected).enumerate() {
        assert_eq!(guest.heard().await, expected, "guest {number}");
    }
}

/// Four guests in two rooms, over WebSocket, polling and from one to the other: they join, one leaves, one is gone.
async fn four(guest: impl AsyncFn(&Server, Value) -> Guest) {
    let (server, rooms) = serve().await;
    let mut guests = Vec::new();
    for transports in [&["websocket"][..], &["polling", "websocket"], &["polling"], &["websocket"]] {
        guests.push(guest(&server, json!(transports)).await);
    }
    say(&server, &rooms, &mut guests, &[("red", 1, &[])]).await;
    for (guest, room) in [(0, "red"), (1, "red"), (1, "blue"), (2, "blue"), (3, "red")] {
        guests[guest].ask("join", room).await;
    }
    let both = [("red", 2, &[0, 1, 3][..]), ("blue", 3, &[1, 2]), ("red", 4, &[0, 1, 3])];
    say(&server, &rooms, &mut guests, &both).await;
    guests[1].ask("leave", "red").await;
    say(&server, &rooms, &mut guests, &[("red", 5, &[0, 3]), ("blue", 6, &[1, 2])]).await;
    // In again, once: a member that joins twice is one.
    guests[1].ask("join", "red").await;
    guests[1].ask("join", "red").await;
    say(&server, &rooms, &mut guests, &[("red", 7, &[0, 1, 3])]).await;
    let mut gone = guests.remove(1);
    gone.driver.run("leave", json!({})).await.unwrap();
    let left = async {
        while server.peers().len() > guests.len() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, left).await.expect("it is seen to be gone");
    say(&server, &rooms, &mut guests, &[("red", 8, &[0, 2]), ("blue", 9, &[1])]).await;
    assert_eq!((rooms.members("red"), rooms.members("blue")), (2, 1));
    tokio::time::timeout(Duration::from_secs(5), server.shutdown()).await.expect("the shutdown ends");
}

#[tokio::test]
async fn npm_clients_hear_what_is_said_in_their_rooms() {
    let name = "npm_clients_hear_what_is_said_in_their_rooms";
    let Some(package) = skip::package(name, &SOCKET_IO_CLIENT) else { return };
    four(async |server, transports| Guest::npm(&package, server, transports).await).await;
}

#[tokio::test]
async fn python_clients_hear_what_is_said_in_their_rooms() {
    let name = "python_clients_hear_what_is_said_in_their_rooms";
    let Some(package) = skip::package(name, &PYTHON_SOCKETIO) else { return };
    four(async |server, transports| Guest::python(&package, server, transports).await).await;
}
