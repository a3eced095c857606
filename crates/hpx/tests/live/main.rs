//! Client and server over real sockets and in memory, and servers that misbehave.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail like the test")]

mod batches;
mod commands;
mod idle;
mod reading;
mod scripted;
mod wires;
mod writes;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use polywire_core::{
    Answer, Body, CallError, ClientState, Code, Count, CredentialSource, Credentials, Endpoint, Failure,
    Handler, HandlerFuture, Incoming, JsonLimits, JsonText, Outcome, Request, Route, Secret,
};
use polywire_hpx::{ClientConfig, HpxClient, HpxServer, ServerConfig, Users};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// The functions of the test server.
struct Functions {
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Functions {
    fn new() -> Self {
        Self { running: Arc::default(), most: Arc::default() }
    }
}

impl Handler for Functions {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let (running, most) = (Arc::clone(&self.running), Arc::clone(&self.most));
        Box::pin(async move {
            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            let answer = function(&incoming).await;
            running.fetch_sub(1, Ordering::SeqCst);
            answer
        })
    }
}

async fn function(incoming: &Incoming) -> Answer {
    match &*incoming.route {
        "echo" => Ok(incoming.body.clone().into()),
        "whoami" => {
            let identity = incoming.identity().expect("HPX has a login");
            Ok(Body::json(&[&*identity.subject]).unwrap().into())
        }
        "nap" => {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(Body::null().into())
        }
        "never" => std::future::pending().await,
        "fail" => Err(polywire_hpx::failure(303, "no such item")),
        "panic" => panic!("a handler panics"),
        other => Err(Failure::new(Code::NotFound, format!("no function {other}"))),
    }
}

pub(crate) fn users() -> Arc<Users> {
    Arc::new(Users::with_cost(5).with("alice", &Secret::from("s3cret")))
}

pub(crate) async fn serve(config: ServerConfig) -> HpxServer {
    let mut endpoint = Endpoint::new("hpx", Functions::new());
    endpoint.authenticator = Some(users());
    HpxServer::bind("127.0.0.1:0", config, endpoint).await.unwrap()
}

pub(crate) fn guests() -> ServerConfig {
    ServerConfig { guests: true, ..ServerConfig::default() }
}

pub(crate) fn alice() -> Arc<dyn CredentialSource> {
    Arc::new(Credentials::new("alice", Secret::from("s3cret")))
}

pub(crate) fn guest() -> Arc<dyn CredentialSource> {
    Arc::new(Credentials::guest())
}

pub(crate) fn connect(
    address: &str,
    credentials: Arc<dyn CredentialSource>,
    config: ClientConfig,
) -> HpxClient {
    let endpoint = Endpoint::new("hpx", Functions::new());
    HpxClient::connect(address, credentials, config, endpoint).unwrap()
}

pub(crate) fn request(route: &'static str, body: &str) -> Request {
    let text = JsonText::new(body.to_owned(), &JsonLimits::default()).unwrap();
    Request::new(Route::from_static(route), text)
}

pub(crate) fn text(outcome: Outcome) -> String {
    match outcome.unwrap().body {
        Body::Json(text) => text.as_str().to_owned(),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn calls_batches_failures_and_identities_cross() {
    let server = serve(guests()).await;
    let client = connect(server.address(), alice(), ClientConfig::default());
    client.ready().await.unwrap();
    assert_eq!(
        text(client.call(request("echo", r#"{"a":9007199254740993,"b":"<EOF>"}"#)).await),
        r#"{"a":9007199254740993,"b":"<EOF>"}"#.replace("<EOF>", "\\u003cEOF>")
    );
    assert_eq!(text(client.call(request("whoami", "{}")).await), r#"["alice"]"#);
    let Err(CallError::Failure(failure)) = client.call(request("fail", "{}")).await else { panic!() };
    assert_eq!(failure.detail.unwrap().as_str(), r#"{"code":303,"msg":"no such item"}"#);
    let Err(CallError::Failure(failure)) = client.call(request("panic", "{}")).await else { panic!() };
    assert_eq!(failure.code, Code::Internal);
    let Err(CallError::NotSent(failure)) = client.call(request("echo", r#"{"fname":1}"#)).await else {
        panic!()
    };
    assert_eq!(failure.code, Code::InvalidArgument);
    let calls = ["echo", "nope", "fail", "echo", "panic"].map(|name| request(name, "{}")).to_vec();
    let outcomes = client.batch(calls).await;
    let codes: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().err().map(CallError::code)).collect();
    let wanted = [None, Some(Code::InvalidArgument), Some(Code::Unknown), None, Some(Code::Internal)];
    assert_eq!(codes, wanted);
    let guest = connect(server.address(), guest(), ClientConfig::default());
    assert_eq!(text(guest.call(request("whoami", "{}")).await), r#"[""]"#);
    client.shutdown().await;
    guest.shutdown().await;
    server.shutdown().await;
}

#[tokio::test]
async fn calls_use_every_connection_at_once_and_one_login_serves_all() {
    let functions = Functions::new();
    let most = Arc::clone(&functions.most);
    let mut endpoint = Endpoint::new("hpx", functions);
    let logins = Arc::new(AtomicUsize::new(0));
    let (counted, users) = (Arc::clone(&logins), users());
    endpoint.authenticator = Some(Arc::new(move |credentials| {
        counted.fetch_add(1, Ordering::SeqCst);
        polywire_core::Authenticate::authenticate(&*users, credentials)
    }));
    let server = HpxServer::bind("127.0.0.1:0", ServerConfig::default(), endpoint).await.unwrap();
    let client = Arc::new(connect(server.address(), alice(), ClientConfig::default()));
    client.ready().await.unwrap();
    let calls: Vec<_> = (0..40)
        .map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move { client.call(request("nap", "{}")).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 4);
    assert_eq!(logins.load(Ordering::SeqCst), 1);
    assert_eq!(server.core().peers().len(), 4);
}

/// Hashes leave the threads of the runtime, of names that nobody has as of others: while none is computed, no login is answered,
/// and everybody else is served.
#[test]
fn p16_slow_hashes_hold_up_nobody_and_unknown_names_cost_one_too() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let (judged, mut asked) = mpsc::unbounded_channel();
        let mut endpoint = Endpoint::new("hpx", Functions::new());
        let users = users();
        endpoint.authenticator = Some(Arc::new(move |credentials| {
            judged.send(()).unwrap();
            polywire_core::Authenticate::authenticate(&*users, credentials)
        }));
        let server = HpxServer::bind("127.0.0.1:0", ServerConfig::default(), endpoint).await.unwrap();
        let early = connect(server.address(), alice(), ClientConfig::default());
        early.ready().await.unwrap();
        asked.recv().await.unwrap();

        // The one thread that hashes could be computed on is taken.
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let taken = tokio::task::spawn_blocking(move || gate.recv());
        let nobody: Arc<dyn CredentialSource> = Arc::new(Credentials::new("nobody", Secret::from("s3cret")));
        let late = [alice(), nobody].map(|who| connect(server.address(), who, ClientConfig::default()));
        for _ in &late {
            asked.recv().await.unwrap();
        }
        for _ in 0..100 {
            assert_eq!(text(early.call(request("whoami", "{}")).await), r#"["alice"]"#);
        }
        for client in &late {
            assert_eq!(client.core().state(), ClientState::Connecting);
        }

        drop(open);
        taken.await.unwrap().unwrap_err();
        let [known, unknown] = late;
        known.ready().await.unwrap();
        assert_eq!(unknown.ready().await.unwrap_err().code, Code::Unauthenticated);
    });
}

#[tokio::test]
async fn p16_a_wrong_password_ends_the_client_with_a_definite_error() {
    let server = serve(ServerConfig::default()).await;
    let wrong: Arc<dyn CredentialSource> = Arc::new(Credentials::new("alice", Secret::from("wrong")));
    let client = connect(server.address(), wrong, ClientConfig::default());
    let failure = client.ready().await.unwrap_err();
    assert_eq!(failure.code, Code::Unauthenticated);
    assert!(failure.message.contains("Wrong credentials"), "{failure}");
    let Err(CallError::NotSent(failure)) = client.call(request("echo", "{}")).await else { panic!() };
    assert_eq!(failure.code, Code::Unauthenticated);
}

#[tokio::test]
async fn a_call_that_times_out_costs_its_connection_and_no_other_call() {
    let server = serve(guests()).await;
    let client =
        connect(server.address(), guest(), ClientConfig { connections: 1, ..ClientConfig::default() });
    client.ready().await.unwrap();
    let slow = client.call(request("never", "{}").timeout(Duration::from_millis(50))).await;
    let Err(CallError::Unknown(failure)) = slow else { panic!("{slow:?}") };
    assert_eq!(failure.code, Code::DeadlineExceeded);
    for number in 0..20 {
        let body = format!("{{\"n\":{number}}}");
        assert_eq!(text(client.call(request("echo", &body)).await), body);
    }
    assert_eq!(client.core().ledger().get(Count::Connections), 2);
}

#[tokio::test]
async fn large_and_odd_bodies_cross_unchanged() {
    let server = serve(guests()).await;
    let client = connect(server.address(), guest(), ClientConfig::default());
    let long = "x漢é ".repeat(200_000);
    for body in [
        format!(r#"{{"v":"{long}"}}"#),
        r#"{ "v" : [1e400, -0, 123456789012345678901234567890, "\ud800", "\u0000"] }"#.to_owned(),
        format!(r#"{{"v":{}1{}}}"#, "[".repeat(100), "]".repeat(100)),
    ] {
        let answer = text(client.call(request("echo", &body)).await);
        // White space next to the braces may go.
        let wanted = body.replacen("{ ", "{", 1).replace("] }", "]}");
        assert!(answer == wanted, "{} bytes came back as {}", body.len(), answer.len());
    }
}

#[tokio::test]
async fn a_call_that_finds_no_server_says_so_at_its_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let client = connect(&address, guest(), ClientConfig::default());
    let outcome = client.call(request("f", "{}").timeout(Duration::from_millis(200))).await;
    let Err(CallError::NotSent(failure)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.code, Code::DeadlineExceeded);
    assert!(failure.message.contains("cannot connect to"), "{failure}");
    let waiting = tokio::spawn({
        let caller = client.caller().clone();
        async move { caller.call(request("f", "{}")).await }
    });
    client.shutdown().await;
    assert!(matches!(waiting.await.unwrap(), Err(CallError::NotSent(_))));
}

#[tokio::test]
async fn p13_sockets_that_we_give_up_are_replaced_without_a_growing_pause() {
    let server = serve(guests()).await;
    let config = ClientConfig { connections: 1, ..ClientConfig::default() };
    let client = connect(server.address(), guest(), config);
    client.ready().await.unwrap();
    for _ in 0..8 {
        // Each gives its socket up; a pause that doubles would be tens of seconds at the end.
        let outcome = client.call(request("never", "{}").timeout(Duration::from_millis(30))).await;
        assert!(outcome.is_err(), "{outcome:?}");
    }
    let answer = client.call(request("echo", r#"{"value":1}"#).timeout(Duration::from_secs(5))).await;
    assert!(answer.is_ok(), "{answer:?}");
}

#[tokio::test]
async fn a_full_queue_refuses_what_is_too_much() {
    let server = serve(guests()).await;
    let mut config = ClientConfig { connections: 1, ..ClientConfig::default() };
    Arc::make_mut(&mut config.wire.limits).max_queue_messages = 2;
    let client = Arc::new(connect(server.address(), guest(), config));
    client.ready().await.unwrap();
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move { client.call(request("nap", "{}")).await })
        })
        .collect();
    let mut refused = 0;
    for call in calls {
        if let Err(error) = call.await.unwrap() {
            assert_eq!(
                error.to_string(),
                "not sent: resource_exhausted: queue is full: max_queue_messages = 2"
            );
            refused += 1;
        }
    }
    assert_eq!(refused, 2);
}
