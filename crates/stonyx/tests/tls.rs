//! Two ends of ours over TLS, through the adapter's options.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use polywire_core::{
    Adapter, Body, Client, ClientState, Endpoint, Handler, HandlerFuture, Incoming, Options, Request, Route,
    Secret, Server, Target,
};
use polywire_stonyx::ADAPTER;

struct Echo;

impl Handler for Echo {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        Box::pin(async move { Ok(incoming.body.into()) })
    }
}

fn target(address: &str, secrets: &[(&str, &str)]) -> Target {
    let mut options = Options::new();
    options.set("tls", "1");
    options.set_secret("key", Secret::from("the shared key of these tests"));
    for (name, value) in secrets {
        options.set_secret(*name, Secret::from(*value));
    }
    Target { address: address.to_owned(), options, ..Target::default() }
}

/// A certificate for 127.0.0.1 and its key.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

async fn listen(cert: &str, key: &str) -> Server {
    let target = target("127.0.0.1:0", &[("tls_cert", cert), ("tls_key", key)]);
    ADAPTER.listen(target, Endpoint::new("stonyx", Echo)).await.unwrap()
}

async fn dial(address: &str, authority: &str) -> Client {
    ADAPTER.dial(target(address, &[("tls_ca", authority)]), Endpoint::new("stonyx", Echo)).await.unwrap()
}

#[tokio::test]
async fn a_client_logs_in_and_calls_over_tls() {
    let (cert, key) = certificate();
    let server = listen(&cert, &key).await;
    let client = dial(server.address(), &cert).await;
    let body = Body::json(&"x".repeat(100_000)).unwrap();
    let request = Request::new(Route::from_static("echo"), body.clone());
    assert_eq!(client.caller().call(request).await.unwrap().body, body);
    client.shutdown().await;
    server.shutdown().await;
}

#[tokio::test]
async fn c21_a_stonyx_certificate_of_somebody_else_is_named_as_the_cause() {
    let (cert, key) = certificate();
    let server = listen(&cert, &key).await;
    let client = dial(server.address(), &certificate().0).await;
    let mut state = client.watch();
    let waiting = state.wait_for(|state| matches!(state, ClientState::Waiting(_))).await.unwrap().clone();
    let ClientState::Waiting(why) = waiting else { panic!("{waiting:?}") };
    assert!(why.contains("certificate"), "{why}");
}

#[tokio::test]
async fn what_is_missing_or_unusable_is_named_and_keys_are_never_shown() {
    let (cert, key) = certificate();
    for (secrets, expected) in [
        (vec![], "tls = 1 needs tls_cert"),
        (vec![("tls_cert", &*cert), ("tls_key", "sesame")], "tls_key holds no private key in PEM"),
        (vec![("tls_cert", "nothing"), ("tls_key", &*key)], "tls_cert holds no certificate in PEM"),
    ] {
        let error =
            ADAPTER.listen(target("127.0.0.1:0", &secrets), Endpoint::new("stonyx", Echo)).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
