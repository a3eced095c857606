//! Two ends of ours over TLS, through the adapter's options.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{
    Adapter, Body, Client, ClientState, Endpoint, Handler, HandlerFuture, Incoming, Limits, Options, Request,
    Route, Secret, Server, Target,
};
use polywire_sockhop::ADAPTER;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long anything may take that a test waits for.
const LIMIT: Duration = Duration::from_secs(30);

struct Echo;

impl Handler for Echo {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        Box::pin(async move { Ok(incoming.body.into()) })
    }
}

fn target(address: &str, secrets: &[(&str, &str)]) -> Target {
    let mut options = Options::new();
    options.set("tls", "1");
    options.set("mode", "binary");
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
    ADAPTER.listen(target, Endpoint::new("sockhop", Echo)).await.unwrap()
}

async fn dial(address: &str, authority: &str) -> Client {
    ADAPTER.dial(target(address, &[("tls_ca", authority)]), Endpoint::new("sockhop", Echo)).await.unwrap()
}

#[tokio::test]
async fn a_call_crosses_tls_and_both_ends_close_in_order() {
    let (cert, key) = certificate();
    let server = listen(&cert, &key).await;
    let client = dial(server.address(), &cert).await;
    for size in [1, 100_000] {
        let body = Body::binary("picture", vec![b'\n'; size]);
        let request = Request::new(Route::from_static("picture"), body.clone());
        assert_eq!(client.caller().call(request).await.unwrap().body, body);
    }
    client.shutdown().await;
    server.shutdown().await;
}

#[tokio::test]
async fn c21_a_certificate_of_somebody_else_is_named_as_the_cause() {
    let (cert, key) = certificate();
    let server = listen(&cert, &key).await;
    let client = dial(server.address(), &certificate().0).await;
    let mut state = client.watch();
    let wait = state.wait_for(|state| matches!(state, ClientState::Waiting(_)));
    let state = tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap().unwrap().clone();
    let ClientState::Waiting(why) = state else { panic!("{state:?}") };
    assert!(why.contains("certificate"), "{why}");
}

/// Why a client that trusts this certificate does not take the server that has it.
async fn refusal(params: rcgen::CertificateParams) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap().pem();
    let server = listen(&cert, &key.serialize_pem()).await;
    let client = dial(server.address(), &cert).await;
    let mut state = client.watch();
    let wait = state.wait_for(|state| matches!(state, ClientState::Waiting(_)));
    let state = tokio::time::timeout(LIMIT, wait).await.unwrap().unwrap().clone();
    let ClientState::Waiting(why) = state else { panic!("{state:?}") };
    why
}

#[tokio::test]
async fn c21_an_expired_certificate_and_one_for_another_name_are_told_apart() {
    let mut expired = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    expired.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let why = refusal(expired).await;
    assert!(why.contains("certificate expired"), "{why}");
    let other = rcgen::CertificateParams::new(vec!["elsewhere.example".to_owned()]).unwrap();
    let why = refusal(other).await;
    assert!(why.contains("not valid for name"), "{why}");
}

#[tokio::test]
async fn c21_an_old_version_is_refused_and_a_stalled_handshake_has_its_time() {
    let (cert, key) = certificate();
    let target = target("127.0.0.1:0", &[("tls_cert", &cert), ("tls_key", &key)]);
    let limits = Limits { login_timeout: Duration::from_millis(500), ..Limits::default() };
    let endpoint = Endpoint { limits: Arc::new(limits), ..Endpoint::new("sockhop", Echo) };
    let server = ADAPTER.listen(target, endpoint).await.unwrap();
    // The hello of TLS 1.1, with one cipher suite and one kind of signature; then half of one; then nothing; then a record without content.
    let mut hello = vec![0x16, 3, 1, 0, 55, 1, 0, 0, 51, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
    const PROTOCOL_VERSION: u8 = 70;
    for (said, alert) in
        [(&hello[..], Some(PROTOCOL_VERSION)), (&hello[..20], None), (&[], None), (&[0x16, 3, 1, 0, 0], None)]
    {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut heard = Vec::new();
        // A reset is as good an end as any.
        let _ =
            tokio::time::timeout(LIMIT, stream.read_to_end(&mut heard)).await.expect("it is closed in time");
        assert!(
            alert.is_none_or(|alert| heard.starts_with(&[0x15]) && heard.last() == Some(&alert)),
            "{heard:?}"
        );
    }
    assert!(server.peers().is_empty());
}

#[tokio::test]
async fn what_is_missing_or_unusable_is_named_and_keys_are_never_shown() {
    let (cert, key) = certificate();
    for (secrets, expected) in [
        (vec![], "tls = 1 needs tls_cert"),
        (vec![("tls_cert", &*cert), ("tls_key", "sesame")], "tls_key holds no private key in PEM"),
        (vec![("tls_cert", "nothing"), ("tls_key", &*key)], "tls_cert holds no certificate in PEM"),
    ] {
        let endpoint = Endpoint::new("sockhop", Echo);
        let error = ADAPTER.listen(target("127.0.0.1:0", &secrets), endpoint).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let mut plain = target("127.0.0.1:1", &[("tls_ca", &*cert)]);
    plain.options.set("tls", "0");
    let error = ADAPTER.dial(plain, Endpoint::new("sockhop", Echo)).await.unwrap_err();
    assert_eq!(error.to_string(), "tls_ca is of no use without tls = 1");
}
