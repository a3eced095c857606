//! Our client against the independent HPX server, in both of its profiles and with every fault it can play.

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{
    Body, CallError, ClientState, Code, Count, Credentials, Endpoint, Failure, Handler, HandlerFuture,
    Incoming, JsonLimits, JsonText, Outcome, Request, Route, Secret,
};
use polywire_hpx::{ClientConfig, Dialect, HpxClient, ServerCommand, Wire};
use polywire_tests::peer;
use polywire_tests::process::{Process, ProcessError};
use polywire_tests::skip::{self, Tool};
use tokio::time::timeout;

/// As whom the server behaves.
const PROFILES: [&str; 2] = ["modern", "legacy"];
/// How long anything may take that a test waits for.
const LIMIT: Duration = Duration::from_secs(20);

/// HPX sends a client nothing to handle.
struct Nothing;

impl Handler for Nothing {
    fn call(&self, _incoming: Incoming) -> HandlerFuture {
        Box::pin(async { Err(Failure::new(Code::Unimplemented, "nothing is served here")) })
    }
}

/// A server with the user `alice`; `None` when the test is skipped.
async fn server(test: &str, arguments: &[&str]) -> Result<Option<(Process, String)>, ProcessError> {
    if !skip::have(test, &[Tool::Python]) {
        return Ok(None);
    }
    let (server, port) = peer::hpx_server(&[&["--user", "alice:s3cret"], arguments].concat()).await?;
    Ok(Some((server, format!("127.0.0.1:{port}"))))
}

fn alice() -> Credentials {
    Credentials::new("alice", Secret::from("s3cret"))
}

fn connect(address: &str, credentials: Credentials, config: ClientConfig) -> HpxClient {
    let endpoint = Endpoint::new("hpx", Nothing);
    HpxClient::connect(address, Arc::new(credentials), config, endpoint).expect("the settings are in range")
}

fn of_dialect(dialect: Dialect) -> ClientConfig {
    ClientConfig { wire: Wire { dialect, ..Wire::default() }, ..ClientConfig::default() }
}

fn request(route: &'static str, body: &str) -> Request {
    let text = JsonText::new(body.to_owned(), &JsonLimits::default()).expect("the body is JSON");
    Request::new(Route::from_static(route), text)
}

fn text(outcome: Outcome) -> String {
    match outcome.expect("the call succeeds").body {
        Body::Json(text) => text.as_str().to_owned(),
        other => format!("{other:?}"),
    }
}

fn number(outcome: &Outcome) -> Option<String> {
    let Err(CallError::Failure(failure)) = outcome else { return None };
    let detail = failure.detail.as_ref()?.as_str();
    detail.split(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty()).map(str::to_owned)
}

/// Calls, failures, batches and calls at once.
async fn exercise(test: &str, dialect: Dialect, arguments: &[&str]) -> Result<(), ProcessError> {
    let Some((_server, address)) = server(test, arguments).await? else { return Ok(()) };
    for credentials in [alice(), Credentials::guest()] {
        let client = Arc::new(connect(&address, credentials, of_dialect(dialect)));
        client.ready().await.expect("the login is accepted");
        assert_eq!(text(client.call(request("add", r#"{"a":1,"b":2}"#)).await), "3");
        let value = r#"{"value":["<EOF>","漢\u0000",12345678901234567890,1e308]}"#;
        let echoed = text(client.call(request("echo", value)).await);
        assert!(echoed.contains("12345678901234567890") && echoed.contains("1e+308"), "{echoed}");
        assert_eq!(text(client.call(request("none", "{}")).await), "null");
        for (name, arguments, code) in [
            ("nope", "{}", "403"),
            ("fail", r#"{"code":751,"msg":"m"}"#, "751"),
            ("add", r#"{"a":1}"#, "403"),
            ("add", "{}", "403"),
            ("crash", "{}", "100"),
        ] {
            let outcome = client.call(request(name, arguments)).await;
            assert_eq!(number(&outcome).as_deref(), Some(code), "{name}: {outcome:?}");
        }
        let calls = vec![
            request("nope", "{}"),
            request("echo", r#"{"value":1}"#),
            request("fail", "{}"),
            request("add", "{}"),
            request("none", "{}"),
        ];
        let outcomes = client.batch(calls).await;
        assert_eq!(
            outcomes.iter().map(number).collect::<Vec<_>>(),
            [Some("403"), None, Some("303"), Some("403"), None].map(|code| code.map(str::to_owned))
        );
        assert_eq!(text(outcomes[1].clone()), "1");
        echoes(&client, 0..100).await;
        let long = format!("{{\"value\":\"{}\"}}", "long ".repeat(100_000));
        assert_eq!(text(client.call(request("echo", &long)).await).len(), long.len() - 10);
        assert_eq!(client.core().ledger().unaccounted_frames(), 0);
    }
    Ok(())
}

#[tokio::test]
async fn works_with_a_modern_server() -> Result<(), ProcessError> {
    exercise("works_with_a_modern_server", Dialect::Auto, &[]).await
}

#[tokio::test]
async fn works_with_a_modern_server_in_dialect_b() -> Result<(), ProcessError> {
    exercise("works_with_a_modern_server_in_dialect_b", Dialect::B, &[]).await
}

#[tokio::test]
async fn works_with_a_legacy_server() -> Result<(), ProcessError> {
    exercise("works_with_a_legacy_server", Dialect::Auto, &["--profile", "legacy"]).await
}

#[tokio::test]
async fn works_with_a_legacy_server_in_dialect_a() -> Result<(), ProcessError> {
    exercise("works_with_a_legacy_server_in_dialect_a", Dialect::A, &["--profile", "legacy"]).await
}

/// The same with a fault, in both profiles.
async fn despite(test: &str, fault: &str) -> Result<(), ProcessError> {
    for profile in PROFILES {
        exercise(test, Dialect::Auto, &["--fault", fault, "--profile", profile]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn p02_works_with_a_server_that_sends_a_byte_at_a_time() -> Result<(), ProcessError> {
    despite("p02_works_with_a_server_that_sends_a_byte_at_a_time", "chop").await
}

#[tokio::test]
async fn p03_works_with_a_server_whose_data_hold_the_delimiter() -> Result<(), ProcessError> {
    despite("p03_works_with_a_server_whose_data_hold_the_delimiter", "eof-inside").await
}

#[tokio::test]
async fn p05_works_with_a_server_that_sends_two_members() -> Result<(), ProcessError> {
    despite("p05_works_with_a_server_that_sends_two_members", "multi-member").await
}

#[tokio::test]
async fn p12_works_with_a_server_that_talks_of_other_things() -> Result<(), ProcessError> {
    despite("p12_works_with_a_server_that_talks_of_other_things", "noise-first").await
}

/// One connection, whose first call meets the fault; the calls after it work.
async fn fault(
    test: &str,
    profile: &str,
    fault: &str,
) -> Result<Option<(HpxClient, Process, Outcome)>, ProcessError> {
    let arguments = ["--fault", fault, "--profile", profile];
    let Some((server, address)) = server(test, &arguments).await? else { return Ok(None) };
    let config = ClientConfig { connections: 1, ..ClientConfig::default() };
    let client = connect(&address, alice(), config);
    let call = request("echo", r#"{"value":1}"#).timeout(Duration::from_secs(2));
    let outcome = client.call(call).await;
    Ok(Some((client, server, outcome)))
}

#[tokio::test]
async fn a_broken_answer_ends_one_call_and_its_connection() -> Result<(), ProcessError> {
    let test = "a_broken_answer_ends_one_call_and_its_connection";
    for profile in PROFILES {
        for name in ["bad-gzip", "bad-json", "bad-crc", "truncate-close"] {
            let Some((client, _server, outcome)) = fault(test, profile, name).await? else { return Ok(()) };
            assert!(matches!(outcome, Err(CallError::Unknown(_))), "{profile}, {name}: {outcome:?}");
            // Each connection breaks its first answer again: the next call finds the connection replaced.
            let outcome = client.call(request("echo", r#"{"value":2}"#)).await;
            assert!(matches!(outcome, Err(CallError::Unknown(_))), "{profile}, {name}: {outcome:?}");
            assert!(client.core().ledger().get(Count::Connections) >= 2, "{profile}, {name}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn p13_silence_ends_a_call_at_its_deadline() -> Result<(), ProcessError> {
    let test = "p13_silence_ends_a_call_at_its_deadline";
    for profile in PROFILES {
        for name in ["silent", "empty-frame"] {
            let Some((_client, _server, outcome)) = fault(test, profile, name).await? else { return Ok(()) };
            let Err(CallError::Unknown(failure)) = outcome else { panic!("{profile}, {name}: {outcome:?}") };
            assert_eq!(failure.code, Code::DeadlineExceeded, "{profile}, {name}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn p14_a_server_that_is_never_ready_is_unavailable() -> Result<(), ProcessError> {
    for profile in PROFILES {
        let found = fault("p14_a_server_that_is_never_ready_is_unavailable", profile, "wait").await?;
        let Some((_client, _server, outcome)) = found else { return Ok(()) };
        let Err(CallError::NotSent(failure)) = outcome else { panic!("{profile}: {outcome:?}") };
        assert_eq!(failure.code, Code::Unavailable);
    }
    Ok(())
}

#[tokio::test]
async fn p01_a_server_without_a_greeting_is_left() -> Result<(), ProcessError> {
    let test = "p01_a_server_without_a_greeting_is_left";
    for profile in PROFILES {
        let arguments = ["--fault", "no-greeting", "--profile", profile];
        let Some((_server, address)) = server(test, &arguments).await? else { return Ok(()) };
        let mut config = ClientConfig::default();
        Arc::make_mut(&mut config.wire.limits).login_timeout = Duration::from_millis(200);
        let client = connect(&address, alice(), config);
        let mut states = client.core().watch();
        let left = states.wait_for(|state| matches!(state, ClientState::Waiting(_)));
        drop(timeout(LIMIT, left).await.expect("the server is left").expect("the client goes on"));
        assert!(client.core().ledger().get(Count::Closed) >= 1);
        let outcome = client.call(request("echo", "{}").timeout(Duration::from_millis(200))).await;
        assert!(matches!(outcome, Err(CallError::NotSent(_))), "{profile}: {outcome:?}");
    }
    Ok(())
}

/// Makes calls at once, each with a number of its own, and sees that each is answered with it.
async fn echoes(client: &Arc<HpxClient>, numbers: std::ops::Range<usize>) {
    let calls: Vec<_> = numbers
        .map(|number| {
            let client = Arc::clone(client);
            tokio::spawn(async move {
                let body = format!("{{\"value\":{number}}}");
                (number, client.call(request("echo", &body)).await)
            })
        })
        .collect();
    for call in calls {
        let (number, outcome) = call.await.expect("the call's task ends");
        assert_eq!(text(outcome), number.to_string());
    }
}

#[tokio::test]
async fn works_with_a_server_that_merges_answers() -> Result<(), ProcessError> {
    let test = "works_with_a_server_that_merges_answers";
    for profile in PROFILES {
        // Something that is no answer comes before each answer, both in one write.
        let arguments = ["--fault", "merge,noise-first", "--profile", profile];
        let Some((mut server, address)) = server(test, &arguments).await? else { return Ok(()) };
        let client = Arc::new(connect(&address, alice(), ClientConfig::default()));
        echoes(&client, 0..16).await;
        server.wait_for_json(|line| line["merged"] == 2, LIMIT).await?;
        assert!(client.core().ledger().get(Count::Unexpected) >= 16, "{profile}");
        assert_eq!(client.core().ledger().get(Count::Closed), 0, "{profile}");
    }
    Ok(())
}

#[tokio::test]
async fn p12_a_broadcast_of_the_server_is_no_answer_and_is_followed_by_its_end() -> Result<(), ProcessError> {
    let test = "p12_a_broadcast_of_the_server_is_no_answer_and_is_followed_by_its_end";
    let one = |dialect| ClientConfig { connections: 1, ..of_dialect(dialect) };
    for (profile, dialect) in
        [("modern", Dialect::Auto), ("modern", Dialect::B), ("legacy", Dialect::Auto), ("legacy", Dialect::A)]
    {
        for command in [ServerCommand::Quit, ServerCommand::Restart] {
            let Some((mut server, address)) = server(test, &["--profile", profile]).await? else {
                return Ok(());
            };
            let (waiting, telling) =
                (connect(&address, alice(), one(dialect)), connect(&address, alice(), one(dialect)));
            let mut states = [waiting.core().watch(), telling.core().watch()];
            waiting.ready().await.expect("the login is accepted");
            let caller = waiting.caller().clone();
            let call = tokio::spawn(async move { caller.call(request("sleep", r#"{"seconds":0.5}"#)).await });
            server.wait_for_json(|line| line["sleeping"] == 0.5, LIMIT).await?;
            telling.command(command).await.expect("the server tells everybody");
            assert_eq!(text(call.await.expect("the call's task ends")), "0.5", "{profile}, {dialect:?}");
            for state in &mut states {
                let left = state.wait_for(|state| *state != ClientState::Ready);
                timeout(LIMIT, left).await.expect("the server goes").expect("the client goes on");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn p14_a_call_is_answered_by_a_login_when_its_session_is_lost() -> Result<(), ProcessError> {
    let test = "p14_a_call_is_answered_by_a_login_when_its_session_is_lost";
    for arguments in [
        &["--profile", "modern"][..],
        &["--profile", "legacy"],
        &["--profile", "modern", "--no-guests"],
        &["--profile", "legacy", "--no-guests"],
    ] {
        let Some((_server, address)) = server(test, arguments).await? else { return Ok(()) };
        let guests = !arguments.contains(&"--no-guests");
        for (credentials, name) in [(alice(), "\"alice\""), (Credentials::guest(), "null")] {
            if name == "null" && !guests {
                continue;
            }
            let client =
                connect(&address, credentials, ClientConfig { connections: 1, ..ClientConfig::default() });
            for _ in 0..3 {
                assert_eq!(text(client.call(request("forget", "{}")).await), "null");
                let who = text(client.call(request("whoami", "{}")).await);
                assert_eq!(who, name, "{arguments:?}: sent again, by the same user");
            }
            assert_eq!(client.core().ledger().get(Count::Connections), 1, "{arguments:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn p14_a_server_that_was_restarted_has_lost_the_session_and_calls_go_on() -> Result<(), ProcessError> {
    let test = "p14_a_server_that_was_restarted_has_lost_the_session_and_calls_go_on";
    for profile in PROFILES {
        for (credentials, name) in [(alice(), "\"alice\""), (Credentials::guest(), "null")] {
            let Some((mut first, address)) = server(test, &["--profile", profile]).await? else {
                return Ok(());
            };
            let client = Arc::new(connect(&address, credentials, ClientConfig::default()));
            echoes(&client, 0..16).await;
            let mut state = client.core().watch();
            first.kill().await;
            let lost = state.wait_for(|state| *state != ClientState::Ready);
            timeout(LIMIT, lost).await.expect("the loss is noticed").expect("the client goes on");
            let port = address.rsplit(':').next().expect("an address ends with its port");
            let again = server(test, &["--profile", profile, "--port", port]).await?;
            let who = client.call(request("whoami", "{}").timeout(LIMIT)).await;
            assert_eq!(text(who), name, "{profile}");
            echoes(&client, 16..32).await;
            drop(again);
        }
    }
    Ok(())
}

#[tokio::test]
async fn p14_a_session_that_expires_is_renewed() -> Result<(), ProcessError> {
    for profile in ["modern", "legacy"] {
        let arguments = ["--span", "0.2", "--profile", profile];
        let Some((_server, address)) = server("p14_a_session_that_expires_is_renewed", &arguments).await?
        else {
            return Ok(());
        };
        for credentials in [alice(), Credentials::guest()] {
            let client =
                connect(&address, credentials, ClientConfig { connections: 1, ..ClientConfig::default() });
            for number in 0..3 {
                // The server's own clock decides: a call that takes longer than the span ends it.
                let body = format!("{{\"value\":{number}}}");
                assert_eq!(text(client.call(request("echo", &body)).await), number.to_string());
                client.call(request("sleep", r#"{"seconds":0.3}"#)).await.expect("it sleeps");
            }
            assert!(
                client.core().ledger().get(Count::FramesSent) > 7,
                "some call was sent again after a login"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn p16_a_wrong_password_is_a_definite_error() -> Result<(), ProcessError> {
    let test = "p16_a_wrong_password_is_a_definite_error";
    let Some((_server, address)) = server(test, &[]).await? else { return Ok(()) };
    let client = connect(&address, Credentials::new("alice", Secret::from("wrong")), ClientConfig::default());
    let failure = client.ready().await.expect_err("the login is refused");
    assert_eq!(failure.code, Code::Unauthenticated);
    Ok(())
}

#[tokio::test]
async fn dialect_c_is_named() -> Result<(), ProcessError> {
    let test = "dialect_c_is_named";
    let Some((_server, address)) = server(test, &["--dialect", "msgpack"]).await? else { return Ok(()) };
    let client = connect(&address, alice(), ClientConfig::default());
    let mut state = client.core().watch();
    let waiting = state.wait_for(|state| matches!(state, ClientState::Waiting(_)));
    let shown = format!("{:?}", *waiting.await.expect("the client goes on trying"));
    assert!(shown.contains("dialect C (MessagePack"), "{shown}");
    Ok(())
}
