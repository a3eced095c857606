//! The bridge between real wires over loopback: typed bytes, the ways bytes take onto a wire without them, and ends of an upstream.
//! Every pair of wires is in `matrix.rs`; what is measured against foreign peers is elsewhere.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/bridged.rs"]
mod bridged;

use std::time::{Duration, Instant};

use bridged::{Upstream, WIRES, bridge, dial, event, json, onward, request, serve};
use polywire_core::{Body, Code, Kind};

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
        assert!(start.elapsed() < Duration::from_secs(2), "{to}: {:?}", start.elapsed());
    }
}
