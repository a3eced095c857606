//! The bridge between real wires over loopback: typed bytes, the ways bytes take onto a wire without them, and ends of an upstream.
//! Every pair of wires is in `matrix*.rs`; what is measured against foreign peers is elsewhere.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/bridged.rs"]
mod bridged;

use std::io::Read;
use std::time::{Duration, Instant};

use bridged::{Upstream, WIRES, bridge, dial, event, json, onward, request, serve};
use flate2::bufread::GzDecoder;
use polywire_conformance::{Relay, Way};
use polywire_core::{Body, Code, Kind};
use serde_json::Value;

/// The same bytes as they come back: a typed buffer has one name, and in a request that is the route.
fn answered(body: &Body) -> Body {
    let Body::Binary(binary) = body else { panic!("{body:?}") };
    Body::binary("echo", binary.bytes.clone())
}

#[tokio::test]
async fn bytes_and_events_cross_with_the_names_of_their_types() {
    let Upstream { server, mut seen, .. } = serve("sockhop").await;
    let bridge = bridge("sockhop", "sockhop", server.address(), &onward("")).await;
    let (client, _heard) = dial("sockhop", bridge.address("in").unwrap()).await;
    let bytes = Body::binary("Pose", vec![0, 10, 255]);
    assert_eq!(client.caller().call(request("echo", bytes.clone())).await.unwrap().body, answered(&bytes));
    assert_eq!(seen.recv().await.unwrap().1, "echo");
    client.caller().notify(event("Pose", bytes.clone())).await.unwrap();
    assert_eq!(seen.recv().await.unwrap(), (Kind::Event, "Pose".to_owned(), bytes));
    client.caller().notify(event("moved", json("{\"x\":1}"))).await.unwrap();
    assert_eq!(seen.recv().await.unwrap(), (Kind::Event, "moved".to_owned(), json("{\"x\":1}")));
}

#[tokio::test]
async fn bytes_onto_hpx_are_refused_or_wrapped_and_come_back_as_bytes() {
    let Upstream { server, .. } = serve("hpx").await;
    let bytes = Body::binary("Pose", vec![0, 10, 255]);
    let refusing = bridge("sockhop", "hpx", server.address(), &onward("")).await;
    let (client, _) = dial("sockhop", refusing.address("in").unwrap()).await;
    let error = client.caller().call(request("echo", bytes.clone())).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented, "{error}");
    let encoding = bridge("sockhop", "hpx", server.address(), &onward("binary = \"base64\"")).await;
    let (client, _) = dial("sockhop", encoding.address("in").unwrap()).await;
    assert_eq!(client.caller().call(request("echo", bytes.clone())).await.unwrap().body, answered(&bytes));
}

#[tokio::test]
async fn pending_calls_end_at_once_when_the_upstream_dies() {
    for to in WIRES {
        let Upstream { server, mut seen, .. } = serve(to).await;
        let bridge = bridge("sockhop", to, server.address(), &onward("")).await;
        let (client, _heard) = dial("sockhop", bridge.address("in").unwrap()).await;
        let start = Instant::now();
        let kill = async {
            seen.recv().await.unwrap();
            server.shutdown_handle().stop();
        };
        let (outcome, ()) = tokio::join!(client.caller().call(request("hang", json("{}"))), kill);
        assert_eq!(outcome.unwrap_err().code(), Code::Unavailable, "{to}");
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{to}: its deadline is 15 s: {:?}",
            start.elapsed()
        );
    }
}

/// The `data` of every message of HPX in these bytes, read without our codec.
fn data(mut stream: &[u8]) -> Vec<Value> {
    let mut found = Vec::new();
    while !stream.is_empty() {
        let mut text = String::new();
        GzDecoder::new(&mut stream).read_to_string(&mut text).expect("a body is gzip");
        stream = stream.strip_prefix(b"<EOF>").expect("a body is followed by the delimiter");
        let mut message: Value = serde_json::from_str(&text).expect("a message is JSON");
        found.push(message["data"].take());
    }
    found
}

#[tokio::test]
async fn p08_nothing_that_comes_over_the_bridge_becomes_a_command() {
    let names = ["serverquit", "ServerRestart", "requestauth", "1", "2", "3"];
    let bodies = ["1", "3", "\"serverquit\"", "\"requestauth\"", "null", "true", "[1]", "{}", "{\"data\":1}"];
    for more in ["", "wrap = \"value\""] {
        let Upstream { server, mut seen, .. } = serve("hpx").await;
        let relay = Relay::start(server.address(), usize::MAX).await.unwrap();
        let upstream = relay.address().to_string();
        let bridge = bridge("sockhop", "hpx", &upstream, &onward(more)).await;
        let (client, _heard) = dial("sockhop", bridge.address("in").unwrap()).await;
        let mut answered = 0;
        for name in names {
            for body in bodies {
                let outcome = client.caller().call(request(name, json(body))).await;
                answered += usize::from(outcome.is_ok());
                // There is no way for an event, whatever it is called.
                client.caller().notify(event(name, json(body))).await.unwrap();
            }
        }
        let crossing = if more.is_empty() { 2 } else { bodies.len() };
        assert_eq!(answered, names.len() * crossing, "{more}");
        let mut functions = 0;
        for connection in 0..relay.opened() {
            for data in data(&relay.recording(connection).bytes(Way::ToServer)) {
                match data {
                    // The login of a guest.
                    Value::Object(login) => assert!(login.is_empty()),
                    Value::Array(calls) => {
                        functions += calls.len();
                        assert!(calls.iter().all(Value::is_object), "{calls:?}");
                    }
                    other => panic!("{other} would command the server"),
                }
            }
        }
        assert_eq!(functions, answered);
        for _ in 0..answered {
            let (_, name, _) = seen.recv().await.unwrap();
            assert!(names.contains(&&*name), "{name}");
        }
        assert!(!server.shutdown_handle().is_draining());
    }
}
