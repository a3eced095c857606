//! We do no harm, on HPX: whatever our server answers, the original clients live and hear it whole and in order; whatever our client
//! asks, an independent server hears it as it was said.
//!
//! `POLYWIRE_SOAK_MESSAGES` and `POLYWIRE_SOAK_SEED` say how many messages, and which.

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{
    Body, CallError, Code, Credentials, Endpoint, Failure, Handler, HandlerFuture, Incoming, JsonText,
    Outcome, Reconnect, Request, Route,
};
use polywire_hpx::{ClientConfig, HpxClient, HpxServer, ServerConfig, failure};
use polywire_tests::driver::Driver;
use polywire_tests::harm::{Told, Trial, heard, spell};
use polywire_tests::install::{HPX_JS_101, HPX_JS_220, HPX_PY_100, Package};
use polywire_tests::odd::{self, Load, Message, Odd};
use polywire_tests::process::ProcessError;
use polywire_tests::skip::{self, Tool};
use polywire_tests::{peer, place};
use serde_json::{Value, json};
use tokio::task::JoinSet;

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
        let endpoint = Endpoint::new("hpx", trial.handler());
        let server = HpxServer::bind("127.0.0.1:0", config, endpoint).await.expect("a free port");
        let port = server.address().rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
        driver.run("connect", json!({ "port": port })).await?;
        let [peer] = &server.core().peers()[..] else { panic!("one client is connected") };
        trial.run(peer.caller().expect("a connection"), &mut driver).await?;
        driver.finish().await?;
        assert_eq!(server.core().ledger().unaccounted_frames(), 0);
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
