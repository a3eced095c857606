//! Client and server over real sockets, and servers that misbehave.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail like the test")]

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use polywire_core::{
    Answer, Body, CallError, ClientState, Code, Count, CredentialSource, Credentials, Endpoint, Failure,
    Handler, HandlerFuture, Incoming, JsonLimits, JsonText, Outcome, Request, Route, Secret,
};
use polywire_hpx::{ClientConfig, HpxClient, HpxServer, ServerCommand, ServerConfig, Users};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

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

fn users() -> Arc<Users> {
    Arc::new(Users::with_cost(5).with("alice", &Secret::from("s3cret")))
}

async fn serve(config: ServerConfig) -> HpxServer {
    let mut endpoint = Endpoint::new("hpx", Functions::new());
    endpoint.authenticator = Some(users());
    HpxServer::bind("127.0.0.1:0", config, endpoint).await.unwrap()
}

fn guests() -> ServerConfig {
    ServerConfig { guests: true, ..ServerConfig::default() }
}

fn alice() -> Arc<dyn CredentialSource> {
    Arc::new(Credentials::new("alice", Secret::from("s3cret")))
}

fn guest() -> Arc<dyn CredentialSource> {
    Arc::new(Credentials::guest())
}

fn connect(address: &str, credentials: Arc<dyn CredentialSource>, config: ClientConfig) -> HpxClient {
    let endpoint = Endpoint::new("hpx", Functions::new());
    HpxClient::connect(address, credentials, config, endpoint).unwrap()
}

fn request(route: &'static str, body: &str) -> Request {
    let text = JsonText::new(body.to_owned(), &JsonLimits::default()).unwrap();
    Request::new(Route::from_static(route), text)
}

fn text(outcome: Outcome) -> String {
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
async fn p08_a_user_who_may_ends_the_server_and_everybody_is_told() {
    let config = ServerConfig { may_command: vec!["alice".into()], ..guests() };
    let server = serve(config).await;
    let address = server.address().to_owned();
    let bystander = connect(&address, guest(), ClientConfig { connections: 1, ..ClientConfig::default() });
    bystander.ready().await.unwrap();
    let running = tokio::spawn(server.run());
    let mut raw = TcpStream::connect(&address).await.unwrap();
    let mut buffer = Vec::new();
    receive(&mut raw, &mut buffer).await;
    send(&mut raw, r#"{"session":"","name":"t","data":{"user":"alice","password":"s3cret"}}"#).await;
    let reply = receive(&mut raw, &mut buffer).await;
    let session = reply.split('"').nth(3).unwrap().to_owned();
    send(&mut raw, &format!(r#"{{"session":"{session}","name":"t","data":"ServerRestart"}}"#)).await;
    let told = receive(&mut raw, &mut buffer).await;
    assert_eq!(told, format!(r#"{{"session":"{session}","name":"polywire","data":2}}"#));
    assert_eq!(running.await.unwrap(), ServerCommand::Restart);
    let mut state = bystander.core().watch();
    state.wait_for(|state| matches!(state, ClientState::Waiting(_))).await.unwrap();
}

/// Sends one frame.
async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(&frame(text)).await.unwrap();
}

fn frame(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    let mut frame = encoder.finish().unwrap();
    frame.extend_from_slice(b"<EOF>");
    frame
}

/// The text of the next frame.
async fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> String {
    loop {
        if let Some(end) = buffer.windows(5).position(|window| window == b"<EOF>") {
            let mut text = String::new();
            let mut decoder = flate2::read::GzDecoder::new(&buffer[..end]);
            std::io::Read::read_to_string(&mut decoder, &mut text).unwrap();
            buffer.drain(..end + 5);
            return text;
        }
        let read = stream.read_buf(buffer).await.unwrap();
        assert!(read > 0, "the peer closed");
    }
}

/// A server of a script: greets, then answers each message with what `answer` makes of it.
async fn scripted(answer: impl Fn(usize, &str) -> Vec<String> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        for connection in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut buffer = Vec::new();
                send(&mut stream, r#"{"session":"","name":"s","data":{"version":{},"guest_allowed":true}}"#)
                    .await;
                loop {
                    while !buffer.windows(5).any(|window| window == b"<EOF>") {
                        if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let message = receive(&mut stream, &mut buffer).await;
                    for reply in answer(connection, &message) {
                        send(&mut stream, &reply).await;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn p14_an_expired_session_under_four_connections_costs_one_login() {
    let sessions = Arc::new(AtomicUsize::new(0));
    let valid = Arc::clone(&sessions);
    let address = scripted(move |_, message| {
        let current = format!("s{}", valid.load(Ordering::SeqCst));
        if message.contains(r#""data":{"user""#) {
            let fresh = valid.fetch_add(1, Ordering::SeqCst) + 1;
            return vec![format!(r#"{{"session":"s{fresh}","name":"s","data":"Authenticated"}}"#)];
        }
        if !message.contains(&format!(r#""session":"{current}""#)) {
            let error = r#"{"session":"x","name":"s","data":null,"error":{"code":408,"msg":"expired"}}"#;
            return vec![error.to_owned()];
        }
        vec![format!(r#"{{"session":"{current}","name":"s","data":[{{"fname":"f","data":1}}]}}"#)]
    })
    .await;
    let client = Arc::new(connect(&address, alice(), ClientConfig::default()));
    client.ready().await.unwrap();
    assert_eq!(text(client.call(request("f", "{}")).await), "1");
    let mut state = client.core().watch();
    state.wait_for(|state| *state == ClientState::Ready).await.unwrap();
    for expired in 2..6 {
        // Whoever uses the session of before gets 408.
        sessions.fetch_add(100, Ordering::SeqCst);
        let before = sessions.load(Ordering::SeqCst);
        let calls: Vec<_> = (0..4)
            .map(|_| {
                let client = Arc::clone(&client);
                tokio::spawn(async move { client.call(request("f", "{}")).await })
            })
            .collect();
        for call in calls {
            assert_eq!(text(call.await.unwrap()), "1", "round {expired}");
        }
        assert_eq!(sessions.load(Ordering::SeqCst), before + 1, "one login for all");
    }
}

#[tokio::test]
async fn p12_a_broadcast_is_never_taken_for_the_reply() {
    let address = scripted(|_, message| {
        if !message.contains("fname") {
            return vec![r#"{"session":"s1","name":"s","data":"Authenticated"}"#.to_owned()];
        }
        vec![
            r#"{"session":"s1","name":"s","data":1}"#.to_owned(),
            r#"{"session":"s1","name":"s","data":[{"fname":"f","data":"the reply"}]}"#.to_owned(),
        ]
    })
    .await;
    let client = connect(&address, guest(), ClientConfig::default());
    assert_eq!(text(client.call(request("f", "{}")).await), "\"the reply\"");
    assert_eq!(text(client.call(request("f", "{}")).await), "\"the reply\"");
}

#[tokio::test]
async fn a_connection_that_is_never_greeted_holds_up_no_call() {
    // The original leaves connections above `allowed_clients` waiting in its backlog.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = Vec::new();
        send(&mut stream, r#"{"session":"","name":"s","data":{"version":{}}}"#).await;
        receive(&mut stream, &mut buffer).await;
        send(&mut stream, r#"{"session":"s1","name":"s","data":"Authenticated"}"#).await;
        loop {
            receive(&mut stream, &mut buffer).await;
            send(&mut stream, r#"{"session":"s1","name":"s","data":[{"fname":"f","data":1}]}"#).await;
        }
    });
    let client = Arc::new(connect(&address, guest(), ClientConfig::default()));
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move { client.call(request("f", "{}")).await })
        })
        .collect();
    for call in calls {
        assert_eq!(text(call.await.unwrap()), "1");
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
    config.wire.limits.max_queue_messages = 2;
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
