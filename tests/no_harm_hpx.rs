//! We do no harm, on HPX: whatever our server answers, the original clients live and hear it whole and in order, also where it refuses a
//! login before, and where it tells them in the end that it quits; whatever our client asks, an independent server hears it as it was said.
//!
//! `POLYWIRE_SOAK_MESSAGES` and `POLYWIRE_SOAK_SEED` say how many messages, and which.

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{
    Body, CallError, Code, Count, Credentials, Endpoint, Event, Failure, Handler, HandlerFuture, Incoming,
    JsonText, Outcome, Reconnect, Request, Route, Secret,
};
use polywire_hpx::{ClientConfig, HpxClient, HpxServer, ServerCommand, ServerConfig, Users, failure};
use polywire_tests::driver::Driver;
use polywire_tests::framed::framed;
use polywire_tests::harm::{Told, Trial, heard, spell};
use polywire_tests::install::{HPX_JS_101, HPX_JS_220, HPX_PY_100, Package};
use polywire_tests::odd::{self, Load, Message, Odd};
use polywire_tests::process::ProcessError;
use polywire_tests::skip::{self, Tool};
use polywire_tests::{peer, place};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long anything may take that a trial waits for.
const LIMIT: Duration = Duration::from_secs(60);

/// What stands on the wire for an error: line breaks and the like cannot.
fn error(code: usize, message: &str) -> Value {
    let message: String =
        message.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    json!({ "name": "", "text": json!({ "error": { "code": code, "msg": message } }).to_string() })
}

fn answer(odd: &mut Odd) -> Told {
    if odd.once_in(8) {
        let (code, message) = (100 + odd.below(900), odd.name());
        let told = error(code, &message);
        let code = i64::try_from(code).expect("a small number");
        return (Message::answer(Load::Failure(failure(code, message))), told);
    }
    let body = odd.body(Some(""));
    let told = match &body {
        Body::Binary(_) => error(403, "the answer is binary, which HPX cannot carry"),
        _ => heard("", &body, Some("null")),
    };
    (Message::answer(Load::Body(body)), told)
}

/// Our server against the client that the package has.
async fn serve(test: &str, package: &Package) -> Result<(), ProcessError> {
    let Some(folder) = skip::package(test, package) else { return Ok(()) };
    let script = if *package == HPX_PY_100 { "harm_hpx.py" } else { "harm_hpx.mjs" };
    for (seed, count) in odd::rounds(test) {
        let mut driver = Driver::start(script, &folder)?;
        let trial = Trial::answers(seed, count, answer);
        let config = ServerConfig { guests: true, ..ServerConfig::default() };
        let mut endpoint = Endpoint::new("hpx", trial.handler());
        endpoint.authenticator = Some(Arc::new(Users::with_cost(5).with("alice", &Secret::from("s3cret"))));
        let server = HpxServer::bind("127.0.0.1:0", config, endpoint).await.expect("a free port");
        let port = server.address().rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
        let refused = driver.run("refused", json!({ "port": port })).await?;
        assert!(refused.as_str().is_some_and(|why| why.contains("Wrong credentials")), "{refused}");
        driver.run("connect", json!({ "port": port })).await?;
        let [peer] = &server.core().peers()[..] else { panic!("one client is connected") };
        trial.run(peer.caller().expect("a connection"), &mut driver).await?;
        // Last, because a client that waits for an answer takes it for that one.
        let quit = Event::new(Route::from_static(ServerCommand::Quit.as_str()), Body::Empty);
        peer.notify(quit).await.expect("there is room");
        let ledger = Arc::clone(server.core().ledger());
        server.shutdown().await;
        assert_eq!(
            driver.run("quit", json!({})).await?,
            json!([]),
            "seed {seed}: told that the server quits"
        );
        driver.finish().await?;
        assert_eq!(ledger.unaccounted_frames(), 0);
        assert_eq!(ledger.get(Count::EventsNotSent), 0, "it was told");
    }
    Ok(())
}

#[tokio::test]
async fn no_harm_to_the_npm_101_client() -> Result<(), ProcessError> {
    serve("no_harm_to_the_npm_101_client", &HPX_JS_101).await
}

#[tokio::test]
async fn no_harm_to_the_npm_220_client() -> Result<(), ProcessError> {
    serve("no_harm_to_the_npm_220_client", &HPX_JS_220).await
}

#[tokio::test]
async fn no_harm_to_the_pypi_client() -> Result<(), ProcessError> {
    serve("no_harm_to_the_pypi_client", &HPX_PY_100).await
}

/// What a raw server does to the client that `driver` is, which asks two questions and is answered so: what it heard, or the words of the
/// first trouble.
async fn raw(mut driver: Driver, answers: [&[u8]; 2]) -> Result<Value, String> {
    let words = |error: ProcessError| error.to_string();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it listens").port();
    let connecting = driver.begin("connect", json!({ "port": port })).await.map_err(words)?;
    let (mut stream, _) = listener.accept().await.expect("it connects");
    let greeting = r#"{"version":{"core":[0,3,0],"db":[0,2,0],"torrent":[0,0,0]},"guest_allowed":true}"#;
    stream.write_all(&said(greeting)).await.expect("it reads");
    next_frame(&mut stream).await;
    stream.write_all(&said("\"Authenticated\"")).await.expect("it reads");
    driver.answer(connecting).await.map_err(words)?.expect("it logs in");
    let asking = driver.begin("ask", json!({ "count": answers.len() })).await.map_err(words)?;
    for answer in answers {
        next_frame(&mut stream).await;
        stream.write_all(answer).await.expect("it reads");
        if answer.is_empty() {
            stream.shutdown().await.expect("it is there");
            break;
        }
    }
    let heard = driver.answer(asking).await.map_err(words)?.map_err(|error| error.to_string())?;
    let trouble = driver.run("trouble", json!({})).await.map_err(words)?;
    if trouble == json!([]) { Ok(heard) } else { Err(trouble.to_string()) }
}

/// A frame of a server.
fn said(data: &str) -> Vec<u8> {
    framed(format!("{{\"session\":\"s1\",\"name\":\"raw\",\"data\":{data}}}").as_bytes())
}

/// Reads one frame of the client.
async fn next_frame(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"<EOF>") {
        bytes.push(timeout(LIMIT, stream.read_u8()).await.expect("it writes").expect("it is there"));
    }
}

/// The trials can fail: what does harm is noticed. Not shown for the client of npm 2.2.0, which has the driver of the one before and wants
/// its own number back in every frame.
async fn noticed(test: &str, package: &Package) {
    let Some(folder) = skip::package(test, package) else { return };
    let python = *package == HPX_PY_100;
    let script = if python { "harm_hpx.py" } else { "harm_hpx.mjs" };
    let start = || Driver::start(script, &folder).expect("it starts");
    let answer = |value: &str| said(&format!("[{{\"fname\":\"question\",\"data\":{value}}}]"));
    let (one, two) = (answer("1"), answer("[2.50]"));
    let fine = raw(start(), [&one, &two]).await.expect("both are heard");
    let other = raw(start(), [&two, &one]).await.expect("both are heard");
    assert_eq!((&fine[0], &fine[1]), (&other[1], &other[0]), "an order shows");
    assert_ne!(fine, other);
    for (bad, words) in [
        (said("[]"), "not an answer"),
        (said("1"), if python { "no len()" } else { "not an answer" }),
        (framed(b"{\"session\":"), if python { "JSONParseError" } else { "its output ended" }),
        (b"1<EOF>".to_vec(), "Not a gzipped file"),
        (Vec::new(), "Server disconnected"),
    ]
    .iter()
    // The last two that of npm never tells: the trial waits for it in vain, and fails by that.
    .take(if python { 5 } else { 3 })
    {
        let told = raw(start(), [&one, bad]).await.expect_err(words);
        assert!(told.contains(words), "{told} instead of {words}");
    }
}

#[tokio::test]
async fn harm_to_the_npm_101_client_would_be_noticed() {
    noticed("harm_to_the_npm_101_client_would_be_noticed", &HPX_JS_101).await;
}

#[tokio::test]
async fn harm_to_the_pypi_client_would_be_noticed() {
    noticed("harm_to_the_pypi_client_would_be_noticed", &HPX_PY_100).await;
}

/// HPX sends a client nothing to handle.
struct Nothing;

impl Handler for Nothing {
    fn call(&self, _: Incoming) -> HandlerFuture {
        Box::pin(async { Err(Failure::new(Code::Unimplemented, "nothing is served here")) })
    }
}

/// What our client sends at once: a call, or several echoes in one message.
fn calls(odd: &mut Odd) -> Vec<(Request, Option<String>)> {
    if !odd.once_in(8) {
        return vec![call(odd)];
    }
    let count = 2 + odd.below(4);
    std::iter::repeat_with(|| call(odd)).filter(|(_, value)| value.is_some()).take(count).collect()
}

/// One call of our client: the echo of an odd value, or a function that is not there.
fn call(odd: &mut Odd) -> (Request, Option<String>) {
    let request = |name: String, text: String| {
        let body = Body::Json(JsonText::from_validated(text.into()));
        Request::new(Route::new(name).expect("a short name"), body).timeout(LIMIT)
    };
    if odd.once_in(4) {
        return (
            request(format!("no {}", odd.name().chars().take(60).collect::<String>()), odd.object()),
            None,
        );
    }
    let value = odd.json();
    (request("echo".to_owned(), format!("{{\"value\":{value}}}")), Some(value))
}

/// Makes some calls, several in one message; the answers, where one was asked for.
async fn answered(client: &HpxClient, calls: Vec<(Request, Option<String>)>) -> Vec<[Value; 2]> {
    let outcomes = match &calls[..] {
        [(request, _)] => vec![client.call(request.clone()).await],
        calls => client.batch(calls.iter().map(|(request, _)| request.clone()).collect()).await,
    };
    assert_eq!(outcomes.len(), calls.len());
    outcomes.into_iter().zip(calls).filter_map(|(outcome, call)| answer_to(outcome, call)).collect()
}

/// What was asked and what was answered, where something was asked for.
fn answer_to(outcome: Outcome, (request, value): (Request, Option<String>)) -> Option<[Value; 2]> {
    let name = request.route;
    match (outcome, value) {
        (Ok(response), Some(value)) => {
            let Body::Json(text) = response.body else { panic!("{name}: {:?}", response.body) };
            Some([value.as_str(), text.as_str()].map(|text| json!({ "name": "", "text": text })))
        }
        (Err(CallError::Failure(failure)), None) if failure.code == Code::InvalidArgument => None,
        (other, value) => panic!("{name} of {value:?}: {other:?}"),
    }
}

#[tokio::test]
async fn no_harm_to_an_hpx_server() -> Result<(), ProcessError> {
    let test = "no_harm_to_an_hpx_server";
    if !skip::have(test, &[Tool::Python]) {
        return Ok(());
    }
    let (mut server, port) = peer::hpx_server(&[]).await?;
    let client = HpxClient::connect(
        &format!("127.0.0.1:{port}"),
        Arc::new(Credentials::guest()),
        ClientConfig::default(),
        Endpoint { reconnect: Reconnect::never(), ..Endpoint::new("hpx", Nothing) },
    );
    let client = Arc::new(client.expect("good settings"));
    client.ready().await.expect("guests are let in");
    for (seed, count) in odd::rounds(test) {
        let mut odd = Odd::new(seed);
        let (mut running, mut told) = (JoinSet::new(), Vec::new());
        let mut said = 0;
        while said < count {
            if running.len() >= 16 {
                told.extend(
                    running.join_next().await.into_iter().flat_map(|answer| answer.expect("an answer")),
                );
            }
            let (client, calls) = (Arc::clone(&client), calls(&mut odd));
            said += calls.len();
            running.spawn(async move { answered(&client, calls).await });
        }
        while let Some(answer) = running.join_next().await {
            told.extend(answer.expect("an answer"));
        }
        // Judged in the language of the server, because it spells what it says in its own way.
        let mut judge = Driver::start("harm_hpx.py", &place::tests())?;
        let asked = spell(&mut judge, told.iter().map(|[asked, _]| asked)).await?;
        let answers = spell(&mut judge, told.iter().map(|[_, answer]| answer)).await?;
        let pairs = asked.as_array().into_iter().flatten().zip(answers.as_array().into_iter().flatten());
        if let Some(wrong) = pairs.into_iter().position(|(asked, answer)| asked != answer) {
            let shown =
                told[wrong].each_ref().map(|line| line.to_string().chars().take(1_000).collect::<String>());
            panic!("seed {seed}: {shown:?}");
        }
        assert!(told.len() > count / 2, "{} of {count} were echoes", told.len());
    }
    assert_eq!(client.core().ledger().unaccounted_frames(), 0);
    server.kill().await;
    Ok(())
}
