//! Several calls in one message: how long they take, and whose answer is whose.

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{CallError, Code};
use polywire_hpx::{ClientConfig, Dialect, Wire};
use tokio::time::timeout;

use crate::scripted::scripted;
use crate::{connect, guest, request};

/// How long anything may take that a test waits for.
const LIMIT: Duration = Duration::from_secs(20);

/// A server that answers every list of functions with `results`, and gives the `__id__` back.
async fn answering(results: &'static str) -> String {
    scripted(move |_, message| {
        let id = message.split_once(",\"__id__\":").map_or("}", |(_, id)| id);
        let id = if id == "}" { String::new() } else { format!(",\"__id__\":{}", id.trim_end_matches('}')) };
        let data = match message.contains("fname") {
            true if results.is_empty() => return Vec::new(),
            true => results,
            false => "\"Authenticated\"",
        };
        vec![format!("{{\"session\":\"s1\",\"name\":\"s\",\"data\":{data}{id}}}")]
    })
    .await
}

fn of_dialect(dialect: Dialect) -> ClientConfig {
    ClientConfig { wire: Wire { dialect, ..Wire::default() }, connections: 1, ..ClientConfig::default() }
}

#[tokio::test]
async fn the_earliest_deadline_of_its_calls_is_that_of_a_batch() {
    let address = answering("").await;
    for patient_first in [true, false] {
        let client = connect(&address, guest(), ClientConfig { connections: 1, ..ClientConfig::default() });
        client.ready().await.unwrap();
        let patient = request("f", "{}").timeout(Duration::from_secs(3_600));
        let hasty = request("g", "{}").timeout(Duration::from_millis(50));
        let calls = if patient_first { vec![patient, hasty] } else { vec![hasty, patient] };
        let outcomes = timeout(LIMIT, client.batch(calls)).await.expect("the hasty one sets the deadline");
        for outcome in outcomes {
            let Err(CallError::Unknown(failure)) = outcome else { panic!("{outcome:?}") };
            assert_eq!(failure.code, Code::DeadlineExceeded);
        }
    }
}

#[tokio::test]
async fn a_call_that_says_nothing_of_its_deadline_has_the_timeout_of_the_client() {
    let address = answering("").await;
    let mut config = ClientConfig { connections: 1, ..ClientConfig::default() };
    Arc::make_mut(&mut config.wire.limits).call_timeout = Duration::from_millis(50);
    let client = connect(&address, guest(), config);
    let calls = vec![request("f", "{}").timeout(Duration::from_secs(3_600)), request("g", "{}")];
    let outcomes = timeout(LIMIT, client.batch(calls)).await.expect("the default is the earliest deadline");
    assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
}

#[tokio::test]
async fn the_same_function_twice_with_one_refused_is_told_apart_in_dialect_b_alone() {
    let results = r#"[{"fname":"f","data":1},{"fname":"f","data":null,"error":{"code":403,"msg":"no"}}]"#;
    let address = answering(results).await;
    for dialect in [Dialect::A, Dialect::Auto, Dialect::B] {
        let client = connect(&address, guest(), of_dialect(dialect));
        let calls = vec![request("f", r#"{"a":1}"#), request("f", r#"{"b":1}"#)];
        let outcomes = timeout(LIMIT, client.batch(calls)).await.expect("the server answers");
        match (dialect, &outcomes[..]) {
            (Dialect::B, [Ok(_), Err(CallError::Failure(failure))]) => {
                assert_eq!(failure.code, Code::InvalidArgument);
            }
            (Dialect::A | Dialect::Auto, [Err(CallError::Unknown(_)), Err(CallError::Unknown(_))]) => {}
            _ => panic!("{dialect:?}: {outcomes:?}"),
        }
    }
}
