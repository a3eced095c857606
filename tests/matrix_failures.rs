//! Failures over every ordered pair of wires: what their callers are told of them, and what a caller may do next.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/bridged.rs"]
mod bridged;
#[path = "support/pair.rs"]
mod pair;

use std::time::{Duration, Instant};

use bridged::{WIRES, capabilities, dial, json, onward, pairs, particulars, request, serve};
use pair::{Rig, code_told, crossing, next, tells};
use polywire_bridge::Problem;
use polywire_cli::Way;
use polywire_core::{CallError, ClientState, Code, Errors, Retry};

#[tokio::test]
async fn a_failure_crosses_every_pair_with_its_words_and_as_much_of_its_code_as_the_wires_tell() {
    for (from, to) in pairs() {
        let rig = Rig::new(from, to, "").await;
        let lost = crossing(from, to, Way::Calls).has(Problem::Errors);
        let whole = [from, to].into_iter().all(|wire| {
            let keeps = Code::ALL.into_iter().all(|code| (particulars(wire).code)(code) == code);
            keeps && capabilities(wire).errors == Errors::Codes
        });
        assert_eq!(lost, !whole, "{from} > {to}");
        for code in Code::ALL {
            let error = rig.ask(&format!("fail.{}", code.as_str()), json("{}")).await.unwrap_err();
            let CallError::Failure(failure) = &error else { panic!("{from} > {to}: {error}") };
            assert_eq!(failure.code, code_told(from, to, code), "{from} > {to}: {code:?}");
            assert_eq!(failure.message, "not you", "{from} > {to}: {code:?}");
        }
        rig.end();
    }
}

#[tokio::test]
async fn what_nobody_serves_is_not_found_wherever_a_wire_tells_it() {
    for (from, to) in pairs() {
        let rig = Rig::new(from, to, "timeout = \"300ms\"").await;
        let silent = particulars(to).silent_unserved;
        let code = if silent { Code::DeadlineExceeded } else { (particulars(to).code)(Code::NotFound) };
        let error = rig.ask("unserved", json("{}")).await.unwrap_err();
        assert_eq!(error.code(), (particulars(from).code)(code), "{from} > {to}: {error}");
        assert_eq!(silent, tells(from, to, "errors: a name that nobody serves"), "{from} > {to}");
        let silent = particulars(to).silent_refusal;
        assert_eq!(silent, tells(from, to, "errors: a wrong secret"), "{from} > {to}");
        rig.end();
    }
}

#[tokio::test]
async fn what_no_route_takes_is_not_found_on_every_wire() {
    let upstream = serve("sockhop").await;
    for from in WIRES {
        let routes = onward("").replace("\"*\"", "\"known\"");
        let bridge = bridged::bridge(from, "sockhop", upstream.server.address(), &routes).await;
        let (client, _heard) = dial(from, bridge.address("in").unwrap()).await;
        let call = |name| client.caller().call(request(name, json("{}")).timeout(Duration::from_secs(10)));
        assert_eq!(call("known").await.unwrap().body, json("{}"), "{from}");
        let error = call("unknown").await.unwrap_err();
        assert_eq!(error.code(), (particulars(from).code)(Code::NotFound), "{from}: {error}");
        let unrouted = bridge.snapshot().endpoints.iter().map(|end| end.unrouted_requests).sum::<u64>();
        assert_eq!(unrouted, 1, "{from}");
    }
}

#[tokio::test]
async fn an_upstream_that_never_answers_fails_every_call_in_time_and_holds_up_no_other() {
    for (from, to) in pairs() {
        let mut rig = Rig::new(from, to, "timeout = \"300ms\"").await;
        let start = Instant::now();
        let error = rig.ask("hang", json("{}")).await.unwrap_err();
        assert_eq!(error.code(), code_told(from, from, Code::DeadlineExceeded), "{from} > {to}: {error}");
        assert!(error.failure().message.contains("may have acted"), "{from} > {to}: {error}");
        assert!(start.elapsed() < Duration::from_secs(10), "{from} > {to}: {:?}", start.elapsed());
        assert_eq!(rig.seen().await.1, "hang");
        // The client's own deadline, when it is the shorter one.
        let hang = request("hang.too", json("{}")).timeout(Duration::from_millis(150));
        let other = request("fail.unavailable", json("{}"));
        let (_, served) = tokio::join!(rig.client.caller().call(hang), rig.client.caller().call(other));
        assert_eq!(served.unwrap_err().failure().message, "not you", "{from} > {to}");
        assert_eq!(rig.ask("echo", json("{\"n\":1}")).await, Ok(json("{\"n\":1}")), "{from} > {to}");
        rig.end();
    }
}

#[tokio::test]
async fn no_caller_is_told_that_a_call_surely_did_not_run_when_its_upstream_died_over_it() {
    for (from, to) in pairs() {
        let mut rig = Rig::new(from, to, "").await;
        let hang = request("hang", json("{}")).timeout(Duration::from_secs(10));
        let dies = async {
            assert_eq!(next(&mut rig.upstream.seen, &rig.name).await.1, "hang");
            rig.upstream.server.shutdown_handle().stop();
        };
        let (answer, ()) = tokio::join!(rig.client.caller().call(hang), dies);
        let error = answer.unwrap_err();
        assert_eq!(error.failure().retry, Retry::Unknown, "{from} > {to}: {error}");
        assert!(error.failure().message.contains("may have acted"), "{from} > {to}: {error}");
        rig.end();
    }
}

#[tokio::test]
async fn a_call_that_was_never_sent_is_told_as_safe_wherever_the_wire_of_its_caller_carries_that() {
    for (from, to) in pairs() {
        let rig = Rig::new(from, to, "timeout = \"300ms\"").await;
        let mut stands = rig.bridge.watch("out").unwrap();
        rig.upstream.server.shutdown_handle().stop();
        stands.wait_for(|state| *state != ClientState::Ready).await.unwrap();
        let error = rig.ask("echo", json("{}")).await.unwrap_err();
        assert!(error.failure().message.contains("is not connected"), "{from} > {to}: {error}");
        let told = match capabilities(from).errors {
            Errors::InBody => Retry::Safe,
            // A code or a text alone: nothing is promised.
            _ => Retry::Unknown,
        };
        assert_eq!(error.failure().retry, told, "{from} > {to}: {error}");
        rig.end();
    }
}
