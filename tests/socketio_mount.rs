//! Our Socket.IO server inside a program that has an HTTP server of its own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use polywire_core::{
    Body, Client, Credentials, Endpoint, Event, Json, Limits, Request, Route, Router, Server,
};
use polywire_socketio::{Config, Mount, ServerConfig, Transports, dial, mount};
use polywire_tests::socketio::{Ears, LIMIT};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

fn mounted(limits: Limits) -> (Server, Mount) {
    let router = Router::new().handle("echo", async |Json(value): Json<Value>| Json(value)).build().unwrap();
    let endpoint = Endpoint { limits: Arc::new(limits), ..Endpoint::new("socketio", router) };
    mount(ServerConfig::new(["/room"]), endpoint).unwrap()
}

/// A program of its own, which answers with the path what is not Socket.IO's.
async fn program(mount: Mount) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, from)) = listener.accept().await {
            let Some((stream, door)) = mount.guard(stream, Some(from.to_string())) else { continue };
            let own = service_fn(async |request: hyper::Request<Incoming>| {
                Ok::<_, Infallible>(hyper::Response::new(format!("own {}", request.uri().path())))
            });
            let http = http1::Builder::new().serve_connection(TokioIo::new(stream), door.beside(own));
            tokio::spawn(http.with_upgrades());
        }
    });
    address
}

async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = String::new();
    // A stream that is dropped unread is reset: that is no answer.
    let _ = timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

fn client(address: &str, transports: Transports, ears: &Ears) -> Client {
    let config = Config { transports, ..Config::new("/room") };
    let endpoint = Endpoint::new("socketio", ears.clone());
    dial(address, config, Arc::new(Credentials::guest()), endpoint).unwrap()
}

#[tokio::test]
async fn a_program_serves_its_own_paths_and_socket_io_on_one_port() {
    let (server, mount) = mounted(Limits::default());
    let address = program(mount).await;
    assert_eq!(server.address(), "/socket.io/");
    for (path, whose) in [("/hello", true), ("/socket.iot", true), ("/", true), ("/socket.io/x", false)] {
        assert_eq!(get(&address, path).await.ends_with(&format!("own {path}")), whose, "{path}");
    }
    for transports in [Transports::WebSocket, Transports::Polling, Transports::PollingFirst] {
        let ears = Ears::default();
        let client = client(&address, transports, &ears);
        let body = Body::json(&json!({"n": 1})).unwrap();
        let request = Request::new(Route::from_static("echo"), body.clone()).timeout(LIMIT);
        assert_eq!(client.caller().call(request).await.unwrap().body, body, "{transports:?}");
        let told = server.audience().broadcast(&Event::new(Route::from_static("news"), body));
        assert_eq!(told, 1, "{transports:?}");
        assert_eq!(ears.next("news").await.1, json!({"n": 1}));
        client.shutdown().await;
        let gone = async {
            while !server.peers().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        timeout(LIMIT, gone).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cleaned_up_in_a_program_too() {
    let limits = Limits { write_timeout: Duration::from_millis(300), ..Limits::default() };
    let (server, mount) = mounted(limits);
    let address = program(mount).await;
    let mut deaf = TcpStream::connect(&address).await.unwrap();
    let request = format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    deaf.write_all(request.as_bytes()).await.unwrap();
    // A text frame whose mask is zero: CONNECT to the namespace.
    deaf.write_all(b"\x81\x87\0\0\0\x0040/room").await.unwrap();
    let flood = async {
        let event = Event::new(Route::from_static("news"), Body::binary("x", vec![0; 256 << 10]));
        while server.peers().is_empty() {
            tokio::task::yield_now().await;
        }
        while !server.peers().is_empty() {
            server.audience().broadcast(&event);
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, flood).await.expect("its connection ends by write_timeout");
}

#[tokio::test]
async fn streams_are_bounded_and_end_with_the_server() {
    let (server, mount) = mounted(Limits { max_connections: 1, ..Limits::default() });
    let address = program(mount).await;
    let mut first = TcpStream::connect(&address).await.unwrap();
    first.write_all(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    timeout(LIMIT, first.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!(get(&address, "/b").await, "", "one more is dropped");
    server.shutdown().await;
    let mut rest = Vec::new();
    timeout(LIMIT, first.read_to_end(&mut rest)).await.expect("the stream ends with the server").unwrap();
    assert_eq!(get(&address, "/c").await, "");
}

/// As behind a limit of time of the program's own, which may drop what it asked for at any moment.
#[tokio::test]
async fn a_request_for_a_websocket_that_the_program_gives_up_holds_nothing_up() {
    let (_server, mount) = mounted(Limits::default());
    let (mut near, far) = tokio::io::duplex(4 << 10);
    let (stream, door) = mount.guard(far, None).unwrap();
    let gives_up = service_fn(move |request: hyper::Request<Incoming>| {
        let path = request.uri().path().to_owned();
        drop(door.call(request));
        async move { Ok::<_, Infallible>(hyper::Response::new(format!("gave up {path}"))) }
    });
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), gives_up));
    for last in ["keep-alive", "close"] {
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: x\r\nconnection: {last}\r\n\r\n"
        );
        near.write_all(request.as_bytes()).await.unwrap();
    }
    let mut answers = String::new();
    timeout(LIMIT, near.read_to_string(&mut answers)).await.expect("both are answered").unwrap();
    assert_eq!(answers.matches("gave up /socket.io/").count(), 2, "{answers}");
}
